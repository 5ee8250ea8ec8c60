//! Features of the regions of images: a file per image, or a table of many.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::{base64, QuestionsError};
use crate::data::{files, DataError};
use crate::dtype;
use safetensors::Dtype;

/// The array of features in a file of an image, features by regions.
const FEATURES: &str = "x";

/// Fields of a line of a table of bottom-up features.
const FIELDS: [&str; 6] = [
    "image_id",
    "image_w",
    "image_h",
    "num_boxes",
    "boxes",
    "features",
];

/// Features of images, each as many rows one after the other as an image has room for; rows of zeros are no regions.
pub(super) struct Regions {
    /// By image.
    pub images: HashMap<u64, Vec<f64>>,
    /// Features of a region; 0 where no image was read.
    pub width: usize,
    /// Regions that an image has room for.
    room: usize,
    /// Where the first image was read, for errors.
    first: String,
    /// Images with more regions than there is room for.
    cut: usize,
}

impl Regions {
    /// Looks for the images wanted in folders of `.npz` files and in `.tsv` files; that of the first place counts.
    pub fn read(places: &[PathBuf], wanted: &HashSet<u64>, room: usize) -> Result<Self, DataError> {
        let mut regions = Self {
            images: HashMap::with_capacity(wanted.len()),
            width: 0,
            room,
            first: String::new(),
            cut: 0,
        };
        for place in places {
            match place.is_dir() {
                true => regions.read_folder(place, wanted)?,
                false => regions.read_table(place, wanted)?,
            }
        }
        if regions.cut > 0 {
            log::warn!(
                "{} images have more than {room} regions (`data.regions`), of which the first are taken",
                regions.cut
            );
        }
        Ok(regions)
    }

    fn read_folder(&mut self, folder: &Path, wanted: &HashSet<u64>) -> Result<(), DataError> {
        let unreadable = |source| DataError::Unreadable {
            file: folder.display().to_string(),
            source,
        };
        let entries = fs::read_dir(folder).map_err(unreadable)?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(unreadable)?;
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "npz"));
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let image = image(&name).ok_or_else(|| QuestionsError::ImageName {
                file: path.display().to_string(),
            })?;
            if !wanted.contains(&image) || self.images.contains_key(&image) {
                continue;
            }
            let ([width, count], values) = files::read_matrix(&path, FEATURES)?;
            let place = |entry: usize| values[entry % width * count + entry / width];
            let rows = (0..width * count).map(place).collect();
            self.add(image, rows, width, path.display().to_string())?;
        }
        Ok(())
    }

    fn read_table(&mut self, path: &Path, wanted: &HashSet<u64>) -> Result<(), DataError> {
        let unreadable = |source| DataError::Unreadable {
            file: path.display().to_string(),
            source,
        };
        let lines = BufReader::new(File::open(path).map_err(unreadable)?).lines();
        for (row, line) in (1..).zip(lines) {
            let line = line.map_err(unreadable)?;
            let line = line.trim_end();
            if line.is_empty() {
                continue;
            }
            let wrong = |field: usize, problem: String| {
                DataError::from(QuestionsError::Field {
                    file: path.display().to_string(),
                    row,
                    field: FIELDS[field],
                    problem,
                })
            };
            let cells: Vec<&str> = line.split('\t').collect();
            let found = cells.len();
            let Ok([id, _, _, boxes, _, features]) = <[&str; FIELDS.len()]>::try_from(cells) else {
                let all = FIELDS.join(", ");
                let problem = format!(
                    "found {found} fields, expected {} with a tab between: {all}, without a heading",
                    FIELDS.len()
                );
                return Err(wrong(found.min(FIELDS.len() - 1), problem));
            };
            let number = |field: usize, cell: &str| {
                let parsed = cell.trim().parse::<u64>();
                parsed.map_err(|_| wrong(field, format!("found {cell:?}, expected a whole number")))
            };
            let image = number(0, id)?;
            if !wanted.contains(&image) || self.images.contains_key(&image) {
                continue;
            }
            let count = number(3, boxes)? as usize;
            let bytes = base64::decode(features).map_err(|problem| wrong(5, problem))?;
            let values = dtype::floats(Dtype::F32, &bytes).unwrap_or_default();
            if count == 0 || values.is_empty() || !values.len().is_multiple_of(count) {
                let problem = format!(
                    "found {} bytes for {count} boxes, expected as many F32 numbers for each, at least one",
                    bytes.len()
                );
                return Err(wrong(5, problem));
            }
            let width = values.len() / count;
            let place = format!("{}, row {row}", path.display());
            self.add(image, values, width, place)?;
        }
        Ok(())
    }

    /// Keeps an image, its regions one after the other, cut or filled up with zeros.
    fn add(
        &mut self,
        image: u64,
        mut values: Vec<f64>,
        width: usize,
        file: String,
    ) -> Result<(), DataError> {
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            return Err(DataError::from(QuestionsError::NotFinite {
                file,
                region: place / width + 1,
                feature: place % width + 1,
                value: values[place],
            }));
        }
        if self.width == 0 {
            (self.width, self.first) = (width, file);
        } else if width != self.width {
            return Err(DataError::ColumnCount {
                file,
                columns: width,
                expected: self.width,
                reference: self.first.clone(),
            });
        }
        self.cut += usize::from(values.len() > self.room * width);
        values.resize(self.room * width, 0.0);
        self.images.insert(image, values);
        Ok(())
    }
}

/// The number of an image in the name of its file: behind the last `_`, up to a period.
fn image(name: &str) -> Option<u64> {
    let (_, rest) = name.rsplit_once('_')?;
    rest.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_numbered_in_the_names_of_their_files() {
        assert_eq!(image("COCO_train2014_000000000009.jpg.npz"), Some(9));
        assert_eq!(image("x_12.npz"), Some(12));
        for name in ["9.npz", "COCO_.npz", "COCO_9a.npz"] {
            assert_eq!(image(name), None, "{name}");
        }
    }
}
