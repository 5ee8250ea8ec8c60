//! What DEQ fusion can do beyond the paper: in both schedules, against central differences in f64.

use dfdx::prelude::*;
use equilibria_core::{
    to_host, Backend, Error, Matrix, OnUnconverged, Result, Status, Stop, Tolerance,
};
use equilibria_fusion::fusions::deq::{Deq, Schedule};
use equilibria_fusion::layers::plugins::residual_block::ResidualBlockConfig;
use equilibria_fusion::layers::stabilizers::spectral_norm::SpectralNorm;
use equilibria_fusion::layers::stabilizers::weight_norm::WeightNorm;
use equilibria_fusion::layers::{Initializer, StabilizerConfig};
use equilibria_fusion::solvers::backward::implicit::Implicit;
use equilibria_fusion::solvers::regularizers::jacobian::Jacobian;
use equilibria_fusion::{Fusion, FusionRequest, Fusions, Pass};
use equilibria_testing::{central_difference, perturb, random_matrix};

#[path = "deq/gates.rs"]
mod gates;
#[path = "deq/starts.rs"]
mod starts;

const WIDTH: usize = 6;
const BATCH: usize = 3;
const MODALITIES: usize = 2;
const SEED: u64 = 11;
const SCHEDULES: [Schedule; 2] = [Schedule::Sequential, Schedule::Joint];

type Parameter = Matrix<f64, Cpu>;

/// Tight solves of a map that is not too easy. Groups of three: of two, the normalized values are ±1 whatever z is.
fn tight(schedule: Schedule) -> Deq {
    let stop = Stop {
        max_evaluations: 400,
        on_unconverged: OnUnconverged::Error,
        ..Stop::at(Tolerance::relative(1e-13))
    };
    Deq {
        schedule,
        layer: Box::new(ResidualBlockConfig {
            groups: 2,
            deviation: 0.2,
            ..ResidualBlockConfig::default()
        }),
        groups: 2,
        deviation: 0.2,
        backward: Box::new(Implicit {
            stop: stop.clone(),
            ..Implicit::default()
        }),
        stop,
        ..Deq::default()
    }
}

fn build(config: &Deq) -> Result<Box<dyn Fusion<f64, Cpu>>> {
    let request = FusionRequest {
        modalities: MODALITIES,
        width: WIDTH,
        widths: &[],
        init: &mut Initializer::new(&Cpu::default(), 3),
    };
    <Cpu as Backend<f64>>::build::<Fusions>(config, request)
}

fn features(seed: u64) -> Vec<Matrix<f64, Cpu>> {
    let feature = |index| random_matrix(&Cpu::default(), (BATCH, WIDTH), seed + index);
    (0..MODALITIES as u64)
        .map(|index| feature(index).expect("memory"))
        .collect()
}

/// A fusion of the given parameters.
fn with(config: &Deq, parameters: &[Parameter]) -> Result<Box<dyn Fusion<f64, Cpu>>> {
    let mut fusion = build(config)?;
    let mut parameters = parameters.iter();
    fusion.visit_mut("", &mut |_, tensor| {
        if let Some(parameter) = parameters.next() {
            *tensor = parameter.clone();
        }
    });
    Ok(fusion)
}

/// Parameters none of which is at a special value.
fn parameters(config: &Deq) -> Vec<Parameter> {
    let fusion = build(config).expect("it builds");
    let mut all: Vec<Parameter> = fusion
        .named()
        .into_iter()
        .map(|(_, tensor)| tensor)
        .collect();
    perturb(&mut all, 0.05, 4).expect("memory");
    all
}

fn fused(config: &Deq, mut pass: Pass<f64, Cpu>) -> Vec<f64> {
    let fusion = with(config, &parameters(config)).expect("it builds");
    to_host(&fusion.fuse(&features(5), &mut pass).expect("solvable"))
}

