//! Solving a problem in any of the spaces, in any dtype.

use std::fmt;

use dfdx::prelude::{Cpu, Device};
use equilibria_core::AnyLayer;

use super::{round, Problem};
use equilibria_core::plumbing::{SliceSpace, TensorSpace};
use equilibria_core::{
    solve, Backend, FixedPointSolver, Map, Report, Result, RowGradients, Scalar, Stop, Vectors,
};

/// The element type of a solve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Precision {
    /// f32.
    #[serde(rename = "f32")]
    Single,
    /// f64.
    #[serde(rename = "f64")]
    Double,
}

/// The space of a solve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Space {
    /// [`SliceSpace`], which calls the map in rows.
    Slice,
    /// [`TensorSpace`], which runs the layer on the CPU.
    Tensor,
}

impl Precision {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Single, Self::Double];

    /// ε, the rounding error of one operation, relative.
    pub fn epsilon(self) -> f64 {
        match self {
            Self::Single => f32::EPSILON.into(),
            Self::Double => f64::EPSILON,
        }
    }
}

impl Space {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Slice, Self::Tensor];
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single => "f32",
            Self::Double => "f64",
        })
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slice => "slice",
            Self::Tensor => "tensor",
        })
    }
}

/// The outcome of one solve.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The returned iterate, `[batch, dim]`, row-major.
    pub z: Vec<f64>,
    /// What the solve says of itself.
    pub report: Report,
}

impl Problem {
    /// Solves the problem from its start.
    ///
    /// # Errors
    /// Those of [`solve()`].
    pub fn solve(
        &self,
        solver: &dyn FixedPointSolver,
        precision: Precision,
        space: Space,
        stop: &Stop,
    ) -> Result<Run> {
        self.within(precision, space, |space| self.solve_in(space, solver, stop))
    }

    /// Solves the problem from its start in a space of its own making, as [`within`](Self::within) provides.
    ///
    /// # Errors
    /// Those of [`solve()`].
    pub fn solve_in(
        &self,
        space: &mut dyn Map,
        solver: &dyn FixedPointSolver,
        stop: &Stop,
    ) -> Result<Run> {
        let z = space.alloc()?;
        space.vectors_mut().write(z, &self.start)?;
        let report = solve(solver, space, z, stop)?;
        let run = Run {
            z: space.vectors().read(z)?,
            report,
        };
        space.release(z);
        Ok(run)
    }

    /// Solves the problem from its start on a device, in the space that equilibria are solved in there.
    ///
    /// # Errors
    /// Those of [`solve()`].
    pub fn solve_on<E: Scalar, D: Backend<E>>(
        &self,
        device: &D,
        solver: &dyn FixedPointSolver,
        stop: &Stop,
    ) -> Result<Run> {
        let layer = AnyLayer::new(self.layer::<E, D>(device)?);
        let inputs = self.tensors(device)?;
        let mut space = D::space(&layer, device, &inputs, self.batch)?;
        self.solve_in(&mut *space, solver, stop)
    }

    /// Runs `job` in a new space for the map of this problem.
    ///
    /// # Errors
    /// Those of the space and of `job`.
    pub fn within<R>(
        &self,
        precision: Precision,
        space: Space,
        job: impl FnOnce(&mut dyn Map) -> Result<R>,
    ) -> Result<R> {
        match precision {
            Precision::Single => self.within_dtype::<f32, R>(space, job),
            Precision::Double => self.within_dtype::<f64, R>(space, job),
        }
    }

    fn within_dtype<E: Scalar, R>(
        &self,
        space: Space,
        job: impl FnOnce(&mut dyn Map) -> Result<R>,
    ) -> Result<R>
    where
        Cpu: Backend<E> + Device<E>,
    {
        match space {
            Space::Slice => {
                let inputs: Vec<Vec<E>> = self.inputs.iter().map(|x| round(x)).collect();
                let inputs: Vec<&[E]> = inputs.iter().map(Vec::as_slice).collect();
                let (map, none) = (self.row_map::<E>(), RowGradients::default());
                let samples = 0..self.batch;
                let mut slices = SliceSpace::new(map, self.dim, samples, &inputs, none);
                job(&mut slices)
            }
            Space::Tensor => {
                let device = Cpu::default();
                let layer = self.layer::<E, Cpu>(&device)?;
                let inputs = self.tensors(&device)?;
                job(&mut TensorSpace::new(&layer, device, &inputs, self.batch))
            }
        }
    }
}
