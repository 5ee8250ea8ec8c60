//! Sentences as text and sound: CM-BERT.

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{from_host, to_host};

use crate::layers::modules::{
    scale_rows, BertEmbedding, BertLayer, BertMasks, LayerNorm, Linear, Unbiased,
};
use crate::layers::Vocabulary;
use crate::model::{Backbone, BackboneConfig, BackboneRequest, Backbones};
use crate::pass::Pass;
use crate::slot::{Slot, Slots};

plugin! {
    /// BERT with attention to words by text and sound together: the backbone of CM-BERT.
    ///
    /// The first modality is the text, numbers of words with 0 as padding on the right; the second the sound, a row of numbers for each
    /// word. With the words X of BERT's last layer: t = P_t X, divided by √‖t‖_F, a constant for the gradient, a = P_a A, M_t = relu(t tᵀ),
    /// M_a = relu(a aᵀ). The fusion makes S of M_a and M_t: a row is a word j, and has a number for each word i that looks at it. Then
    /// W = softmax(S − 1e4 where there is no word), Y = N(D (W X + X)), and the first word of Y goes to the head. The width of the fusion is
    /// the number of words, which groups of a normalization have to divide.
    ///
    /// Reference: K. Yang, H. Xu, K. Gao, CM-BERT: Cross-Modal BERT for Text-Audio Sentiment Analysis, ACM MM 2020, as in its authors'
    /// program; the CMU-MOSI experiment of arXiv 2306.16645.
    pub struct CmBertConfig: BackboneConfig {
        /// Words, with padding: the numbers of words are below it.
        pub vocabulary: usize = 30_522,
        /// Places that there are embeddings for, at least as many as a sentence has words.
        pub positions: usize = 512,
        /// Width of a word, a multiple of `heads`.
        pub hidden: usize = 768,
        /// Layers, at least 1.
        pub layers: usize = 12,
        /// Heads of every attention, at least 1.
        pub heads: usize = 12,
        /// Width in the middle of the maps of a layer, at least 1.
        pub inner: usize = 3072,
        /// Width of t and a, at least 1.
        pub projection: usize = 30,
        /// Whether a row of the fusion is one of the `columns` of a map, a word that is looked at, or the `whole` map of a sentence, whose
        /// columns are its tokens: for DEQ fusion with `tokens`, as in its authors' program.
        pub rows: Rows = Rows::Columns,
        /// Whether ‖t‖_F is that of a `sample` or, as in the original, of the whole `batch` with its padding, by which the result of a
        /// sample depends on the others.
        pub text_scale: TextScale = TextScale::Sample,
        /// Probability that an entry is dropped in training inside BERT and before the head, in [0, 1).
        pub dropout: f64 = 0.1,
        /// The same for the attention W.
        pub attention_dropout: f64 = 0.3,
    }
}

/// What a row of the fusion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "equilibria_core::serde", rename_all = "kebab-case")]
pub enum Rows {
    /// A word that is looked at.
    Columns,
    /// A sentence.
    Whole,
}

/// What the text is divided by the size of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "equilibria_core::serde", rename_all = "kebab-case")]
pub enum TextScale {
    /// Each sentence for itself.
    Sample,
    /// All sentences that are computed at a time.
    Batch,
}

/// What is added to the scores of padding.
const PADDING: f64 = -10_000.0;

#[typetag::serde(name = "cm-bert")]
impl BackboneConfig for CmBertConfig {
    fn width(&self) -> usize {
        self.hidden
    }

    fn validate(&self) -> Result<()> {
        let sizes = [
            ("vocabulary", self.vocabulary),
            ("positions", self.positions),
            ("hidden", self.hidden),
            ("layers", self.layers),
            ("inner", self.inner),
            ("projection", self.projection),
        ];
        Error::require_all_at_least_one("cm-bert", &sizes)?;
        Error::require_divided_by_heads("cm-bert", "hidden", self.hidden, self.heads)?;
        Error::require_fraction("cm-bert", "dropout", self.dropout)?;
        Error::require_fraction("cm-bert", "attention_dropout", self.attention_dropout)
    }

    /// From `backbone.layer.1.query.weight` to `layer.1.query.weight`, and so on; the weights of the fusion `weighted-sum` are two numbers.
    fn original_name(&self, name: &str) -> String {
        match name {
            "fusion.w" => "attention.w_audio+attention.w_text".to_owned(),
            "fusion.bias" => "attention.bias".to_owned(),
            _ => match name.strip_prefix("head.") {
                Some(own) => format!("regressor.{own}"),
                None => name.replacen("backbone.", "", 1),
            },
        }
    }
}

