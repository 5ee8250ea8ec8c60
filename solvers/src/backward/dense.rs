//! Direct solution of the adjoint equation.

use equilibria_core::prelude::*;
use equilibria_core::SampleReport;
use nalgebra::{DMatrix, DVector};

plugin! {
    /// Direct adjoint solve: the Jacobian of every sample, then (I − Jᵀ) u = v by LU factorization.
    ///
    /// Exact up to rounding, whatever the spectral radius of J = ∂f/∂z at z*: nothing has to converge. A sample whose
    /// I − Jᵀ is singular to working precision (a pivot below d ε times the largest, ε that of the element type), or whose
    /// J is not finite, keeps u = v, the Jacobian-free gradient; the report says `singular` or `non-finite` and
    /// `on_unconverged` what happens. Other samples do not notice.
    ///
    /// Cost, with d the dimension of one state: d products Jᵀe_k, each for all samples at once, d³/3 multiplications
    /// per sample, and one product for the residual ‖Jᵀu + v − u‖₂ in the report. Memory: d² numbers in f64 per sample
    /// of a block (of the batch, on other devices than the CPU). Not for large states: `max_dim` refuses them.
    ///
    /// Reference: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002, chapter 9.
    pub struct Dense: BackwardStrategy {
        /// Largest dimension of a state that is accepted, at least 1.
        pub max_dim: usize = 256,
        /// What to do about singular samples: `error`, `warn` or `accept`.
        pub on_unconverged: OnUnconverged = OnUnconverged::Warn,
    }
}

#[typetag::serde(name = "dense")]
impl BackwardStrategy for Dense {
    fn validate(&self) -> Result<()> {
        Error::require_at_least_one("dense", "max_dim", self.max_dim)
    }

    fn backward(
        &self,
        space: &mut dyn DifferentiableMap,
        solution: &Solution,
        v: Slot,
    ) -> Result<Report> {
        let dim = space.dim();
        Error::require(
            dim <= self.max_dim,
            "dense",
            "max_dim",
            "at least the dimension of the state",
            format!("{} for dimension {dim}", self.max_dim),
        )?;
        space.linearize(solution.z)?;
        let matrices = adjoint_matrices(space)?;
        let mut values = space.vectors().read(v)?;
        let pivot = dim as f64 * space.epsilon();
        let solved = matrices.into_iter().zip(values.chunks_exact_mut(dim));
        let statuses: Vec<Status> = solved
            .map(|(matrix, u)| solve_in_place(matrix, u, pivot))
            .collect();

        let u = space.alloc()?;
        space.vectors_mut().write(u, &values)?;
        let report = measure(space, u, v, &statuses)?;
        space.pull_back(u)?;
        space.release(u);
        Ok(report)
    }

    fn on_unconverged(&self) -> OnUnconverged {
        self.on_unconverged
    }
}

/// I − Jᵀ of every sample at the linearization point, one column after the other.
fn adjoint_matrices(space: &mut dyn DifferentiableMap) -> Result<Vec<DMatrix<f64>>> {
    let (batch, dim) = (space.batch(), space.dim());
    let mut matrices = vec![DMatrix::<f64>::identity(dim, dim); batch];
    let [unit, product] = [space.alloc()?, space.alloc()?];
    for column in 0..dim {
        let ones = (0..batch * dim).map(|entry| f64::from(u8::from(entry % dim == column)));
        space.vectors_mut().write(unit, &ones.collect::<Vec<_>>())?;
        space.vjp(unit, product)?;
        let product = space.vectors().read(product)?;
        for (matrix, product) in matrices.iter_mut().zip(product.chunks_exact(dim)) {
            for (entry, product) in matrix.column_mut(column).iter_mut().zip(product) {
                *entry -= product;
            }
        }
    }
    space.release(unit);
    space.release(product);
    Ok(matrices)
}

/// Replaces v by the solution u, unless there is none. `pivot` is the smallest one allowed, relative to the largest.
fn solve_in_place(matrix: DMatrix<f64>, v: &mut [f64], pivot: f64) -> Status {
    if !matrix.iter().chain(v.iter()).all(|value| value.is_finite()) {
        return Status::NonFinite;
    }
    let mut u = DVector::from_column_slice(v);
    let factors = matrix.lu();
    let pivots = factors.u().diagonal().abs();
    if pivots.min() <= pivot * pivots.max() || !factors.solve_mut(&mut u) {
        return Status::Singular;
    }
    v.copy_from_slice(u.as_slice());
    Status::Converged
}

/// The residual of u as it is used, after rounding to the element type.
fn measure(
    space: &mut dyn DifferentiableMap,
    u: Slot,
    v: Slot,
    statuses: &[Status],
) -> Result<Report> {
    let evaluations = space.dim() + 1;
    let [value, residual] = [space.alloc()?, space.alloc()?];
    AdjointMap::new(space, v).apply(u, value)?;
    space.combine(residual, &[(Coef::Same(1.0), value), (Coef::Same(-1.0), u)])?;
    let (mut size, mut error) = (vec![0.0; statuses.len()], vec![0.0; statuses.len()]);
    space.dots(value, &[value], &mut size)?;
    space.dots(residual, &[residual], &mut error)?;
    space.release(value);
    space.release(residual);
    let record = |((&status, error), size): ((&Status, &f64), &f64)| {
        let residual = if error.is_finite() {
            error.sqrt()
        } else {
            f64::INFINITY
        };
        SampleReport {
            status,
            steps: 1,
            evaluations,
            rounded: 0,
            stage: 0,
            residual,
            relative_residual: if residual > 0.0 {
                residual / size.sqrt()
            } else {
                0.0
            },
            bound: None,
            trace: Vec::new(),
        }
    };
    let samples = statuses.iter().zip(&error).zip(&size).map(record).collect();
    Ok(Report { samples })
}
