//! Scans of rooms in the layout that VoteNet prepares SUN RGB-D in.
//!
//! Reference: C. R. Qi, O. Litany, K. He, L. J. Guibas, Deep Hough Voting for 3D Object Detection in Point Clouds, ICCV 2019, and its program.

use std::fs;
use std::path::{Path, PathBuf};

use rand::seq::index;
use rand::Rng;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::JpegDecoder;

use super::{files, DataError};
use crate::detection::scene::floor;
use crate::detection::{Camera, ImageBox, OrientedBox, Scene};

/// The classes of SUN RGB-D, in their order.
pub const SUN_RGBD_CLASSES: [&str; 10] = [
    "bed",
    "table",
    "sofa",
    "chair",
    "toilet",
    "desk",
    "dresser",
    "night_stand",
    "bookshelf",
    "bathtub",
];

/// How names of files with points end.
const POINTS: &str = "_pc.npz";

/// What is less sure to be in an image is left out.
const LEAST_SCORE: f64 = 0.1;

/// A block of 8 × 8 pixels takes a bit at least. Memory is taken for those that a header tells of.
const MOST_PIXELS_PER_BYTE: usize = 8 * 64;

/// The files of one scan.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanFiles {
    /// `NAME_pc.npz`: an array `[points, 6]`, places in meters and colors.
    pub points: PathBuf,
    /// `NAME_bbox.npy`: an array `[boxes, 8]`, middle, half sizes, heading, class.
    pub boxes: PathBuf,
    /// `calib/NAME.txt`: two lines of nine numbers, the tilt of the camera and its intrinsics, column after column.
    pub camera: PathBuf,
    /// `image/NAME.jpg`.
    pub image: PathBuf,
    /// `NAME.txt`: a line for each box found in the image, with the name of its class first, its edges in fields 5 to 8, and its score last.
    pub found: PathBuf,
}

impl ScanFiles {
    /// Those of a scan by its name, such as `000001`: points and boxes in one folder, what was found in the image in another, `calib` and
    /// `image` in a third.
    pub fn of(name: &str, prepared: &Path, found: &Path, raw: &Path) -> Self {
        Self {
            points: prepared.join(format!("{name}{POINTS}")),
            boxes: prepared.join(format!("{name}_bbox.npy")),
            camera: raw.join("calib").join(format!("{name}.txt")),
            image: raw.join("image").join(format!("{name}.jpg")),
            found: found.join(format!("{name}.txt")),
        }
    }

    /// Reads the scan, with so many of its points at random: each once, where there are enough.
    ///
    /// Files of votes are not read: [true votes](crate::detection::true_votes()) follow from the boxes.
    ///
    /// # Errors
    /// [`DataError`], which names the file, and the row or the line.
    pub fn read(
        &self,
        classes: &[impl AsRef<str>],
        points: usize,
        rng: &mut impl Rng,
    ) -> Result<Scene, DataError> {
        Ok(Scene {
            boxes: self.read_boxes(classes.len())?,
            ..self.read_unlabeled(classes, points, rng)?
        })
    }

