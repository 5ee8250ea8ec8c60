//! Farthest point sampling.
//!
//! Reference: C. R. Qi, L. Yi, H. Su, L. J. Guibas, PointNet++, NeurIPS 2017, section 3.2, as the program of its authors has it.

use equilibria_core::{vectorized, Element};

/// Points nearer to the origin, by the square of their distance in square meters, are never chosen: in the original, the origin is where
/// there is no measurement.
const NOWHERE: f64 = 1e-3;

/// The numbers of `count` of the `points`, `[n, 3]` row-major, each as far as possible from those before it.
///
/// The first is point 0. Then, of those whose distance to the nearest chosen one is largest, that with the lowest number, which is chosen
/// again where all are chosen already; points next to the origin are left out, and where there is no other, it is point 0 again.
///
/// Costs a sort, and for each point chosen a look at the box around every 64 points that lie near each other: distances are taken in the
/// boxes that it may be nearest to, which are few once many points are chosen. The choice is that of taking all distances, to the last bit.
pub fn farthest_point_sampling<E: Element>(points: &[E], count: usize) -> Vec<usize> {
    if points.len() < 3 || count == 0 {
        return Vec::new();
    }
    let mut buckets = Buckets::new(points);
    let mut chosen = Vec::with_capacity(count);
    chosen.push(0);
    while chosen.len() < count {
        let last = 3 * chosen[chosen.len() - 1];
        let from = [points[last], points[last + 1], points[last + 2]];
        chosen.push(approach(&mut buckets.boxes, &mut buckets.points, from));
    }
    chosen
}

/// All points, those near each other together.
struct Buckets<E> {
    boxes: Vec<Around<E>>,
    points: Vec<Points<E>>,
}

/// The box around the points of a bucket.
struct Around<E> {
    low: [E; 3],
    high: [E; 3],
    /// The largest of the distances of its points, and the lowest number of a point that has it.
    farthest: (E, usize),
}

/// The points of a bucket, by their numbers.
struct Points<E> {
    axes: [[E; SIZE]; 3],
    numbers: [usize; SIZE],
    /// The square of the distance to the nearest chosen point; below 0, which no distance is, where a point is never chosen, and where
    /// there is none.
    nearest: [E; SIZE],
}

/// Points of a bucket: small boxes are left out more often, large ones are fewer to look at.
const SIZE: usize = 64;

/// Distances that are compared side by side: a multiple of what any instruction set takes at once.
const LANES: usize = 16;

impl<E: Element> Buckets<E> {
    fn new(points: &[E]) -> Self {
        let order = along_a_curve(points);
        let buckets = order.chunks(SIZE).map(|numbers| bucket(points, numbers));
        let (boxes, points) = buckets.unzip();
        Self { boxes, points }
    }
}

/// The bucket of the points of these numbers, at most [`SIZE`].
fn bucket<E: Element>(points: &[E], numbers: &[usize]) -> (Around<E>, Points<E>) {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    let mut own = Points {
        axes: [[E::zero(); SIZE]; 3],
        numbers: [0; SIZE],
        nearest: [-E::one(); SIZE],
    };
    let mut around = Around {
        low: [E::infinity(); 3],
        high: [-E::infinity(); 3],
        farthest: (E::infinity(), 0),
    };
    for (place, number) in numbers.into_iter().enumerate() {
        let point = [0, 1, 2].map(|axis| points[3 * number + axis]);
        own.numbers[place] = number;
        if squared_norm(point).wide() > NOWHERE {
            own.nearest[place] = E::infinity();
        }
        for (axis, value) in point.into_iter().enumerate() {
            own.axes[axis][place] = value;
            around.low[axis] = around.low[axis].min(value);
            around.high[axis] = around.high[axis].max(value);
        }
    }
    (around, own)
}

/// The numbers of all points along a curve that fills space (G. M. Morton, 1966): neighbors on it are near each other.
fn along_a_curve<E: Element>(points: &[E]) -> Vec<usize> {
    /// Parts of an axis, as a power of 2.
    const BITS: u32 = 10;
    let axes = [0, 1, 2].map(|axis| {
        let values = points
            .iter()
            .skip(axis)
            .step_by(3)
            .map(|value| value.wide());
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        (low, f64::from((1 << BITS) - 1) / (high - low))
    });
    let place = |point: &[E]| {
        let parts = point.iter().zip(axes);
        // What is no number is part 0, as any place is right.
        let parts = parts.map(|(value, (low, scale))| ((value.wide() - low) * scale) as u64);
        parts.enumerate().fold(0, |place, (axis, part)| {
            let spread = (0..BITS).map(|bit| (part >> bit & 1) << (3 * bit + axis as u32));
            place | spread.sum::<u64>()
        })
    };
    let places = points.chunks_exact(3).map(place);
    let mut order: Vec<(u64, usize)> = places.zip(0..).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, number)| number).collect()
}

