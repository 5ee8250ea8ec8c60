//! The multimodal transformer: each modality attends to the others.

use dfdx::prelude::*;
use equilibria_core::prelude::*;

use crate::layers::modules::{Embedding, LayerNorm, Linear, MultiHead, Unbiased};
use crate::layers::{attention, concatenate, Initializer, Vocabulary};
use crate::model::{Backbone, BackboneConfig, BackboneRequest, Backbones};
use crate::pass::Pass;
use crate::slot::{Slot, Slots};

plugin! {
    /// Sequences of several modalities, each of which attends to every other one and then to itself: the multimodal transformer MulT.
    ///
    /// A modality is a sequence of `steps` rows of numbers, one after the other, or, with `words`, the first is numbers of words. Rows are
    /// mapped to one width, without a bias, and get their places, PE_{t,2j} = sin(t / 10000^(2j / d)) and PE_{t,2j+1} = cos of the same. For each pair
    /// β → α: Z = Z_α at first, then `layers` of Ẑ = attention(N_1(Z), N_1(Z_β)) + N_1(Z), Z = W_2 relu(W_1 N_2(Ẑ)) + N_2(Ẑ), and N(Z).
    /// What comes of all pairs with the same α stands side by side and goes through as many layers of attention to itself; the last row of
    /// each α is its feature. The fusion makes y of them, in the original by concatenation, and y + V_2 relu(V_1 y) goes to the head.
    ///
    /// The authors' program adds Z where their equations add N(Z), and multiplies rows by √d before they get their places; here it is as in the
    /// equations. Padding is attended to as in the program.
    ///
    /// Reference: Y.-H. H. Tsai, S. Bai, P. P. Liang, J. Z. Kolter, L.-P. Morency, R. Salakhutdinov, Multimodal Transformer for Unaligned
    /// Multimodal Language Sequences, ACL 2019, section 3.
    pub struct MultConfig: BackboneConfig {
        /// Rows of the sequences: one number for each modality, or one for all.
        pub steps: Vec<usize> = vec![1],
        /// Words, with padding, if the first modality is numbers of words, which are below it; else 0.
        pub words: usize = 0,
        /// Width d of a row, even, a multiple of `heads`.
        pub hidden: usize = 40,
        /// Layers of each attention, at least 1.
        pub layers: usize = 4,
        /// Heads of every attention, at least 1.
        pub heads: usize = 8,
        /// Width between W_1 and W_2 for each number of a row, at least 1.
        pub inner: usize = 4,
        /// Probability that an entry of what is added is dropped in training, in [0, 1).
        pub dropout: f64 = 0.1,
    }
}

#[typetag::serde(name = "mult")]
impl BackboneConfig for MultConfig {
    fn width(&self) -> usize {
        self.hidden
    }

    fn validate(&self) -> Result<()> {
        let sizes = [
            ("hidden", self.hidden),
            ("layers", self.layers),
            ("inner", self.inner),
        ];
        Error::require_all_at_least_one("mult", &sizes)?;
        Error::require_divided_by_heads("mult", "hidden", self.hidden, self.heads)?;
        let even = self.hidden.is_multiple_of(2);
        let expected = "even: half of the places are sines, half cosines";
        Error::require(even, "mult", "hidden", expected, self.hidden)?;
        let got = format!("{:?}", self.steps);
        let proper = !self.steps.is_empty() && !self.steps.contains(&0);
        Error::require(proper, "mult", "steps", "numbers of at least 1", got)?;
        Error::require_fraction("mult", "dropout", self.dropout)
    }
}

impl Build<Backbones> for MultConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: BackboneRequest<'_, D>,
    ) -> Result<Box<dyn Backbone<E, D>>> {
        self.validate()?;
        let BackboneRequest {
            modalities,
            init,
            slot,
            ..
        } = request;
        let count = modalities.len();
        let got = format!("{count} modalities");
        Error::require(count > 1, "mult", "type", "for several modalities", got)?;
        let steps = self.steps_of(modalities)?;
        let embedding = match self.words {
            0 => None,
            words => Some(Embedding::padded(words, self.hidden, 1.0, init)?),
        };
        let mut project = Vec::with_capacity(count);
        for (index, (&columns, &steps)) in modalities.iter().zip(&steps).enumerate() {
            let features = match (index, self.words) {
                (_, 0) | (1.., _) => columns / steps,
                _ => self.hidden,
            };
            project.push(Unbiased::uniform(self.hidden, features, init)?);
        }
        let wide = (count - 1) * self.hidden;
        let mut modality = Vec::with_capacity(count);
        for _ in 0..count {
            let mut cross = Vec::with_capacity(count - 1);
            for _ in 1..count {
                cross.push(Encoder::new(self, self.hidden, init)?);
            }
            let own = Encoder::new(self, wide, init)?;
            modality.push(Modality { cross, own });
        }
        let fused = slot(Slot::new("last", vec![wide; count]), init)?;
        let residual = vec![
            Linear::uniform(fused, fused, init)?,
            Linear::uniform(fused, fused, init)?,
        ];
        Ok(Box::new(Mult {
            embedding,
            project,
            modality,
            residual,
            steps,
            config: self.clone(),
        }))
    }
}

