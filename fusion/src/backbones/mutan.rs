//! Questions about images: MUTAN's attention.

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{from_host, to_host};

use crate::fusions::mutan::MutanConfig;
use crate::layers::modules::{Embedding, Gru, Linear};
use crate::layers::{concatenate, Vocabulary};
use crate::model::{
    Backbone, BackboneConfig, BackboneRequest, Backbones, Fusion, FusionRequest, Fusions,
};
use crate::pass::Pass;
use crate::slot::{Slot, Slots};

plugin! {
    /// A question and the regions of an image: a GRU over words, attention to regions, and the fusion of both.
    ///
    /// The first modality is the question, numbers of words with 0 as padding on the right; the second the image, `regions` rows of
    /// features one after the other, of which rows of zeros are no regions. With the state q after the last word and regions V_r:
    /// a_v = tanh(A_v V_r), a_q = tanh(A_q q), m_r their fusion, p_g the softmax over r of (S m_r)_g for each glimpse g, v_g = Σ_r p_gr V_r;
    /// then f_v = [tanh(F_1 v_1) | …], f_q = tanh(F_q q), and the fusion of f_q and f_v goes to the head. The fusion of the model is that of
    /// the classifier, and of the attention too, row by row for question and region, where `where` says so; else the attention has the
    /// sum of products of MUTAN. Dropout stands before every map but S.
    ///
    /// Reference: H. Ben-younes, R. Cadene, M. Cord, N. Thome, MUTAN, ICCV 2017, section 4, as in its authors' program, whose grid of
    /// an image is a list of regions here; the VQA experiment of arXiv 2306.16645.
    pub struct MutanAttention: BackboneConfig {
        /// Words, with padding: the numbers of words are below it.
        pub words: usize = 1000,
        /// Width of the embedding of a word, at least 1.
        pub embedding: usize = 620,
        /// Width of the state of the GRU, at least 1.
        pub question: usize = 2400,
        /// Regions of an image, at least 1, with those that are not there.
        pub regions: usize = 36,
        /// Widths of a_q and a_v.
        pub attention: [usize; 2] = [310, 310],
        /// Width of the result of the attention's own sum of products, and number of its terms.
        pub product: [usize; 2] = [510, 5],
        /// Sums over regions, at least 1.
        pub glimpses: usize = 2,
        /// Widths of f_q, and of f_v for each glimpse.
        pub features: [usize; 2] = [310, 310],
        /// Width that f_q and f_v, and a_q and a_v, are projected to for a fusion that needs one width.
        pub common: usize = 512,
        /// Where the fusion of the model stands: `classifier`, and `attention` if it does there too.
        pub r#where: Vec<Place> = vec![Place::Classifier],
        /// Probability that an entry is dropped in training before a map, in [0, 1).
        pub dropout: f64 = 0.5,
    }
}

/// A place for the fusion of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "equilibria_core::serde", rename_all = "kebab-case")]
pub enum Place {
    /// Of question and each region, before the attention.
    Attention,
    /// Of question and attended image, before the head.
    Classifier,
}

#[typetag::serde(name = "mutan")]
impl BackboneConfig for MutanAttention {
    fn width(&self) -> usize {
        self.common
    }

