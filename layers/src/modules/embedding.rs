//! Embedding.

use dfdx::prelude::*;
use equilibria_core::{
    from_host, recorded, to_host, AnyTape, Backend, Error, Matrix, Parameters, Result, Scalar,
};

use crate::Initializer;

/// A row of a table for each word: `[w_{i_1} | w_{i_2} | …]` for the numbers `i_1, i_2, …` of a row.
pub struct Embedding<E: Scalar, D: Backend<E>> {
    /// The table, `[words, width]`; it has the name `weight`.
    pub weight: Matrix<E, D>,
    /// Whether word 0 is padding, whose row gets no gradient: it stays 0, as it starts.
    pub padded: bool,
}

impl<E: Scalar, D: Backend<E>> Embedding<E, D> {
    /// Normal rows of the given deviation.
    pub fn normal(
        words: usize,
        width: usize,
        deviation: f64,
        init: &mut Initializer<D>,
    ) -> Result<Self> {
        Ok(Self {
            weight: init.normal((words, width), deviation)?,
            padded: false,
        })
    }

    /// [`normal`](Self::normal) numbers, with word 0 as padding: its row is 0 and stays so.
    pub fn padded(
        words: usize,
        width: usize,
        deviation: f64,
        init: &mut Initializer<D>,
    ) -> Result<Self> {
        let mut table = Self::normal(words, width, deviation, init)?;
        let mut values = to_host(&table.weight);
        values[..width].fill(E::zero());
        D::overwrite(&mut table.weight, &values)?;
        table.padded = true;
        Ok(table)
    }

    /// Numbers per word.
    pub fn width(&self) -> usize {
        self.weight.shape().1
    }

    /// The rows of words, which are data. On a device they are looked up on the host.
    ///
    /// # Shapes
    /// `words`: `[batch, count]`, whole numbers; the result: `[batch, count · width]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a number that is no row of the table, [`Error::Device`] if memory runs out.
    pub fn forward<T: AnyTape<E, D>>(
        &self,
        words: &Matrix<E, D>,
        tape: T,
    ) -> Result<Matrix<E, D, T>> {
        let (rows, width) = *self.weight.shape();
        let (batch, count) = *words.shape();
        let place = |word: E| {
            let word = word.wide();
            match word >= 0.0 && word.fract() == 0.0 && word < rows as f64 {
                true => Ok(word as usize),
                false => Err(Error::Shape {
                    what: "a word".to_owned(),
                    expected: format!("a whole number below {rows}, the rows of the embedding"),
                    got: word.to_string(),
                }),
            }
        };
        let places = to_host(words).into_iter().map(place);
        let places: Vec<usize> = places.collect::<Result<_>>()?;
        let table = to_host(&self.weight);
        let mut values = Vec::with_capacity(places.len() * width);
        for &place in &places {
            values.extend_from_slice(&table[place * width..][..width]);
        }
        let y = from_host(words.device(), values, (batch, count * width))?;
        let (weight, padded) = (self.weight.clone(), self.padded);
        Ok(recorded(y, tape, move |gradients, y_bar| {
            D::add_to_gradient(gradients, &weight, |weight_bar| {
                for (&place, y_bar) in places.iter().zip(y_bar.chunks_exact(width)) {
                    if padded && place == 0 {
                        continue;
                    }
                    let row = &mut weight_bar[place * width..][..width];
                    row.iter_mut().zip(y_bar).for_each(|(w, &y)| *w += y);
                }
            })
        }))
    }
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for Embedding<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        visitor(
            &equilibria_core::parameters::join(path, "weight"),
            &self.weight,
        );
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        visitor(
            &equilibria_core::parameters::join(path, "weight"),
            &mut self.weight,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(padded: bool) -> Embedding<f64, Cpu> {
        let init = &mut Initializer::new(&Cpu::default(), 1);
        let table = match padded {
            true => Embedding::padded(3, 2, 1.0, init),
            false => Embedding::normal(3, 2, 1.0, init),
        };
        table.expect("memory")
    }

    fn words(words: &[f64]) -> Matrix<f64, Cpu> {
        let shape = (words.len() / 3, 3);
        from_host(&Cpu::default(), words.to_vec(), shape).expect("memory")
    }

    /// The gradient of Σ y² / 2 is the row itself, as often as the word stands there.
    #[test]
    fn rows_are_looked_up_and_get_the_gradient() {
        for padded in [false, true] {
            let table = table(padded);
            let w = to_host(&table.weight);
            let y = table.forward(&words(&[2.0, 0.0, 2.0]), OwnedTape::default());
            let y = y.expect("known words");
            let expected = [&w[4..], &w[..2], &w[4..]].concat();
            assert_eq!(y.as_vec(), expected);
            let gradients = (y.square() * 0.5).sum::<Rank0, _>().backward();
            let expected = [w[0], w[1], 0.0, 0.0, 2.0 * w[4], 2.0 * w[5]];
            assert_eq!(gradients.get(&table.weight).as_vec(), expected);
            assert_eq!(w[..2].iter().all(|w| w.abs() < 1e-300), padded);
        }
    }

    #[test]
    fn unknown_words_are_refused() {
        for word in [3.0, -1.0, 0.5, f64::NAN] {
            let result = table(false).forward(&words(&[0.0, word, 1.0]), NoneTape);
            assert!(matches!(result.err(), Some(Error::Shape { .. })), "{word}");
        }
    }
}