impl MultConfig {
    /// The rows of each modality, which divide its columns.
    fn steps_of(&self, modalities: &[usize]) -> Result<Vec<usize>> {
        let given = self.steps.iter().copied();
        let steps: Vec<usize> = match self.steps[..] {
            [all] => vec![all; modalities.len()],
            _ => given.collect(),
        };
        let divides = |(index, (columns, steps)): (usize, (&usize, &usize))| match index {
            0 if self.words > 0 => columns == steps,
            _ => columns.is_multiple_of(*steps),
        };
        let fits = steps.len() == modalities.len()
            && modalities.iter().zip(&steps).enumerate().all(divides);
        let expected =
            "divisors of the widths of all modalities, the width itself where it is words";
        let got = format!("{:?} for modalities {modalities:?} wide", self.steps);
        Error::require(fits, "mult", "steps", expected, got)?;
        Ok(steps)
    }
}

/// The maps of all modalities.
pub struct Mult<E: Scalar, D: Backend<E>> {
    /// Of words, if the first modality is words; word 0 is padding.
    pub embedding: Option<Embedding<E, D>>,
    /// To one width.
    pub project: Vec<Unbiased<E, D>>,
    /// Attentions of each modality.
    pub modality: Vec<Modality<E, D>>,
    /// V_1 and V_2.
    pub residual: Vec<Linear<E, D>>,
    /// Rows of each modality.
    pub steps: Vec<usize>,
    /// Sizes and dropout.
    pub config: MultConfig,
}

parameters!(Mult {
    embedding,
    project,
    modality,
    residual
});

/// The attentions of one modality.
pub struct Modality<E: Scalar, D: Backend<E>> {
    /// To each other one, in order.
    pub cross: Vec<Encoder<E, D>>,
    /// To itself.
    pub own: Encoder<E, D>,
}

parameters!(Modality { cross, own });

/// Layers of attention to one sequence.
pub struct Encoder<E: Scalar, D: Backend<E>> {
    /// In order.
    pub layer: Vec<Layer<E, D>>,
    /// N, after the last one.
    pub norm: LayerNorm<E, D>,
}

parameters!(Encoder { layer, norm });

/// An attention and two maps.
pub struct Layer<E: Scalar, D: Backend<E>> {
    /// To the other sequence, or to its own.
    pub attention: MultiHead<E, D>,
    /// N_1 and N_2.
    pub norm: Vec<LayerNorm<E, D>>,
    /// W_1 and W_2.
    pub ffn: Vec<Linear<E, D>>,
}

parameters!(Layer {
    attention,
    norm,
    ffn
});

impl<E: Scalar, D: Backend<E>> Encoder<E, D> {
    fn new(config: &MultConfig, width: usize, init: &mut Initializer<D>) -> Result<Self> {
        let mut layer = Vec::with_capacity(config.layers);
        for _ in 0..config.layers {
            let inner = config.inner * width;
            layer.push(Layer {
                attention: MultiHead::new(width, config.heads, init)?,
                norm: vec![LayerNorm::new(width, init)?, LayerNorm::new(width, init)?],
                ffn: vec![
                    Linear::uniform(inner, width, init)?,
                    Linear::uniform(width, inner, init)?,
                ],
            });
        }
        let norm = LayerNorm::new(width, init)?;
        Ok(Self { layer, norm })
    }
}

/// A sequence, `[batch, count · width]`.
#[derive(Clone)]
struct Sequence<E: Scalar, D: Backend<E>> {
    x: Matrix<E, D>,
    count: usize,
}

/// Numbers the masks of dropout in a pass.
struct Sites(u64);

