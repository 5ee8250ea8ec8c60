//! The space over contiguous CPU slices: one block of rows, one kernel, one thread.

use std::ops::Range;

use super::deferral::{Deferral, Product};
use super::differences::{central_difference, pull_back_difference};
use super::{RowStore, Shortcuts, Store};
use crate::kernel::{KernelBlock, KernelGradients};
use crate::{DifferentiableMap, Error, Map, Result, Scalar, Slot, Vectors};

/// A block of rows of the batch, driven by a [`KernelBlock`].
pub struct SliceSpace<E: Scalar> {
    kernel: Box<dyn KernelBlock<E>>,
    store: RowStore<E>,
    gradients: KernelGradients<E>,
    /// Whether nothing was pulled back.
    zero: bool,
    /// Whether the kernel has gradients of its products with the Jacobian. One that has not may lack the products as well, and
    /// differences take their place.
    has_tangents: bool,
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
    /// Whether a difference has left the kernel linearized elsewhere than at that copy.
    displaced: bool,
    /// How many times the kernel was linearized: tells one point from another.
    number: u64,
}

impl<E: Scalar> SliceSpace<E> {
    /// A space for the samples `first..first + rows`; `gradients` receives what is pulled back.
    pub fn new(
        mut kernel: Box<dyn KernelBlock<E>>,
        dim: usize,
        rows: Range<usize>,
        mut gradients: KernelGradients<E>,
    ) -> Self {
        Self {
            has_tangents: kernel.pull_back_tangent(&[], &[], &[], &mut gradients),
            kernel,
            store: RowStore::new(dim, rows),
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
    pub fn into_gradients(self) -> KernelGradients<E> {
        self.gradients
    }

    /// Collects what is pulled back from now on in `gradients`, which are 0.
    pub(crate) fn collect_in(&mut self, gradients: KernelGradients<E>) {
        (self.gradients, self.zero) = (gradients, true);
    }

    /// What was pulled back since then, and whether nothing was.
    pub(crate) fn collected(&mut self) -> (KernelGradients<E>, bool) {
        (std::mem::take(&mut self.gradients), self.zero)
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
        self.follow();
        if self.deferral.linearization != self.linearization.number {
            let (kernel, point) = (&mut self.kernel, &self.deferral.point);
            self.store.fill_scratch(|_, value| {
                kernel.linearize(point, &mut value[..point.len()]);
            });
            self.linearization.number += 1;
            (self.linearization.point, self.linearization.is_valid) = (None, false);
        }
        while let Some(product) = self.deferral.pop() {
            self.pull_back_alone(&product);
        }
    }

    /// Follows exchanges of rows in what the kernel keeps per row.
    fn follow(&mut self) {
        for (a, b) in self.store.drain_exchanges() {
            self.kernel.swap_rows(a, b);
        }
    }

    /// Gets ready for derivatives at the linearization point.
    fn at_linearization(&mut self) -> Result<()> {
        if !self.linearization.is_valid {
            return Err(Error::not_linearized());
        }
        self.follow();
        let copy = self
            .linearization
            .copy
            .filter(|_| self.linearization.displaced);
        if let Some(copy) = copy {
            // Of all rows: those that are done were displaced as well.
            let mut value = self.store.rows(copy).to_vec();
            self.kernel.linearize(self.store.rows(copy), &mut value);
            self.linearization.number += 1;
            self.linearization.displaced = false;
        }
        Ok(())
    }

    /// Linearizes the kernel at the active rows of a slot.
    fn linearize_kernel(&mut self, z: Slot) {
        self.follow();
        let kernel = &mut self.kernel;
        (self.store).fill_scratch(|store, value| kernel.linearize(store.active(z), value));
        self.linearization.number += 1;
    }

    /// Notes that the kernel is linearized at the contents of a slot.
    fn set_point(&mut self, z: Slot) {
        let Self {
            store,
            linearization,
            ..
        } = self;
        // Of samples that are done there is no linearization.
        linearization.point = store.all_active().then(|| (z, store.version(z)));
        (linearization.is_valid, linearization.displaced) = (true, false);
        if !self.has_tangents {
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

    /// Pulls back at the point the kernel is linearized at.
    fn pull_back_here(&mut self, u: Slot) {
        self.zero = false;
        let u = self.store.active(u);
        match self.deferral.take(self.linearization.number) {
            Some(Product { p, v, .. }) => {
                (self.kernel).pull_back_tangent(u, &p, &v, &mut self.gradients);
            }
            None => self.kernel.pull_back(u, &mut self.gradients),
        }
    }

    /// Adds the gradients of a product, without a cotangent.
    fn pull_back_alone(&mut self, Product { p, v, .. }: &Product<E>) {
        self.zero = false;
        let (kernel, gradients) = (&mut self.kernel, &mut self.gradients);
        self.store.fill_scratch(|_, u| {
            let u = &mut u[..p.len()];
            u.fill(E::zero());
            kernel.pull_back_tangent(u, p, v, gradients);
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
        self.follow();
        let kernel = &mut self.kernel;
        (self.store).fill(out, z == out, |store, out| {
            kernel.apply(store.active(z), out)
        });
        Ok(())
    }

    fn linearize(&mut self, z: Slot) -> Result<()> {
        if self.linearization.point == Some((z, self.store.version(z))) {
            return Ok(());
        }
        self.linearize_kernel(z);
        self.set_point(z);
        Ok(())
    }

    fn jvp(&mut self, v: Slot, out: Slot) -> Result<usize> {
        self.at_linearization()?;
        let kernel = &mut self.kernel;
        let product = |store: &RowStore<E>, out: &mut [E]| kernel.jvp(store.active(v), out);
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
        self.follow();
        let kernel = &mut self.kernel;
        (self.store).fill(out, z == out, |store, out| {
            kernel.linearize(store.active(z), out)
        });
        let linearization = &mut self.linearization;
        linearization.number += 1;
        (linearization.point, linearization.is_valid) = (None, false);
        Ok(true)
    }

    fn keep_linearization(&mut self, z: Slot) {
        self.set_point(z);
    }

    fn allow_rounding(&mut self, from: usize) -> bool {
        self.follow();
        self.kernel.allow_rounding(from)
    }
}

impl<E: Scalar> DifferentiableMap for SliceSpace<E> {
    fn vjp(&mut self, u: Slot, out: Slot) -> Result<()> {
        self.at_linearization()?;
        let kernel = &mut self.kernel;
        (self.store).fill(out, u == out, |store, out| kernel.vjp(store.active(u), out));
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
        if self.has_tangents {
            self.pull_back_product(p, v, factors);
            return Ok(());
        }
        let base = self.base()?;
        let at = |space: &mut Self, point: Slot, cotangent: Slot| {
            space.linearize_kernel(point);
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
