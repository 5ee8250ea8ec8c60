//! The vectors of a solve in dfdx tensors on a GPU, worked on by kernels of our own.

use std::sync::Arc;

use dfdx::prelude::{Cache, Cuda, HasShape, ReshapeTo, ZerosTensor};

use super::kernels::{Combine, CopyRows, Dots, Exchange, Normal, MASKED, MATRICES, MOST};
use super::{address, Engine, Real};
use crate::backend::{from_host, to_host};
use crate::plumbing::Store;
use crate::seed::mix;
use crate::{Backend, Coef, Error, Matrix, Result, Slot, Vectors};

/// A matrix that nothing else works on, and its address.
pub(super) struct Rows<E: Real>
where
    Cuda: Backend<E>,
{
    tensor: Matrix<E, Cuda>,
    pub address: u64,
}

impl<E: Real> Rows<E>
where
    Cuda: Backend<E>,
{
    /// Zeros.
    pub fn zeros(device: &Cuda, shape: (usize, usize)) -> Result<Self> {
        let tensor = device.try_zeros_like(&shape).map_err(Error::device)?;
        let address = address(&tensor)?;
        Ok(Self { tensor, address })
    }

    pub fn width(&self) -> usize {
        self.tensor.shape().1
    }

    /// As a tensor. Nobody may work on the numbers in place any more.
    pub fn into_tensor(self) -> Matrix<E, Cuda> {
        self.tensor
    }
}

/// The store of a [`CudaSpace`](super::CudaSpace). Samples that are done change places with others, in all matrices by one launch, so that
/// the active ones are always the first rows, which is where kernels and products work.
pub(super) struct CudaStore<E: Real>
where
    Cuda: Backend<E>,
{
    pub device: Cuda,
    pub engine: Arc<Engine>,
    dim: usize,
    batch: usize,
    /// The number of the first sample.
    first: usize,
    samples: Vec<usize>,
    slots: Vec<Option<Rows<E>>>,
    free: Vec<Slot>,
    /// Slots that the space keeps for itself.
    reserved: usize,
    /// When each slot was written last.
    stamps: Vec<u64>,
    clock: u64,
    known: Known,
    /// Work space: sums in f64, coefficients, and whole numbers, in words of 64 bits.
    sums: Rows<f64>,
    coefficients: Rows<E>,
    words: Rows<f64>,
}

/// Inner products that are known before they are asked for: those of a residual with the vectors that the solver wanted last time are
/// computed along with its norm, so that both come back in one copy.
#[derive(Default)]
struct Known {
    /// What products were taken with, at last.
    wanted: Vec<Slot>,
    /// The vector whose products are known, with its stamp.
    vector: Option<(Slot, u64)>,
    /// The others, with their stamps.
    others: Vec<(Slot, u64)>,
    /// `[batch, others + 2]`.
    sums: Vec<f64>,
}

