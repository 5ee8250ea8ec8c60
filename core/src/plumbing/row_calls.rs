//! Calls of a map on the rows of a store.

use std::mem::take;
use std::ops::Range;
use std::sync::Arc;

use super::row_matrices::RowMatrices;
use super::RowStore;
use crate::{RowGradients, RowMap, Scalar, Scratch};

/// A map, with the memory that it is lent.
///
/// A call covers the first rows of the store, as many as the state that it is given has. Rows that may be rounded are a call of their
/// own, to the rounded map.
pub(super) struct RowCalls<E: Scalar> {
    map: Arc<dyn RowMap<E>>,
    rounded: Option<Arc<dyn RowMap<E>>>,
    /// Rows of a call that are not rounded.
    exact: usize,
    dim: usize,
    scratch: Scratch<E>,
    /// Lists of slices that are empty between calls, for their memory.
    x: Vec<&'static [E]>,
    record: Vec<&'static [E]>,
    written: Vec<&'static mut [E]>,
}

/// What a call reads beside the state: the map, inputs with constants, the record, and scratch memory.
type Lent<'l, E> = (
    &'l dyn RowMap<E>,
    &'l [&'l [E]],
    &'l [&'l [E]],
    &'l mut Scratch<E>,
);

impl<E: Scalar> RowCalls<E> {
    /// Calls of `map`, whose states are `dim` wide.
    pub fn new(map: Arc<dyn RowMap<E>>, dim: usize) -> Self {
        Self {
            rounded: map.clone().rounded(),
            map,
            exact: usize::MAX,
            dim,
            scratch: Scratch::default(),
            x: Vec::new(),
            record: Vec::new(),
            written: Vec::new(),
        }
    }

    /// Puts the inputs of a store's rows in it, with what depends on them alone, and an empty record.
    pub fn bind(&mut self, store: &mut RowStore<E>, inputs: &[&[E]], rows: usize) {
        let mut constants = RowMatrices::new(self.map.constants());
        constants.reserve(rows);
        let mut slices = Vec::new();
        constants.rows_mut(&(0..rows), &mut slices);
        self.map.prepare(inputs, &mut slices, &mut self.scratch);
        let mut given = RowMatrices::default();
        for &x in inputs {
            given.push(x.len() / rows.max(1), x.to_vec());
        }
        given.append(constants);
        (store.given, store.record) = (given, RowMatrices::new(self.map.record()));
    }

    /// Lets rows from `from` on be rounded from now on. Returns whether the map makes use of it.
    pub fn round(&mut self, from: usize) -> bool {
        self.exact = from;
        self.rounded.is_some()
    }

    /// Whether the map has products with its Jacobian.
    pub fn has_tangents(&self) -> bool {
        self.map.tangents().is_some()
    }

    /// `out = f(z)`.
    pub fn apply(&mut self, store: &RowStore<E>, z: &[E], out: &mut [E]) {
        for (rows, rounded) in self.parts(z) {
            let state = rows.start * self.dim..rows.end * self.dim;
            let (z, out) = (&z[state.clone()], &mut out[state]);
            let matrices = (&store.given, None);
            self.call(matrices, &rows, rounded, |(map, x, _, scratch)| {
                map.apply(x, z, out, scratch);
            });
        }
    }

    /// `out = f(z)`, with the record.
    pub fn linearize(
        &mut self,
        store: &RowStore<E>,
        record: &mut RowMatrices<E>,
        z: &[E],
        out: &mut [E],
    ) {
        for (rows, rounded) in self.parts(z) {
            let state = rows.start * self.dim..rows.end * self.dim;
            let (z, out) = (&z[state.clone()], &mut out[state]);
            let mut written = emptied_mut(take(&mut self.written));
            record.rows_mut(&rows, &mut written);
            let matrices = (&store.given, None);
            self.call(matrices, &rows, rounded, |(map, x, _, scratch)| {
                map.linearize(x, z, out, &mut written, scratch);
            });
            self.written = emptied_mut(written);
        }
    }

