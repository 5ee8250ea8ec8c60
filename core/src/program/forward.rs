//! Ahead: values and tangents.

use std::mem::take;
use std::ops::Range;

use arrayvec::ArrayVec;

use super::block::{reserve, Memory};
use super::{Made, Program, MOST_ARGUMENTS, MOST_RECORDS};
use crate::operation::At;
use crate::Element;

/// The given rows of a matrix.
pub(super) fn rows_of<'m, E>(matrix: &'m [E], width: usize, rows: &Range<usize>) -> &'m [E] {
    &matrix[rows.start * width..rows.end * width]
}

/// [`rows_of`] for writing.
pub(super) fn rows_of_mut<'m, E>(
    matrix: &'m mut [E],
    width: usize,
    rows: &Range<usize>,
) -> &'m mut [E] {
    &mut matrix[rows.start * width..rows.end * width]
}

/// Which rows of a value are to be computed, and how.
struct Call<'c, E> {
    z: &'c [E],
    rows: Range<usize>,
    rounded: bool,
    /// Whether derivatives are to be asked for at z.
    linearizes: bool,
}

impl<E: Element> Program<E> {
    /// Computes what depends on the inputs alone.
    pub(super) fn compute_constants(&self, memory: &mut Memory<E>) {
        for &node in &self.plan.constants {
            let Some(made) = self.made(node) else {
                continue;
            };
            let mut y = vec![E::zero(); memory.rows * self.nodes[node].width];
            let mut records = Vec::new();
            reserve(&mut records, &made.record, memory.rows);
            {
                let mut record: ArrayVec<&mut [E], MOST_RECORDS> =
                    records.iter_mut().map(Vec::as_mut_slice).collect();
                let arguments = made.arguments.iter();
                let x: ArrayVec<&[E], MOST_ARGUMENTS> =
                    arguments.map(|&from| &memory.constants[from][..]).collect();
                (made.operation).apply(&x, &mut y, &mut record, &mut memory.scratch);
            }
            memory.constants[node] = y;
            memory.records[node] = records;
        }
    }

    /// `out = f(z)`; z becomes the linearization point of these rows, if that is wanted.
    pub(super) fn forward(&self, memory: &mut Memory<E>, z: &[E], out: &mut [E], linearizes: bool) {
        let (plan, output, rows) = (&self.plan, self.output, z.len() / self.dim());
        reserve(&mut memory.values, &plan.widths, memory.rows);
        if linearizes {
            self.reserve_linearization(memory);
            if plan.kept[0] {
                memory.kept[0][..z.len()].copy_from_slice(z);
            }
        }
        for group in &plan.groups {
            let mut start = 0;
            while start < rows {
                let (part, rounded) = group.part(start, rows, memory.exact);
                start = part.end;
                let call = Call {
                    z,
                    rows: part,
                    rounded,
                    linearizes,
                };
                for &node in &group.nodes {
                    self.make(memory, node, &call, out);
                }
            }
        }
        match output {
            0 => out.copy_from_slice(z),
            _ if !plan.varies[output] => {
                out.copy_from_slice(&memory.constants[output][..out.len()]);
            }
            _ if linearizes && plan.kept[output] => {
                out.copy_from_slice(&memory.kept[output][..out.len()]);
            }
            _ if plan.output_is_read => {
                out.copy_from_slice(&memory.values[plan.places[output]][..out.len()]);
            }
            _ => {}
        }
    }

    /// Computes some rows of one value.
    fn make(&self, memory: &mut Memory<E>, node: usize, call: &Call<'_, E>, out: &mut [E]) {
        let Some(made) = self.made(node) else { return };
        let Memory {
            constants,
            kept,
            records,
            values,
            scratch,
            ..
        } = memory;
        let (plan, width, rows) = (&self.plan, self.nodes[node].width, &call.rows);
        let keeps = call.linearizes && plan.kept[node];
        let direct = node == self.output && !keeps && !plan.output_is_read;
        let place = match keeps {
            true => &mut kept[node],
            false => &mut values[plan.places[node]],
        };
        // Taken out, so that the others can be read.
        let mut y = take(place);
        let mut record = ArrayVec::<&mut [E], MOST_RECORDS>::new();
        if call.linearizes {
            let records = records[node].iter_mut().zip(&made.record);
            record.extend(records.map(|(record, &width)| rows_of_mut(record, width, rows)));
        }
        let mut x = ArrayVec::<&[E], MOST_ARGUMENTS>::new();
        for &from in &made.arguments {
            let all = match from {
                0 => call.z,
                _ if !plan.varies[from] => &constants[from],
                _ if call.linearizes && plan.kept[from] => &kept[from],
                _ => &values[plan.places[from]],
            };
            x.push(rows_of(all, self.nodes[from].width, rows));
        }
        let target = if direct { out } else { &mut y[..] };
        let target = rows_of_mut(target, width, rows);
        (made.operation(call.rounded)).apply(&x, target, &mut record, scratch);
        drop(x);
        match keeps {
            true => kept[node] = y,
            false => values[plan.places[node]] = y,
        }
    }

