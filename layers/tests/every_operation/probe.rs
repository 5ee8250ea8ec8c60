//! A layer with one equation of many.

use equilibria_core::prelude::*;
use equilibria_layers::modules::{GroupNorm, LayerNorm, Linear};
use equilibria_layers::Initializer;
use equilibria_testing::{perturb, random_matrix};

/// Of the state and of the one input.
pub const WIDTH: usize = 6;
pub const BATCH: usize = 5;

pub type V<E, D> = Value<E, D>;
/// A step of a probe, its state and its input.
pub type Equation<E, D> = fn(&Probe<E, D>, &V<E, D>, &V<E, D>) -> V<E, D>;

/// A layer that has every kind of parameter, with one equation of many.
#[derive(Clone)]
pub struct Probe<E: Scalar, D: Backend<E>> {
    pub linear: Linear<E, D>,
    pub matrix: Matrix<E, D>,
    pub row: Matrix<E, D>,
    pub norm: GroupNorm<E, D>,
    pub layer_norm: LayerNorm<E, D>,
    /// For tokens half as wide as the state.
    pub short: Linear<E, D>,
    pub short_norm: LayerNorm<E, D>,
    /// Makes three tokens of two.
    pub mixer: Matrix<E, D>,
    equation: Equation<E, D>,
}

parameters!(Probe {
    linear,
    matrix,
    row,
    norm,
    layer_norm,
    short,
    short_norm,
    mixer
});

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Probe<E, D> {
    fn state_dim(&self) -> usize {
        WIDTH
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![WIDTH]
    }

    fn step(&self, z: &V<E, D>, x: &[V<E, D>]) -> Result<V<E, D>> {
        Ok((self.equation)(self, z, &x[0]))
    }
}

/// The same parameters on every device.
pub fn probe<E: Scalar, D: Backend<E>>(equation: Equation<E, D>, device: &D) -> Probe<E, D> {
    let init = &mut Initializer::new(device, 1);
    let mut probe = Probe {
        linear: Linear::normal(WIDTH, WIDTH, 0.3, init).expect("memory"),
        matrix: random_matrix(device, (WIDTH, WIDTH), 2).expect("memory") * E::of(0.3),
        row: random_matrix(device, (1, WIDTH), 3).expect("memory"),
        norm: GroupNorm::new(WIDTH, 2, init).expect("two groups"),
        layer_norm: LayerNorm::new(WIDTH, init).expect("memory"),
        short: Linear::normal(WIDTH / 2, WIDTH / 2, 0.5, init).expect("memory"),
        short_norm: LayerNorm::new(WIDTH / 2, init).expect("memory"),
        mixer: random_matrix(device, (3, 2), 11).expect("memory"),
        equation,
    };
    perturb(&mut probe, 0.3, 4).expect("memory");
    probe
}
