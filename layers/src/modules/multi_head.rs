//! Attention with maps around it.

use equilibria_core::{parameters, Backend, Result, Scalar, Value};

use super::Linear;
use crate::{attend, attention_scores, Initializer, Tokens, Vocabulary};

/// Attention of queries to keys, each a map of their words, and a map of what comes of it.
///
/// Reference: A. Vaswani et al., Attention Is All You Need, NeurIPS 2017, section 3.2.2.
pub struct MultiHead<E: Scalar, D: Backend<E>> {
    /// Of the words that are looked at.
    pub value: Linear<E, D>,
    /// Of the same.
    pub key: Linear<E, D>,
    /// Of the words that look.
    pub query: Linear<E, D>,
    /// Of the result.
    pub merge: Linear<E, D>,
    /// Parts of adjacent columns, a divisor of the width.
    pub heads: usize,
}

parameters!(MultiHead {
    value,
    key,
    query,
    merge
});

impl<E: Scalar, D: Backend<E>> MultiHead<E, D> {
    /// Maps of one width, which start as PyTorch has them.
    pub fn new(width: usize, heads: usize, init: &mut Initializer<D>) -> Result<Self> {
        let mut map = || Linear::uniform(width, width, init);
        Ok(Self {
            value: map()?,
            key: map()?,
            query: map()?,
            merge: map()?,
            heads,
        })
    }

    /// What words get of others, with a mask, `[batch, queries · keys]`, that is added to the scores of every head, and a factor for every
    /// weight, `[batch, heads · queries · keys]`, where some are dropped.
    pub fn of(
        &self,
        words: &Tokens<E, D>,
        others: &Tokens<E, D>,
        mask: &Value<E, D>,
        dropped: Option<&Value<E, D>>,
    ) -> Tokens<E, D> {
        let rows = self.heads * words.count();
        let scores = attention_scores(&self.query.of(words), &self.key.of(others), self.heads);
        let masked = scores.into_value() + mask.repeat(self.heads);
        let mut weights = masked.tokens(rows).softmax(1);
        if let Some(dropped) = dropped {
            weights = (weights.into_value() * dropped).tokens(rows);
        }
        self.merge
            .of(&attend(&weights, &self.value.of(others), self.heads))
    }
}
