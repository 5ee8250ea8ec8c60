//! The contracts of Equilibria: layers whose output is *defined* by an equation, `z* = f_θ(z*; x)`.
//!
//! | who | contract | knows |
//! |---|---|---|
//! | a layer | [`ImplicitLayer`] | operations on [`Value`]s; nothing of solvers, tapes or devices |
//! | an operation | [`Operation`], [`RowOperation`] | dfdx tensors and slices; nothing of layers |
//! | a solver | [`FixedPointSolver`], [`Iteration`] | a [`Map`] on [`Vectors`]; nothing of layers or gradients |
//! | a backward strategy | [`BackwardStrategy`] | a [`DifferentiableMap`]: `Jᵀu` as well |
//! | a regularizer | [`Regularizer`] | the same |
//!
//! [`solve()`] is the one loop that evaluates, measures and stops; [`Equilibrium`] puts all of them on the dfdx tape. How they do it
//! is in [`plumbing`], which no author of these needs.

mod layout;
mod program;
mod recorded;
mod wide;

pub mod backend;
pub mod backward;
pub mod build;
pub mod certificate;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod device_code;
pub mod equilibrium;
pub mod error;
pub mod input;
pub mod layer;
pub mod map;
pub mod measure;
pub mod on_device;
pub mod operation;
pub mod operations;
pub mod parameters;
pub mod plumbing;
pub mod registry;
pub mod regularizer;
pub mod report;
pub mod requirement;
pub mod row_gradients;
pub mod row_map;
pub mod seed;
pub mod solve;
pub mod solver;
pub mod value;
pub mod vectors;

pub use equilibria_compute::{parallel, simd, vectorized, Element};

pub use backend::{copy_to_host, from_host, to_host, Backend, Matrix, Scalar};
pub use backward::{BackwardStrategy, Solution};
pub use build::{Build, BuildAny, Family};
pub use certificate::Certificate;
pub use device::DeviceName;
pub use device_code::{DeviceCode, Formulas};
pub use equilibrium::{Adjoint, AllSolved, Equilibrium, Solved};
pub use error::{Error, Result};
pub use input::{contiguous, copied, separate, try_contiguous};
pub use layer::{apply, output, AnyLayer, AnyTape, Formed, ImplicitLayer, StepOnly};
pub use map::{DifferentiableMap, Map};
pub use on_device::{ConvexSet, OnDevice, UpdateRule};
pub use operation::{
    At, Gradients, Neighbor, Neighbors, Operation, Prepared, Reads, RowOperation, Scratch,
};
pub use parameters::{Parameters, Renamed};
pub use plumbing::AdjointMap;
pub use program::MOST_ARGUMENTS;
pub use recorded::recorded;
pub use regularizer::Regularizer;
pub use report::{Report, SampleReport, Status, Step, Tally, TracePoint};
pub use requirement::Requirement;
pub use row_gradients::{ParameterGradient, RowGradients};
pub use row_map::{RowMap, Tangents};
pub use solve::{solve, solve_with_inverse, OnUnconverged, Stop, Tolerance};
pub use solver::{Evaluation, FixedPointSolver, Iteration, LowRank};
pub use value::Value;
pub use vectors::{combine_all, Coef, Slot, Vectors};

#[doc(hidden)]
pub use {dfdx, dyn_clone, inventory, serde, serde_json, typetag};

/// What the code that [`plugin!`] writes finds by name.
#[doc(hidden)]
pub mod for_plugins {
    pub use serde as equilibria_serde;
}

/// Everything a plugin file needs.
pub mod prelude {
    pub use crate::operations::{Pointwise, TensorCode, Tensors, ARGUMENT, BOTH, RESULT};
    pub use crate::registry;
    pub use crate::{
        combine_all, parameters, plugin, solve, AdjointMap, AnyTape, Backend, BackwardStrategy,
        Build, Certificate, Coef, DifferentiableMap, Element, Error, Evaluation, FixedPointSolver,
        Formed, ImplicitLayer, Iteration, LowRank, Map, Matrix, OnUnconverged, Operation,
        ParameterGradient, Parameters, Reads, Regularizer, Report, Requirement, Result,
        RowGradients, RowMap, RowOperation, Scalar, Scratch, Slot, Solution, Status, Stop,
        Tangents, Tolerance, Value, Vectors,
    };
    pub use serde::{Deserialize, Serialize};
    pub use typetag;
}
