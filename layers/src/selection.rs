//! Which column goes where: what windows of images and larger images are made by.

use std::sync::Arc;

use equilibria_core::{Error, Result};

/// A column that is 0: no column is selected.
pub(crate) const NOTHING: u32 = u32::MAX;

/// For each column of a result, the column of the argument that it is, or none, where it is 0. Clones share it.
///
/// A layer makes it once, and its `step` uses it by [`Vocabulary::gather`](crate::Vocabulary::gather) and, the other way,
/// [`Vocabulary::scatter`](crate::Vocabulary::scatter).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    index: Arc<[u32]>,
    from: usize,
    /// Columns of the result that follow one another in the argument as well, or are all 0: as many in every run.
    run: usize,
}

/// A window that is moved over images, whose rows hold pixels one after the other, `[height, width, channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Numbers per pixel.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Side of the square window, in pixels.
    pub side: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Rows and columns of zeros around the image.
    pub padding: usize,
}

impl Window {
    /// Height and width of what windows give one pixel each of; 0 where none fits.
    pub fn outputs(&self) -> [usize; 2] {
        [self.height, self.width].map(|size| {
            let room = (size + 2 * self.padding).checked_sub(self.side);
            room.map_or(0, |room| room / self.stride.max(1) + 1)
        })
    }
}

impl Selection {
    /// The column of the argument, `from` columns wide, for each column of the result; `None` for a 0.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are none, or one is not below `from`.
    pub fn new(from: usize, columns: impl IntoIterator<Item = Option<usize>>) -> Result<Self> {
        let mut index = Vec::new();
        for column in columns {
            let place = match column {
                Some(column) if column >= from => return Err(outside(from, column)),
                Some(column) => u32::try_from(column).ok().filter(|&place| place != NOTHING),
                None => Some(NOTHING),
            };
            index.push(place.ok_or_else(|| outside(NOTHING as usize, from))?);
        }
        match index.is_empty() || from == 0 {
            true => Err(outside(from, 0)),
            false => Ok(Self {
                run: run(&index),
                index: index.into(),
                from,
            }),
        }
    }

    /// The numbers under each position of a window, `[windows, channels, side, side]` (im2col): a product with the weights of a
    /// convolution for each window, `[outputs, channels · side · side]` in PyTorch's order, is the convolution.
    ///
    /// PyTorch's images, `[channels, height, width]`, are `image.tokens(channels).transpose()`.
    ///
    /// # Errors
    /// [`Error::Config`] if the stride is 0; [`Error::Shape`] if no window fits.
    pub fn windows(window: Window) -> Result<Self> {
        let Window {
            channels,
            height,
            width,
            side,
            stride,
            padding,
        } = window;
        Error::require(stride > 0, "window", "stride", "at least 1", stride)?;
        let [rows, columns] = window.outputs();
        let place = move |position: usize| {
            let (window, rest) = (
                position / (channels * side * side),
                position % (channels * side * side),
            );
            let (channel, pixel) = (rest / (side * side), rest % (side * side));
            let row = (window / columns * stride + pixel / side).checked_sub(padding)?;
            let column = (window % columns * stride + pixel % side).checked_sub(padding)?;
            let inside = row < height && column < width;
            inside.then_some((row * width + column) * channels + channel)
        };
        let count = rows * columns * channels * side * side;
        Self::new(height * width * channels, (0..count).map(place))
    }

    /// Each pixel of an image `[height, width, channels]` as a square of `factor` by `factor` pixels: nearest up-sampling.
    ///
    /// # Errors
    /// [`Error::Shape`] if one of them is 0.
    pub fn enlarged([height, width, channels]: [usize; 3], factor: usize) -> Result<Self> {
        let (rows, columns) = (height * factor, width * factor);
        let place = move |position: usize| {
            let (pixel, channel) = (position / channels, position % channels);
            let (row, column) = (pixel / columns / factor, pixel % columns / factor);
            Some((row * width + column) * channels + channel)
        };
        let from = height * width * channels;
        Self::new(from, (0..rows * columns * channels).map(place))
    }

    /// For each query of `[queries, keys]` scores by distance, those of its keys: the score of distance `i + keys − queries − j` for
    /// query i and key j, and 0 where the key comes later. So scores by relative position stand where their keys do.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are no queries, or fewer keys.
    pub fn distances(queries: usize, keys: usize) -> Result<Self> {
        let Some(before) = keys.checked_sub(queries) else {
            return Err(Error::Shape {
                what: "attention by distance".to_owned(),
                expected: "as many keys as queries at least".to_owned(),
                got: format!("{queries} queries, {keys} keys"),
            });
        };
        let place = move |position: usize| {
            let (query, key) = (position / keys, position % keys);
            let distance = (query + before).checked_sub(key)?;
            Some(query * keys + distance)
        };
        Self::new(queries * keys, (0..queries * keys).map(place))
    }

    /// Width of the argument.
    pub fn from(&self) -> usize {
        self.from
    }

