//! Moving averages of parameters.

use equilibria_core::{to_host, Backend, Parameters, Scalar};

/// `a ← β a + (1 − β) w` over the steps of a training run.
///
/// In the first steps β is at most (1 + t) / (10 + t), so that the start, which means nothing, is forgotten.
pub(crate) struct Average<E> {
    decay: f64,
    /// Steps taken into account.
    pub steps: usize,
    /// The averages, in the order of the parameters; none before the first step.
    pub values: Vec<Vec<E>>,
}

impl<E: Scalar> Average<E> {
    pub fn new(decay: f64) -> Self {
        Self {
            decay,
            steps: 0,
            values: Vec::new(),
        }
    }

    /// Takes the parameters after one more step into account.
    pub fn update<D: Backend<E>>(&mut self, parameters: &impl Parameters<E, D>) {
        let step = self.steps as f64;
        let decay = E::of(self.decay.min((1.0 + step) / (10.0 + step)));
        self.steps += 1;
        for (index, (_, tensor)) in parameters.named().iter().enumerate() {
            let new = to_host(tensor);
            match self.values.get_mut(index) {
                Some(values) => {
                    for (average, &new) in values.iter_mut().zip(&new) {
                        *average = decay * *average + (E::one() - decay) * new;
                    }
                }
                None => self.values.push(new),
            }
        }
    }

    /// Exchanges the parameters for their averages; again, and they are back.
    pub fn exchange<D: Backend<E>>(&mut self, parameters: &mut impl Parameters<E, D>) {
        let named = parameters.named();
        let values = named.iter().map(|(_, tensor)| to_host(tensor)).collect();
        parameters.assign(std::mem::replace(&mut self.values, values));
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::*;
    use equilibria_core::Matrix;

    use super::*;

    #[test]
    fn the_average_follows_and_changes_places() {
        let mut w: Matrix<f64, Cpu> = Cpu::default().tensor_from_vec(vec![1.0], (1, 1));
        let mut average = Average::new(0.9);
        average.update(&w);
        w.copy_from(&[3.0]);
        // Step 1 of a young average: β = 2 / 11.
        average.update(&w);
        average.exchange(&mut w);
        approx::assert_relative_eq!(w.as_vec()[0], 2.0 / 11.0 + 27.0 / 11.0, epsilon = 1e-15);
        average.exchange(&mut w);
        approx::assert_relative_eq!(w.as_vec()[0], 3.0, epsilon = 0.0);
    }
}
