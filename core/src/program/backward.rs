//! Backward passes of a program: from the cotangent of its output to those of the state, and to the gradients of parameters and inputs.

use std::mem::take;
use std::ops::Range;

use arrayvec::ArrayVec;

use super::back::{Back, Bar, Cotangent};
use super::forward::{rows_of, rows_of_mut, Point};
use super::plan::Step;
use super::working::reserve;
use super::{Made, Program, MOST_ARGUMENTS};
use crate::operation::{At, Gradients};
use crate::simd::add_scaled;
use crate::{Element, RowGradients, Scratch};

/// The cotangents of a backward pass that is running; "bar" as in x̄.
struct Bars<'b, E> {
    back: &'b Back,
    places: Vec<Vec<E>>,
    /// What the running operation adds to cotangents that others have written already, by argument.
    addends: Vec<Vec<E>>,
    /// The cotangent of the output; it stays here where no operation reads the output.
    given: &'b [E],
}

/// An operation with what is known of it, and the rows it runs on.
#[derive(Clone, Copy)]
struct Run<'r, E> {
    node: usize,
    made: &'r Made<E>,
    step: &'r Step,
    rows: &'r Range<usize>,
}

/// Places of cotangents, while an operation writes them.
type Written<E> = ArrayVec<Vec<E>, MOST_ARGUMENTS>;

/// The cotangents of arguments, as an operation writes them; `None` where nobody asks for one.
type ArgumentBars<'a, 'b, E> = &'a mut [Option<&'b mut [E]>];

impl<E: Element> Program<E> {
    /// `out = Jᵀu`, with rounded products or not.
    pub(super) fn pull_to_state(
        &self,
        point: Point<'_, E>,
        (u, rounded): (&[E], bool),
        out: &mut [E],
        scratch: &mut Scratch<E>,
    ) {
        if self.plan.output == 0 {
            return out.copy_from_slice(u);
        }
        if !self.plan.steps[self.plan.output].varies {
            return out.fill(E::zero());
        }
        let back = self.to_state();
        let [addends, _] = &mut scratch.working.addends;
        let mut bars = self.bars((back, u), &mut scratch.working.state_bars, addends);
        back.nodes.run(self.rows(u), |node, rows| {
            let Some(run) = self.of(node, rows) else {
                return;
            };
            self.pass(point, &mut bars, run, scratch, |at, u, x_bar, scratch| {
                run.made.operation(rounded).vjp(at, u, x_bar, scratch);
            });
        });
        out.copy_from_slice(&bars.of(0)[..out.len()]);
        scratch.working.state_bars = bars.places;
        scratch.working.addends[0] = bars.addends;
    }

    /// Adds the gradients of `⟨u, f(z)⟩`, and those of `⟨p, J v⟩` after [`push`](Self::push) along v.
    pub(super) fn pull_to_gradients(
        &self,
        point: Point<'_, E>,
        u: &[E],
        tangent: Option<(&[E], &[E])>,
        gradients: &mut RowGradients<E>,
        scratch: &mut Scratch<E>,
    ) {
        let (back, output) = (self.to_gradients(), self.plan.output);
        let RowGradients { parameters, inputs } = gradients;
        if output != 0 && self.made(output).is_none() && back.wanted[output] {
            return add_scaled(&mut inputs[output - 1][..u.len()], E::one(), u);
        }
        if !back.wanted[output] {
            return;
        }
        let working = &mut scratch.working;
        let [addends, p_addends] = &mut working.addends;
        let mut bars = self.bars((back, u), &mut working.gradient_bars, addends);
        // Cotangents of tangents follow the plan of the backward pass to the state, node by node with the others.
        let mut tangent = tangent.map(|(p, v)| {
            let p_bars = self.bars((self.to_state(), p), &mut working.state_bars, p_addends);
            (p_bars, v)
        });
        let tangents = take(&mut working.tangents);
        back.nodes.run(self.rows(u), |node, rows| {
            let Some(run) = self.of(node, rows) else {
                return;
            };
            let own = &mut Gradients {
                all: parameters,
                own: &run.made.parameters,
            };
            match tangent.as_mut().filter(|_| run.step.varies) {
                Some((p_bars, v)) => {
                    let x_dot = self.argument_tangents(run.step, (v, rows), &tangents);
                    self.pass_both(point, [&mut bars, p_bars], (run, &x_dot), own, scratch);
                }
                None => self.pass(point, &mut bars, run, scratch, |at, u, x_bar, scratch| {
                    run.made.operation.back(at, u, x_bar, own, scratch);
                }),
            }
        });
        self.add_inputs(&bars, inputs);
        let working = &mut scratch.working;
        (working.gradient_bars, working.addends[0]) = (bars.places, bars.addends);
        working.tangents = tangents;
        if let Some((p_bars, _)) = tangent {
            (working.state_bars, working.addends[1]) = (p_bars.places, p_bars.addends);
        }
    }

    /// Adds the cotangents of injected inputs to their gradients, after all operations.
    fn add_inputs(&self, bars: &Bars<'_, E>, gradients: &mut [Vec<E>]) {
        for (input, gradient) in gradients.iter_mut().enumerate() {
            if bars.back.wanted[input + 1] {
                let len = self.rows(bars.given) * self.nodes[input + 1].width;
                let bar = &bars.of(input + 1)[..len];
                add_scaled(&mut gradient[..len], E::one(), bar);
            }
        }
    }

    fn of<'r>(&'r self, node: usize, rows: &'r Range<usize>) -> Option<Run<'r, E>> {
        Some(Run {
            node,
            made: self.made(node)?,
            step: &self.plan.steps[node],
            rows,
        })
    }

