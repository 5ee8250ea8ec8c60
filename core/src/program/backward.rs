//! Back: cotangents of the state, of parameters and of inputs.

use std::mem::take;
use std::ops::Range;

use arrayvec::ArrayVec;

use super::back::{Back, Cotangent};
use super::block::{reserve, Memory};
use super::forward::{rows_of, rows_of_mut};
use super::{Made, Program, MOST_ARGUMENTS};
use crate::kernel::{KernelGradients, ParameterGradient};
use crate::operation::{At, Gradients, Scratch};
use crate::simd::add_scaled;
use crate::Element;

/// Cotangents on their way.
struct Bars<'b, E> {
    back: &'b Back,
    places: Vec<Vec<E>>,
    /// That of the output, where no operation reads it.
    given: &'b [E],
}

/// The cotangents of arguments, as an operation writes them; `None` where nobody asks for one.
type ArgumentBars<'a, 'b, E> = &'a mut [Option<&'b mut [E]>];

impl<E: Element> Program<E> {
    /// `out = Jᵀu`.
    pub(super) fn back_to_state(&self, memory: &mut Memory<E>, u: &[E], out: &mut [E]) {
        let (back, rows) = (self.to_state(), u.len() / self.dim());
        if self.output == 0 {
            return out.copy_from_slice(u);
        }
        if !self.plan.varies[self.output] {
            return out.fill(E::zero());
        }
        reserve(&mut memory.state_bars, &back.widths, memory.rows);
        let mut bars = self.bars(back, take(&mut memory.state_bars), u);
        for group in &back.groups {
            for (rows, rounded) in group.parts(rows, memory.exact) {
                for &node in &group.nodes {
                    let Some(made) = self.made(node) else {
                        continue;
                    };
                    let operation = made.operation(rounded);
                    let job = |at: &At<'_, E>,
                               u: &[E],
                               x_bar: ArgumentBars<'_, '_, E>,
                               scratch: &mut Scratch<E>| {
                        operation.vjp(at, u, x_bar, scratch);
                    };
                    self.pass(memory, &mut bars, (node, made), &rows, job);
                }
            }
        }
        out.copy_from_slice(&self.bar(&bars, 0)[..out.len()]);
        memory.state_bars = bars.places;
    }

    /// Adds the gradients of `⟨u, f(z)⟩`, and those of `⟨p, J v⟩` after [`tangents`](Self::tangents) along v.
    pub(super) fn back_to_gradients(
        &self,
        memory: &mut Memory<E>,
        u: &[E],
        tangent: Option<(&[E], &[E])>,
        gradients: &mut KernelGradients<E>,
    ) {
        let (back, rows) = (self.to_gradients(), 0..u.len() / self.dim());
        let KernelGradients { parameters, inputs } = gradients;
        if self.output != 0 && self.made(self.output).is_none() {
            return add_scaled(&mut inputs[self.output - 1][..u.len()], E::one(), u);
        }
        if !back.wanted[self.output] {
            return;
        }
        reserve(&mut memory.gradient_bars, &back.widths, memory.rows);
        let mut bars = self.bars(back, take(&mut memory.gradient_bars), u);
        // Cotangents of tangents go the way of those to the state, node by node with the others.
        let mut tangent = tangent.map(|(p, v)| {
            let back = self.to_state();
            reserve(&mut memory.state_bars, &back.widths, memory.rows);
            (self.bars(back, take(&mut memory.state_bars), p), v)
        });
        for group in &back.groups {
            for (rows, _) in group.parts(rows.len(), usize::MAX) {
                for &node in &group.nodes {
                    let tangent = tangent.as_mut().filter(|_| self.plan.varies[node]);
                    let tangent = tangent.map(|(p_bars, v)| (p_bars, *v));
                    self.pull_node_back(memory, &mut bars, tangent, (node, &rows), parameters);
                }
            }
        }
        for (input, gradient) in inputs.iter_mut().enumerate() {
            if back.wanted[input + 1] {
                let bar = self.bar(&bars, input + 1);
                let len = rows.len() * self.nodes[input + 1].width;
                add_scaled(&mut gradient[..len], E::one(), &bar[..len]);
            }
        }
        memory.gradient_bars = bars.places;
        if let Some((p_bars, _)) = tangent {
            memory.state_bars = p_bars.places;
        }
    }

    /// Turns the cotangents of a value and, where there is one, of its tangent into those of the arguments, and adds the gradients of the
    /// parameters that take part.
    fn pull_node_back<'b>(
        &self,
        memory: &mut Memory<E>,
        bars: &mut Bars<'b, E>,
        tangent: Option<(&mut Bars<'b, E>, &[E])>,
        (node, rows): (usize, &Range<usize>),
        parameters: &mut [ParameterGradient<E>],
    ) {
        let Some(made) = self.made(node) else { return };
        let own = &mut Gradients {
            all: parameters,
            own: &made.parameters,
        };
        let (of, operation) = ((node, made), &*made.operation);
        self.pass(memory, bars, of, rows, |at, u, x_bar, scratch| {
            operation.pull_back(at, u, own, scratch);
            operation.vjp(at, u, x_bar, scratch);
        });
        if let Some((p_bars, v)) = tangent {
            self.bend(memory, [p_bars, bars], of, (v, rows), own);
            self.pass(memory, p_bars, of, rows, |at, p, x_bar, scratch| {
                operation.vjp(at, p, x_bar, scratch);
            });
        }
    }

