//! Questions about images: modular co-attention.

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{from_host, to_host};

use crate::layers::modules::{relu, Embedding, Linear, Lstm, MultiHead, StandardNorm};
use crate::layers::{concatenate, Initializer, Vocabulary};
use crate::model::{Backbone, BackboneConfig, BackboneRequest, Backbones};
use crate::pass::Pass;
use crate::slot::{Slot, Slots};

plugin! {
    /// A question and the regions of an image, by attention of each to itself and of the image to the question: deep modular co-attention.
    ///
    /// The first modality is the question, numbers of words with 0 as padding on the right; the second the image, `regions` rows of
    /// features one after the other, of which rows of zeros are no regions. Words go through an LSTM, which runs on through padding, and
    /// `layers` of x = N(x + attention(x, x)), x = N(x + W_2 relu(W_1 x)); regions, with the words of the last layer, through as many of
    /// y = N(y + attention(y, y)), y = N(y + attention(y, x)), y = N(y + W_2 relu(W_1 y)). Each side becomes one vector, the sum of its rows with
    /// weights softmax(V_2 relu(V_1 x)), mapped. The fusion makes one of both, which is normalized and goes to the head.
    ///
    /// Defaults are those of the large model. Reference: Z. Yu, J. Yu, Y. Cui, D. Tao, Q. Tian, Deep Modular Co-Attention Networks for Visual
    /// Question Answering, CVPR 2019, as in its authors' program; the VQA experiment of arXiv 2306.16645.
    pub struct McanConfig: BackboneConfig {
        /// Words, with padding: the numbers of words are below it.
        pub words: usize = 1000,
        /// Width of the embedding of a word, at least 1.
        pub embedding: usize = 300,
        /// Regions of an image, at least 1, with those that are not there.
        pub regions: usize = 100,
        /// Width of words and regions, a multiple of `heads`.
        pub hidden: usize = 1024,
        /// Layers of each side, at least 1.
        pub layers: usize = 6,
        /// Heads of every attention, at least 1.
        pub heads: usize = 8,
        /// Width between W_1 and W_2, at least 1.
        pub inner: usize = 4096,
        /// Width between V_1 and V_2, at least 1.
        pub pooling: usize = 512,
        /// Width of the vector of each side, at least 1.
        pub width: usize = 2048,
        /// Probability that an entry is dropped in training, in [0, 1).
        pub dropout: f64 = 0.1,
    }
}

/// What is added to the scores of padding.
const PADDING: f64 = -1e9;

#[typetag::serde(name = "mcan")]
impl BackboneConfig for McanConfig {
    fn width(&self) -> usize {
        self.width
    }

    fn validate(&self) -> Result<()> {
        let sizes = [
            ("words", self.words),
            ("embedding", self.embedding),
            ("regions", self.regions),
            ("hidden", self.hidden),
            ("layers", self.layers),
            ("inner", self.inner),
            ("pooling", self.pooling),
            ("width", self.width),
        ];
        Error::require_all_at_least_one("mcan", &sizes)?;
        Error::require_divided_by_heads("mcan", "hidden", self.hidden, self.heads)?;
        Error::require_fraction("mcan", "dropout", self.dropout)
    }

    /// From `backbone.language.layer.1.attention.1.query.weight` to `language.1.self.query.weight`, and so on.
    fn original_name(&self, name: &str) -> String {
        if let Some(own) = name.strip_prefix("head.") {
            return format!("classifier.{own}");
        }
        let Some(own) = name.strip_prefix("backbone.") else {
            return name.to_owned();
        };
        let own = own
            .replace(".layer.", ".")
            .replace(".pool.score.", ".pool.")
            .replace(".attention.1.", ".self.")
            .replace(".attention.2.", ".guided.");
        own.replace(".norm.", ".norm")
    }
}

impl Build<Backbones> for McanConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: BackboneRequest<'_, D>,
    ) -> Result<Box<dyn Backbone<E, D>>> {
        self.validate()?;
        let pixels = request.region_width("mcan", self.regions)?;
        let BackboneRequest { init, slot, .. } = request;
        let embedding = Embedding::normal(self.words, self.embedding, 1.0, init)?;
        let lstm = Lstm::new(self.embedding, self.hidden, init)?;
        let image = Linear::uniform(self.hidden, pixels, init)?;
        let language = Side::new(self, 1, init)?;
        let vision = Side::new(self, 2, init)?;
        let fused = slot(Slot::new("vectors", [self.width, self.width]), init)?;
        Ok(Box::new(Mcan {
            embedding,
            lstm,
            image,
            language,
            vision,
            norm: StandardNorm::new(fused, init)?,
            config: self.clone(),
        }))
    }
}

/// Both sides, and what surrounds them.
pub struct Mcan<E: Scalar, D: Backend<E>> {
    /// Of words.
    pub embedding: Embedding<E, D>,
    /// Over words.
    pub lstm: Lstm<E, D>,
    /// Of regions.
    pub image: Linear<E, D>,
    /// Of the question.
    pub language: Side<E, D>,
    /// Of the image.
    pub vision: Side<E, D>,
    /// After the fusion.
    pub norm: StandardNorm<E, D>,
    /// Sizes and dropout.
    pub config: McanConfig,
}

