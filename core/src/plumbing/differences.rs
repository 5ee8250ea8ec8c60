//! Central differences in place of derivatives that a map does not have.

use crate::{Coef, Map, Result, Slot, Vectors};

/// `out = (f(z + hv) − f(z − hv)) / 2h ≈ J v`, for maps without exact products with their Jacobian: two evaluations.
///
/// Per sample h = ∛ε · max(1, ‖z‖₂) / ‖v‖₂, where truncation and rounding balance; `out = 0` where v = 0.
/// `out` must not be `z`.
pub fn central_difference(space: &mut dyn Map, z: Slot, v: Slot, out: Slot) -> Result<()> {
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
fn steps(space: &mut dyn Map, z: Slot, v: Slot) -> Result<Vec<f64>> {
    let (length, size) = (squares(space, v)?, squares(space, z)?);
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

/// ‖v‖² of every sample.
fn squares(space: &mut (impl Map + ?Sized), v: Slot) -> Result<Vec<f64>> {
    let mut squares = vec![0.0; space.batch()];
    space.dots(v, &[v], &mut squares)?;
    Ok(squares)
}

/// Adds the gradient of Σ_s c_s ⟨p_s, J v_s⟩, approximately, with J v = ‖v‖ / 2L · (f(z + L v/‖v‖) − f(z − L v/‖v‖)) and
/// L = `step` · √dim: two pull-backs by `pull_back`, which takes a point and a cotangent there.
pub(crate) fn pull_back_difference<M: Map>(
    space: &mut M,
    z: Slot,
    [p, v]: [Slot; 2],
    (factors, step): (&[f64], f64),
    pull_back: impl Fn(&mut M, Slot, Slot) -> Result<()>,
) -> Result<()> {
    let length = step * (space.dim() as f64).sqrt();
    let norms = squares(space, v)?.into_iter().map(f64::sqrt);
    let norms: Vec<f64> = norms.collect();
    let [point, cotangent] = [space.alloc()?, space.alloc()?];
    for sign in [1.0, -1.0] {
        // Where v is 0, the gradient is 0.
        let shift = |&norm: &f64| match norm > 0.0 {
            true => sign * length / norm,
            false => 0.0,
        };
        let shifts: Vec<f64> = norms.iter().map(shift).collect();
        let terms = [(Coef::Same(1.0), z), (Coef::PerSample(&shifts), v)];
        space.combine(point, &terms)?;
        let slope = |(&norm, &factor): (&f64, &f64)| sign * factor * norm / (2.0 * length);
        let slopes: Vec<f64> = norms.iter().zip(factors).map(slope).collect();
        space.combine(cotangent, &[(Coef::PerSample(&slopes), p)])?;
        pull_back(space, point, cotangent)?;
    }
    space.release(point);
    space.release(cotangent);
    Ok(())
}
