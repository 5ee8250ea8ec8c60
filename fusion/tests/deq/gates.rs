//! What an inspection leaves behind: gates and traces, and the same equilibrium.

use dfdx::prelude::*;
use equilibria_core::to_host;
use equilibria_fusion::pass::Gate;
use equilibria_fusion::Pass;

use super::*;

fn inspect(config: &Deq, parameters: &[Parameter]) -> (Vec<f64>, Pass<f64, Cpu>) {
    let fusion = with(config, parameters).expect("it builds");
    let mut pass = Pass::inspection();
    let z = fusion.fuse(&features(5), &mut pass).expect("solvable");
    (to_host(&z), pass)
}

#[test]
fn an_inspection_changes_nothing_but_what_is_known() {
    for schedule in SCHEDULES {
        let config = tight(schedule);
        let (z, pass) = inspect(&config, &parameters(&config));
        assert_eq!(bits(&z), bits(&fused(&config, Pass::evaluation())));
        assert_eq!(pass.gates.len(), MODALITIES);
        for solve in &pass.solves {
            for sample in &solve.report.samples {
                assert_eq!(sample.trace.len(), sample.steps, "{}", solve.name);
            }
        }
    }
    let fusion = with(&tight(SCHEDULES[0]), &parameters(&tight(SCHEDULES[0])));
    let mut pass = Pass::evaluation();
    let fusion = fusion.expect("it builds");
    fusion.fuse(&features(5), &mut pass).expect("solvable");
    assert!(pass.gates.is_empty());
    assert!(pass.solves[0].report.samples[0].trace.is_empty());
}

#[test]
fn both_schedules_have_the_same_gates() {
    let gates = SCHEDULES.map(|schedule| {
        let config = tight(schedule);
        inspect(&config, &parameters(&config)).1.gates
    });
    for (a, b) in gates[0].iter().zip(&gates[1]) {
        // Equilibria solved to 1e-13 agree up to ‖(I − J)⁻¹‖, some tens.
        assert!((a.magnitude - b.magnitude).abs() <= 1e-11, "{a:?} {b:?}");
        assert_eq!(a.weight.to_bits(), b.weight.to_bits());
    }
    let [first, second] = [gates[0][0], gates[0][1]];
    assert!((first.magnitude - second.magnitude).abs() > 1e-4);
}

/// Where θ_α is 0, every α_i is b_α, whatever the equilibrium, and even where there is none.
#[test]
fn constant_gates_are_what_they_were_set_to() {
    for schedule in SCHEDULES {
        let mut config = tight(schedule);
        config.stop.on_unconverged = OnUnconverged::Accept;
        let names: Vec<String> = build(&config)
            .map(|fusion| fusion.named().into_iter().map(|(name, _)| name).collect())
            .expect("it builds");
        let mut parameters = parameters(&config);
        for (name, tensor) in names.iter().zip(&mut parameters) {
            let values: Option<Vec<f64>> = match name.as_str() {
                "fuse.alpha.weight" => Some(vec![0.0; WIDTH * WIDTH]),
                "fuse.alpha.bias" => Some((0..WIDTH).map(|i| 0.25 * (i as f64 - 2.0)).collect()),
                "fuse.w" => Some(vec![0.5, -0.25]),
                _ => None,
            };
            if let Some(values) = values {
                tensor.copy_from(&values);
            }
        }
        let gates = inspect(&config, &parameters).1.gates;
        // A quarter of (2 + 1 + 0 + 1 + 2 + 3) / 6, small enough for a contraction; exact in floating point.
        let magnitude = 0.25 * 9.0 / 6.0;
        let expected = [0.5, -0.25].map(|weight| Gate { magnitude, weight });
        for (gate, expected) in gates.iter().zip(&expected) {
            assert!((gate.magnitude - expected.magnitude).abs() <= 4.0 * f64::EPSILON);
            assert_eq!(gate.weight.to_bits(), expected.weight.to_bits());
        }
        let ungated = Deq {
            gate: false,
            ..config
        };
        assert!(inspect(&ungated, &parameters).1.gates.is_empty());
    }
}
