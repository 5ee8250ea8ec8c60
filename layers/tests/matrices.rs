//! Rows seen as matrices: what words between transposes, heads and windows come to, against sums written out.

use equilibria_core::dfdx::prelude::*;
use equilibria_core::from_host;
use equilibria_core::prelude::*;
use equilibria_layers::{
    attend, attention, attention_scores, causal_mask, Selection, Tokens, Vocabulary, Window,
};
use equilibria_testing::{random_values, relative_difference};

const BATCH: usize = 3;

/// Rows of matrices `[count, width]`, and their numbers.
fn tokens(count: usize, width: usize, seed: u64) -> (Tokens<f64, Cpu>, Vec<f64>) {
    let numbers = random_values(BATCH * count * width, seed);
    let shape = (BATCH, count * width);
    let matrix = from_host(&Cpu::default(), numbers.clone(), shape).expect("memory");
    (Value::plain(matrix).tokens(count), numbers)
}

fn parameter(rows: usize, columns: usize, seed: u64) -> (Matrix<f64, Cpu>, Vec<f64>) {
    let numbers = random_values(rows * columns, seed);
    let matrix = from_host(&Cpu::default(), numbers.clone(), (rows, columns));
    (matrix.expect("memory"), numbers)
}

/// The numbers of a value are those that `entry` gives for each row of the batch and column, to some roundings.
fn check(value: Value<f64, Cpu>, entry: impl Fn(usize, usize) -> f64) {
    let matrix = value.into_matrix().expect("it fits");
    let (batch, width) = *matrix.shape();
    let expected: Vec<f64> = (0..batch * width)
        .map(|place| entry(place / width, place % width))
        .collect();
    let error = relative_difference(&matrix.as_vec(), &expected);
    assert!(error < 1e-14, "{error:e}");
}

fn dot(terms: usize, term: impl Fn(usize) -> f64) -> f64 {
    (0..terms).map(term).sum()
}

#[test]
fn products_and_sums_of_tokens() {
    let ((a, x), (b, y)) = (tokens(4, 3, 1), tokens(3, 5, 2));
    let ((c, w), (mixer, m)) = (tokens(2, 3, 3), parameter(6, 4, 4));
    let x = |row: usize, token: usize, column: usize| x[(row * 4 + token) * 3 + column];
    check(a.matmul(&b).into_value(), |row, place| {
        dot(3, |k| {
            x(row, place / 5, k) * y[(row * 3 + k) * 5 + place % 5]
        })
    });
    check(a.matmul_transposed(&c).into_value(), |row, place| {
        dot(3, |k| {
            x(row, place / 2, k) * w[(row * 2 + place % 2) * 3 + k]
        })
    });
    check(a.mix(&mixer).into_value(), |row, place| {
        dot(4, |token| {
            m[place / 3 * 4 + token] * x(row, token, place % 3)
        })
    });
    check(a.transpose().into_value(), |row, place| {
        x(row, place % 4, place / 4)
    });
    check(a.sum_tokens(), |row, column| {
        dot(4, |token| x(row, token, column))
    });
    check(a.mean_tokens(), |row, column| {
        dot(4, |token| x(row, token, column)) / 4.0
    });
    check(a.max_tokens(), |row, column| {
        (0..4).fold(f64::MIN, |most, token| most.max(x(row, token, column)))
    });
    check(a.sum(1).into_value(), |row, token| {
        dot(3, |k| x(row, token, k))
    });
    check(a.softmax(1).into_value(), |row, place| {
        let sum = dot(3, |k| x(row, place / 3, k).exp());
        x(row, place / 3, place % 3).exp() / sum
    });
}

