//! Scenes as rows of numbers: what the modalities of a data set hold of them.

use super::{Camera, ImageBox, Scene};
use crate::data::Table;

/// Numbers of a point in the first modality: x, y and z, and its height above the floor, in meters.
const POINT: usize = 4;

/// Numbers of the camera, which come first in the second modality.
const CAMERA: usize = 19;

/// Numbers of the pixel of a point, which follow: red, green and blue.
const COLOR: usize = 3;

/// Numbers of what was found in the image, which come last: 1 more than the class, or 0 for nothing, the score, and four edges.
const FOUND: usize = 6;

/// How many points and findings rows have room for.
///
/// A scene is two rows, its points and its image; of an image there are the camera, the color of the pixel of each point, and what was
/// found. Points alone make a scene too, of which nothing was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SceneRows {
    /// Points of a scene.
    pub points: usize,
    /// Findings in an image; `None` without images.
    pub found: Option<usize>,
}

/// What a column of the second modality tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageColumn {
    /// The camera.
    Camera,
    /// The pixel of a point.
    Color,
    /// What was found in the image.
    Finding,
}

impl SceneRows {
    /// Of modalities with so many numbers each; `None` if these are no scenes.
    pub fn of(modalities: &[usize]) -> Option<Self> {
        let points = |columns: usize| {
            (columns > 0 && columns.is_multiple_of(POINT)).then_some(columns / POINT)
        };
        match *modalities {
            [columns] => Some(Self {
                points: points(columns)?,
                found: None,
            }),
            [columns, image] => {
                let points = points(columns)?;
                let rest = image.checked_sub(CAMERA + COLOR * points)?;
                rest.is_multiple_of(FOUND).then_some(Self {
                    points,
                    found: Some(rest / FOUND),
                })
            }
            _ => None,
        }
    }

    /// Numbers of the points, and of the image.
    fn columns(&self) -> (usize, Option<usize>) {
        let image = |found| CAMERA + COLOR * self.points + FOUND * found;
        (POINT * self.points, self.found.map(image))
    }

    /// Numbers of all modalities.
    pub fn numbers(&self) -> usize {
        let (points, image) = self.columns();
        points + image.unwrap_or(0)
    }

    /// What a column, from 1, of the second modality tells of.
    pub fn of_column(&self, column: usize) -> ImageColumn {
        match column {
            0..=CAMERA => ImageColumn::Camera,
            _ if column - CAMERA <= COLOR * self.points => ImageColumn::Color,
            _ => ImageColumn::Finding,
        }
    }

    /// The modalities of some scenes, which have as many points each. Of what was found in an image, the surest have room, in their order.
    pub fn tables(&self, scenes: &[Scene]) -> Vec<Table> {
        let table = |name: &str, columns: usize, values: Vec<f64>| Table {
            name: name.to_owned(),
            columns,
            values,
        };
        let (columns, image_columns) = self.columns();
        let points = scenes.iter().flat_map(points).collect();
        let mut tables = vec![table("points", columns, points)];
        if let (Some(found), Some(columns)) = (self.found, image_columns) {
            let images = scenes.iter().flat_map(|scene| image(scene, found));
            tables.push(table("image", columns, images.collect()));
        }
        tables
    }

    /// A scene from its rows, one for each modality; its boxes are not there.
    pub fn scene(&self, rows: &[&[f64]]) -> Scene {
        let image = rows.get(1).copied().unwrap_or_default();
        let (points, heights) = rows[0]
            .chunks_exact(POINT)
            .map(|own| ([own[0], own[1], own[2]], own[3]))
            .unzip();
        let mut scene = Scene {
            points,
            heights,
            colors: vec![[0.0; COLOR]; self.points],
            camera: Camera::from_columns([0.0; 9], [0.0; 9]),
            found: Vec::new(),
            boxes: Vec::new(),
        };
        let Some((camera, rest)) = image.split_first_chunk::<CAMERA>() else {
            return scene;
        };
        let (colors, found) = rest.split_at(COLOR * self.points);
        scene.camera = Camera::from_numbers(camera);
        scene.colors = (colors.chunks_exact(COLOR))
            .map(|own| [own[0], own[1], own[2]])
            .collect();
        let found = found.chunks_exact(FOUND).filter(|own| own[0] > 0.5);
        scene.found = found
            .map(|own| ImageBox {
                edges: std::array::from_fn(|edge| own[2 + edge] as i64),
                class: (own[0] - 0.5) as usize,
                score: own[1],
            })
            .collect();
        scene
    }

    /// The scenes of some rows of modalities.
    pub fn scenes<'t>(
        &'t self,
        modalities: &'t [Table],
        rows: &'t [usize],
    ) -> impl Iterator<Item = Scene> + 't {
        rows.iter().map(|&row| {
            let rows: Vec<&[f64]> = modalities.iter().map(|table| table.row(row)).collect();
            self.scene(&rows)
        })
    }
}

fn points(scene: &Scene) -> impl Iterator<Item = f64> + '_ {
    let points = scene.points.iter().zip(&scene.heights);
    points.flat_map(|(&[x, y, z], &height)| [x, y, z, height])
}

fn image(scene: &Scene, found: usize) -> Vec<f64> {
    let mut numbers: Vec<f64> = scene.camera.numbers().collect();
    numbers.extend(scene.colors.iter().flatten());
    let mut order: Vec<usize> = (0..scene.found.len()).collect();
    order.sort_by(|&a, &b| scene.found[b].score.total_cmp(&scene.found[a].score));
    order.truncate(found);
    order.sort_unstable();
    let whole = numbers.len() + FOUND * found;
    for own in order.into_iter().map(|own| scene.found[own]) {
        numbers.extend([own.class as f64 + 1.0, own.score]);
        numbers.extend(own.edges.map(|edge| edge as f64));
    }
    numbers.resize(whole, 0.0);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::generated_scenes;

    #[test]
    fn scenes_come_back_from_their_rows() {
        let scenes = generated_scenes(3, 20, 1);
        let rows = SceneRows {
            points: 20,
            found: Some(5),
        };
        let tables = rows.tables(&scenes);
        let columns: Vec<usize> = tables.iter().map(|table| table.columns).collect();
        assert_eq!(SceneRows::of(&columns), Some(rows));
        let back: Vec<Scene> = rows.scenes(&tables, &[0, 1, 2]).collect();
        for (mut scene, back) in scenes.into_iter().zip(back) {
            scene.boxes.clear();
            assert_eq!(scene, back);
        }
        let alone = SceneRows::of(&columns[..1]).expect("points");
        assert_eq!(alone.found, None);
        assert!(alone.scene(&[tables[0].row(1)]).found.is_empty());
        assert_eq!(SceneRows::of(&[80, 79 + 1]), None);
        assert_eq!(SceneRows::of(&[0]), None);
    }

    #[test]
    fn the_surest_findings_have_room() {
        let mut scene = generated_scenes(1, 10, 4).swap_remove(0);
        let sure = |score| ImageBox {
            edges: [1, 2, 3, 4],
            class: 1,
            score,
        };
        scene.found = vec![sure(0.5), sure(0.25), sure(0.75)];
        let rows = SceneRows {
            points: 10,
            found: Some(2),
        };
        let tables = rows.tables(&[scene]);
        let back = rows.scenes(&tables, &[0]).next().expect("a scene");
        assert_eq!(back.found, [sure(0.5), sure(0.75)]);
    }
}
