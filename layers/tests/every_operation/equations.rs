//! One equation or more for each operation.

use equilibria_core::prelude::*;
use equilibria_layers::{attention, causal_mask, concatenate, Selection, Vocabulary};

use crate::{Equation, Probe, V};

/// A value that depends on the state, the input and parameters, in another way in each column.
fn mixed<E: Scalar, D: Backend<E>>(probe: &Probe<E, D>, z: &V<E, D>, x: &V<E, D>) -> V<E, D> {
    probe.linear.of(z) + x
}

/// [`mixed`], above 0.
fn positive<E: Scalar, D: Backend<E>>(probe: &Probe<E, D>, z: &V<E, D>, x: &V<E, D>) -> V<E, D> {
    mixed(probe, z, x).square() + 0.7
}

/// Columns of six: one twice, one never, and one that is 0.
fn selection() -> Selection {
    let columns = [Some(4), Some(0), Some(4), None, Some(1), Some(5)];
    Selection::new(6, columns).expect("inside")
}

/// One equation or more for each file of `src/operations`, by its name.
pub fn equations<E: Scalar, D: Backend<E>>() -> Vec<(&'static str, Equation<E, D>)> {
    let all = [rows(), numbers(), groups(), matrices(), operators()];
    all.concat()
}

/// Parameters, norms, columns and activations.
fn rows<E: Scalar, D: Backend<E>>() -> Vec<(&'static str, Equation<E, D>)> {
    vec![
        ("columns", |p, z, x| {
            let z = mixed(p, z, x);
            concatenate([&z.columns(2..6), &z.columns(0..2)])
        }),
        ("columns", |_, z, _| {
            concatenate([&z.columns(0..3), &z.columns(0..3)])
        }),
        ("concatenate", |p, z, x| {
            let halves = concatenate([
                &mixed(p, z, x).columns(1..4),
                &x.columns(0..2),
                &z.columns(5..6),
            ]);
            halves.tanh()
        }),
        ("cos", |p, z, x| mixed(p, z, x).cos()),
        ("exp", |p, z, x| mixed(p, z, x).exp()),
        ("group_norm", |p, z, x| p.norm.of(&mixed(p, z, x))),
        ("group_norm", |p, z, x| p.norm.of(x) * z),
        // What a normalization takes along: additions and a ReLU before it or after it.
        ("group_norm", |p, z, x| {
            p.norm.of(&(p.linear.of(z) + x)).relu()
        }),
        ("group_norm", |p, z, x| {
            p.norm.of(&(x + p.linear.of(z)).relu())
        }),
        ("group_norm", |p, z, _| p.norm.of(&p.linear.of(z).relu())),
        ("group_norm", |p, z, x| {
            p.norm.of(&(z.product(&p.matrix) + x.shift(&p.row)))
        }),
        ("group_norm", |p, z, _| {
            p.norm.of(&p.linear.of(z)).relu().stretch(&p.row)
        }),
        // What it must leave alone, for others want it as well.
        ("group_norm", |p, z, x| {
            let sum = p.linear.of(z) + x;
            let (rectified, normal) = (sum.relu(), p.norm.of(&sum));
            p.norm.of(&rectified) * &rectified + normal.relu() * &normal + sum
        }),
        ("product", |p, z, x| (z.product(&p.matrix) + x).tanh()),
        ("product", |p, z, x| {
            (z.product_transposed(&p.matrix) + x).tanh()
        }),
        // The same parameter in two places, and one in what is constant.
        ("product", |p, z, x| {
            (z.product(&p.matrix).product_transposed(&p.matrix) + x.product(&p.matrix)).tanh()
        }),
        ("relu", |p, z, x| mixed(p, z, x).relu()),
        ("relu", |p, z, x| p.norm.of(&mixed(p, z, x).relu()).relu()),
        ("shift", |p, z, x| (z * x).shift(&p.row).square()),
        ("sigmoid", |p, z, x| mixed(p, z, x).sigmoid()),
        ("sin", |p, z, x| mixed(p, z, x).sin()),
        ("square", |p, z, x| mixed(p, z, x).square()),
        ("stretch", |p, z, x| mixed(p, z, x).stretch(&p.row).tanh()),
        ("tanh", |p, z, x| mixed(p, z, x).tanh()),
    ]
}

