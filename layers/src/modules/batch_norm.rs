//! Batch normalization.

use std::sync::Mutex;

use dfdx::prelude::*;
use equilibria_core::parallel::lock;
use equilibria_core::parameters::join;
use equilibria_core::{
    from_host, recorded, to_host, try_contiguous, AnyTape, Backend, Error, Matrix, Parameters,
    Result, Scalar,
};

use super::normalize::row_like;
use crate::Initializer;

/// `y = w ⊙ (x − μ) / √(σ² + ε) + b` with mean μ and biased variance σ² of each column over the rows of the batch in training; in
/// evaluation those that have been seen, with `running ← (1 − m) running + m now`, of the unbiased variance.
///
/// The running statistics have the names `running_mean` and `running_var`, as in PyTorch. Rows of a batch depend on each other in
/// training: no part of an equation.
///
/// Reference: S. Ioffe, C. Szegedy, Batch Normalization, ICML 2015, algorithms 1 and 2.
pub struct BatchNorm<E: Scalar, D: Backend<E>> {
    /// w, `[1, width]`.
    pub weight: Matrix<E, D>,
    /// b, `[1, width]`.
    pub bias: Matrix<E, D>,
    /// ε, in units of x².
    pub epsilon: f64,
    /// m, the share of a batch in the running statistics, in [0, 1].
    pub momentum: f64,
    running: Mutex<Running<E, D>>,
}

/// Mean and unbiased variance, `[1, width]` each.
struct Running<E: Scalar, D: Backend<E>> {
    mean: Matrix<E, D>,
    variance: Matrix<E, D>,
}

impl<E: Scalar, D: Backend<E>> BatchNorm<E, D> {
    /// w = 1, b = 0 and m = 0.1; running mean 0 and variance 1.
    pub fn new(width: usize, epsilon: f64, init: &mut Initializer<D>) -> Result<Self> {
        let mut row = |value| init.constant((1, width), value);
        Ok(Self {
            weight: row(1.0)?,
            bias: row(0.0)?,
            epsilon,
            momentum: 0.1,
            running: Mutex::new(Running {
                mean: row(0.0)?,
                variance: row(1.0)?,
            }),
        })
    }

