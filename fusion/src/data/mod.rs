//! Multimodal data sets: reading, checking, scaling and sampling.
//!
//! A [`DataSet`] holds the same samples seen through several modalities, one
//! [`Table`] each, and their [`Targets`], already divided into a training and a
//! test [`Split`]. It is
//! read from a folder of files ([`DataSet::from_folder`]) or from a single
//! `.safetensors` file ([`DataSet::from_bundle`]); both go through the same
//! checks, so a loaded set has matching shapes, finite values and known labels.
//! Of a folder larger than memory, [`StreamedFolder`] reads [`Rows`] batch by
//! batch.
//!
//! ```no_run
//! # use equilibria_fusion as equilibria;
//! use equilibria::data::{stratified_holdout, DataError, DataSet, MinMax};
//! use std::path::Path;
//!
//! fn main() -> Result<(), DataError> {
//!     let mut set = DataSet::from_folder(Path::new("data/digits"))?;
//!     let (kept, held_out) = stratified_holdout(&set.train.targets.strata(), 0.2, 7);
//!     let scale = MinMax::fit(&set.train.select(&kept));
//!     scale.apply(&mut set.train)?;
//!     let validation = set.train.select(&held_out);
//!     println!("{} validation samples", validation.len());
//!     Ok(())
//! }
//! ```

mod answers;
mod array;
mod array_rows;
mod blocks;
mod boxes;
mod bundle;
mod cell;
mod check;
mod column_facts;
mod column_numbers;
mod dataset;
mod digest;
mod endings;
mod error;
mod feature_names;
mod files;
mod folder;
mod graphs;
mod header;
mod header_faults;
mod ids;
mod ids_error;
mod index_names;
mod labels;
mod modality_files;
mod mosi;
mod movies;
mod names;
mod npy;
mod os_path;
mod range;
mod row_file;
mod row_index;
mod rows;
mod samples;
mod sampling;
mod scale;
mod scans;
mod sizes;
mod stream_error;
mod streamed;
mod streamed_folder;
mod target_files;
mod targets;
mod text;
mod vqa;
mod word_piece;

pub use answers::{Answered, Answers};
pub use boxes::{Boxes, BoxesError};
pub use check::SplitName;
pub use dataset::{select_modalities, DataSet, Split, Table};
pub use digest::Digest;
pub use error::DataError;
pub use folder::{features_from_folder, place_in_folder, split_from_folder};
pub use graphs::{Graph, GraphRows, Graphs};
pub use ids_error::IdsError;
pub use mosi::Mosi;
pub use movies::Movies;
pub use names::{check_names, names_in_folder, Names};
pub use os_path::OsPath;
pub use range::Place;
pub use rows::{Features, Rows, Tables};
pub use samples::Samples;
pub use sampling::{batches, held_out, stratified_holdout, Batches};
pub use scale::{FeatureRange, MinMax};
pub use scans::{scans_in, ScanFiles, SUN_RGBD_CLASSES};
pub use sizes::{require_sizes, require_total, SizeError};
pub use stream_error::StreamError;
pub use streamed_folder::StreamedFolder;
pub use targets::{LabelSets, TargetKind, Targets};
pub use vqa::{QuestionsError, Rules, Vqa};
pub use word_piece::WordPiece;
