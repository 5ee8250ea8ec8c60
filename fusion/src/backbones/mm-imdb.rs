//! The encoders of MM-IMDB.

use equilibria_core::prelude::*;

use crate::layers::modules::{BatchNorm, Maxout};
use crate::layers::Initializer;
use crate::model::{Backbone, BackboneConfig, BackboneRequest, Backbones};
use crate::pass::Pass;

plugin! {
    /// Maxout encoders with batch normalization: those of MM-IMDB, text and poster of a movie.
    ///
    /// x_i = BN_2(M_2(BN_1(M_1(BN_0(x))))) with M(x)_j = max(L(x)_{2j}, L(x)_{2j+1}), L an affine map, and dropout after BN_1 and BN_2;
    /// ε is 1e-4 in BN_0 and 1e-5 in the others. There is no other activation. Maps start as PyTorch has them.
    ///
    /// Reference: the late fusion of MM-IMDB in P. P. Liang et al., MultiBench, NeurIPS 2021, after J. Arevalo et al., Gated Multimodal
    /// Units, arXiv 1702.01992; the backbone of the MM-IMDB experiment in arXiv 2306.16645.
    pub struct MmImdbConfig: BackboneConfig {
        /// Width between the two maps: one for each modality, or one for all.
        pub hidden: Vec<usize> = vec![512, 1024],
        /// Width of the features, at least 1.
        pub width: usize = 512,
        /// Probability that an entry is dropped in training, in [0, 1).
        pub dropout: f64 = 0.3,
    }
}

#[typetag::serde(name = "mm-imdb")]
impl BackboneConfig for MmImdbConfig {
    fn width(&self) -> usize {
        self.width
    }

    fn validate(&self) -> Result<()> {
        let got = format!("{:?}", self.hidden);
        let proper = !self.hidden.is_empty() && !self.hidden.contains(&0);
        Error::require(proper, "mm-imdb", "hidden", "widths of at least 1", got)?;
        Error::require_at_least_one("mm-imdb", "width", self.width)?;
        Error::require_fraction("mm-imdb", "dropout", self.dropout)
    }

    /// From `backbone.encoder.1.bn0.weight` to `text.bn0.weight`, and so on.
    fn original_name(&self, name: &str) -> String {
        let name = name.replace("backbone.encoder.1.", "text.");
        name.replace("backbone.encoder.2.", "image.")
    }
}

impl Build<Backbones> for MmImdbConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: BackboneRequest<'_, D>,
    ) -> Result<Box<dyn Backbone<E, D>>> {
        self.validate()?;
        let (hidden, modalities) = (&self.hidden, request.modalities);
        let got = format!("{hidden:?} for {} modalities", modalities.len());
        let fits = hidden.len() == 1 || hidden.len() == modalities.len();
        let expected = "one width for each modality, or one for all";
        Error::require(fits, "mm-imdb", "hidden", expected, got)?;
        let mut encoder = Vec::with_capacity(modalities.len());
        for (&features, &hidden) in modalities.iter().zip(hidden.iter().cycle()) {
            encoder.push(Encoder::new([features, hidden, self.width], request.init)?);
        }
        Ok(Box::new(MmImdb {
            encoder,
            dropout: self.dropout,
        }))
    }
}

/// One encoder per modality.
pub struct MmImdb<E: Scalar, D: Backend<E>> {
    /// The encoders in order.
    pub encoder: Vec<Encoder<E, D>>,
    /// Probability that an entry is dropped in training.
    pub dropout: f64,
}

parameters!(MmImdb { encoder });

/// The maps of one modality.
pub struct Encoder<E: Scalar, D: Backend<E>> {
    /// BN_0, on the data.
    pub bn0: BatchNorm<E, D>,
    /// M_1.
    pub maxout1: Maxout<E, D>,
    /// BN_1.
    pub bn1: BatchNorm<E, D>,
    /// M_2.
    pub maxout2: Maxout<E, D>,
    /// BN_2.
    pub bn2: BatchNorm<E, D>,
}

parameters!(Encoder {
    bn0,
    maxout1,
    bn1,
    maxout2,
    bn2
});

impl<E: Scalar, D: Backend<E>> Encoder<E, D> {
    fn new([features, hidden, width]: [usize; 3], init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            bn0: BatchNorm::new(features, 1e-4, init)?,
            maxout1: Maxout::pairs(hidden, features, init)?,
            bn1: BatchNorm::new(hidden, 1e-5, init)?,
            maxout2: Maxout::pairs(width, hidden, init)?,
            bn2: BatchNorm::new(width, 1e-5, init)?,
        })
    }
}

impl<E: Scalar, D: Backend<E>> Backbone<E, D> for MmImdb<E, D> {
    fn encode(
        &self,
        x: &[Matrix<E, D>],
        _targets: Option<&Matrix<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        let mut features = Vec::with_capacity(x.len());
        let training = pass.trains();
        for (index, (encoder, x)) in (0..).zip(self.encoder.iter().zip(x)) {
            let h = pass.try_run(x, |x| {
                let h = encoder.maxout1.forward(encoder.bn0.forward(x, training)?)?;
                encoder.bn1.forward(h, training)
            })?;
            let h = pass.dropout(&h, self.dropout, 2 * index)?;
            let h = pass.try_run(&h, |h| {
                encoder.bn2.forward(encoder.maxout2.forward(h)?, training)
            })?;
            features.push(pass.dropout(&h, self.dropout, 2 * index + 1)?);
        }
        Ok(features)
    }
}
