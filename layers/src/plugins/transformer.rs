//! The deep equilibrium transformer.

use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::config::pairs;
use crate::modules::Linear;
use crate::{
    attend, attention_scores, causal_mask, concatenate, LayerConfig, LayerRequest, Layers,
    Selection, Sizes, Tokens, Vocabulary,
};

plugin! {
    /// The deep equilibrium transformer, a weight-tied block of attention and feed-forward network, one sequence per row.
    ///
    /// Tokens z, [`tokens`, d]; u = inject(x) is added to queries, keys and values, `[q|k|v] = z Wᵀ + u`. Scores are
    /// s_ij = ((q_i + b_w) · k_j + (q_i + b_r) · R(i − j)) / √(d / heads), with R(k) a linear map of the sinusoids of the distance k; then
    /// a = LN(o(softmax(s) v) + z) and f(z; x) = LN(ff₂ relu(ff₁ a) + a). Layer norms have no parameters.
    ///
    /// It takes x, with `features` numbers for each token; then, with `memory` tokens, their states and what was
    /// injected into them (3 d each), which are seen and not changed; then, with `masked`, a mask, 1 for tokens that are there and 0 for
    /// others, which nothing looks at and whose states are 0.
    ///
    /// The last norm keeps f bounded, so that a solution exists; nothing says that it is the only one, and for large weights solvers
    /// fail. `anderson` or `broyden`. The spectral radius grows with the weights: `spectral-norm` or the penalty `jacobian` holds it
    /// down. `positions = "none"` with `causal = false` is an encoder, which does not know the order of its tokens: what they are at must
    /// be in x, or `learned`.
    ///
    /// Reference: S. Bai, J. Z. Kolter, V. Koltun, Deep Equilibrium Models, NeurIPS 2019, §3.2; Z. Dai et al., Transformer-XL, ACL 2019.
    pub struct TransformerConfig: LayerConfig {
        /// Tokens of a sequence, at least 1.
        pub tokens: usize = 3,
        /// d, numbers per token of the state, at least 1; even where positions are relative.
        pub width: usize = 4,
        /// Numbers per token of x, at least 1.
        pub features: usize = 3,
        /// Parts that attention is done for, at least 1, a divisor of the width of a token.
        pub heads: usize = 2,
        /// Width of the feed-forward network, at least 1.
        pub inner: usize = 8,
        /// Tokens before the first one, whose states are inputs.
        pub memory: usize = 0,
        /// How tokens know where they are: `relative`, by the distance to those before, which needs `causal`; `learned`, by what is
        /// injected at each place; or `none`.
        pub positions: Positions = Positions::Relative,
        /// Whether tokens see those before them only.
        pub causal: bool = true,
        /// Whether the last input is a mask.
        pub masked: bool = false,
        /// Where layer norms stand: `post`, after each addition; `pre-normalized`, before, where the feed-forward network is added to what
        /// was normalized, as in the original code. Plain `pre` is refused: it ignores a constant added to a token, and passes it on, so
        /// that I − J is singular everywhere.
        pub norm: Norm = Norm::Post,
        /// Standard deviation of the initial weights, above 0.
        pub deviation: f64 = 0.01,
    }
}

/// How tokens know where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "equilibria_core::serde", rename_all = "kebab-case")]
pub enum Positions {
    /// By sinusoids of distances in the scores.
    Relative,
    /// By a parameter that is injected at each place.
    Learned,
    /// Not at all.
    None,
}

/// Where layer norms stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "equilibria_core::serde", rename_all = "kebab-case")]
pub enum Norm {
    /// After each addition.
    Post,
    /// Before attention and feed-forward network, the latter added to its normalized argument.
    PreNormalized,
    /// Before both, with additions to what was not normalized: refused.
    Pre,
}

#[typetag::serde(name = "transformer")]
impl LayerConfig for TransformerConfig {
    fn validate(&self) -> Result<()> {
        let name = "transformer";
        let sizes = [
            ("tokens", self.tokens),
            ("inner", self.inner),
            ("width", self.width),
            ("features", self.features),
        ];
        Error::require_all_at_least_one(name, &sizes)?;
        Error::require_divided_by_heads(name, "width", self.width, self.heads)?;
        let even = self.positions != Positions::Relative || self.width.is_multiple_of(2);
        let expected = "even where positions are relative: half of it are sines, half cosines";
        Error::require(even, name, "width", expected, self.width)?;
        Error::require_positive(name, "deviation", self.deviation)?;
        let ordered = self.causal || self.positions != Positions::Relative;
        let expected =
            "`learned` or `none` unless `causal`: distances to later tokens have no sign";
        Error::require(ordered, name, "positions", expected, "relative")?;
        let isolated = self.norm != Norm::Pre;
        let expected = "`post` or `pre-normalized`: without a norm behind its additions, f(z + c) = f(z) + c for every constant c \
                        per token, I − J is singular everywhere and no equilibrium is isolated";
        Error::require(isolated, name, "norm", expected, "pre")
    }

