//! Modules of several parameters as losses of an input and all of these.

use dfdx::prelude::*;
use equilibria_core::{Backend, Parameters, Result, Value};
use equilibria_fusion::layers::modules::convolution::{ChannelNorm, Convolution, Image};
use equilibria_fusion::layers::modules::{
    BatchNorm, BertLayer, Embedding, Gru, LayerNorm, Lstm, Maxout, MultiHead, StandardNorm,
    Unbiased,
};
use equilibria_fusion::layers::{Initializer, Vocabulary};

use crate::arguments::{on_tape, Array, Case, Tape};

const ROWS: usize = 6;

/// Steps of a recurrent module, or tokens of attention.
const COUNT: usize = 3;

/// Numbers of each of these.
const WIDTH: usize = 4;

/// A module as a loss: arguments are inputs, then its parameters in order.
fn case<D: Backend<f64>, M: Parameters<f64, D> + 'static>(
    device: &D,
    name: &str,
    inputs: &[(usize, usize)],
    make: impl Fn(&mut Initializer<D>) -> Result<M> + 'static,
    run: impl Fn(&M, &[Array<D>], Tape<D>) -> Result<(Array<D>, Tape<D>)> + 'static,
) -> Case<D> {
    let module = make(&mut Initializer::new(device, 1)).expect("memory");
    let mut shapes = inputs.to_vec();
    module.visit("", &mut |_, parameter| shapes.push(*parameter.shape()));
    let count = inputs.len();
    let loss = on_tape(move |a: &[Array<D>], tape| {
        let mut module = make(&mut Initializer::new(a[0].device(), 1))?;
        let mut given = a[count..].iter();
        module.visit_mut("", &mut |_, parameter| {
            *parameter = given.next().expect("one for each").clone();
        });
        run(&module, &a[..count], tape)
    });
    Case::new(device, name, &shapes, loss)
}

/// A module in an equation.
fn equation<D: Backend<f64>, M: Parameters<f64, D> + 'static>(
    device: &D,
    name: &str,
    inputs: &[(usize, usize)],
    make: impl Fn(&mut Initializer<D>) -> Result<M> + 'static,
    of: impl Fn(&M, &Value<f64, D>, &[Value<f64, D>]) -> Value<f64, D> + 'static,
) -> Case<D> {
    case(device, name, inputs, make, move |module, a, tape| {
        let first = a[0].clone().put_tape(tape);
        let result = Value::on_tape(first, &a[1..], |first, others| {
            Ok(of(module, first, others))
        });
        Ok(result?.split_tape())
    })
}

/// The steps of a sequence.
fn steps<D: Backend<f64>>(x: &Value<f64, D>) -> Vec<Value<f64, D>> {
    let step = |step: usize| x.columns(step * WIDTH..(step + 1) * WIDTH);
    (0..COUNT).map(step).collect()
}

fn last<D: Backend<f64>>(states: Vec<Value<f64, D>>) -> Value<f64, D> {
    states.into_iter().last().expect("a step")
}

pub fn modules<D: Backend<f64>>(device: &D) -> Vec<Case<D>> {
    let (x, sequence) = ((ROWS, WIDTH), (ROWS, COUNT * WIDTH));
    let scores = (ROWS, COUNT * COUNT);
    let image = Image {
        channels: 2,
        side: 4,
    };
    let pixels = (ROWS, image.width());
    vec![
        case(
            device,
            "layer-norm",
            &[x],
            |init| LayerNorm::new(WIDTH, init),
            |norm, a, tape| Ok(norm.forward(a[0].clone().put_tape(tape)).split_tape()),
        ),
        case(
            device,
            "maxout",
            &[x],
            |init| Maxout::pairs(3, WIDTH, init),
            |maxout, a, tape| Ok(maxout.forward(a[0].clone().put_tape(tape))?.split_tape()),
        ),
        case(
            device,
            "batch-norm",
            &[x],
            |init| BatchNorm::new(WIDTH, 1e-5, init),
            |norm, a, tape| {
                Ok(norm
                    .forward(a[0].clone().put_tape(tape), true)?
                    .split_tape())
            },
        ),
        // The first argument is there for the loss alone: words are data.
        case(
            device,
            "embedding",
            &[(1, 1)],
            |init| Embedding::normal(5, WIDTH, 1.0, init),
            |table, a, tape| {
                let words = [0.0, 3.0, 1.0, 4.0, 3.0, 0.0].to_vec();
                let words = a[0].device().tensor_from_vec(words, (2, 3));
                Ok(table.forward(&words, tape)?.split_tape())
            },
        ),
        equation(
            device,
            "unbiased",
            &[x],
            |init| Unbiased::uniform(5, WIDTH, init),
            |map, x, _| map.of(x),
        ),
        equation(
            device,
            "standard-norm",
            &[x],
            |init| StandardNorm::new(WIDTH, init),
            |norm, x, _| norm.of(x),
        ),
        equation(
            device,
            "gru",
            &[sequence],
            |init| Gru::new(WIDTH, 5, init),
            |gru, x, _| last(gru.states(&steps(x))),
        ),
        equation(
            device,
            "lstm",
            &[sequence],
            |init| Lstm::new(WIDTH, 5, init),
            |lstm, x, _| last(lstm.states(&steps(x))),
        ),
        equation(
            device,
            "multi-head",
            &[sequence, sequence, scores],
            |init| MultiHead::new(WIDTH, 2, init),
            |attention, words, x| {
                let (words, others) = (words.tokens(COUNT), x[0].tokens(COUNT));
                attention.of(&words, &others, &x[1], None).into_value()
            },
        ),
        equation(
            device,
            "bert-layer",
            &[sequence, scores],
            |init| BertLayer::new(WIDTH, 2, 6, init),
            |layer, x, mask| layer.of(&x.tokens(COUNT), &mask[0], None).into_value(),
        ),
        equation(
            device,
            "convolution",
            &[pixels],
            move |init| Convolution::new(init.normal((3, 2 * 9), 1.0)?, image, 3, 2),
            |convolution, x, _| convolution.of(x),
        ),
        equation(
            device,
            "channel-norm",
            &[pixels],
            move |init| ChannelNorm::new(image, 2, init),
            |norm, x, _| norm.of(x),
        ),
    ]
}
