//! How much two oriented boxes overlap.

use super::OrientedBox;

/// The volume that two boxes have in common, divided by that of both together: from 0 to 1.
///
/// Boxes are upright: the common volume is the area that both [footprints](OrientedBox::footprint) have in common, which is one polygon cut by
/// the sides of the other (I. E. Sutherland, G. W. Hodgman, Reentrant polygon clipping, Communications of the ACM 17, 1974), times the
/// common height. 0 where a volume is 0.
pub fn overlap(a: &OrientedBox, b: &OrientedBox) -> f64 {
    let top = |of: &OrientedBox| of.center[2] + 0.5 * of.size[2];
    let bottom = |of: &OrientedBox| of.center[2] - 0.5 * of.size[2];
    let height = top(a).min(top(b)) - bottom(a).max(bottom(b));
    if height <= 0.0 || far_apart(a, b) {
        return 0.0;
    }
    let common = height * area(&clipped(a.footprint().to_vec(), &b.footprint()));
    let all = a.volume() + b.volume() - common;
    match all > 0.0 {
        true => common / all,
        false => 0.0,
    }
}

/// Whether the circles around both footprints have no point in common.
fn far_apart(a: &OrientedBox, b: &OrientedBox) -> bool {
    let radius = |of: &OrientedBox| 0.5 * of.size[0].hypot(of.size[1]);
    let distance = (a.center[0] - b.center[0]).hypot(a.center[1] - b.center[1]);
    distance > radius(a) + radius(b)
}

/// What a polygon has in common with a convex one whose corners are clockwise.
fn clipped(mut polygon: Vec<[f64; 2]>, by: &[[f64; 2]]) -> Vec<[f64; 2]> {
    for (index, from) in by.iter().enumerate() {
        let to = by[(index + 1) % by.len()];
        let along = [to[0] - from[0], to[1] - from[1]];
        // Above 0 to the right of the side, which is inside.
        let side = |p: &[f64; 2]| along[1] * (p[0] - from[0]) - along[0] * (p[1] - from[1]);
        let mut kept = Vec::with_capacity(polygon.len() + 1);
        for (index, end) in polygon.iter().enumerate() {
            let start = &polygon[(index + polygon.len() - 1) % polygon.len()];
            let (before, after) = (side(start), side(end));
            if (before >= 0.0) != (after >= 0.0) {
                let share = before / (before - after);
                let axis = |axis: usize| start[axis] + share * (end[axis] - start[axis]);
                kept.push([axis(0), axis(1)]);
            }
            if after >= 0.0 {
                kept.push(*end);
            }
        }
        polygon = kept;
    }
    polygon
}

/// The area of a polygon (shoelace formula), relative to its first corner, so that nothing is lost far from the origin.
fn area(polygon: &[[f64; 2]]) -> f64 {
    let Some(&[x, y]) = polygon.first() else {
        return 0.0;
    };
    let moved: Vec<[f64; 2]> = polygon.iter().map(|p| [p[0] - x, p[1] - y]).collect();
    let pairs = moved.windows(2);
    let sum: f64 = pairs
        .map(|pair| pair[0][0] * pair[1][1] - pair[0][1] * pair[1][0])
        .sum();
    0.5 * sum.abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{FRAC_PI_2, FRAC_PI_4};

    const CUBE: OrientedBox = OrientedBox {
        center: [3.0, -2.0, 1.0],
        size: [2.0; 3],
        heading: 0.0,
    };

    #[test]
    fn a_box_overlaps_itself_entirely_however_it_is_turned() {
        for heading in [0.0, 0.4, FRAC_PI_2, 3.0, -7.0] {
            let skew = OrientedBox { heading, ..CUBE };
            approx::assert_relative_eq!(overlap(&skew, &skew), 1.0, epsilon = 1e-14);
        }
        let quarter = OrientedBox {
            heading: FRAC_PI_2,
            ..CUBE
        };
        approx::assert_relative_eq!(overlap(&CUBE, &quarter), 1.0, epsilon = 1e-14);
    }

    /// Two squares of side 2 turned by 45° have a regular octagon in common, of the area 8 (√2 − 1).
    #[test]
    fn an_eighth_of_a_turn_leaves_an_octagon() {
        let skew = OrientedBox {
            heading: FRAC_PI_4,
            ..CUBE
        };
        let common = 2.0 * 8.0 * (2f64.sqrt() - 1.0);
        let expected = common / (16.0 - common);
        approx::assert_relative_eq!(overlap(&CUBE, &skew), expected, epsilon = 1e-14);
        approx::assert_relative_eq!(overlap(&skew, &CUBE), expected, epsilon = 1e-14);
    }

    #[test]
    fn shifted_boxes_have_a_part_in_common() {
        let moved = |center| OrientedBox { center, ..CUBE };
        // Half of each: 4 of 12.
        for center in [[4.0, -2.0, 1.0], [3.0, -3.0, 1.0], [3.0, -2.0, 2.0]] {
            approx::assert_relative_eq!(overlap(&CUBE, &moved(center)), 1.0 / 3.0, epsilon = 1e-14);
        }
        for center in [[5.1, -2.0, 1.0], [3.0, -2.0, 3.1], [50.0, 0.0, 1.0]] {
            assert!(overlap(&CUBE, &moved(center)) <= 0.0);
        }
    }

    #[test]
    fn a_small_box_inside_is_its_share_of_the_large_one() {
        let inside = OrientedBox {
            size: [1.0, 0.5, 0.5],
            heading: 0.8,
            ..CUBE
        };
        approx::assert_relative_eq!(overlap(&CUBE, &inside), 0.25 / 8.0, epsilon = 1e-14);
        let flat = OrientedBox {
            size: [0.0; 3],
            ..CUBE
        };
        assert!(overlap(&flat, &flat) <= 0.0);
    }
}