parameters!(Mcan {
    embedding,
    lstm,
    image,
    language,
    vision,
    norm
});

/// The layers of one side, and how it becomes a vector.
pub struct Side<E: Scalar, D: Backend<E>> {
    /// In order.
    pub layer: Vec<Layer<E, D>>,
    /// V_1, V_2 and the map of the sum.
    pub pool: Pool<E, D>,
}

parameters!(Side { layer, pool });

/// Attentions, first to the side itself, and maps, each with a normalization.
pub struct Layer<E: Scalar, D: Backend<E>> {
    /// To the own side, then to the other one, if there is one.
    pub attention: Vec<MultiHead<E, D>>,
    /// W_1 and W_2.
    pub ffn: Vec<Linear<E, D>>,
    /// One after each attention, and one after the maps.
    pub norm: Vec<StandardNorm<E, D>>,
}

parameters!(Layer {
    attention,
    ffn,
    norm
});

/// From rows to a vector.
pub struct Pool<E: Scalar, D: Backend<E>> {
    /// V_1 and V_2.
    pub score: Vec<Linear<E, D>>,
    /// Of the sum.
    pub merge: Linear<E, D>,
}

parameters!(Pool { score, merge });

impl<E: Scalar, D: Backend<E>> Side<E, D> {
    fn new(config: &McanConfig, attentions: usize, init: &mut Initializer<D>) -> Result<Self> {
        let mut layer = Vec::with_capacity(config.layers);
        for _ in 0..config.layers {
            let mut own = Layer {
                attention: Vec::with_capacity(attentions),
                ffn: Vec::with_capacity(2),
                norm: Vec::with_capacity(attentions + 1),
            };
            for _ in 0..attentions {
                let attention = MultiHead::new(config.hidden, config.heads, init)?;
                own.attention.push(attention);
                own.norm.push(StandardNorm::new(config.hidden, init)?);
            }
            own.ffn
                .push(Linear::uniform(config.inner, config.hidden, init)?);
            own.ffn
                .push(Linear::uniform(config.hidden, config.inner, init)?);
            own.norm.push(StandardNorm::new(config.hidden, init)?);
            layer.push(own);
        }
        let pool = Pool {
            score: vec![
                Linear::uniform(config.pooling, config.hidden, init)?,
                Linear::uniform(1, config.pooling, init)?,
            ],
            merge: Linear::uniform(config.width, config.hidden, init)?,
        };
        Ok(Self { layer, pool })
    }
}

/// Rows of one side, `[batch, count · hidden]`, and what is added to the scores of each, `[batch, count]`.
struct Rows<E: Scalar, D: Backend<E>> {
    x: Matrix<E, D>,
    mask: Matrix<E, D>,
    count: usize,
}

/// Numbers the masks of dropout in a pass.
struct Sites(u64);

