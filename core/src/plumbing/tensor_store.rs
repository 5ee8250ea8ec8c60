//! Vectors in dfdx tensors, on any device.

use dfdx::prelude::*;

use super::normal::normal_row;
use super::Store;
use crate::backend::{from_host, to_host};
use crate::input::separate;
use crate::{Backend, Coef, Error, Matrix, Result, Scalar, Slot, Vectors};

/// The store of a [`TensorSpace`](super::TensorSpace): one matrix per slot. Slots of the space itself may have other widths than
/// the vectors.
pub struct TensorStore<E: Scalar, D: Backend<E>> {
    device: D,
    dim: usize,
    batch: usize,
    /// The number of the first sample.
    first: usize,
    samples: Vec<usize>,
    slots: Vec<Option<Rows<E, D>>>,
    free: Vec<Slot>,
    /// Slots that the space keeps for itself.
    reserved: usize,
}

/// A matrix with one row per sample: the active rows, and behind them those that are done.
#[derive(Clone)]
struct Rows<E: Scalar, D: Backend<E>> {
    active: Matrix<E, D>,
    done: Option<Matrix<E, D>>,
}

impl<E: Scalar, D: Backend<E>> Rows<E, D> {
    fn all(active: Matrix<E, D>) -> Self {
        Self { active, done: None }
    }

    /// All rows in the given order, the first `batch` of them active.
    fn reorder(&self, order: &Tensor<(usize,), usize, D>, batch: usize) -> Self {
        let whole = match &self.done {
            Some(done) => (self.active.clone(), done.clone())
                .concat_along(Axis::<0>)
                .realize(),
            None => self.active.clone(),
        };
        let (rows, _) = *whole.shape();
        let whole: Matrix<E, D> = whole.gather(order.clone());
        let part = |from, to| -> Option<Matrix<E, D>> {
            (from < to).then(|| whole.clone().slice((from..to, ..)).realize())
        };
        match (part(0, batch), part(batch, rows)) {
            (Some(active), done) => Self { active, done },
            // With no active row left there is nothing to compute; the rows wait as they are.
            (None, _) => Self {
                active: whole,
                done: None,
            },
        }
    }
}

impl<E: Scalar, D: Backend<E>> TensorStore<E, D> {
    /// A store for this many samples, without any slot.
    pub fn new(device: D, dim: usize, batch: usize) -> Self {
        Self {
            device,
            dim,
            batch,
            first: 0,
            samples: (0..batch).collect(),
            slots: Vec::new(),
            free: Vec::new(),
            reserved: 0,
        }
    }

    /// A slot that is not counted among those that are held, and never given back; it holds `rows`, `[batch, any width]`, if any.
    pub fn reserve(&mut self, rows: Option<Matrix<E, D>>) -> Slot {
        self.reserved += 1;
        let slot = self.take();
        self.slots[slot.0] = rows.map(Rows::all);
        slot
    }

    /// A slot that holds `state`, `[batch, dim]`.
    pub fn adopt(&mut self, state: Matrix<E, D>) -> Slot {
        let slot = self.take();
        self.slots[slot.0] = Some(Rows::all(state));
        slot
    }

    /// A slot without contents.
    fn take(&mut self) -> Slot {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot(self.slots.len() - 1)
        })
    }

    /// The active rows of a slot, if anything was ever written to it.
    pub fn contents(&self, slot: Slot) -> Option<&Matrix<E, D>> {
        self.slots[slot.0].as_ref().map(|rows| &rows.active)
    }

    /// The active rows of a slot of vectors.
    pub fn state(&self, slot: Slot) -> Result<Matrix<E, D>> {
        match self.contents(slot) {
            Some(active) => Ok(active.clone()),
            None => self.zeros(self.batch),
        }
    }

    /// Replaces the active rows of a slot.
    pub fn set(&mut self, slot: Slot, active: Matrix<E, D>) {
        let done = self.slots[slot.0].take().and_then(|rows| rows.done);
        self.slots[slot.0] = Some(Rows { active, done });
    }

    /// Copies all rows of a slot. The copy is a tensor of its own: the state may be an injected input, as f(z; x) = x leaves it.
    pub fn copy_slot(&mut self, from: Slot, to: Slot) {
        self.slots[to.0] = self.slots[from.0].as_ref().map(|rows| Rows {
            active: separate(rows.active.clone()),
            done: rows.done.clone(),
        });
    }

    fn zeros(&self, rows: usize) -> Result<Matrix<E, D>> {
        let shape = (rows, self.dim);
        self.device.try_zeros_like(&shape).map_err(Error::device)
    }

    fn order(&self, order: Vec<usize>) -> Tensor<(usize,), usize, D> {
        let count = order.len();
        self.device.tensor_from_vec(order, (count,))
    }
}

