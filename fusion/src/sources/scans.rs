//! Scans of rooms as files.

use std::path::{Path, PathBuf};

use equilibria_core::prelude::*;
use equilibria_core::seed::mix;
use rand::rngs::StdRng;
use rand::SeedableRng;

use super::generated_rooms::rooms;
use crate::data::{
    require_sizes, require_total, scans_in, Boxes, BoxesError, DataError, DataSet, OsPath,
    ScanFiles, Split, SplitName, Table, SUN_RGBD_CLASSES,
};
use crate::detection::{ImageColumn, Scene, SceneRows};
use crate::model::DataSource;

plugin! {
    /// Scans of rooms with an image each, as VoteNet and ImVoteNet prepare SUN RGB-D: files in a folder, for the backbone `imvotenet`.
    ///
    /// Of a scan NAME, the folder `train` or `test` has `NAME_pc.npz`, points with colors, and `NAME_bbox.npy`, boxes; `found_train` or
    /// `found_test` has `NAME.txt`, what was found in the image; and `raw` has `calib/NAME.txt`, the camera, and `image/NAME.jpg`. Scans are
    /// those that have points, by their names. Of each, `points` points are drawn once, for all epochs. Votes follow from the boxes.
    /// All is held in memory, 8 bytes for each of 7 · points + 6 · findings numbers of a scan: `limit` scans of each split at most are
    /// read. The log, with `-v`, has the mean sizes of the boxes to learn from, for `head.sizes`.
    ///
    /// Reference: S. Song, S. P. Lichtenberg, J. Xiao, SUN RGB-D, CVPR 2015; C. R. Qi, O. Litany, K. He, L. J. Guibas, Deep Hough Voting for 3D
    /// Object Detection in Point Clouds, ICCV 2019.
    pub struct Scans: DataSource {
        /// The folder.
        pub path: OsPath = OsPath::from("."),
        /// The folder of the scans to learn from, in the folder.
        pub train: OsPath = OsPath::from("sunrgbd_pc_bbox_votes_50k_v1_train"),
        /// That of the scans for the final evaluation.
        pub test: OsPath = OsPath::from("sunrgbd_pc_bbox_votes_50k_v1_val"),
        /// What was found in the images of the scans to learn from.
        pub found_train: OsPath = OsPath::from("sunrgbd_2d_bbox_50k_v1_train"),
        /// What was found in those for the final evaluation.
        pub found_test: OsPath = OsPath::from("sunrgbd_2d_bbox_50k_v1_val"),
        /// The folder of cameras and images.
        pub raw: OsPath = OsPath::from("sunrgbd_trainval"),
        /// Names of the classes, in the order of their numbers. Default: the ten of SUN RGB-D.
        pub classes: Vec<String> = SUN_RGBD_CLASSES.map(str::to_owned).to_vec(),
        /// Points of a scan that are kept, from 1 to 1048576.
        pub points: usize = 20_000,
        /// Findings that an image has room for; those that are less sure are left out. At most 1048576.
        pub findings: usize = 64,
        /// Boxes that a scan has room for in the losses, where those that are not there stand at the origin, from 1 to 1048576.
        pub boxes: usize = 64,
        /// Scans of each split that are read, the first ones; 0: all.
        pub limit: usize = 0,
        /// Seed of the points.
        pub seed: u64 = 0,
    }
}

impl Scans {
    /// The files of the scans of a split.
    fn files(&self, part: SplitName) -> Result<Vec<ScanFiles>, DataError> {
        let (prepared, found) = match part {
            SplitName::Train => (&self.train, &self.found_train),
            SplitName::Test => (&self.test, &self.found_test),
        };
        let folder: &Path = self.path.as_ref();
        let within = |name: &OsPath| -> PathBuf { folder.join(AsRef::<Path>::as_ref(name)) };
        let (prepared, found, raw) = (within(prepared), within(found), within(&self.raw));
        let mut names = scans_in(&prepared)?;
        if self.limit > 0 {
            names.truncate(self.limit);
        }
        let files = names.iter();
        Ok(files
            .map(|name| ScanFiles::of(name, &prepared, &found, &raw))
            .collect())
    }

