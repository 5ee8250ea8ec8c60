//! Class labels as they stand in files: class numbers, 0, 1, 2, …, or in all rows the names of classes.

use super::cell::{shown, whole, Oddity};
use super::DataError;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// Without a list of classes, a label at or above this is taken for a mistake (a sample number, say) rather than for a
/// class to make room for.
const MOST_UNNAMED_CLASSES: usize = 1 << 16;

/// So many unnamed classes are made room for in any case, and beyond them so many for each row: more are numbers of samples.
const FEW_CLASSES: usize = 64;
const MOST_CLASSES_A_ROW: usize = 4;

/// Rows from which on two are of the same class.
const MANY_ROWS: usize = 10;

/// The labels of a file.
pub(super) struct LabelFile<'a> {
    pub path: &'a Path,
    pub cells: Cells,
}

/// Cells of one column: each text once, and which of them stands in each row.
#[derive(Debug, Default)]
pub(super) struct Cells {
    texts: Vec<String>,
    /// By text, its place among these.
    places: HashMap<String, u32>,
    rows: Vec<u32>,
}

impl Cells {
    /// Adds a row. There cannot be as many texts as would not have a place: they would have filled all memory before.
    pub fn push(&mut self, cell: &str) {
        let place = self.places.get(cell).copied().unwrap_or_else(|| {
            let place = self.texts.len() as u32;
            self.texts.push(cell.to_owned());
            self.places.insert(cell.to_owned(), place);
            place
        });
        self.rows.push(place);
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    /// The cells of all rows from one on, counted from 0.
    fn from(&self, row: usize) -> impl Iterator<Item = &String> + Clone {
        let rows = self.rows.get(row..).unwrap_or_default();
        rows.iter().map(|&place| &self.texts[place as usize])
    }

    fn first(&self) -> Option<&String> {
        self.from(0).next()
    }
}

/// The class numbers of a file.
#[derive(Debug)]
pub(super) struct Labels<'a> {
    /// By the place of the text.
    numbers: Vec<usize>,
    rows: &'a [u32],
}

impl Labels<'_> {
    /// One per row.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().map(|&place| self.numbers[place as usize])
    }
}

/// The classes there are.
pub(super) struct Known {
    pub names: Vec<String>,
    /// Where they are listed.
    pub reference: String,
}

/// The class numbers of all files, and the names of the classes. Without a list of classes, these are the numbers up to
/// the largest in the first file, or the names in it, sorted.
///
/// # Errors
/// [`DataError::NotALabel`], [`DataError::LabelOutOfRange`] or [`DataError::UnknownClass`].
pub(super) fn resolve<'a>(
    files: &'a [LabelFile<'_>],
    known: Option<Known>,
) -> Result<(Vec<Labels<'a>>, Vec<String>), DataError> {
    let headers = headers(files, known.as_ref());
    let listed = |cell: &String| {
        known
            .as_ref()
            .is_some_and(|known| known.names.contains(cell))
    };
    for (file, header) in files.iter().zip(&headers) {
        Rows {
            file,
            header: usize::from(*header),
        }
        .single(&listed)?;
    }
    let rows = || {
        files.iter().zip(&headers).map(|(file, header)| Rows {
            file,
            header: usize::from(*header),
        })
    };
    if let (None, Some(first)) = (&known, rows().next()) {
        first.shared()?;
    }
    let all_numbers = rows().all(|rows| rows.cells().all(|cell| whole(cell).is_some()));
    if all_numbers {
        let names = match known {
            Some(known) => known.names,
            None => rows()
                .next()
                .map_or(Ok(Vec::new()), |rows| rows.numbered())?,
        };
        let labels = rows().map(|rows| rows.numbers(names.len()));
        return Ok((labels.collect::<Result<_, _>>()?, names));
    }
    let named = known.as_ref().is_some_and(|known| {
        let listed = |cell: &String| known.names.contains(cell);
        rows().all(|rows| rows.cells().all(listed))
    });
    if !named {
        rows().try_for_each(|rows| rows.without_numbers())?;
    }
    let known = known.unwrap_or_else(|| Known {
        names: rows().next().map_or(Vec::new(), |rows| rows.names()),
        reference: files
            .first()
            .map_or(String::new(), |file| file.path.display().to_string()),
    });
    let numbers: BTreeMap<&str, usize> = known.names.iter().map(String::as_str).zip(0..).collect();
    let labels = rows().map(|rows| rows.by_name(&numbers, &known));
    Ok((labels.collect::<Result<_, _>>()?, known.names.clone()))
}