fn squared_norm<E: Element>([x, y, z]: [E; 3]) -> E {
    x * x + y * y + z * z
}

vectorized! {
    /// Takes the point `from` into the distances to the nearest chosen one, and gives the first point whose distance is largest.
    fn approach<'a, E, S>(
        _simd: S,
        boxes: &'a mut [Around<E>],
        points: &'a mut [Points<E>],
        from: [E; 3],
    ) -> usize {
        let mut farthest = (-E::one(), 0);
        for (around, points) in boxes.iter_mut().zip(points) {
            let mut gap = [E::zero(); 3];
            for axis in 0..3 {
                let (below, above) = (around.low[axis] - from[axis], from[axis] - around.high[axis]);
                let outside = if below > above { below } else { above };
                gap[axis] = if outside > E::zero() { outside } else { E::zero() };
            }
            // Rounding keeps order: no distance of a point in the box, as it is computed below, is less than that of the box.
            if squared_norm(gap) < around.farthest.0 {
                around.farthest = points.approach(from);
            }
            let (distance, number) = around.farthest;
            if distance > farthest.0 || (distance >= farthest.0 && number < farthest.1) {
                farthest = around.farthest;
            }
        }
        farthest.1
    }
}

impl<E: Element> Points<E> {
    #[inline(always)]
    fn approach(&mut self, from: [E; 3]) -> (E, usize) {
        let [x, y, z] = &self.axes;
        let mut lanes = [-E::one(); LANES];
        for start in (0..SIZE).step_by(LANES) {
            for (lane, largest) in lanes.iter_mut().enumerate() {
                let place = start + lane;
                let point = [x[place] - from[0], y[place] - from[1], z[place] - from[2]];
                let (distance, before) = (squared_norm(point), self.nearest[place]);
                let nearest = if distance < before { distance } else { before };
                self.nearest[place] = nearest;
                *largest = if nearest > *largest {
                    nearest
                } else {
                    *largest
                };
            }
        }
        let largest = lanes
            .iter()
            .fold(-E::one(), |a, &b| if b > a { b } else { a });
        let place = self
            .nearest
            .iter()
            .position(|&distance| distance >= largest);
        (largest, self.numbers[place.unwrap_or(0)])
    }
}

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

    /// Takes all distances.
    fn plainly(points: &[f32], count: usize) -> Vec<usize> {
        let n = points.len() / 3;
        let point = |number: usize| [0, 1, 2].map(|axis| points[3 * number + axis]);
        let eligible = |number| f64::from(squared_norm(point(number))) > NOWHERE;
        let mut nearest: Vec<f32> = (0..n)
            .map(|number| {
                if eligible(number) {
                    f32::INFINITY
                } else {
                    -1.0
                }
            })
            .collect();
        let mut chosen = vec![0];
        while chosen.len() < count {
            let from = point(chosen[chosen.len() - 1]);
            let mut farthest = (-1.0, 0);
            for (number, nearest) in nearest.iter_mut().enumerate() {
                let own = point(number);
                let distance = squared_norm([0, 1, 2].map(|axis| own[axis] - from[axis]));
                *nearest = nearest.min(distance);
                if *nearest > farthest.0 {
                    farthest = (*nearest, number);
                }
            }
            chosen.push(farthest.1);
        }
        chosen
    }

    #[test]
    fn boxes_change_no_choice() {
        let values = equilibria_testing::random_values(3 * 3000, 4);
        for coarse in [1e-6, 0.05, 0.5] {
            // Coordinates of a grid have many equal distances.
            let points: Vec<f32> = (values.iter())
                .map(|value| ((value / coarse).round() * coarse) as f32)
                .collect();
            assert_eq!(
                farthest_point_sampling(&points, 1500),
                plainly(&points, 1500),
                "{coarse}"
            );
        }
    }

    #[test]
    fn nothing_is_chosen_of_nothing() {
        assert!(farthest_point_sampling::<f64>(&[], 3).is_empty());
        assert!(farthest_point_sampling(&[1.0, 2.0, 3.0], 0).is_empty());
    }
}
