//! This framework's DEQ fusion with the parameters and inputs of a golden file.

use std::sync::Arc;

use dfdx::prelude::Cpu;
use equilibria_core::{Backend, Equilibrium, OnUnconverged, Stop, Tolerance};
use equilibria_fusion::deq::DeqFusion;
use equilibria_fusion::fusions::deq::Schedule;
use equilibria_fusion::layers::modules::GroupNorm;
use equilibria_fusion::solvers::backward::implicit::Implicit;
use equilibria_fusion::solvers::forward::anderson::Anderson;

use super::file::Golden;
use crate::parts::Parts;
use crate::{Error, Result};

/// What every comparison needs.
pub type Subject<D> = Parts<f64, D>;

/// Takes everything from the file.
pub fn read<D: Backend<f64>>(device: &D, golden: &Golden) -> Result<Subject<D>> {
    let (eps, epsilon) = (golden.config.eps, GroupNorm::<f64, Cpu>::EPSILON);
    if (eps - epsilon).abs() > 1e-12 * epsilon {
        let message = format!("group normalization has eps {epsilon} here, not {eps}");
        return Err(Error::golden(&golden.path, message));
    }
    let need = |name: &str, count| golden.need(name, count).map(<[f64]>::to_vec);
    let wrong =
        |expected: &str| Error::golden(&golden.path, format!("metadata.json must give {expected}"));
    Parts::new(device, &golden.config.sizes(), need, wrong)
}

/// Solves to the last digit by Anderson acceleration; what is left unsolved shows in the comparison.
pub fn equilibrium<L>(layer: L) -> Equilibrium<L> {
    let stop = Stop {
        max_evaluations: 1000,
        patience: 200,
        on_unconverged: OnUnconverged::Accept,
        ..Stop::at(Tolerance::relative(1e-14))
    };
    Equilibrium {
        name: String::new(),
        layer,
        solver: Arc::new(Anderson::default()),
        backward: Arc::new(Implicit {
            solver: Box::new(Anderson::default()),
            stop: stop.clone(),
        }),
        stop,
        regularizers: Vec::new(),
    }
}

/// DEQ fusion in both schedules, with and without kernels.
pub fn fusions<D: Backend<f64>>(subject: &Subject<D>) -> Vec<DeqFusion<f64, D>> {
    let mut fusions = Vec::new();
    for schedule in [Schedule::Sequential, Schedule::Joint] {
        for kernels in [true, false] {
            fusions.push(subject.fusion(schedule, kernels, equilibrium(())));
        }
    }
    fusions
}