    fn bars<'b>(&self, back: &'b Back, mut places: Vec<Vec<E>>, given: &'b [E]) -> Bars<'b, E> {
        if self.plan.output_is_read {
            // Operations that read the output add to this.
            places[back.places[self.output]][..given.len()].copy_from_slice(given);
        }
        Bars {
            back,
            places,
            given,
        }
    }

    /// Adds the derivatives of `⟨p, ẏ⟩` of one operation by its arguments and parameters.
    fn bend(
        &self,
        memory: &mut Memory<E>,
        [p_bars, bars]: [&mut Bars<'_, E>; 2],
        (node, made): (usize, &Made<E>),
        (v, rows): (&[E], &Range<usize>),
        gradients: &mut Gradients<'_, E>,
    ) {
        let mut scratch = take(&mut memory.scratch);
        let mut addends = take(&mut memory.addends);
        let bends = {
            let p = rows_of(self.bar(p_bars, node), self.nodes[node].width, rows);
            let mut x_bar = ArrayVec::<_, MOST_ARGUMENTS>::new();
            for (&from, addend) in made.arguments.iter().zip(&mut addends) {
                let wanted = bars.back.wanted[from];
                let len = rows.len() * self.nodes[from].width;
                x_bar.push(wanted.then(|| &mut addend[..len]));
            }
            let x_dot = self.argument_tangents(memory, made, v, rows);
            self.at(memory, (node, made), rows, |at| {
                (made.operation).bend(at, p, &x_dot, &mut x_bar, gradients, &mut scratch)
            })
        };
        if bends {
            for (&from, addend) in made.arguments.iter().zip(&addends) {
                self.add(bars, from, rows, addend);
            }
        }
        memory.addends = addends;
        memory.scratch = scratch;
    }

    /// Lets `job` turn the cotangent of a value into those of its arguments.
    fn pass(
        &self,
        memory: &mut Memory<E>,
        bars: &mut Bars<'_, E>,
        (node, made): (usize, &Made<E>),
        rows: &Range<usize>,
        job: impl FnOnce(&At<'_, E>, &[E], ArgumentBars<'_, '_, E>, &mut Scratch<E>),
    ) {
        let mut scratch = take(&mut memory.scratch);
        let mut addends = take(&mut memory.addends);
        self.reserve_addends(&mut addends, made, memory.rows);
        let cotangents = &bars.back.arguments[node];
        // The first cotangent that a value gets is written to its place, later ones are added to it.
        let mut written = ArrayVec::<_, MOST_ARGUMENTS>::new();
        for (&from, cotangent) in made.arguments.iter().zip(cotangents) {
            written.push(match cotangent {
                Cotangent::Written => take(&mut bars.places[bars.back.places[from]]),
                _ => Vec::new(),
            });
        }
        {
            let mut x_bar = ArrayVec::<_, MOST_ARGUMENTS>::new();
            let places = written.iter_mut().zip(&mut addends).zip(cotangents);
            for (&from, ((written, addend), cotangent)) in made.arguments.iter().zip(places) {
                let width = self.nodes[from].width;
                x_bar.push(match cotangent {
                    Cotangent::Unwanted | Cotangent::Same => None,
                    Cotangent::Written => Some(rows_of_mut(written, width, rows)),
                    Cotangent::Added => Some(&mut addend[..rows.len() * width]),
                });
            }
            let u = rows_of(self.bar(bars, node), self.nodes[node].width, rows);
            self.at(memory, (node, made), rows, |at| {
                job(at, u, &mut x_bar, &mut scratch)
            });
        }
        self.settle(bars, (node, made), rows, (written, &addends));
        memory.addends = addends;
        memory.scratch = scratch;
    }

    /// Puts cotangents of arguments back to their places, and adds those that are not the first.
    fn settle(
        &self,
        bars: &mut Bars<'_, E>,
        (node, made): (usize, &Made<E>),
        rows: &Range<usize>,
        (written, addends): (ArrayVec<Vec<E>, MOST_ARGUMENTS>, &[Vec<E>]),
    ) {
        let cotangents = &bars.back.arguments[node];
        for ((&from, written), cotangent) in made.arguments.iter().zip(written).zip(cotangents) {
            if *cotangent == Cotangent::Written {
                bars.places[bars.back.places[from]] = written;
            }
        }
        for ((&from, addend), cotangent) in made.arguments.iter().zip(addends).zip(cotangents) {
            if *cotangent == Cotangent::Added {
                self.add(bars, from, rows, addend);
            }
        }
    }

    /// The cotangent of a value.
    fn bar<'b>(&self, bars: &'b Bars<'_, E>, node: usize) -> &'b [E] {
        let node = bars.back.holder(node);
        match node == self.output && !self.plan.output_is_read {
            true => bars.given,
            false => &bars.places[bars.back.places[node]],
        }
    }

    /// Adds to the cotangent of a value, if it is wanted.
    fn add(&self, bars: &mut Bars<'_, E>, node: usize, rows: &Range<usize>, addend: &[E]) {
        if bars.back.wanted[node] {
            let bar = &mut bars.places[bars.back.places[node]];
            let bar = rows_of_mut(bar, self.nodes[node].width, rows);
            let len = bar.len();
            add_scaled(bar, E::one(), &addend[..len]);
        }
    }

    fn reserve_addends(&self, addends: &mut Vec<Vec<E>>, made: &Made<E>, rows: usize) {
        if addends.len() < made.arguments.len() {
            addends.resize(made.arguments.len(), Vec::new());
        }
        for (&from, addend) in made.arguments.iter().zip(addends) {
            let len = rows * self.nodes[from].width;
            if addend.len() < len {
                addend.resize(len, E::zero());
            }
        }
    }
}
