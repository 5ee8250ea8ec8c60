//! Cells of text files: numbers, and what other cells probably are.

/// How a missing value is written, in lower case. (`NaN` reads as a number.)
const MISSING: [&str; 9] = ["", "na", "n/a", "#n/a", "<na>", "null", "none", "nat", "?"];

/// What may stand around a number that is meant to be quoted; spreadsheets put `=` in front.
const QUOTES: [char; 6] = ['"', '\'', '=', '“', '”', '’'];

/// Characters of a cell that an error shows at most; an open quote makes the rest of a file one cell.
const SHOWN: usize = 60;

/// What a cell that is no number probably is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    /// Several cells with another character between them than a comma.
    Separator(char),
    /// A number in quotes that are none of CSV files.
    Quotes,
    /// A number with a comma as decimal mark.
    DecimalComma,
    /// True or False.
    Truth,
    /// A value that is missing.
    Missing,
    /// Some text.
    Name,
}

impl Oddity {
    /// Looks at a cell that is no number; `alone` tells that it is the only one of its row.
    pub fn of(cell: &str, alone: bool) -> Self {
        let all_numbers = |separator| {
            let mut pieces = cell.split(separator).map(str::trim);
            pieces.all(|piece| piece.is_empty() || piece.parse::<f64>().is_ok())
        };
        for separator in [';', '\t', '|', ' '] {
            let between = cell.contains(separator);
            if between && (all_numbers(separator) || alone && [';', '\t'].contains(&separator)) {
                return Self::Separator(separator);
            }
        }
        let is_number = |text: &str| text.parse::<f64>().is_ok();
        if is_number(cell.trim_matches(QUOTES)) {
            return Self::Quotes;
        }
        if is_number(&cell.replacen(',', ".", 1)) {
            return Self::DecimalComma;
        }
        let cell = cell.to_lowercase();
        match cell.as_str() {
            "true" | "false" => Self::Truth,
            cell if MISSING.contains(&cell) => Self::Missing,
            _ => Self::Name,
        }
    }

    /// What it is, and what to do about it.
    pub fn remedy(self) -> String {
        match self {
            Self::Separator(separator) => {
                let name = match separator {
                    '\t' => "tabs".to_owned(),
                    ' ' => "spaces".to_owned(),
                    other => format!("{other:?}"),
                };
                format!(
                    "its numbers are separated by {name}; separate them by commas, with a point as decimal mark: \
                     `df.to_csv(sep=\",\", decimal=\".\")`, `numpy.savetxt(delimiter=\",\")`"
                )
            }
            Self::Quotes => {
                "the number is in quotes; write it without: `df.astype(float).to_csv()`".to_owned()
            }
            Self::DecimalComma => {
                "its decimal mark is a comma; write a point: `df.to_csv(decimal=\".\")`".to_owned()
            }
            Self::Truth => {
                "this is a truth value; write 1 for True and 0 for False: `df.astype(int)`".to_owned()
            }
            Self::Missing => {
                "this is a missing value; impute it or drop its row or column".to_owned()
            }
            Self::Name => {
                "this is text; columns of names are no features: move the names of samples to K_tr_ids.csv, and replace \
                 categories by numbers (`pandas.get_dummies(df, dtype=int)`)"
                    .to_owned()
            }
        }
    }
}

/// The number of 0, 1, 2, … that a cell holds, however it is written: `2`, `2.0`, `2e0`.
pub(super) fn whole(cell: &str) -> Option<usize> {
    if let Ok(number) = cell.parse() {
        return Some(number);
    }
    let number: f64 = cell.parse().ok()?;
    // What is beyond `usize` becomes its largest number, which is no class either.
    (number >= 0.0 && number.fract() == 0.0).then_some(number as usize)
}

/// A cell as an error shows it.
pub(super) fn shown(cell: &str) -> String {
    match cell.char_indices().nth(SHOWN) {
        None => cell.to_owned(),
        Some((end, _)) => format!("{}…", &cell[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_however_they_are_written() {
        for two in ["2", "2.0", "2.000000000000000000e+00", "+2", "0.2e1", "2."] {
            assert_eq!(whole(two), Some(2), "{two}");
        }
        for other in ["1.5", "-1", "cat", "", "nan", "inf", "1,0", "2.0000001"] {
            assert_eq!(whole(other), None, "{other}");
        }
    }

    #[test]
    fn cells_that_are_no_numbers_are_told_apart() {
        for (cell, alone, expected) in [
            ("1;2", false, Oddity::Separator(';')),
            ("5;1", true, Oddity::Separator(';')),
            ("a;b", true, Oddity::Separator(';')),
            ("1.0e+00\t2.0e+00", true, Oddity::Separator('\t')),
            ("1.0 2.0  3.0", true, Oddity::Separator(' ')),
            ("a;b", false, Oddity::Name),
            ("blood pressure", true, Oddity::Name),
            ("'1.5'", false, Oddity::Quotes),
            ("\"2\"", true, Oddity::Quotes),
            ("0,5", false, Oddity::DecimalComma),
            ("TRUE", false, Oddity::Truth),
            ("", false, Oddity::Missing),
            ("<NA>", true, Oddity::Missing),
            ("TCGA-3C-AAAU", false, Oddity::Name),
        ] {
            assert_eq!(Oddity::of(cell, alone), expected, "{cell:?}");
        }
    }

    #[test]
    fn long_cells_are_cut() {
        assert_eq!(shown("short"), "short");
        assert_eq!(shown(&"ä".repeat(100)).chars().count(), SHOWN + 1);
    }
}