/// Four queries that see five keys, two heads of three columns in q and k and of two in v.
#[test]
fn attention_is_a_mean_for_each_head_and_query() {
    let ((q, of_q), (k, of_k), (v, of_v)) = (tokens(4, 6, 5), tokens(5, 6, 6), tokens(5, 4, 7));
    let mask = causal_mask(4, 5);
    let masked = q.sum_tokens().constant(&mask);
    let weights = |row: usize, head: usize, query: usize| -> Vec<f64> {
        let score = |key: usize| {
            let product = dot(3, |k| {
                let column = head * 3 + k;
                of_q[(row * 4 + query) * 6 + column] * of_k[(row * 5 + key) * 6 + column]
            });
            // Query 0 comes after key 0, and has key 1 beside it.
            let seen = f64::from(u8::from(key <= query + 1));
            seen * (product / 3.0_f64.sqrt()).exp()
        };
        let scores: Vec<f64> = (0..5).map(score).collect();
        let sum: f64 = scores.iter().sum();
        scores.into_iter().map(|score| score / sum).collect()
    };
    let attended = attention(&q, &k, &v, 2, Some(&masked));
    assert_eq!((attended.count(), attended.width()), (4, 4));
    check(attended.into_value(), |row, place| {
        let (query, column) = (place / 4, place % 4);
        let weights = weights(row, column / 2, query);
        dot(5, |key| weights[key] * of_v[(row * 5 + key) * 4 + column])
    });
}

/// Scores of the keys of the past by distance: what stands for distance d has no place of its own.
#[test]
fn scores_by_distance_stand_where_their_keys_do() {
    let ((q, of_q), (r, of_r)) = (tokens(3, 4, 8), tokens(4, 4, 9));
    let moved = attention_scores(&q, &r, 2).into_value().tokens(2);
    let moved = moved.gather(&Selection::distances(3, 4).expect("more keys"));
    check(moved.into_value(), |row, place| {
        let (head, query, key) = (place / 12, place % 12 / 4, place % 4);
        let Some(distance) = (query + 1).checked_sub(key) else {
            return 0.0;
        };
        let product = dot(2, |k| {
            let column = head * 2 + k;
            of_q[(row * 3 + query) * 4 + column] * of_r[(row * 4 + distance) * 4 + column]
        });
        product / 2.0_f64.sqrt()
    });
    // Weights of one sum up to one, whatever the head: attending to equal tokens gives these.
    let equal = q.constant(&[1.5, -2.0, 0.5, 4.0]);
    let weights = attention_scores(&q, &q, 2).softmax(1);
    check(attend(&weights, &equal, 2).into_value(), |_, place| {
        [1.5, -2.0, 0.5, 4.0][place % 4]
    });
}

/// Three channels of 5 × 4 pixels, weights as PyTorch has them, `[outputs, channels, side, side]`.
#[test]
fn a_product_for_each_window_is_a_convolution() {
    for (side, stride, padding) in [(3, 1, 1), (3, 2, 1), (2, 2, 0), (1, 1, 0)] {
        let window = Window {
            channels: 3,
            height: 5,
            width: 4,
            side,
            stride,
            padding,
        };
        let [rows, columns] = window.outputs();
        let windows = Selection::windows(window).expect("they fit");
        let ((image, x), (weight, w)) = (tokens(20, 3, 10), parameter(2, 3 * side * side, 11));
        let image = image.into_value();
        let pixels = image.gather(&windows).tokens(rows * columns);
        check(pixels.product(&weight).into_value(), |row, place| {
            let (pixel, output) = (place / 2, place % 2);
            dot(3 * side * side, |k| {
                let (channel, inside) = (k / (side * side), k % (side * side));
                let at =
                    |index: usize, within: usize| (index * stride + within).checked_sub(padding);
                match (
                    at(pixel / columns, inside / side),
                    at(pixel % columns, inside % side),
                ) {
                    (Some(y), Some(x_place)) if y < 5 && x_place < 4 => {
                        let pixel = (row * 5 + y) * 4 + x_place;
                        w[output * 3 * side * side + k] * x[pixel * 3 + channel]
                    }
                    _ => 0.0,
                }
            })
        });
    }
}
