//! Seeds with features, from all points of a scene.
//!
//! Reference: C. R. Qi, L. Yi, H. Su, L. J. Guibas, PointNet++, NeurIPS 2017, as the backbone of C. R. Qi et al., Deep Hough Voting for 3D
//! Object Detection in Point Clouds, ICCV 2019, has it.

use equilibria_core::{parameters, Backend, Error, Matrix, Result, Scalar};
use serde::{Deserialize, Serialize};

use super::{FeaturePropagation, Points, Sampling, SetAbstraction};
use crate::layers::Initializer;
use crate::pass::Pass;

/// One [set abstraction](SetAbstraction).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Points that are left, per scene.
    pub centers: usize,
    /// How far neighbors may be, in meters.
    pub radius: f64,
    /// Neighbors of each.
    pub neighbors: usize,
    /// Widths of its network.
    pub widths: Vec<usize>,
}

impl Level {
    /// Which points are left.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            centers: self.centers,
            radius: self.radius,
            neighbors: self.neighbors,
        }
    }
}

/// Set abstractions one after the other, and the way back to the second of them by feature propagation.
pub struct PointNet<E: Scalar, D: Backend<E>> {
    /// From many points to few.
    pub abstraction: Vec<SetAbstraction<E, D>>,
    /// From few points to more: two fewer than there are abstractions.
    pub propagation: Vec<FeaturePropagation<E, D>>,
}

parameters!(PointNet {
    abstraction,
    propagation
});

/// The points of a scene that objects are looked for from.
pub struct Seeds<E: Scalar, D: Backend<E>> {
    /// Where they are, `[scenes · seeds, 3]`.
    pub xyz: Matrix<E, D>,
    /// Their features, `[scenes · seeds, width]`.
    pub features: Matrix<E, D>,
    /// Which points they are, by numbers over the whole batch.
    pub numbers: Vec<usize>,
}

impl<E: Scalar, D: Backend<E>> PointNet<E, D> {
    /// Levels for points with so many numbers each; features of seeds are `width` wide.
    ///
    /// # Errors
    /// [`Error::Config`] for fewer than two levels, [`Error::Memory`] if there is no room.
    pub fn new(
        levels: &[Level],
        features: usize,
        width: usize,
        init: &mut Initializer<D>,
    ) -> Result<Self> {
        let got = levels.len();
        Error::require(got >= 2, "point-net", "levels", "two or more", got)?;
        let (mut abstraction, mut widths) = (Vec::new(), vec![features]);
        for level in levels {
            let inputs = widths[widths.len() - 1];
            let own = SetAbstraction::new(level.sampling(), inputs, &level.widths, init)?;
            abstraction.push(own);
            widths.push(level.widths.last().copied().unwrap_or(inputs));
        }
        let (mut propagation, mut known) = (Vec::new(), widths[levels.len()]);
        for level in (2..levels.len()).rev() {
            propagation.push(FeaturePropagation::new(
                known + widths[level],
                &[width; 2],
                init,
            )?);
            known = width;
        }
        Ok(Self {
            abstraction,
            propagation,
        })
    }

    /// Width of the features of seeds.
    pub fn width(&self) -> usize {
        let last = self.propagation.last().map(|last| last.mlp.outputs());
        last.unwrap_or_else(|| self.abstraction[1].mlp.outputs())
    }

    /// The seeds: the points that the second abstraction leaves.
    ///
    /// # Shapes
    /// `xyz` `[scenes · points, 3]` in meters, `features` `[scenes · points, features]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for points that make no whole scenes, or features of another width.
    pub fn forward(
        &self,
        scenes: usize,
        xyz: &Matrix<E, D>,
        features: &Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Seeds<E, D>> {
        let mut levels = Vec::with_capacity(self.abstraction.len());
        let (mut xyz, mut features) = (xyz.clone(), features.clone());
        for abstraction in &self.abstraction {
            let level = abstraction.forward(scenes, &xyz, Some(&features), pass)?;
            (xyz, features) = (level.xyz.clone(), level.features.clone());
            levels.push(level);
        }
        let mut known: &Points<E> = &levels[levels.len() - 1].points;
        for (propagation, level) in self.propagation.iter().zip(levels.iter().rev().skip(1)) {
            (features, _) =
                propagation.forward(&level.points, &level.features, known, &features, pass)?;
            known = &level.points;
        }
        let numbers = levels[1]
            .sampled
            .iter()
            .map(|&center| levels[0].sampled[center]);
        Ok(Seeds {
            xyz: levels[1].xyz.clone(),
            features,
            numbers: numbers.collect(),
        })
    }

    /// Sets the share of a batch in the running statistics.
    pub fn set_momentum(&mut self, momentum: f64) {
        for own in &mut self.abstraction {
            own.mlp.set_momentum(momentum);
        }
        for own in &mut self.propagation {
            own.mlp.set_momentum(momentum);
        }
    }
}
