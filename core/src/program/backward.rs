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
            let mut start = 0;
            while start < rows {
                let (part, rounded) = group.part(start, rows, memory.exact);
                start = part.end;
                for &node in &group.nodes {
                    let Some(made) = self.made(node) else {
                        continue;
                    };
                    let operation = made.operation(rounded);
                    self.pass(memory, &mut bars, (node, made), &part, |at, u, x_bar, s| {
                        operation.vjp(at, u, x_bar, s);
                    });
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
            let mut start = 0;
            while start < rows.len() {
                let (part, _) = group.part(start, rows.len(), usize::MAX);
                start = part.end;
                for &node in &group.nodes {
                    let tangent = tangent.as_mut().filter(|_| self.plan.varies[node]);
                    let tangent = tangent.map(|(p_bars, v)| (p_bars, *v));
                    self.pull_node_back(memory, &mut bars, tangent, (node, &part), parameters);
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
        let of = (node, made);
        match tangent {
            Some((p_bars, v)) => self.pass_both(memory, [bars, p_bars], of, (v, rows), own),
            None => self.pass(memory, bars, of, rows, |at, u, x_bar, scratch| {
                made.operation.back(at, u, x_bar, own, scratch);
            }),
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

    /// Lets `job` turn the cotangent of a value into those of its arguments.
    fn pass(
        &self,
        memory: &mut Memory<E>,
        bars: &mut Bars<'_, E>,
        of: (usize, &Made<E>),
        rows: &Range<usize>,
        job: impl FnOnce(&At<'_, E>, &[E], ArgumentBars<'_, '_, E>, &mut Scratch<E>),
    ) {
        let mut scratch = take(&mut memory.scratch);
        let [mut addends, _] = memory.addends.each_mut().map(take);
        let mut written = self.take_written(bars, of);
        {
            let mut x_bar = self.targets(bars, of, rows, (&mut written, &mut addends));
            let u = rows_of(self.bar(bars, of.0), self.nodes[of.0].width, rows);
            self.at(memory, of, rows, |at| job(at, u, &mut x_bar, &mut scratch));
        }
        self.settle(bars, of, rows, (written, &addends));
        memory.addends[0] = addends;
        memory.scratch = scratch;
    }

    /// Turns the cotangents of a value and of its tangent into those of the arguments, with the gradients of parameters.
    fn pass_both(
        &self,
        memory: &mut Memory<E>,
        [bars, p_bars]: [&mut Bars<'_, E>; 2],
        of: (usize, &Made<E>),
        (v, rows): (&[E], &Range<usize>),
        gradients: &mut Gradients<'_, E>,
    ) {
        let mut scratch = take(&mut memory.scratch);
        let [mut addends, mut p_addends] = memory.addends.each_mut().map(take);
        let mut written = self.take_written(bars, of);
        let mut p_written = self.take_written(p_bars, of);
        {
            let mut x_bar = self.targets(bars, of, rows, (&mut written, &mut addends));
            let mut p_bar = self.targets(p_bars, of, rows, (&mut p_written, &mut p_addends));
            let width = self.nodes[of.0].width;
            let given = [&*bars, &*p_bars].map(|bars| rows_of(self.bar(bars, of.0), width, rows));
            let x_dot = self.argument_tangents(memory, of.1, v, rows);
            let found = [&mut x_bar[..], &mut p_bar[..]];
            self.at(memory, of, rows, |at| {
                let operation = &of.1.operation;
                operation.back_with_tangent(at, given, &x_dot, found, gradients, &mut scratch);
            });
        }
        self.settle(bars, of, rows, (written, &addends));
        self.settle(p_bars, of, rows, (p_written, &p_addends));
        memory.addends = [addends, p_addends];
        memory.scratch = scratch;
    }

    /// The places of cotangents that an operation is the first to write.
    fn take_written(
        &self,
        bars: &mut Bars<'_, E>,
        (node, made): (usize, &Made<E>),
    ) -> ArrayVec<Vec<E>, MOST_ARGUMENTS> {
        let cotangents = made.arguments.iter().zip(&bars.back.arguments[node]);
        let places = cotangents.map(|(&from, cotangent)| match cotangent {
            Cotangent::Written => take(&mut bars.places[bars.back.places[from]]),
            _ => Vec::new(),
        });
        places.collect()
    }

    /// Where an operation writes the cotangents of its arguments: the first one to its place, later ones beside it.
    fn targets<'t>(
        &self,
        bars: &Bars<'_, E>,
        (node, made): (usize, &Made<E>),
        rows: &Range<usize>,
        (written, addends): (&'t mut [Vec<E>], &'t mut Vec<Vec<E>>),
    ) -> ArrayVec<Option<&'t mut [E]>, MOST_ARGUMENTS> {
        addends.resize_with(made.arguments.len().max(addends.len()), Vec::new);
        let places = written.iter_mut().zip(addends);
        let places = places.zip(&bars.back.arguments[node]).zip(&made.arguments);
        let targets = places.map(|(((written, addend), cotangent), &from)| {
            let width = self.nodes[from].width;
            let len = rows.len() * width;
            match cotangent {
                Cotangent::Unwanted | Cotangent::Same => None,
                Cotangent::Written => Some(rows_of_mut(written, width, rows)),
                Cotangent::Added => {
                    addend.resize(len.max(addend.len()), E::zero());
                    Some(&mut addend[..len])
                }
            }
        });
        targets.collect()
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
}
