//! Generated rooms.

use equilibria_core::prelude::*;
use equilibria_core::seed::mix;

use crate::data::{require_sizes, require_total, Boxes, DataError, DataSet, Split, Targets};
use crate::detection::generated_scenes::CLASSES;
use crate::detection::{generated_scenes, Scene, SceneRows};
use crate::model::DataSource;

plugin! {
    /// Generated rooms with boxes on a floor: to train the backbone `imvotenet` with no download.
    ///
    /// The first modality is the points of a room, the second what a camera sees of them, in rows as `imvotenet` takes them. Two to five boxes
    /// of two classes, `crate` and `cabinet`, stand apart from each other. Their sizes and points are alike, and colors say nothing: only the
    /// findings in the image, one for each box, tell the classes apart. What it shows is that a detector trains, and that its fusion
    /// lets the image through; it says nothing about rooms.
    pub struct GeneratedRooms: DataSource {
        /// Rooms to learn from, from 1 to 1048576.
        pub train: usize = 160,
        /// Rooms for the final evaluation, from 1 to 1048576.
        pub test: usize = 80,
        /// Points of a room, from 1 to 1048576.
        pub points: usize = 512,
        /// Boxes that a room has room for in the losses, where those that are not there stand at the origin: from 5 to 1048576.
        pub boxes: usize = 8,
        /// Seed of the rooms.
        pub seed: u64 = 1,
    }
}

/// Findings in an image: at most one for each box.
const FOUND: usize = 5;

#[typetag::serde(name = "generated-rooms")]
impl DataSource for GeneratedRooms {
    fn load(&self) -> Result<DataSet, DataError> {
        let sizes = [
            ("train", 1, self.train),
            ("test", 1, self.test),
            ("points", 1, self.points),
            ("boxes", 1, self.boxes),
        ];
        require_sizes("generated-rooms", &sizes)?;
        let rows = SceneRows {
            points: self.points,
            found: Some(FOUND),
        };
        let columns = rows.numbers() + Boxes::NUMBERS * self.boxes;
        require_total("generated-rooms", self.train + self.test, columns)?;
        let split = |count: usize, part: u64| {
            let scenes = generated_scenes(count, self.points, mix(self.seed, part));
            rooms(rows, &scenes, &CLASSES, self.boxes)
        };
        let set = DataSet {
            name: "generated rooms".to_owned(),
            classes: CLASSES.map(str::to_owned).to_vec(),
            train: split(self.train, 0),
            test: split(self.test, 1),
        };
        set.validate()?;
        Ok(set)
    }

    fn scaled(&self) -> bool {
        false
    }
}

/// Scenes and their boxes, of which there is room for so many.
pub(super) fn rooms(
    rows: SceneRows,
    scenes: &[Scene],
    classes: &[impl AsRef<str>],
    most: usize,
) -> Split {
    let names = classes.iter().map(|name| name.as_ref().to_owned());
    Split {
        modalities: rows.tables(scenes),
        targets: Targets::Boxes(Boxes {
            classes: names.collect(),
            most,
            rows: scenes.iter().map(|scene| scene.boxes[..].into()).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::BoxesError;

    fn source(seed: u64) -> GeneratedRooms {
        GeneratedRooms {
            train: 4,
            test: 3,
            points: 30,
            seed,
            ..GeneratedRooms::default()
        }
    }

    #[test]
    fn rooms_follow_from_the_seed_and_no_room_is_in_both_splits() {
        let set = source(1).load().expect("sound");
        assert_eq!((set.train.len(), set.test.len()), (4, 3));
        assert_eq!(set, source(1).load().expect("sound"));
        assert_ne!(set, source(2).load().expect("sound"));
        let [points, image] = &set.train.modalities[..] else {
            panic!("two modalities");
        };
        assert_eq!((points.columns, image.columns), (120, 19 + 90 + 30));
        assert_ne!(points.row(0), set.test.modalities[0].row(0));
        assert!(!source(1).scaled());
    }

    #[test]
    fn more_boxes_than_there_is_room_for_are_refused() {
        let few = GeneratedRooms {
            boxes: 1,
            ..source(1)
        };
        let error = few.load().expect_err("two boxes at least");
        assert!(
            matches!(
                error,
                DataError::Boxes(BoxesError::TooMany {
                    row: 1,
                    most: 1,
                    ..
                })
            ),
            "{error}"
        );
        assert!(error.to_string().contains("set `data.boxes`"), "{error}");
    }
}