    /// Normalizes `x`, `[batch, width]`: in training by the statistics of the batch, which are remembered.
    ///
    /// # Errors
    /// [`Error::Shape`] for another width, and for a single row in training, whose variance is none.
    pub fn forward<T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
        training: bool,
    ) -> Result<Matrix<E, D, T>> {
        let (rows, width) = *x.shape();
        let fits = width == self.weight.shape().1 && rows > usize::from(training);
        if !fits {
            return Err(Error::Shape {
                what: "the argument of a batch normalization".to_owned(),
                expected: format!(
                    "[batch, {}], with two rows or more in training",
                    self.weight.shape().1
                ),
                got: format!("{:?}", x.shape()),
            });
        }
        match D::ON_HOST {
            true => self.on_host(x, training),
            false => self.in_tensor_operations(x, training),
        }
    }

    fn on_host<T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
        training: bool,
    ) -> Result<Matrix<E, D, T>> {
        let (x, tape) = try_contiguous(x)?.split_tape();
        let (shape, mut values) = (*x.shape(), to_host(&x));
        let (mean, variance) = match training {
            true => {
                let (mean, variance) = moments(&values, shape.1);
                self.remember(&mean, &variance, shape.0)?;
                (mean, variance)
            }
            false => self.statistics(),
        };
        let inverse = |variance: &f64| (variance + self.epsilon).sqrt().recip();
        let inverse: Vec<E> = variance.iter().map(|v| E::of(inverse(v))).collect();
        let mean: Vec<E> = mean.into_iter().map(E::of).collect();
        for row in values.chunks_exact_mut(shape.1) {
            for ((x, &mean), &inverse) in row.iter_mut().zip(&mean).zip(&inverse) {
                *x = (*x - mean) * inverse;
            }
        }
        let normal = values;
        let (weight, bias) = (to_host(&self.weight), to_host(&self.bias));
        let mut y = normal.clone();
        for row in y.chunks_exact_mut(shape.1) {
            for ((y, &weight), &bias) in row.iter_mut().zip(&weight).zip(&bias) {
                *y = *y * weight + bias;
            }
        }
        let y = from_host(x.device(), y, shape)?;
        let [weight_tensor, bias_tensor] = [&self.weight, &self.bias].map(Clone::clone);
        Ok(recorded(y, tape, move |gradients, y_bar| {
            let (sum, product) = sums(y_bar, &normal, shape.1);
            D::put_gradient(gradients, &bias_tensor, sum.clone())?;
            D::put_gradient(gradients, &weight_tensor, product.clone())?;
            let share = match training {
                true => E::of(1.0 / shape.0 as f64),
                false => E::zero(),
            };
            D::add_to_gradient(gradients, &x, |x_bar| {
                let rows = x_bar.chunks_exact_mut(shape.1);
                let rows = rows.zip(
                    y_bar
                        .chunks_exact(shape.1)
                        .zip(normal.chunks_exact(shape.1)),
                );
                for (x_bar, (y_bar, normal)) in rows {
                    for (column, x_bar) in x_bar.iter_mut().enumerate() {
                        let common = share * (sum[column] + normal[column] * product[column]);
                        *x_bar += weight[column] * inverse[column] * (y_bar[column] - common);
                    }
                }
            })
        }))
    }

    /// The running mean and variance.
    fn statistics(&self) -> (Vec<f64>, Vec<f64>) {
        let running = lock(&self.running);
        let wide = |row: &Matrix<E, D>| to_host(row).into_iter().map(E::wide).collect();
        (wide(&running.mean), wide(&running.variance))
    }

    /// Takes a batch of so many rows into the running statistics.
    fn remember(&self, mean: &[f64], variance: &[f64], rows: usize) -> Result<()> {
        let unbiased = rows as f64 / (rows - 1) as f64;
        let mut running = lock(&self.running);
        let Running {
            mean: old_mean,
            variance: old_variance,
        } = &mut *running;
        for (old, new, factor) in [(old_mean, mean, 1.0), (old_variance, variance, unbiased)] {
            let mixed = to_host(old).into_iter().zip(new).map(|(old, new)| {
                E::of((1.0 - self.momentum) * old.wide() + self.momentum * factor * new)
            });
            D::overwrite(old, &mixed.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// [`forward`](Self::forward) in dfdx operations, on the device of the numbers.
    fn in_tensor_operations<T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
        training: bool,
    ) -> Result<Matrix<E, D, T>> {
        let shape = *x.shape();
        let (x, tape) = try_contiguous(x)?.split_tape();
        let mut running = lock(&self.running);
        let normal = if training {
            let mean = x.clone().mean::<(usize,), Axis<0>>();
            let variance = x.clone().var::<(usize,), Axis<0>>();
            let center = mean.clone().broadcast_like::<_, Axis<0>>(&shape);
            let row = (1, shape.1);
            let (old, new) = (E::of(1.0 - self.momentum), E::of(self.momentum));
            let unbiased = E::of(shape.0 as f64 / (shape.0 - 1) as f64);
            running.mean = running.mean.clone() * old + mean.reshape_like(&row) * new;
            running.variance =
                running.variance.clone() * old + variance.reshape_like(&row) * (new * unbiased);
            (x.put_tape(tape) - center).normalize::<Axis<0>>(self.epsilon)
        } else {
            let center = row_like::<NoneTape, _, _>(&running.mean, shape);
            let deviation = (running.variance.clone() + E::of(self.epsilon)).sqrt();
            (x.put_tape(tape) - center) / row_like::<NoneTape, _, _>(&deviation, shape)
        };
        let weight = row_like::<T, _, _>(&self.weight, shape);
        Ok(normal * weight + row_like::<T, _, _>(&self.bias, shape))
    }
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for BatchNorm<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        visitor(&join(path, "weight"), &self.weight);
        visitor(&join(path, "bias"), &self.bias);
        let running = lock(&self.running);
        visitor(&join(path, "running_mean"), &running.mean);
        visitor(&join(path, "running_var"), &running.variance);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        visitor(&join(path, "weight"), &mut self.weight);
        visitor(&join(path, "bias"), &mut self.bias);
        let mut running = lock(&self.running);
        visitor(&join(path, "running_mean"), &mut running.mean);
        visitor(&join(path, "running_var"), &mut running.variance);
    }

    fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
        visitor(&join(path, "running_mean"));
        visitor(&join(path, "running_var"));
    }
}

/// Mean and biased variance of each column, in f64.
fn moments<E: Scalar>(values: &[E], width: usize) -> (Vec<f64>, Vec<f64>) {
    let share = width as f64 / values.len() as f64;
    let (mut mean, mut variance) = (vec![0.0; width], vec![0.0; width]);
    for row in values.chunks_exact(width) {
        let entries = mean.iter_mut().zip(row);
        entries.for_each(|(mean, x)| *mean += x.wide());
    }
    mean.iter_mut().for_each(|mean| *mean *= share);
    for row in values.chunks_exact(width) {
        for ((variance, mean), x) in variance.iter_mut().zip(&mean).zip(row) {
            *variance += (x.wide() - mean) * (x.wide() - mean);
        }
    }
    variance.iter_mut().for_each(|variance| *variance *= share);
    (mean, variance)
}

