//! Backpropagation through damped Picard steps z_{j+1} = (1 − β) z_j + β f(z_j), j < k, with z_0 held constant, which phantom and
//! unrolled gradients share.

use equilibria_core::prelude::*;

/// Checks the number of steps k and the factor β, which are fields of `plugin`.
pub(crate) fn validate(plugin: &'static str, steps: usize, damping: f64) -> Result<()> {
    Error::require_at_least_one(plugin, "steps", steps)?;
    Error::require_share(plugin, "damping", damping)
}

/// Adds the gradient of ⟨v, z_k⟩ by parameters and inputs, where z_0 is `start`, with the given k and β.
///
/// Memory: k − 1 vectors. Cost: k − 1 evaluations and products, k linearizations and pull-backs.
pub(crate) fn pull_back(
    space: &mut dyn DifferentiableMap,
    start: Slot,
    v: Slot,
    (steps, damping): (usize, f64),
) -> Result<()> {
    let (old_share, new_share) = (Coef::Same(1.0 - damping), Coef::Same(damping));
    let [value, lambda, cotangent] = [space.alloc()?, space.alloc()?, space.alloc()?];
    let mut points = vec![start];
    let mut last = start;
    for _ in 1..steps {
        let next = space.alloc()?;
        space.apply(last, value)?;
        space.combine(next, &[(old_share, last), (new_share, value)])?;
        points.push(next);
        last = next;
    }

    // λ_k = v and λ_j = (1 − β) λ_{j+1} + Jᵀ(z_j) β λ_{j+1}.
    space.combine(lambda, &[(Coef::Same(1.0), v)])?;
    while let Some(point) = points.pop() {
        space.combine(cotangent, &[(new_share, lambda)])?;
        space.linearize(point)?;
        space.pull_back(cotangent)?;
        // λ_0 reaches the start only, which gets no gradient and belongs to the caller.
        if !points.is_empty() {
            space.vjp(cotangent, value)?;
            space.combine(lambda, &[(old_share, lambda), (Coef::Same(1.0), value)])?;
            space.release(point);
        }
    }
    for slot in [value, lambda, cotangent] {
        space.release(slot);
    }
    Ok(())
}
