//! Where solves start: fewer steps, the same equilibria and the same gradients.

use dfdx::prelude::*;
use equilibria_core::{from_host, to_host, Matrix};
use equilibria_fusion::deq::Start;
use equilibria_fusion::fusions::deq::Deq;
use equilibria_fusion::{Fusion, Pass};

use super::*;

/// Equilibria that start apart and are solved to 1e-13 agree up to ‖(I − J)⁻¹‖, some tens.
const SOLVED: f64 = 1e-11;

/// The loss of a learned start has the curvature 2 λ / (samples · width · states), where λ is an eigenvalue of Σ x xᵀ over
/// the samples, at most some 3 · 14: descent is stable below 2 / 1.6.
const RATE: f64 = 0.8;

type Model = Box<dyn Fusion<f64, Cpu>>;

fn model(config: &Deq) -> Model {
    with(config, &parameters(config)).expect("it builds")
}

/// The features of the given samples, in this order.
fn rows(x: &[Matrix<f64, Cpu>], samples: &[usize]) -> Vec<Matrix<f64, Cpu>> {
    let pick = |x: &Matrix<f64, Cpu>| {
        let values = to_host(x);
        let row = |&sample: &usize| values[sample * WIDTH..(sample + 1) * WIDTH].to_vec();
        let rows = samples.iter().flat_map(row).collect();
        from_host(&Cpu::default(), rows, (samples.len(), WIDTH)).expect("memory")
    };
    x.iter().map(pick).collect()
}

/// z_fuse* and the evaluations of all solves; the rows are the given samples, called by the given names.
fn solve(model: &Model, samples: &[usize], names: Option<&[usize]>) -> (Vec<f64>, usize) {
    let mut pass = Pass::training(SEED);
    pass.samples = names.map(<[usize]>::to_vec);
    let z = model
        .fuse(&rows(&features(5), samples), &mut pass)
        .expect("solvable");
    let steps = pass
        .solves
        .iter()
        .map(|solve| solve.report.evaluations())
        .sum();
    (to_host(&z), steps)
}

#[test]
fn a_warm_start_is_the_last_equilibrium_of_the_same_sample() {
    for schedule in SCHEDULES {
        let plain = tight(schedule);
        let warm = Deq {
            start: Start::Warm,
            ..plain.clone()
        };
        let (order, turned) = ([0, 1, 2], [2, 0, 1]);
        let warm = model(&warm);
        let (first, cold) = solve(&warm, &order, Some(&order));
        assert_eq!(bits(&first), bits(&solve(&model(&plain), &order, None).0));
        let (again, same_order) = solve(&warm, &order, Some(&order));
        assert!(largest_difference(&again, &first) < SOLVED);

        // One evaluation each, to see that they are solved. In the joint schedule, one for all states of a sample.
        let solves = if schedule == Schedule::Joint {
            1
        } else {
            MODALITIES + 1
        };
        // The sum of the z_i* that f_fuse sees is the same to the last bit, and so is its equilibrium.
        assert_eq!(same_order, BATCH * solves, "{schedule:?}: {cold} at first");
        assert!(cold > 5 * same_order, "{schedule:?}: {cold}, {same_order}");

        let (moved, other_order) = solve(&warm, &turned, Some(&turned));
        let expected: Vec<f64> = turned
            .iter()
            .flat_map(|&s| first[s * WIDTH..(s + 1) * WIDTH].to_vec())
            .collect();
        assert!(largest_difference(&moved, &expected) < SOLVED);
        assert_eq!(other_order, same_order, "{schedule:?}");

        // Without names nothing is known, and a wrong name costs steps but not the result.
        assert_eq!(solve(&warm, &order, None).1, cold);
        let (mistaken, steps) = solve(&warm, &order, Some(&turned));
        assert!(largest_difference(&mistaken, &first) < SOLVED && steps > 2 * same_order);
    }
}

#[test]
fn a_new_sample_starts_at_zero_and_a_missing_name_is_refused() {
    let config = Deq {
        start: Start::Warm,
        ..tight(Schedule::Sequential)
    };
    let warm = model(&config);
    solve(&warm, &[0, 1], Some(&[0, 1]));
    let (both, _) = solve(&warm, &[1, 2], Some(&[1, 2]));
    let (plain, _) = solve(&model(&tight(Schedule::Sequential)), &[1, 2], None);
    assert!(largest_difference(&both, &plain) < SOLVED);

    let mut pass = Pass::training(SEED);
    pass.samples = Some(vec![0, 1]);
    let error = warm
        .fuse(&features(5), &mut pass)
        .expect_err("one name for three rows");
    let message = "the samples of a pass: expected [3], one number per row, got [2]";
    assert_eq!(error.to_string(), message);
}

