//! Modalities that are images.

use dfdx::prelude::TryMatMul;
use equilibria_core::from_host;
use equilibria_core::prelude::*;

use crate::model::{Backbone, BackboneConfig, BackboneRequest, Backbones};
use crate::pass::Pass;

plugin! {
    /// Images as the rows of layers on images or on patches, without parameters: each modality is one image of gray pixels, row by row.
    ///
    /// An image is put into the middle of a square, filled up with zeros, whose pixels are means of `pool` × `pool` of it, and cut into
    /// patches of `patch` × `patch` pixels, one patch after the other; with `patch = 0` it stays whole. What `mdeq` takes, and, in patches,
    /// `transformer`, each patch being a token.
    pub struct ImageConfig: BackboneConfig {
        /// Rows of pixels of the modality, at least 1.
        pub height: usize = 8,
        /// Pixels in a row of it, at least 1.
        pub width: usize = 8,
        /// Pixels on a side of the square that one pixel is the mean of, at least 1.
        pub pool: usize = 1,
        /// Pixels on a side of a patch, a divisor of the pixels on a side after pooling; 0: no patches.
        pub patch: usize = 0,
    }
}

impl ImageConfig {
    /// Pixels on a side: the fewest that hold the image, and can be cut into patches, or halved where there are none.
    fn side(&self) -> usize {
        let pooled = self.height.max(self.width).div_ceil(self.pool);
        pooled.next_multiple_of(if self.patch > 0 { self.patch } else { 2 })
    }

    /// `[height · width, side²]`: the share of each pixel in each number of the result.
    fn shares(&self) -> Vec<f64> {
        let (side, pool) = (self.side(), self.pool);
        let edges = [self.height, self.width].map(|size| (side * pool - size) / 2);
        let patch = if self.patch > 0 { self.patch } else { side };
        let mut shares = vec![0.0; self.height * self.width * side * side];
        for (pixel, shares) in shares.chunks_exact_mut(side * side).enumerate() {
            let row = (pixel / self.width + edges[0]) / pool;
            let column = (pixel % self.width + edges[1]) / pool;
            let number = row / patch * (side / patch) + column / patch;
            let inside = row % patch * patch + column % patch;
            shares[number * patch * patch + inside] = 1.0 / (pool * pool) as f64;
        }
        shares
    }
}

#[typetag::serde(name = "image")]
impl BackboneConfig for ImageConfig {
    fn width(&self) -> usize {
        self.side() * self.side()
    }

    fn validate(&self) -> Result<()> {
        Error::require_at_least_one("image", "height", self.height)?;
        Error::require_at_least_one("image", "width", self.width)?;
        Error::require_at_least_one("image", "pool", self.pool)
    }
}

impl Build<Backbones> for ImageConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: BackboneRequest<'_, D>,
    ) -> Result<Box<dyn Backbone<E, D>>> {
        self.validate()?;
        let pixels = self.height * self.width;
        let fits = request.modalities.iter().all(|&own| own == pixels);
        let got = format!(
            "{} × {} for {:?}",
            self.height, self.width, request.modalities
        );
        let expected = "such that all modalities have `height` × `width` numbers";
        Error::require(fits, "image", "height", expected, got)?;
        let shares = self.shares().into_iter().map(E::of).collect();
        let shape = (pixels, self.width());
        Ok(Box::new(Squares {
            shares: from_host(request.init.device(), shares, shape)?,
        }))
    }
}

/// Puts every image into its square.
pub struct Squares<E: Scalar, D: Backend<E>> {
    /// From pixels to numbers of the result; a constant.
    shares: Matrix<E, D>,
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for Squares<E, D> {
    fn visit(&self, _: &str, _: &mut dyn FnMut(&str, &Matrix<E, D>)) {}

    fn visit_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {}
}

impl<E: Scalar, D: Backend<E>> Backbone<E, D> for Squares<E, D> {
    fn encode(
        &self,
        x: &[Matrix<E, D>],
        _targets: Option<&Matrix<E, D>>,
        _pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        let squares = x.iter().map(|x| x.clone().try_matmul(self.shares.clone()));
        let squares = squares.map(|square| square.map_err(Error::device));
        squares.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2 × 3 pixels in a square of 4 × 4, in patches of 2 × 2.
    #[test]
    fn pixels_go_to_their_patches() {
        let config = ImageConfig {
            height: 2,
            width: 3,
            pool: 1,
            patch: 2,
        };
        assert_eq!(config.side(), 4);
        let shares = config.shares();
        let places: Vec<usize> = (shares.chunks_exact(16))
            .map(|shares| shares.iter().position(|s| *s > 0.0).expect("one"))
            .collect();
        // The image begins in row 1, column 0; patches are 0 1 / 2 3, each of four numbers.
        assert_eq!(places, [2, 3, 6, 8, 9, 12]);
    }

    /// 15 columns of pixels in 8: the last is the mean of one pixel and a zero.
    #[test]
    fn pooled_pixels_are_means() {
        let config = ImageConfig {
            height: 16,
            width: 15,
            pool: 2,
            patch: 0,
        };
        assert_eq!(config.side(), 8);
        let shares = config.shares();
        let mut sums = [0.0; 64];
        for row in shares.chunks_exact(64) {
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, share)| *sum += share);
        }
        for (place, sum) in sums.iter().enumerate() {
            let expected = if place % 8 == 7 { 0.5 } else { 1.0 };
            assert!((sum - expected).abs() < 1e-15, "{place}: {sum}");
        }
    }
}
