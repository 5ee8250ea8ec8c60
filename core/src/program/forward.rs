//! Ahead: values and tangents.

use std::mem::take;
use std::ops::Range;

use arrayvec::ArrayVec;

use super::plan::{Source, Step};
use super::working::reserve;
use super::{Made, Program, MOST_ARGUMENTS, MOST_RECORDS};
use crate::operation::At;
use crate::{Element, Scratch};

/// The given rows of a matrix.
#[inline]
pub(super) fn rows_of<'m, E>(matrix: &'m [E], width: usize, rows: &Range<usize>) -> &'m [E] {
    &matrix[rows.start * width..rows.end * width]
}

/// [`rows_of`] for writing.
#[inline]
pub(super) fn rows_of_mut<'m, E>(
    matrix: &'m mut [E],
    width: usize,
    rows: &Range<usize>,
) -> &'m mut [E] {
    &mut matrix[rows.start * width..rows.end * width]
}

/// What values are made from.
pub(super) struct Call<'c, E> {
    /// Inputs, then constants.
    pub x: &'c [&'c [E]],
    pub z: &'c [E],
    pub rounded: bool,
    /// Whether derivatives are to be asked for at z.
    pub linearizes: bool,
}

/// What derivatives read.
#[derive(Clone, Copy)]
pub(super) struct Point<'p, E> {
    /// Inputs, then constants.
    pub x: &'p [&'p [E]],
    pub record: &'p [&'p [E]],
}

impl<E: Element> Program<E> {
    /// Computes what depends on the inputs alone.
    pub(super) fn compute_constants(
        &self,
        x: &[&[E]],
        constants: &mut [&mut [E]],
        scratch: &mut Scratch<E>,
    ) {
        for &node in &self.plan.constants {
            let (Some(made), step) = (self.made(node), &self.plan.steps[node]) else {
                continue;
            };
            let (before, own) = constants.split_at_mut(step.first - x.len());
            let [y, record @ ..] = own else { continue };
            let all = |index: usize| match index.checked_sub(x.len()) {
                None => x[index],
                Some(constant) => &*before[constant],
            };
            let arguments = self.plan.arguments(step).iter();
            let arguments: ArrayVec<&[E], MOST_ARGUMENTS> = arguments
                .map(|argument| match argument.value {
                    Source::Given(index) => all(index),
                    _ => &[],
                })
                .collect();
            let record = &mut record[..made.record.len()];
            made.operation.apply(&arguments, y, record, scratch);
        }
    }

    /// `out = f(z)`. For a linearization `record` has all its matrices.
    pub(super) fn forward(
        &self,
        call: &Call<'_, E>,
        out: &mut [E],
        record: &mut [&mut [E]],
        scratch: &mut Scratch<E>,
    ) {
        let (plan, rows) = (&self.plan, self.rows(call.z));
        let mut values = take(&mut scratch.working.values);
        reserve(&mut values, plan.places.iter().copied(), rows);
        if call.linearizes && plan.steps[0].kept {
            record[0].copy_from_slice(call.z);
        }
        plan.varying.run(rows, |node, part| {
            self.make(node, call, part, (&mut values, out, record), scratch);
        });
        scratch.working.values = values;
        let output = &plan.steps[plan.output];
        match output.value {
            Source::State => out.copy_from_slice(call.z),
            Source::Given(index) => out.copy_from_slice(call.x[index]),
            _ if call.linearizes && output.kept => record[output.first].copy_from_slice(out),
            _ => {}
        }
    }

    /// Computes some rows of one value.
    fn make(
        &self,
        node: usize,
        call: &Call<'_, E>,
        rows: &Range<usize>,
        (values, out, record): (&mut [Vec<E>], &mut [E], &mut [&mut [E]]),
        scratch: &mut Scratch<E>,
    ) {
        let (Some(made), step) = (self.made(node), &self.plan.steps[node]) else {
            return;
        };
        let first = if call.linearizes { step.first } else { 0 };
        let (before, own) = record.split_at_mut(first);
        let (value, records) = own.split_at_mut(usize::from(call.linearizes && step.kept));
        let (mut taken, mut place) = (Vec::new(), None);
        let target = if call.linearizes {
            step.linearized
        } else {
            step.value
        };
        let (y, output): (&mut [E], &[E]) = match target {
            Source::Output => (out, &[]),
            Source::Place(index) => {
                // Taken out, so that the others can be read.
                taken = take(&mut values[index]);
                place = Some(index);
                (&mut taken, out)
            }
            _ => match value.first_mut() {
                Some(value) => (value, out),
                None => return,
            },
        };
        let made_so_far = (&*before, &*values, output);
        let x = self.arguments(step, call, rows, made_so_far);
        let mut recorded = ArrayVec::<&mut [E], MOST_RECORDS>::new();
        for (record, &width) in records.iter_mut().zip(&made.record) {
            recorded.push(rows_of_mut(record, width, rows));
        }
        let y = rows_of_mut(y, step.width, rows);
        (made.operation(call.rounded)).apply(&x, y, &mut recorded, scratch);
        drop(x);
        if let Some(index) = place {
            values[index] = taken;
        }
    }

