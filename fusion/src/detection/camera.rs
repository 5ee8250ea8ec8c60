//! Where points of a room are in an image of it.

use super::OrientedBox;

/// A pinhole camera, and how the room it has seen was moved since.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Camera {
    /// How many times as large the room is now.
    pub scale: f64,
    /// R, from the axes of the camera (X right, Y forward, Z up) to those of the room, row after row; with `scale` in it.
    pub rotation: [[f64; 3]; 3],
    /// K, from the axes of the camera (X right, Y down, Z forward) to pixels, counted from 1, row after row.
    pub intrinsics: [[f64; 3]; 3],
}

/// Where a point is in an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Projected {
    /// Column of the pixel, from 0; outside of the image it may be anything.
    pub u: f64,
    /// Row of the pixel, from 0.
    pub v: f64,
    /// How far in front of the camera the point is, in meters of the room as the camera has seen it.
    pub depth: f64,
}

impl Camera {
    /// A camera as files have it: two lists of nine numbers, R and K, column after column.
    pub fn from_columns(rotation: [f64; 9], intrinsics: [f64; 9]) -> Self {
        let rows = |columns: [f64; 9]| {
            std::array::from_fn(|row| std::array::from_fn(|column| columns[3 * column + row]))
        };
        Self {
            scale: 1.0,
            rotation: rows(rotation),
            intrinsics: rows(intrinsics),
        }
    }

    /// As 19 numbers: the scale, then R and K, row after row.
    pub fn numbers(&self) -> impl Iterator<Item = f64> {
        let matrices = [self.rotation, self.intrinsics].into_iter();
        std::iter::once(self.scale).chain(matrices.flatten().flatten())
    }

    /// From those 19 numbers.
    pub fn from_numbers(numbers: &[f64; 19]) -> Self {
        let matrix = |start: usize| {
            std::array::from_fn(|row| {
                std::array::from_fn(|column| numbers[start + 3 * row + column])
            })
        };
        Self {
            scale: numbers[0],
            rotation: matrix(1),
            intrinsics: matrix(10),
        }
    }

    /// The pixel of a point of the room: `round(K c / c_z − 1)` with `c` the point `Rᵀ p / scale²` in the axes of the camera; halves to even.
    pub fn project(&self, point: [f64; 3]) -> Projected {
        let seen = std::array::from_fn(|row| {
            let column = self.rotation.iter().map(|r| r[row]).zip(point);
            column.map(|(r, p)| r * p).sum::<f64>() / (self.scale * self.scale)
        });
        let own = OrientedBox::to_camera(seen);
        let pixel = |row: usize| {
            let sum: f64 = self.intrinsics[row]
                .iter()
                .zip(own)
                .map(|(k, c)| k * c)
                .sum();
            (sum / own[2] - 1.0).round_ties_even()
        };
        Projected {
            u: pixel(0),
            v: pixel(1),
            depth: own[2],
        }
    }

    /// A step across the image plane, in meters to the right and down, in the axes of the room.
    pub fn across(&self, right: f64, down: f64) -> [f64; 3] {
        std::array::from_fn(|row| self.rotation[row][0] * right - self.rotation[row][2] * down)
    }

    /// After the room was mirrored in x → −x.
    pub fn mirrored(mut self) -> Self {
        self.rotation[0] = self.rotation[0].map(|r| -r);
        self
    }

    /// After the room was turned about the vertical axis, from +X toward +Y by an angle in radians.
    pub fn rotated(mut self, angle: f64) -> Self {
        let ([x, y, z], (sine, cosine)) = (self.rotation, angle.sin_cos());
        let mix = |a: f64, b: f64| -> [f64; 3] {
            std::array::from_fn(|column| a * x[column] + b * y[column])
        };
        self.rotation = [mix(cosine, -sine), mix(sine, cosine), z];
        self
    }

    /// After the room was made so many times as large.
    pub fn scaled(mut self, factor: f64) -> Self {
        self.scale *= factor;
        self.rotation = self.rotation.map(|row| row.map(|r| factor * r));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> Camera {
        let (sine, cosine) = 0.2_f64.sin_cos();
        let tilt = [1.0, 0.0, 0.0, 0.0, cosine, sine, 0.0, -sine, cosine];
        let lens = [500.0, 0.0, 0.0, 0.0, 500.0, 0.0, 320.0, 240.0, 1.0];
        Camera::from_columns(tilt, lens)
    }

    #[test]
    fn a_point_ahead_is_in_the_middle_of_the_image() {
        let level = Camera::from_columns(
            [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            [500.0, 0.0, 0.0, 0.0, 500.0, 0.0, 320.0, 240.0, 1.0],
        );
        let ahead = level.project([0.0, 2.0, 0.0]);
        assert_eq!(
            ahead,
            Projected {
                u: 319.0,
                v: 239.0,
                depth: 2.0
            }
        );
        // One meter to the right and half a meter up, at two meters.
        let aside = level.project([1.0, 2.0, 0.5]);
        assert_eq!(
            aside,
            Projected {
                u: 569.0,
                v: 114.0,
                depth: 2.0
            }
        );
        approx::assert_relative_eq!(level.across(1.0, 0.25)[..], [1.0, 0.0, -0.25]);
    }

    /// Whatever is done to the room, a point that moves along stays in its pixel.
    #[test]
    fn pixels_do_not_change_when_the_room_is_moved() {
        let point = [0.3, 2.5, -0.4];
        let before = camera().project(point);
        let angle = 0.4_f64;
        let (sine, cosine) = angle.sin_cos();
        let [x, y, z] = [-point[0], point[1], point[2]];
        let moved = [
            1.1 * (cosine * x - sine * y),
            1.1 * (sine * x + cosine * y),
            1.1 * z,
        ];
        let after = camera()
            .mirrored()
            .rotated(angle)
            .scaled(1.1)
            .project(moved);
        assert_eq!((before.u, before.v), (after.u, after.v));
        approx::assert_relative_eq!(before.depth, after.depth, epsilon = 1e-14);
        let numbers: Vec<f64> = camera().numbers().collect();
        let numbers: [f64; 19] = numbers.try_into().expect("19 numbers");
        assert_eq!(Camera::from_numbers(&numbers), camera());
    }
}
