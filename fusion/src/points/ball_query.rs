//! Neighbors within a ball.
//!
//! Reference: C. R. Qi, L. Yi, H. Su, L. J. Guibas, PointNet++, NeurIPS 2017, section 3.2, as the program of its authors has it.

use equilibria_core::{parallel, vectorized, Element};

/// Centers that one thread takes at a time.
const SHARE: usize = 32;

/// Points whose distances are taken side by side.
const LANES: usize = 32;

/// Of each center, the numbers of the first `count` points that are nearer than `radius`, in their order: `[m, count]` for `points`
/// `[n, 3]` and `centers` `[m, 3]`, row-major, in meters.
///
/// Where there are fewer, the first of them is repeated; where there is none, point 0 stands in all places. Costs at most n distances for
/// each center, fewer where neighbors are found early; centers are shared among threads.
pub fn ball_query<E: Element>(
    points: &[E],
    centers: &[E],
    radius: f64,
    count: usize,
) -> Vec<usize> {
    let axis = |axis: usize| points.iter().skip(axis).step_by(3).copied().collect();
    let axes: [Vec<E>; 3] = [0, 1, 2].map(axis);
    // As in the original, whose radius is of the type of the coordinates.
    let radius = E::of(radius);
    let found = parallel::map(centers.chunks(3 * SHARE), |centers| {
        let mut all = Vec::with_capacity(centers.len() / 3 * count);
        for center in centers.chunks_exact(3) {
            let first = all.len();
            let center = [center[0], center[1], center[2]];
            let axes = [&axes[0][..], &axes[1], &axes[2]];
            inside(axes, center, radius * radius, count, &mut all);
            let repeated = all.get(first).copied().unwrap_or(0);
            all.resize(first + count, repeated);
        }
        all
    });
    found.concat()
}

vectorized! {
    /// Adds the first `count` points nearer to the center than the square root of `square`.
    fn inside<'a, E, S>(
        _simd: S,
        axes: [&'a [E]; 3],
        center: [E; 3],
        square: E,
        count: usize,
        found: &'a mut Vec<usize>,
    ) {
        let end = found.len() + count;
        let lanes = axes[0].chunks(LANES).zip(axes[1].chunks(LANES)).zip(axes[2].chunks(LANES));
        for (block, ((x, y), z)) in lanes.enumerate() {
            let mut distances = [E::infinity(); LANES];
            for (((x, y), z), distance) in x.iter().zip(y).zip(z).zip(&mut distances) {
                let (x, y, z) = (center[0] - *x, center[1] - *y, center[2] - *z);
                *distance = x * x + y * y + z * z;
            }
            let nearest = distances.iter().fold(E::infinity(), |a, &b| if b < a { b } else { a });
            if nearest < square {
                for (place, _) in (distances.iter().enumerate()).filter(|(_, &d)| d < square) {
                    if found.len() == end {
                        return;
                    }
                    found.push(block * LANES + place);
                }
                if found.len() == end {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(count: usize) -> Vec<f64> {
        (0..count).flat_map(|i| [i as f64, 0.0, 0.0]).collect()
    }

    #[test]
    fn short_groups_repeat_their_first_point_and_long_ones_end() {
        let points = line(100);
        let centers = [50.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let found = ball_query(&points, &centers, 2.5, 4);
        assert_eq!(found, [48, 49, 50, 51, 0, 1, 2, 0]);
    }

    #[test]
    fn a_point_on_the_sphere_is_outside() {
        let found = ball_query(&line(5), &[2.0, 0.0, 0.0], 1.0, 3);
        assert_eq!(found, [2, 2, 2]);
    }

    #[test]
    fn without_a_neighbor_it_is_the_first_point() {
        let found = ball_query(&line(5), &[2.0, 9.0, 0.0], 1.0, 2);
        assert_eq!(found, [0, 0]);
    }

    /// Of many centers, to see the parts of all threads in their order.
    #[test]
    fn every_center_finds_itself_among_distant_points() {
        let points = line(1000);
        let found = ball_query(&points, &points, 0.5, 2);
        let expected: Vec<usize> = (0..1000).flat_map(|i| [i, i]).collect();
        assert_eq!(found, expected);
    }
}
