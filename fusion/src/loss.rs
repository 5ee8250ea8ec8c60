//! Losses of the outputs of a model, each the mean over a batch, `[1, 1]`.
//!
//! Outputs and targets are `[batch, outputs]`, the latter as [`Targets::matrix`](crate::data::Targets::matrix) makes them.
//! A loss fails if memory runs out.

use dfdx::prelude::*;
use equilibria_core::{contiguous, Backend, Matrix, Result, Scalar};

use crate::layers::modules::mean;
use crate::pass::Traced;

/// Softmax cross-entropy, −(1/B) Σ_s Σ_c y_sc log softmax(x_s)_c; targets are 1 at the class and 0 elsewhere.
pub fn cross_entropy<E: Scalar, D: Backend<E>>(
    logits: Traced<E, D>,
    one_hot: &Matrix<E, D>,
) -> Result<Traced<E, D>> {
    let classes = one_hot.shape().1 as f64;
    // dfdx's gradient of a softmax is that of a contiguous tensor alone.
    let log = contiguous(logits).log_softmax::<Axis<1>>() * one_hot.clone();
    Ok(mean(log)? * E::of(-classes))
}

/// The probability each row gives to its own class, softmax(x_s)_{y_s}: `[batch, 1]`.
pub fn true_class_probability<E: Scalar, D: Backend<E>>(
    logits: Traced<E, D>,
    one_hot: &Matrix<E, D>,
) -> Traced<E, D> {
    let rows = one_hot.shape().0;
    let own = contiguous(logits).softmax::<Axis<1>>() * one_hot.clone();
    own.sum::<(usize,), Axis<1>>().reshape_like(&(rows, 1))
}

/// Binary cross-entropy of sigmoid(x), mean over rows and labels of −y log σ(x) − (1 − y) log(1 − σ(x)), computed as
/// max(x, 0) − x y + log(1 + exp(−|x|)): nothing overflows, however large x is. Targets are 0 and 1.
pub fn binary_cross_entropy<E: Scalar, D: Backend<E>>(
    logits: Traced<E, D>,
    labels: &Matrix<E, D>,
) -> Result<Traced<E, D>> {
    mean(logits.bce_with_logits(labels.clone()))
}

/// Binary cross-entropy of sigmoid(x) to the score s_c = min(0.3 n_c, 1) of each answer, of n_c people of ten who gave it: sum over
/// answers, mean over questions. Targets are the numbers n_c.
pub fn answer_scores<E: Scalar, D: Backend<E>>(
    logits: Traced<E, D>,
    people: &Matrix<E, D>,
) -> Result<Traced<E, D>> {
    let answers = people.shape().1 as f64;
    let scores = (people.clone() * E::of(0.3)).clamp(0.0, 1.0);
    Ok(binary_cross_entropy(logits, &scores)? * E::of(answers))
}

/// Softmax cross-entropy to the share s_c = n_c / Σ_k n_k of each answer among those of people that can be given, which is what it is
/// on average to an answer drawn among them; 0 for a question of which none can be given. Targets are the numbers n_c.
pub fn answer_shares<E: Scalar, D: Backend<E>>(
    logits: Traced<E, D>,
    people: &Matrix<E, D>,
) -> Result<Traced<E, D>> {
    let all = people.clone().sum::<(usize,), Axis<1>>();
    let all = all.clamp(1.0, f64::INFINITY);
    let shares = people.clone() / all.broadcast_like::<_, Axis<1>>(people.shape());
    cross_entropy(logits, &shares)
}

/// Mean absolute error, mean of |x − y|; the gradient at x = y is 0.
pub fn absolute_error<E: Scalar, D: Backend<E>>(
    outputs: Traced<E, D>,
    targets: &Matrix<E, D>,
) -> Result<Traced<E, D>> {
    mean((outputs - targets.clone()).abs())
}

/// Mean squared error, mean of (x − y)².
pub fn squared_error<E: Scalar, D: Backend<E>>(
    outputs: Traced<E, D>,
    targets: &Matrix<E, D>,
) -> Result<Traced<E, D>> {
    mean((outputs - targets.clone()).square())
}