impl<E: Real> CudaStore<E>
where
    Cuda: Backend<E>,
{
    /// A store for this many samples, without any slot.
    pub fn new(device: &Cuda, dim: usize, batch: usize) -> Result<Self> {
        // What slots give back is used again.
        device.try_enable_cache().map_err(Error::device)?;
        Ok(Self {
            engine: Engine::of(device)?,
            sums: Rows::<f64>::zeros(device, (batch, MOST + 2))?,
            coefficients: Rows::zeros(device, (batch, MOST))?,
            words: Rows::<f64>::zeros(device, (1, batch + 1))?,
            device: device.clone(),
            dim,
            batch,
            first: 0,
            samples: (0..batch).collect(),
            slots: Vec::new(),
            free: Vec::new(),
            reserved: 0,
            stamps: Vec::new(),
            clock: 0,
            known: Known::default(),
        })
    }

    /// The number of samples, active or done.
    pub fn height(&self) -> usize {
        self.samples.len()
    }

    /// A slot that is not counted among those that are held, and never given back: zeros of any width.
    pub fn reserve(&mut self, width: usize) -> Result<Slot> {
        let rows = Rows::zeros(&self.device, (self.height(), width))?;
        self.reserved += 1;
        Ok(self.put(rows))
    }

    /// A slot with a copy of `rows`, `[height, any width]`.
    pub fn adopt(&mut self, rows: &Matrix<E, Cuda>) -> Result<Slot> {
        let copy = Rows::zeros(&self.device, *rows.shape())?;
        let slot = self.put(copy);
        self.fill(slot, rows)?;
        Ok(slot)
    }

    /// [`adopt`](Self::adopt) of what is not counted among the slots that are held.
    pub fn adopt_reserved(&mut self, rows: &Matrix<E, Cuda>) -> Result<Slot> {
        self.reserved += 1;
        self.adopt(rows)
    }

    fn put(&mut self, rows: Rows<E>) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.stamps.push(0);
            Slot(self.slots.len() - 1)
        });
        self.slots[slot.0] = Some(rows);
        self.written(slot);
        slot
    }

    /// The address of a slot.
    pub fn address(&self, slot: Slot) -> Result<u64> {
        let rows = self.slots[slot.0].as_ref();
        rows.map(|rows| rows.address).ok_or_else(|| Error::Missing {
            what: "a vector that was given back".to_owned(),
            remedy: "hold the slots that are used",
        })
    }

    /// The address of a slot that is about to be written.
    pub fn address_mut(&mut self, slot: Slot) -> Result<u64> {
        self.written(slot);
        self.address(slot)
    }

    fn written(&mut self, slot: Slot) {
        self.clock += 1;
        self.stamps[slot.0] = self.clock;
    }

    /// Copies a tensor with as many rows as are active, or as there are, to a slot.
    pub fn fill(&mut self, slot: Slot, from: &Matrix<E, Cuda>) -> Result<()> {
        let from = from.clone().try_contiguous().map_err(Error::device)?;
        let (rows, columns) = *from.shape();
        let to = self.address_mut(slot)?;
        self.engine.copy::<E>(address(&from)?, to, rows * columns)
    }

    /// A copy of the active rows of a slot.
    pub fn state(&self, slot: Slot) -> Result<Matrix<E, Cuda>> {
        let width = self.slots[slot.0].as_ref().map_or(self.dim, Rows::width);
        let copy = Rows::zeros(&self.device, (self.batch, width))?;
        let from = self.address(slot)?;
        (self.engine).copy::<E>(from, copy.address, self.batch * width)?;
        Ok(copy.into_tensor())
    }

    /// Copies all active rows of a slot.
    pub fn copy_slot(&mut self, from: Slot, to: Slot) -> Result<()> {
        let (count, from) = (self.batch * self.dim, self.address(from)?);
        let to = self.address_mut(to)?;
        self.engine.copy::<E>(from, to, count)
    }

    /// Sums of a, or of `a − b` where there is a b, which goes to `out`, with up to [`MOST`] others: `[batch, others + 2]`.
    fn sum(&mut self, a: Slot, b: Option<(Slot, Slot)>, others: &[Slot]) -> Result<Vec<f64>> {
        let mut dots = Dots {
            a: self.address(a)?,
            b: 0,
            out: 0,
            others: [0; MOST],
            sums: self.sums.address,
            count: others.len() as u32,
            dim: self.dim as u32,
            rows: self.batch as u32,
        };
        if let Some((b, out)) = b {
            (dots.b, dots.out) = (self.address(b)?, self.address_mut(out)?);
        }
        for (place, &other) in dots.others.iter_mut().zip(others) {
            *place = self.address(other)?;
        }
        self.engine.launch::<E, _>(dots)?;
        let mut sums = vec![0.0; self.batch * (others.len() + 2)];
        self.engine.receive(self.sums.address, &mut sums)?;
        Ok(sums)
    }

    /// The product of `a` and `b` in every row, if it is known.
    fn known(&self, a: Slot, b: Slot) -> Option<impl Iterator<Item = f64> + '_> {
        let now = |slot: Slot| (slot, self.stamps[slot.0]);
        let Known {
            vector,
            others,
            sums,
            ..
        } = &self.known;
        let column = match *vector == Some(now(a)) {
            true if a == b => 0,
            true => 2 + others.iter().position(|&other| other == now(b))?,
            false => return None,
        };
        Some(sums.chunks(others.len() + 2).map(move |row| row[column]))
    }

    /// Puts numbers per row and term on the device.
    fn send_coefficients(&self, terms: &[(Coef<'_>, Slot)]) -> Result<()> {
        let each = terms.iter().filter_map(|(coef, _)| match coef {
            Coef::PerSample(c) => Some(&c[..self.batch]),
            Coef::Same(_) => None,
        });
        let all: Vec<E> = each.flatten().map(|&c| E::of(c)).collect();
        self.engine.send(&all, self.coefficients.address)
    }

    fn combine_few(&mut self, out: Slot, terms: &[(Coef<'_>, Slot)]) -> Result<()> {
        let mut combine = Combine {
            terms: [0; MOST],
            same: [0.0; MOST],
            coefficients: self.coefficients.address,
            out: 0,
            each: 0,
            count: terms.len() as u32,
            rows: self.batch as u32,
            dim: self.dim as u32,
        };
        for (index, (coef, slot)) in terms.iter().enumerate() {
            combine.terms[index] = self.address(*slot)?;
            match coef {
                Coef::Same(c) => combine.same[index] = *c,
                Coef::PerSample(_) => combine.each |= 1 << index,
            }
        }
        combine.out = self.address_mut(out)?;
        self.send_coefficients(terms)?;
        self.engine.launch::<E, _>(combine)
    }
}

impl<E: Real> Vectors for CudaStore<E>
where
    Cuda: Backend<E>,
{
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
        let zeros = Rows::zeros(&self.device, (self.height(), self.dim))?;
        Ok(self.put(zeros))
    }

    fn release(&mut self, slot: Slot) {
        self.slots[slot.0] = None;
        self.written(slot);
        self.known.wanted.retain(|&wanted| wanted != slot);
        self.free.push(slot);
    }

    fn dots(&mut self, a: Slot, bs: &[Slot], out: &mut [f64]) -> Result<()> {
        let count = bs.len();
        self.known.wanted = bs.to_vec();
        let unknown: Vec<usize> = (0..count)
            .filter(|&k| match self.known(a, bs[k]) {
                Some(products) => {
                    let places = out[k..].iter_mut().step_by(count);
                    places.zip(products).for_each(|(place, dot)| *place = dot);
                    false
                }
                None => true,
            })
            .collect();
        for part in unknown.chunks(MOST) {
            let others: Vec<Slot> = part.iter().map(|&k| bs[k]).collect();
            let sums = self.sum(a, None, &others)?;
            for (row, sums) in sums.chunks(others.len() + 2).enumerate() {
                for (&k, &dot) in part.iter().zip(&sums[2..]) {
                    out[row * count + k] = dot;
                }
            }
        }
        Ok(())
    }

    fn combine(&mut self, out: Slot, terms: &[(Coef<'_>, Slot)]) -> Result<()> {
        if terms.len() <= MOST {
            return self.combine_few(out, terms);
        }
        // `out` may be any of the terms, and is written last.
        let sum = self.alloc()?;
        for part in terms.chunks(MOST - 1) {
            let before = (Coef::Same(1.0), sum);
            let part: Vec<_> = std::iter::once(before)
                .chain(part.iter().copied())
                .collect();
            self.combine_few(sum, &part)?;
        }
        self.copy_slot(sum, out)?;
        self.release(sum);
        Ok(())
    }

    fn copy_rows(&mut self, from: Slot, to: Slot, rows: &[usize]) -> Result<()> {
        if rows.is_empty() || from == to {
            return Ok(());
        }
        if rows.len() == self.batch {
            return self.copy_slot(from, to);
        }
        let (from, to) = (self.address(from)?, self.address_mut(to)?);
        for first in (0..self.batch).step_by(MASKED) {
            let mut mask = [0; MASKED / 32];
            let part = first..self.batch.min(first + MASKED);
            for row in rows.iter().filter(|row| part.contains(row)) {
                mask[(row - first) / 32] |= 1 << ((row - first) % 32);
            }
            let bytes = (first * self.dim * size_of::<E>()) as u64;
            self.engine.launch::<E, _>(CopyRows {
                from: from + bytes,
                to: to + bytes,
                dim: self.dim as u32,
                rows: part.len() as u32,
                mask,
            })?;
        }
        Ok(())
    }

    fn fill_normal(&mut self, slot: Slot, seed: u64) -> Result<()> {
        let samples = self.samples[..self.batch].iter();
        let stream = |&sample: &usize| mix(seed, (self.first + sample) as u64);
        let streams: Vec<u64> = samples.map(stream).collect();
        self.engine.send(&streams, self.words.address)?;
        let normal = Normal {
            out: self.address_mut(slot)?,
            streams: self.words.address,
            rows: self.batch as u32,
            dim: self.dim as u32,
        };
        self.engine.launch::<E, _>(normal)
    }
}

impl<E: Real> Store for CudaStore<E>
where
    Cuda: Backend<E>,
{
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
        let mut order: Vec<usize> = (0..self.height()).collect();
        for &(a, b) in swaps {
            order.swap(a, b);
            self.samples.swap(a, b);
        }
        self.batch = batch;
        self.known.vector = None;
        let Cycles { begins, rows } = Cycles::of(&order);
        if rows.is_empty() {
            return Ok(());
        }
        let count = begins.len() as u32 - 1;
        let cycles: Vec<u32> = begins.into_iter().chain(rows).collect();
        self.engine.send(&cycles, self.words.address)?;
        let matrices: Vec<&Rows<E>> = self.slots.iter().flatten().collect();
        for part in matrices.chunks(MATRICES) {
            let mut exchange = Exchange {
                matrices: [0; MATRICES],
                widths: [0; MATRICES],
                cycles: self.words.address,
                count,
                matrices_count: part.len() as u32,
            };
            for (index, rows) in part.iter().enumerate() {
                exchange.matrices[index] = rows.address;
                exchange.widths[index] = rows.width() as u32;
            }
            self.engine.launch::<E, _>(exchange)?;
        }
        Ok(())
    }

    /// Along with the norms, the products that the solver is about to ask for.
    fn difference(
        &mut self,
        a: Slot,
        b: Slot,
        out: Slot,
        squares: &mut [f64],
        lengths: &mut [f64],
    ) -> Result<()> {
        let mut others = self.known.wanted.clone();
        if !others.is_empty() && !others.contains(&out) {
            others.push(out);
        }
        others.truncate(MOST);
        let sums = self.sum(a, Some((b, out)), &others)?;
        let rows = sums.chunks(others.len() + 2);
        for ((square, length), row) in squares.iter_mut().zip(lengths).zip(rows) {
            (*square, *length) = (row[0], row[1]);
        }
        let now = |slot: Slot| (slot, self.stamps[slot.0]);
        self.known.vector = Some(now(out));
        self.known.others = others.into_iter().map(now).collect();
        self.known.sums = sums;
        Ok(())
    }

    fn write(&mut self, slot: Slot, values: &[f64]) -> Result<()> {
        let values = values.iter().map(|&value| E::of(value)).collect();
        let state = from_host(&self.device, values, (self.batch, self.dim))?;
        self.fill(slot, &state)
    }

    fn read(&self, slot: Slot) -> Result<Vec<f64>> {
        let state = to_host(&self.state(slot)?);
        Ok(state.into_iter().map(E::wide).collect())
    }
}

/// A permutation in cycles: where each begins, and their rows; each row takes what is in the next one of its cycle.
struct Cycles {
    begins: Vec<u32>,
    rows: Vec<u32>,
}

impl Cycles {
    /// Row i takes what is in row `order[i]`.
    fn of(order: &[usize]) -> Self {
        let (mut begins, mut rows) = (vec![0], Vec::new());
        let mut seen = vec![false; order.len()];
        for first in 0..order.len() {
            if seen[first] || order[first] == first {
                continue;
            }
            let mut row = first;
            while !seen[row] {
                seen[row] = true;
                rows.push(row as u32);
                row = order[row];
            }
            begins.push(rows.len() as u32);
        }
        Self { begins, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_do_what_exchanges_do() {
        let mut order: Vec<usize> = (0..7).collect();
        for (a, b) in [(0, 3), (3, 5), (1, 2), (5, 0)] {
            order.swap(a, b);
        }
        let Cycles { begins, rows } = Cycles::of(&order);
        let mut moved: Vec<usize> = (0..7).collect();
        for cycle in begins.windows(2) {
            let rows = &rows[cycle[0] as usize..cycle[1] as usize];
            for (index, &row) in rows.iter().enumerate() {
                moved[row as usize] = rows[(index + 1) % rows.len()] as usize;
            }
        }
        assert_eq!(moved, order);
    }
}