    fn sizes(&self) -> Option<Sizes> {
        let (memory, mut inputs) = (self.memory * self.width, vec![self.tokens * self.features]);
        if self.memory > 0 {
            inputs.extend([memory, 3 * memory]);
        }
        if self.masked {
            inputs.push(self.tokens);
        }
        Some(Sizes {
            state: self.tokens * self.width,
            inputs,
        })
    }

    fn original_names(&self) -> Vec<(String, String)> {
        pairs(&[
            ("inject.weight", "inject_conv.weight"),
            ("inject.bias", "inject_conv.bias"),
            ("qkv", "func.dec_attn.qkv_net.weight"),
            ("relative.projection", "func.dec_attn.r_net.weight"),
            ("relative.content_bias", "func.dec_attn.r_w_bias"),
            ("relative.distance_bias", "func.dec_attn.r_r_bias"),
            ("out.weight", "func.dec_attn.o_net.weight"),
            ("out.bias", "func.dec_attn.o_net.bias"),
            ("ff1.weight", "func.pos_ff.ff1_net.weight"),
            ("ff1.bias", "func.pos_ff.ff1_net.bias"),
            ("ff2.weight", "func.pos_ff.ff2_net.weight"),
            ("ff2.bias", "func.pos_ff.ff2_net.bias"),
        ])
    }
}

impl Build<Layers> for TransformerConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        Sizes::require(self.sizes(), "transformer", request.state, request.inputs)?;
        let (tokens, width, deviation) = (self.tokens, self.width, self.deviation);
        let init = request.init;
        let relative = match self.positions {
            Positions::Relative => Some(Relative {
                projection: init.normal((width, width), deviation)?,
                content_bias: init.normal((1, width), deviation)?,
                distance_bias: init.normal((1, width), deviation)?,
                sinusoids: sinusoids(tokens + self.memory, width),
                moved: Selection::distances(tokens, tokens + self.memory)?,
            }),
            _ => None,
        };
        let place = match self.positions {
            Positions::Learned => Some(init.normal((1, tokens * 3 * width), deviation)?),
            _ => None,
        };
        Ok(AnyLayer::new(Transformer {
            inject: Linear::normal(3 * width, self.features, deviation, init)?,
            qkv: init.normal((3 * width, width), deviation)?,
            relative,
            place,
            out: Linear::normal(width, width, deviation, init)?,
            ff1: Linear::normal(self.inner, width, deviation, init)?,
            ff2: Linear::normal(width, self.inner, deviation, init)?,
            config: self.clone(),
        }))
    }
}

/// `f(z; x) = LN(ff₂ relu(ff₁ a) + a)` with `a = LN(o(softmax(s) v) + z)`.
#[derive(Clone)]
pub struct Transformer<E: Scalar, D: Backend<E>> {
    /// From an input token to what is added to q, k and v, `[3 width, features]`.
    pub inject: Linear<E, D>,
    /// Q, K and V one below the other, `[3 width, width]`.
    pub qkv: Matrix<E, D>,
    /// Scores by distance.
    pub relative: Option<Relative<E, D>>,
    /// What is added to the injection at each place, `[1, tokens · 3 width]`.
    pub place: Option<Matrix<E, D>>,
    /// o, `[width, width]`.
    pub out: Linear<E, D>,
    /// ff₁, `[inner, width]`.
    pub ff1: Linear<E, D>,
    /// ff₂, `[width, inner]`.
    pub ff2: Linear<E, D>,
    /// Sizes and variants.
    pub config: TransformerConfig,
}

parameters!(Transformer {
    inject,
    qkv,
    relative,
    place,
    out,
    ff1,
    ff2
});

/// Scores by distance.
#[derive(Clone)]
pub struct Relative<E: Scalar, D: Backend<E>> {
    /// From sinusoids to what queries are compared with, `[width, width]`.
    pub projection: Matrix<E, D>,
    /// b_w, `[1, width]`.
    pub content_bias: Matrix<E, D>,
    /// b_r, `[1, width]`.
    pub distance_bias: Matrix<E, D>,
    sinusoids: Vec<f64>,
    moved: Selection,
}

parameters!(Relative {
    projection,
    content_bias,
    distance_bias
});

/// `[sin(k ω_1) … | cos(k ω_1) …]`, `ω_i = 10000^(−2(i − 1)/width)`, for the distances k = 0, 1, …, row by row.
fn sinusoids(distances: usize, width: usize) -> Vec<f64> {
    let angle = |entry: usize| {
        let (distance, column) = (entry / width, entry % width);
        let exponent = 2.0 * (column % (width / 2)) as f64 / width as f64;
        let angle = distance as f64 * 10000_f64.powf(-exponent);
        match column < width / 2 {
            true => angle.sin(),
            false => angle.cos(),
        }
    };
    (0..distances * width).map(angle).collect()
}