impl<E: Scalar, D: Backend<E>> Vectors for TensorStore<E, D> {
    fn batch(&self) -> usize {
        self.batch
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn epsilon(&self) -> f64 {
        E::epsilon().wide()
    }

    fn alloc(&mut self) -> Result<Slot> {
        let (zeros, all) = (self.zeros(self.samples.len())?, 0..self.samples.len());
        let order = self.order(all.collect());
        let slot = self.take();
        self.slots[slot.0] = Some(Rows::all(zeros).reorder(&order, self.batch));
        Ok(slot)
    }

    fn release(&mut self, slot: Slot) {
        // What a failed sample has left behind may be NaN.
        self.slots[slot.0] = None;
        self.free.push(slot);
    }

    fn dots(&mut self, a: Slot, bs: &[Slot], out: &mut [f64]) -> Result<()> {
        let a = self.state(a)?;
        for (k, &b) in bs.iter().enumerate() {
            for (row, dot) in D::row_dots(&a, &self.state(b)?).into_iter().enumerate() {
                out[row * bs.len() + k] = dot;
            }
        }
        Ok(())
    }

    fn combine(&mut self, out: Slot, terms: &[(Coef<'_>, Slot)]) -> Result<()> {
        let shape = (self.batch, self.dim);
        let mut sum: Option<Matrix<E, D>> = None;
        for (coef, slot) in terms {
            let vector = self.state(*slot)?;
            let term = match coef {
                Coef::Same(c) => vector * E::of(*c),
                Coef::PerSample(c) => {
                    let c: Vec<E> = c[..shape.0].iter().map(|&c| E::of(c)).collect();
                    let c = self.device.tensor_from_vec(c, (shape.0,));
                    vector * c.broadcast_like::<_, Axis<1>>(&shape)
                }
            };
            sum = Some(match sum {
                Some(sum) => sum + term,
                None => term,
            });
        }
        let sum = match sum {
            Some(sum) => sum,
            None => self.zeros(self.batch)?,
        };
        self.set(out, sum);
        Ok(())
    }

    fn copy_rows(&mut self, from: Slot, to: Slot, rows: &[usize]) -> Result<()> {
        if rows.len() == self.batch {
            let all = self.state(from)?;
            self.set(to, all);
        } else if !rows.is_empty() {
            let mut pick: Vec<usize> = (0..self.batch).collect();
            rows.iter().for_each(|&row| pick[row] = self.batch + row);
            let both: Matrix<E, D> = (self.state(to)?, self.state(from)?)
                .concat_along(Axis::<0>)
                .realize();
            self.set(to, both.gather(self.order(pick)));
        }
        Ok(())
    }

    fn fill_normal(&mut self, slot: Slot, seed: u64) -> Result<()> {
        let mut values = vec![E::zero(); self.batch * self.dim];
        for (row, values) in values.chunks_exact_mut(self.dim).enumerate() {
            normal_row(seed, self.first + self.samples[row], values);
        }
        let normal = from_host(&self.device, values, (self.batch, self.dim))?;
        self.set(slot, normal);
        Ok(())
    }
}

impl<E: Scalar, D: Backend<E>> Store for TensorStore<E, D> {
    fn samples(&self) -> &[usize] {
        &self.samples
    }

    fn number_from(&mut self, first: usize) {
        self.first = first;
    }

    fn held(&self) -> usize {
        self.slots.len() - self.free.len() - self.reserved
    }

    fn permute(&mut self, swaps: &[(usize, usize)], batch: usize) -> Result<()> {
        if swaps.is_empty() && batch == self.batch {
            return Ok(());
        }
        let mut order: Vec<usize> = (0..self.samples.len()).collect();
        for &(a, b) in swaps {
            order.swap(a, b);
            self.samples.swap(a, b);
        }
        let order = self.order(order);
        for rows in self.slots.iter_mut().flatten() {
            *rows = rows.reorder(&order, batch);
        }
        self.batch = batch;
        Ok(())
    }

    fn write(&mut self, slot: Slot, values: &[f64]) -> Result<()> {
        let values = values.iter().map(|&value| E::of(value)).collect();
        let state = from_host(&self.device, values, (self.batch, self.dim))?;
        self.set(slot, state);
        Ok(())
    }

    fn read(&self, slot: Slot) -> Result<Vec<f64>> {
        let state = to_host(&self.state(slot)?);
        Ok(state.into_iter().map(E::wide).collect())
    }
}