/// `Σ_s ȳ_s` and `Σ_s ȳ_s ⊙ x̂_s`.
fn sums<E: Scalar>(y_bar: &[E], normal: &[E], width: usize) -> (Vec<E>, Vec<E>) {
    let (mut sum, mut product) = (vec![E::zero(); width], vec![E::zero(); width]);
    for (y_bar, normal) in y_bar.chunks_exact(width).zip(normal.chunks_exact(width)) {
        for (column, (&y_bar, &normal)) in y_bar.iter().zip(normal).enumerate() {
            sum[column] += y_bar;
            product[column] += y_bar * normal;
        }
    }
    (sum, product)
}

#[cfg(test)]
mod tests {
    use super::*;
    use equilibria_testing::{random_matrix, relative_difference};

    fn norm() -> BatchNorm<f64, Cpu> {
        let device = Cpu::default();
        let mut norm = BatchNorm::new(3, 1e-3, &mut Initializer::new(&device, 1)).expect("memory");
        norm.weight = from_host(&device, vec![0.5, -2.0, 1.5], (1, 3)).expect("memory");
        norm.bias = from_host(&device, vec![0.1, 0.2, 0.3], (1, 3)).expect("memory");
        norm
    }

    /// Result, gradients of Σ y³ / 3 and running statistics, by hand or in dfdx's operations.
    fn everything(by_hand: bool, training: bool) -> Vec<f64> {
        let (norm, x) = (norm(), random_matrix(&Cpu::default(), (5, 3), 2));
        let x: Matrix<f64, Cpu> = x.expect("memory");
        let mut all = Vec::new();
        // Twice, so that the second pass finds statistics that differ from those at the start.
        for training in [true, training] {
            let traced = x.clone().put_tape(OwnedTape::default());
            let y = match by_hand {
                true => norm.on_host(traced, training),
                false => norm.in_tensor_operations(traced, training),
            };
            let y = y.expect("it fits");
            all.extend(y.as_vec());
            let gradients = (y.powi(3) / 3.0).sum::<Rank0, _>().backward();
            for tensor in [&x, &norm.weight, &norm.bias] {
                all.extend(gradients.get(tensor).as_vec());
            }
        }
        norm.visit("", &mut |_, tensor| all.extend(tensor.as_vec()));
        all
    }

    #[test]
    fn both_ways_give_the_same_values_gradients_and_statistics() {
        for training in [true, false] {
            let (ours, theirs) = (everything(true, training), everything(false, training));
            let difference = relative_difference(&ours, &theirs);
            assert!(difference < 1e-13, "{training}: {difference:e}");
        }
    }

    /// Column 0, 2, 4: mean 2, variance 8/3 biased and 4 unbiased.
    #[test]
    fn running_statistics_are_of_the_unbiased_variance() {
        let device = Cpu::default();
        let norm = BatchNorm::new(1, 0.0, &mut Initializer::new(&device, 1)).expect("memory");
        let x: Matrix<f64, Cpu> = from_host(&device, vec![0.0, 2.0, 4.0], (3, 1)).expect("memory");
        let y = norm.forward(x.clone(), true).expect("three rows").as_vec();
        let expected = 2.0 / (8f64 / 3.0).sqrt();
        approx::assert_relative_eq!(y[..], [-expected, 0.0, expected], epsilon = 1e-15);
        let named = norm.named();
        let running: Vec<f64> = named[2..].iter().map(|(_, t)| t.as_vec()[0]).collect();
        approx::assert_relative_eq!(running[..], [0.2, 0.9 + 0.4], epsilon = 1e-15);
        // (x − 0.2) / √1.3.
        let y = norm.forward(x, false).expect("three rows").as_vec();
        approx::assert_relative_eq!(y[0], -0.2 / 1.3f64.sqrt(), epsilon = 1e-15);
        let mut statistics = Vec::new();
        norm.visit_statistics("bn", &mut |name| statistics.push(name.to_owned()));
        assert_eq!(statistics, ["bn.running_mean", "bn.running_var"]);
    }

    #[test]
    fn what_has_no_variance_is_refused() {
        let row: Matrix<f64, Cpu> = Cpu::default().zeros_like(&(1, 3));
        assert!(norm().forward(row.clone(), false).is_ok());
        let error = norm().forward(row, true).err();
        assert!(matches!(error, Some(Error::Shape { .. })), "{error:?}");
    }
}
