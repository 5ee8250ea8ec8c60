//! The three nearest of some points, and weights to interpolate by.
//!
//! Reference: C. R. Qi, L. Yi, H. Su, L. J. Guibas, PointNet++, NeurIPS 2017, section 3.4, as the program of its authors has it.

use equilibria_core::{parallel, Element};

/// Added to distances, in meters, so that one of 0 has a weight.
const EPSILON: f64 = 1e-8;

/// Points that one thread takes at a time.
const SHARE: usize = 64;

/// Of each point its three nearest known ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearest<E> {
    /// Their numbers, `[n, 3]`, the nearest first.
    pub numbers: Vec<usize>,
    /// `1 / (d + 1e-8)` of their distances d, divided by the sum of the three: `[n, 3]`.
    pub weights: Vec<E>,
}

/// The three nearest of the points `known` to each of `points`, `[n, 3]` both; of equally near ones the first.
///
/// Where fewer than three are known, point 0 stands in the places left, with weight 0. Costs a distance for each pair.
pub fn three_nearest<E: Element>(points: &[E], known: &[E]) -> Nearest<E> {
    let shares = parallel::map(points.chunks(3 * SHARE), |points| {
        let (mut numbers, mut weights) = (Vec::new(), Vec::new());
        for point in points.chunks_exact(3) {
            let nearest = nearest(point, known);
            let inverse = nearest.map(|(square, _)| (square.wide().sqrt() + EPSILON).recip());
            let sum: f64 = inverse.iter().sum();
            numbers.extend(nearest.map(|(_, number)| number));
            weights.extend(inverse.map(|inverse| E::of(inverse / sum)));
        }
        (numbers, weights)
    });
    let (numbers, weights): (Vec<_>, Vec<_>) = shares.into_iter().unzip();
    Nearest {
        numbers: numbers.concat(),
        weights: weights.concat(),
    }
}

/// Squares of distances and numbers, the nearest first.
fn nearest<E: Element>(point: &[E], known: &[E]) -> [(E, usize); 3] {
    let mut best = [(E::infinity(), 0); 3];
    for (number, other) in known.chunks_exact(3).enumerate() {
        let (x, y, z) = (
            point[0] - other[0],
            point[1] - other[1],
            point[2] - other[2],
        );
        let square = x * x + y * y + z * z;
        if square < best[2].0 {
            best[2] = (square, number);
            if square < best[1].0 {
                best.swap(1, 2);
                if square < best[0].0 {
                    best.swap(0, 1);
                }
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_inverse_distances() {
        let known = [3.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 9.0, 0.0, 0.0];
        let found = three_nearest::<f64>(&[0.0; 3], &known);
        assert_eq!(found.numbers, [1, 2, 0]);
        let sum = 1.0 + 0.5 + 1.0 / 3.0;
        let expected = [1.0 / sum, 0.5 / sum, 1.0 / (3.0 * sum)];
        approx::assert_relative_eq!(found.weights[..], expected, epsilon = 1e-7);
    }

    #[test]
    fn of_equally_near_points_the_first_come_first() {
        let known = [1.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let found = three_nearest::<f32>(&[0.0; 3], &known);
        assert_eq!(found.numbers, [0, 1, 2]);
    }

    #[test]
    fn what_is_not_there_has_no_weight() {
        let found = three_nearest::<f64>(&[0.0; 3], &[0.0, 0.0, 2.0]);
        assert_eq!(found.numbers, [0, 0, 0]);
        approx::assert_relative_eq!(found.weights[..], [1.0, 0.0, 0.0], epsilon = 1e-15);
    }
}
