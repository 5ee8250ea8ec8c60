//! From the outputs of a network to boxes, and back.

use std::f64::consts::PI;

use equilibria_core::{Error, Result};

use super::{suppress, OrientedBox, Outputs};

/// How headings and sizes of boxes are told: by a class, and what is left.
///
/// Reference: C. R. Qi, O. Litany, K. He, L. J. Guibas, Deep Hough Voting for 3D Object Detection in Point Clouds, ICCV 2019, section 4.
#[derive(Debug, Clone, PartialEq)]
pub struct BoxCoding {
    /// Classes of headings: the first one around 0, all of the same width.
    pub headings: usize,
    /// The mean size of each class of sizes, in meters.
    pub mean_sizes: Vec<[f64; 3]>,
}

impl BoxCoding {
    /// The class of a heading in radians, and the angle from the middle of that class in units of half its width: in [−1, 1).
    ///
    /// # Panics
    /// Without a class of headings.
    pub fn heading(&self, heading: f64) -> (usize, f64) {
        let width = 2.0 * PI / self.headings as f64;
        let shifted = (heading + 0.5 * width).rem_euclid(2.0 * PI);
        // What is next to a full turn may be rounded to one.
        let class = ((shifted / width) as usize).min(self.headings - 1);
        let residual = shifted - (class as f64 + 0.5) * width;
        (class, residual / (0.5 * width))
    }

    /// The heading of a class with a residual, in (−π, π].
    pub fn angle(&self, class: usize, residual: f64) -> f64 {
        let width = 2.0 * PI / self.headings as f64;
        let angle = class as f64 * width + residual * 0.5 * width;
        match angle > PI {
            true => angle - 2.0 * PI,
            false => angle,
        }
    }

    /// The residual of a size in its class.
    ///
    /// # Panics
    /// For a class whose mean size is not known.
    pub fn size(&self, class: usize, size: [f64; 3]) -> [f64; 3] {
        let mean = self.mean_sizes[class];
        std::array::from_fn(|axis| (size[axis] - mean[axis]) / mean[axis])
    }
}

/// A box that a network proposes.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The box.
    pub shape: OrientedBox,
    /// The likeliest class.
    pub class: usize,
    /// The probability that there is an object at all.
    pub objectness: f64,
    /// The probability of each class if there is one.
    pub probabilities: Vec<f64>,
}

/// The boxes of one scene from rows `[x, y, z | outputs]`, one for each proposal, with its own place in front: those left by
/// [suppression](suppress()) beyond an overlap of `suppression`, the surest first, whose objectness is above `least`.
///
/// The box has the likeliest classes of heading and size, each with the residual of that class. An edge below 0 is 0.
///
/// # Errors
/// [`Error::Shape`] if the coding has not one mean size for every class of sizes of the outputs, and as many classes of headings.
pub fn decode(
    rows: &[f64],
    outputs: Outputs,
    coding: &BoxCoding,
    suppression: f64,
    least: f64,
) -> Result<Vec<Proposal>> {
    let (classes, known) = (
        [outputs.headings, outputs.sizes],
        [coding.headings, coding.mean_sizes.len()],
    );
    if classes != known {
        return Err(Error::Shape {
            what: "classes of headings and sizes of boxes".to_owned(),
            expected: format!("{known:?} by the coding"),
            got: format!("{classes:?} by the outputs"),
        });
    }
    let all: Vec<Proposal> = (rows.chunks_exact(3 + outputs.width()))
        .map(|row| proposal(row, outputs, coding))
        .collect();
    let shapes: Vec<OrientedBox> = all.iter().map(|proposal| proposal.shape).collect();
    let classes: Vec<usize> = all.iter().map(|proposal| proposal.class).collect();
    let scores: Vec<f64> = all.iter().map(|proposal| proposal.objectness).collect();
    let kept = suppress(&shapes, &classes, &scores, suppression).into_iter();
    let kept = kept.map(|index| all[index].clone());
    Ok(kept
        .filter(|proposal| proposal.objectness > least)
        .collect())
}

