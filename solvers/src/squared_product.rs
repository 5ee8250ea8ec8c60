//! The gradient of ‖Jᵀε‖² without second derivatives, which penalties on the Jacobian share.

use equilibria_core::prelude::*;

/// ‖w‖² of every sample.
pub(crate) fn lengths(space: &mut dyn DifferentiableSpace, w: Slot) -> Result<Vec<f64>> {
    let mut squares = vec![0.0; space.batch()];
    space.dots(w, &[w], &mut squares)?;
    Ok(squares)
}

/// Adds the gradient of Σ_s c_s ‖w_s‖² by parameters and inputs, where w = Jᵀε, J = ∂f/∂z at z; z and ε are held constant.
///
/// The gradient is 2 c ⟨ε, ∂J w⟩, and J w is the slope of f along w: a central difference of two pull-backs, from points
/// that lie h from z, root mean square over the entries. Its error is O(h²) where f is smooth between the two points.
/// Leaves the linearization at one of them.
pub(crate) fn pull_back(
    space: &mut dyn DifferentiableSpace,
    z: Slot,
    [probe, product]: [Slot; 2],
    factors: &[f64],
    step: f64,
) -> Result<()> {
    let length = step * (space.dim() as f64).sqrt();
    let norms: Vec<f64> = lengths(space, product)?
        .into_iter()
        .map(f64::sqrt)
        .collect();
    let [point, cotangent] = [space.alloc()?, space.alloc()?];
    // J w = ‖w‖ / 2L · (f(z + L w/‖w‖) − f(z − L w/‖w‖)); where w = 0, so is the gradient.
    for sign in [1.0, -1.0] {
        let shift = |&norm: &f64| {
            if norm > 0.0 {
                sign * length / norm
            } else {
                0.0
            }
        };
        let shifts: Vec<f64> = norms.iter().map(shift).collect();
        space.combine(
            point,
            &[(Coef::Same(1.0), z), (Coef::PerSample(&shifts), product)],
        )?;
        let slope = |(norm, factor): (&f64, &f64)| sign * factor * norm / length;
        let slopes: Vec<f64> = norms.iter().zip(factors).map(slope).collect();
        space.combine(cotangent, &[(Coef::PerSample(&slopes), probe)])?;
        space.linearize(point)?;
        space.pull_back(cotangent)?;
    }
    space.release(point);
    space.release(cotangent);
    Ok(())
}
