//! Cells of text files: numbers, and what other cells probably are.

/// How a missing value is written, in lower case. (`NaN` reads as a number.)
const MISSING: [&str; 9] = ["", "na", "n/a", "#n/a", "<na>", "null", "none", "nat", "?"];

/// How spreadsheets and lists by hand write what is missing, in lower case; these may be names as well.
const UNKNOWN: [&str; 12] = [
    ".", "-", "--", "–", "—", "n.a.", "#div/0!", "#value!", "#ref!", "#num!", "#name?", "#null!",
];

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
    /// A number whose one comma stands before three digits: a decimal mark, or between thousands.
    Comma,
    /// A number with marks between thousands.
    Thousands,
    /// A number of percents.
    Percent,
    /// A number whose power of ten is written with D, as Fortran does.
    Exponent,
    /// A number with another minus sign than that of ASCII.
    Minus,
    /// A number in brackets, as lists and tensors are printed.
    Brackets,
    /// True or False.
    Truth,
    /// A value that is missing.
    Missing,
    /// A mark in place of a value, or the error of a spreadsheet.
    Unknown,
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
        if !alone && cell.contains(' ') && has_thousands(cell) {
            return Self::Thousands;
        }
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
            return match has_thousands(cell) {
                true => Self::Comma,
                false => Self::DecimalComma,
            };
        }
        if has_thousands(cell) {
            return Self::Thousands;
        }
        if cell
            .strip_suffix(['%', '‰'])
            .is_some_and(|cell| is_number(cell.trim()))
        {
            return Self::Percent;
        }
        if is_number(&cell.replace(['−', '–', '‐', '﹣', '－'], "-")) {
            return Self::Minus;
        }
        if is_number(&cell.replace(['D', 'd'], "e")) {
            return Self::Exponent;
        }
        if is_bracketed(cell) {
            return Self::Brackets;
        }
        let cell = cell.to_lowercase();
        match cell.as_str() {
            "true" | "false" => Self::Truth,
            cell if MISSING.contains(&cell) => Self::Missing,
            cell if UNKNOWN.contains(&cell) => Self::Unknown,
            _ => Self::Name,
        }
    }

    /// Whether it may be the name of a column: one may be called 25%, 2D10 or [2].
    pub fn is_name(self) -> bool {
        matches!(
            self,
            Self::Name | Self::Percent | Self::Exponent | Self::Brackets | Self::Unknown
        )
    }

    /// What it is in a list of numbers to predict, and what to do about it.
    pub fn remedy_for_targets(self) -> String {
        match self {
            Self::Name => {
                "this is text; write one number per line, or, if these are the names of classes, call the files labels_tr and \
                 labels_te"
                    .to_owned()
            }
            Self::Missing | Self::Unknown => {
                "this is a missing value; drop the sample, in all files".to_owned()
            }
            other => other.remedy(),
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
            Self::Comma => {
                "its comma is a decimal mark or separates thousands; write a point as decimal mark, and nothing between thousands: \
                 `pandas.read_csv(decimal=\",\")` or `pandas.read_csv(thousands=\",\")`, then `df.to_csv()`"
                    .to_owned()
            }
            Self::Thousands => {
                "it has marks between thousands; write its digits alone: `pandas.read_csv(thousands=\",\")`, then `df.to_csv()`"
                    .to_owned()
            }
            Self::Percent => {
                "this is a percentage; write the number alone, without the percent sign, and all numbers of the column in the \
                 same unit"
                    .to_owned()
            }
            Self::Exponent => {
                "its power of ten is written with D, as Fortran does; write an E, 1.5E+00".to_owned()
            }
            Self::Minus => {
                "its minus sign is none of ASCII; write a hyphen in front of the number".to_owned()
            }
            Self::Brackets => {
                "the number is in brackets, as lists and tensors are printed; write it alone: `numpy.savetxt(file, x, delimiter=\",\")`, \
                 `tensor.tolist()`"
                    .to_owned()
            }
            Self::Truth => {
                "this is a truth value; write 1 for True and 0 for False: `df.astype(int)`".to_owned()
            }
            Self::Missing | Self::Unknown => {
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

/// Whether it is a number in brackets, as `[2]`, `tensor(2.)` or `np.int64(2)`.
fn is_bracketed(cell: &str) -> bool {
    let Some((front, inner)) = cell.split_once(['(', '[']) else {
        return false;
    };
    let printed = ["", "tensor", "array"].contains(&front)
        || front.starts_with("np.")
        || front.starts_with("numpy.");
    let inner = inner.trim_start_matches(['(', '[']);
    let number = inner.trim_end_matches([')', ']']);
    printed && number.len() < inner.len() && number.trim().parse::<f64>().is_ok()
}

/// Whether marks stand before groups of three digits, which may end in decimals.
fn has_thousands(cell: &str) -> bool {
    let number = cell.trim_start_matches(['+', '-']);
    [',', '.', '\'', '’', '_', ' ', '\u{a0}', '\u{202f}']
        .into_iter()
        .any(|mark| {
            let decimal = if mark == '.' { ',' } else { '.' };
            let whole =
                number
                    .split_once(decimal)
                    .map_or(number, |(whole, decimals)| {
                        match decimals.bytes().all(|byte| byte.is_ascii_digit()) {
                            true => whole,
                            false => "",
                        }
                    });
            // A point alone is a decimal mark.
            let several = mark != '.' || whole.matches('.').count() > 1 || number.contains(',');
            let mut groups = whole.split(mark);
            let digits =
                |group: &str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
            let first = groups
                .next()
                .is_some_and(|group| group.len() <= 3 && digits(group));
            let mut others = groups.peekable();
            several
                && first
                && others.peek().is_some()
                && others.all(|group| group.len() == 3 && digits(group))
        })
}

/// The number of 0, 1, 2, … that a cell holds, however it is written: `2`, `2.0`, `2e0`.
pub(super) fn whole(cell: &str) -> Option<usize> {
    if let Ok(number) = cell.parse() {
        return Some(number);
    }
    let number: f64 = cell.parse().ok()?;
    // Not what is beyond `usize`, of which the largest number would be told.
    (number >= 0.0 && number.fract() == 0.0 && number < usize::MAX as f64)
        .then_some(number as usize)
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
            ("1234,567", false, Oddity::DecimalComma),
            ("1,234", false, Oddity::Comma),
            ("1,234.5", false, Oddity::Thousands),
            ("1,234,567", true, Oddity::Thousands),
            ("-1.234,5", false, Oddity::Thousands),
            ("1.234.567", false, Oddity::Thousands),
            ("1'234.5", false, Oddity::Thousands),
            ("1 234.5", false, Oddity::Thousands),
            ("1_234.5", false, Oddity::Thousands),
            ("12%", false, Oddity::Percent),
            ("12.5 %", true, Oddity::Percent),
            ("\u{2212}1.5", false, Oddity::Minus),
            ("1.5D+00", false, Oddity::Exponent),
            ("[2]", true, Oddity::Brackets),
            ("tensor(2)", true, Oddity::Brackets),
            ("np.float64(1.5)", false, Oddity::Brackets),
            ("stage (2)", true, Oddity::Name),
            ("#DIV/0!", false, Oddity::Unknown),
            (".", false, Oddity::Unknown),
            ("-", false, Oddity::Unknown),
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
