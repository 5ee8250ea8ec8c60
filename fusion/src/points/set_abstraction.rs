//! Set abstraction: fewer points, each with a feature of its neighborhood.
//!
//! Reference: C. R. Qi, L. Yi, H. Su, L. J. Guibas, PointNet++, NeurIPS 2017, section 3.2.

use dfdx::prelude::{HasShape, SplitTape};
use equilibria_core::{to_host, Backend, Error, Matrix, Parameters, Result, Scalar};

use super::relative_positions::relative_positions;
use super::{ball_query, farthest_point_sampling, gather_rows, group_maximum, Points, SharedMlp};
use crate::layers::Initializer;
use crate::pass::Pass;

/// How points stand for their neighborhoods.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Points that are left, per scene.
    pub centers: usize,
    /// How far neighbors may be, in meters.
    pub radius: f64,
    /// Neighbors of each, some of them [repeated](super::ball_query()).
    pub neighbors: usize,
}

/// `h_c = max_j MLP([(p_j − c) / r | f_j])` over the neighbors j of every center c, which are chosen by farthest point sampling.
///
/// Its parameters are those of the network, under its own name.
pub struct SetAbstraction<E: Scalar, D: Backend<E>> {
    /// Which points.
    pub sampling: Sampling,
    /// The network on the neighbors.
    pub mlp: SharedMlp<E, D>,
}

/// What is left of some points.
pub struct Abstracted<E: Scalar, D: Backend<E>> {
    /// The centers.
    pub points: Points<E>,
    /// The centers on the tape, `[scenes · centers, 3]`.
    pub xyz: Matrix<E, D>,
    /// Their features, `[scenes · centers, width]`.
    pub features: Matrix<E, D>,
    /// Which points they are, by numbers over the whole batch.
    pub sampled: Vec<usize>,
    /// The neighbors of each, by numbers over the whole batch.
    pub neighbors: Vec<usize>,
}

impl<E: Scalar, D: Backend<E>> SetAbstraction<E, D> {
    /// With a network of the given widths for features of a width, which may be 0.
    ///
    /// # Errors
    /// [`Error::Config`] for a number of centers or neighbors, or a radius, that is not above 0; [`Error::Memory`] if there is no room for it.
    pub fn new(
        sampling: Sampling,
        features: usize,
        widths: &[usize],
        init: &mut Initializer<D>,
    ) -> Result<Self> {
        Error::require_at_least_one("set-abstraction", "centers", sampling.centers)?;
        Error::require_at_least_one("set-abstraction", "neighbors", sampling.neighbors)?;
        Error::require_positive("set-abstraction", "radius", sampling.radius)?;
        let widths = [&[3 + features], widths].concat();
        Ok(Self {
            sampling,
            mlp: SharedMlp::unbiased(&widths, init)?,
        })
    }

    /// Chooses the centers among the points.
    ///
    /// # Errors
    /// Those of [`abstract_at`](Self::abstract_at).
    pub fn forward(
        &self,
        scenes: usize,
        xyz: &Matrix<E, D>,
        features: Option<&Matrix<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Abstracted<E, D>> {
        let points = Points::new(scenes, to_host(xyz))?;
        let centers = self.sampling.centers;
        let sampled = points.numbers(|points| farthest_point_sampling(points, centers));
        self.abstract_at(sampled, scenes, xyz, features, pass)
    }

    /// The same around given centers, as many in each scene, by numbers over the whole batch.
    ///
    /// # Shapes
    /// `xyz` `[scenes · points, 3]` in meters, `features` `[scenes · points, width]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for points that make no whole scenes, for features of another width or number, and for centers that are not of
    /// their scene.
    pub fn abstract_at(
        &self,
        sampled: Vec<usize>,
        scenes: usize,
        xyz: &Matrix<E, D>,
        features: Option<&Matrix<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Abstracted<E, D>> {
        let points = Points::new(scenes, to_host(xyz))?;
        let (count, all) = (points.count(), points.count() * scenes);
        let rows = [Some(xyz), features].into_iter().flatten();
        if xyz.shape().1 != 3 || rows.clone().any(|rows| rows.shape().0 != all) {
            return Err(Error::Shape {
                what: "the points of a set abstraction and their features".to_owned(),
                expected: format!("[{all}, 3] and as many rows of features"),
                got: format!("{:?}", rows.map(|rows| *rows.shape()).collect::<Vec<_>>()),
            });
        }
        let own = sampled.len() / scenes;
        let in_place = |(index, center): (usize, &usize)| center / count == index / own;
        let whole = own > 0 && sampled.len().is_multiple_of(scenes);
        if !(whole && sampled.iter().enumerate().all(in_place)) {
            return Err(Error::Shape {
                what: "the centers of a set abstraction".to_owned(),
                expected: format!(
                    "as many points of each of {scenes} scenes of {count}, scene by scene"
                ),
                got: format!("{sampled:?}"),
            });
        }
        let (
            left,
            Sampling {
                radius, neighbors, ..
            },
        ) = (points.select(&sampled), self.sampling);
        let mut found = Vec::with_capacity(sampled.len() * neighbors);
        for (scene, (points, centers)) in points.each().zip(left.each()).enumerate() {
            let own = ball_query(points, centers, radius, neighbors);
            found.extend(own.into_iter().map(|point| scene * count + point));
        }
        let grouped = pass.lend(|tape| {
            Ok(relative_positions(xyz, tape, &sampled, &found, radius)?.split_tape())
        })?;
        let grouped = match features {
            Some(features) => {
                let own =
                    pass.try_run(features, |features| gather_rows(features, found.clone()))?;
                pass.concatenate(&[grouped, own])?
            }
            None => grouped,
        };
        let each = self.mlp.forward(&grouped, pass)?;
        Ok(Abstracted {
            points: left,
            xyz: pass.try_run(xyz, |xyz| gather_rows(xyz, sampled.clone()))?,
            features: pass.try_run(&each, |each| group_maximum(each, neighbors))?,
            sampled,
            neighbors: found,
        })
    }
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for SetAbstraction<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        self.mlp.visit(path, visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        self.mlp.visit_mut(path, visitor);
    }

    fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
        self.mlp.visit_statistics(path, visitor);
    }
}