    fn validate(&self) -> Result<()> {
        let sizes = [
            ("words", self.words),
            ("embedding", self.embedding),
            ("question", self.question),
            ("regions", self.regions),
            ("glimpses", self.glimpses),
            ("common", self.common),
        ];
        Error::require_all_at_least_one("mutan", &sizes)?;
        for (key, sizes) in [
            ("attention", self.attention),
            ("product", self.product),
            ("features", self.features),
        ] {
            let got = format!("{sizes:?}");
            Error::require(
                !sizes.contains(&0),
                "mutan",
                key,
                "two numbers of at least 1",
                got,
            )?;
        }
        let got = format!("{:?}", self.r#where);
        let expected = "`classifier`, or `attention` and `classifier`";
        let proper = self.r#where.contains(&Place::Classifier);
        Error::require(proper, "mutan", "where", expected, got)?;
        Error::require_fraction("mutan", "dropout", self.dropout)
    }

    /// From `backbone.question.weight` to `fusion.question.weight`, and so on; the maps of a sum of products are one array each.
    fn original_name(&self, name: &str) -> String {
        let places = [
            ("fusion.classifier.", "fusion"),
            ("fusion.attention.", "attention"),
            ("backbone.attention.product.", "attention"),
            // The only slot has no name.
            ("fusion.", "fusion"),
        ];
        for (prefix, place) in places {
            if let Some(own) = name.strip_prefix(prefix) {
                return name_in_slot(place, own);
            }
        }
        if let Some(own) = name.strip_prefix("head.") {
            return format!("classifier.{own}");
        }
        let own = name.strip_prefix("backbone.").unwrap_or(name);
        match own.starts_with("question.") || own.starts_with("image.") {
            true => format!("fusion.{own}"),
            false => own.to_owned(),
        }
    }
}

/// What the original calls a parameter of the fusion in a slot, whose first feature is the question.
fn name_in_slot(place: &str, name: &str) -> String {
    for (ours, theirs) in [
        ("factor.1.", "mutan.hq.*."),
        ("factor.2.", "mutan.hv.*."),
        ("project.1.", "project_question."),
        ("project.2.", "project_image."),
    ] {
        if let Some(own) = name.strip_prefix(ours) {
            return format!("{place}.{theirs}{own}");
        }
    }
    format!("{place}.deq.{name}")
}

impl Build<Backbones> for MutanAttention {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: BackboneRequest<'_, D>,
    ) -> Result<Box<dyn Backbone<E, D>>> {
        self.validate()?;
        let pixels = request.region_width("mutan", self.regions)?;
        let BackboneRequest { init, slot, .. } = request;
        let [q, glimpses] = [self.question, self.glimpses];
        let embedding = Embedding::padded(self.words, self.embedding, 1.0, init)?;
        let gru = Gru::new(self.embedding, q, init)?;
        let question = Linear::uniform(self.attention[0], q, init)?;
        let image = Linear::uniform(self.attention[1], pixels, init)?;
        let fused = Slot {
            common: Some(self.common),
            ..Slot::new("attention", self.attention)
        };
        let (product, width) = if self.r#where.contains(&Place::Attention) {
            let fused = Slot {
                rows: self.regions,
                ..fused
            };
            (None, slot(fused, init)?)
        } else {
            let product = MutanConfig {
                width: self.product[0],
                rank: self.product[1],
                project: false,
                output: false,
            };
            let request = FusionRequest {
                modalities: 2,
                width: self.attention[0],
                widths: &self.attention,
                init,
            };
            let product = <D as Backend<E>>::build::<Fusions>(&product, request)?;
            (Some(product), self.product[0])
        };
        let attention = Attention {
            question,
            image,
            product,
            score: Linear::uniform(glimpses, width, init)?,
        };
        let question = Linear::uniform(self.features[0], q, init)?;
        let mut image = Vec::with_capacity(glimpses);
        for _ in 0..glimpses {
            image.push(Linear::uniform(self.features[1], pixels, init)?);
        }
        let widths = [self.features[0], glimpses * self.features[1]];
        let fused = Slot {
            common: Some(self.common),
            ..Slot::new("classifier", widths)
        };
        slot(fused, init)?;
        Ok(Box::new(Mutan {
            embedding,
            gru,
            attention,
            question,
            image,
            regions: self.regions,
            dropout: self.dropout,
        }))
    }
}

/// The maps around one or two fusions.
pub struct Mutan<E: Scalar, D: Backend<E>> {
    /// Of words; word 0 is padding.
    pub embedding: Embedding<E, D>,
    /// Over words.
    pub gru: Gru<E, D>,
    /// To regions.
    pub attention: Attention<E, D>,
    /// F_q.
    pub question: Linear<E, D>,
    /// F_g of each glimpse.
    pub image: Vec<Linear<E, D>>,
    /// Regions of an image.
    pub regions: usize,
    /// Probability that an entry is dropped in training.
    pub dropout: f64,
}