impl Build<Backbones> for CmBertConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: BackboneRequest<'_, D>,
    ) -> Result<Box<dyn Backbone<E, D>>> {
        self.validate()?;
        let BackboneRequest {
            modalities,
            init,
            slot,
            ..
        } = request;
        let fits =
            matches!(modalities, &[words, sound] if words > 0 && sound.is_multiple_of(words));
        let got = format!("{modalities:?}");
        let expected = "for two modalities, words and as many rows of sound";
        Error::require(fits, "cm-bert", "type", expected, got)?;
        let words = modalities[0];
        let got = format!("{} for {words} words", self.positions);
        let enough = words <= self.positions;
        Error::require(
            enough,
            "cm-bert",
            "positions",
            "at least the words of a sentence",
            got,
        )?;
        let hidden = self.hidden;
        let embedding = BertEmbedding::new([self.vocabulary, self.positions, 2], hidden, init)?;
        let mut layer = Vec::with_capacity(self.layers);
        for _ in 0..self.layers {
            layer.push(BertLayer::new(hidden, self.heads, self.inner, init)?);
        }
        let attention = Attention {
            text: Unbiased::uniform(self.projection, hidden, init)?,
            audio: Unbiased::uniform(self.projection, modalities[1] / words, init)?,
        };
        let (width, rows) = match self.rows {
            Rows::Columns => (words, words),
            Rows::Whole => (words * words, 1),
        };
        let scores = Slot {
            output: Some(width),
            rows,
            ..Slot::new("scores", [width, width])
        };
        slot(scores, init)?;
        Ok(Box::new(CmBert {
            embedding,
            layer,
            attention,
            dense: Linear::normal(hidden, hidden, 0.02, init)?,
            norm: LayerNorm {
                epsilon: 1e-12,
                ..LayerNorm::new(hidden, init)?
            },
            config: self.clone(),
        }))
    }
}

/// BERT, and what surrounds the fusion.
pub struct CmBert<E: Scalar, D: Backend<E>> {
    /// Of the words.
    pub embedding: BertEmbedding<E, D>,
    /// The layers in order.
    pub layer: Vec<BertLayer<E, D>>,
    /// P_t and P_a.
    pub attention: Attention<E, D>,
    /// D.
    pub dense: Linear<E, D>,
    /// N.
    pub norm: LayerNorm<E, D>,
    /// Heads, dropout and the scale of the text.
    pub config: CmBertConfig,
}

parameters!(CmBert {
    embedding,
    layer,
    attention,
    dense,
    norm
});

/// The maps before the fusion.
pub struct Attention<E: Scalar, D: Backend<E>> {
    /// P_t.
    pub text: Unbiased<E, D>,
    /// P_a.
    pub audio: Unbiased<E, D>,
}

parameters!(Attention { text, audio });

impl<E: Scalar, D: Backend<E>> CmBert<E, D> {
    /// X, the words of the last layer, `[batch, words · hidden]`.
    fn read(
        &self,
        words: &Matrix<E, D>,
        mask: &Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let (batch, count) = *words.shape();
        let (p, heads) = (self.config.dropout, self.config.heads);
        let e = pass.lend(|tape| Ok(self.embedding.word.forward(words, tape)?.split_tape()))?;
        let e = pass.equation(&[e], |e| Ok(self.embedding.of(&e[0], count)))?;
        pass.show("embedding", &e);
        let mut x = pass.dropout(&e, p, 0)?;
        // One row of the mask for every query.
        let keys = to_host(mask);
        let rows = keys.chunks_exact(count);
        let mask: Vec<E> = rows.flat_map(|keys| keys.repeat(count)).collect();
        let mask = from_host(words.device(), mask, (batch, count * count))?;
        for (index, layer) in (0..).zip(&self.layer) {
            let mut inputs = vec![x.clone(), mask.clone()];
            let weights = (batch, heads * count * count);
            for (part, shape) in (0..).zip([weights, *x.shape(), *x.shape()]) {
                inputs.extend(pass.mask_of(x.device(), shape, p, 3 * index + part + 1)?);
            }
            x = pass.equation(&inputs, |x| {
                let masks = match x {
                    [_, _, weights, attended, ffn] => Some(BertMasks {
                        weights: weights.clone(),
                        attended: attended.clone(),
                        ffn: ffn.clone(),
                    }),
                    _ => None,
                };
                let words = x[0].tokens(count);
                Ok(layer.of(&words, &x[1], masks.as_ref()).into_value())
            })?;
            pass.show("layer", &x);
        }
        Ok(x)
    }

