//! The equilibrium of any layer over the features.

use std::sync::Arc;

use dfdx::prelude::OwnedTape;
use equilibria_core::prelude::*;
use equilibria_core::{output, AnyLayer, Equilibrium};

use crate::deq::solver_differences;
use crate::layers::modules::Linear;
use crate::layers::plugins::mondeq::MondeqConfig;
use crate::layers::{
    stabilize, LayerConfig, LayerRequest, Layers, Sizes, Stabilizer, StabilizerConfig, Stabilizers,
};
use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::pass::Pass;
use crate::solvers::backward::implicit::Implicit;
use crate::solvers::forward::gmres::Gmres;
use crate::solvers::forward::newton_gmres::NewtonGmres;

plugin! {
    /// The equilibrium of any registered layer over the features: what the layer gives away at z* = f(z*; P_1 x + p_1, …), x = [x_1 | … | x_N].
    ///
    /// A learned affine map P_k brings the features, side by side, to the width of every injected input of the layer; with `injection =
    /// "direct"` the features themselves are these inputs, in order, which then are as wide as the layer wants them. So any layer can be
    /// trained by its name, with any solver and backward strategy, also on a single modality. The defaults suit layers that are not
    /// contractions, such as `mondeq`; for a contraction `anderson` takes fewer evaluations.
    ///
    /// Reference: S. Bai, J. Z. Kolter, V. Koltun, Deep Equilibrium Models, NeurIPS 2019, §3.
    pub struct EquilibriumConfig: FusionConfig {
        /// The layer.
        pub layer: Box<dyn LayerConfig> = Box::new(MondeqConfig::default()),
        /// Dimension of the state, from 1 to 1048576; by default the only one that the layer takes, or the width of a feature.
        pub state: Option<usize> = None,
        /// Where injected inputs come from: `learned`, an affine map of all features for each; or `direct`, the features as they are.
        pub injection: Injection = Injection::Learned,
        /// Keep the matrices of the layer small. Parameters are named as the layer names them.
        pub stabilizer: Vec<Box<dyn StabilizerConfig>> = Vec::new(),
        /// Forward solver.
        pub solver: Box<dyn FixedPointSolver> = Box::new(NewtonGmres::default()),
        /// When the forward solve ends.
        pub stop: Stop = Stop::default(),
        /// How gradients pass through the equilibrium.
        pub backward: Box<dyn BackwardStrategy> = Box::new(Implicit {
            solver: Box::new(Gmres::default()),
            ..Implicit::default()
        }),
        /// Penalties at the equilibrium, during training.
        pub regularizer: Vec<Box<dyn Regularizer>> = Vec::new(),
    }
}

/// Where injected inputs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "equilibria_core::serde", rename_all = "kebab-case")]
pub enum Injection {
    /// A learned affine map of all features for each.
    Learned,
    /// The features as they are.
    Direct,
}

#[typetag::serde(name = "equilibrium")]
impl FusionConfig for EquilibriumConfig {
    fn validate(&self) -> Result<()> {
        Error::require_width("equilibrium", "state", self.state.unwrap_or(1))?;
        self.stabilizer.iter().try_for_each(|s| s.validate())?;
        self.layer.validate()?;
        self.solver.validate()?;
        self.stop.validate()?;
        self.backward.validate()?;
        self.regularizer.iter().try_for_each(|r| r.validate())
    }
}

