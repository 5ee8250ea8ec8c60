//! Implicit layers: layers whose output is *defined* by an equation, `z* = f_θ(z*; x)`, on [dfdx](https://docs.rs/dfdx/0.13.0) tensors.
//!
//! ```
//! use dfdx::prelude::*;
//! use equilibria::{backward, layer, solver, Equilibrium, Initializer, Matrix, Result};
//!
//! fn main() -> Result<()> {
//!     let mut init = Initializer::new(&Cpu::default(), 1);
//!     let affine = layer("affine-tanh", 8, &[3], &mut init)?;
//!     let equilibrium = Equilibrium::new(affine, solver("anderson")?, backward("implicit")?);
//!
//!     let x: Matrix<f32, Cpu> = init.normal((4, 3), 1.0)?;
//!     let solved = equilibrium.forward(&[x.clone()], OwnedTape::default())?;
//!     assert_eq!(solved.report.unconverged(), 0);
//!
//!     let gradients = solved.z.square().mean::<Rank0, _>().backward();
//!     println!("{:?}", gradients.get(&x).as_vec());
//!     Ok(())
//! }
//! ```
//!
//! # Plugins by name
//!
//! Every plugin of a kind is made by the function named like the kind, with its default configuration; the module beside it has
//! the structs, to be configured field by field. [`registry::make`] takes a configuration as a file has it.
//!
//! | kind | by name | structs | contract |
//! |---|---|---|---|
//! | solver | [`solver()`] | [`solvers`] | [`FixedPointSolver`] |
//! | backward strategy | [`backward()`] | [`mod@backward`] | [`BackwardStrategy`] |
//! | regularizer | [`regularizer()`] | [`regularizers`] | [`Regularizer`] |
//! | layer | [`layer()`] | [`layers`] | [`LayerConfig`], [`ImplicitLayer`] |
//! | stabilizer | [`stabilizer()`] | [`stabilizers`] | [`StabilizerConfig`], [`Stabilizer`] |
//! | fusion | [`fusion()`] | [`fusions`] | [`FusionConfig`], [`Fusion`] |
//! | backbone | [`backbone()`] | [`backbones`] | [`BackboneConfig`], [`Backbone`] |
//! | head | [`head()`] | [`heads`] | [`Head`] |
//! | data source | [`data()`] | [`sources`] | [`DataSource`] |
//! | optimizer | [`optimizer()`] | [`mod@optimizer`] | |
//!
//! A plugin of your own is one file that begins with `use equilibria::prelude::*;`, see [`plugin!`].
//!
//! # Features
//!
//! * `program` (default): the `equilibria` program and, as [`program`], what a program with plugins of your own calls. A library
//!   does without: `default-features = false`.
//! * `cuda`: CUDA devices as well.
//! * `mpi`: several processes train together, by an MPI that is installed.

// The contracts, flat: `Equilibrium`, `ImplicitLayer`, `Value`, `Stop` and so on; and the crates that plugins need: dfdx, serde_json, typetag.
#[doc(inline)]
pub use equilibria_core::*;

#[doc(inline)]
pub use equilibria_solvers::{
    backward, forward as solvers, regularizer, regularizers, solver, spectrum, Compat,
};

#[doc(inline)]
pub use equilibria_layers::{
    activation, attend, attention, attention_scores, causal_mask, certificates, concatenate,
    forming, initialize, layer, masked, modules, one_input, one_input_like_state, optimizer,
    plugins as layers, projection, selection, stabilize, stabilizer, stabilizers, tokens,
    vector_field, Activation, Euler, Initializer, LayerConfig, LayerRequest, Layers, Masked,
    Selection, Sizes, Stabilizer, StabilizerConfig, Stabilizers, Tokens, VectorField, Vocabulary,
    Window,
};

#[doc(inline)]
pub use equilibria_fusion::{
    backbone, backbones, checkpoint, data, deq, detection, experiment, fusion, fusions, head,
    heads, loss, metrics, model, part, pass, points, predict, progress, ranks, slot, sources,
    standardization, train, Backbone, BackboneConfig, BackboneRequest, Backbones, DataSource,
    Dtype, Experiment, Fusion, FusionConfig, FusionRequest, Fusions, Head, Losses, Model, Pass,
    Solve, Standardization, Training,
};

#[cfg(feature = "program")]
#[doc(inline)]
pub use equilibria_program as program;

/// What a step is written in: the operators, the words of [`Vocabulary`], and what new ones are made of.
pub mod operations {
    #[doc(inline)]
    pub use equilibria_core::operations::*;
    #[doc(inline)]
    pub use equilibria_layers::operations::*;
}

/// Everything the file of a plugin needs, of any kind.
///
/// ```
/// use equilibria::prelude::*;
///
/// plugin! {
///     /// Relaxed iteration, z ← z + β (f(z) − z).
///     pub struct Relaxed: FixedPointSolver {
///         /// Factor β in (0, 1]. Dimensionless.
///         pub factor: f64 = 0.5,
///     }
/// }
///
/// #[typetag::serde(name = "relaxed")]
/// impl FixedPointSolver for Relaxed {
///     fn start(&self, _: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
///         Ok(Box::new(self.clone()))
///     }
/// }
///
/// impl Iteration for Relaxed {
///     fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
///         let terms = [(Coef::Same(1.0), at.z), (Coef::Same(self.factor), at.residual)];
///         space.combine(next, &terms)
///     }
/// }
///
/// assert_eq!(registry::find("solver", "relaxed")?.default["factor"], 0.5);
/// # Ok::<(), Error>(())
/// ```
pub mod prelude {
    pub use equilibria_core::{kind, AnyLayer, Equilibrium};
    pub use equilibria_fusion::data::{DataError, DataSet, TargetKind, Targets};
    pub use equilibria_fusion::head::{Comparison, Head, Loss, Losses, Metric};
    pub use equilibria_fusion::metrics::MetricsError;
    pub use equilibria_fusion::{
        Backbone, BackboneConfig, BackboneRequest, Backbones, DataSource, Fusion, FusionConfig,
        FusionRequest, Fusions, Pass,
    };
    pub use equilibria_layers::prelude::*;
    pub use equilibria_layers::{Stabilizer, StabilizerConfig, Stabilizers};
}
