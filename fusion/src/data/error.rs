//! What can be wrong with a data set, said so that it can be put right.

use super::cell::shown;
use super::files::why_unreadable;
use super::{BoxesError, IdsError, QuestionsError, SizeError, SplitName, StreamError, TargetKind};
use std::io;

/// A data set that cannot be used.
///
/// Rows and columns are counted from 1, as in a spreadsheet. `file` is a path
/// for a folder, `origin [array]` for a bundle, and the name of the data set
/// with the modality for one built in memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The path given for a data set is not a folder.
    #[error("{path}: there is no such folder; give the folder that holds 1_tr.csv, 1_te.csv, labels_tr.csv and labels_te.csv")]
    NoFolder {
        /// The path as it was given.
        path: String,
    },

    /// A file that the rest of the folder calls for is not there.
    #[error("{file} is missing: {reason}; add the file")]
    MissingFile {
        /// The file that was looked for.
        file: String,
        /// Why it was expected, and what else would do.
        reason: String,
    },

    /// A modality file lies outside the numbering of the folder.
    #[error("{file}: expected the modalities to be numbered from 1 to {count}; renumber the file, list its modality in modalities.csv, or remove it")]
    UnexpectedModality {
        /// The file that does not belong.
        file: String,
        /// How many modalities the folder has.
        count: usize,
    },

    /// A selection of modalities names one that is not there, one twice, or none.
    #[error(
        "`modalities = {selection:?}`: expected different numbers from 1 to {count}, at least one"
    )]
    Selection {
        /// The numbers asked for.
        selection: Vec<usize>,
        /// How many modalities the data set has.
        count: usize,
    },

    /// A size that is out of its range.
    #[error(transparent)]
    Size(#[from] SizeError),

    /// A row of a file of graphs that is not what the format has there.
    #[error("{file}, row {row}: expected {expected}")]
    Graph {
        /// The file with the row.
        file: String,
        /// The row, from 1.
        row: usize,
        /// What the format has there.
        expected: &'static str,
    },

    /// A part of a cross-validation that is not there.
    #[error("`fold = {fold}`, `folds = {folds}`: expected 2 parts or more, no more than there are graphs, and one of their numbers from 1")]
    Fold {
        /// The part asked for.
        fold: usize,
        /// The number of parts.
        folds: usize,
    },

    /// A graph that does not fit in a row.
    #[error(
        "`nodes = {nodes}`: the largest graph has {largest} nodes; make room for them, or give 0"
    )]
    LargeGraph {
        /// Nodes of the largest graph.
        largest: usize,
        /// Nodes that a row has room for.
        nodes: usize,
    },

    /// The operating system refused a file, or it is not UTF-8 text.
    #[error("{file} could not be read; {}", why_unreadable(source))]
    Unreadable {
        /// The file or folder that could not be read.
        file: String,
        /// What the operating system reported.
        #[source]
        source: io::Error,
    },

    /// A file or array without a single row.
    #[error("{file} is empty; expected at least one row")]
    EmptyFile {
        /// The empty file or array.
        file: String,
    },

    /// A blank line with further lines after it.
    #[error("{file}, row {row}: the line is blank; expected one entry per line, so fill it in or delete it")]
    BlankLine {
        /// The file with the blank line.
        file: String,
        /// The blank line, from 1.
        row: usize,
    },

    /// A row whose width differs from the first row of its file.
    #[error("{file}, row {row}: found {found} columns, expected {expected} as in row 1; give every row the same number of comma-separated cells")]
    RaggedRow {
        /// The file with the ragged row.
        file: String,
        /// The ragged row, from 1.
        row: usize,
        /// Columns of row 1.
        expected: usize,
        /// Columns of this row.
        found: usize,
    },

    /// A cell that does not read as a number.
    #[error("{file}, row {row}, column {column}: found {cell:?}, expected a number such as 0.25; {remedy}")]
    NotANumber {
        /// The file with the cell.
        file: String,
        /// Row of the cell, from 1.
        row: usize,
        /// Column of the cell, from 1.
        column: usize,
        /// The text of the cell.
        cell: String,
        /// What it probably is, and what to do about it.
        remedy: String,
    },

    /// A first line that is neither a sample nor the names of the columns.
    #[error("{file}, row 1, column {column}: {problem}")]
    Header {
        /// The file with the line.
        file: String,
        /// Column at fault, from 1.
        column: usize,
        /// What is wrong with it, and what to do about it.
        problem: String,
    },

    /// A name in the header of a table that differs from the name its column has elsewhere.
    #[error("{file}, row 1, column {column}: found the feature {name:?}, expected {expected:?} as in {reference}; use the same features in the same order")]
    FeatureName {
        /// The file with the name.
        file: String,
        /// Column of the name, from 1.
        column: usize,
        /// The name.
        name: String,
        /// What it is compared with.
        reference: String,
        /// The name there.
        expected: String,
    },

    /// A feature in the place of another that a model was trained on.
    #[error("{file}, feature {column}: found {name}, where the model was trained on {expected}; {remedy}")]
    OtherFeature {
        /// The file with the name.
        file: String,
        /// Column of the feature, from 1.
        column: usize,
        /// The name found.
        name: String,
        /// The name in training.
        expected: String,
        /// What to do about it.
        remedy: &'static str,
    },

    /// A modality in the place of another that a model was trained on.
    #[error("{file}: modality {number} is called {name:?} (modalities.csv), where the model was trained on {expected:?}; number the files of the modalities as in training")]
    OtherModality {
        /// A file of the modality.
        file: String,
        /// Number of the modality, from 1.
        number: usize,
        /// The name found.
        name: String,
        /// The name in training.
        expected: String,
    },

    /// A column that numbers the samples, or names them by numbers.
    #[error("{file}, column {column}: {problem}; a row index is no feature: write the table without it, `df.to_csv(index=False, header=False)`, and numbers that identify samples into K_tr_ids.csv, by which rows are aligned (if the column is a feature, {otherwise})")]
    RowIndex {
        /// The file with the column.
        file: String,
        /// The column, from 1.
        column: usize,
        /// What makes it an index.
        problem: String,
        /// What makes it a feature.
        otherwise: String,
    },

    /// Names of samples that do not fit.
    #[error(transparent)]
    Ids(#[from] IdsError),

    /// A file that is meant for the folder, but cannot be read.
    #[error("{file} is there, but {stem} may end in {known} only; {remedy}")]
    OtherEnding {
        /// The file found.
        file: String,
        /// The name it should have, without ending.
        stem: String,
        /// The endings that are read.
        known: String,
        /// What to do about it.
        remedy: String,
    },

    /// A file that is meant for the folder, but has a name that is not read.
    #[error("{file} is there, but a file of this name is not read; {remedy}")]
    OtherName {
        /// The file found.
        file: String,
        /// What to do about it.
        remedy: String,
    },

    /// A list whose lines are not what they should be.
    #[error("{file}, row {row}: {problem}")]
    List {
        /// The list.
        file: String,
        /// The line, from 1.
        row: usize,
        /// What is wrong with it, and what to do about it.
        problem: String,
    },

    /// A number beyond those of the dtype of the model.
    #[error("{file}, row {row}, column {column}: found {value:e}, {problem}; correct the value, change its unit, or set `dtype = \"f64\"` if it is right")]
    OutOfRange {
        /// The file or array with the value.
        file: String,
        /// Row of the value, from 1.
        row: usize,
        /// Column of the value, from 1.
        column: usize,
        /// The value found.
        value: f64,
        /// What of it is beyond the numbers of which dtype.
        problem: String,
    },

    /// Class names of which one would be confused with another, or with a heading of predictions.
    #[error(
        "{file}: found the class or label {name:?} {problem}; give every class a name of its own"
    )]
    ClassName {
        /// Where the names come from.
        file: String,
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },

    /// A class that is not among those known.
    #[error("{file}, row {row}, column 1: found the class {cell:?}, expected one of {classes}, as in {reference}; correct it, or add the class there")]
    UnknownClass {
        /// The file with the label.
        file: String,
        /// Row of the label, from 1.
        row: usize,
        /// The text found.
        cell: String,
        /// The classes there are.
        classes: String,
        /// Where they come from.
        reference: String,
    },

    /// Data with other classes than those a model was trained on.
    #[error("{file}: the model was trained on the classes {expected}, the data has {found}; use the same classes in the same order")]
    OtherClasses {
        /// Where the classes come from.
        file: String,
        /// Those of the data.
        found: String,
        /// Those of the model.
        expected: String,
    },

    /// A NaN or an infinity.
    #[error("{file}, row {row}, column {column}: found {value}, expected a finite number; impute the value or drop the row")]
    NotFinite {
        /// The file or array with the value.
        file: String,
        /// Row of the value, from 1.
        row: usize,
        /// Column of the value, from 1.
        column: usize,
        /// The value found.
        value: f64,
    },

    /// A label that is neither a class number, 0, 1, 2, ..., nor the name of a class.
    #[error("{file}, row {row}, column 1: found {cell:?}, expected a class id such as 0, 1 or 2, or in all rows the name of a class; {remedy}")]
    NotALabel {
        /// The file with the label.
        file: String,
        /// Row of the label, from 1.
        row: usize,
        /// The text found.
        cell: String,
        /// What to do about it.
        remedy: String,
    },

    /// A label that names no class.
    #[error("{file}, row {row}, column 1: found label {label}, expected one below {classes}, the number of classes; correct the label or add its class (in a folder, to classes.csv)")]
    LabelOutOfRange {
        /// The file or array with the label.
        file: String,
        /// Row of the label, from 1.
        row: usize,
        /// The label found.
        label: usize,
        /// How many classes there are.
        classes: usize,
    },

    /// The first line of a file of several labels does not name them.
    #[error("{file}, row 1, column {column}: {problem}; name each label once in the first line, separated by commas, with 0 and 1 in the lines below")]
    LabelHeader {
        /// The file with the header.
        file: String,
        /// Column of the name, from 1.
        column: usize,
        /// What is wrong with it.
        problem: String,
    },

    /// A cell of a file of several labels that is neither 0 nor 1.
    #[error("{file}, row {row}, column {column}: found {cell:?}, expected 1 if the sample has the label of the column, else 0 (`df.astype(int)`)")]
    NotABit {
        /// The file with the cell.
        file: String,
        /// Row of the cell, from 1.
        row: usize,
        /// Column of the cell, from 1.
        column: usize,
        /// The text of the cell.
        cell: String,
    },

    /// Files of several labels, or their list of names, with different numbers of labels.
    #[error("{file} has {columns} labels, expected {expected} as in {reference}; use the same labels in the same order")]
    LabelCount {
        /// The file with the wrong number of labels.
        file: String,
        /// Its labels.
        columns: usize,
        /// What it is compared with.
        reference: String,
        /// Labels of `reference`.
        expected: usize,
    },

    /// Files of several labels, or their list of names, that name a label differently.
    #[error("{file}, row 1, column {column}: found the label {name:?}, expected {expected:?} as in {reference}; use the same labels in the same order")]
    LabelName {
        /// The file with the name.
        file: String,
        /// Column of the name, from 1.
        column: usize,
        /// The name.
        name: String,
        /// What it is compared with.
        reference: String,
        /// The name there.
        expected: String,
    },

    /// A line of a file of targets with more than a number.
    #[error("{file}, row {row}: found {found} columns, expected one number per line; remove the others (0 and 1 for several labels belong into multilabels_tr.csv and multilabels_te.csv)")]
    NotOneNumber {
        /// The file with the line.
        file: String,
        /// The line, from 1.
        row: usize,
        /// Its columns.
        found: usize,
    },

    /// A sentiment that is none.
    #[error("{file}, row {row}, column 1: found {value}, expected a sentiment from -3 to 3; correct it or, for numbers of another meaning, set `head.sentiment = false`")]
    NotASentiment {
        /// The split.
        part: SplitName,
        /// The file or array with the value.
        file: String,
        /// Row of the value, from 1.
        row: usize,
        /// The value found.
        value: f64,
    },

    /// Splits with targets of different kinds.
    #[error("{file} has {found}, the training rows have {expected}; give both splits targets of the same kind")]
    MixedTargets {
        /// The file or array with the targets.
        file: String,
        /// Their kind.
        found: TargetKind,
        /// That of the training rows.
        expected: TargetKind,
    },

    /// A head that cannot learn from what the data has.
    #[error("{data}: the head `{head}` needs {needs}, the data has {found}; set `head = {{ type = \"{fitting}\" }}`, or give other data")]
    Head {
        /// Name of the data set.
        data: String,
        /// Name of the head.
        head: &'static str,
        /// What it learns from.
        needs: TargetKind,
        /// What the data has.
        found: TargetKind,
        /// A head that learns from it.
        fitting: &'static str,
    },

    /// A modality without exactly one row per label.
    #[error("{file} has {rows} rows, expected {expected} as in {reference}; row i of every file must describe the same sample (a header of column numbers, `df.to_csv(header=False)`, counts as one)")]
    RowCount {
        /// The file or array with the wrong number of rows.
        file: String,
        /// Its rows.
        rows: usize,
        /// What it is compared with.
        reference: String,
        /// Rows of `reference`.
        expected: usize,
    },

    /// A table whose width differs from the table it must match.
    #[error("{file} has {columns} columns, expected {expected} as in {reference}; use the same features in the same order")]
    ColumnCount {
        /// The file or array with the wrong number of columns.
        file: String,
        /// Its columns.
        columns: usize,
        /// What it is compared with.
        reference: String,
        /// Columns of `reference`.
        expected: usize,
    },

    /// A list of feature names that does not fit its table.
    #[error("{file} lists {names} feature names, expected {columns}, one per column of {table}; correct the list or delete it")]
    FeatureNames {
        /// The file with the names.
        file: String,
        /// How many names it lists.
        names: usize,
        /// The table the names belong to.
        table: String,
        /// Columns of `table`.
        columns: usize,
    },

    /// A split whose number of modalities is not the one called for.
    #[error("{file} has {found} modalities, expected {expected}; give every split the same modalities in the same order")]
    ModalityCount {
        /// The data set or split.
        file: String,
        /// Modalities found.
        found: usize,
        /// Modalities called for.
        expected: usize,
    },

    /// A table whose values do not fill whole rows.
    #[error("{file} has {values} values, expected whole rows of {columns} columns with at least one column; correct `columns` or the values")]
    TableShape {
        /// The table.
        file: String,
        /// Columns the table claims.
        columns: usize,
        /// Values it holds.
        values: usize,
    },

    /// Two files that hold the same table or the same labels.
    #[error("{first} and {second} are both there; expected one of them, so remove the other")]
    TwoFiles {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },

    /// Questions about images that cannot be used.
    #[error(transparent)]
    Questions(#[from] QuestionsError),

    /// A line that is no sentence with its sentiment.
    #[error("{file}, row {row}: expected a text and a number with a tab between, such as `GREAT MUSIC` and `2.2`")]
    Sentence {
        /// The file.
        file: String,
        /// Row of the line, from 1, the heading counted.
        row: usize,
    },

    /// A vocabulary that lacks a piece that every text needs.
    #[error("{file}: `{piece}` is not where it belongs; expected the vocabulary of BERT, `[PAD]` first and `[UNK]`, `[CLS]` and `[SEP]` after it, one piece per line")]
    MissingPiece {
        /// The file.
        file: String,
        /// The piece.
        piece: &'static str,
    },

    /// Boxes that do not fit.
    #[error(transparent)]
    Boxes(#[from] BoxesError),

    /// Rows that cannot be read batch by batch.
    #[error(transparent)]
    Stream(#[from] StreamError),

    /// An NPY, NPZ or safetensors file that does not hold the array called for.
    #[error("{file}: {problem}; write the array again, e.g. with numpy.save")]
    InvalidArray {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },

    /// Bytes that are not a bundle written by [`DataSet::to_bundle`].
    ///
    /// [`DataSet::to_bundle`]: super::DataSet::to_bundle
    #[error("{file}: {problem}; expected a complete bundle, so copy or write the file again")]
    InvalidBundle {
        /// The bundle, with the array or entry at fault where it is known.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl DataError {
    /// The error for classes other than those of the trained model.
    pub(crate) fn other_classes(file: String, found: &[String], expected: &[String]) -> Self {
        Self::OtherClasses {
            file,
            found: shown(&found.join(", ")),
            expected: shown(&expected.join(", ")),
        }
    }
}

/// What goes wrong while a model is trained or asked.
impl From<DataError> for equilibria_core::Error {
    fn from(error: DataError) -> Self {
        Self::Parse {
            what: "rows".to_owned(),
            message: error.to_string(),
        }
    }
}