    /// Width of the result.
    pub fn to(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn index(&self) -> &[u32] {
        &self.index
    }

    /// Columns that move together: the first of each run, and how many there are in a run.
    pub(crate) fn runs(&self) -> (impl Iterator<Item = u32> + Clone + '_, usize) {
        (self.index.iter().step_by(self.run).copied(), self.run)
    }

    /// The same, to be kept.
    pub(crate) fn shared_index(&self) -> Arc<[u32]> {
        self.index.clone()
    }

    /// The transpose as a sum of selections: in round r, the column of the result that is the r-th to be a column of the argument.
    pub(crate) fn inverse(&self) -> Vec<Vec<u32>> {
        let mut rounds: Vec<Vec<u32>> = Vec::new();
        let mut used = vec![0; self.from];
        for (position, &place) in self.index.iter().enumerate() {
            let Some(used) = used.get_mut(place as usize) else {
                continue;
            };
            if *used == rounds.len() {
                rounds.push(vec![NOTHING; self.from]);
            }
            // A position is below the number of columns, which fits.
            rounds[*used][place as usize] = position as u32;
            *used += 1;
        }
        if rounds.is_empty() {
            rounds.push(vec![NOTHING; self.from]);
        }
        rounds
    }
}

/// The length of the runs that an index is made of, 1 if nothing else.
fn run(index: &[u32]) -> usize {
    let goes_on = |pair: &[u32]| match pair {
        [NOTHING, next] => *next == NOTHING,
        [place, next] => *next == place.wrapping_add(1),
        _ => true,
    };
    let breaks = index.windows(2).enumerate();
    let breaks = breaks.filter(|(_, pair)| !goes_on(pair));
    breaks.fold(index.len(), |run, (before, _)| divisor(run, before + 1))
}

/// The greatest common divisor.
fn divisor(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        _ => divisor(b, a % b),
    }
}

fn outside(from: usize, column: usize) -> Error {
    Error::Shape {
        what: "a selection of columns".to_owned(),
        expected: format!("one column at least, each below {from}"),
        got: format!("column {column}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two channels of 3 × 2 pixels, windows of 2 × 2 pixels, two apart, and one pixel of padding: two rows of two windows.
    #[test]
    fn windows_have_the_order_of_weights() {
        let window = Window {
            channels: 2,
            height: 3,
            width: 2,
            side: 2,
            stride: 2,
            padding: 1,
        };
        assert_eq!(window.outputs(), [2, 2]);
        let windows = Selection::windows(window).expect("they fit");
        let places: Vec<i64> = windows
            .index()
            .iter()
            .map(|&place| if place == NOTHING { -1 } else { place.into() })
            .collect();
        // Pixel (row, column), channel c is number (2 row + column) 2 + c.
        let expected = [
            [-1, -1, -1, 0, -1, -1, -1, 1],
            [-1, -1, 2, -1, -1, -1, 3, -1],
            [-1, 4, -1, 8, -1, 5, -1, 9],
            [6, -1, 10, -1, 7, -1, 11, -1],
        ];
        assert_eq!(places, expected.concat());
    }

    /// Runs of two channels, of a row of pixels and of one number.
    #[test]
    fn runs_are_as_long_as_all_of_them_allow() {
        let runs = |places: &[Option<usize>]| {
            let selection = Selection::new(9, places.iter().copied()).expect("below 9");
            let (starts, run) = selection.runs();
            (starts.collect::<Vec<_>>(), run)
        };
        let some = |places: &[usize]| places.iter().map(|&place| Some(place)).collect::<Vec<_>>();
        assert_eq!(runs(&some(&[4, 5, 0, 1, 5, 6])), (vec![4, 0, 5], 2));
        assert_eq!(runs(&some(&[3, 4, 5])), (vec![3], 3));
        assert_eq!(runs(&some(&[3, 4, 5, 1])).1, 1);
        assert_eq!(runs(&[None, None, Some(7), Some(8)]), (vec![NOTHING, 7], 2));
        assert_eq!(runs(&[None, Some(0), Some(1), Some(2)]).1, 1);
    }

    #[test]
    fn enlarged_pixels_are_squares() {
        let enlarged = Selection::enlarged([1, 2, 1], 2).expect("an image");
        assert_eq!(enlarged.index(), [0, 0, 1, 1, 0, 0, 1, 1]);
        assert_eq!(enlarged.inverse().len(), 4);
    }

    #[test]
    fn distances_are_counted_back_from_the_query() {
        let distances = Selection::distances(2, 3).expect("more keys");
        // Query 0 is behind key 1.
        assert_eq!(distances.index(), [1, 0, NOTHING, 5, 4, 3]);
        assert!(Selection::distances(3, 2).is_err());
    }

    #[test]
    fn columns_outside_are_refused() {
        for columns in [vec![], vec![Some(3)]] {
            let error = Selection::new(3, columns).err();
            assert!(matches!(error, Some(Error::Shape { .. })));
        }
        assert!(Selection::enlarged([2, 2, 1], 0).is_err());
    }
}
