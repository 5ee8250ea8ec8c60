//! A random equation: some operations of the vocabulary, each on earlier results, all as wide as the state.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::{Cpu, HasShape};
use equilibria_core::prelude::*;
use equilibria_layers::modules::{GroupNorm, LayerNorm, Linear};
use equilibria_layers::{attention, concatenate, Initializer, Selection, Tokens, Vocabulary};
use equilibria_testing::{perturb, random_matrix};
use rand::rngs::StdRng;
use rand::Rng;

/// Operations that [`Random::result`] knows.
const WORDS: usize = 51;

/// An operation by number, the results that it works on, and groups or tokens that divide the width.
#[derive(Clone, Copy, Debug)]
struct Word {
    number: usize,
    of: [usize; 2],
    groups: usize,
}

/// `f(z; x) = s tanh(y) + z / 10 + 3 x / 10`, with y the last of some results of random operations.
#[derive(Clone)]
pub struct Random<E: Scalar, D: Backend<E>> {
    matrix: Matrix<E, D>,
    row: Matrix<E, D>,
    linear: Linear<E, D>,
    norm: Option<GroupNorm<E, D>>,
    layer_norm: LayerNorm<E, D>,
    /// Maps of each of some tokens, and of tokens to one another.
    token: Matrix<E, D>,
    mixing: Matrix<E, D>,
    words: Arc<[Word]>,
    /// Exchanges columns.
    order: Selection,
    scale: f64,
    width: usize,
}

parameters!(Random {
    matrix,
    row,
    linear,
    norm,
    layer_norm,
    token,
    mixing
});

/// Some number that divides another.
fn divisor(of: usize, random: &mut StdRng) -> usize {
    let all: Vec<usize> = (1..=of).filter(|part| of.is_multiple_of(*part)).collect();
    all[random.gen_range(0..all.len())]
}

impl<E: Scalar> Random<E, Cpu>
where
    Cpu: Backend<E>,
{
    /// A layer of this width.
    pub fn new(width: usize, random: &mut StdRng) -> Result<Self> {
        let device = Cpu::default();
        let init = &mut Initializer::new(&device, random.gen());
        let deviation = (width as f64).sqrt().recip();
        let matrix: Matrix<E, Cpu> = random_matrix(&device, (width, width), random.gen())?;
        // Normalized groups have two columns at least.
        let groups = Some(divisor(width, random)).filter(|groups| width >= 2 * groups);
        let words = (0..random.gen_range(2..12)).map(|index| Word {
            number: random.gen_range(0..WORDS),
            of: [(); 2].map(|()| random.gen_range(0..index + 2)),
            groups: divisor(width, random),
        });
        let words = words.collect();
        let tokens = divisor(width, random);
        let mut square = |size: usize| -> Result<Matrix<E, Cpu>> {
            let matrix: Matrix<E, Cpu> = random_matrix(&device, (size, size), random.gen())?;
            Ok(matrix * E::of((size as f64).sqrt().recip()))
        };
        let (token, mixing) = (square(width / tokens)?, square(tokens)?);
        let mut order: Vec<Option<usize>> = (0..width).map(Some).collect();
        for place in (1..width).rev() {
            order.swap(place, random.gen_range(0..=place));
        }
        let mut layer = Self {
            matrix: matrix * E::of(deviation),
            row: random_matrix(&device, (1, width), random.gen())?,
            linear: Linear::normal(width, width, deviation, init)?,
            norm: groups
                .map(|groups| GroupNorm::new(width, groups, init))
                .transpose()?,
            layer_norm: LayerNorm::new(width, init)?,
            token,
            mixing,
            words,
            order: Selection::new(width, order)?,
            scale: [0.2, 0.5, 0.9, 1.5][random.gen_range(0..4)],
            width,
        };
        perturb(&mut layer, 0.1, random.gen())?;
        Ok(layer)
    }
}

impl<E: Scalar, D: Backend<E>> Random<E, D> {
    /// What the equation is made of.
    pub fn words(&self) -> String {
        format!("{:?}, s = {}", self.words, self.scale)
    }