impl Sites {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

impl<E: Scalar, D: Backend<E>> Mcan<E, D> {
    /// The vectors of question and image.
    fn vectors(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Vec<Matrix<E, D>>> {
        let [words, image] = match x {
            [words, image] => [words, image],
            other => {
                return Err(Error::Shape {
                    what: "the modalities".to_owned(),
                    expected: "two, words and regions".to_owned(),
                    got: other.len().to_string(),
                })
            }
        };
        let mut sites = Sites(0);
        let mut question = Rows {
            x: self.read(words, pass)?,
            mask: padding(words, words.shape().1)?,
            count: words.shape().1,
        };
        let regions = self.config.regions;
        let seen = rows_of(image, regions, pass)?;
        let seen = pass.run(&seen, |image| self.image.forward(image));
        let shape = (image.shape().0, regions * self.config.hidden);
        let mut seen = Rows {
            x: pass.run(&seen, |seen| seen.reshape_like(&shape)),
            mask: padding(image, regions)?,
            count: regions,
        };
        pass.show("lstm", &question.x);
        pass.show("image_in", &seen.x);
        for layer in &self.language.layer {
            question.x = self.layer(layer, &question, None, &mut sites, pass)?;
            pass.show("language", &question.x);
        }
        for layer in &self.vision.layer {
            seen.x = self.layer(layer, &seen, Some(&question), &mut sites, pass)?;
            pass.show("vision", &seen.x);
        }
        let language = self.pool(&self.language.pool, &question, &mut sites, pass)?;
        let vision = self.pool(&self.vision.pool, &seen, &mut sites, pass)?;
        Ok(vec![language, vision])
    }

    /// The states of the LSTM over all words.
    fn read(&self, words: &Matrix<E, D>, pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let (width, count) = (self.embedding.width(), words.shape().1);
        let e = pass.lend(|tape| Ok(self.embedding.forward(words, tape)?.split_tape()))?;
        pass.equation(&[e], |e| {
            let step = |step: usize| e[0].columns(step * width..(step + 1) * width);
            let steps: Vec<_> = (0..count).map(step).collect();
            Ok(concatenate(self.lstm.states(&steps)))
        })
    }

    fn layer(
        &self,
        layer: &Layer<E, D>,
        own: &Rows<E, D>,
        other: Option<&Rows<E, D>>,
        sites: &mut Sites,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let (p, count) = (self.config.dropout, own.count);
        let mut x = own.x.clone();
        let mut norms = layer.norm.iter();
        let add = |x: &Matrix<E, D>,
                   new: Matrix<E, D>,
                   norm: Option<&StandardNorm<E, D>>,
                   pass: &mut Pass<E, D>| {
            pass.equation(&[x.clone(), new], |x| {
                let sum = &x[0] + &x[1];
                Ok(match norm {
                    Some(norm) => norm.of(&sum.tokens(count)).into_value(),
                    None => sum,
                })
            })
        };
        for (number, attention) in layer.attention.iter().enumerate() {
            let guide = other.filter(|_| number > 0);
            let (keys, keys_mask, keys_count) = match guide {
                Some(other) => (&other.x, &other.mask, other.count),
                None => (&x, &own.mask, count),
            };
            let mut inputs = vec![x.clone(), keys.clone(), by_query(keys_mask, count)?];
            let shape = (x.shape().0, attention.heads * count * keys_count);
            inputs.extend(pass.mask_of(x.device(), shape, p, sites.next())?);
            let new = pass.equation(&inputs, |x| {
                let (words, others) = (x[0].tokens(count), x[1].tokens(keys_count));
                let attended = attention.of(&words, &others, &x[2], x.get(3));
                Ok(attended.into_value())
            })?;
            let new = pass.dropout(&new, p, sites.next())?;
            x = add(&x, new, norms.next(), pass)?;
        }
        let mut new = rows_of(&x, count, pass)?;
        for (number, map) in layer.ffn.iter().enumerate() {
            new = pass.try_run(&new, |new| match number {
                0 => relu(map.forward(new)),
                _ => Ok(map.forward(new)),
            })?;
            new = pass.dropout(&new, p, sites.next())?;
        }
        let new = pass.run(&new, |new| new.reshape_like(x.shape()));
        add(&x, new, norms.next(), pass)
    }

    fn pool(
        &self,
        pool: &Pool<E, D>,
        rows: &Rows<E, D>,
        sites: &mut Sites,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let mut scores = rows_of(&rows.x, rows.count, pass)?;
        for (number, map) in pool.score.iter().enumerate() {
            scores = pass.try_run(&scores, |scores| match number {
                0 => relu(map.forward(scores)),
                _ => Ok(map.forward(scores)),
            })?;
            if number == 0 {
                scores = pass.dropout(&scores, self.config.dropout, sites.next())?;
            }
        }
        let scores = pass.run(&scores, |scores| scores.reshape_like(rows.mask.shape()));
        let sum = pass.equation(&[scores, rows.mask.clone(), rows.x.clone()], |x| {
            let weights = (&x[0] + &x[1]).softmax(1).tokens(1);
            Ok(weights.matmul(&x[2].tokens(rows.count)).into_value())
        })?;
        Ok(pass.run(&sum, |sum| pool.merge.forward(sum)))
    }
}

impl<E: Scalar, D: Backend<E>> Backbone<E, D> for Mcan<E, D> {
    fn encode(
        &self,
        x: &[Matrix<E, D>],
        _targets: Option<&Matrix<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        self.vectors(x, pass)
    }

    fn run(
        &self,
        x: &[Matrix<E, D>],
        _targets: Option<&Matrix<E, D>>,
        slots: &Slots<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let vectors = self.vectors(x, pass)?;
        let fused = slots.fuse(0, &vectors, pass)?;
        pass.show("fused", &fused);
        pass.equation(&[fused], |fused| Ok(self.norm.of(&fused[0])))
    }
}

/// Each row as `count` rows.
fn rows_of<E: Scalar, D: Backend<E>>(
    x: &Matrix<E, D>,
    count: usize,
    pass: &mut Pass<E, D>,
) -> Result<Matrix<E, D>> {
    let (batch, width) = *x.shape();
    Ok(pass.run(x, |x| x.reshape_like(&(batch * count, width / count))))
}

/// [`PADDING`] for each of `count` groups of columns that are all 0.
fn padding<E: Scalar, D: Backend<E>>(x: &Matrix<E, D>, count: usize) -> Result<Matrix<E, D>> {
    let (batch, width) = *x.shape();
    let added = |group: &[E]| match group.iter().all(|x| x.wide().abs() <= 0.0) {
        true => E::of(PADDING),
        false => E::zero(),
    };
    let mask = to_host(x).chunks_exact(width / count).map(added).collect();
    from_host(x.device(), mask, (batch, count))
}

/// A mask of keys for each of so many queries.
fn by_query<E: Scalar, D: Backend<E>>(mask: &Matrix<E, D>, queries: usize) -> Result<Matrix<E, D>> {
    let (batch, keys) = *mask.shape();
    let values = to_host(mask);
    let rows = values.chunks_exact(keys);
    let repeated = rows.flat_map(|keys| keys.repeat(queries)).collect();
    from_host(mask.device(), repeated, (batch, queries * keys))
}
