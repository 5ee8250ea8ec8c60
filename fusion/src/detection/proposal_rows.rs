//! The proposals of a scene as one row of numbers.

use dfdx::prelude::{HasShape, SplitTape};
use equilibria_core::{
    from_host, recorded, to_host, try_contiguous, AnyTape, Backend, Error, Matrix, Result, Scalar,
};

use super::proposal_loss::sums::{Batch, Sums};
use super::{decode, BoxCoding, BoxTarget, Outputs, Proposal};
use crate::data::Boxes;

/// How many boxes are proposed of a scene, and how they are told.
///
/// A scene is a row `[x, y, z | outputs | x, y, z | outputs | …]`, with the place of each proposal before what is said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProposalRows {
    /// Boxes that are proposed of a scene.
    pub proposals: usize,
    /// How they are told.
    pub coding: BoxCoding,
}

impl ProposalRows {
    /// The columns of one proposal, behind its place.
    pub fn outputs(&self) -> Outputs {
        Outputs::of(&self.coding)
    }

    /// Numbers of a scene.
    pub fn width(&self) -> usize {
        self.proposals * (3 + self.outputs().width())
    }

    /// The boxes of a scene, as [`decode`](super::decode()) has them.
    ///
    /// # Errors
    /// None for a row of this width.
    pub fn boxes(&self, row: &[f64], suppression: f64, least: f64) -> Result<Vec<Proposal>> {
        decode(row, self.outputs(), &self.coding, suppression, least)
    }

    /// What is to be said of true boxes, by rows of [numbers](Boxes::numbers) that have room for the same number of them. Room that is left
    /// is filled up with boxes at the origin, as in the original.
    ///
    /// # Errors
    /// [`Error::Shape`] for a class that is not known.
    pub fn targets<E: Scalar, D: Backend<E>>(
        &self,
        truth: &Matrix<E, D>,
    ) -> Result<Vec<Vec<BoxTarget>>> {
        let most = truth.shape().1 / Boxes::NUMBERS;
        let numbers: Vec<f64> = to_host(truth).into_iter().map(E::wide).collect();
        let scenes = numbers.chunks_exact(truth.shape().1.max(1));
        scenes.map(|scene| self.scene(scene, most)).collect()
    }

    fn scene(&self, numbers: &[f64], most: usize) -> Result<Vec<BoxTarget>> {
        let mut all = Vec::with_capacity(most);
        for (shape, class) in Boxes::from_numbers(numbers) {
            let known = self.coding.mean_sizes.len();
            if class >= known {
                return Err(Error::Shape {
                    what: "the class of a true box".to_owned(),
                    expected: format!("below {known}, of which mean sizes are known"),
                    got: class.to_string(),
                });
            }
            all.push(BoxTarget {
                present: true,
                center: shape.center,
                heading: self.coding.heading(shape.heading),
                size: (class, self.coding.size(class, shape.size)),
                class,
            });
        }
        all.resize(most, BoxTarget::NOTHING);
        Ok(all)
    }

