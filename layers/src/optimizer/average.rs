//! Moving averages of parameters.

use equilibria_core::{vectorized, Backend, Error, Parameters, Result, Scalar};

use super::Kept;

/// `a ← β a + (1 − β) w` after every step of an [`Optimizer`](super::Optimizer), which takes the average along.
///
/// In the first steps β is at most (1 + t) / (10 + t), so that the start, which means nothing, is forgotten.
pub struct Average<E> {
    decay: f64,
    /// Steps taken into account.
    pub steps: usize,
    /// The averages, in the order of the parameters; none before the first step.
    pub values: Vec<Kept<E>>,
}

impl<E: Scalar> Average<E> {
    /// Averages with the decay β, in (0, 1), of no steps so far.
    pub fn new(decay: f64) -> Self {
        Self {
            decay,
            steps: 0,
            values: Vec::new(),
        }
    }

    /// The decay of one more step; nothing is left of what was before the first one.
    pub(super) fn advance(&mut self) -> f64 {
        let step = self.steps as f64;
        self.steps += 1;
        match self.steps {
            1 => 0.0,
            _ => self.decay.min((1.0 + step) / (10.0 + step)),
        }
    }

    /// The average of the parameter of this number.
    pub(super) fn of(&mut self, parameter: usize) -> &mut Kept<E> {
        if self.values.len() == parameter {
            self.values.push(Kept::default());
        }
        &mut self.values[parameter]
    }

    /// Exchanges the parameters for their averages, [projected](Parameters::project) as they are; again, and they are back.
    ///
    /// # Errors
    /// [`Error::Missing`] before the first step, and where there are other parameters than in the last one.
    pub fn exchange<D: Backend<E>>(
        &mut self,
        parameters: &mut impl Parameters<E, D>,
    ) -> Result<()> {
        let (mut averages, mut outcome) = (self.values.iter_mut(), Ok(()));
        parameters.visit_mut("", &mut |name, tensor| {
            if outcome.is_ok() {
                let missing = || Error::Missing {
                    what: format!("the average of `{name}`"),
                    remedy: "take a step with the average first",
                };
                let average = averages.next().ok_or_else(missing);
                outcome = average.and_then(|average| {
                    let own = Kept::of(tensor)?;
                    average.give(tensor)?;
                    *average = own;
                    Ok(())
                });
            }
        });
        outcome?;
        parameters.project()
    }
}

vectorized! {
    /// `a ← β a + (1 − β) w`.
    pub(super) fn follow<'a, E, S>(_simd: S, average: &'a mut [E], values: &'a [E], decay: f64) {
        let (old_share, new_share) = (E::of(decay), E::one() - E::of(decay));
        for (average, &new) in average.iter_mut().zip(values) {
            *average = old_share * *average + new_share * new;
        }
    }
}
