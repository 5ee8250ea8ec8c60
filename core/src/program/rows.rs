//! A program as the map of a layer.

use std::sync::Arc;

use super::forward::{Call, Point};
use super::Program;
use crate::{Element, RowGradients, RowMap, Scratch, Tangents};

impl<E: Element> Program<E> {
    /// `out = f(z)`, with products rounded where that is faster if they may be; z becomes the recorded point if there is a record.
    fn evaluate(
        &self,
        (x, z, rounded): (&[&[E]], &[E], bool),
        out: &mut [E],
        record: Option<&mut [&mut [E]]>,
        scratch: &mut Scratch<E>,
    ) {
        let call = Call {
            x,
            z,
            rounded,
            linearizes: record.is_some(),
        };
        self.forward(&call, out, record.unwrap_or_default(), scratch);
    }
}

impl<E: Element> RowMap<E> for Program<E> {
    fn constants(&self) -> Vec<usize> {
        self.plan.given.clone()
    }

    fn prepare(&self, x: &[&[E]], constants: &mut [&mut [E]], scratch: &mut Scratch<E>) {
        self.compute_constants(x, constants, scratch);
    }

    fn record(&self) -> Vec<usize> {
        self.plan.record.clone()
    }

    fn parts(&self) -> usize {
        self.plan.parts
    }

    fn reaches_input(&self, index: usize) -> bool {
        self.plan.inputs[index]
    }

    fn apply(&self, x: &[&[E]], z: &[E], out: &mut [E], scratch: &mut Scratch<E>) {
        self.evaluate((x, z, false), out, None, scratch);
    }

    fn linearize(
        &self,
        x: &[&[E]],
        z: &[E],
        out: &mut [E],
        record: &mut [&mut [E]],
        scratch: &mut Scratch<E>,
    ) {
        self.evaluate((x, z, false), out, Some(record), scratch);
    }

    fn vjp(&self, x: &[&[E]], record: &[&[E]], u: &[E], out: &mut [E], scratch: &mut Scratch<E>) {
        self.pull_to_state(Point { x, record }, (u, false), out, scratch);
    }

    fn pull_back(
        &self,
        x: &[&[E]],
        record: &[&[E]],
        u: &[E],
        gradients: &mut RowGradients<E>,
        scratch: &mut Scratch<E>,
    ) {
        self.pull_to_gradients(Point { x, record }, u, None, gradients, scratch);
    }

    fn tangents(&self) -> Option<&dyn Tangents<E>> {
        self.plan.has_tangents.then_some(self as _)
    }

    fn rounded(self: Arc<Self>) -> Option<Arc<dyn RowMap<E>>> {
        let rounds = self.plan.rounds;
        rounds.then(|| Arc::new(Rounded(self)) as _)
    }
}

impl<E: Element> Tangents<E> for Program<E> {
    fn jvp(&self, x: &[&[E]], record: &[&[E]], v: &[E], out: &mut [E], scratch: &mut Scratch<E>) {
        self.push(Point { x, record }, v, Some(out), scratch);
    }

    fn pull_back_tangent(
        &self,
        x: &[&[E]],
        record: &[&[E]],
        u: &[E],
        [p, v]: [&[E]; 2],
        gradients: &mut RowGradients<E>,
        scratch: &mut Scratch<E>,
    ) {
        let point = Point { x, record };
        self.push(point, v, None, scratch);
        self.pull_to_gradients(point, u, Some((p, v)), gradients, scratch);
    }
}

/// A program with products rounded where that is faster. Its derivatives by parameters and inputs, and along tangents, are those of the
/// exact one.
struct Rounded<E>(Arc<Program<E>>);

impl<E: Element> RowMap<E> for Rounded<E> {
    fn constants(&self) -> Vec<usize> {
        self.0.constants()
    }

    fn prepare(&self, x: &[&[E]], constants: &mut [&mut [E]], scratch: &mut Scratch<E>) {
        self.0.prepare(x, constants, scratch);
    }

    fn record(&self) -> Vec<usize> {
        self.0.record()
    }

    fn parts(&self) -> usize {
        self.0.parts()
    }

    fn reaches_input(&self, index: usize) -> bool {
        self.0.reaches_input(index)
    }

    fn apply(&self, x: &[&[E]], z: &[E], out: &mut [E], scratch: &mut Scratch<E>) {
        self.0.evaluate((x, z, true), out, None, scratch);
    }

    fn linearize(
        &self,
        x: &[&[E]],
        z: &[E],
        out: &mut [E],
        record: &mut [&mut [E]],
        scratch: &mut Scratch<E>,
    ) {
        self.0.evaluate((x, z, true), out, Some(record), scratch);
    }

    fn vjp(&self, x: &[&[E]], record: &[&[E]], u: &[E], out: &mut [E], scratch: &mut Scratch<E>) {
        let point = Point { x, record };
        self.0.pull_to_state(point, (u, true), out, scratch);
    }

    fn pull_back(
        &self,
        x: &[&[E]],
        record: &[&[E]],
        u: &[E],
        gradients: &mut RowGradients<E>,
        scratch: &mut Scratch<E>,
    ) {
        self.0.pull_back(x, record, u, gradients, scratch);
    }

    fn tangents(&self) -> Option<&dyn Tangents<E>> {
        self.0.tangents()
    }
}
