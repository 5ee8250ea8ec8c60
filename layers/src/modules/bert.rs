//! The encoder of BERT.

use dfdx::prelude::HasShape;
use equilibria_core::parameters::join;
use equilibria_core::{parameters, Backend, Matrix, Parameters, Result, Scalar, Value};

use super::{Embedding, LayerNorm, Linear};
use crate::operations::Vocabulary;
use crate::{attend, attention_scores, Initializer, Tokens};

/// ε of the layer normalizations, in units of x².
const EPSILON: f64 = 1e-12;

/// Standard deviation of the weights at the start.
const DEVIATION: f64 = 0.02;

/// The sum of the embeddings of a word, its place and its kind, normalized.
///
/// Reference: J. Devlin et al., BERT, NAACL 2019, section 3.
pub struct BertEmbedding<E: Scalar, D: Backend<E>> {
    /// Of words.
    pub word: Embedding<E, D>,
    /// Of places; as many words as a sentence may have.
    pub position: Embedding<E, D>,
    /// Of the kinds of sentences, of which the first alone is used.
    pub kind: Embedding<E, D>,
    /// Of the sum.
    pub norm: LayerNorm<E, D>,
}

/// A layer of the encoder: h = N_1(x + O a), with the attention a of x to itself, and N_2(h + W_2 gelu(W_1 h)).
///
/// Reference: J. Devlin et al., BERT, NAACL 2019, section 3, with the exact gelu.
pub struct BertLayer<E: Scalar, D: Backend<E>> {
    /// Of the attention.
    pub query: Linear<E, D>,
    /// Of the attention.
    pub key: Linear<E, D>,
    /// Of the attention.
    pub value: Linear<E, D>,
    /// O.
    pub output: Linear<E, D>,
    /// N_1.
    pub norm1: LayerNorm<E, D>,
    /// W_1 and W_2.
    pub ffn: Vec<Linear<E, D>>,
    /// N_2.
    pub norm2: LayerNorm<E, D>,
    /// Heads of the attention, a divisor of the width.
    pub heads: usize,
}

parameters!(BertLayer {
    query,
    key,
    value,
    output,
    norm1,
    ffn,
    norm2
});

/// What is dropped in a layer: a factor for every weight of the attention, and for both numbers that are added to x.
pub struct BertMasks<E: Scalar, D: Backend<E>> {
    /// `[batch, heads · words · words]`.
    pub weights: Value<E, D>,
    /// `[batch, words · width]`.
    pub attended: Value<E, D>,
    /// `[batch, words · width]`.
    pub ffn: Value<E, D>,
}

fn norm<E: Scalar, D: Backend<E>>(
    width: usize,
    init: &mut Initializer<D>,
) -> Result<LayerNorm<E, D>> {
    Ok(LayerNorm {
        epsilon: EPSILON,
        ..LayerNorm::new(width, init)?
    })
}

impl<E: Scalar, D: Backend<E>> BertEmbedding<E, D> {
    /// For so many words, places and kinds.
    pub fn new(sizes: [usize; 3], width: usize, init: &mut Initializer<D>) -> Result<Self> {
        let [words, places, kinds] = sizes;
        Ok(Self {
            word: Embedding::normal(words, width, DEVIATION, init)?,
            position: Embedding::normal(places, width, DEVIATION, init)?,
            kind: Embedding::normal(kinds, width, DEVIATION, init)?,
            norm: norm(width, init)?,
        })
    }

    /// Adds to the embeddings of words, `[batch, words · width]`, those of their places and of the first kind.
    pub fn of(&self, words: &Value<E, D>, count: usize) -> Value<E, D> {
        let all = count * self.word.width();
        let places = words.broadcast(&self.position.weight).columns(0..all);
        let kind = words.broadcast(&self.kind.weight);
        let kind = kind.columns(0..self.word.width()).repeat(count);
        let sum = words + places + kind;
        self.norm.of(&sum.tokens(count)).into_value()
    }

    /// Words that there are places for.
    pub fn places(&self) -> usize {
        self.position.weight.shape().0
    }
}

impl<E: Scalar, D: Backend<E>> BertLayer<E, D> {
    /// Of a width with so many heads, and the width in the middle of the last maps.
    pub fn new(
        width: usize,
        heads: usize,
        inner: usize,
        init: &mut Initializer<D>,
    ) -> Result<Self> {
        let mut linear = |outputs, inputs| Linear::normal(outputs, inputs, DEVIATION, init);
        let [query, key, value, output] = [
            linear(width, width)?,
            linear(width, width)?,
            linear(width, width)?,
            linear(width, width)?,
        ];
        let ffn = vec![linear(inner, width)?, linear(width, inner)?];
        Ok(Self {
            query,
            key,
            value,
            output,
            norm1: norm(width, init)?,
            ffn,
            norm2: norm(width, init)?,
            heads,
        })
    }

    /// The layer for words x and the mask, `[batch, words · words]`, that is added to the scores of every head.
    pub fn of(
        &self,
        x: &Tokens<E, D>,
        mask: &Value<E, D>,
        dropped: Option<&BertMasks<E, D>>,
    ) -> Tokens<E, D> {
        let (heads, count) = (self.heads, x.count());
        let scores = attention_scores(&self.query.of(x), &self.key.of(x), heads);
        let masked = scores.into_value() + mask.repeat(heads);
        let mut weights = masked.tokens(heads * count).softmax(1);
        if let Some(dropped) = dropped {
            weights = (weights.into_value() * &dropped.weights).tokens(heads * count);
        }
        let attended = attend(&weights, &self.value.of(x), heads);
        let mut attended = self.output.of(&attended).into_value();
        if let Some(dropped) = dropped {
            attended = attended * &dropped.attended;
        }
        let h = self.norm1.of(&(attended.tokens(count) + x));
        let mut inner = h.clone();
        for (place, map) in self.ffn.iter().enumerate() {
            inner = map.of(&inner);
            if place + 1 < self.ffn.len() {
                inner = inner.gelu();
            }
        }
        let mut inner = inner.into_value();
        if let Some(dropped) = dropped {
            inner = inner * &dropped.ffn;
        }
        self.norm2.of(&(inner.tokens(count) + h))
    }
}

// The kind is called `type` in parameters, as in the original, which no field can be.
impl<E: Scalar, D: Backend<E>> Parameters<E, D> for BertEmbedding<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        self.word.visit(&join(path, "word"), visitor);
        self.position.visit(&join(path, "position"), visitor);
        self.kind.visit(&join(path, "type"), visitor);
        self.norm.visit(&join(path, "norm"), visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        self.word.visit_mut(&join(path, "word"), visitor);
        self.position.visit_mut(&join(path, "position"), visitor);
        self.kind.visit_mut(&join(path, "type"), visitor);
        self.norm.visit_mut(&join(path, "norm"), visitor);
    }
}
