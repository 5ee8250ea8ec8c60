//! The map of a fixed-point equation, on the vectors of a solve.

use crate::plumbing::{Shortcuts, Store};
use crate::{Result, Slot};

/// The map `f` whose fixed point `z = f(z)` is sought, on vectors of its own.
///
/// It has the methods of [`Vectors`](crate::Vectors) as well. A map around another one hands the vectors of that on, and changes
/// `apply` and `jvp` alone: [`AdjointMap`](crate::AdjointMap) is one.
pub trait Map {
    /// What the map works on.
    fn vectors(&self) -> &dyn Store;

    /// What the map works on, to be written to.
    fn vectors_mut(&mut self) -> &mut dyn Store;

    /// `out = f(z)`.
    fn apply(&mut self, z: Slot, out: Slot) -> Result<()>;

    /// Fixes the point at which derivatives are taken, whatever becomes of the slot. Default: nothing to do, as for affine maps.
    fn linearize(&mut self, _z: Slot) -> Result<()> {
        Ok(())
    }

    /// `out = J v` with `J = ∂f/∂z` at the [linearization](Self::linearize) point: exact where the map can, else the
    /// [central difference](crate::plumbing::central_difference) of two evaluations. Returns how many evaluations it counts as:
    /// 1 if it is exact, else 2.
    fn jvp(&mut self, v: Slot, out: Slot) -> Result<usize>;

    /// What the solve loop may do in place of plain evaluations; no solver needs to know. Default: nothing, which is right for
    /// every map around another one.
    fn shortcuts(&mut self) -> Option<&mut dyn Shortcuts> {
        None
    }
}

/// Methods of [`Map`] or [`DifferentiableMap`] that are those of the map in a field, in the implementation of a map around another one:
///
/// `inner_map!(inner: vectors, linearize, jvp);`
///
/// `vectors` stands for both ways to the vectors, which any map around another one hands on.
#[macro_export]
macro_rules! inner_map {
    ($inner:ident: $($method:ident),+ $(,)?) => {
        $($crate::inner_map!(@$method $inner);)+
    };
    (@vectors $inner:ident) => {
        fn vectors(&self) -> &dyn $crate::plumbing::Store {
            self.$inner.vectors()
        }

        fn vectors_mut(&mut self) -> &mut dyn $crate::plumbing::Store {
            self.$inner.vectors_mut()
        }
    };
    (@apply $inner:ident) => {
        fn apply(&mut self, z: $crate::Slot, out: $crate::Slot) -> $crate::Result<()> {
            self.$inner.apply(z, out)
        }
    };
    (@linearize $inner:ident) => {
        fn linearize(&mut self, z: $crate::Slot) -> $crate::Result<()> {
            self.$inner.linearize(z)
        }
    };
    (@jvp $inner:ident) => {
        fn jvp(&mut self, v: $crate::Slot, out: $crate::Slot) -> $crate::Result<usize> {
            self.$inner.jvp(v, out)
        }
    };
    (@shortcuts $inner:ident) => {
        fn shortcuts(&mut self) -> Option<&mut dyn $crate::plumbing::Shortcuts> {
            self.$inner.shortcuts()
        }
    };
    (@vjp $inner:ident) => {
        fn vjp(&mut self, u: $crate::Slot, out: $crate::Slot) -> $crate::Result<()> {
            self.$inner.vjp(u, out)
        }
    };
    (@pull_back $inner:ident) => {
        fn pull_back(&mut self, u: $crate::Slot) -> $crate::Result<()> {
            self.$inner.pull_back(u)
        }
    };
    (@pull_back_tangent $inner:ident) => {
        fn pull_back_tangent(
            &mut self,
            p: $crate::Slot,
            v: $crate::Slot,
            factors: &[f64],
            step: f64,
        ) -> $crate::Result<()> {
            self.$inner.pull_back_tangent(p, v, factors, step)
        }
    };
}

/// A map that can be differentiated: what backward strategies and regularizers work on.
pub trait DifferentiableMap: Map {
    /// `out = Jᵀu` with `J = ∂f/∂z` at the [linearization](Map::linearize) point.
    fn vjp(&mut self, u: Slot, out: Slot) -> Result<()>;

    /// Adds `(∂f/∂θ)ᵀu` and `(∂f/∂x)ᵀu` at the linearization point to the gradients of parameters and inputs.
    /// All samples must be active and in their original order, as [`solve`](crate::solve()) leaves them.
    fn pull_back(&mut self, u: Slot) -> Result<()>;

    /// Adds the gradients of `Σ_s c_s ⟨p_s, J_s v_s⟩` by parameters and inputs, with p and v held constant and `c` in
    /// `factors`, as [`pull_back`](Self::pull_back) does those of `⟨u, f(z)⟩`. Exact where the map has such derivatives: then it
    /// costs less if the last [product](Self::vjp) was that with p. Else a central difference of two pull-backs of p, from points
    /// that lie `step` from z along v, root mean square over the entries: its error is O(`step`²) where f is smooth between them.
    fn pull_back_tangent(&mut self, p: Slot, v: Slot, factors: &[f64], step: f64) -> Result<()>;
}
