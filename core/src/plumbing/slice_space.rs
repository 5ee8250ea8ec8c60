//! The space over contiguous CPU slices: one block of rows, one thread.

use std::mem::take;
use std::ops::Range;
use std::sync::Arc;

use super::deferral::{Deferral, Product};
use super::differences::{central_difference, pull_back_difference};
use super::row_calls::RowCalls;
use super::row_matrices::RowMatrices;
use super::{RowStore, Shortcuts, Store};
use crate::{DifferentiableMap, Error, Map, Result, RowGradients, RowMap, Scalar, Slot, Vectors};

/// A block of rows of the batch, on which a [`RowMap`] is called.
pub struct SliceSpace<E: Scalar> {
    calls: RowCalls<E>,
    store: RowStore<E>,
    gradients: RowGradients<E>,
    /// Whether nothing was pulled back.
    zero: bool,
    linearization: Linearization,
    /// Whether the solution of the next solve is to be linearized.
    linearizes_evaluations: bool,
    deferral: Deferral<E>,
}

/// Where the map is linearized.
#[derive(Default)]
struct Linearization {
    /// Whether all rows are linearized at points of one batch.
    is_valid: bool,
    /// The slot that holds the point and the version of its contents, if a slot still does: a second linearization there has
    /// nothing to do.
    point: Option<(Slot, u64)>,
    /// A copy of the point, where differences are taken from it.
    copy: Option<Slot>,
    /// Whether a difference has left the map linearized elsewhere than at that copy.
    displaced: bool,
    /// How many times the map was linearized: tells one point from another.
    number: u64,
}

impl<E: Scalar> SliceSpace<E> {
    /// A space for the given samples of a batch, whose states are `dim` wide; `inputs` has their rows of every injected input,
    /// row-major, and `gradients` receives what is pulled back.
    pub fn new(
        map: Arc<dyn RowMap<E>>,
        dim: usize,
        samples: Range<usize>,
        inputs: &[&[E]],
        gradients: RowGradients<E>,
    ) -> Self {
        let (mut calls, rows) = (RowCalls::new(map, dim), samples.len());
        let mut store = RowStore::new(dim, samples);
        calls.bind(&mut store, inputs, rows);
        Self {
            calls,
            store,
            gradients,
            zero: true,
            linearization: Linearization::default(),
            linearizes_evaluations: false,
            deferral: Deferral::default(),
        }
    }

    /// The contents of a slot, `[rows, dim]`.
    pub fn state(&self, slot: Slot) -> &[E] {
        self.store.rows(slot)
    }

    /// The contents of a slot, `[rows, dim]`, for writing.
    pub fn state_mut(&mut self, slot: Slot) -> &mut [E] {
        self.store.rows_mut(slot)
    }

    /// What was pulled back, in the order of the block's samples.
    pub fn into_gradients(self) -> RowGradients<E> {
        self.gradients
    }

    /// Collects what is pulled back from now on in `gradients`, which are 0.
    pub(crate) fn collect_in(&mut self, gradients: RowGradients<E>) {
        (self.gradients, self.zero) = (gradients, true);
    }

    /// What was pulled back since then, and whether nothing was.
    pub(crate) fn collected(&mut self) -> (RowGradients<E>, bool) {
        (take(&mut self.gradients), self.zero)
    }

    /// Whether evaluations that may be the last keep what a linearization takes, which makes them dearer.
    pub(crate) fn linearize_evaluations(&mut self, wanted: bool) {
        self.linearizes_evaluations = wanted;
    }

    /// Gives the memory of slots back that nobody holds.
    pub(crate) fn shrink(&mut self) {
        self.store.shrink();
    }

    /// Lets gradients of products with the Jacobian wait from now on, under this number, for
    /// [`join_deferred`](Self::join_deferred).
    pub(crate) fn defer(&mut self, number: usize) {
        self.deferral.number = Some(number);
    }

    /// Multiplies the gradients that wait by the factors of their numbers and lets none wait any more: the next cotangent
    /// that is pulled back from their point takes one of them along, which costs less than each does alone.
    pub(crate) fn join_deferred(&mut self, factors: &[f64]) {
        self.deferral.join(factors);
    }