impl Build<Fusions> for EquilibriumConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: FusionRequest<'_, D>,
    ) -> Result<Box<dyn Fusion<E, D>>> {
        self.validate()?;
        let FusionRequest {
            modalities,
            width,
            init,
            ..
        } = request;
        let any = |state: usize| Sizes {
            state,
            inputs: match self.injection {
                Injection::Learned => vec![state],
                Injection::Direct => vec![width; modalities],
            },
        };
        let own = self.layer.sizes();
        let sizes = own.unwrap_or_else(|| any(self.state.unwrap_or(width)));
        let state = self.state.unwrap_or(sizes.state);
        let expected = "left out: the fields of the layer say what its state is";
        let fits = state == sizes.state;
        Error::require(fits, "equilibrium", "state", expected, state)?;
        let layer = <D as Backend<E>>::build::<Layers>(
            &*self.layer,
            LayerRequest {
                state,
                inputs: &sizes.inputs,
                init,
            },
        )?;
        let injections = match self.injection {
            Injection::Learned => {
                let maps = sizes.inputs.iter();
                let maps = maps.map(|&outputs| Linear::xavier(outputs, modalities * width, init));
                Some(maps.collect::<Result<Vec<_>>>()?)
            }
            Injection::Direct => {
                // Where features differ in width, the solve finds what does not fit.
                let fits = |&input: &usize| width == 0 || input == width;
                let fits = sizes.inputs.len() == modalities && sizes.inputs.iter().all(fits);
                let got = format!(
                    "direct, for {modalities} features of width {width} and inputs of {:?}",
                    sizes.inputs
                );
                let expected = "learned, unless features are as many and as wide as inputs";
                Error::require(fits, "equilibrium", "injection", expected, got)?;
                None
            }
        };
        let mut stabilizers = Vec::with_capacity(self.stabilizer.len());
        for stabilizer in &self.stabilizer {
            let built = <D as Backend<E>>::build::<Stabilizers>(&**stabilizer, ())?;
            stabilizers.push(built);
        }
        // A pattern that means no parameter is better found now than in the first pass.
        stabilize(&layer, &stabilizers, OwnedTape::default())?;
        Ok(Box::new(EquilibriumFusion {
            layer,
            injections,
            stabilizers,
            plugins: Equilibrium {
                name: "layer".to_owned(),
                layer: (),
                solver: self.solver.clone().into(),
                stop: self.stop.clone(),
                backward: self.backward.clone().into(),
                regularizers: self.regularizer.iter().cloned().map(Arc::from).collect(),
            },
        }))
    }
}

/// The output of a layer at its equilibrium over `P_k [x_1 | … | x_N] + p_k`.
pub struct EquilibriumFusion<E: Scalar, D: Backend<E>> {
    /// The layer.
    pub layer: AnyLayer<E, D>,
    /// P_k and p_k of every injected input; none where the features are these inputs.
    pub injections: Option<Vec<Linear<E, D>>>,
    /// What keeps the matrices of the layer small, in this order.
    pub stabilizers: Vec<Box<dyn Stabilizer<E, D>>>,
    /// Solver, stop, backward strategy and regularizers.
    pub plugins: Equilibrium<()>,
}

parameters!(EquilibriumFusion { layer, injections });

impl<E: Scalar, D: Backend<E>> EquilibriumFusion<E, D> {
    /// The injected inputs of the layer.
    fn inputs(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Vec<Matrix<E, D>>> {
        let Some(injections) = &self.injections else {
            return Ok(x.to_vec());
        };
        let features = pass.concatenate(x)?;
        let inputs = injections.iter();
        Ok(inputs
            .map(|injection| pass.run(&features, |features| injection.forward(features)))
            .collect())
    }

    /// The layer with the parameters that stabilizers make of its own.
    fn stable(&self, pass: &mut Pass<E, D>) -> Result<AnyLayer<E, D>> {
        pass.lend(|tape| stabilize(&self.layer, &self.stabilizers, tape))
    }
}

impl<E: Scalar, D: Backend<E>> Fusion<E, D> for EquilibriumFusion<E, D> {
    fn output_dim(&self) -> usize {
        self.layer.output_dim()
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let inputs = self.inputs(x, pass)?;
        let layer = self.stable(pass)?;
        let equilibrium = self.plugins.with_layer(layer);
        let z = pass.solve(&equilibrium, &inputs, None, 1.0)?;
        pass.try_run(&z, |z| output(&equilibrium.layer, z, &inputs))
    }

    fn differences(&self, x: &[Matrix<E, D>], steps: usize) -> Result<Option<Vec<Vec<f64>>>> {
        let mut pass = Pass::evaluation();
        let inputs = self.inputs(x, &mut pass)?;
        let equilibrium = self.plugins.with_layer(self.stable(&mut pass)?);
        let part = 0..equilibrium.layer.state_dim();
        solver_differences(&equilibrium, &inputs, part, steps).map(Some)
    }
}
