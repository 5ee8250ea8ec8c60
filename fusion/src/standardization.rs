//! Standardization of numbers to predict: learned with mean 0 and deviation 1, said in their own units.

use std::convert::Infallible;

use equilibria_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The scale on which numbers are learned: an output x says the number `mean + deviation · x`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(expecting = "a table such as `{ mean = 0.0, deviation = 1.0 }`")]
pub struct Standardization {
    /// What an output of 0 says, in the units of the numbers.
    pub mean: f64,
    /// What an output of 1 says more, above 0.
    pub deviation: f64,
}

/// Numbers as they are.
impl Default for Standardization {
    fn default() -> Self {
        Self {
            mean: 0.0,
            deviation: 1.0,
        }
    }
}

impl Standardization {
    /// Mean and standard deviation of some numbers. Numbers that are all the same have a deviation of 1, and where mean or
    /// deviation are beyond f64, as for no numbers at all, it is the default.
    pub fn fit(numbers: &[f64]) -> Self {
        let fitted = Self::fit_passes::<Infallible>(|see| {
            numbers.iter().copied().for_each(see);
            Ok(())
        });
        fitted.unwrap_or_default()
    }

    /// [`fit`](Self::fit) to numbers that are shown by `pass`, several times and in the same order.
    ///
    /// # Errors
    /// Those of `pass`.
    pub fn fit_passes<Failure>(
        pass: impl Fn(&mut dyn FnMut(f64)) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let (mut first, mut count) = (None, 0.0);
        pass(&mut |number| {
            first.get_or_insert(number);
            count += 1.0;
        })?;
        let Some(first) = first else {
            return Ok(Self::default());
        };
        // Around the first of them: the sum of numbers that are far from 0 would lose what they differ by.
        let (mut sum, mut differ) = (-0.0, false);
        pass(&mut |y| {
            sum += (y - first) / count;
            differ |= (y - first).abs() > 0.0;
        })?;
        let mean = first + sum;
        let mut largest = 0.0;
        pass(&mut |y| largest = f64::max(largest, (y - mean).abs()))?;
        let mut squares = -0.0;
        pass(&mut |y| squares += ((y - mean) / largest).powi(2))?;
        let deviation = match differ {
            true => largest * (squares / count).sqrt(),
            false => 1.0,
        };
        let fitted = Self { mean, deviation };
        Ok(match fitted.validate() {
            Ok(()) => fitted,
            Err(_) => Self::default(),
        })
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let (name, finite) = ("standardization", self.mean.is_finite());
        Error::require(finite, name, "mean", "finite", self.mean)?;
        Error::require_positive(name, "deviation", self.deviation)
    }

    /// The output that says a number.
    pub fn output(&self, number: f64) -> f64 {
        (number - self.mean) / self.deviation
    }

    /// The number that an output says.
    pub fn number(&self, output: f64) -> f64 {
        self.mean + self.deviation * output
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    // Mean 3, squares 4, 1, 1, 4 around it: deviation √(10 / 4).
    #[test]
    fn mean_and_deviation_are_those_of_the_numbers() {
        let numbers = [1.0, 2.0, 4.0, 5.0];
        let near = Standardization::fit(&numbers);
        assert_relative_eq!(near.mean, 3.0);
        assert_relative_eq!(near.deviation, 2.5f64.sqrt(), max_relative = 1e-15);
        // Far from 0 nothing is lost, and every number comes back.
        let far = Standardization::fit(&numbers.map(|y| y + 1e9));
        assert_relative_eq!(far.mean, 1e9 + 3.0);
        assert_relative_eq!(far.deviation, near.deviation, max_relative = 1e-15);
        for y in numbers {
            assert_relative_eq!(near.number(near.output(y)), y, max_relative = 1e-15);
        }
    }

    #[test]
    fn numbers_without_a_deviation_are_moved_alone() {
        let of = |numbers: &[f64]| {
            let Standardization { mean, deviation } = Standardization::fit(numbers);
            (mean, deviation)
        };
        assert_eq!(of(&[0.1; 3]), (0.1, 1.0));
        assert_eq!(of(&[7.0]), (7.0, 1.0));
        assert_eq!(of(&[]), (0.0, 1.0));
        assert_eq!(of(&[f64::MAX, -f64::MAX]), (0.0, 1.0));
        // Squares that are beyond f64 alone do no harm.
        assert_eq!(of(&[-1e200, 1e200]), (0.0, 1e200));
    }
}
