//! The reversible iteration and its gradient, on the affine-tanh layer.

use equilibria_core::{
    Backend, BackwardStrategy, Coef, DifferentiableMap, Evaluation, FixedPointSolver,
    ImplicitLayer, LowRank, OnUnconverged, Parameters, Slot, Solution, Tolerance, Vectors,
};
use equilibria_fusion::solvers::{backward, forward};
use serde_json::json;

use crate::golden::layer::{largest, width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::spaces::in_all_of;
use crate::golden::tolerance::{SOLVED, STEP};
use crate::golden::zoo::Case;
use crate::{Error, Result};

/// Steps that an array may be of.
const MOST_STEPS: usize = 10_000;

comparer!(
    "revdeq",
    [
        "param.w.weight",
        "param.w.bias",
        "param.u",
        "implicit.grad.param.u"
    ],
    compare
);

fn compare<D: Backend<f64>>(case: &Case<D>, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let state = width(golden, "param.w.weight")?;
    let mut subject = Subject::new(case, json!({ "type": "affine-tanh" }), state, &["x"])?;
    // Weights are not bounded.
    subject.several = true;
    for name in golden.arrays.keys() {
        let steps = name
            .strip_prefix("steps_")
            .and_then(|rest| rest.strip_suffix(".z"));
        if let Some(steps) = steps.and_then(|steps| steps.parse().ok()) {
            if steps > MOST_STEPS {
                let message = format!("array `{name}`: at most {MOST_STEPS} steps are compared");
                return Err(Error::golden(&golden.path, message));
            }
            compare_steps(case, &subject, steps, ledger)?;
        }
    }
    let solved = subject.solved(golden, subject.layer.clone())?;
    ledger.compare(golden, "fixed_point.z", &solved.z, SOLVED);
    for (name, gradient) in names(&subject).iter().zip(&solved.gradients) {
        let array = format!("implicit.grad.{name}");
        ledger.compare(golden, &array, gradient, SOLVED * largest(golden, &array));
    }
    Ok(())
}

/// What the file calls parameters and the input.
fn names<D: Backend<f64>>(subject: &Subject<D>) -> Vec<String> {
    let named = subject.layer.named();
    let parameters = named.iter().map(|(name, _)| format!("param.{name}"));
    parameters.chain(["input.x".to_owned()]).collect()
}

/// Both states after so many steps, and the gradient of the loss of z then.
fn compare_steps<D: Backend<f64>>(
    case: &Case<D>,
    subject: &Subject<D>,
    steps: usize,
    ledger: &mut Ledger,
) -> Result<()> {
    let (golden, beta) = (&case.golden, case.number("beta")?);
    let size = subject.batch() * subject.layer.state_dim();
    let probe = golden.need("loss.probe", size)?;
    // What going back loses, as the reference has measured it for itself.
    let measured = case.checks[format!("steps_{steps}_reversed_vs_unrolled")].as_f64();
    let lost = measured.map_or(
        f64::EPSILON * (1.0 - beta).powi(-2 * steps as i32),
        |lost| 100.0 * lost,
    );
    for outcome in in_all_of(&subject.layer, &subject.x, |space| {
        let start = space.alloc()?;
        let [y, z] = states(space, beta, steps)?;
        let [y, values] = [y, z].map(|slot| space.vectors().read(slot));
        let values = values?;
        let slope: Vec<f64> = values
            .iter()
            .zip(probe)
            .map(|(z, probe)| z + probe)
            .collect();
        let v = space.alloc()?;
        space.vectors_mut().write(v, &slope)?;
        let strategy = backward::reversible::Reversible {
            steps,
            damping: beta,
            on_unconverged: OnUnconverged::Accept,
            ..Default::default()
        };
        let solution = Solution {
            z,
            start: Some(start),
            inverse: LowRank::default(),
        };
        strategy.backward(space, &solution, v)?;
        Ok([y?, values])
    })? {
        for (name, values) in ["y", "z"].iter().zip(&outcome.result) {
            ledger.compare(golden, &format!("steps_{steps}.{name}"), values, STEP);
        }
        for (name, gradient) in names(subject).iter().zip(&outcome.gradients) {
            let array = format!("steps_{steps}.grad.{name}");
            let tolerance = SOLVED.max(lost) * largest(golden, &array);
            ledger.compare(golden, &array, gradient, tolerance);
        }
    }
    Ok(())
}

/// y and z after so many steps of the solver from 0.
fn states(
    space: &mut dyn DifferentiableMap,
    damping: f64,
    steps: usize,
) -> equilibria_core::Result<[Slot; 2]> {
    let solver = forward::reversible::Reversible { damping };
    let batch = space.batch();
    let mut iteration = solver.start(space, Tolerance::default())?;
    let [mut point, mut next, fz, residual] = [
        space.alloc()?,
        space.alloc()?,
        space.alloc()?,
        space.alloc()?,
    ];
    let unknown = vec![f64::NAN; batch];
    for _ in 0..2 * steps {
        space.apply(point, fz)?;
        let terms = [(Coef::Same(1.0), fz), (Coef::Same(-1.0), point)];
        space.combine(residual, &terms)?;
        let mut at = Evaluation {
            z: point,
            fz,
            residual,
            residual_norms: &unknown,
            value_norms: &unknown,
        };
        iteration.advance(space, &mut at, next)?;
        std::mem::swap(&mut point, &mut next);
    }
    iteration.finish(space);
    Ok([next, point])
}
