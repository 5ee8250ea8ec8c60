//! What a kernel has kept of a product Jᵀp serves the gradient of ⟨p, J v⟩ with this p alone.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, AnyLayer, Equilibrium};
use equilibria_layers::plugins::residual_block::ResidualBlockConfig;
use equilibria_layers::{Initializer, LayerRequest};
use equilibria_testing::{perturb, random_matrix, relative_difference};
use serde::{Deserialize, Serialize};

const WIDTH: usize = 32;
const BATCH: usize = 6;

/// What happens between Jᵀp and the gradient of Σ_s c_s ⟨p_s, J v_s⟩.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Between {
    Nothing,
    /// p ← −2 p.
    Written,
    /// p is released, and its slot holds other numbers.
    Released,
    /// Jᵀv.
    Multiplied,
    /// A linearization at 2 z.
    Linearized,
    /// Two rows, exchanged before, go back to their places.
    Exchanged,
}

/// A penalty with that gradient. Its value is 0.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Bilinear {
    /// Whether Jᵀp is computed, of which something can be kept.
    multiplies: bool,
    between: Between,
}

#[typetag::serde(name = "bilinear")]
impl Regularizer for Bilinear {
    fn weight(&self) -> f64 {
        0.7
    }

    fn penalty(&self, space: &mut dyn DifferentiableSpace, z: Slot, seed: u64) -> Result<f64> {
        let [mut p, v, out] = [space.alloc()?, space.alloc()?, space.alloc()?];
        space.fill_normal(p, seed)?;
        space.fill_normal(v, seed + 1)?;
        space.linearize(z)?;
        let swaps = [(0, BATCH - 1)];
        if let Between::Exchanged = self.between {
            space.permute(&swaps, BATCH)?;
        }
        if self.multiplies {
            space.vjp(p, out)?;
        }
        match self.between {
            Between::Nothing => {}
            Between::Written => space.combine(p, &[(Coef::Same(-2.0), p)])?,
            Between::Released => {
                space.release(p);
                p = space.alloc()?;
                space.fill_normal(p, seed + 2)?;
            }
            Between::Multiplied => space.vjp(v, out)?,
            Between::Linearized => {
                space.combine(out, &[(Coef::Same(2.0), z)])?;
                space.linearize(out)?;
            }
            Between::Exchanged => space.permute(&swaps, BATCH)?,
        }
        let factors: Vec<f64> = (0..BATCH).map(|sample| sample as f64 - 1.5).collect();
        assert!(space.pull_back_tangent(p, v, &factors)?);
        for slot in [p, v, out] {
            space.release(slot);
        }
        Ok(0.0)
    }
}

/// The gradients of the penalty by parameters and inputs.
fn gradients(multiplies: bool, between: Between) -> Vec<Vec<f64>> {
    let device = Cpu::default();
    let request = LayerRequest {
        state: WIDTH,
        inputs: &[WIDTH],
        init: &mut Initializer::new(&device, 1),
    };
    let built = Build::build::<f64, Cpu>(&ResidualBlockConfig::default(), request);
    let mut layer: AnyLayer<f64, Cpu> = built.expect("it builds");
    perturb(&mut layer, 0.2, 2).expect("memory");
    let solver = equilibria_layers::solvers::solver("anderson").expect("registered");
    let backward = equilibria_layers::solvers::backward("implicit").expect("registered");
    let mut equilibrium = Equilibrium::new(layer, solver, backward);
    equilibrium.regularizers = vec![Arc::new(Bilinear {
        multiplies,
        between,
    })];
    let [z, x] = [3, 4].map(|seed| random_matrix(&device, (BATCH, WIDTH), seed).expect("memory"));
    let x = [x];
    let penalty = equilibrium.penalty(&z, &x, OwnedTape::default(), 5);
    let mut gradients = penalty.expect("a value").sum::<Rank0, _>().backward();
    let parameters = equilibrium.layer.named().into_iter();
    let parameters = parameters.map(|(_, tensor)| tensor);
    let gradient = |tensor: Matrix<f64, Cpu>| {
        gradients.try_alloc_for(&tensor).expect("memory");
        to_host(&gradients.get(&tensor))
    };
    parameters.chain(x).map(gradient).collect()
}

#[test]
fn whatever_comes_between_the_gradient_is_that_of_the_vector_as_it_is() {
    for between in [
        Between::Nothing,
        Between::Written,
        Between::Released,
        Between::Multiplied,
        Between::Linearized,
        Between::Exchanged,
    ] {
        let (kept, computed) = (gradients(true, between), gradients(false, between));
        for (index, (kept, computed)) in kept.iter().zip(&computed).enumerate() {
            // The factors come before a product or after it, and nearly constant groups enlarge what that rounds.
            let difference = relative_difference(kept, computed);
            assert!(
                difference < 1e-11,
                "{between:?}, array {index}: {difference:e}"
            );
        }
        let nothing = |array: &Vec<f64>| array.iter().all(|g| g.abs() < 1e-9);
        assert!(
            !computed.iter().all(nothing),
            "{between:?}: no gradient at all"
        );
    }
}