    /// M_a and M_t, `[batch · words, words]` or `[batch, words · words]`: they are symmetric, so that a row is a column.
    fn maps(
        &self,
        words: &Matrix<E, D>,
        sound: &Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<[Matrix<E, D>; 2]> {
        let (batch, _) = *words.shape();
        let count = words.shape().1 / self.config.hidden;
        let map = |x: &Matrix<E, D>, of: &Unbiased<E, D>, pass: &mut Pass<E, D>| {
            pass.equation(std::slice::from_ref(x), |x| {
                Ok(of.of(&x[0].tokens(count)).into_value())
            })
        };
        let t = map(words, &self.attention.text, pass)?;
        let scale = self.scale(&t, pass)?;
        let t = pass.try_run(&t, |t| scale_rows(&scale, t))?;
        let a = map(sound, &self.attention.audio, pass)?;
        let products = |x: &Matrix<E, D>, pass: &mut Pass<E, D>| {
            let m = pass.equation(std::slice::from_ref(x), |x| {
                let x = x[0].tokens(count);
                Ok(x.matmul_transposed(&x).relu().into_value())
            })?;
            let shape = match self.config.rows {
                Rows::Columns => (batch * count, count),
                Rows::Whole => (batch, count * count),
            };
            Ok::<_, Error>(pass.run(&m, |m| m.reshape_like(&shape)))
        };
        let maps = [products(&a, pass)?, products(&t, pass)?];
        pass.show("audio_map", &maps[0]);
        pass.show("text_map", &maps[1]);
        Ok(maps)
    }

    /// 1 / √‖t‖_F for every sentence, `[batch, 1]`; 1 where t is 0.
    fn scale(&self, t: &Matrix<E, D>, pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let (batch, width) = *t.shape();
        let values = to_host(t);
        let squares = values.chunks_exact(width.max(1));
        let squares = squares.map(|row| row.iter().map(|x| x.wide() * x.wide()).sum::<f64>());
        let mut squares: Vec<f64> = squares.collect();
        if self.config.text_scale == TextScale::Batch {
            squares = vec![squares.iter().sum(); batch];
        }
        let size = |square: &f64| E::of(square.sqrt().sqrt());
        let sizes: Vec<E> = squares.iter().map(size).collect();
        pass.show(
            "text_scale",
            &from_host(t.device(), sizes.clone(), (batch, 1))?,
        );
        let factor = |size: E| match size > E::zero() {
            true => E::one() / size,
            false => E::one(),
        };
        let factors = sizes.into_iter().map(factor).collect();
        from_host(t.device(), factors, (batch, 1))
    }

    /// What is added to scores for every word: [`PADDING`] where there is none.
    fn padding(&self, words: &Matrix<E, D>) -> Result<Matrix<E, D>> {
        let added = |word: E| match word.wide() > 0.0 {
            true => E::zero(),
            false => E::of(PADDING),
        };
        let mask = to_host(words).into_iter().map(added).collect();
        from_host(words.device(), mask, *words.shape())
    }
}

impl<E: Scalar, D: Backend<E>> Backbone<E, D> for CmBert<E, D> {
    fn encode(
        &self,
        x: &[Matrix<E, D>],
        _targets: Option<&Matrix<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        let [words, sound] = two(x)?;
        let read = self.read(words, &self.padding(words)?, pass)?;
        Ok(self.maps(&read, sound, pass)?.to_vec())
    }

    fn run(
        &self,
        x: &[Matrix<E, D>],
        _targets: Option<&Matrix<E, D>>,
        slots: &Slots<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let [words, sound] = two(x)?;
        let (batch, count) = *words.shape();
        let mask = self.padding(words)?;
        let read = self.read(words, &mask, pass)?;
        let maps = self.maps(&read, sound, pass)?;
        let fused = slots.fuse(0, &maps, pass)?;
        pass.show("fused", &fused);
        let scores = pass.run(&fused, |s| s.reshape_like(&(batch, count * count)));
        let weights = pass.equation(&[scores, mask], |x| {
            let scores = x[0].tokens(count).transpose().into_value();
            let masked = scores + x[1].repeat(count);
            Ok(masked.tokens(count).softmax(1).into_value())
        })?;
        pass.show("attention", &weights);
        let site = 3 * self.layer.len() as u64 + 1;
        let weights = pass.dropout(&weights, self.config.attention_dropout, site)?;
        // Only the first word goes on.
        let sum = pass.equation(&[weights, read], |x| {
            let first = x[0].columns(0..count).tokens(1);
            let sum = first.matmul(&x[1].tokens(count)).into_value();
            Ok(sum + x[1].columns(0..self.config.hidden))
        })?;
        let y = pass.run(&sum, |sum| self.dense.forward(sum));
        let y = pass.dropout(&y, self.config.dropout, site + 1)?;
        let y = pass.run(&y, |y| self.norm.forward(y));
        pass.show("first", &y);
        pass.dropout(&y, self.config.dropout, site + 2)
    }

    fn output_dim(&self, _fused: usize) -> usize {
        self.config.hidden
    }
}

/// Text and sound.
fn two<E: Scalar, D: Backend<E>>(x: &[Matrix<E, D>]) -> Result<[&Matrix<E, D>; 2]> {
    match x {
        [words, sound] => Ok([words, sound]),
        other => Err(Error::Shape {
            what: "the modalities".to_owned(),
            expected: "two, words and sound".to_owned(),
            got: other.len().to_string(),
        }),
    }
}
