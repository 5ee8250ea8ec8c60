//! Non-maximum suppression.

use super::average_precision::sureness;
use super::OrientedBox;

/// The boxes that are left, the best first, when every box goes that overlaps a better one of the same class by more than `threshold`.
///
/// Overlaps are those of the [hulls](OrientedBox::hull), the boxes along the axes, as in the original: common volume divided by that of both
/// together. Of equal scores the box that comes last goes first.
pub fn suppress(
    boxes: &[OrientedBox],
    classes: &[usize],
    scores: &[f64],
    threshold: f64,
) -> Vec<usize> {
    let hulls: Vec<_> = boxes.iter().map(OrientedBox::hull).collect();
    let mut order: Vec<usize> = (0..boxes.len()).rev().collect();
    order.sort_by(|&a, &b| sureness(scores[b]).total_cmp(&sureness(scores[a])));
    let mut kept: Vec<usize> = Vec::new();
    for candidate in order {
        let covered = kept.iter().any(|&better| {
            classes[better] == classes[candidate]
                && hull_overlap(&hulls[better], &hulls[candidate]) > threshold
        });
        if !covered {
            kept.push(candidate);
        }
    }
    kept
}

/// Common volume of two boxes along the axes, divided by that of both together; 0 where both have none.
fn hull_overlap(a: &[[f64; 3]; 2], b: &[[f64; 3]; 2]) -> f64 {
    let volume =
        |[low, high]: &[[f64; 3]; 2]| (0..3).map(|axis| high[axis] - low[axis]).product::<f64>();
    let edge = |axis: usize| (a[1][axis].min(b[1][axis]) - a[0][axis].max(b[0][axis])).max(0.0);
    let common: f64 = (0..3).map(edge).product();
    let all = volume(a) + volume(b) - common;
    match all > 0.0 {
        true => common / all,
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64) -> OrientedBox {
        OrientedBox {
            center: [x, 0.0, 0.0],
            size: [1.0; 3],
            heading: 0.0,
        }
    }

    #[test]
    fn the_best_of_overlapping_boxes_of_a_class_stays() {
        let boxes = [at(0.0), at(0.2), at(0.1), at(5.0)];
        let scores = [0.5, 0.9, 0.7, 0.1];
        assert_eq!(suppress(&boxes, &[0; 4], &scores, 0.25), [1, 3]);
        assert_eq!(suppress(&boxes, &[0, 0, 1, 0], &scores, 0.25), [1, 2, 3]);
    }

    /// The middle one covers both others, but goes itself; the outer ones do not overlap enough.
    #[test]
    fn a_box_that_has_gone_covers_nothing() {
        let boxes = [at(0.0), at(0.5), at(1.0)];
        assert_eq!(suppress(&boxes, &[0; 3], &[0.9, 0.8, 0.7], 0.25), [0, 2]);
        assert!(suppress(&[], &[], &[], 0.25).is_empty());
        // A score that is NaN is no good one.
        assert_eq!(suppress(&boxes[..2], &[0; 2], &[f64::NAN, 0.1], 0.25), [1]);
    }
}