/// Which files begin with a header: a name above numbers; or above names, where it is no known class or, if none are
/// known, stands nowhere else and heads all files.
fn headers(files: &[LabelFile<'_>], known: Option<&Known>) -> Vec<bool> {
    let is_number = |cell: &String| cell.parse::<f64>().is_ok();
    let first_of_all = |first: &String| {
        files.len() > 1
            && files.iter().all(|file| {
                let (cells, same) = (&file.cells, |cell: &String| cell == first);
                cells.len() > 1 && cells.first().is_some_and(same) && !cells.from(1).any(same)
            })
    };
    let is_header = |file: &LabelFile<'_>| match file.cells.first() {
        Some(first) if file.cells.len() > 1 && !is_number(first) => {
            let mut rest = file.cells.from(1);
            rest.clone().all(is_number)
                || match known {
                    Some(known) => {
                        let listed = |cell: &String| known.names.contains(cell);
                        !listed(first) && rest.all(listed)
                    }
                    None => first_of_all(first),
                }
        }
        _ => false,
    };
    files.iter().map(is_header).collect()
}

/// The rows of a file below its header.
struct Rows<'a> {
    file: &'a LabelFile<'a>,
    /// Lines of the header.
    header: usize,
}

impl<'a> Rows<'a> {
    fn cells(&self) -> impl Iterator<Item = &String> + Clone {
        self.file.cells.from(self.header)
    }

    fn count(&self) -> usize {
        self.file.cells.len() - self.header
    }

    /// The cells with their lines.
    fn lines(&self) -> impl Iterator<Item = (usize, &String)> {
        (self.header + 1..).zip(self.cells())
    }

    fn shown(&self) -> String {
        self.file.path.display().to_string()
    }

