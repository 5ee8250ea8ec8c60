//! The spectrum of ∂f/∂z, by Arnoldi's method.

use equilibria_core::prelude::*;
use nalgebra::linalg::Schur;
use nalgebra::DMatrix;

/// Steps of the QR iteration per eigenvalue; a few are usual.
const QR_STEPS: usize = 100;

/// The largest absolute eigenvalue of J = ∂f/∂z at `z`, per sample.
///
/// Arnoldi's method projects Jᵀ on the Krylov space of a random vector; the eigenvalues of the small projected matrix
/// approach the outer ones of J, complex pairs included, and are all of them once `krylov` reaches the dimension of the
/// state. For a normal J the result is never too large; for others it may be, before it has converged. Accuracy: rounding
/// times the condition of the eigenvalue, so that a nilpotent J of dimension d gives some ε^(1/d) instead of 0.
///
/// Picard iteration converges near a fixed point z where this is below 1, and does not where it is above.
///
/// Cost: `krylov` products Jᵀu for all samples at once, 2 `krylov`² inner products, and an eigenvalue problem of that size per
/// sample on the host. Memory: `krylov` + 1 states. Larger values than the dimension of the state mean that dimension.
///
/// The result is NaN for a sample whose Jacobian is not finite, or whose QR iteration does not end.
///
/// # Errors
/// [`Error::Config`] if `krylov` is 0, and those of the space.
///
/// # Example
/// ```
/// # mod equilibria {
/// #     pub use equilibria_core::*;
/// #     pub use equilibria_solvers::{backward, solver, spectrum};
/// # }
/// use equilibria::dfdx::prelude::*;
/// use equilibria::{backward, solver, spectrum::spectral_radius, Equilibrium};
/// use equilibria_testing::AffineMap;
///
/// let device = Cpu::default();
/// let map: AffineMap<f64, Cpu> = AffineMap::new(&device, &[0.3, -0.8], 1)?;
/// let equilibrium = Equilibrium::new(map, solver("picard")?, backward("implicit")?);
/// let (z, x) = (device.zeros_like(&(5, 2)), [device.ones_like(&(5, 2))]);
/// let radii = equilibrium.inspect(&[z], &x, |space, at| spectral_radius(space, at[0], 20, 1))?;
/// assert!(radii.concat().iter().all(|radius| (radius - 0.8).abs() < 1e-12));
/// # Ok::<(), equilibria_core::Error>(())
/// ```
///
/// Reference: W. E. Arnoldi, The principle of minimized iterations in the solution of the matrix eigenvalue problem,
/// Quart. Appl. Math. 9, 1951; Y. Saad, Numerical Methods for Large Eigenvalue Problems, SIAM 2011, §6.2.
pub fn spectral_radius(
    space: &mut dyn DifferentiableMap,
    z: Slot,
    krylov: usize,
    seed: u64,
) -> Result<Vec<f64>> {
    Error::require_at_least_one("spectral_radius", "krylov", krylov)?;
    space.linearize(z)?;
    let size = krylov.min(space.dim());
    let projections = arnoldi(space, size, seed)?;
    Ok(projections.into_iter().map(largest_eigenvalue).collect())
}

/// Jᵀ at the linearization point projected on the Krylov space of a random vector, `[size, size]` per sample.
///
/// Where the Krylov space of a sample is smaller, its next basis vector is 0, and so are the columns that follow:
/// they add eigenvalues 0, which change no spectral radius.
fn arnoldi(space: &mut dyn DifferentiableMap, size: usize, seed: u64) -> Result<Vec<DMatrix<f64>>> {
    let (batch, rounding) = (space.batch(), space.dim() as f64 * space.epsilon());
    let mut projections = vec![DMatrix::zeros(size, size); batch];
    let mut products = vec![0.0; batch];
    // The largest ‖Jᵀu‖ so far: what rounding errors are relative to.
    let mut scales = vec![0.0_f64; batch];
    let first = space.alloc()?;
    space.fill_normal(first, seed)?;
    normalize(space, first, &scales)?;
    let mut basis = vec![first];
    for column in 0..size {
        let next = space.alloc()?;
        space.vjp(basis[column], next)?;
        space.dots(next, &[next], &mut products)?;
        for (scale, square) in scales.iter_mut().zip(&products) {
            *scale = scale.max(square.sqrt());
        }
        orthogonalize(space, next, &basis, &mut projections, &mut products)?;
        if column + 1 < size {
            let bounds: Vec<f64> = scales.iter().map(|scale| rounding * scale).collect();
            let norms = normalize(space, next, &bounds)?;
            for (projection, norm) in projections.iter_mut().zip(norms) {
                projection[(column + 1, column)] = norm;
            }
        }
        basis.push(next);
    }
    basis.into_iter().for_each(|slot| space.release(slot));
    for (projection, scale) in projections.iter_mut().zip(scales) {
        if !scale.is_finite() {
            // Where ‖Jᵀu‖² overflows, every vector seems to vanish beside it.
            projection.fill(f64::NAN);
        }
    }
    Ok(projections)
}

/// Takes what lies along the basis away from `next`, the image of its last vector, by modified Gram-Schmidt, and adds it to the
/// column of that vector in the projections. `products` is overwritten.
fn orthogonalize(
    space: &mut dyn DifferentiableMap,
    next: Slot,
    basis: &[Slot],
    projections: &mut [DMatrix<f64>],
    products: &mut [f64],
) -> Result<()> {
    let column = basis.len() - 1;
    // The second pass restores the orthogonality that rounding takes from the first.
    for _ in 0..2 {
        for (row, &vector) in basis.iter().enumerate() {
            space.dots(next, &[vector], products)?;
            for (projection, product) in projections.iter_mut().zip(&mut *products) {
                projection[(row, column)] += *product;
                *product = -*product;
            }
            let terms = [(Coef::Same(1.0), next), (Coef::PerSample(products), vector)];
            space.combine(next, &terms)?;
        }
    }
    Ok(())
}

/// Divides the vector of every sample by its norm and returns that; one no longer than its bound becomes 0.
fn normalize(space: &mut dyn DifferentiableMap, vector: Slot, bounds: &[f64]) -> Result<Vec<f64>> {
    let mut norms = vec![0.0; bounds.len()];
    space.dots(vector, &[vector], &mut norms)?;
    for (norm, bound) in norms.iter_mut().zip(bounds) {
        *norm = if norm.sqrt() > *bound {
            norm.sqrt()
        } else {
            0.0
        };
    }
    let inverse = |&norm: &f64| if norm > 0.0 { 1.0 / norm } else { 0.0 };
    let inverses: Vec<f64> = norms.iter().map(inverse).collect();
    space.combine(vector, &[(Coef::PerSample(&inverses), vector)])?;
    Ok(norms)
}

fn largest_eigenvalue(matrix: DMatrix<f64>) -> f64 {
    let steps = QR_STEPS * matrix.nrows();
    // The QR iteration divides by the largest entry, and would not end on NaN.
    if !matrix.iter().all(|entry| entry.is_finite()) {
        return f64::NAN;
    }
    if matrix.amax() <= 0.0 {
        return 0.0;
    }
    let Some(schur) = Schur::try_new(matrix, f64::EPSILON, steps) else {
        return f64::NAN;
    };
    let eigenvalues = schur.complex_eigenvalues();
    let sizes = eigenvalues.iter().map(|value| value.re.hypot(value.im));
    sizes.fold(0.0, f64::max)
}
