//! Ahead: values and tangents.

use dfdx::prelude::Cuda;

use super::super::kernels::{
    Normalize, NormalizeTangent, Pointwise, PointwiseArgument, PointwiseBack, PointwiseBackArgument,
};
use super::super::store::CudaStore;
use super::operation::{At, On};
use super::{place, Beside, Code, Made, Program, Real, Record};
use crate::{Backend, Result, Slot, Vectors};

impl<E: Real> Program<E>
where
    Cuda: Backend<E>,
{
    /// Computes what depends on the inputs alone, in slots of their own.
    pub(super) fn compute_constants(&mut self, store: &mut CudaStore<E>) -> Result<()> {
        for node in self.order(false) {
            self.given[node] = Some(store.reserve(self.nodes[node].width)?);
            let own = self.constant_record(node, store)?;
            let store = &*store;
            let y = self.given_address(node, store)?;
            self.make(
                node,
                |from| self.given_address(from, store),
                (y, own),
                store,
            )?;
        }
        Ok(())
    }

    /// What derivatives of a constant read of it is recorded at once.
    fn constant_record(&mut self, node: usize, store: &mut CudaStore<E>) -> Result<[u64; 3]> {
        let mut record = self.record.take().unwrap_or_else(|| self.empty_record());
        let own = self.own_record(&mut record, node, store);
        self.record = Some(record);
        own
    }

    fn empty_record(&self) -> Record {
        let count = self.nodes.len();
        Record {
            values: vec![None; count],
            own: vec![[None; 3]; count],
        }
    }

    /// The address of an input or of what is constant; 0 for what varies.
    pub(super) fn given_address(&self, node: usize, store: &CudaStore<E>) -> Result<u64> {
        self.given[node].map_or(Ok(0), |slot| store.address(slot))
    }

    /// `out = f(z)`, in the active rows; z and out must not be the same place.
    pub fn apply(&mut self, z: u64, out: Slot, store: &mut CudaStore<E>) -> Result<()> {
        let to = store.address_mut(out)?;
        let height = store.height();
        for node in self.order(true) {
            if node != self.output {
                let shape = (height, self.nodes[node].width);
                place(&mut self.values, node, shape, store)?;
            }
        }
        let store = &*store;
        let at = |node: usize| match node {
            0 => Ok(z),
            node if node == self.output => Ok(to),
            node => match &self.values[node] {
                Some(rows) if self.nodes[node].varies => Ok(rows.address),
                _ => self.given_address(node, store),
            },
        };
        for node in self.order(true) {
            self.make(node, at, (at(node)?, [0; 3]), store)?;
        }
        self.finish(z, to, store)
    }

    /// Where no operation writes the output: it is the state, an input or a constant.
    fn finish(&self, z: u64, to: u64, store: &CudaStore<E>) -> Result<()> {
        let output = &self.nodes[self.output];
        if output.varies && output.made_by.is_some() {
            return Ok(());
        }
        let from = match self.output {
            0 => z,
            node => self.given_address(node, store)?,
        };
        (store.engine).copy::<E>(from, to, store.batch() * output.width)
    }

    /// Computes all values at z anew, in places that derivatives read, and the result in `out`, if it is wanted.
    pub fn linearize(&mut self, z: u64, out: Option<Slot>, store: &mut CudaStore<E>) -> Result<()> {
        let mut record = self.record.take().unwrap_or_else(|| self.empty_record());
        let done = self.record_values(&mut record, z, store);
        self.record = Some(record);
        done?;
        let Some(out) = out else { return Ok(()) };
        let to = store.address_mut(out)?;
        let from = self.recorded(self.output, store)?;
        let count = store.batch() * self.nodes[self.output].width;
        store.engine.copy::<E>(from, to, count)
    }

    fn record_values(
        &mut self,
        record: &mut Record,
        z: u64,
        store: &mut CudaStore<E>,
    ) -> Result<()> {
        let slot = match record.values[0] {
            Some(slot) => slot,
            None => *record.values[0].insert(store.reserve(self.nodes[0].width)?),
        };
        let state = store.address_mut(slot)?;
        store
            .engine
            .copy::<E>(z, state, store.batch() * self.nodes[0].width)?;
        for node in self.order(true) {
            if record.values[node].is_none() {
                record.values[node] = Some(store.reserve(self.nodes[node].width)?);
            }
            let own = self.own_record(record, node, store)?;
            let store = &*store;
            let at = |from: usize| match record.values[from] {
                Some(slot) => store.address(slot),
                None => self.given_address(from, store),
            };
            self.make(node, at, (at(node)?, own), store)?;
        }
        Ok(())
    }

    /// The places of what derivatives read of an operation beside values.
    fn own_record(
        &self,
        record: &mut Record,
        node: usize,
        store: &mut CudaStore<E>,
    ) -> Result<[u64; 3]> {
        let width = self.nodes[node].width;
        let widths = match self.made(node).map(|made| &made.code) {
            Some(Code::Normalize { groups, beside, .. }) => {
                let groups = groups * self.made(node).map_or(1, |made| made.tokens);
                [width, groups, if beside.before { width } else { 0 }]
            }
            Some(Code::Pointwise { .. }) => [width, 0, 0],
            _ => [0; 3],
        };
        let mut places = [0; 3];
        for ((place, slot), width) in places.iter_mut().zip(&mut record.own[node]).zip(widths) {
            if width > 0 {
                if slot.is_none() {
                    *slot = Some(store.reserve(width)?);
                }
                *place = slot.map_or(Ok(0), |slot| store.address(slot))?;
            }
        }
        Ok(places)
    }

    /// The address of a value at the linearization point.
    pub(super) fn recorded(&self, node: usize, store: &CudaStore<E>) -> Result<u64> {
        let record = self.record.as_ref();
        match record.and_then(|record| record.values[node]) {
            Some(slot) => store.address(slot),
            None => self.given_address(node, store),
        }
    }

    /// The addresses of the arguments of an operation at the linearization point.
    pub(super) fn recorded_arguments(
        &self,
        made: &Made<E>,
        store: &CudaStore<E>,
    ) -> Result<Vec<u64>> {
        let arguments = made.arguments.iter();
        arguments.map(|&from| self.recorded(from, store)).collect()
    }

    /// The addresses of what derivatives read of an operation beside values; 0 where there is nothing.
    pub(super) fn recorded_own(&self, node: usize, store: &CudaStore<E>) -> Result<[u64; 3]> {
        let mut places = [0; 3];
        if let Some(record) = &self.record {
            for (place, slot) in places.iter_mut().zip(record.own[node]) {
                *place = slot.map_or(Ok(0), |slot| store.address(slot))?;
            }
        }
        Ok(places)
    }

    /// Computes a value at `y` from its arguments, which are where `at` says, and leaves what derivatives read.
    fn make(
        &self,
        node: usize,
        at: impl Fn(usize) -> Result<u64>,
        (y, own): (u64, [u64; 3]),
        store: &CudaStore<E>,
    ) -> Result<()> {
        let Some(made) = self.made(node) else {
            return Ok(());
        };
        let arguments = made.arguments.iter().map(|&from| at(from));
        let x: Vec<u64> = arguments.collect::<Result<_>>()?;
        let added = x.get(1).copied().unwrap_or(0);
        let (all_rows, width) = self.shape(node, made, store);
        let (rows, width) = (all_rows as u32, width as u32);
        match &made.code {
            Code::Operation(operation) => operation.apply(&x, y, &On::new(store, all_rows)),
            Code::Normalize {
                groups,
                epsilon,
                beside: Beside { before, after, .. },
            } => store.engine.launch::<E, _>(Normalize {
                x: x[0],
                shift: made.shift(),
                added,
                weight: made.parameters[0].address,
                bias: made.parameters[1].address,
                y,
                values: own[0],
                scales: own[1],
                rectified: own[2],
                epsilon: *epsilon,
                width,
                groups: *groups as u32,
                before: u32::from(*before),
                after: u32::from(*after),
                rows,
            }),
            Code::Pointwise { formulas, .. } => {
                let argument = PointwiseArgument {
                    x: x[0],
                    shift: made.shift(),
                    added,
                    argument: own[0],
                    y,
                    rows,
                    width,
                };
                store.engine.launch::<E, _>(Pointwise(formulas, argument))
            }
        }
    }

    /// The tangents of all values along `v`, and that of the output in `out`, if it is wanted.
    pub fn push(&mut self, v: u64, out: Option<Slot>, store: &mut CudaStore<E>) -> Result<()> {
        let height = store.height();
        for node in self.order(true) {
            let shape = (height, self.nodes[node].width);
            place(&mut self.tangents, node, shape, store)?;
            if matches!(self.made(node), Some(made) if matches!(made.code, Code::Normalize { .. }))
            {
                place(&mut self.plain_tangents, node, shape, store)?;
            }
        }
        for node in self.order(true) {
            self.tangent(node, v, store)?;
        }
        let Some(out) = out else { return Ok(()) };
        let (to, count) = (store.address_mut(out)?, store.batch() * self.nodes[0].width);
        match self.tangent_of(self.output, v) {
            0 => store.combine(out, &[]),
            from => store.engine.copy::<E>(from, to, count),
        }
    }

    /// The address of the tangent of a node along `v`; 0 where it is 0.
    pub(super) fn tangent_of(&self, node: usize, v: u64) -> u64 {
        match (&self.tangents[node], node) {
            (_, 0) => v,
            (Some(rows), node) if self.nodes[node].varies => rows.address,
            _ => 0,
        }
    }

    fn tangent(&self, node: usize, v: u64, store: &CudaStore<E>) -> Result<()> {
        let Some(made) = self.made(node) else {
            return Ok(());
        };
        let y_dot = self.tangent_of(node, v);
        let (all_rows, width) = self.shape(node, made, store);
        let (engine, rows, width) = (&store.engine, all_rows as u32, width as u32);
        let x_dot: Vec<u64> = made
            .arguments
            .iter()
            .map(|&from| self.tangent_of(from, v))
            .collect();
        match &made.code {
            Code::Operation(operation) => {
                let x = self.recorded_arguments(made, store)?;
                let at = At {
                    x: &x,
                    y: self.recorded(node, store)?,
                };
                operation.jvp(&at, &x_dot, y_dot, &On::new(store, all_rows))
            }
            // The argument varies; what is added to it does not.
            Code::Normalize { .. } => {
                let plain = self.plain_tangents[node].as_ref();
                let (input, out) = (x_dot[0], y_dot);
                let plain = plain.map_or(0, |rows| rows.address);
                let derivative = self.normalization(node, made, (input, out), store)?;
                engine.launch::<E, _>(NormalizeTangent {
                    plain,
                    ..derivative.as_tangent()
                })
            }
            Code::Pointwise { formulas, .. } => {
                let argument = PointwiseBackArgument {
                    argument: self.recorded_own(node, store)?[0],
                    result: self.recorded(node, store)?,
                    input: x_dot[0],
                    factor: 0,
                    out: y_dot,
                    count: rows * width,
                    add: 0,
                };
                engine.launch::<E, _>(PointwiseBack(formulas, argument))
            }
        }
    }
}
