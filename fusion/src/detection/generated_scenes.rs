//! Generated rooms.

use std::f64::consts::PI;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::scene::floor;
use super::{Camera, ImageBox, OrientedBox, Scene};

/// Two classes of boxes of the same sizes.
pub const CLASSES: [&str; 2] = ["crate", "cabinet"];

/// Width and height of the image, in pixels.
const IMAGE: [i64; 2] = [320, 240];

/// The floor below the camera, in meters.
const FLOOR: f64 = -1.0;

/// How near the middles of two boxes may be, in meters: they do not touch.
const APART: f64 = 0.9;

/// Rooms with two to five boxes on a floor, seen by a camera that looks down a little; the same seed gives the same rooms.
///
/// Three quarters of the points lie on the boxes, the others on the floor. Sizes say nothing of the class, and neither do points nor colors: it is
/// known from what is found in the image alone, the rectangles around the corners of each box.
pub fn generated_scenes(count: usize, points: usize, seed: u64) -> Vec<Scene> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count).map(|_| scene(points, &mut rng)).collect()
}

fn scene(count: usize, rng: &mut StdRng) -> Scene {
    let camera = camera();
    let boxes = boxes(rng);
    let found = boxes.iter().filter_map(|(shape, class)| {
        Some(ImageBox {
            edges: rectangle(&camera, shape)?,
            class: *class,
            score: rng.gen_range(0.6..0.95),
        })
    });
    let found = found.collect();
    let mut points = Vec::with_capacity(count);
    while points.len() < count {
        points.push(match rng.gen_bool(0.75) {
            true => on_surface(&boxes[rng.gen_range(0..boxes.len())].0, rng),
            false => [rng.gen_range(-2.0..2.0), rng.gen_range(1.2..4.5), FLOOR],
        });
    }
    // Measurements are off by some millimeters.
    for point in &mut points {
        *point = point.map(|x| x + rng.gen_range(-0.005..0.005));
    }
    let floor = floor(&points);
    Scene {
        heights: points.iter().map(|point| point[2] - floor).collect(),
        colors: points
            .iter()
            .map(|_| [0; 3].map(|_| rng.gen_range(-0.5..0.5)))
            .collect(),
        camera,
        found,
        boxes,
        points,
    }
}

/// A camera that looks 0.25 radians down.
fn camera() -> Camera {
    let (sine, cosine) = (-0.25_f64).sin_cos();
    let [width, height] = IMAGE.map(|pixels| 0.5 * pixels as f64);
    Camera::from_columns(
        [1.0, 0.0, 0.0, 0.0, cosine, sine, 0.0, -sine, cosine],
        [200.0, 0.0, 0.0, 0.0, 200.0, 0.0, width, height, 1.0],
    )
}

fn boxes(rng: &mut StdRng) -> Vec<(OrientedBox, usize)> {
    let count = rng.gen_range(2..=5);
    let mut boxes: Vec<(OrientedBox, usize)> = Vec::new();
    while boxes.len() < count {
        let size = [0.6, 0.4, 0.5].map(|edge| edge * rng.gen_range(0.85..1.15));
        let center = [
            rng.gen_range(-1.4..1.4),
            rng.gen_range(1.8..4.0),
            FLOOR + 0.5 * size[2],
        ];
        let near = |(other, _): &(OrientedBox, usize)| {
            (other.center[0] - center[0]).hypot(other.center[1] - center[1]) < APART
        };
        if !boxes.iter().any(near) {
            let heading = rng.gen_range(-PI..PI);
            let class = rng.gen_range(0..CLASSES.len());
            boxes.push((
                OrientedBox {
                    center,
                    size,
                    heading,
                },
                class,
            ));
        }
    }
    boxes
}

/// A point on one of the sides or on top, each as likely as its area is large.
fn on_surface(shape: &OrientedBox, rng: &mut StdRng) -> [f64; 3] {
    let [l, w, h] = shape.size;
    let areas = [l * h, l * h, w * h, w * h, l * w];
    let mut left = rng.gen_range(0.0..areas.iter().sum::<f64>());
    let side = areas.iter().position(|area| {
        left -= area;
        left < 0.0
    });
    let mut edge = |length: f64| rng.gen_range(-0.5..0.5) * length;
    let [along, across, up] = match side.unwrap_or(4) {
        0 => [edge(l), 0.5 * w, edge(h)],
        1 => [edge(l), -0.5 * w, edge(h)],
        2 => [0.5 * l, edge(w), edge(h)],
        3 => [-0.5 * l, edge(w), edge(h)],
        _ => [edge(l), edge(w), 0.5 * h],
    };
    let (sine, cosine) = shape.heading.sin_cos();
    [
        shape.center[0] + cosine * along + sine * across,
        shape.center[1] - sine * along + cosine * across,
        shape.center[2] + up,
    ]
}

/// The rectangle around the corners of a box, cut to the image; none where nothing of it is seen.
fn rectangle(camera: &Camera, shape: &OrientedBox) -> Option<[i64; 4]> {
    let pixels = shape.corners().map(|corner| camera.project(corner));
    let fold = |pick: fn(f64, f64) -> f64, of: fn(&super::camera::Projected) -> f64| {
        pixels.iter().map(of).reduce(pick).unwrap_or(0.0)
    };
    let cut = |value: f64, most: i64| (value as i64).clamp(0, most);
    let [left, right] = [f64::min, f64::max].map(|pick| cut(fold(pick, |at| at.u), IMAGE[0]));
    let [top, bottom] = [f64::min, f64::max].map(|pick| cut(fold(pick, |at| at.v), IMAGE[1]));
    (left < right && top < bottom).then_some([left, top, right, bottom])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::{true_votes, Pixel};

    #[test]
    fn rooms_follow_from_the_seed_and_images_show_their_boxes() {
        let scenes = generated_scenes(20, 400, 1);
        assert_eq!(scenes, generated_scenes(20, 400, 1));
        assert_ne!(scenes, generated_scenes(20, 400, 2));
        let (mut on_boxes, mut shown) = (0, 0);
        for scene in &scenes {
            assert!((2..=5).contains(&scene.boxes.len()));
            assert_eq!(scene.points.len(), 400);
            let wider: Vec<OrientedBox> = (scene.boxes.iter())
                .map(|(shape, _)| OrientedBox {
                    size: shape.size.map(|edge| edge + 0.02),
                    ..*shape
                })
                .collect();
            let inside = true_votes(&scene.points, &wider).inside;
            on_boxes += inside.iter().filter(|&&inside| inside).count();
            for (point, _) in scene
                .points
                .iter()
                .zip(inside)
                .filter(|(_, inside)| *inside)
            {
                let at = scene.camera.project(*point);
                let pixel = Pixel::among(&scene.found, |_| true, [at.u as i64, at.v as i64]);
                shown += usize::from(pixel.count > 0);
            }
        }
        // Three quarters of 8000, and floor next to boxes; rectangles leave out a pixel at their edge, and what is outside of the image.
        assert!((5700..6900).contains(&on_boxes), "{on_boxes}");
        assert!(
            shown as f64 > 0.9 * on_boxes as f64,
            "{shown} of {on_boxes}"
        );
    }
}