/// The auxiliary loss, and all gradients of ⟨c, z_fuse*⟩ plus that loss, by name; `step` moves the learned starts down.
fn train(model: &mut Model, step: f64) -> (f64, usize, Vec<(String, Vec<f64>)>) {
    let x = features(5);
    let mut pass = Pass::training(SEED);
    let z = model.fuse(&x, &mut pass).expect("solvable");
    let weights: Matrix<f64, Cpu> = random_matrix(&Cpu::default(), *z.shape(), 7).expect("memory");
    let loss = pass.run(&z, |z| {
        (z * weights)
            .sum::<Rank0, Axes2<0, 1>>()
            .reshape_like(&(1, 1))
    });
    let auxiliary = pass.losses.iter().map(|loss| to_host(loss)[0]).sum();
    let outcome = pass.backward(&loss).expect("gradients");
    let mut gradients = outcome.gradients;
    let forward = outcome.reports.iter().map(|(_, forward, _)| forward);
    let steps = forward.map(|report| report.evaluations()).sum();
    let mut all = Vec::new();
    let named = model.named();
    let inputs = x.into_iter().map(|x| ("x".to_owned(), x));
    for (name, tensor) in named.into_iter().chain(inputs) {
        gradients.get_or_alloc_mut(&tensor).expect("room");
        all.push((name, to_host(&gradients.get(&tensor))));
    }
    let mut index = 0;
    model.visit_mut("", &mut |name, tensor| {
        if name.starts_with("start.") {
            let moved = to_host(tensor)
                .into_iter()
                .zip(&all[index].1)
                .map(|(v, g)| v - step * g);
            *tensor = from_host(&Cpu::default(), moved.collect(), *tensor.shape()).expect("memory");
        }
        index += 1;
    });
    (auxiliary, steps, all)
}

#[test]
fn a_learned_start_learns_from_its_own_loss_alone() {
    for schedule in SCHEDULES {
        let plain = tight(schedule);
        let (_, cold, expected) = train(&mut model(&plain), 0.0);
        let learned = Deq {
            start: Start::Learned,
            ..plain.clone()
        };
        let mut fusion = build(&learned).expect("it builds");
        // The parameters of the plain fusion come first; those of the start stay 0.
        let mut values = parameters(&plain).into_iter();
        fusion.visit_mut("", &mut |_, tensor| {
            if let Some(value) = values.next() {
                *tensor = value;
            }
        });
        let (first, steps, _) = train(&mut fusion, RATE);
        assert_eq!(steps, cold, "a start of 0");
        for _ in 0..300 {
            train(&mut fusion, RATE);
        }
        let (last, steps, gradients) = train(&mut fusion, 0.0);
        assert!(last < 1e-3 * first, "{schedule:?}: {first} {last}");
        assert!(steps < cold, "{schedule:?}: {cold} {steps}");

        let others = gradients
            .iter()
            .filter(|(name, _)| !name.starts_with("start."));
        assert_eq!(others.clone().count(), expected.len());
        for ((name, gradient), (_, expected)) in others.zip(&expected) {
            assert!(
                largest_difference(gradient, expected) < 10.0 * SOLVED,
                "{schedule:?}: {name}"
            );
        }

        // The loss is the mean square over samples, entries and states: twice the weight, twice the loss.
        let doubled = Deq {
            start_weight: 2.0,
            ..learned.clone()
        };
        let of = |config| {
            let mut pass = Pass::training(SEED);
            build(config)
                .expect("it builds")
                .fuse(&features(5), &mut pass)
                .expect("solvable");
            pass.losses.iter().map(|loss| to_host(loss)[0]).sum::<f64>()
        };
        assert!((of(&doubled) / of(&learned) - 2.0).abs() < 1e-12);

        let mut pass = Pass::evaluation();
        fusion.fuse(&features(5), &mut pass).expect("solvable");
        assert!(pass.losses.is_empty());
    }
}
