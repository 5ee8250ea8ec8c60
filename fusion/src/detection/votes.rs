//! Where the points of objects are to vote for.

use super::OrientedBox;

/// Votes of one point.
const VOTES: usize = 3;

/// True votes of some points.
#[derive(Debug, Clone, PartialEq)]
pub struct TrueVotes {
    /// Whether a point lies in a box.
    pub inside: Vec<bool>,
    /// The middles of up to three boxes around each point, from the point, in meters: `[points, 9]`. Where there are fewer, the first is
    /// repeated; zeros outside of all boxes.
    pub offsets: Vec<[f64; 3 * VOTES]>,
}

/// The votes of points, as the prepared scans have them: a point votes for the boxes around it in their order; beyond the third, the last one
/// takes the place of the third.
pub fn true_votes(points: &[[f64; 3]], boxes: &[OrientedBox]) -> TrueVotes {
    let votes = points.iter().map(|&point| {
        let around = boxes.iter().filter(|shape| shape.contains(point));
        let mut found = [0.0; 3 * VOTES];
        let mut count = 0;
        for shape in around {
            let offset: [f64; 3] = std::array::from_fn(|axis| shape.center[axis] - point[axis]);
            let place = count.min(VOTES - 1);
            let places = if count == 0 {
                0..VOTES
            } else {
                place..place + 1
            };
            for place in places {
                found[3 * place..3 * place + 3].copy_from_slice(&offset);
            }
            count += 1;
        }
        (count > 0, found)
    });
    let (inside, offsets) = votes.unzip();
    TrueVotes { inside, offsets }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_vote_for_the_boxes_around_them() {
        let at = |x: f64, edge: f64| OrientedBox {
            center: [x, 0.0, 0.0],
            size: [edge; 3],
            heading: 0.5,
        };
        let boxes = [at(0.0, 2.0), at(1.0, 2.0), at(0.4, 2.0), at(0.6, 2.0)];
        let votes = true_votes(
            &[[-0.9, 0.0, 0.0], [0.5, 0.0, 0.0], [9.0, 0.0, 0.0]],
            &boxes,
        );
        assert_eq!(votes.inside, [true, true, false]);
        let x = |point: usize| [0, 3, 6].map(|place| votes.offsets[point][place]);
        approx::assert_relative_eq!(x(0)[..], [0.9, 0.9, 0.9], epsilon = 1e-15);
        approx::assert_relative_eq!(x(1)[..], [-0.5, 0.5, 0.1], epsilon = 1e-15);
        assert!(votes.offsets[2].iter().all(|x| x.abs() < 1e-300));
    }
}