/// The error of every gradient of ⟨c, z_fuse*⟩ plus the loss terms, in training.
fn gradient_error(config: &Deq) -> f64 {
    let error = central_difference(&parameters(config), &features(5), 1e-5, |parameters, x| {
        let fusion = with(config, parameters)?;
        let mut pass = Pass::training(SEED);
        let z = fusion.fuse(x, &mut pass)?;
        let tape = pass.lend(|tape| Ok((tape, OwnedTape::default())))?;
        let weights: Matrix<f64, Cpu> = random_matrix(&Cpu::default(), *z.shape(), 7)?;
        let mut loss = (z.put_tape(tape) * weights).sum::<Rank0, _>();
        for term in pass.losses {
            loss = loss + term.sum::<Rank0, _>();
        }
        Ok(loss)
    });
    error.expect("solvable")
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

#[test]
fn dropout_has_one_mask_per_solve() {
    let mut solved = Vec::new();
    for schedule in SCHEDULES {
        let plain = tight(schedule);
        let dropping = Deq {
            dropout: 0.3,
            ..plain.clone()
        };
        // That the solve meets 1e-13 at all says that its map is the same in every step.
        let z = fused(&dropping, Pass::training(SEED));
        assert_eq!(bits(&z), bits(&fused(&dropping, Pass::training(SEED))));
        assert!(largest_difference(&z, &fused(&dropping, Pass::training(SEED + 1))) > 1e-3);
        assert!(largest_difference(&z, &fused(&plain, Pass::training(SEED))) > 1e-3);

        // Without dropout, training and evaluation solve the same map.
        let evaluated = fused(&plain, Pass::evaluation());
        assert_eq!(bits(&fused(&plain, Pass::training(SEED))), bits(&evaluated));
        assert_eq!(
            bits(&fused(&dropping, Pass::evaluation())),
            bits(&evaluated)
        );

        // Solves good to 1e-13 and steps h of 1e-5 leave 1e-8, times a few for ‖(I − J)⁻¹‖, and some 360 h² = 4e-8 for the
        // third derivative.
        let error = gradient_error(&dropping);
        assert!(error < 1e-7, "{schedule:?}: {error:e}");
        solved.push(z);
    }
    // The masks do not depend on the schedule; each solve is good to 1e-13 times ‖(I − J)⁻¹‖.
    assert!(largest_difference(&solved[0], &solved[1]) < 1e-10);
}

#[test]
fn stabilizers_act_on_every_map_and_gradients_stay_exact() {
    let weight_norm = WeightNorm {
        target: 0.3,
        ..WeightNorm::default()
    };
    let spectral_norm = SpectralNorm {
        parameters: vec!["hat.weight".to_owned(), "fuse.alpha.weight".to_owned()],
        bound: 0.4,
        iterations: 400,
        ..SpectralNorm::default()
    };
    let both: Vec<Box<dyn StabilizerConfig>> = vec![Box::new(weight_norm), Box::new(spectral_norm)];
    let mut solved = Vec::new();
    for schedule in SCHEDULES {
        let mut config = Deq {
            stabilizer: both.clone(),
            ..tight(schedule)
        };
        // In evaluation as in training: the raw parameters alone are not the model.
        let z = fused(&config, Pass::evaluation());
        assert_eq!(bits(&z), bits(&fused(&config, Pass::training(SEED))));
        assert!(largest_difference(&z, &fused(&tight(schedule), Pass::evaluation())) > 1e-3);
        let error = gradient_error(&config);
        // As for dropout.
        assert!(error < 1e-6, "{schedule:?}: {error:e}");

        config.regularizer = vec![Box::new(Jacobian {
            step: 1e-5,
            ..Jacobian::default()
        })];
        let mut pass = Pass::training(SEED);
        let fusion = with(&config, &parameters(&config)).expect("it builds");
        fusion.fuse(&features(5), &mut pass).expect("solvable");
        let penalty: f64 = pass.losses.iter().map(|term| to_host(term)[0]).sum();
        config.stabilizer.clear();
        let mut pass = Pass::training(SEED);
        let fusion = with(&config, &parameters(&config)).expect("it builds");
        fusion.fuse(&features(5), &mut pass).expect("solvable");
        let without: f64 = pass.losses.iter().map(|term| to_host(term)[0]).sum();
        assert!((penalty - without).abs() > 1e-3, "{penalty} {without}");
        solved.push(z);
    }
    assert!(largest_difference(&solved[0], &solved[1]) < 1e-10);
}

#[test]
fn a_stabilizer_of_no_parameter_is_refused_when_the_fusion_is_built() {
    let stabilizer = |pattern: &str| -> Vec<Box<dyn StabilizerConfig>> {
        vec![Box::new(WeightNorm {
            parameters: vec![pattern.to_owned()],
            ..WeightNorm::default()
        })]
    };
    let built = |pattern| {
        build(&Deq {
            stabilizer: stabilizer(pattern),
            ..tight(Schedule::Sequential)
        })
    };
    // One of the maps is enough.
    assert!(built("theta.2.hat.weight").is_ok() && built("alpha.weight").is_ok());
    let message = built("theta.3.hat.weight")
        .err()
        .expect("refused")
        .to_string();
    assert!(
        message.contains("got `theta.3.hat.weight`, where there are theta.1"),
        "{message}"
    );
}

/// The adjoint equation of the fused state is solved first; where it fails, the cotangents of the modalities are NaN, and
/// theirs fail as well.
#[test]
fn a_failed_adjoint_is_that_of_the_equilibrium_that_failed_first() -> Result<()> {
    let mut config = tight(Schedule::Sequential);
    config.backward = Box::new(Implicit {
        stop: Stop {
            max_evaluations: 2,
            on_unconverged: OnUnconverged::Error,
            ..Stop::at(Tolerance::relative(1e-13))
        },
        ..Implicit::default()
    });
    let fusion = build(&config)?;
    let x = features(50);
    let mut pass = Pass::noiseless();
    let z = fusion.fuse(&x, &mut pass)?;
    let loss = pass.run(&z, |z| z.square().sum::<Rank0, _>().reshape_like(&(1, 1)));
    let error = pass.backward(&loss).err().expect("two steps are too few");
    match &error {
        Error::Equilibrium { name, source } => {
            assert_eq!(name, "fuse");
            let unsolved = matches!(
                **source,
                Error::Unconverged {
                    solve: "adjoint",
                    status: Status::MaxEvaluations,
                    ..
                }
            );
            assert!(unsolved, "{error}");
        }
        other => panic!("{other}"),
    }
    assert!(
        error.to_string().starts_with("fuse: adjoint solve: "),
        "{error}"
    );
    Ok(())
}
