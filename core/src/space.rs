//! The vector space a solve runs in: handles to batches of vectors, and the few coarse operations solvers need.
//!
//! Solvers, backward strategies and regularizers see nothing but this table. Written once, they run on CPU and CUDA,
//! in f32 and f64. SUNDIALS splits its solvers from its vectors in the same way (`N_Vector`).

mod adjoint;
mod combine;
mod deferral;
mod delegate;
mod normal;
mod slice;
mod tangent;
mod tensor;

pub use adjoint::AdjointSpace;
pub use combine::combine_all;
pub use slice::SliceSpace;
pub use tangent::jacobian_product;
pub use tensor::TensorSpace;

use crate::Result;

/// Handle to one batch of vectors, `[batch, dim]`, owned by a [`StateSpace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot(pub(crate) usize);

/// A coefficient of [`StateSpace::combine`].
#[derive(Debug, Clone, Copy)]
pub enum Coef<'a> {
    /// One number for the whole batch.
    Same(f64),
    /// One number per sample, `[batch]`.
    PerSample(&'a [f64]),
}

impl Coef<'_> {
    /// The coefficient of one sample.
    #[inline]
    pub fn of(&self, sample: usize) -> f64 {
        match self {
            Self::Same(c) => *c,
            Self::PerSample(c) => c[sample],
        }
    }
}

/// The vector space a solve runs in, and the map `f` whose fixed point is sought.
///
/// Rows are samples. The first [`batch`](StateSpace::batch) rows of a slot are *active*; rows behind them belong to
/// samples that are done, and no operation but [`permute`](StateSpace::permute) touches them.
pub trait StateSpace {
    /// Number of active samples.
    fn batch(&self) -> usize;

    /// Dimension of one sample's state.
    fn dim(&self) -> usize;

    /// Rounding error of one operation, relative: ε of the element type.
    fn epsilon(&self) -> f64;

    /// A slot of zeros. Storage is recycled: a solve allocates on its first steps only.
    fn alloc(&mut self) -> Result<Slot>;

    /// Gives a slot back.
    fn release(&mut self, slot: Slot);

    /// `out = f(z)`.
    fn apply(&mut self, z: Slot, out: Slot) -> Result<()>;

    /// [`apply`](Self::apply) at what may be the last point of some samples: where the solution is to be linearized, keeps what
    /// that will take. Returns whether it did. Default: it does not.
    fn apply_keeping(&mut self, z: Slot, out: Slot) -> Result<bool> {
        self.apply(z, out)?;
        Ok(false)
    }

    /// Tells that `z` holds the points at which every sample was [kept](Self::apply_keeping) last, exactly: the space is
    /// linearized there. Default: of no use.
    fn keep_linearization(&mut self, _z: Slot) {}

    /// Lets evaluations of the rows from `from` on, counted among the active ones, be rounded to 8 binary digits, until told
    /// otherwise; at first none are. Returns whether any would differ. Products with the Jacobian and gradients
    /// are exact, unless the space was linearized meanwhile. From the number of rows on, none are, but more may be asked for;
    /// `usize::MAX` says that no more will be. Default: all evaluations are exact.
    fn allow_rounding(&mut self, _from: usize) -> bool {
        false
    }

    /// Writes to `errors`, for every active row, an estimate of what rounding has changed in the last evaluation, ‖·‖₂; 0 where that
    /// was exact. Rows of which it is not known keep what is there. Asked for before rows change places. Default: none is known.
    fn rounding_errors(&mut self, _errors: &mut [f64]) {}

    /// `out[s · bs.len() + k] = ⟨a_s, bs[k]_s⟩`, per sample, accumulated in f64.
    fn dots(&mut self, a: Slot, bs: &[Slot], out: &mut [f64]) -> Result<()>;

    /// `out = a − b`, with ‖out_s‖² in `squares` and ‖a_s‖² in `lengths`, per sample, accumulated in f64. Default: from
    /// [`combine`](Self::combine) and [`dots`](Self::dots).
    fn difference(
        &mut self,
        a: Slot,
        b: Slot,
        out: Slot,
        squares: &mut [f64],
        lengths: &mut [f64],
    ) -> Result<()> {
        self.combine(out, &[(Coef::Same(1.0), a), (Coef::Same(-1.0), b)])?;
        self.dots(out, &[out], squares)?;
        self.dots(a, &[a], lengths)
    }

    /// `out_s = Σ_k c_{k,s} v_{k,s}` in one pass; `out` may be among the terms.
    fn combine(&mut self, out: Slot, terms: &[(Coef<'_>, Slot)]) -> Result<()>;

    /// Copies the given active rows of `from` to `to`. A selection, not a masked product: 0 · NaN would be NaN.
    fn copy_rows(&mut self, from: Slot, to: Slot, rows: &[usize]) -> Result<()>;

    /// Exchanges the given pairs of rows, one pair after the other, in everything that holds one row per sample
    /// (slots, injected inputs, linearization); then the first `batch` rows are the active ones.
    fn permute(&mut self, swaps: &[(usize, usize)], batch: usize) -> Result<()>;

    /// Fills the active rows with standard normal numbers that depend only on `seed` and on the sample, not on
    /// the batch it is in.
    fn fill_normal(&mut self, slot: Slot, seed: u64) -> Result<()>;

    /// Copies the active rows from the host, row-major `[batch, dim]`.
    fn write(&mut self, slot: Slot, values: &[f64]) -> Result<()>;

    /// Copies the active rows to the host, row-major `[batch, dim]`.
    fn read(&mut self, slot: Slot) -> Result<Vec<f64>>;

    /// Fixes the point at which derivatives are taken. Default: nothing to do, as for affine maps.
    fn linearize(&mut self, _z: Slot) -> Result<()> {
        Ok(())
    }

    /// `out = J v` with `J = ∂f/∂z` at the linearization point, if this space can; else returns false and leaves `out`
    /// alone. Default: it cannot. See [`jacobian_product`], which then takes a difference.
    fn jvp(&mut self, _v: Slot, _out: Slot) -> Result<bool> {
        Ok(false)
    }
}

/// A state space whose map can be differentiated: what backward strategies and regularizers work on.
pub trait DifferentiableSpace: StateSpace {
    /// `out = Jᵀu` with `J = ∂f/∂z` at the [linearization](StateSpace::linearize) point.
    fn vjp(&mut self, u: Slot, out: Slot) -> Result<()>;

    /// Adds `(∂f/∂θ)ᵀu` and `(∂f/∂x)ᵀu` at the linearization point to the gradients of parameters and inputs.
    /// All samples must be active and in their original order, as [`solve`](crate::solve()) leaves them.
    fn pull_back(&mut self, u: Slot) -> Result<()>;

    /// Adds the gradients of `Σ_s c_s ⟨p_s, J_s v_s⟩` by parameters and inputs, with p and v held constant and `c` in
    /// `factors`, as [`pull_back`](Self::pull_back) does those of `⟨u, f(z)⟩`, if this space has such derivatives; else returns
    /// false. It may cost less if the last [product](Self::vjp) was that with p. Default: it has none. A central difference of
    /// two pull-backs of `p` along `v` does the same, approximately.
    fn pull_back_tangent(&mut self, _p: Slot, _v: Slot, _factors: &[f64]) -> Result<bool> {
        Ok(false)
    }
}
