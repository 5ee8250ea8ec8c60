//! The multiscale deep equilibrium block.

use dfdx::prelude::OwnedTape;
use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::config::pairs;
use crate::modules::convolution::{ChannelNorm, Convolution, Image};
use crate::{
    concatenate, Initializer, LayerConfig, LayerRequest, Layers, Selection, Sizes, Vocabulary,
};

plugin! {
    /// The multiscale deep equilibrium block at two resolutions, one image per row.
    ///
    /// The state holds c₁ channels of `side` × `side` pixels, then c₂ of half the side, both channel by channel. At each resolution a
    /// residual block of 3 × 3 convolutions, b_i = GN₃(relu(GN₂(W₂ relu(GN₁(W₁ z_i)) + x_i) + z_i)); then fusion,
    /// s₁ = b₁ + up(GN(V b₂)) and s₂ = GN(V′ b₁) + b₂, V 1 × 1, V′ 3 × 3 with stride 2, `up` nearest; and f(z; x)_i = GN(P relu(s_i)), P
    /// 1 × 1. No convolution has a bias; each channel of a norm has its own weight and bias.
    ///
    /// It takes one injected input, x₁: an image with c₁ channels, or with `image` channels, which a 3 × 3 convolution turns into c₁.
    /// x₂ = 0: the lower resolution sees the image through the fusion.
    ///
    /// The last norm keeps f bounded, so that a solution exists, which need not be the only one. `anderson` or `broyden`; small initial
    /// weights make it easy. Convolutions are products with unfolded images, whose rows are long: `residual-block` costs far less where
    /// features are no images.
    ///
    /// Reference: S. Bai, V. Koltun, J. Z. Kolter, Multiscale Deep Equilibrium Models, NeurIPS 2020, §3.1-3.2; without dropout.
    pub struct MdeqConfig: LayerConfig {
        /// c₁ and c₂, channels of the higher and the lower resolution.
        pub channels: [usize; 2] = [4, 4],
        /// Pixels on a side at the higher resolution, even.
        pub side: usize = 4,
        /// Channels between the two convolutions of a block, per channel outside, at least 1.
        pub expansion: usize = 2,
        /// Groups of the norms, a divisor of both numbers of channels; half as many, but one at least, in the last norm.
        pub groups: usize = 2,
        /// Channels of the injected image; 0: c₁, and no convolution of it.
        pub image: usize = 0,
        /// Standard deviation of the initial weights of convolutions, above 0.
        pub deviation: f64 = 0.01,
    }
}

impl MdeqConfig {
    /// The two resolutions, higher one first.
    fn images(&self) -> [Image; 2] {
        let [higher, lower] = self.channels;
        [
            Image {
                channels: higher,
                side: self.side,
            },
            Image {
                channels: lower,
                side: self.side / 2,
            },
        ]
    }
}

#[typetag::serde(name = "mdeq")]
impl LayerConfig for MdeqConfig {
    fn validate(&self) -> Result<()> {
        let (name, even) = ("mdeq", self.side >= 2 && self.side.is_multiple_of(2));
        Error::require(even, name, "side", "even, at least 2", self.side)?;
        Error::require_at_least_one(name, "expansion", self.expansion)?;
        Error::require_at_least_one(name, "groups", self.groups)?;
        let divide = |channels: &usize| *channels > 0 && channels.is_multiple_of(self.groups);
        let got = format!("{} for channels {:?}", self.groups, self.channels);
        let fits = self.channels.iter().all(divide);
        Error::require(
            fits,
            name,
            "groups",
            "a divisor of both numbers of channels",
            got,
        )?;
        let halved = self
            .channels
            .iter()
            .all(|c| c.is_multiple_of(last_groups(self.groups)));
        Error::require(
            halved,
            name,
            "groups",
            "such that half of them divide the channels",
            self.groups,
        )?;
        Error::require_positive(name, "deviation", self.deviation)
    }

    fn sizes(&self) -> Option<Sizes> {
        let [higher, lower] = self.images();
        let channels = if self.image > 0 {
            self.image
        } else {
            higher.channels
        };
        Some(Sizes {
            state: higher.width() + lower.width(),
            inputs: vec![channels * higher.pixels()],
        })
    }

