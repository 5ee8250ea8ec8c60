//! The gradient of ‖Jᵀε‖², which penalties on the Jacobian share.

use equilibria_core::prelude::*;

/// ‖w‖² of every sample.
pub(crate) fn lengths(space: &mut dyn DifferentiableSpace, w: Slot) -> Result<Vec<f64>> {
    let mut squares = vec![0.0; space.batch()];
    space.dots(w, &[w], &mut squares)?;
    Ok(squares)
}

/// Adds the gradient of Σ_s c_s ‖w_s‖² by parameters and inputs, where w = Jᵀε, J = ∂f/∂z at z, the linearization point; z
/// and ε are held constant.
///
/// The gradient is that of 2 c ⟨ε, J w⟩ with w held constant, which some spaces have exactly. Elsewhere J w is the slope of f
/// along w: a central difference of two pull-backs, from points that lie h from z, root mean square over the entries. Its
/// error is O(h²) where f is smooth between the two points. May leave the linearization at one of them.
pub(crate) fn pull_back(
    space: &mut dyn DifferentiableSpace,
    z: Slot,
    [probe, product]: [Slot; 2],
    factors: &[f64],
    step: f64,
) -> Result<()> {
    let twice: Vec<f64> = factors.iter().map(|factor| 2.0 * factor).collect();
    match space.pull_back_tangent(probe, product, &twice)? {
        true => Ok(()),
        false => pull_back_difference(space, z, [probe, product], &twice, step),
    }
}

/// Adds the gradient of Σ_s c_s ⟨p_s, J w_s⟩, approximately, with J w = ‖w‖ / 2L · (f(z + L w/‖w‖) − f(z − L w/‖w‖)).
fn pull_back_difference(
    space: &mut dyn DifferentiableSpace,
    z: Slot,
    [p, w]: [Slot; 2],
    factors: &[f64],
    step: f64,
) -> Result<()> {
    let length = step * (space.dim() as f64).sqrt();
    let norms = lengths(space, w)?.into_iter().map(f64::sqrt);
    let norms: Vec<f64> = norms.collect();
    let [point, cotangent] = [space.alloc()?, space.alloc()?];
    for sign in [1.0, -1.0] {
        // Where w = 0, so is the gradient.
        let shift = |&norm: &f64| match norm > 0.0 {
            true => sign * length / norm,
            false => 0.0,
        };
        let shifts: Vec<f64> = norms.iter().map(shift).collect();
        space.combine(
            point,
            &[(Coef::Same(1.0), z), (Coef::PerSample(&shifts), w)],
        )?;
        let slope = |(&norm, &factor): (&f64, &f64)| sign * factor * norm / (2.0 * length);
        let slopes: Vec<f64> = norms.iter().zip(factors).map(slope).collect();
        space.combine(cotangent, &[(Coef::PerSample(&slopes), p)])?;
        space.linearize(point)?;
        space.pull_back(cotangent)?;
    }
    space.release(point);
    space.release(cotangent);
    Ok(())
}
