//! What can be wrong with questions, answers and images.

/// Files of questions about images that cannot be used. Entries and rows are counted from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuestionsError {
    /// A file that is no JSON, or holds something else than its name says.
    #[error("{file}: {problem}; expected {expected}")]
    Layout {
        /// The file.
        file: String,
        /// What is wrong, with line and column where they are known.
        problem: String,
        /// What the file should hold.
        expected: &'static str,
    },

    /// A value in a list of JSON that is missing, or of another type.
    #[error("{file}, entry {entry} of `{list}`, key `{key}`: {problem}")]
    Entry {
        /// The file.
        file: String,
        /// The list.
        list: &'static str,
        /// The entry of the list, from 1.
        entry: usize,
        /// The key of the value.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },

    /// A list of words without the one that stands for all others.
    #[error("{file}: no line is `UNK`, the word that stands for all that are not in the list; add it, at the place it has in the embedding")]
    NoUnknownWord {
        /// The file.
        file: String,
    },

    /// Answers of which none can be given.
    #[error("{file}: no answer is frequent enough to be given; lower `occurrences` or raise `answers`, or add answer_dict.json, which lists them")]
    NoAnswers {
        /// The file the answers were counted in.
        file: String,
    },

    /// A field of a line of a TSV file of regions.
    #[error("{file}, row {row}, field `{field}`: {problem}")]
    Field {
        /// The file.
        file: String,
        /// The line, from 1.
        row: usize,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },

    /// A feature of a region that is NaN or infinite.
    #[error("{file}, region {region}, feature {feature}: found {value}, expected a finite number; extract the features of this image again")]
    NotFinite {
        /// The file, and the row of a table.
        file: String,
        /// The region, from 1.
        region: usize,
        /// The feature, from 1.
        feature: usize,
        /// What was found.
        value: f64,
    },

    /// A file of an image whose name does not say which image it is.
    #[error("{file}: the name has no number of an image; expected one behind the last `_`, as in COCO_train2014_000000000009.jpg.npz")]
    ImageName {
        /// The file.
        file: String,
    },

    /// An image that a question is about and that is nowhere.
    #[error("{file}, entry {entry} of `questions`, key `image_id`: there are no regions of image {image} in {places}; add its file, or name the folder or TSV file with it in `features`")]
    NoImage {
        /// The file with the question.
        file: String,
        /// The question, from 1.
        entry: usize,
        /// The image.
        image: u64,
        /// Where it was looked for.
        places: String,
    },
}