    /// The same without boxes, whose file need not be there.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub fn read_unlabeled(
        &self,
        classes: &[impl AsRef<str>],
        points: usize,
        rng: &mut impl Rng,
    ) -> Result<Scene, DataError> {
        let all = rows::<6>(&self.points)?;
        if all.is_empty() {
            return Err(invalid(
                &self.points,
                "found no point, expected one at least",
            ));
        }
        let all: Vec<[f64; 3]> = all.iter().map(|&[x, y, z, ..]| [x, y, z]).collect();
        let chosen: Vec<usize> = match points <= all.len() {
            true => index::sample(rng, all.len(), points).into_vec(),
            false => (0..points).map(|_| rng.gen_range(0..all.len())).collect(),
        };
        let (floor, image) = (floor(&all), Image::read(&self.image)?);
        let camera = read_camera(&self.camera)?;
        let points: Vec<[f64; 3]> = chosen.iter().map(|&point| all[point]).collect();
        Ok(Scene {
            heights: points.iter().map(|point| point[2] - floor).collect(),
            colors: points
                .iter()
                .map(|&point| image.color(&camera, point))
                .collect(),
            camera,
            found: read_found(&self.found, classes)?,
            boxes: Vec::new(),
            points,
        })
    }

    fn read_boxes(&self, classes: usize) -> Result<Vec<(OrientedBox, usize)>, DataError> {
        let rows = rows::<8>(&self.boxes)?.into_iter().enumerate();
        let shape = |(row, [x, y, z, l, w, h, heading, class]): (usize, [f64; 8])| {
            if !(class >= 0.0 && class.fract() == 0.0 && class < classes as f64) {
                let problem = format!(
                    "found the class {class} in row {}, expected one below {classes}",
                    row + 1
                );
                return Err(invalid(&self.boxes, &problem));
            }
            let halves = [l, w, h];
            if halves.iter().any(|&half| half < 0.0) {
                let problem = format!(
                    "found the half sizes {halves:?} in row {}, expected none below 0",
                    row + 1
                );
                return Err(invalid(&self.boxes, &problem));
            }
            let shape = OrientedBox {
                center: [x, y, z],
                size: halves.map(|half| 2.0 * half),
                heading,
            };
            Ok((shape, class as usize))
        };
        rows.map(shape).collect()
    }
}