    fn result(&self, word: &Word, results: &[Value<E, D>]) -> Value<E, D> {
        let [x, y] = word.of.map(|index| &results[index]);
        let (groups, size) = (word.groups, self.width / word.groups);
        match word.number {
            0 => x.tanh(),
            1 => x.relu(),
            2 => x.gelu(),
            3 => x.gelu_tanh(),
            4 => x.silu(),
            5 => x.sigmoid(),
            6 => x.softplus(),
            7 => x.sin(),
            8 => x.cos(),
            9 => x.abs(),
            10 => x.leaky_relu(0.1),
            11 => x.elu(1.0),
            12 => x.soft_threshold(0.2),
            13 => x.clamp(-0.7, 0.9),
            14 => x.clamp(-3.0, 1.0).exp(),
            15 => (x.abs() + 0.5).ln(),
            16 => (x.abs() + 0.1).sqrt(),
            17 => x.clamp(-1.5, 1.5).square(),
            18 => x.softmax(groups),
            // Where a group is one column, or columns are alike, normalizing is a matter of rounding.
            19 if size > 2 => (x * 0.5 + self.beside(x)).normalize(groups),
            20 => x.logsumexp(groups).repeat(size),
            21 => x.max(groups).repeat(size),
            22 => x.mean(groups).repeat(size),
            23 => (x.sum(groups) / size as f64).repeat(size),
            24 => x.gather(&self.order),
            25 => x.scatter(&self.order),
            26 if groups > 1 => concatenate([x.columns(size..self.width), x.columns(0..size)]),
            27 => x.tokens(groups).transpose().into_value(),
            28 => {
                let (x, y) = (x.tokens(groups), y.tokens(groups));
                let scores = x.matmul_transposed(&y) / self.width as f64;
                scores.matmul(&x).into_value()
            }
            29 => {
                let [x, y] = [x, y].map(|value| value.tokens(groups));
                attention(&x, &y, &x, 1, None).into_value()
            }
            30 => x.product(&self.matrix),
            31 => x.product_transposed(&self.matrix),
            32 => self.linear.of(x),
            33 => x.shift(&self.row),
            34 => x.stretch(&self.row),
            35 => match &self.norm {
                Some(norm) if self.width > 2 * norm.groups => norm.of(&(x * 0.5 + self.beside(x))),
                _ => x * 0.5,
            },
            36 if self.width > 2 => self.layer_norm.of(&(x * 0.5 + self.beside(x))),
            37 => x.broadcast(&self.row) * x,
            38 => x.row_norms(&self.matrix) * x,
            39 => x + x.constant(&vec![0.25; self.width]),
            40 => x + y,
            41 => x - y,
            42 => x.clamp(-2.0, 2.0) * y,
            43 => x / (y.abs() + 1.0),
            44 => x.soft_threshold_by(&y.abs()),
            45 => x.tokens(groups).sum_tokens().repeat(groups) / groups as f64,
            46 => x.tokens(groups).mean_tokens().repeat(groups),
            47 => x.tokens(groups).max_tokens().repeat(groups),
            48 => self.tokens(x).product(&self.token).into_value(),
            49 => self.tokens(x).mix(&self.mixing).into_value(),
            50 => x * 0.7 + y * 0.3,
            _ => -x,
        }
    }

    /// As many tokens as there are in the mixing.
    fn tokens(&self, x: &Value<E, D>) -> Tokens<E, D> {
        x.tokens(self.mixing.shape().0)
    }

    /// Numbers of order 1 that differ from column to column.
    fn beside(&self, x: &Value<E, D>) -> Value<E, D> {
        let numbers: Vec<f64> = (0..self.width)
            .map(|column| (column as f64).sin())
            .collect();
        x.constant(&numbers)
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Random<E, D> {
    fn state_dim(&self) -> usize {
        self.width
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let mut results = vec![z.clone(), x[0].clone()];
        for word in &*self.words {
            let result = self.result(word, &results);
            results.push(result);
        }
        let last = results[results.len() - 1].tanh();
        Ok(last * self.scale + z * 0.1 + &x[0] * 0.3)
    }
}
