//! Images as rows, `[channels, height, width]` as in PyTorch: convolutions and norms with parameters for each channel.

use dfdx::prelude::HasShape;
use equilibria_core::{parameters, Backend, Error, Matrix, Parameters, Result, Scalar, Value};

use crate::{Initializer, Selection, Vocabulary};

/// The shape of a square image in a row: one channel after the other, each row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// Numbers per pixel.
    pub channels: usize,
    /// Pixels on a side.
    pub side: usize,
}

impl Image {
    /// Pixels of a channel.
    pub fn pixels(&self) -> usize {
        self.side * self.side
    }

    /// Numbers in the row.
    pub fn width(&self) -> usize {
        self.channels * self.pixels()
    }

    /// Each pixel as a square of `factor` by `factor` pixels: nearest up-sampling.
    ///
    /// # Errors
    /// [`Error::Shape`] if one of them is 0.
    pub fn enlarged(&self, factor: usize) -> Result<Selection> {
        let (small, large) = (self.side, self.side * factor);
        let place = |position: usize| {
            let (channel, pixel) = (position / (large * large), position % (large * large));
            let (row, column) = (pixel / large / factor, pixel % large / factor);
            Some((channel * small + row) * small + column)
        };
        let to = self.channels * large * large;
        Selection::new(self.width(), (0..to).map(place))
    }

    /// What is under each position of a square window that is moved by `stride` over the image, with zeros around it such that its middle
    /// may stand at the border: `[windows, channels, side, side]` (im2col).
    fn windows(&self, side: usize, stride: usize) -> Result<Selection> {
        let (outputs, inputs, area) = (self.side.div_ceil(stride), self.side, side * side);
        let place = |position: usize| {
            let (window, rest) = (
                position / (self.channels * area),
                position % (self.channels * area),
            );
            let (channel, inside) = (rest / area, rest % area);
            let row = (window / outputs * stride + inside / side).checked_sub(side / 2)?;
            let column = (window % outputs * stride + inside % side).checked_sub(side / 2)?;
            let there = row < inputs && column < inputs;
            there.then_some((channel * inputs + row) * inputs + column)
        };
        let to = outputs * outputs * self.channels * area;
        Selection::new(self.width(), (0..to).map(place))
    }
}

/// A convolution without bias, padded by half the window: a product with what is under each window.
#[derive(Clone)]
pub struct Convolution<E: Scalar, D: Backend<E>> {
    /// `[outputs, inputs · side · side]`: the numbers of PyTorch's weight, in its order.
    pub weight: Matrix<E, D>,
    /// None where every window is a pixel.
    windows: Option<Selection>,
    input: Image,
    output: Image,
}

/// It has one parameter, which bears its own name.
impl<E: Scalar, D: Backend<E>> Parameters<E, D> for Convolution<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        self.weight.visit(path, visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        self.weight.visit_mut(path, visitor);
    }
}

impl<E: Scalar, D: Backend<E>> Convolution<E, D> {
    /// On images of this shape, with windows of `side` × `side` pixels, an odd number, `stride` pixels apart.
    ///
    /// # Errors
    /// [`Error::Shape`] if the weight is not that of such windows.
    pub fn new(weight: Matrix<E, D>, input: Image, side: usize, stride: usize) -> Result<Self> {
        let (outputs, inputs) = *weight.shape();
        let fits = inputs == input.channels * side * side && side % 2 == 1 && stride > 0;
        if !fits {
            return Err(Error::Shape {
                what: "the weight of a convolution".to_owned(),
                expected: format!("{} columns, for an odd side", input.channels * side * side),
                got: format!("{inputs} columns, side {side}, stride {stride}"),
            });
        }
        let windows = match (side, stride) {
            (1, 1) => None,
            _ => Some(input.windows(side, stride)?),
        };
        let output = Image {
            channels: outputs,
            side: input.side.div_ceil(stride),
        };
        Ok(Self {
            weight,
            windows,
            input,
            output,
        })
    }

    /// Shape of the images it takes.
    pub fn input(&self) -> Image {
        self.input
    }

    /// Shape of the images it gives.
    pub fn output(&self) -> Image {
        self.output
    }

    /// The convolution in the equation of a layer.
    pub fn of(&self, x: &Value<E, D>) -> Value<E, D> {
        let pixels = match &self.windows {
            Some(windows) => x.gather(windows).tokens(self.output.pixels()),
            None => x.tokens(self.input.channels).transpose(),
        };
        pixels.product(&self.weight).transpose().into_value()
    }
}

/// Group normalization of an image, with a weight and a bias for each channel.
///
/// The mean and variance are those of [`GroupNorm`](super::GroupNorm); its parameters belong to single columns.
#[derive(Clone)]
pub struct ChannelNorm<E: Scalar, D: Backend<E>> {
    /// `[1, channels]`.
    pub weight: Matrix<E, D>,
    /// `[1, channels]`.
    pub bias: Matrix<E, D>,
    groups: usize,
    image: Image,
}

parameters!(ChannelNorm { weight, bias });

impl<E: Scalar, D: Backend<E>> ChannelNorm<E, D> {
    /// Weights of 1, biases of 0, ε = 1e-5.
    ///
    /// # Errors
    /// [`Error::Config`] unless the groups divide the channels and a group has two numbers at least.
    pub fn new(image: Image, groups: usize, init: &mut Initializer<D>) -> Result<Self> {
        let fits = groups > 0 && image.channels.is_multiple_of(groups);
        let fits = fits && image.width() / groups.max(1) >= 2;
        let got = format!("{groups} for {image:?}");
        let expected = "a divisor of the channels, with at least two numbers to a group";
        Error::require(fits, "channel-norm", "groups", expected, got)?;
        Ok(Self {
            weight: init.constant((1, image.channels), 1.0)?,
            bias: init.constant((1, image.channels), 0.0)?,
            groups,
            image,
        })
    }

    /// The normalization in the equation of a layer.
    pub fn of(&self, x: &Value<E, D>) -> Value<E, D> {
        let everywhere = |parameter: &Matrix<E, D>| {
            let by_channel = x.broadcast(parameter).tokens(self.image.channels);
            by_channel.repeat(self.image.pixels()).into_value()
        };
        x.normalize(self.groups) * everywhere(&self.weight) + everywhere(&self.bias)
    }
}