/// Names of the scans whose points are in a folder, in alphabetical order.
///
/// # Errors
/// [`DataError::Unreadable`] for a folder that cannot be read, and [`DataError::InvalidArray`] if no scan is there.
pub fn scans_in(folder: &Path) -> Result<Vec<String>, DataError> {
    let unreadable = |source| DataError::Unreadable {
        file: folder.display().to_string(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        names.extend(
            name.to_str()
                .and_then(|name| name.strip_suffix(POINTS))
                .map(str::to_owned),
        );
    }
    names.sort();
    match names.is_empty() {
        true => Err(invalid(
            folder,
            &format!("found no scan, expected files NAME{POINTS}"),
        )),
        false => Ok(names),
    }
}

fn invalid(file: &Path, problem: &str) -> DataError {
    DataError::InvalidArray {
        file: file.display().to_string(),
        problem: problem.to_owned(),
    }
}

/// The rows of an array of finite numbers, N in each; none is allowed.
fn rows<const N: usize>(file: &Path) -> Result<Vec<[f64; N]>, DataError> {
    let (shape, values) = files::read_array(file)?;
    if shape.len() != 2 || shape[1] != N {
        return Err(invalid(
            file,
            &format!("found shape {shape:?}, expected rows of {N} numbers"),
        ));
    }
    if let Some(place) = values.iter().position(|value| !value.is_finite()) {
        return Err(DataError::NotFinite {
            file: file.display().to_string(),
            row: place / N + 1,
            column: place % N + 1,
            value: values[place],
        });
    }
    let rows = values.chunks_exact(N);
    Ok(rows
        .map(|row| std::array::from_fn(|column| row[column]))
        .collect())
}

fn text(file: &Path) -> Result<String, DataError> {
    fs::read_to_string(file).map_err(|source| DataError::Unreadable {
        file: file.display().to_string(),
        source,
    })
}

/// The error for a line, from 1, of a text file.
fn line(file: &Path, line: usize, found: &str, expected: &str) -> DataError {
    invalid(
        file,
        &format!("line {line}: found {found:?}, expected {expected}"),
    )
}

fn read_camera(file: &Path) -> Result<Camera, DataError> {
    let text = text(file)?;
    let mut matrices = Vec::with_capacity(2);
    for number in 0..2 {
        let own = text.lines().nth(number).unwrap_or_default();
        let numbers: Result<Vec<f64>, _> = own.split_whitespace().map(str::parse).collect();
        let numbers = numbers
            .ok()
            .filter(|all| all.iter().all(|number| number.is_finite()));
        let matrix: Option<[f64; 9]> = numbers.and_then(|numbers| numbers.try_into().ok());
        let expected = "nine numbers with blanks between";
        matrices.push(matrix.ok_or_else(|| line(file, number + 1, own, expected))?);
    }
    let [focal_u, focal_v] = [matrices[1][0], matrices[1][4]];
    if focal_u <= 0.0 || focal_v <= 0.0 {
        let own = text.lines().nth(1).unwrap_or_default();
        let expected = "focal lengths, the first and the fifth number, above 0";
        return Err(line(file, 2, own, expected));
    }
    Ok(Camera::from_columns(matrices[0], matrices[1]))
}

fn read_found(file: &Path, classes: &[impl AsRef<str>]) -> Result<Vec<ImageBox>, DataError> {
    let mut found = Vec::new();
    for (number, own) in (1..).zip(text(file)?.lines()) {
        let fields: Vec<&str> = own.split_whitespace().collect();
        if fields.is_empty() {
            continue;
        }
        let numbers = |fields: &[&str]| -> Option<Vec<f64>> {
            let each = fields.iter().map(|field| field.parse().ok());
            each.map(|number| number.filter(|number: &f64| number.is_finite()))
                .collect()
        };
        let read = match &fields[..] {
            [class, _, _, _, left, top, right, bottom, .., score] => {
                numbers(&[*left, *top, *right, *bottom, *score]).map(|numbers| (*class, numbers))
            }
            _ => None,
        };
        let expected = "a class, and numbers: the edges of a box in fields 5 to 8, its score last";
        let (class, numbers) = read.ok_or_else(|| line(file, number, own, expected))?;
        if numbers[4] < LEAST_SCORE {
            continue;
        }
        let Some(class) = classes.iter().position(|known| known.as_ref() == class) else {
            let known: Vec<&str> = classes.iter().map(AsRef::as_ref).collect();
            return Err(line(
                file,
                number,
                class,
                &format!("one of the classes {}", known.join(", ")),
            ));
        };
        found.push(ImageBox {
            edges: std::array::from_fn(|edge| numbers[edge].max(0.0) as i64),
            class,
            score: numbers[4],
        });
    }
    Ok(found)
}

/// Pixels, row after row, red, green and blue.
struct Image {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Image {
    fn read(file: &Path) -> Result<Self, DataError> {
        let bytes = fs::read(file).map_err(|source| DataError::Unreadable {
            file: file.display().to_string(),
            source,
        })?;
        let damaged = |error| invalid(file, &format!("not a whole JPEG image ({error:?})"));
        let mut decoder = JpegDecoder::new(ZCursor::new(&bytes));
        decoder.decode_headers().map_err(damaged)?;
        let (width, height) = decoder.dimensions().unwrap_or((0, 0));
        if width * height > MOST_PIXELS_PER_BYTE * bytes.len() {
            let problem = format!("not a whole JPEG image: it is to have {width} × {height} pixels, for which the file is too short");
            return Err(invalid(file, &problem));
        }
        let pixels = decoder.decode().map_err(damaged)?;
        match width * height > 0 && pixels.len() == 3 * width * height {
            true => Ok(Self {
                width,
                height,
                pixels,
            }),
            false => Err(invalid(file, "found no image of red, green and blue")),
        }
    }

    /// The color of the pixel of a point, (value − 128) / 255; of what is outside that of the nearest pixel.
    fn color(&self, camera: &Camera, point: [f64; 3]) -> [f64; 3] {
        let at = camera.project(point);
        let place = |pixel: f64, size: usize| (pixel.max(0.0) as usize).min(size - 1);
        let pixel = place(at.v, self.height) * self.width + place(at.u, self.width);
        std::array::from_fn(|channel| (f64::from(self.pixels[3 * pixel + channel]) - 128.0) / 255.0)
    }
}
