//! Feature propagation: features of few points for many.
//!
//! Reference: C. R. Qi, L. Yi, H. Su, L. J. Guibas, PointNet++, NeurIPS 2017, section 3.4.

use dfdx::prelude::HasShape;
use equilibria_core::{Backend, Error, Matrix, Parameters, Result, Scalar};

use super::interpolate::interpolate;
use super::{three_nearest, Nearest, Points, SharedMlp};
use crate::layers::Initializer;
use crate::pass::Pass;

/// `h_i = MLP([Σ_j w_ij g_j | f_i])` with the features g of the three nearest known points, weighted by inverse distances, and the feature
/// f of the point itself.
///
/// Its parameters are those of the network, under its own name.
pub struct FeaturePropagation<E: Scalar, D: Backend<E>> {
    /// The network on all points.
    pub mlp: SharedMlp<E, D>,
}

impl<E: Scalar, D: Backend<E>> FeaturePropagation<E, D> {
    /// For features g and f of so many numbers together, with a network of the given widths.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is no room for it.
    pub fn new(features: usize, widths: &[usize], init: &mut Initializer<D>) -> Result<Self> {
        let widths = [&[features], widths].concat();
        Ok(Self {
            mlp: SharedMlp::unbiased(&widths, init)?,
        })
    }

    /// The features of `points`, `[scenes · points, width]`, and the [three nearest](three_nearest()) known ones of each, by numbers over the
    /// whole batch.
    ///
    /// # Shapes
    /// `own` `[scenes · points, width of f]`, `features` `[scenes · known, width of g]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for features of other widths, or where both sets of points are not of the same scenes.
    pub fn forward(
        &self,
        points: &Points<E>,
        own: &Matrix<E, D>,
        known: &Points<E>,
        features: &Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<(Matrix<E, D>, Nearest<E>)> {
        if points.scenes != known.scenes {
            return Err(Error::Shape {
                what: "the scenes of known points".to_owned(),
                expected: points.scenes.to_string(),
                got: known.scenes.to_string(),
            });
        }
        let all = known.scenes * known.count();
        if features.shape().0 != all {
            return Err(Error::Shape {
                what: "the features of known points".to_owned(),
                expected: format!("{all} rows"),
                got: format!("{}", features.shape().0),
            });
        }
        let mut all = Nearest {
            numbers: Vec::new(),
            weights: Vec::new(),
        };
        for (scene, (points, others)) in points.each().zip(known.each()).enumerate() {
            let Nearest { numbers, weights } = three_nearest(points, others);
            let first = scene * known.count();
            (all.numbers).extend(numbers.into_iter().map(|number| first + number));
            all.weights.extend(weights);
        }
        let interpolated = pass.try_run(features, |features| interpolate(features, all.clone()))?;
        let h = pass.concatenate(&[interpolated, own.clone()])?;
        Ok((self.mlp.forward(&h, pass)?, all))
    }
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for FeaturePropagation<E, D> {
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