    /// The arguments of an operation, from what is recorded, in places and in the output before it runs.
    #[inline]
    fn arguments<'m>(
        &self,
        step: &Step,
        call: &Call<'m, E>,
        rows: &Range<usize>,
        (record, values, output): (&'m [&'m mut [E]], &'m [Vec<E>], &'m [E]),
    ) -> ArrayVec<&'m [E], MOST_ARGUMENTS> {
        let mut x = ArrayVec::new();
        for argument in self.plan.arguments(step) {
            let source = match call.linearizes {
                true => argument.linearized,
                false => argument.value,
            };
            let all = match source {
                Source::State => call.z,
                Source::Given(index) => call.x[index],
                Source::Record(index) => &*record[index],
                Source::Place(index) => &values[index],
                Source::Output => output,
                Source::Nowhere => continue,
            };
            x.push(rows_of(all, argument.width, rows));
        }
        x
    }

    /// The tangents of all values along `v`, in the working memory, and that of the output in `out`, if it is wanted.
    pub(super) fn push(
        &self,
        point: Point<'_, E>,
        v: &[E],
        out: Option<&mut [E]>,
        scratch: &mut Scratch<E>,
    ) {
        let (plan, rows) = (&self.plan, self.rows(v));
        let mut tangents = take(&mut scratch.working.tangents);
        let widths = plan.steps.iter();
        let widths = widths.map(|step| step.width * usize::from(step.varies));
        reserve(&mut tangents, widths, rows);
        plan.varying.run(rows, |node, part| {
            self.tangent(node, point, (v, part), &mut tangents, scratch);
        });
        if let Some(out) = out {
            match plan.output {
                0 => out.copy_from_slice(v),
                output if plan.steps[output].varies => {
                    out.copy_from_slice(&tangents[output][..out.len()]);
                }
                _ => out.fill(E::zero()),
            }
        }
        scratch.working.tangents = tangents;
    }

    fn tangent(
        &self,
        node: usize,
        point: Point<'_, E>,
        (v, rows): (&[E], &Range<usize>),
        tangents: &mut [Vec<E>],
        scratch: &mut Scratch<E>,
    ) {
        let (Some(made), step) = (self.made(node), &self.plan.steps[node]) else {
            return;
        };
        let mut y_dot = take(&mut tangents[node]);
        let place = rows_of_mut(&mut y_dot, step.width, rows);
        let x_dot = self.argument_tangents(step, (v, rows), tangents);
        self.at(point, (made, step), rows, |at| {
            made.operation.jvp(at, &x_dot, place, scratch);
        });
        drop(x_dot);
        tangents[node] = y_dot;
    }

    /// The tangents of an operation's arguments; none of those that are constant.
    pub(super) fn argument_tangents<'m>(
        &self,
        step: &Step,
        (v, rows): (&'m [E], &Range<usize>),
        tangents: &'m [Vec<E>],
    ) -> ArrayVec<Option<&'m [E]>, MOST_ARGUMENTS> {
        let mut x_dot = ArrayVec::new();
        for argument in self.plan.arguments(step) {
            x_dot.push(argument.varies.then(|| {
                let all = if argument.node == 0 {
                    v
                } else {
                    &tangents[argument.node]
                };
                rows_of(all, argument.width, rows)
            }));
        }
        x_dot
    }

    /// Shows `look` the point at which an operation is differentiated.
    #[inline]
    pub(super) fn at<R>(
        &self,
        point: Point<'_, E>,
        (made, step): (&Made<E>, &Step),
        rows: &Range<usize>,
        look: impl FnOnce(&At<'_, E>) -> R,
    ) -> R {
        let value = |source: Source, width: usize| match source {
            Source::Given(index) => rows_of(point.x[index], width, rows),
            Source::Record(index) => rows_of(point.record[index], width, rows),
            _ => &[],
        };
        let mut x = ArrayVec::<&[E], MOST_ARGUMENTS>::new();
        for argument in self.plan.arguments(step) {
            x.push(value(argument.point, argument.width));
        }
        let own = match step.varies {
            true => &point.record[step.first + usize::from(step.kept)..],
            false => &point.x[step.first + 1..],
        };
        let mut record = ArrayVec::<&[E], MOST_RECORDS>::new();
        for (matrix, &width) in own.iter().zip(&made.record) {
            record.push(rows_of(matrix, width, rows));
        }
        look(&At {
            x: &x,
            y: value(step.result, step.width),
            record: &record,
        })
    }
}
