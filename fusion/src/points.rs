//! Networks on sets of points: which points stand for others, who is near whom, and features that follow.
//!
//! What chooses points ([`farthest_point_sampling()`], [`ball_query()`], [`three_nearest()`]) works on plain numbers and has no gradient. What
//! moves features ([`gather_rows`], [`group_maximum`]) is recorded on the tape, and so are [`SetAbstraction`] and [`FeaturePropagation`],
//! which are made of both. Scenes of a batch have the same number of points and follow one another, row by row.

pub mod ball_query;
pub mod farthest_point_sampling;
pub mod feature_propagation;
mod gather_rows;
mod group_maximum;
mod interpolate;
pub mod point_net;
mod relative_positions;
pub mod set_abstraction;
mod shared_mlp;
pub mod three_nearest;

pub use ball_query::ball_query;
pub use farthest_point_sampling::farthest_point_sampling;
pub use feature_propagation::FeaturePropagation;
pub use gather_rows::gather_rows;
pub use group_maximum::group_maximum;
pub use point_net::{Level, PointNet, Seeds};
pub use set_abstraction::{Abstracted, Sampling, SetAbstraction};
pub use shared_mlp::SharedMlp;
pub use three_nearest::{three_nearest, Nearest};

use equilibria_core::{parallel, Element, Error, Result};

/// Points of a batch of scenes, `[scenes · count, 3]` row-major, in meters.
#[derive(Debug, Clone)]
pub struct Points<E> {
    scenes: usize,
    xyz: Vec<E>,
}

impl<E: Element> Points<E> {
    /// Points of so many scenes, one at least.
    ///
    /// # Errors
    /// [`Error::Shape`] unless every scene has the same number of points, one at least.
    pub fn new(scenes: usize, xyz: Vec<E>) -> Result<Self> {
        if scenes == 0 || xyz.is_empty() || !xyz.len().is_multiple_of(3 * scenes) {
            return Err(Error::Shape {
                what: "the points of a batch".to_owned(),
                expected: "three coordinates of each, and as many points in every scene".to_owned(),
                got: format!("{} numbers for {scenes} scenes", xyz.len()),
            });
        }
        Ok(Self { scenes, xyz })
    }

    /// Points per scene.
    pub fn count(&self) -> usize {
        self.xyz.len() / (3 * self.scenes)
    }

    /// The scenes, one after the other.
    pub fn each(&self) -> std::slice::ChunksExact<'_, E> {
        self.xyz.chunks_exact(3 * self.count())
    }

    /// The points of these numbers over the whole batch.
    pub fn select(&self, numbers: &[usize]) -> Self {
        let point = |&number: &usize| self.xyz[3 * number..3 * number + 3].iter().copied();
        Self {
            scenes: self.scenes,
            xyz: numbers.iter().flat_map(point).collect(),
        }
    }

    /// What `choose` finds in every scene, as numbers over the whole batch; scenes are shared among threads.
    pub fn numbers(&self, choose: impl Fn(&[E]) -> Vec<usize> + Sync) -> Vec<usize> {
        let count = self.count();
        let chosen = parallel::map(self.each(), choose);
        let scenes = chosen.into_iter().enumerate();
        (scenes.flat_map(|(scene, own)| own.into_iter().map(move |point| scene * count + point)))
            .collect()
    }
}