    /// Takes the memory that a linearization needs, if it is not there yet.
    fn reserve_linearization(&self, memory: &mut Memory<E>) {
        for (node, of) in self.nodes.iter().enumerate() {
            if !self.plan.varies[node] {
                continue;
            }
            if self.plan.kept[node] {
                memory.kept[node].resize(memory.rows * of.width, E::zero());
            }
            if let Some(made) = &of.made_by {
                reserve(&mut memory.records[node], &made.record, memory.rows);
            }
        }
    }

    /// The tangents of all values along `v`, and that of the output in `out`, if it is wanted.
    pub(super) fn tangents(&self, memory: &mut Memory<E>, v: &[E], out: Option<&mut [E]>) {
        let rows = v.len() / self.dim();
        let varies = self.nodes.iter().zip(&self.plan.varies);
        let widths: Vec<usize> = match memory.tangents.is_empty() {
            true => varies
                .map(|(node, &varies)| node.width * usize::from(varies))
                .collect(),
            false => Vec::new(),
        };
        reserve(&mut memory.tangents, &widths, memory.rows);
        for group in &self.plan.groups {
            let mut start = 0;
            while start < rows {
                let (part, _) = group.part(start, rows, usize::MAX);
                start = part.end;
                for &node in &group.nodes {
                    self.tangent(memory, node, v, &part);
                }
            }
        }
        let Some(out) = out else { return };
        match self.output {
            0 => out.copy_from_slice(v),
            output if self.plan.varies[output] => {
                out.copy_from_slice(&memory.tangents[output][..out.len()]);
            }
            _ => out.fill(E::zero()),
        }
    }

    fn tangent(&self, memory: &mut Memory<E>, node: usize, v: &[E], rows: &Range<usize>) {
        let Some(made) = self.made(node) else { return };
        let mut y_dot = take(&mut memory.tangents[node]);
        let mut scratch = take(&mut memory.scratch);
        let place = rows_of_mut(&mut y_dot, self.nodes[node].width, rows);
        {
            let x_dot = self.argument_tangents(memory, made, v, rows);
            self.at(memory, (node, made), rows, |at| {
                (made.operation).jvp(at, &x_dot, place, &mut scratch);
            });
        }
        memory.tangents[node] = y_dot;
        memory.scratch = scratch;
    }

    /// The tangents of an operation's arguments; none of those that are constant.
    pub(super) fn argument_tangents<'m>(
        &self,
        memory: &'m Memory<E>,
        made: &Made<E>,
        v: &'m [E],
        rows: &Range<usize>,
    ) -> ArrayVec<Option<&'m [E]>, MOST_ARGUMENTS> {
        let tangent = |&from: &usize| {
            let all = match from {
                0 => v,
                _ if self.plan.varies[from] => &memory.tangents[from],
                _ => return None,
            };
            Some(rows_of(all, self.nodes[from].width, rows))
        };
        made.arguments.iter().map(tangent).collect()
    }

    /// Shows `look` the point at which an operation is differentiated.
    pub(super) fn at<R>(
        &self,
        memory: &Memory<E>,
        (node, made): (usize, &Made<E>),
        rows: &Range<usize>,
        look: impl FnOnce(&At<'_, E>) -> R,
    ) -> R {
        let value = |of: usize, is_read: bool| {
            let all = match self.plan.varies[of] {
                _ if !is_read => return &[][..],
                true => &memory.kept[of],
                false => &memory.constants[of],
            };
            rows_of(all, self.nodes[of].width, rows)
        };
        let reads = made.operation.reads();
        let arguments = made.arguments.iter();
        let x: ArrayVec<&[E], MOST_ARGUMENTS> = arguments
            .map(|&from| value(from, reads.arguments))
            .collect();
        let records = memory.records[node].iter().zip(&made.record);
        let record: ArrayVec<&[E], MOST_RECORDS> = records
            .map(|(record, &width)| rows_of(record, width, rows))
            .collect();
        look(&At {
            x: &x,
            y: value(node, reads.result),
            record: &record,
        })
    }
}
