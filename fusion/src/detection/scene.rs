//! A room as it was measured.

use rand::Rng;

use super::{Camera, ImageBox, OrientedBox};

/// Points of a room, an image of it, and the boxes that are there.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The points, in meters.
    pub points: Vec<[f64; 3]>,
    /// How high each stands above the [floor](floor()), in meters.
    pub heights: Vec<f64>,
    /// The color of the pixel of each, (value − 128) / 255 of red, green and blue.
    pub colors: Vec<[f64; 3]>,
    /// Where the image was taken from.
    pub camera: Camera,
    /// What was found in the image.
    pub found: Vec<ImageBox>,
    /// The boxes, each with its class.
    pub boxes: Vec<(OrientedBox, usize)>,
}

/// How a room is moved, so that a network does not learn where things are in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Motion {
    /// Whether it is mirrored in x → −x, first.
    pub mirrored: bool,
    /// By which angle it is turned, from +X toward +Y, in radians.
    pub angle: f64,
    /// How many times as large it becomes, last.
    pub scale: f64,
}

impl Motion {
    /// A random one, as in the original: mirrored or not, up to 30 degrees to either side, 0.85 to 1.15 times as large.
    pub fn random(rng: &mut impl Rng) -> Self {
        Self {
            mirrored: rng.gen_bool(0.5),
            angle: rng.gen_range(-1.0..1.0) * std::f64::consts::FRAC_PI_6,
            scale: rng.gen_range(0.85..1.15),
        }
    }
}

impl Scene {
    /// The same room, moved: points, boxes, and the camera, so that every point stays in its pixel.
    pub fn moved(mut self, by: Motion) -> Self {
        let (sine, cosine) = by.angle.sin_cos();
        let sign = if by.mirrored { -1.0 } else { 1.0 };
        for point in &mut self.points {
            let [x, y, z] = [sign * point[0], point[1], point[2]];
            *point = [cosine * x - sine * y, sine * x + cosine * y, z].map(|x| by.scale * x);
        }
        self.heights
            .iter_mut()
            .for_each(|height| *height *= by.scale);
        for (shape, _) in &mut self.boxes {
            let own = if by.mirrored {
                shape.mirrored()
            } else {
                *shape
            };
            *shape = own.rotated(by.angle).scaled(by.scale);
        }
        let camera = if by.mirrored {
            self.camera.mirrored()
        } else {
            self.camera
        };
        self.camera = camera.rotated(by.angle).scaled(by.scale);
        self
    }
}

/// The height of the floor, in meters: the 0.99th percentile of the heights of all points, interpolated as NumPy does; 0 where there is none.
///
/// The original asks for the percentile 0.99, where it may have meant the fraction.
pub fn floor(points: &[[f64; 3]]) -> f64 {
    let mut heights: Vec<f64> = points.iter().map(|point| point[2]).collect();
    heights.sort_by(f64::total_cmp);
    let Some(last) = heights.len().checked_sub(1) else {
        return 0.0;
    };
    let place = 0.0099 * last as f64;
    let (low, high) = (
        heights[place as usize],
        heights[(place as usize + 1).min(last)],
    );
    low + place.fract() * (high - low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::true_votes;
    use rand::rngs::StdRng;
    use rand::SeedableRng;

    #[test]
    fn the_floor_is_nearly_the_lowest_point() {
        let points: Vec<[f64; 3]> = (0..201).map(|z| [0.0, 0.0, f64::from(200 - z)]).collect();
        approx::assert_relative_eq!(floor(&points), 1.98, epsilon = 1e-12);
        assert!(floor(&[]).abs() < 1e-300);
    }

    /// Points keep the boxes around them and their pixels, whatever is done to the room.
    #[test]
    fn a_moved_room_is_the_same_room() {
        let shape = OrientedBox {
            center: [0.5, 3.0, 0.2],
            size: [1.0, 0.6, 0.8],
            heading: 0.7,
        };
        let points = vec![
            [0.5, 3.0, 0.2],
            [0.8, 2.8, 0.4],
            [0.0, 3.3, -0.1],
            [1.5, 3.0, 0.2],
        ];
        let scene = Scene {
            heights: points.iter().map(|point| point[2]).collect(),
            colors: vec![[0.0; 3]; 4],
            camera: Camera::from_columns(
                [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
                [90.0, 0.0, 0.0, 0.0, 90.0, 0.0, 50.0, 50.0, 1.0],
            ),
            found: Vec::new(),
            boxes: vec![(shape, 1)],
            points,
        };
        let shapes = |scene: &Scene| {
            scene
                .boxes
                .iter()
                .map(|(shape, _)| *shape)
                .collect::<Vec<_>>()
        };
        let inside = true_votes(&scene.points, &shapes(&scene)).inside;
        let rng = &mut StdRng::seed_from_u64(1);
        for _ in 0..20 {
            let moved = scene.clone().moved(Motion::random(rng));
            assert_eq!(true_votes(&moved.points, &shapes(&moved)).inside, inside);
            for (a, b) in scene.points.iter().zip(&moved.points) {
                let (a, b) = (scene.camera.project(*a), moved.camera.project(*b));
                assert_eq!((a.u, a.v), (b.u, b.v));
            }
        }
    }
}
