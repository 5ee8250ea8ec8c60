//! Boxes in space: what they are, how much two of them overlap, how good predicted ones are, and by which losses they are learned.
//!
//! Axes are those of a room: X right, Y forward, Z up, in meters; a heading is an angle in radians from +X toward −Y.

pub mod average_precision;
pub mod boxes;
pub mod camera;
pub mod decoding;
pub mod detector;
pub mod evaluation;
pub mod generated_scenes;
pub mod image_cues;
pub mod outputs;
pub mod overlap;
pub mod proposal_loss;
pub mod proposal_rows;
pub mod scene;
pub mod scene_rows;
pub mod suppression;
pub mod tower;
pub mod vote_loss;
pub mod votes;

pub use average_precision::{average_precision, mean_average_precision, Detected, True};
pub use boxes::OrientedBox;
pub use camera::Camera;
pub use decoding::{decode, BoxCoding, Proposal};
pub use detector::{scheduled_momentum, CandidateMask, Detector, Seeded};
pub use evaluation::{judge, Judged};
pub use generated_scenes::generated_scenes;
pub use image_cues::{ImageBox, Pixel, Seen};
pub use outputs::Outputs;
pub use overlap::overlap;
pub use proposal_loss::{proposal_loss, BoxTarget, Matching, ProposalTerms};
pub use proposal_rows::ProposalRows;
pub use scene::{Motion, Scene};
pub use scene_rows::{ImageColumn, SceneRows};
pub use suppression::suppress;
pub use tower::{Tower, TowerSizes, Towered};
pub use vote_loss::vote_loss;
pub use votes::{true_votes, TrueVotes};
