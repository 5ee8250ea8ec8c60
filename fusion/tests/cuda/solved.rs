//! An equilibrium: solved, differentiated, penalized.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::{json, Value};
use equilibria_core::{AnyLayer, Equilibrium, StepOnly};
use equilibria_fusion::layers::{Initializer, LayerConfig, LayerRequest, Layers, Sizes};
use equilibria_testing::{perturb, random_matrix};

use crate::{numbers, Numbers, Work};

/// A multiple of the default number of groups, and no multiple of what threads come in.
const WIDTH: usize = 12;

const BATCH: usize = 5;

/// What takes part.
#[derive(Clone)]
pub struct Solve {
    pub layer: Value,
    pub solver: Value,
    pub backward: Value,
    pub regularizer: Option<Value>,
    pub width: usize,
    /// Whether the step runs in dfdx operations alone on a GPU.
    pub step_only: bool,
    /// At most so many evaluations in each solve.
    pub evaluations: usize,
}

impl Default for Solve {
    fn default() -> Self {
        Self {
            layer: json!({ "type": "affine-tanh" }),
            solver: json!({ "type": "anderson" }),
            backward: json!({ "type": "implicit" }),
            regularizer: None,
            width: WIDTH,
            step_only: false,
            evaluations: 400,
        }
    }
}

/// The name of how many samples have not converged, there and back.
const UNCONVERGED: &str = "unconverged samples";

/// f32 cannot be solved as f64 can.
fn stop<E: Scalar>(max_evaluations: usize) -> Stop {
    Stop {
        max_evaluations,
        on_unconverged: OnUnconverged::Accept,
        ..Stop::at(Tolerance::relative((20.0 * E::epsilon().wide()).max(1e-12)))
    }
}

impl Solve {
    /// Whether all samples converge, there and back, on the processor in f64.
    pub fn converges(&self) -> bool {
        let found = self.on::<f64, _>(&Cpu::default());
        let finite = |(_, numbers): &(String, Vec<f64>)| numbers.iter().all(|v| v.is_finite());
        let none = |(name, numbers): &(String, Vec<f64>)| {
            name != UNCONVERGED || numbers.iter().sum::<f64>() <= 0.0
        };
        found.iter().all(|each| finite(each) && none(each))
    }

    fn config(&self) -> Box<dyn LayerConfig> {
        registry::make::<dyn LayerConfig>(&self.layer).expect("it parses")
    }

    pub fn layer<E: Scalar, D: Backend<E>>(&self, device: &D) -> AnyLayer<E, D> {
        let config = self.config();
        let sizes = config.sizes().unwrap_or(Sizes {
            state: self.width,
            inputs: vec![self.width],
        });
        let request = LayerRequest {
            state: sizes.state,
            inputs: &sizes.inputs,
            init: &mut Initializer::new(device, 1),
        };
        let mut layer = <D as Backend<E>>::build::<Layers>(&*config, request).expect("it builds");
        perturb(&mut layer, 0.05, 2).expect("memory");
        match self.step_only && !D::ON_HOST {
            true => AnyLayer::new(StepOnly(layer)),
            false => layer,
        }
    }

    fn equilibrium<E: Scalar, D: Backend<E>>(&self, device: &D) -> Equilibrium<AnyLayer<E, D>> {
        let mut backward = self.backward.clone();
        let tight = stop::<E>(self.evaluations);
        if registry::make::<dyn BackwardStrategy>(&backward)
            .expect("known")
            .solver()
            .is_some()
        {
            backward["stop"] = json!(tight);
        }
        let solver = registry::make::<dyn FixedPointSolver>(&self.solver).expect("it parses");
        let backward = registry::make::<dyn BackwardStrategy>(&backward).expect("it parses");
        let mut equilibrium = Equilibrium::new(self.layer(device), solver, backward);
        equilibrium.stop = tight;
        let regularizers = self.regularizer.iter();
        equilibrium.regularizers = regularizers
            .map(|config| Arc::from(registry::make::<dyn Regularizer>(config).expect("it parses")))
            .collect();
        equilibrium
    }
}

impl Work for Solve {
    fn on<E: Scalar, D: Backend<E>>(&self, device: &D) -> Numbers {
        let equilibrium = self.equilibrium::<E, D>(device);
        let positive = self.config().needs_positive();
        let matrix = |width: usize, seed: u64| -> Matrix<E, D> {
            random_matrix(device, (BATCH, width), seed).expect("memory")
        };
        let dims = equilibrium.layer.input_dims();
        let inputs: Vec<_> = (5..)
            .zip(dims)
            .map(|(seed, width)| match positive {
                true => matrix(width, seed).abs(),
                false => matrix(width, seed),
            })
            .collect();
        let weights = matrix(equilibrium.layer.state_dim(), 4);
        let all = [equilibrium];
        let start = all[0].zero_start(&inputs).expect("memory");
        let seeds = self.regularizer.as_ref().map(|_| &[7][..]);
        let solved =
            Equilibrium::forward_each(&all, vec![start], &[&inputs], OwnedTape::default(), seeds);
        let solved = solved.expect("it runs");
        let z = solved.solved[0].z.clone();
        let mut loss = (z.clone().put_tape(solved.tape) * weights).sum::<Rank0, Axes2<0, 1>>();
        let mut results = vec![("z".to_owned(), numbers(&z))];
        for penalty in solved.penalties {
            results.push(("penalty".to_owned(), numbers(&penalty)));
            loss = loss + penalty.sum::<Rank0, Axes2<0, 1>>();
        }
        let mut gradients = loss.backward();
        let adjoint = solved.solved[0].adjoint.take().expect("it works");
        let reports = [Some(&solved.solved[0].report), adjoint.as_ref()];
        let unconverged = reports.map(|report| report.map_or(0, |report| report.unconverged()));
        let unconverged = unconverged.map(|samples| samples as f64);
        results.push((UNCONVERGED.to_owned(), unconverged.to_vec()));
        let mut gradient = |name: &str, tensor: &Matrix<E, D>| {
            gradients.try_alloc_for(tensor).expect("memory");
            results.push((
                format!("gradient of {name}"),
                numbers(&gradients.get(tensor)),
            ));
        };
        for x in &inputs {
            gradient("an input", x);
        }
        all[0].visit("", &mut |name, tensor| gradient(name, tensor));
        results
    }
}
