//! Farthest point sampling.
//!
//! Reference: C. R. Qi, L. Yi, H. Su, L. J. Guibas, PointNet++, NeurIPS 2017, section 3.2, as the program of its authors has it.

use equilibria_core::{vectorized, Element};

/// Points nearer to the origin, by the square of their distance in square meters, are never chosen: in the original, the origin is where
/// there is no measurement.
const NOWHERE: f64 = 1e-3;

/// Points that one pass over the distances treats together: their distances stay in the nearest cache.
const BLOCK: usize = 512;

/// The numbers of `count` of the `points`, `[n, 3]` row-major, each as far as possible from those before it.
///
/// The first is point 0. Then, of those whose distance to the nearest chosen one is largest, that with the lowest number, which is chosen
/// again where all are chosen already; points next to the origin are left out, and where there is no other, it is point 0 again. Costs n
/// distances for each point chosen.
pub fn farthest_point_sampling<E: Element>(points: &[E], count: usize) -> Vec<usize> {
    let n = points.len() / 3;
    if n == 0 || count == 0 {
        return Vec::new();
    }
    let axis = |axis: usize| points.iter().skip(axis).step_by(3).copied().collect();
    let axes: [Vec<E>; 3] = [0, 1, 2].map(axis);
    // The square of the distance to the nearest chosen point; below 0, which no distance is, where a point is never chosen.
    let mut nearest: Vec<E> = (points.chunks_exact(3))
        .map(|p| match squared_norm(p).wide() > NOWHERE {
            true => E::infinity(),
            false => -E::one(),
        })
        .collect();
    let mut chosen = Vec::with_capacity(count);
    chosen.push(0);
    while chosen.len() < count {
        let last = chosen[chosen.len() - 1];
        let from = [axes[0][last], axes[1][last], axes[2][last]];
        chosen.push(approach([&axes[0], &axes[1], &axes[2]], from, &mut nearest));
    }
    chosen
}

fn squared_norm<E: Element>(p: &[E]) -> E {
    p[0] * p[0] + p[1] * p[1] + p[2] * p[2]
}

vectorized! {
    /// Takes the point `from` into the distances to the nearest chosen one, and gives the first point whose distance is largest.
    fn approach<'a, E, S>(_simd: S, axes: [&'a [E]; 3], from: [E; 3], nearest: &'a mut [E]) -> usize {
        let (mut place, mut largest) = (0, -E::one());
        let blocks = axes[0].chunks(BLOCK).zip(axes[1].chunks(BLOCK)).zip(axes[2].chunks(BLOCK));
        for (block, (((x, y), z), nearest)) in blocks.zip(nearest.chunks_mut(BLOCK)).enumerate() {
            let mut lanes = [-E::one(); LANES];
            let coordinates = x.chunks(LANES).zip(y.chunks(LANES)).zip(z.chunks(LANES));
            for (((x, y), z), nearest) in coordinates.zip(nearest.chunks_mut(LANES)) {
                for ((((x, y), z), nearest), lane) in
                    x.iter().zip(y).zip(z).zip(nearest).zip(&mut lanes)
                {
                    let (x, y, z) = (*x - from[0], *y - from[1], *z - from[2]);
                    let distance = x * x + y * y + z * z;
                    *nearest = if distance < *nearest { distance } else { *nearest };
                    *lane = if *nearest > *lane { *nearest } else { *lane };
                }
            }
            let own = lanes.iter().fold(-E::one(), |a, &b| if b > a { b } else { a });
            if own > largest {
                let first = nearest.iter().position(|&distance| distance >= own);
                (place, largest) = (block * BLOCK + first.unwrap_or(0), own);
            }
        }
        place
    }
}

/// Distances that are compared side by side: a multiple of what any instruction set takes at once.
const LANES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_point_is_the_farthest_from_those_before_it() {
        // On a line at 1, 2, 4, 9: the farthest from 1 is 9, then 4 (3 from 1), then 2.
        let points: Vec<f64> = [1.0, 2.0, 4.0, 9.0]
            .iter()
            .flat_map(|&x| [x, 0.0, 0.0])
            .collect();
        assert_eq!(farthest_point_sampling(&points, 4), [0, 3, 2, 1]);
    }

    #[test]
    fn points_at_the_origin_are_chosen_only_as_the_first() {
        let points = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.01, 0.02, 0.0, 5.0, 0.0, 0.0];
        assert_eq!(farthest_point_sampling::<f64>(&points, 5), [0, 3, 1, 1, 1]);
    }

    #[test]
    fn of_equally_far_points_the_first_is_chosen() {
        let points: Vec<f32> = (0..4000)
            .flat_map(|i| match i {
                700 | 3000 => [7.0_f32, 1.0, 0.0],
                _ => [1.0, 1.0, 1e-5 * i as f32],
            })
            .collect();
        assert_eq!(farthest_point_sampling(&points, 2), [0, 700]);
    }

    #[test]
    fn nothing_is_chosen_of_nothing() {
        assert!(farthest_point_sampling::<f64>(&[], 3).is_empty());
        assert!(farthest_point_sampling(&[1.0, 2.0, 3.0], 0).is_empty());
    }
}