    fn original_names(&self) -> Vec<(String, String)> {
        pairs(&[
            ("branches.1.conv1", "branches.0.blocks.0.conv1.weight"),
            ("branches.1.gn1.weight", "branches.0.blocks.0.gn1.weight"),
            ("branches.1.gn1.bias", "branches.0.blocks.0.gn1.bias"),
            ("branches.1.conv2", "branches.0.blocks.0.conv2.weight"),
            ("branches.1.gn2.weight", "branches.0.blocks.0.gn2.weight"),
            ("branches.1.gn2.bias", "branches.0.blocks.0.gn2.bias"),
            ("branches.1.gn3.weight", "branches.0.blocks.0.gn3.weight"),
            ("branches.1.gn3.bias", "branches.0.blocks.0.gn3.bias"),
            ("branches.2.conv1", "branches.1.blocks.0.conv1.weight"),
            ("branches.2.gn1.weight", "branches.1.blocks.0.gn1.weight"),
            ("branches.2.gn1.bias", "branches.1.blocks.0.gn1.bias"),
            ("branches.2.conv2", "branches.1.blocks.0.conv2.weight"),
            ("branches.2.gn2.weight", "branches.1.blocks.0.gn2.weight"),
            ("branches.2.gn2.bias", "branches.1.blocks.0.gn2.bias"),
            ("branches.2.gn3.weight", "branches.1.blocks.0.gn3.weight"),
            ("branches.2.gn3.bias", "branches.1.blocks.0.gn3.bias"),
            ("up.conv", "fuse_layers.0.1.net.conv.weight"),
            ("up.norm.weight", "fuse_layers.0.1.net.gnorm.weight"),
            ("up.norm.bias", "fuse_layers.0.1.net.gnorm.bias"),
            ("down.conv", "fuse_layers.1.0.net.0.conv.weight"),
            ("down.norm.weight", "fuse_layers.1.0.net.0.gnorm.weight"),
            ("down.norm.bias", "fuse_layers.1.0.net.0.gnorm.bias"),
            ("last.1.conv", "post_fuse_layers.0.conv.weight"),
            ("last.1.norm.weight", "post_fuse_layers.0.gnorm.weight"),
            ("last.1.norm.bias", "post_fuse_layers.0.gnorm.bias"),
            ("last.2.conv", "post_fuse_layers.1.conv.weight"),
            ("last.2.norm.weight", "post_fuse_layers.1.gnorm.weight"),
            ("last.2.norm.bias", "post_fuse_layers.1.gnorm.bias"),
        ])
    }
}

/// Groups of the last norm.
fn last_groups(groups: usize) -> usize {
    (groups / 2).max(1)
}

impl Build<Layers> for MdeqConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        Sizes::require(self.sizes(), "mdeq", request.state, request.inputs)?;
        let (images, init) = (self.images(), request.init);
        let [higher, lower] = images;
        let mut parts = Parts { config: self, init };
        let branches = vec![parts.branch(higher)?, parts.branch(lower)?];
        let last = last_groups(self.groups);
        let stem = match self.image {
            0 => None,
            channels => {
                let image = Image { channels, ..higher };
                Some(parts.convolution(image, higher.channels, [3, 1])?)
            }
        };
        let up = parts.normed((lower, higher.channels), [1, 1], self.groups)?;
        let down = parts.normed((higher, lower.channels), [3, 2], self.groups)?;
        let pair = [higher, lower].map(|image| parts.normed((image, image.channels), [1, 1], last));
        let last = pair.into_iter().collect::<Result<Vec<_>>>()?;
        let enlarged = Image {
            channels: higher.channels,
            ..lower
        };
        Ok(AnyLayer::new(Mdeq {
            stem,
            branches,
            up,
            down,
            last,
            enlarged: enlarged.enlarged(2)?,
            images,
        }))
    }
}

/// Makes the parts of a block.
struct Parts<'a, D> {
    config: &'a MdeqConfig,
    init: &'a mut Initializer<D>,
}

impl<D> Parts<'_, D> {
    fn convolution<E: Scalar>(
        &mut self,
        image: Image,
        channels: usize,
        [side, stride]: [usize; 2],
    ) -> Result<Convolution<E, D>>
    where
        D: Backend<E>,
    {
        let weight = (channels, image.channels * side * side);
        let weight = self.init.normal(weight, self.config.deviation)?;
        Convolution::new(weight, image, side, stride)
    }

    fn normed<E: Scalar>(
        &mut self,
        (image, channels): (Image, usize),
        window: [usize; 2],
        groups: usize,
    ) -> Result<Normed<E, D>>
    where
        D: Backend<E>,
    {
        let conv = self.convolution(image, channels, window)?;
        let norm = ChannelNorm::new(conv.output(), groups, self.init)?;
        Ok(Normed { conv, norm })
    }

    fn branch<E: Scalar>(&mut self, image: Image) -> Result<Branch<E, D>>
    where
        D: Backend<E>,
    {
        let (groups, outside) = (self.config.groups, image.channels);
        let wide = Image {
            channels: outside * self.config.expansion,
            ..image
        };
        Ok(Branch {
            conv1: self.convolution(image, wide.channels, [3, 1])?,
            gn1: ChannelNorm::new(wide, groups, self.init)?,
            conv2: self.convolution(wide, outside, [3, 1])?,
            gn2: ChannelNorm::new(image, groups, self.init)?,
            gn3: ChannelNorm::new(image, groups, self.init)?,
        })
    }
}