/// Functions of single numbers.
fn numbers<E: Scalar, D: Backend<E>>() -> Vec<(&'static str, Equation<E, D>)> {
    vec![
        ("abs", |p, z, x| mixed(p, z, x).abs()),
        ("clamp", |p, z, x| mixed(p, z, x).clamp(-0.7, 1.1)),
        ("elu", |p, z, x| mixed(p, z, x).elu(1.3)),
        ("gelu", |p, z, x| mixed(p, z, x).gelu()),
        ("gelu_tanh", |p, z, x| mixed(p, z, x).gelu_tanh()),
        ("leaky_relu", |p, z, x| mixed(p, z, x).leaky_relu(0.2)),
        ("ln", |p, z, x| positive(p, z, x).ln()),
        ("silu", |p, z, x| mixed(p, z, x).silu()),
        ("soft_threshold", |p, z, x| {
            mixed(p, z, x).soft_threshold(0.4)
        }),
        ("soft_threshold", |p, z, x| {
            mixed(p, z, x).soft_threshold_by(&z.broadcast(&p.row).abs())
        }),
        ("softplus", |p, z, x| mixed(p, z, x).softplus()),
        ("sqrt", |p, z, x| positive(p, z, x).sqrt()),
        ("", |p, z, x| mixed(p, z, x) / positive(p, x, z)),
        ("", |p, z, x| x / positive(p, z, x) + z / positive(p, x, x)),
        ("", |p, z, x| {
            2.0 / positive(p, z, x) - 0.5 / positive(p, x, x) + z / 3.0
        }),
    ]
}

/// Numbers that are the same in every row, and groups of columns.
fn groups<E: Scalar, D: Backend<E>>() -> Vec<(&'static str, Equation<E, D>)> {
    vec![
        ("broadcast", |p, z, x| {
            (z * x.broadcast(&p.row).exp() + x).tanh()
        }),
        ("broadcast", |p, z, x| {
            z.broadcast(&p.matrix).columns(3..9) * mixed(p, z, x)
        }),
        ("broadcast", |p, z, _| z.broadcast(&p.row)),
        ("row_norms", |p, z, x| {
            mixed(p, z, x) * x.row_norms(&p.matrix).columns(0..6) + z.row_norms(&p.matrix)
        }),
        ("constant", |p, z, x| {
            mixed(p, z, x) * x.constant(&[0.5, -1.0, 2.0, 0.0, 1.5, 3.0])
        }),
        // Groups of columns.
        ("sum", |p, z, x| mixed(p, z, x).sum(2).repeat(3) * z),
        ("sum", |p, z, x| mixed(p, z, x).square().mean(3).repeat(2)),
        ("max", |p, z, x| mixed(p, z, x).max(2).repeat(3) * z),
        ("softmax", |p, z, x| mixed(p, z, x).softmax(1) * x),
        ("softmax", |p, z, x| mixed(p, z, x).softmax(2) + z),
        ("softmax", |p, z, x| {
            concatenate([z, &mixed(p, z, x), x]).softmax(1).sum(6)
        }),
        ("logsumexp", |p, z, x| {
            mixed(p, z, x).logsumexp(2).repeat(3) * x
        }),
        ("logsumexp", |p, z, x| {
            mixed(p, z, x).repeat(20).logsumexp(6)
        }),
        ("repeat", |p, z, x| {
            mixed(p, z, x).columns(1..3).repeat(3) * z
        }),
        ("normalize", |p, z, x| mixed(p, z, x).normalize(2) * x),
        ("normalize", |p, z, x| mixed(p, z, x).relu().normalize(1)),
        ("layer_norm", |p, z, x| p.layer_norm.of(&mixed(p, z, x))),
        ("layer_norm", |p, z, x| {
            p.layer_norm.of(&(p.linear.of(z) + x)).relu()
        }),
    ]
}

