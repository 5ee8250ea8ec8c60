//! What an image says of a point in space.
//!
//! Reference: C. R. Qi, X. Chen, O. Litany, L. J. Guibas, ImVoteNet, CVPR 2020, section 4, as the program of its authors has it.

use super::Camera;

/// Votes of one pixel.
pub const VOTES: usize = 3;

/// Numbers of a point that are no scores of classes: two of where to look, three of the ray, three of the color.
pub const GEOMETRY_AND_COLOR: usize = 8;

/// Keeps quotients and roots of what may be 0 from being infinite or NaN.
const FEW: f64 = 1e-6;

/// An object that was found in an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageBox {
    /// The first column and row, and those behind the last ones, in pixels.
    pub edges: [i64; 4],
    /// Its class.
    pub class: usize,
    /// How sure that is, in [0, 1].
    pub score: f64,
}

/// What the boxes of an image say of a pixel.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pixel {
    /// Boxes around it.
    pub count: usize,
    /// From the pixel to the middles of the first of these, in pixels.
    pub offsets: [[f64; 2]; VOTES],
    /// Which boxes these are, from 1; 0 where there is none.
    pub boxes: [usize; VOTES],
}

impl Pixel {
    /// A pixel, by column and row, among boxes; those that are not `kept` say nothing, but have their numbers.
    ///
    /// The middle of a box is a whole pixel, as in the original: half the width, rounded down, right of the first column.
    pub fn among(boxes: &[ImageBox], kept: impl Fn(usize) -> bool, [u, v]: [i64; 2]) -> Self {
        let mut pixel = Self::default();
        for (index, own) in boxes.iter().enumerate().filter(|(index, _)| kept(*index)) {
            let [left, top, right, bottom] = own.edges;
            if !(left..right).contains(&u) || !(top..bottom).contains(&v) {
                continue;
            }
            if pixel.count < VOTES {
                let half = |low: i64, high: i64| high.saturating_sub(low) / 2;
                let middle = [left + half(left, right), top + half(top, bottom)];
                let offset = [middle[0].saturating_sub(u), middle[1].saturating_sub(v)];
                pixel.offsets[pixel.count] = offset.map(|pixels| pixels as f64);
                pixel.boxes[pixel.count] = index + 1;
            }
            pixel.count += 1;
        }
        pixel
    }

    /// From a record `[count | du, dv, class, box | …]`, as the original keeps them, with boxes from 1.
    pub fn from_record(record: &[f64]) -> Self {
        let mut pixel = Self {
            count: record[0] as usize,
            ..Self::default()
        };
        for (vote, own) in record[1..].chunks_exact(4).enumerate().take(VOTES) {
            pixel.offsets[vote] = [own[0], own[1]];
            pixel.boxes[vote] = own[3] as usize;
        }
        pixel
    }

    /// Whether there is a vote of this number, from 0.
    pub fn votes(&self, vote: usize) -> bool {
        self.count > vote
    }
}

/// A point of which an image says something.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The camera.
    pub camera: &'a Camera,
    /// The point, in meters.
    pub point: [f64; 3],
    /// How far in front of the camera it is, see [`Projected`](super::camera::Projected).
    pub depth: f64,
    /// Its pixel.
    pub pixel: &'a Pixel,
    /// The color of the pixel.
    pub color: [f64; 3],
}

impl Seen<'_> {
    /// What the vote of a number, from 0, says, with the scores of classes of its box: `[where to look (2) | ray (3) | scores | color (3)]`.
    ///
    /// The vote is a point o of the image plane at the depth of the seed p. With the ray r = (p + o) / √(|p + o|² + 1e-6), where to look is how far
    /// that ray passes beside the seed at its own y: r_x p_y / (r_y + 1e-6) − p_x, and the same of z, in meters. All but scores
    /// and color are 0 without a vote.
    pub fn cues(&self, vote: usize, scores: &[f64]) -> Vec<f64> {
        let mut cues = vec![0.0; GEOMETRY_AND_COLOR - 3];
        if self.pixel.votes(vote) {
            let meters = self.depth / self.camera.intrinsics[0][0];
            let [du, dv] = self.pixel.offsets[vote].map(|pixels| pixels * meters);
            let (p, step) = (self.point, self.camera.across(du, dv));
            let aim: [f64; 3] = std::array::from_fn(|axis| p[axis] + step[axis]);
            let length = (aim.iter().map(|x| x * x).sum::<f64>() + FEW).sqrt();
            let ray = aim.map(|x| x / length);
            let beside = |axis: usize| ray[axis] / (ray[1] + FEW) * p[1] - p[axis];
            cues = vec![beside(0), beside(2), ray[0], ray[1], ray[2]];
        }
        cues.extend_from_slice(scores);
        cues.extend(self.color);
        cues
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOXES: [ImageBox; 4] = [
        ImageBox {
            edges: [2, 2, 7, 6],
            class: 0,
            score: 0.5,
        },
        ImageBox {
            edges: [0, 0, 9, 9],
            class: 1,
            score: 0.6,
        },
        ImageBox {
            edges: [4, 0, 6, 9],
            class: 2,
            score: 0.7,
        },
        ImageBox {
            edges: [4, 4, 5, 5],
            class: 3,
            score: 0.8,
        },
    ];

    #[test]
    fn a_pixel_votes_for_the_first_three_boxes_around_it() {
        let pixel = Pixel::among(&BOXES, |_| true, [4, 4]);
        assert_eq!((pixel.count, pixel.boxes), (4, [1, 2, 3]));
        assert_eq!(pixel.offsets, [[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]);
        assert!(pixel.votes(2) && pixel.votes(3) && !pixel.votes(4));
        // The last column and row are outside.
        assert_eq!(Pixel::among(&BOXES, |_| true, [7, 5]).boxes, [2, 0, 0]);
        let without = Pixel::among(&BOXES, |index| index != 1, [4, 4]);
        assert_eq!((without.count, without.boxes), (3, [1, 3, 4]));
    }

    #[test]
    fn a_vote_for_its_own_pixel_looks_at_the_seed() {
        let camera = Camera::from_columns(
            [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            [100.0, 0.0, 0.0, 0.0, 100.0, 0.0, 50.0, 50.0, 1.0],
        );
        let pixel = Pixel {
            count: 1,
            offsets: [[0.0, 0.0], [0.0; 2], [0.0; 2]],
            boxes: [1, 0, 0],
        };
        let seen = Seen {
            camera: &camera,
            point: [0.5, 2.0, -1.0],
            depth: 2.0,
            pixel: &pixel,
            color: [0.1, 0.2, 0.3],
        };
        let cues = seen.cues(0, &[0.0, 0.9]);
        // The 1e-6 beside r_y moves it by 1e-6 |p + o| / r_y, which is below 4e-6 here.
        approx::assert_relative_eq!(cues[..2], [0.0, 0.0], epsilon = 4e-6);
        approx::assert_relative_eq!(cues[3] / cues[2], 4.0, epsilon = 1e-14);
        assert_eq!(cues[5..], [0.0, 0.9, 0.1, 0.2, 0.3]);
        assert_eq!(
            seen.cues(1, &[0.0, 0.0]),
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.2, 0.3]
        );
        // Fifty pixels to the right are one meter at two meters.
        let aside = Pixel {
            offsets: [[50.0, 0.0], [0.0; 2], [0.0; 2]],
            ..pixel
        };
        let cues = Seen {
            pixel: &aside,
            ..seen
        }
        .cues(0, &[]);
        approx::assert_relative_eq!(cues[..2], [1.0, 0.0], epsilon = 4e-6);
    }
}
