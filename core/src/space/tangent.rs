//! Products with the Jacobian.

use super::{Coef, Slot, StateSpace};
use crate::Result;

/// `out = J v` at `z`, where [`linearize`](StateSpace::linearize) was called: exact where the space has such products,
/// else the central difference `(f(z + hv) − f(z − hv)) / 2h`, which costs two evaluations.
///
/// Per sample h = ∛ε · max(1, ‖z‖₂) / ‖v‖₂, where truncation and rounding balance; `out = 0` where v = 0.
/// `out` must be neither `z` nor `v`.
pub fn jacobian_product(space: &mut dyn StateSpace, z: Slot, v: Slot, out: Slot) -> Result<()> {
    if space.jvp(v, out)? {
        return Ok(());
    }
    let steps = steps(space, z, v)?;
    let scaled = |factor: f64| -> Vec<f64> { steps.iter().map(|h| factor * h).collect() };
    let inverse = |factor: f64| -> Vec<f64> {
        let inverse = |&h: &f64| if h > 0.0 { factor / h } else { 0.0 };
        steps.iter().map(inverse).collect()
    };
    let [point, value] = [space.alloc()?, space.alloc()?];
    for (sign, out) in [(-1.0, value), (1.0, out)] {
        let step = scaled(sign);
        let terms = [(Coef::Same(1.0), z), (Coef::PerSample(&step), v)];
        space.combine(point, &terms)?;
        space.apply(point, out)?;
    }
    let (ahead, behind) = (inverse(0.5), inverse(-0.5));
    let terms = [
        (Coef::PerSample(&ahead), out),
        (Coef::PerSample(&behind), value),
    ];
    space.combine(out, &terms)?;
    space.release(point);
    space.release(value);
    Ok(())
}

/// The step h of every sample; 0 where v = 0.
fn steps(space: &mut dyn StateSpace, z: Slot, v: Slot) -> Result<Vec<f64>> {
    let batch = space.batch();
    let (mut length, mut size) = (vec![0.0; batch], vec![0.0; batch]);
    space.dots(v, &[v], &mut length)?;
    space.dots(z, &[z], &mut size)?;
    let unit = space.epsilon().cbrt();
    let steps = length.iter().zip(&size).map(|(&length, &size)| {
        let step = unit * size.sqrt().max(1.0) / length.sqrt();
        if step.is_finite() {
            step
        } else {
            0.0
        }
    });
    Ok(steps.collect())
}