parameters!(Mutan {
    embedding,
    gru,
    attention,
    question,
    image
});

/// Attention to regions.
pub struct Attention<E: Scalar, D: Backend<E>> {
    /// A_q.
    pub question: Linear<E, D>,
    /// A_v.
    pub image: Linear<E, D>,
    /// The sum of products of both, where no fusion of the model stands there.
    pub product: Option<Box<dyn Fusion<E, D>>>,
    /// S.
    pub score: Linear<E, D>,
}

parameters!(Attention {
    question,
    image,
    product,
    score
});

impl<E: Scalar, D: Backend<E>> Mutan<E, D> {
    /// q, the state after the last word of each question.
    fn read(&self, words: &Matrix<E, D>, pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let (batch, count) = *words.shape();
        let mut last = vec![E::zero(); batch * count];
        let mut longest = 1;
        let rows = to_host(words);
        for (row, last) in rows.chunks_exact(count).zip(last.chunks_exact_mut(count)) {
            let end = row.iter().rposition(|word| word.wide() > 0.0).unwrap_or(0);
            last[end] = E::one();
            longest = longest.max(end + 1);
        }
        let last = from_host(words.device(), last, (batch, count))?;
        let (inputs, width) = (self.embedding.width(), self.gru.width());
        let e = pass.lend(|tape| Ok(self.embedding.forward(words, tape)?.split_tape()))?;
        let states = pass.equation(&[e], |e| {
            let step = |step: usize| e[0].columns(step * inputs..(step + 1) * inputs);
            let steps: Vec<_> = (0..longest).map(step).collect();
            Ok(concatenate(self.gru.states(&steps)))
        })?;
        pass.show("states", &states);
        pass.equation(&[states, last], |x| {
            let chosen = |step: usize| {
                let own = x[1].columns(step..step + 1).repeat(width);
                own * x[0].columns(step * width..(step + 1) * width)
            };
            let sum = (0..longest).map(chosen).reduce(|sum, own| sum + own);
            Ok(sum.unwrap_or_else(|| x[0].clone()))
        })
    }