    /// The class numbers, of each text that of its first line.
    fn labels(
        &self,
        number: impl Fn(usize, &String) -> Result<usize, DataError>,
    ) -> Result<Labels<'a>, DataError> {
        let cells = &self.file.cells;
        let mut numbers = vec![None; cells.texts.len()];
        for (index, &place) in cells.rows.iter().enumerate().skip(self.header) {
            let own = &mut numbers[place as usize];
            if own.is_none() {
                *own = Some(number(index + 1, &cells.texts[place as usize])?);
            }
        }
        Ok(Labels {
            numbers: numbers.into_iter().map(Option::unwrap_or_default).collect(),
            rows: cells.rows.get(self.header..).unwrap_or_default(),
        })
    }

    /// The class numbers, all of them below `classes`.
    fn numbers(&self, classes: usize) -> Result<Labels<'a>, DataError> {
        self.labels(|row, cell| {
            let label = whole(cell).ok_or_else(|| self.not_a_label(row, cell))?;
            match label < classes {
                true => Ok(label),
                false => Err(DataError::LabelOutOfRange {
                    file: self.shown(),
                    row,
                    label,
                    classes,
                }),
            }
        })
    }

    /// The names of classes that have none, up to the largest number.
    fn numbered(&self) -> Result<Vec<String>, DataError> {
        let numbers = self.numbers(MOST_UNNAMED_CLASSES)?;
        let count = numbers.iter().max().map_or(0, |largest| largest + 1);
        if count > FEW_CLASSES.max(MOST_CLASSES_A_ROW * self.count()) {
            let largest = self
                .lines()
                .find(|(_, cell)| whole(cell) == Some(count - 1));
            let (row, cell) = largest.map_or((1, ""), |(row, cell)| (row, cell));
            return Err(DataError::NotALabel {
                file: self.shown(),
                row,
                cell: shown(cell),
                remedy: format!(
                    "{count} classes for {} rows are hardly meant: is this the number of the sample? Give the class of every row, \
                     numbered from 0 without gaps, or list all classes in classes.csv",
                    self.count()
                ),
            });
        }
        Ok((0..count).map(|class| class.to_string()).collect())
    }

    /// All names, sorted, each once.
    fn names(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.cells().collect();
        names.into_iter().cloned().collect()
    }

    /// Refuses several columns in one, and numbers in brackets, which are no names.
    fn single(&self, listed: &impl Fn(&String) -> bool) -> Result<(), DataError> {
        let oddity = |cell: &String| Oddity::of(cell, true);
        let cells = &self.file.cells;
        let separated = |separator| {
            let parted = |cell: &String| {
                let mut pieces = cell.split(separator).map(str::trim);
                pieces.any(|piece| piece.is_empty() || piece.parse::<f64>().is_ok())
            };
            cells.from(0).all(|cell| cell.contains(separator)) && self.cells().any(parted)
        };
        let fault = |cell: &String| match oddity(cell) {
            _ if listed(cell) => false,
            Oddity::Separator('\t') => true,
            Oddity::Separator(';') => separated(';'),
            Oddity::Separator(_) | Oddity::Brackets => true,
            _ => false,
        };
        match (1..).zip(cells.from(0)).find(|(_, cell)| fault(cell)) {
            None => Ok(()),
            Some((row, cell)) => Err(DataError::NotALabel {
                file: self.shown(),
                row,
                cell: shown(cell),
                remedy: match oddity(cell) {
                    Oddity::Brackets => "the number is in brackets, as lists and tensors are printed; write it alone: \
                                         `numpy.savetxt(file, y, fmt=\"%d\")`"
                        .to_owned(),
                    _ => "there are several columns, or a separator at the end of the line; write one class per line and nothing \
                          else: `y.to_csv(index=False, header=False)`"
                        .to_owned(),
                },
            }),
        }
    }

    /// Refuses names of which each stands in one row only: these name the samples.
    fn shared(&self) -> Result<(), DataError> {
        let cells = &self.file.cells;
        let (different, rows) = (cells.texts.len(), cells.len());
        let names = !cells.texts.iter().any(|cell| whole(cell).is_some());
        if different < rows || rows < MANY_ROWS || !names {
            return Ok(());
        }
        Err(DataError::NotALabel {
            file: self.shown(),
            row: 1,
            cell: shown(&cells.texts[0]),
            remedy: "no two rows have the same class, as if these were the samples: their names belong into K_tr_ids.csv or \
                     samples_tr.csv (if these are classes, list them in classes.csv)"
                .to_owned(),
        })
    }

    /// Refuses numbers among names, since a class number with a typing error is no class of its own, and missing values.
    fn without_numbers(&self) -> Result<(), DataError> {
        let is_number = |cell: &String| cell.parse::<f64>().is_ok();
        let numbers = self.cells().filter(|cell| is_number(cell)).count();
        let special = |cell: &String| cell.parse::<f64>().is_ok_and(|number| !number.is_finite());
        let some_special = self.cells().any(special);
        let odd = |cell: &String| match numbers {
            // What reads as nan or inf is a name, or a missing value, among names.
            _ if some_special => special(cell),
            0 => Oddity::of(cell, true) == Oddity::Missing,
            // What there is less of is at fault.
            few if 2 * few < self.count() => is_number(cell),
            _ => whole(cell).is_none(),
        };
        match self.lines().find(|(_, cell)| odd(cell)) {
            None => Ok(()),
            Some((row, cell)) => Err(self.not_a_label(row, cell)),
        }
    }

    fn by_name(
        &self,
        numbers: &BTreeMap<&str, usize>,
        known: &Known,
    ) -> Result<Labels<'a>, DataError> {
        self.labels(|row, cell| {
            let number = numbers.get(cell.as_str()).copied();
            number.ok_or_else(|| DataError::UnknownClass {
                file: self.shown(),
                row,
                cell: shown(cell),
                classes: shown(&known.names.join(", ")),
                reference: known.reference.clone(),
            })
        })
    }

    fn not_a_label(&self, row: usize, cell: &str) -> DataError {
        let number = cell.parse::<f64>();
        let mut others = self.file.cells.from(1);
        let remedy = match Oddity::of(cell, true) {
            _ if number.as_ref().is_ok_and(|number| !number.is_finite()) => {
                "it reads as no finite number or a missing value; give the sample a class or drop it, and if it is the name of a \
                 class, call the class otherwise"
            }
            Oddity::Missing => {
                "it counts as a missing value, as NA, null and None do; give the sample a class or drop it, and if it is the \
                 name of a class, call the class otherwise"
            }
            _ if row == 1 && number.is_ok() && others.all(|cell| cell.parse::<f64>().is_err()) => {
                "it stands above names, as the number of an unnamed column that pandas writes; write the classes alone: \
                 `y.to_csv(index=False, header=False)`"
            }
            _ => {
                "number the classes before splitting, e.g. `pandas.factorize(y, sort=True)[0]`, or write the name of the class \
                 in every row"
            }
        };
        DataError::NotALabel {
            file: self.shown(),
            row,
            cell: shown(cell),
            remedy: remedy.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(
        files: &[&[&str]],
        known: Option<&[&str]>,
    ) -> Result<(Vec<Vec<usize>>, Vec<String>), DataError> {
        let owned = |cells: &[&str]| cells.iter().map(|cell| cell.to_string()).collect();
        let column = |cells: &[&str]| {
            let mut column = Cells::default();
            cells.iter().for_each(|cell| column.push(cell));
            column
        };
        let files = files.iter().zip(["labels_tr.csv", "labels_te.csv"]);
        let files: Vec<_> = files
            .map(|(cells, path)| LabelFile {
                path: Path::new(path),
                cells: column(cells),
            })
            .collect();
        let known = known.map(|names| Known {
            names: owned(names),
            reference: "classes.csv".to_owned(),
        });
        let (labels, names) = resolve(&files, known)?;
        Ok((
            labels.iter().map(|own| own.iter().collect()).collect(),
            names,
        ))
    }

    #[test]
    fn numbers_count_the_classes_however_they_are_written() {
        let (labels, names) = resolved(&[&["1.0", "0", "2e0"], &["0.0"]], None).expect("numbers");
        assert_eq!(labels, [vec![1, 0, 2], vec![0]]);
        assert_eq!(names, ["0", "1", "2"]);
        // A known list stays as it is: its names may be numbers, too.
        let (labels, names) = resolved(&[&["1", "0"]], Some(&["10", "20"])).expect("numbers");
        assert_eq!((labels, names.len()), (vec![vec![1, 0]], 2));
    }

    #[test]
    fn names_are_sorted_or_listed() {
        let files: [&[&str]; 2] = [&["dog", "cat", "dog"], &["cat"]];
        let (labels, names) = resolved(&files, None).expect("names");
        assert_eq!(labels, [vec![1, 0, 1], vec![0]]);
        assert_eq!(names, ["cat", "dog"]);
        let (labels, _) = resolved(&files, Some(&["dog", "cow", "cat"])).expect("names");
        assert_eq!(labels, [vec![0, 2, 0], vec![2]]);
    }

    #[test]
    fn headers_are_no_labels() {
        let (labels, _) = resolved(&[&["y", "1", "0"], &["0"]], None).expect("numbers");
        assert_eq!(labels, [vec![1, 0], vec![0]]);
        let (labels, names) =
            resolved(&[&["kind", "a", "b"], &["kind", "b"]], None).expect("names");
        assert_eq!((labels, names.len()), (vec![vec![0, 1], vec![1]], 2));
        let (labels, _) = resolved(&[&["kind", "b"]], Some(&["a", "b"])).expect("names");
        assert_eq!(labels, [vec![1]]);
    }

    #[test]
    fn what_is_neither_is_located() {
        for (train, test, message) in [
            (
                &["0", "1.5"][..],
                &["0"][..],
                "labels_tr.csv, row 2, column 1: found \"1.5\"",
            ),
            (
                &["0", "cat", "1"],
                &["0"],
                "labels_tr.csv, row 2, column 1: found \"cat\"",
            ),
            (
                &["0", "a", "b"],
                &["0"],
                "labels_tr.csv, row 1, column 1: found \"0\"",
            ),
            (
                &["a", "NA", "b"],
                &["a"],
                "labels_tr.csv, row 2, column 1: found \"NA\"",
            ),
            (
                &["a", "b"],
                &["a", "0.5"],
                "labels_te.csv, row 2, column 1: found \"0.5\"",
            ),
            (
                &["a", "b"],
                &["b", "c"],
                "labels_te.csv, row 2, column 1: found the class \"c\"",
            ),
            (
                &["a", "b"],
                &["0", "1"],
                "labels_te.csv, row 1, column 1: found the class \"0\"",
            ),
            (
                &["0", "1"],
                &["2"],
                "labels_te.csv, row 1, column 1: found label 2",
            ),
        ] {
            let error = resolved(&[train, test], None)
                .expect_err("faulty")
                .to_string();
            assert!(error.contains(message), "{error}");
        }
        let error = resolved(&[&["a", "x"]], Some(&["a", "b"]))
            .expect_err("faulty")
            .to_string();
        assert!(
            error.contains("expected one of a, b, as in classes.csv"),
            "{error}"
        );
    }
}