fn proposal(row: &[f64], outputs: Outputs, coding: &BoxCoding) -> Proposal {
    let (place, row) = row.split_at(3);
    let offset = &row[Outputs::OFFSET];
    let heading = argmax(&row[outputs.heading_scores()]);
    let size = argmax(&row[outputs.size_scores()]);
    let residual = &row[outputs.size_residuals()][3 * size..][..3];
    let mean = coding.mean_sizes[size];
    let probabilities = softmax(&row[outputs.class_scores()]);
    Proposal {
        shape: OrientedBox {
            center: std::array::from_fn(|axis| place[axis] + offset[axis]),
            size: std::array::from_fn(|axis| (mean[axis] * (1.0 + residual[axis])).max(0.0)),
            heading: coding.angle(heading, row[outputs.heading_residuals()][heading]),
        },
        class: argmax(&probabilities),
        objectness: softmax(&row[Outputs::OBJECTNESS])[1],
        probabilities,
    }
}

/// The first of the largest numbers.
fn argmax(numbers: &[f64]) -> usize {
    let better = |best: usize, next: usize| match numbers[next] > numbers[best] {
        true => next,
        false => best,
    };
    (0..numbers.len()).reduce(better).unwrap_or(0)
}

/// `exp(s_i − m) / Σ_j exp(s_j − m)` with m the largest score, so that nothing overflows.
pub(super) fn softmax(scores: &[f64]) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coding() -> BoxCoding {
        BoxCoding {
            headings: 12,
            mean_sizes: vec![[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]],
        }
    }

    #[test]
    fn headings_come_back_as_they_were() {
        for heading in [0.0, 0.2, -0.27, 3.0, -3.0, 1.5, -2.2] {
            let (class, residual) = coding().heading(heading);
            assert!(class < 12 && (-1.0..1.0 + 1e-12).contains(&residual));
            approx::assert_relative_eq!(coding().angle(class, residual), heading, epsilon = 1e-14);
        }
        // Around π, where the seventh class is; a full turn more changes nothing.
        assert_eq!(coding().heading(PI).0, 6);
        assert_eq!(coding().heading(-1e-18).0, 0);
        approx::assert_relative_eq!(
            coding().heading(0.3 + 2.0 * PI).1,
            coding().heading(0.3).1,
            epsilon = 1e-12
        );
    }

    #[test]
    fn a_proposal_says_its_box() {
        let outputs = Outputs {
            headings: 12,
            sizes: 2,
            classes: 2,
        };
        let mut row = vec![0.0; 3 + outputs.width()];
        row[..3].copy_from_slice(&[1.0, 1.0, 1.0]);
        let (place, own) = row.split_at_mut(3);
        assert_eq!(place.len(), 3);
        own[Outputs::OBJECTNESS].copy_from_slice(&[0.0, 2.0]);
        own[Outputs::OFFSET].copy_from_slice(&[0.5, 0.0, -0.5]);
        own[outputs.heading_scores()][3] = 1.0;
        own[outputs.heading_residuals()][3] = 0.5;
        own[outputs.size_scores()][1] = 1.0;
        own[outputs.size_residuals()][3..6].copy_from_slice(&[0.5, 0.0, -2.0]);
        own[outputs.class_scores()][1] = 3.0;
        let found = decode(&row, outputs, &coding(), 0.25, 0.05).expect("it fits");
        assert_eq!(found.len(), 1);
        let shape = found[0].shape;
        approx::assert_relative_eq!(shape.center[..], [1.5, 1.0, 0.5], epsilon = 1e-15);
        approx::assert_relative_eq!(shape.size[..], [3.0, 2.0, 0.0], epsilon = 1e-15);
        approx::assert_relative_eq!(shape.heading, PI / 2.0 + PI / 24.0, epsilon = 1e-15);
        let yes = 1.0 / (1.0 + (-2f64).exp());
        approx::assert_relative_eq!(found[0].objectness, yes, epsilon = 1e-15);
        assert_eq!(found[0].class, 1);
        let surer = decode(&row, outputs, &coding(), 0.25, 0.9);
        assert!(surer.expect("it fits").is_empty());
        let more = Outputs {
            sizes: 3,
            ..outputs
        };
        let error = decode(&row, more, &coding(), 0.25, 0.9).expect_err("no third size");
        assert!(error.to_string().contains("[12, 2]"), "{error}");
    }
}
