//! Votes of seeds, and proposals of boxes from them.
//!
//! Reference: C. R. Qi, O. Litany, K. He, L. J. Guibas, Deep Hough Voting for 3D Object Detection in Point Clouds, ICCV 2019, section 4.

use equilibria_core::{parameters, Backend, Matrix, Result, Scalar};

use super::Outputs;
use crate::layers::{Initializer, Vocabulary};
use crate::pass::Pass;
use crate::points::{Abstracted, Sampling, SetAbstraction, SharedMlp};

/// A part of a network that goes from seeds to proposals.
///
/// Every seed p with a feature f votes for the middle of an object: with `[o | r]` of a network on f, the vote stands at p + o and has the
/// feature (f + r) / |f + r|. [Set abstraction](SetAbstraction) gathers votes around some of them, and a network on each group makes a proposal.
pub struct Tower<E: Scalar, D: Backend<E>> {
    /// From the feature of a seed to `[o | r]`.
    pub vote: SharedMlp<E, D>,
    /// Gathers votes.
    pub group: SetAbstraction<E, D>,
    /// From the feature of a group to the [outputs](Outputs).
    pub proposal: SharedMlp<E, D>,
}

parameters!(Tower {
    vote,
    group,
    proposal
});

/// What a tower is made of.
#[derive(Debug, Clone, Copy)]
pub struct TowerSizes {
    /// Width of the features of seeds.
    pub seeds: usize,
    /// Width inside of the network that votes.
    pub vote: usize,
    /// How votes are gathered.
    pub sampling: Sampling,
    /// Width of everything behind.
    pub hidden: usize,
    /// What is said of each proposal.
    pub outputs: Outputs,
}

/// What a tower has made.
pub struct Towered<E: Scalar, D: Backend<E>> {
    /// Where votes stand, `[scenes · seeds, 3]`.
    pub votes: Matrix<E, D>,
    /// Their features, `[scenes · seeds, width]`.
    pub vote_features: Matrix<E, D>,
    /// The groups, at whose centers proposals stand.
    pub groups: Abstracted<E, D>,
    /// What is said of each proposal, `[scenes · proposals, outputs]`.
    pub raw: Matrix<E, D>,
}

impl<E: Scalar, D: Backend<E>> Tower<E, D> {
    /// A new tower.
    ///
    /// # Errors
    /// [`Error::Memory`](equilibria_core::Error::Memory) if there is no room for it.
    pub fn new(sizes: TowerSizes, init: &mut Initializer<D>) -> Result<Self> {
        let TowerSizes {
            seeds,
            vote,
            hidden,
            ..
        } = sizes;
        let outputs = sizes.outputs.width();
        Ok(Self {
            vote: SharedMlp::to_outputs(&[seeds, vote, vote], 3 + seeds, init)?,
            group: SetAbstraction::new(sizes.sampling, seeds, &[hidden; 3], init)?,
            proposal: SharedMlp::to_outputs(&[hidden; 3], outputs, init)?,
        })
    }

    /// The way from seeds to proposals. Proposals stand at the given votes, by numbers over the whole batch; without these, at the
    /// farthest ones.
    ///
    /// # Shapes
    /// `xyz` `[scenes · seeds, 3]` in meters, `features` `[scenes · seeds, width]`.
    ///
    /// # Errors
    /// [`Error::Shape`](equilibria_core::Error::Shape) for features of another width, and for seeds that make no whole scenes.
    pub fn forward(
        &self,
        scenes: usize,
        xyz: &Matrix<E, D>,
        features: &Matrix<E, D>,
        places: Option<Vec<usize>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Towered<E, D>> {
        let said = self.vote.forward(features, pass)?;
        let votes = pass.equation(&[said.clone(), xyz.clone()], |x| {
            Ok(x[0].columns(0..3) + &x[1])
        })?;
        let width = self.vote.outputs() - 3;
        let vote_features = pass.equation(&[said, features.clone()], |x| {
            let moved = x[0].columns(3..3 + width) + &x[1];
            let length = moved.square().sum(1).sqrt();
            Ok(moved / length.repeat(width))
        })?;
        let groups = match places {
            Some(places) => {
                (self.group).abstract_at(places, scenes, &votes, Some(&vote_features), pass)
            }
            None => self
                .group
                .forward(scenes, &votes, Some(&vote_features), pass),
        }?;
        let raw = self.proposal.forward(&groups.features, pass)?;
        Ok(Towered {
            votes,
            vote_features,
            groups,
            raw,
        })
    }

    /// Sets the share of a batch in the running statistics.
    pub fn set_momentum(&mut self, momentum: f64) {
        self.vote.set_momentum(momentum);
        self.group.mlp.set_momentum(momentum);
        self.proposal.set_momentum(momentum);
    }
}