    /// a_q and a_v, a row for each region.
    fn regions(
        &self,
        q: &Matrix<E, D>,
        image: &Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<[Matrix<E, D>; 2]> {
        let (batch, width) = *image.shape();
        let rows = batch * self.regions;
        let a_q = pass.dropout(q, self.dropout, 0)?;
        let a_q = pass.run(&a_q, |q| self.attention.question.forward(q).tanh());
        let a_q = pass.equation(&[a_q], |a_q| Ok(a_q[0].repeat(self.regions)))?;
        let shape = (rows, a_q.shape().1 / self.regions);
        let a_q = pass.run(&a_q, |a_q| a_q.reshape_like(&shape));
        let shape = (rows, width / self.regions);
        let a_v = pass.run(image, |image| image.reshape_like(&shape));
        let a_v = pass.dropout(&a_v, self.dropout, 1)?;
        let a_v = pass.run(&a_v, |v| self.attention.image.forward(v).tanh());
        Ok([a_q, a_v])
    }

    /// f_q and f_v, of the fused rows of regions.
    fn features(
        &self,
        q: &Matrix<E, D>,
        image: &Matrix<E, D>,
        fused: &Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<[Matrix<E, D>; 2]> {
        let (batch, width) = *image.shape();
        let (glimpses, regions, pixels) = (self.image.len(), self.regions, width / self.regions);
        let scores = pass.run(fused, |m| {
            let scores = self.attention.score.forward(m);
            scores.reshape_like(&(batch, regions * glimpses))
        });
        let mask = self.mask(image)?;
        let weights = pass.equation(&[scores, mask], |x| {
            let scores = x[0].tokens(regions).transpose().into_value() + &x[1];
            Ok(scores.tokens(glimpses).softmax(1).into_value())
        })?;
        pass.show("weights", &weights);
        let attended = pass.equation(&[weights, image.clone()], |x| {
            let sums = x[0].tokens(glimpses).matmul(&x[1].tokens(regions));
            Ok(sums.into_value())
        })?;
        pass.show("attended", &attended);
        let mut parts = Vec::with_capacity(glimpses);
        for (glimpse, map) in self.image.iter().enumerate() {
            let own = glimpse * pixels..(glimpse + 1) * pixels;
            let v = pass.equation(std::slice::from_ref(&attended), |x| Ok(x[0].columns(own)))?;
            let v = pass.dropout(&v, self.dropout, 2 + glimpse as u64)?;
            parts.push(pass.run(&v, |v| map.forward(v).tanh()));
        }
        let f_v = pass.concatenate(&parts)?;
        let f_q = pass.dropout(q, self.dropout, 2 + glimpses as u64)?;
        let f_q = pass.run(&f_q, |q| self.question.forward(q).tanh());
        pass.show("query", &f_q);
        pass.show("image", &f_v);
        Ok([f_q, f_v])
    }

    /// −1e9 for every region that is not there, since all its features are 0: `[batch, glimpses · regions]`.
    fn mask(&self, image: &Matrix<E, D>) -> Result<Matrix<E, D>> {
        let (batch, width) = *image.shape();
        let pixels = to_host(image);
        let regions: Vec<E> = (pixels.chunks_exact(width / self.regions))
            .map(
                |region| match region.iter().all(|x| x.wide().abs() <= 0.0) {
                    true => E::of(-1e9),
                    false => E::zero(),
                },
            )
            .collect();
        let mut mask = Vec::with_capacity(regions.len() * self.image.len());
        for own in regions.chunks_exact(self.regions) {
            (0..self.image.len()).for_each(|_| mask.extend_from_slice(own));
        }
        let shape = (batch, self.image.len() * self.regions);
        from_host(image.device(), mask, shape)
    }

    /// The fused rows of regions.
    fn fuse_regions(
        &self,
        rows: &[Matrix<E, D>],
        slots: Option<&Slots<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let fused = match (&self.attention.product, slots) {
            (Some(product), _) => product.fuse(rows, pass),
            (None, Some(slots)) => slots.fuse(0, rows, pass),
            (None, None) => Err(Error::Missing {
                what: "the fusion of the attention".to_owned(),
                remedy: "give the slots of the model",
            }),
        }?;
        pass.show("attention_fused", &fused);
        Ok(fused)
    }
}

impl<E: Scalar, D: Backend<E>> Backbone<E, D> for Mutan<E, D> {
    fn encode(
        &self,
        x: &[Matrix<E, D>],
        _targets: Option<&Matrix<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        let [words, image] = two(x)?;
        let q = self.read(words, pass)?;
        let rows = self.regions(&q, image, pass)?;
        if self.attention.product.is_none() {
            return Ok(rows.to_vec());
        }
        let fused = self.fuse_regions(&rows, None, pass)?;
        Ok(self.features(&q, image, &fused, pass)?.to_vec())
    }

    fn run(
        &self,
        x: &[Matrix<E, D>],
        _targets: Option<&Matrix<E, D>>,
        slots: &Slots<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let [words, image] = two(x)?;
        let q = self.read(words, pass)?;
        pass.show("question", &q);
        let rows = self.regions(&q, image, pass)?;
        let fused = self.fuse_regions(&rows, Some(slots), pass)?;
        let features = self.features(&q, image, &fused, pass)?;
        let last = usize::from(self.attention.product.is_none());
        let fused = slots.fuse(last, &features, pass)?;
        pass.show("fused", &fused);
        pass.dropout(&fused, self.dropout, 3 + self.image.len() as u64)
    }
}

/// Question and image.
fn two<E: Scalar, D: Backend<E>>(x: &[Matrix<E, D>]) -> Result<[&Matrix<E, D>; 2]> {
    match x {
        [words, image] => Ok([words, image]),
        other => Err(Error::Shape {
            what: "the modalities".to_owned(),
            expected: "two, words and regions".to_owned(),
            got: other.len().to_string(),
        }),
    }
}
