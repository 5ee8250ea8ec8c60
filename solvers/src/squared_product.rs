//! The gradient of ‖Jᵀε‖², which penalties on the Jacobian share.

use equilibria_core::prelude::*;

/// ‖w‖² of every sample.
pub(crate) fn lengths(space: &mut dyn DifferentiableMap, w: Slot) -> Result<Vec<f64>> {
    let mut squares = vec![0.0; space.batch()];
    space.dots(w, &[w], &mut squares)?;
    Ok(squares)
}

/// Adds the gradient of Σ_s c_s ‖w_s‖² by parameters and inputs, where w = Jᵀε, J = ∂f/∂z at the linearization point; that and ε
/// are held constant.
///
/// It is that of 2 c ⟨ε, J w⟩ with w held constant: exact where the map has it, else a central difference with this `step`.
pub(crate) fn pull_back(
    space: &mut dyn DifferentiableMap,
    [probe, product]: [Slot; 2],
    factors: &[f64],
    step: f64,
) -> Result<()> {
    let twice: Vec<f64> = factors.iter().map(|factor| 2.0 * factor).collect();
    space.pull_back_tangent(probe, product, &twice, step)
}