/// The block at two resolutions.
#[derive(Clone)]
pub struct Mdeq<E: Scalar, D: Backend<E>> {
    /// From the image to what is injected.
    pub stem: Option<Convolution<E, D>>,
    /// The residual blocks, higher resolution first.
    pub branches: Vec<Branch<E, D>>,
    /// From the lower resolution to the higher, before pixels are enlarged.
    pub up: Normed<E, D>,
    /// From the higher resolution to the lower.
    pub down: Normed<E, D>,
    /// After the fusion.
    pub last: Vec<Normed<E, D>>,
    enlarged: Selection,
    images: [Image; 2],
}

parameters!(Mdeq {
    stem,
    branches,
    up,
    down,
    last
});

/// A convolution and the norm behind it.
#[derive(Clone)]
pub struct Normed<E: Scalar, D: Backend<E>> {
    /// The convolution.
    pub conv: Convolution<E, D>,
    /// The norm.
    pub norm: ChannelNorm<E, D>,
}

parameters!(Normed { conv, norm });

impl<E: Scalar, D: Backend<E>> Normed<E, D> {
    fn of(&self, x: &Value<E, D>) -> Value<E, D> {
        self.norm.of(&self.conv.of(x))
    }
}

/// `GN₃(relu(GN₂(W₂ relu(GN₁(W₁ z)) + x) + z))`, where GN₂ takes x along.
#[derive(Clone)]
pub struct Branch<E: Scalar, D: Backend<E>> {
    /// W₁.
    pub conv1: Convolution<E, D>,
    /// GN₁.
    pub gn1: ChannelNorm<E, D>,
    /// W₂.
    pub conv2: Convolution<E, D>,
    /// GN₂.
    pub gn2: ChannelNorm<E, D>,
    /// GN₃.
    pub gn3: ChannelNorm<E, D>,
}

parameters!(Branch {
    conv1,
    gn1,
    conv2,
    gn2,
    gn3
});

impl<E: Scalar, D: Backend<E>> Branch<E, D> {
    fn of(&self, z: &Value<E, D>, x: Option<&Value<E, D>>) -> Value<E, D> {
        let hat = self.gn1.of(&self.conv1.of(z)).relu();
        let tilde = self.conv2.of(&hat);
        let tilde = self.gn2.of(&match x {
            Some(x) => tilde + x,
            None => tilde,
        });
        self.gn3.of(&(tilde + z).relu())
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Mdeq<E, D> {
    fn state_dim(&self) -> usize {
        self.images.iter().map(Image::width).sum()
    }

    fn input_dims(&self) -> Vec<usize> {
        let [higher, _] = self.images;
        vec![match &self.stem {
            Some(stem) => stem.input().width(),
            None => higher.width(),
        }]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let split = self.images[0].width();
        let parts = [z.columns(0..split), z.columns(split..self.state_dim())];
        let x = match &self.stem {
            Some(stem) => stem.of(&x[0]),
            None => x[0].clone(),
        };
        let higher = self.branches[0].of(&parts[0], Some(&x));
        let lower = self.branches[1].of(&parts[1], None);
        let fused = [
            &higher + self.up.of(&lower).gather(&self.enlarged),
            self.down.of(&higher) + &lower,
        ];
        let outputs = fused.iter().zip(&self.last);
        Ok(concatenate(
            outputs.map(|(fused, last)| last.of(&fused.relu())),
        ))
    }

    fn formed(&self, mut tape: OwnedTape<E, D>) -> Result<Formed<E, D>> {
        let mut formed = self.clone();
        for branch in &mut formed.branches {
            for conv in [&mut branch.conv1, &mut branch.conv2] {
                (*conv, tape) = conv.formed(tape)?;
            }
            for norm in [&mut branch.gn1, &mut branch.gn2, &mut branch.gn3] {
                (*norm, tape) = norm.formed(tape)?;
            }
        }
        let fusion = [&mut formed.up, &mut formed.down].into_iter();
        for Normed { conv, norm } in fusion.chain(&mut formed.last) {
            (*conv, tape) = conv.formed(tape)?;
            (*norm, tape) = norm.formed(tape)?;
        }
        Ok((Some(AnyLayer::new(formed)), tape))
    }
}