    /// Pulls back what waits still. The map has to be linearized anew then.
    pub(crate) fn flush_deferred(&mut self) {
        if self.deferral.is_empty() {
            return;
        }
        if self.deferral.linearization != self.linearization.number {
            let point = take(&mut self.deferral.point);
            self.linearize_with(|space, record| {
                let calls = &mut space.calls;
                space.store.fill_scratch(|store, value| {
                    calls.linearize(store, record, &point, &mut value[..point.len()]);
                });
            });
            (self.linearization.point, self.linearization.is_valid) = (None, false);
        }
        while let Some(product) = self.deferral.pop() {
            self.pull_back_alone(&product);
        }
    }

    /// Gets ready for derivatives at the linearization point.
    fn at_linearization(&mut self) -> Result<()> {
        if !self.linearization.is_valid {
            return Err(Error::not_linearized());
        }
        let copy = self
            .linearization
            .copy
            .filter(|_| self.linearization.displaced);
        if let Some(copy) = copy {
            // All rows are linearized again: those of samples that are done were displaced as well.
            let mut value = self.store.rows(copy).to_vec();
            self.linearize_with(|space, record| {
                let (calls, store) = (&mut space.calls, &space.store);
                calls.linearize(store, record, store.rows(copy), &mut value);
            });
            self.linearization.displaced = false;
        }
        Ok(())
    }

    /// Lets `job` linearize some rows of the map.
    fn linearize_with(&mut self, job: impl FnOnce(&mut Self, &mut RowMatrices<E>)) {
        let mut record = take(&mut self.store.record);
        record.reserve(self.store.samples().len());
        job(self, &mut record);
        self.store.record = record;
        self.linearization.number += 1;
    }

    /// Linearizes the map at the active rows of a slot.
    fn linearize_map(&mut self, z: Slot) {
        self.linearize_with(|space, record| {
            let calls = &mut space.calls;
            (space.store).fill_scratch(|store, value| {
                calls.linearize(store, record, store.active(z), value);
            });
        });
    }

    /// Notes that the map is linearized at the contents of a slot.
    fn set_point(&mut self, z: Slot) {
        let Self {
            store,
            linearization,
            ..
        } = self;
        // The samples that are done were not linearized at z.
        linearization.point = store.all_active().then(|| (z, store.version(z)));
        (linearization.is_valid, linearization.displaced) = (true, false);
        if !self.calls.has_tangents() {
            let copy = *linearization.copy.get_or_insert_with(|| store.reserve());
            store.fill(copy, false, |store, copy| {
                copy.copy_from_slice(store.active(z))
            });
        }
    }

    /// The slot that differences are taken from.
    fn base(&self) -> Result<Slot> {
        let Linearization { copy, point, .. } = self.linearization;
        let unchanged = point.filter(|&(slot, version)| self.store.version(slot) == version);
        let base = copy.or(unchanged.map(|(slot, _)| slot));
        base.ok_or_else(Error::not_linearized)
    }

    /// Pulls back at the point the map is linearized at.
    fn pull_back_here(&mut self, u: Slot) {
        self.zero = false;
        let (store, gradients) = (&self.store, &mut self.gradients);
        let u = store.active(u);
        match self.deferral.take(self.linearization.number) {
            Some(Product { p, v, .. }) => {
                (self.calls).pull_back_tangent(store, [u, &p, &v], gradients);
            }
            None => self.calls.pull_back(store, u, gradients),
        }
    }

    /// Adds the gradients of a product, without a cotangent.
    fn pull_back_alone(&mut self, Product { p, v, .. }: &Product<E>) {
        self.zero = false;
        let (calls, gradients) = (&mut self.calls, &mut self.gradients);
        self.store.fill_scratch(|store, u| {
            let u = &mut u[..p.len()];
            u.fill(E::zero());
            calls.pull_back_tangent(store, [u, p, v], gradients);
        });
    }

