//! Oriented boxes.

/// A box that stands upright.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct OrientedBox {
    /// Its middle, `[x, y, z]` with Z up, in meters.
    pub center: [f64; 3],
    /// Its edges, in meters: along its heading, across it, and up.
    pub size: [f64; 3],
    /// From +X toward −Y, which is clockwise as seen from above, in radians.
    pub heading: f64,
}

impl OrientedBox {
    /// A box in the upright axes of a camera, X right, Y down, Z forward.
    pub fn from_camera(center: [f64; 3], size: [f64; 3], heading: f64) -> Self {
        let [x, y, z] = center;
        Self {
            center: [x, z, -y],
            size,
            heading,
        }
    }

    /// A point in the upright axes of a camera, X right, Y down, Z forward.
    pub fn to_camera([x, y, z]: [f64; 3]) -> [f64; 3] {
        [x, -z, y]
    }

    /// Its volume, in cubic meters.
    pub fn volume(&self) -> f64 {
        self.size.iter().product()
    }

    /// The corners as seen from above, clockwise.
    pub fn footprint(&self) -> [[f64; 2]; 4] {
        let [l, w, _] = self.size.map(|edge| 0.5 * edge);
        let (sine, cosine) = self.heading.sin_cos();
        [[l, w], [l, -w], [-l, -w], [-l, w]].map(|[along, across]| {
            [
                self.center[0] + cosine * along + sine * across,
                self.center[1] - sine * along + cosine * across,
            ]
        })
    }

    /// The corners: the four of the floor, as those of the [footprint](Self::footprint), then those above them.
    pub fn corners(&self) -> [[f64; 3]; 8] {
        let (floor, half) = (self.footprint(), 0.5 * self.size[2]);
        std::array::from_fn(|corner| {
            let [x, y] = floor[corner % 4];
            let up = if corner < 4 { -half } else { half };
            [x, y, self.center[2] + up]
        })
    }

    /// The smallest and the largest coordinates of its corners: the box along the axes around it.
    pub fn hull(&self) -> [[f64; 3]; 2] {
        let corners = self.corners();
        let fold = |start: f64, pick: fn(f64, f64) -> f64| {
            std::array::from_fn(|axis| {
                corners
                    .iter()
                    .fold(start, |a, corner| pick(a, corner[axis]))
            })
        };
        [
            fold(f64::INFINITY, f64::min),
            fold(f64::NEG_INFINITY, f64::max),
        ]
    }

    /// Whether a point lies in it or on its surface.
    pub fn contains(&self, point: [f64; 3]) -> bool {
        let [x, y, z]: [f64; 3] = std::array::from_fn(|axis| point[axis] - self.center[axis]);
        let (sine, cosine) = self.heading.sin_cos();
        let own = [cosine * x - sine * y, sine * x + cosine * y, z];
        let mut axes = own.iter().zip(&self.size);
        axes.all(|(distance, edge)| 2.0 * distance.abs() <= *edge)
    }

    /// Its mirror image in x → −x, which stands where the box does in the mirrored room.
    pub fn mirrored(&self) -> Self {
        let [x, y, z] = self.center;
        Self {
            center: [-x, y, z],
            heading: std::f64::consts::PI - self.heading,
            ..*self
        }
    }

    /// Turned about the vertical axis through the origin, from +X toward +Y by an angle in radians.
    pub fn rotated(&self, angle: f64) -> Self {
        let ([x, y, z], (sine, cosine)) = (self.center, angle.sin_cos());
        Self {
            center: [cosine * x - sine * y, sine * x + cosine * y, z],
            heading: self.heading - angle,
            ..*self
        }
    }

    /// As many times as large, and as far from the origin.
    pub fn scaled(&self, factor: f64) -> Self {
        Self {
            center: self.center.map(|x| factor * x),
            size: self.size.map(|edge| factor * edge),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::FRAC_PI_2;

    fn turned() -> OrientedBox {
        OrientedBox {
            center: [1.0, 2.0, 3.0],
            size: [4.0, 2.0, 6.0],
            heading: FRAC_PI_2,
        }
    }

    #[test]
    fn a_quarter_turn_exchanges_the_axes() {
        let [low, high] = turned().hull();
        approx::assert_relative_eq!(low[..], [0.0, 0.0, 0.0], epsilon = 1e-15);
        approx::assert_relative_eq!(high[..], [2.0, 4.0, 6.0], epsilon = 1e-15);
        assert!(turned().contains([1.9, 3.9, 5.9]));
        assert!(!turned().contains([2.1, 2.0, 3.0]));
    }

    /// The first corner is in front on the left, where "in front" is the heading: here −Y.
    #[test]
    fn the_heading_turns_clockwise_as_seen_from_above() {
        let corner = turned().footprint()[0];
        approx::assert_relative_eq!(corner[..], [2.0, 0.0], epsilon = 1e-15);
    }

    #[test]
    fn what_moves_the_room_moves_its_boxes() {
        let skew = OrientedBox {
            heading: 0.3,
            ..turned()
        };
        let point = [
            skew.center[0] + 1.8 * 0.3_f64.cos(),
            skew.center[1] - 1.8 * 0.3_f64.sin(),
            1.0,
        ];
        assert!(skew.contains(point));
        let [x, y, z] = point;
        assert!(skew.mirrored().contains([-x, y, z]));
        let (sine, cosine) = 0.7_f64.sin_cos();
        assert!(skew
            .rotated(0.7)
            .contains([cosine * x - sine * y, sine * x + cosine * y, z]));
        assert!(skew.scaled(2.0).contains(point.map(|x| 2.0 * x)));
    }
}