/// Rows as matrices, and columns that move.
fn matrices<E: Scalar, D: Backend<E>>() -> Vec<(&'static str, Equation<E, D>)> {
    vec![
        ("per_token", |p, z, x| {
            p.short.of(&mixed(p, z, x).tokens(2)).tanh().into_value()
        }),
        ("per_token", |p, z, x| {
            let tokens = p.short.of(&z.tokens(2)) + x.tokens(2);
            p.short_norm.of(&tokens.relu()).into_value()
        }),
        ("per_token", |p, z, x| {
            let tokens = mixed(p, z, x).tokens(3);
            let sums = tokens.sum(1).repeat(2) - tokens.constant(&[0.5, 1.0]);
            (tokens.logsumexp(1).repeat(2) * sums / 2.0 + &tokens).into_value()
        }),
        ("per_token", |p, z, x| {
            let half = concatenate([z, x]).tokens(4).tokens(1).columns(0..1);
            (half.into_value().repeat(3).columns(0..6) * mixed(p, z, x))
                .tokens(2)
                .softmax(1)
                .into_value()
        }),
        ("per_token", |p, z, x| {
            let [a, b] = [mixed(p, z, x).tokens(2), x.tokens(2)];
            let ratio = (1.0 - &a * &b) / (2.0 + b.square());
            (-(0.5 * ratio - 3.0) + a / 4.0 + 1.0 / (b.square() + 1.0)).into_value()
        }),
        ("transpose", |p, z, x| {
            mixed(p, z, x).tokens(2).transpose().into_value() * z
        }),
        ("transpose", |p, z, x| {
            mixed(p, z, x)
                .tokens(2)
                .mix(&p.mixer)
                .into_value()
                .columns(0..6)
        }),
        ("transpose", |p, z, x| {
            let tokens = mixed(p, z, x).tokens(2);
            concatenate([
                tokens.sum_tokens(),
                tokens.mean_tokens() * tokens.max_tokens(),
            ])
        }),
        ("matmul", |p, z, x| {
            let [a, b] = [mixed(p, z, x).tokens(2), x.tokens(3)];
            concatenate([
                a.matmul(&b).into_value(),
                b.transpose().matmul_transposed(&a).into_value(),
            ])
            .columns(1..7)
        }),
        ("matmul", |p, z, x| {
            // Both factors are the same value, and one is a transpose of it.
            let tokens = mixed(p, z, x).tokens(2);
            let square = tokens.matmul_transposed(&tokens);
            square.matmul(&tokens).into_value()
        }),
        ("matmul", |_, z, x| {
            x.tokens(3).matmul(&z.tokens(2)).into_value().columns(3..9)
        }),
        ("matmul", |p, z, x| {
            let [q, k] = [mixed(p, z, x).tokens(3), concatenate([x, z]).tokens(6)];
            let mask = x.constant(&causal_mask(3, 6));
            attention(&q, &k, &k.tanh(), 2, Some(&mask)).into_value()
        }),
        ("matmul", |p, z, x| {
            attention(
                &z.tokens(2),
                &z.tokens(2),
                &mixed(p, z, x).tokens(2),
                1,
                None,
            )
            .into_value()
        }),
        // Columns that move.
        ("gather", |p, z, x| mixed(p, z, x).gather(&selection()) * z),
        ("gather", |p, z, x| {
            mixed(p, z, x).scatter(&selection()) + x.gather(&selection())
        }),
        ("gather", |p, z, x| {
            let tokens = mixed(p, z, x).tokens(2);
            let moved = Selection::new(3, [Some(2), None, Some(2)]).expect("inside");
            (tokens.gather(&moved) + z.tokens(2).scatter(&moved)).into_value()
        }),
    ]
}

/// Operators, and values that meet themselves.
fn operators<E: Scalar, D: Backend<E>>() -> Vec<(&'static str, Equation<E, D>)> {
    vec![
        ("", |_, z, x| z * z + x * z - x * x),
        ("", |p, z, x| {
            let y = mixed(p, z, x);
            &y - (&y * &y) * 0.5 + 3.0
        }),
        ("", |_, z, x| -(x - z) * (1.0 - z) + 0.5 * x - (2.0 + z)),
        ("", |_, _, x| x.clone()),
        ("", |_, z, _| z.clone()),
        // The result is an argument of an operation that is not needed, and of one that is.
        ("", |p, z, x| {
            let y = mixed(p, z, x).tanh();
            let _unused = y.square();
            &y * &y + y
        }),
        ("", |_, _, x| x.tanh()),
    ]
}
