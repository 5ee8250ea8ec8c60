//! Attention, of operations of the vocabulary.

use equilibria_core::{Backend, Scalar, Value};

use crate::operations::matmul::Matmul;
use crate::operations::per_token::PerToken;
use crate::operations::transpose::Transpose;
use crate::operations::Vocabulary;
use crate::tokens::Tokens;

/// `softmax(q kᵀ / √d + mask) v` for each of `heads` parts of adjacent columns, d wide in q and k.
///
/// q has a token for each token of the result; k and v have as many tokens as each other. The mask, `[queries · keys]` wide, is added
/// to the scores of every head: a large negative number where a query must not look, as in [`causal_mask`]. It may be an input, where
/// samples differ.
///
/// Reference: A. Vaswani et al., Attention Is All You Need, NeurIPS 2017, eq. 1 and section 3.2.2.
pub fn attention<E: Scalar, D: Backend<E>>(
    q: &Tokens<E, D>,
    k: &Tokens<E, D>,
    v: &Tokens<E, D>,
    heads: usize,
    mask: Option<&Value<E, D>>,
) -> Tokens<E, D> {
    let mut scores = attention_scores(q, k, heads);
    if let Some(mask) = mask {
        let masked = scores.into_value() + mask.repeat(heads);
        scores = masked.tokens(heads * q.count());
    }
    attend(&scores.softmax(1), v, heads)
}

/// `q kᵀ / √d` for each of `heads` parts of adjacent columns, d wide: a token for each head and query, `[heads · queries, keys]`.
///
/// Scores by relative position are such scores of q and of what stands for each distance, moved to their keys:
/// `scores.tokens(heads).gather(&Selection::distances(queries, keys)?)`; see
/// [`Selection::distances`](crate::Selection::distances).
pub fn attention_scores<E: Scalar, D: Backend<E>>(
    q: &Tokens<E, D>,
    k: &Tokens<E, D>,
    heads: usize,
) -> Tokens<E, D> {
    let (queries, width) = (q.count(), q.width() / heads.max(1));
    let scaled = q * (width.max(1) as f64).sqrt().recip();
    let product = Matmul {
        rows: queries,
        inner: width,
        columns: k.count(),
        transposed: true,
    };
    let per_head = PerToken {
        operation: &product,
        count: heads,
    };
    let factors = [by_head(&scaled, heads), by_head(k, heads)];
    Value::of(&per_head, &[&factors[0], &factors[1]]).tokens(heads * queries)
}

/// The sums of tokens of v with the given weights, `[heads · queries, keys]`, head by head: `[queries, width of v]`.
pub fn attend<E: Scalar, D: Backend<E>>(
    weights: &Tokens<E, D>,
    v: &Tokens<E, D>,
    heads: usize,
) -> Tokens<E, D> {
    let heads = heads.max(1);
    let (queries, width) = (weights.count() / heads, v.width() / heads);
    let product = Matmul {
        rows: queries,
        inner: v.count(),
        columns: width,
        transposed: false,
    };
    let per_head = PerToken {
        operation: &product,
        count: heads,
    };
    let weights = weights.clone().into_value();
    let attended = Value::of(&per_head, &[&weights, &by_head(v, heads)]);
    transposed(attended, [heads, queries, width]).tokens(queries)
}

/// From `[tokens, heads, width]` to `[heads, tokens, width]`.
fn by_head<E: Scalar, D: Backend<E>>(x: &Tokens<E, D>, heads: usize) -> Value<E, D> {
    let width = x.width() / heads.max(1);
    transposed(x.clone().into_value(), [x.count(), heads, width])
}

fn transposed<E: Scalar, D: Backend<E>>(
    x: Value<E, D>,
    [rows, columns, block]: [usize; 3],
) -> Value<E, D> {
    let transpose = Transpose {
        rows,
        columns,
        block,
    };
    // One row or one column lies in memory as its transpose does.
    match (rows == 1 || columns == 1) && x.width() == rows * columns * block {
        true => x,
        false => Value::of(&transpose, &[&x]),
    }
}

/// A mask for [`attention`]: query i sees keys up to its own place, which is behind those that are there before the first query; 0 where
/// it sees one and −1e9 where it does not.
pub fn causal_mask(queries: usize, keys: usize) -> Vec<f64> {
    let before = keys.saturating_sub(queries);
    let entries = (0..queries * keys).map(|entry| (entry / keys, entry % keys));
    let mask = entries.map(|(query, key)| if key > query + before { -1e9 } else { 0.0 });
    mask.collect()
}