    /// The cotangents at the beginning of a pass: that of the output is `given`, the others are not there yet.
    fn bars<'b>(
        &self,
        (back, given): (&'b Back, &'b [E]),
        places: &mut Vec<Vec<E>>,
        addends: &mut Vec<Vec<E>>,
    ) -> Bars<'b, E> {
        let mut places = take(places);
        reserve(&mut places, back.places.iter().copied(), self.rows(given));
        if let Bar::Place(place) = back.bars[self.plan.output] {
            // Operations that read the output add to this.
            places[place][..given.len()].copy_from_slice(given);
        }
        let mut addends = take(addends);
        addends.resize_with(MOST_ARGUMENTS, Vec::new);
        Bars {
            back,
            places,
            addends,
            given,
        }
    }

    /// Lets `job` turn the cotangent of a value into those of its arguments.
    #[inline]
    fn pass(
        &self,
        point: Point<'_, E>,
        bars: &mut Bars<'_, E>,
        run: Run<'_, E>,
        scratch: &mut Scratch<E>,
        job: impl FnOnce(&At<'_, E>, &[E], ArgumentBars<'_, '_, E>, &mut Scratch<E>),
    ) {
        let (mut written, mut x_bar) = (ArrayVec::new(), ArrayVec::new());
        bars.take_written(run.node, &mut written);
        let u = bars.targets(run, &mut written, &mut x_bar);
        self.at(point, (run.made, run.step), run.rows, |at| {
            job(at, u, &mut x_bar, scratch);
        });
        drop(x_bar);
        bars.settle(run, &mut written);
    }

    /// Turns the cotangents of a value and of its tangent into those of the arguments, with the gradients of parameters.
    fn pass_both(
        &self,
        point: Point<'_, E>,
        [bars, p_bars]: [&mut Bars<'_, E>; 2],
        (run, x_dot): (Run<'_, E>, &[Option<&[E]>]),
        gradients: &mut Gradients<'_, E>,
        scratch: &mut Scratch<E>,
    ) {
        let (mut written, mut p_written) = (ArrayVec::new(), ArrayVec::new());
        let (mut x_bar, mut p_bar) = (ArrayVec::new(), ArrayVec::new());
        bars.take_written(run.node, &mut written);
        p_bars.take_written(run.node, &mut p_written);
        let u = bars.targets(run, &mut written, &mut x_bar);
        let p = p_bars.targets(run, &mut p_written, &mut p_bar);
        self.at(point, (run.made, run.step), run.rows, |at| {
            let (operation, found) = (&run.made.operation, [&mut x_bar[..], &mut p_bar[..]]);
            operation.back_with_tangent(at, [u, p], x_dot, found, gradients, scratch);
        });
        drop((x_bar, p_bar));
        bars.settle(run, &mut written);
        p_bars.settle(run, &mut p_written);
    }
}

impl<E: Element> Bars<'_, E> {
    /// The cotangent of a value.
    fn of(&self, node: usize) -> &[E] {
        match self.back.bars[node] {
            Bar::Given => self.given,
            Bar::Place(place) => &self.places[place],
        }
    }

    /// The places of cotangents that an operation is the first to write, taken out so that its own can be read.
    #[inline(always)]
    fn take_written(&mut self, node: usize, written: &mut Written<E>) {
        for argument in self.back.arguments(node) {
            if let Cotangent::Written(place) = argument.becomes {
                written.push(take(&mut self.places[place]));
            }
        }
    }

    /// The cotangent of a value. `x_bar` becomes where its operation writes those of the arguments: the first one to its place, later
    /// ones beside it.
    #[inline(always)]
    fn targets<'t>(
        &'t mut self,
        run: Run<'_, E>,
        written: &'t mut Written<E>,
        x_bar: &mut ArrayVec<Option<&'t mut [E]>, MOST_ARGUMENTS>,
    ) -> &'t [E] {
        let all = match self.back.bars[run.node] {
            Bar::Given => self.given,
            Bar::Place(place) => &self.places[place],
        };
        let mut written = written.iter_mut();
        let arguments = self.back.arguments(run.node).iter();
        for (argument, addend) in arguments.zip(&mut self.addends) {
            x_bar.push(match argument.becomes {
                Cotangent::Unwanted | Cotangent::Same => None,
                Cotangent::Written(_) => {
                    let place = written.next();
                    place.map(|place| rows_of_mut(place, argument.width, run.rows))
                }
                Cotangent::Added(_) => {
                    let len = run.rows.len() * argument.width;
                    if addend.len() < len {
                        addend.resize(len, E::zero());
                    }
                    Some(&mut addend[..len])
                }
            });
        }
        rows_of(all, run.step.width, run.rows)
    }

    /// Puts cotangents of arguments back to their places, and adds those that are not the first.
    #[inline(always)]
    fn settle(&mut self, run: Run<'_, E>, written: &mut Written<E>) {
        let mut written = written.iter_mut();
        for (argument, addend) in self.back.arguments(run.node).iter().zip(&self.addends) {
            match argument.becomes {
                Cotangent::Unwanted | Cotangent::Same => {}
                Cotangent::Written(place) => {
                    self.places[place] = written.next().map(take).unwrap_or_default();
                }
                Cotangent::Added(place) => {
                    let bar = rows_of_mut(&mut self.places[place], argument.width, run.rows);
                    let len = bar.len();
                    add_scaled(bar, E::one(), &addend[..len]);
                }
            }
        }
    }
}