    /// `out = Jᵀu`.
    pub fn vjp(&mut self, store: &RowStore<E>, u: &[E], out: &mut [E]) {
        for (rows, rounded) in self.parts(u) {
            let state = rows.start * self.dim..rows.end * self.dim;
            let (u, out) = (&u[state.clone()], &mut out[state]);
            let matrices = (&store.given, Some(&store.record));
            self.call(matrices, &rows, rounded, |(map, x, record, scratch)| {
                map.vjp(x, record, u, out, scratch);
            });
        }
    }

    /// `out = J v`, or false if the map has no such product.
    pub fn jvp(&mut self, store: &RowStore<E>, v: &[E], out: &mut [E]) -> bool {
        self.exact_call(store, v, |(map, x, record, scratch)| {
            let tangents = map.tangents();
            tangents.map(|tangents| tangents.jvp(x, record, v, out, scratch))
        })
        .is_some()
    }

    /// Adds the gradients of `⟨u, f(z)⟩`.
    pub fn pull_back(&mut self, store: &RowStore<E>, u: &[E], gradients: &mut RowGradients<E>) {
        self.exact_call(store, u, |(map, x, record, scratch)| {
            map.pull_back(x, record, u, gradients, scratch);
        });
    }

    /// Adds the gradients of `⟨u, f(z)⟩ + ⟨p, J v⟩`, for a map that has such products.
    pub fn pull_back_tangent(
        &mut self,
        store: &RowStore<E>,
        [u, p, v]: [&[E]; 3],
        gradients: &mut RowGradients<E>,
    ) {
        self.exact_call(store, u, |(map, x, record, scratch)| {
            if let Some(tangents) = map.tangents() {
                tangents.pull_back_tangent(x, record, u, [p, v], gradients, scratch);
            }
        });
    }

    /// The rows of a state, those that are rounded apart.
    fn parts(&self, state: &[E]) -> impl Iterator<Item = (Range<usize>, bool)> {
        let rows = state.len() / self.dim;
        let exact = match self.rounded {
            Some(_) => self.exact.min(rows),
            None => rows,
        };
        let parts = [(0..exact, false), (exact..rows, true)];
        parts.into_iter().filter(|(rows, _)| !rows.is_empty())
    }

    /// Calls the exact map on all rows of a state.
    fn exact_call<R>(
        &mut self,
        store: &RowStore<E>,
        state: &[E],
        job: impl FnOnce(Lent<'_, E>) -> R,
    ) -> R {
        let rows = 0..state.len() / self.dim;
        self.call((&store.given, Some(&store.record)), &rows, false, job)
    }

    fn call<R>(
        &mut self,
        (given, record): (&RowMatrices<E>, Option<&RowMatrices<E>>),
        rows: &Range<usize>,
        rounded: bool,
        job: impl FnOnce(Lent<'_, E>) -> R,
    ) -> R {
        let [mut x, mut recorded] = [&mut self.x, &mut self.record].map(|list| emptied(take(list)));
        given.rows(rows, &mut x);
        if let Some(record) = record {
            record.rows(rows, &mut recorded);
        }
        let rounded = self.rounded.as_ref().filter(|_| rounded);
        let map = &**rounded.unwrap_or(&self.map);
        let result = job((map, &x, &recorded, &mut self.scratch));
        (self.x, self.record) = (emptied(x), emptied(recorded));
        result
    }
}

/// A list without its slices, for those of another lifetime. Collecting in place keeps the memory.
fn emptied<'b, E>(mut list: Vec<&[E]>) -> Vec<&'b [E]> {
    list.clear();
    list.into_iter().map(|_| -> &'b [E] { &[] }).collect()
}

/// [`emptied`] of slices to be written to.
fn emptied_mut<'b, E>(mut list: Vec<&mut [E]>) -> Vec<&'b mut [E]> {
    list.clear();
    list.into_iter()
        .map(|_| -> &'b mut [E] { &mut [] })
        .collect()
}
