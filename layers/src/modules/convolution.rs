//! Images as rows, `[channels, height, width]` as in PyTorch: convolutions and norms with parameters for each channel.

use dfdx::prelude::{HasShape, OwnedTape, PutTape, SplitTape};
use equilibria_core::parameters::join;
use equilibria_core::{parameters, Backend, Error, Matrix, Parameters, Result, Scalar, Value};

use super::GroupNorm;
use crate::{Initializer, Selection, Tokens, Vocabulary};

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
        let area = side * side;
        let place = |position: usize| {
            let (window, rest) = (
                position / (self.channels * area),
                position % (self.channels * area),
            );
            let (channel, inside) = (rest / area, rest % area);
            let pixel = self.under(window, inside, [side, stride])?;
            Some(channel * self.pixels() + pixel)
        };
        Selection::new(self.width(), (0..self.unfolded(side, stride)).map(place))
    }

    /// [`windows`](Self::windows) of an image `[height, width, channels]`: `[windows, side, side, channels]`.
    fn windows_of_pixels(&self, side: usize, stride: usize) -> Result<Selection> {
        let area = side * side;
        let place = |position: usize| {
            let (rest, channel) = (position / self.channels, position % self.channels);
            let pixel = self.under(rest / area, rest % area, [side, stride])?;
            Some(pixel * self.channels + channel)
        };
        Selection::new(self.width(), (0..self.unfolded(side, stride)).map(place))
    }

    /// Numbers under all windows.
    fn unfolded(&self, side: usize, stride: usize) -> usize {
        self.side.div_ceil(stride).pow(2) * self.channels * side * side
    }

    /// The pixel under a place of a window, if there is one.
    fn under(&self, window: usize, inside: usize, [side, stride]: [usize; 2]) -> Option<usize> {
        let (outputs, inputs) = (self.side.div_ceil(stride), self.side);
        let row = (window / outputs * stride + inside / side).checked_sub(side / 2)?;
        let column = (window % outputs * stride + inside % side).checked_sub(side / 2)?;
        (row < inputs && column < inputs).then_some(row * inputs + column)
    }
}

/// A convolution without bias, padded by half the window: a product with what is under each window.
#[derive(Clone)]
pub struct Convolution<E: Scalar, D: Backend<E>> {
    /// `[outputs, inputs · side · side]`: the numbers of PyTorch's weight, in its order.
    pub weight: Matrix<E, D>,
    /// Of channels one after the other, and of pixels one after the other; none where every window is a pixel.
    windows: Option<[Selection; 2]>,
    input: Image,
    output: Image,
    /// The weight as `[outputs, side · side · inputs]`, in the layer that a solve uses.
    by_pixel: Option<Matrix<E, D>>,
}

/// It has one parameter, which bears its own name.
impl<E: Scalar, D: Backend<E>> Parameters<E, D> for Convolution<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        self.weight.visit(path, visitor);
        self.by_pixel.visit(&join(path, "by_pixel"), visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        self.weight.visit_mut(path, visitor);
        self.by_pixel.visit_mut(&join(path, "by_pixel"), visitor);
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
            _ => Some([
                input.windows(side, stride)?,
                input.windows_of_pixels(side, stride)?,
            ]),
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
            by_pixel: None,
        })
    }

    /// This convolution with the weight in another order, on the tape that leads back to it, for
    /// [`ImplicitLayer::formed`](equilibria_core::ImplicitLayer::formed): then all channels of a pixel are moved at once.
    ///
    /// # Errors
    /// [`Error::Device`] if memory runs out.
    pub fn formed(&self, tape: OwnedTape<E, D>) -> Result<(Self, OwnedTape<E, D>)> {
        if self.windows.is_none() {
            return Ok((self.clone(), tape));
        }
        let weight = self.weight.clone().put_tape(tape);
        let channels = self.input.channels;
        let turned = |row: &Value<E, D>| row.tokens(channels).transpose().into_value();
        let by_pixel = Value::on_tape(weight, &[], |row, _| Ok(turned(row)))?;
        let (by_pixel, tape) = by_pixel.split_tape();
        let formed = Self {
            by_pixel: Some(by_pixel),
            ..self.clone()
        };
        Ok((formed, tape))
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
        let by_pixel = || x.tokens(self.input.channels).transpose();
        let (pixels, weight) = match (&self.windows, &self.by_pixel) {
            (None, _) => (by_pixel(), &self.weight),
            (Some([windows, _]), None) => (self.unfold(x, windows), &self.weight),
            (Some([_, windows]), Some(weight)) => {
                (self.unfold(&by_pixel().into_value(), windows), weight)
            }
        };
        pixels.product(weight).transpose().into_value()
    }

    fn unfold(&self, x: &Value<E, D>, windows: &Selection) -> Tokens<E, D> {
        x.gather(windows).tokens(self.output.pixels())
    }
}

/// Group normalization of an image, with a weight and a bias for each channel.
///
/// The mean and variance are those of [`GroupNorm`]; its parameters belong to single columns.
#[derive(Clone)]
pub struct ChannelNorm<E: Scalar, D: Backend<E>> {
    /// `[1, channels]`.
    pub weight: Matrix<E, D>,
    /// `[1, channels]`.
    pub bias: Matrix<E, D>,
    groups: usize,
    image: Image,
    /// With the weight and bias of its channel for each column, in the layer that a solve uses.
    columns: Option<GroupNorm<E, D>>,
}

parameters!(ChannelNorm {
    weight,
    bias,
    columns
});

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
            columns: None,
        })
    }

    /// This normalization with weight and bias laid out once for all columns, on the tape that leads back to them: for
    /// [`ImplicitLayer::formed`](equilibria_core::ImplicitLayer::formed). Every row then shares them, and the norm takes what is beside it
    /// along.
    ///
    /// # Errors
    /// [`Error::Device`] if memory runs out.
    pub fn formed(&self, tape: OwnedTape<E, D>) -> Result<(Self, OwnedTape<E, D>)> {
        let (weight, tape) = self.everywhere(&self.weight, tape)?;
        let (bias, tape) = self.everywhere(&self.bias, tape)?;
        let columns = Some(GroupNorm {
            weight,
            bias,
            groups: self.groups,
        });
        let formed = Self {
            columns,
            ..self.clone()
        };
        Ok((formed, tape))
    }

    /// A number for each channel as one for each column.
    fn everywhere(
        &self,
        parameter: &Matrix<E, D>,
        tape: OwnedTape<E, D>,
    ) -> Result<(Matrix<E, D>, OwnedTape<E, D>)> {
        let Image { channels, .. } = self.image;
        let parameter = parameter.clone().put_tape(tape);
        let columns = Value::on_tape(parameter, &[], |row, _| {
            let by_channel = row.tokens(channels);
            Ok(by_channel.repeat(self.image.pixels()).into_value())
        })?;
        Ok(columns.split_tape())
    }

    /// The normalization in the equation of a layer.
    pub fn of(&self, x: &Value<E, D>) -> Value<E, D> {
        if let Some(columns) = &self.columns {
            return columns.of(x);
        }
        let everywhere = |parameter: &Matrix<E, D>| {
            let by_channel = x.broadcast(parameter).tokens(self.image.channels);
            by_channel.repeat(self.image.pixels()).into_value()
        };
        x.normalize(self.groups) * everywhere(&self.weight) + everywhere(&self.bias)
    }
}