impl<E: Scalar, D: Backend<E>> Transformer<E, D> {
    /// What is added to q, k and v: a constant of the solve.
    fn injected(&self, x: &Value<E, D>) -> Tokens<E, D> {
        let injected = self.inject.of(&x.tokens(self.config.tokens));
        match &self.place {
            Some(place) => (injected.into_value().shift(place)).tokens(self.config.tokens),
            None => injected,
        }
    }

    /// Scores of all heads and queries, with the mask.
    fn scores(
        &self,
        q: &Tokens<E, D>,
        k: &Tokens<E, D>,
        mask: Option<&Value<E, D>>,
    ) -> Tokens<E, D> {
        let TransformerConfig { tokens, heads, .. } = self.config;
        let scores = match &self.relative {
            Some(relative) => {
                let content = attention_scores(&q.shift(&relative.content_bias), k, heads);
                content.into_value() + self.by_distance(q, relative)
            }
            None => attention_scores(q, k, heads).into_value(),
        };
        let causal = self
            .config
            .causal
            .then(|| scores.constant(&causal_mask(tokens, k.count())));
        let masks = causal.iter().chain(mask);
        let masked = masks.fold(scores, |scores, mask| scores + mask.repeat(heads));
        masked.tokens(heads * tokens)
    }

    fn by_distance(&self, q: &Tokens<E, D>, relative: &Relative<E, D>) -> Value<E, D> {
        let TransformerConfig {
            heads,
            tokens,
            memory,
            ..
        } = self.config;
        let distances = q.clone().into_value().constant(&relative.sinusoids);
        let distances = distances
            .tokens(tokens + memory)
            .product(&relative.projection);
        let scores = attention_scores(&q.shift(&relative.distance_bias), &distances, heads);
        let scores = scores.into_value().tokens(heads);
        scores.gather(&relative.moved).into_value()
    }

    /// What is added to the scores of keys that are not there, for all queries and keys.
    fn key_mask(&self, mask: &Value<E, D>) -> Value<E, D> {
        let TransformerConfig { tokens, memory, .. } = self.config;
        let own = (mask - 1.0) * FAR;
        let keys = match memory {
            0 => own,
            memory => concatenate([own.constant(&vec![0.0; memory]), own]),
        };
        keys.repeat(tokens)
    }

    fn attended(
        &self,
        z: &Tokens<E, D>,
        x: &[Value<E, D>],
        mask: Option<&Value<E, D>>,
    ) -> Tokens<E, D> {
        let (heads, width) = (self.config.heads, self.config.width);
        let qkv = z.product(&self.qkv) + self.injected(&x[0]);
        let part = |of: &Tokens<E, D>, index: usize| of.columns(index * width..(index + 1) * width);
        let q = part(&qkv, 0);
        let [k, v] = match self.config.memory {
            0 => [1, 2].map(|index| part(&qkv, index)),
            memory => {
                let before = self.normalized(&x[1].tokens(memory));
                let before = before.product(&self.qkv) + x[2].tokens(memory);
                [1, 2].map(|index| {
                    let parts = [&before, &qkv].map(|of| part(of, index).into_value());
                    concatenate(parts).tokens(memory + z.count())
                })
            }
        };
        let weights = self.scores(&q, &k, mask).softmax(1);
        self.out.of(&attend(&weights, &v, heads))
    }

    /// Tokens as attention sees them.
    fn normalized(&self, z: &Tokens<E, D>) -> Tokens<E, D> {
        match self.config.norm {
            Norm::Post => z.clone(),
            Norm::PreNormalized | Norm::Pre => z.normalize(1),
        }
    }

    fn feed_forward(&self, a: &Tokens<E, D>) -> Tokens<E, D> {
        self.ff2.of(&self.ff1.of(a).relu())
    }
}

/// Less than any score by so much that its exponential is 0.
const FAR: f64 = 1e9;

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Transformer<E, D> {
    fn state_dim(&self) -> usize {
        self.config.tokens * self.config.width
    }

    fn input_dims(&self) -> Vec<usize> {
        self.config.sizes().map_or(Vec::new(), |sizes| sizes.inputs)
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let mask = x.last().filter(|_| self.config.masked);
        let keys = mask.map(|mask| self.key_mask(mask));
        let z = z.tokens(self.config.tokens);
        let attended = self.attended(&self.normalized(&z), x, keys.as_ref()) + &z;
        let a = attended.normalize(1);
        let sum = self.feed_forward(&a) + &a;
        let next = match self.config.norm {
            Norm::Post => sum.normalize(1),
            Norm::PreNormalized | Norm::Pre => sum,
        };
        Ok(match mask {
            Some(mask) => {
                let mask = mask.tokens(self.config.tokens).repeat(self.config.width);
                (next * mask).into_value()
            }
            None => next.into_value(),
        })
    }
}