    /// The scans of a split, with their boxes or without.
    fn scenes(&self, part: SplitName, boxes: bool) -> Result<Vec<Scene>, DataError> {
        let sizes = [
            ("points", 1, self.points),
            ("findings", 0, self.findings),
            ("boxes", 1, self.boxes),
        ];
        require_sizes("scans", &sizes)?;
        let files = self.files(part)?;
        let columns = self.rows().numbers() + Boxes::NUMBERS * self.boxes;
        require_total("scans", files.len(), columns)?;
        let seed = mix(self.seed, u64::from(part == SplitName::Test));
        let scan = |(number, files): (usize, ScanFiles)| {
            let rng = &mut StdRng::seed_from_u64(mix(seed, number as u64));
            if !boxes {
                return files.read_unlabeled(&self.classes, self.points, rng);
            }
            let scene = files.read(&self.classes, self.points, rng)?;
            match scene.boxes.len() {
                found if found > self.boxes => Err(DataError::from(BoxesError::TooMany {
                    file: files.boxes.display().to_string(),
                    row: self.boxes + 1,
                    found,
                    most: self.boxes,
                })),
                _ => Ok(scene),
            }
        };
        files.into_iter().enumerate().map(scan).collect()
    }

    fn rows(&self) -> SceneRows {
        SceneRows {
            points: self.points,
            found: Some(self.findings),
        }
    }

    fn part(&self, part: SplitName) -> Result<Split, DataError> {
        let scenes = self.scenes(part, true)?;
        Ok(rooms(self.rows(), &scenes, &self.classes, self.boxes))
    }

    /// Says the mean sizes of the boxes of each class.
    fn tell_sizes(&self, scenes: &[Scene]) {
        for (class, name) in self.classes.iter().enumerate() {
            let boxes = scenes.iter().flat_map(|scene| &scene.boxes);
            let own = boxes.filter(|(_, of)| *of == class);
            let (mut sum, mut count) = ([0.0; 3], 0);
            for (shape, _) in own {
                sum.iter_mut()
                    .zip(shape.size)
                    .for_each(|(sum, edge)| *sum += edge);
                count += 1;
            }
            if count > 0 {
                let [l, w, h] = sum.map(|sum| sum / f64::from(count));
                log::info!(
                    "{count} boxes of the class {name}, on average [{l:.3}, {w:.3}, {h:.3}] m"
                );
            }
        }
    }
}

#[typetag::serde(name = "scans")]
impl DataSource for Scans {
    fn load(&self) -> Result<DataSet, DataError> {
        let scenes = self.scenes(SplitName::Train, true)?;
        self.tell_sizes(&scenes);
        let folder: &Path = self.path.as_ref();
        let set = DataSet {
            name: folder.display().to_string(),
            classes: self.classes.clone(),
            train: rooms(self.rows(), &scenes, &self.classes, self.boxes),
            test: self.part(SplitName::Test)?,
        };
        set.validate()?;
        Ok(set)
    }

    /// Boxes need not be known.
    fn features(&self, part: SplitName) -> Result<Vec<Table>, DataError> {
        Ok(self.rows().tables(&self.scenes(part, false)?))
    }

    fn split(&self, part: SplitName, classes: &[String]) -> Result<Split, DataError> {
        if self.classes != classes {
            let folder: &Path = self.path.as_ref();
            let name = folder.display().to_string();
            return Err(DataError::other_classes(name, &self.classes, classes));
        }
        self.part(part)
    }

    fn scaled(&self) -> bool {
        false
    }

    fn place(
        &self,
        part: SplitName,
        modality: Option<usize>,
        (row, column): (usize, usize),
    ) -> (String, usize) {
        let files = self.files(part).ok();
        let file = files.and_then(|mut files| (row < files.len()).then(|| files.swap_remove(row)));
        let file = file.map(
            |files| match modality.map(|k| (k, self.rows().of_column(column))) {
                None => files.boxes,
                Some((1, _)) => files.points,
                Some((_, ImageColumn::Camera)) => files.camera,
                Some((_, ImageColumn::Color)) => files.image,
                Some((_, ImageColumn::Finding)) => files.found,
            },
        );
        let name = file.map_or(part.to_string(), |file| file.display().to_string());
        (name, 1)
    }
}