impl Sites {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

impl<E: Scalar, D: Backend<E>> Mult<E, D> {
    /// The last row of every modality.
    fn last(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Vec<Matrix<E, D>>> {
        let mut sites = Sites(0);
        let mut sequences = Vec::with_capacity(x.len());
        for (index, x) in x.iter().enumerate() {
            sequences.push(self.placed(index, x, pass)?);
        }
        let mut last = Vec::with_capacity(x.len());
        for (index, modality) in self.modality.iter().enumerate() {
            let Some(own) = sequences.get(index) else {
                return Err(Error::Shape {
                    what: "the modalities".to_owned(),
                    expected: self.modality.len().to_string(),
                    got: x.len().to_string(),
                });
            };
            let others = sequences.iter().enumerate();
            let others = others.filter(|(other, _)| *other != index);
            let mut all = Vec::with_capacity(modality.cross.len());
            for (encoder, (_, other)) in modality.cross.iter().zip(others) {
                all.push(self.encode_by(encoder, own, Some(other), &mut sites, pass)?);
            }
            let count = own.count;
            let x = pass.equation(&all, |all| {
                let row = |row: usize, x: &Value<E, D>| {
                    let width = x.width() / count;
                    x.columns(row * width..(row + 1) * width)
                };
                let rows = (0..count).flat_map(|step| all.iter().map(move |x| row(step, x)));
                Ok(concatenate(rows))
            })?;
            let x = self.encode_by(
                &modality.own,
                &Sequence { x, count },
                None,
                &mut sites,
                pass,
            )?;
            let width = x.shape().1 / count;
            let rows = (count - 1) * width..count * width;
            last.push(pass.equation(&[x], |x| Ok(x[0].columns(rows)))?);
        }
        Ok(last)
    }

    /// The rows of a modality in one width, with their places.
    fn placed(
        &self,
        index: usize,
        x: &Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Sequence<E, D>> {
        let count = self.steps[index];
        let places = places(count, self.config.hidden);
        let x = match self.embedding.as_ref().filter(|_| index == 0) {
            Some(words) => pass.lend(|tape| Ok(words.forward(x, tape)?.split_tape()))?,
            None => x.clone(),
        };
        let x = pass.equation(&[x], |x| {
            let mapped = self.project[index].of(&x[0].tokens(count)).into_value();
            let places = mapped.constant(&places);
            Ok(mapped + places)
        })?;
        Ok(Sequence { x, count })
    }

    fn encode_by(
        &self,
        encoder: &Encoder<E, D>,
        own: &Sequence<E, D>,
        other: Option<&Sequence<E, D>>,
        sites: &mut Sites,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let (count, mut z) = (own.count, own.x.clone());
        for layer in &encoder.layer {
            let keys = other.map_or((&z, count), |other| (&other.x, other.count));
            z = self.layer(layer, &z, count, keys, sites, pass)?;
        }
        pass.equation(&[z], |z| {
            Ok(encoder.norm.of(&z[0].tokens(count)).into_value())
        })
    }

    fn layer(
        &self,
        layer: &Layer<E, D>,
        z: &Matrix<E, D>,
        count: usize,
        (keys, keys_count): (&Matrix<E, D>, usize),
        sites: &mut Sites,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let ([first, second], [inner, outer]) = (two(&layer.norm)?, two(&layer.ffn)?);
        let own = &layer.attention;
        let p = self.config.dropout;
        let attended = pass.equation(&[z.clone(), keys.clone()], |x| {
            let (z, keys) = (
                first.of(&x[0].tokens(count)),
                first.of(&x[1].tokens(keys_count)),
            );
            let (q, k, v) = (own.query.of(&z), own.key.of(&keys), own.value.of(&keys));
            let attended = attention(&q, &k, &v, own.heads, None);
            Ok(own.merge.of(&attended).into_value())
        })?;
        let attended = pass.dropout(&attended, p, sites.next())?;
        let z = pass.equation(&[z.clone(), attended], |x| {
            Ok(first.of(&x[0].tokens(count)).into_value() + &x[1])
        })?;
        let mapped = pass.equation(std::slice::from_ref(&z), |z| {
            let normal = second.of(&z[0].tokens(count));
            Ok(outer.of(&inner.of(&normal).relu()).into_value())
        })?;
        let mapped = pass.dropout(&mapped, p, sites.next())?;
        pass.equation(&[z, mapped], |x| {
            Ok(second.of(&x[0].tokens(count)).into_value() + &x[1])
        })
    }
}

impl<E: Scalar, D: Backend<E>> Backbone<E, D> for Mult<E, D> {
    fn encode(
        &self,
        x: &[Matrix<E, D>],
        _targets: Option<&Matrix<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        self.last(x, pass)
    }

    fn run(
        &self,
        x: &[Matrix<E, D>],
        _targets: Option<&Matrix<E, D>>,
        slots: &Slots<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let last = self.last(x, pass)?;
        let y = slots.fuse(0, &last, pass)?;
        let [first, second] = two(&self.residual)?;
        let hidden = pass.equation(std::slice::from_ref(&y), |y| Ok(first.of(&y[0]).relu()))?;
        let hidden = pass.dropout(&hidden, self.config.dropout, 0)?;
        pass.equation(&[y, hidden], |x| Ok(second.of(&x[1]) + &x[0]))
    }
}

/// The two maps of a pair.
fn two<T>(pair: &[T]) -> Result<[&T; 2]> {
    match pair {
        [first, second] => Ok([first, second]),
        other => Err(Error::Shape {
            what: "the maps of a layer".to_owned(),
            expected: "two".to_owned(),
            got: other.len().to_string(),
        }),
    }
}

/// PE of all rows, one after the other.
fn places(count: usize, width: usize) -> Vec<f64> {
    let place = |step: usize, column: usize| {
        let exponent = (column - column % 2) as f64 / width as f64;
        let angle = step as f64 / 10_000_f64.powf(exponent);
        match column % 2 {
            0 => angle.sin(),
            _ => angle.cos(),
        }
    };
    let rows = (0..count).flat_map(|step| (0..width).map(move |column| place(step, column)));
    rows.collect()
}
