//! Sharing the inverse estimate of the forward solve.

use equilibria_core::prelude::*;

use crate::combination::Combination;
use crate::forward::anderson::Anderson;

plugin! {
    /// SHINE: the adjoint equation with the approximate inverse that the forward solver has learned.
    ///
    /// A quasi-Newton solver knows (I − J)⁻¹ ≈ I + Σ_k a_k b_kᵀ at z*, J = ∂f/∂z there; transposed,
    /// (I − Jᵀ)⁻¹ ≈ M = I + Σ_k b_k a_kᵀ.
    ///
    /// Exact up to the tolerance of the adjoint solve where `exact` is set: u = u + M (Jᵀu + v − u) is solved from u = M v.
    /// Its solution is that of u = Jᵀu + v unless M is singular, and the better M is, the fewer steps it takes. The
    /// residual that `stop` bounds and the report shows is the preconditioned one, ‖M (Jᵀu + v − u)‖₂, an estimate of the
    /// error of u itself. Without `exact`, u = M v as in the paper: inexact, by as much as M is, and without a report.
    ///
    /// Cost: per step of the adjoint solver one Jᵀu and 2 vector products per term of M; one pull-back. Without `exact` no
    /// product at all. Memory: the terms of M, kept until the backward pass.
    ///
    /// Needs a forward solver that learns an inverse, `solver = { type = "broyden" }`; any other is refused in the backward
    /// pass.
    ///
    /// Reference: Z. Ramzi et al., SHINE: SHaring the INverse Estimate from the forward pass for bi-level optimization and
    /// implicit models, ICLR 2022.
    pub struct Shine: BackwardStrategy {
        /// Whether the adjoint equation is solved, or M v taken for its solution.
        pub exact: bool = true,
        /// Solver of the preconditioned adjoint equation; used if `exact`.
        pub solver: Box<dyn FixedPointSolver> = Box::new(Anderson::default()),
        /// When the adjoint solve ends. Default: relative 1e-4, at most 100 evaluations, warn if unsolved.
        pub stop: Stop = Stop::default(),
    }
}

#[typetag::serde(name = "shine")]
impl BackwardStrategy for Shine {
    fn validate(&self) -> Result<()> {
        self.solver.validate()?;
        self.stop.validate()
    }

    fn backward(
        &self,
        space: &mut dyn DifferentiableMap,
        solution: &Solution,
        v: Slot,
    ) -> Result<Report> {
        Error::require(
            !solution.inverse.terms.is_empty(),
            "shine",
            "the forward solver",
            "one that learns an inverse, `solver = { type = \"broyden\" }`",
            "one that has learned nothing",
        )?;
        space.linearize(solution.z)?;
        let u = space.alloc()?;
        let mut inverse = Transposed::new(&solution.inverse);
        inverse.apply(space, v, u)?;
        let report = match self.exact {
            true => {
                let inner = AdjointMap::new(space, v);
                let mut space = Preconditioned { inner, inverse };
                solve(&*self.solver, &mut space, u, &self.stop)?
            }
            false => Report::default(),
        };
        space.pull_back(u)?;
        space.release(u);
        Ok(report)
    }

    fn needs_inverse(&self) -> bool {
        true
    }

    fn solver(&self) -> Option<&dyn FixedPointSolver> {
        Some(&*self.solver)
    }

    fn on_unconverged(&self) -> OnUnconverged {
        self.stop.on_unconverged
    }
}

/// M = I + Σ_k b_k a_kᵀ.
struct Transposed {
    a: Vec<Slot>,
    b: Vec<Slot>,
    combination: Combination,
}

impl Transposed {
    fn new(inverse: &LowRank) -> Self {
        let (a, b) = inverse.terms.iter().copied().unzip();
        Self {
            a,
            b,
            combination: Combination::default(),
        }
    }

    /// `out = M r`; `out` may be `r`.
    fn apply(&mut self, space: &mut dyn Map, r: Slot, out: Slot) -> Result<()> {
        let terms = (&self.a[..], &self.b[..]);
        self.combination.project(space, out, r, terms, 1.0)?;
        Ok(())
    }
}

/// The equation u = u + M (Jᵀu + v − u). Its terms live in slots and follow exchanges of rows by themselves.
struct Preconditioned<'s> {
    inner: AdjointMap<'s>,
    inverse: Transposed,
}

impl Preconditioned<'_> {
    /// `out ← u + M (out − u)`.
    fn correct(&mut self, u: Slot, out: Slot) -> Result<()> {
        let terms = [(Coef::Same(1.0), out), (Coef::Same(-1.0), u)];
        self.inner.combine(out, &terms)?;
        self.inverse.apply(&mut self.inner, out, out)?;
        let terms = [(Coef::Same(1.0), u), (Coef::Same(1.0), out)];
        self.inner.combine(out, &terms)
    }
}

impl Map for Preconditioned<'_> {
    equilibria_core::inner_map!(inner: vectors);

    fn apply(&mut self, u: Slot, out: Slot) -> Result<()> {
        self.inner.apply(u, out)?;
        self.correct(u, out)
    }

    /// The derivative I + M (Jᵀ − I) is the same map without v.
    fn jvp(&mut self, u: Slot, out: Slot) -> Result<usize> {
        let evaluations = self.inner.jvp(u, out)?;
        self.correct(u, out)?;
        Ok(evaluations)
    }
}