    /// Pulls a product back, or lets it wait.
    fn pull_back_product(&mut self, p: Slot, v: Slot, factors: &[f64]) {
        let [p, v] = [p, v].map(|slot| self.store.active(slot).to_vec());
        let factors = factors.to_vec();
        let number = self.linearization.number;
        let point = self.base().ok().map(|slot| self.store.rows(slot));
        let product = Product { p, v, factors };
        if let Some(mut product) = self.deferral.put((number, point), product) {
            product.scale(1.0);
            self.pull_back_alone(&product);
        }
    }
}

impl<E: Scalar> Map for SliceSpace<E> {
    fn vectors(&self) -> &dyn Store {
        &self.store
    }

    fn vectors_mut(&mut self) -> &mut dyn Store {
        &mut self.store
    }

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        let calls = &mut self.calls;
        (self.store).fill(out, z == out, |store, out| {
            calls.apply(store, store.active(z), out);
        });
        Ok(())
    }

    fn linearize(&mut self, z: Slot) -> Result<()> {
        if self.linearization.point == Some((z, self.store.version(z))) {
            return Ok(());
        }
        self.linearize_map(z);
        self.set_point(z);
        Ok(())
    }

    fn jvp(&mut self, v: Slot, out: Slot) -> Result<usize> {
        self.at_linearization()?;
        let calls = &mut self.calls;
        let product = |store: &RowStore<E>, out: &mut [E]| calls.jvp(store, store.active(v), out);
        if self.store.fill_scratch(product) {
            self.store.copy_scratch(out);
            return Ok(1);
        }
        let z = self.base()?;
        central_difference(self, z, v, out)?;
        Ok(2)
    }

    fn shortcuts(&mut self) -> Option<&mut dyn Shortcuts> {
        Some(self)
    }
}

impl<E: Scalar> Shortcuts for SliceSpace<E> {
    fn apply_keeping(&mut self, z: Slot, out: Slot) -> Result<bool> {
        if !self.linearizes_evaluations {
            self.apply(z, out)?;
            return Ok(false);
        }
        self.linearize_with(|space, record| {
            let calls = &mut space.calls;
            (space.store).fill(out, z == out, |store, out| {
                calls.linearize(store, record, store.active(z), out);
            });
        });
        let linearization = &mut self.linearization;
        (linearization.point, linearization.is_valid) = (None, false);
        Ok(true)
    }

    fn keep_linearization(&mut self, z: Slot) {
        self.set_point(z);
    }

    fn allow_rounding(&mut self, from: usize) -> bool {
        self.calls.round(from)
    }
}

impl<E: Scalar> DifferentiableMap for SliceSpace<E> {
    fn vjp(&mut self, u: Slot, out: Slot) -> Result<()> {
        self.at_linearization()?;
        let calls = &mut self.calls;
        (self.store).fill(out, u == out, |store, out| {
            calls.vjp(store, store.active(u), out);
        });
        Ok(())
    }

    fn pull_back(&mut self, u: Slot) -> Result<()> {
        self.at_linearization()?;
        self.pull_back_here(u);
        Ok(())
    }

    fn pull_back_tangent(&mut self, p: Slot, v: Slot, factors: &[f64], step: f64) -> Result<()> {
        self.at_linearization()?;
        require_factors(factors, self.batch())?;
        if self.calls.has_tangents() {
            self.pull_back_product(p, v, factors);
            return Ok(());
        }
        let base = self.base()?;
        let at = |space: &mut Self, point: Slot, cotangent: Slot| {
            space.linearize_map(point);
            space.pull_back_here(cotangent);
            Ok(())
        };
        (self.linearization.point, self.linearization.displaced) = (None, true);
        pull_back_difference(self, base, [p, v], (factors, step), at)
    }
}

fn require_factors(factors: &[f64], batch: usize) -> Result<()> {
    if factors.len() == batch {
        return Ok(());
    }
    Err(Error::Shape {
        what: "the factors of products".to_owned(),
        expected: format!("{batch}, one per active sample"),
        got: factors.len().to_string(),
    })
}