    /// The [loss](super::proposal_loss()) of rows of proposals, `[1, 1]`.
    ///
    /// # Shapes
    /// `rows` `[scenes, width]`, `truth` `[scenes, boxes · 8]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where these do not fit together, [`Error::Device`] if memory runs out.
    pub fn loss<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        rows: Matrix<E, D, T>,
        truth: &Matrix<E, D>,
    ) -> Result<Matrix<E, D, T>> {
        let (shape, boxes) = (*rows.shape(), *truth.shape());
        if shape.1 != self.width() || boxes.0 != shape.0 || boxes.1 < Boxes::NUMBERS {
            return Err(Error::Shape {
                what: "rows of proposals and of true boxes".to_owned(),
                expected: format!("[scenes, {}] and [scenes, boxes · 8]", self.width()),
                got: format!("{shape:?} and {boxes:?}"),
            });
        }
        let targets = self.targets(truth)?;
        let (rows, tape) = try_contiguous(rows)?.split_tape();
        let (mut places, mut raw) = (Vec::new(), Vec::new());
        let width = self.outputs().width();
        for own in to_host(&rows).chunks_exact(3 + width) {
            places.extend(own[..3].iter().map(|x| x.wide()));
            raw.extend(own[3..].iter().map(|x| x.wide()));
        }
        let sums = Sums::of(Batch {
            raw: &raw,
            places: &places,
            targets: &targets,
            outputs: self.outputs(),
        });
        let loss = E::of(sums.matching.terms.total());
        let y = from_host(rows.device(), vec![loss], (1, 1))?;
        let slopes = (sums.place_bar.chunks_exact(3)).zip(sums.raw_bar.chunks_exact(width));
        let slopes: Vec<f64> = slopes
            .flat_map(|(place, raw)| place.iter().chain(raw).copied())
            .collect();
        Ok(recorded(y, tape, move |gradients, y_bar| {
            let slopes = slopes.into_iter().map(|slope| E::of(slope) * y_bar[0]);
            D::put_gradient(gradients, &rows, slopes.collect())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::{proposal_loss, OrientedBox};
    use dfdx::prelude::*;
    use std::sync::Arc;

    /// Places and outputs side by side have the loss, and the slopes, that they have apart.
    #[test]
    fn the_loss_of_rows_is_that_of_their_parts() {
        let rows = ProposalRows {
            proposals: 3,
            coding: BoxCoding {
                headings: 2,
                mean_sizes: vec![[1.0, 0.5, 2.0]; 2],
            },
        };
        let width = rows.outputs().width();
        let shape = OrientedBox {
            center: [0.1, -0.2, 0.3],
            size: [0.8, 0.5, 1.0],
            heading: 1.0,
        };
        let truth = Boxes {
            classes: ["a", "b"].map(str::to_owned).into(),
            most: 2,
            rows: vec![Arc::new([(shape, 1)]), Arc::new([])],
        };
        let device = Cpu::default();
        let numbers = [truth.numbers(0), truth.numbers(1)].concat();
        let truth: Matrix<f64, Cpu> = from_host(&device, numbers, (2, 16)).expect("memory");
        let all = equilibria_testing::random_values(2 * rows.width(), 3);
        let (mut places, mut raw) = (Vec::new(), Vec::new());
        for own in all.chunks_exact(3 + width) {
            places.extend(own[..3].iter().map(|x| 0.2 * x));
            raw.extend_from_slice(&own[3..]);
        }
        let whole = (places.chunks(3).zip(raw.chunks(width)))
            .flat_map(|(place, raw)| [place, raw].concat())
            .collect();
        let matrix = |values, shape| -> Matrix<f64, Cpu> {
            from_host(&device, values, shape).expect("memory")
        };
        let whole = matrix(whole, (2, rows.width()));
        let (places, raw) = (matrix(places, (6, 3)), matrix(raw, (6, width)));
        let targets = rows.targets(&truth).expect("known");
        let outputs = rows.outputs();
        let (apart, _) = proposal_loss(raw.leaky_trace(), &places, &targets, outputs).expect("fit");
        let joined = rows.loss(whole.leaky_trace(), &truth).expect("fit");
        assert_eq!(apart.as_vec(), joined.as_vec());
        let apart = apart.sum::<Rank0, Axes2<0, 1>>().backward();
        let joined = joined.sum::<Rank0, Axes2<0, 1>>().backward();
        let (places, raw) = (apart.get(&places).as_vec(), apart.get(&raw).as_vec());
        let expected: Vec<f64> = (places.chunks(3).zip(raw.chunks(width)))
            .flat_map(|(place, raw)| [place, raw].concat())
            .collect();
        assert_eq!(joined.get(&whole).as_vec(), expected);
        assert!(expected.iter().any(|slope| slope.abs() > 1e-3));
        let error = rows.loss(truth.clone(), &truth).expect_err("too narrow");
        assert!(matches!(error, Error::Shape { .. }), "{error}");
    }
}
