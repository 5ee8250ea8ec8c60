//! Back: cotangents of the state, of parameters and of inputs.

use dfdx::prelude::Cuda;

use super::super::kernels::{
    ColumnSums, Linear, NormalizeBack, NormalizeTangent, PointwiseBack, PointwiseBackArgument,
};
use super::super::store::CudaStore;
use super::bars::{Bars, PulledBack};
use super::{place, Beside, Code, Made, Program, Real};
use crate::{Backend, Result, Slot, Vectors};

/// Whose cotangents are wanted, and where gradients of parameters go.
pub(super) struct Way<'g, E: Real>
where
    Cuda: Backend<E>,
{
    pub(super) bars: Bars,
    pub(super) gradients: Option<&'g mut PulledBack<E>>,
}

impl NormalizeBack {
    /// The same of the tangent.
    pub fn as_tangent(self) -> NormalizeTangent {
        NormalizeTangent {
            values: self.values,
            scales: self.scales,
            weight: self.weight,
            before: self.before,
            after: self.after,
            input: self.input,
            out: self.out,
            plain: 0,
            width: self.width,
            groups: self.groups,
            add: 0,
            rows: self.rows,
        }
    }
}

impl<E: Real> Program<E>
where
    Cuda: Backend<E>,
{
    /// `out = Jᵀu`; u and out must not be the same slot.
    pub fn vjp(&mut self, u: Slot, out: Slot, store: &mut CudaStore<E>) -> Result<()> {
        let (given, to) = (store.address(u)?, store.address_mut(out)?);
        let count = store.batch() * self.nodes[0].width;
        if self.output == 0 {
            return store.engine.copy::<E>(given, to, count);
        }
        let bars = Bars::new(self.nodes.len(), 0, (self.output, given), to);
        let mut way = Way {
            bars,
            gradients: None,
        };
        for node in self.order(true).into_iter().rev() {
            self.back(node, &mut way, store)?;
        }
        match way.bars.of(0) {
            0 => store.combine(out, &[]),
            from => store.engine.copy::<E>(from, to, count),
        }
    }

    /// Adds the gradients of `⟨u, f(z)⟩`, and those of `⟨p, J v⟩` after [`push`](Self::push) along v, where there is a product.
    pub fn pull_back(
        &mut self,
        u: Option<Slot>,
        product: Option<[Slot; 2]>,
        gradients: &mut PulledBack<E>,
        store: &mut CudaStore<E>,
    ) -> Result<()> {
        let address = |slot: Option<Slot>| slot.map_or(Ok(0), |slot| store.address(slot));
        let given = address(u)?;
        let [p, v] = [
            address(product.map(|[p, _]| p))?,
            address(product.map(|[_, v]| v))?,
        ];
        let count = self.nodes.len();
        let mut way = Way {
            bars: Bars::new(count, 0, (self.output, given), 0),
            gradients: Some(gradients),
        };
        let mut p_way = Way {
            bars: Bars::new(count, 1, (self.output, p), 0),
            gradients: None,
        };
        let order: Vec<usize> = (0..count)
            .filter(|&node| self.nodes[node].used && self.nodes[node].made_by.is_some())
            .collect();
        for node in order.into_iter().rev() {
            if self.nodes[node].learns {
                self.back(node, &mut way, store)?;
            }
            if self.nodes[node].varies && p_way.bars.of(node) != 0 {
                self.bend(node, (p_way.bars.of(node), v), &mut way, store)?;
                self.back(node, &mut p_way, store)?;
            }
        }
        for input in 1..=self.inputs {
            let from = way.bars.of(input);
            if let (true, Some(gradients)) = (from != 0, &mut way.gradients) {
                let (to, width) = (gradients.input(input - 1, store)?, self.nodes[input].width);
                put(from, (to, 1), width, store)?;
            }
        }
        Ok(())
    }

    pub(super) fn wants(&self, node: usize, way: &Way<'_, E>) -> bool {
        match way.gradients {
            Some(_) => self.nodes[node].learns,
            // Nobody wants that of the state beside gradients.
            None => self.nodes[node].varies && (node != 0 || way.bars.state != 0),
        }
    }

    /// Where the cotangent of a node is written, and whether it is to be added to what is there.
    pub(super) fn target(
        &mut self,
        node: usize,
        bars: &mut Bars,
        store: &CudaStore<E>,
    ) -> Result<(u64, u32)> {
        match (bars.of(node), node, bars.state) {
            (0, 0, state) if state != 0 => bars.set(0, state),
            (0, _, _) => {
                let shape = (store.height(), self.nodes[node].width);
                let own = place(&mut self.bars[bars.set], node, shape, store)?;
                bars.set(node, own);
            }
            (address, ..) => return Ok((address, 1)),
        }
        Ok((bars.of(node), 0))
    }

    /// Hands a cotangent on as it is: without a copy where nobody else adds to it.
    pub(super) fn hand_on(
        &mut self,
        node: usize,
        address: u64,
        bars: &mut Bars,
        store: &CudaStore<E>,
    ) -> Result<()> {
        if bars.of(node) == 0 && self.nodes[node].uses == 1 {
            bars.set(node, address);
            return Ok(());
        }
        let (out, adds) = self.target(node, bars, store)?;
        let width = self.nodes[node].width;
        match adds {
            0 => store.engine.copy::<E>(address, out, store.batch() * width),
            _ => put(address, (out, adds), width, store),
        }
    }

    /// What the derivatives of a normalization read, from `input` to `out`.
    pub(super) fn normalization(
        &self,
        node: usize,
        made: &Made<E>,
        (input, out): (u64, u64),
        store: &CudaStore<E>,
    ) -> Result<NormalizeBack> {
        let Code::Normalize { groups, beside, .. } = &made.code else {
            unreachable!("a normalization");
        };
        let [values, scales, before] = self.recorded_own(node, store)?;
        let (rows, width) = self.shape(node, made, store);
        Ok(NormalizeBack {
            values,
            scales,
            weight: made.parameters[0].address,
            before,
            after: self.after(node, *beside, store)?,
            input,
            out,
            plain: 0,
            width: width as u32,
            groups: *groups as u32,
            add: 0,
            rows: rows as u32,
        })
    }

    /// What the ReLU after a normalization has left; 0 if there is none.
    pub(super) fn after(&self, node: usize, beside: Beside, store: &CudaStore<E>) -> Result<u64> {
        match beside.after {
            true => self.recorded(node, store),
            false => Ok(0),
        }
    }

    /// Hands the cotangent of a node on to its arguments and parameters.
    fn back(&mut self, node: usize, way: &mut Way<'_, E>, store: &CudaStore<E>) -> Result<()> {
        let u = way.bars.of(node);
        if u == 0 {
            return Ok(());
        }
        let Some(made) = self.nodes[node].made_by.take() else {
            return Ok(());
        };
        let done = match &made.code {
            Code::Operation(operation) => {
                self.back_through((node, &made, &**operation), u, way, store)
            }
            Code::Normalize { .. } | Code::Pointwise { .. } => {
                self.back_beside(node, &made, u, way, store)
            }
        };
        self.nodes[node].made_by = Some(made);
        done
    }

    /// The way back through a normalization or a function, and what it has taken along.
    fn back_beside(
        &mut self,
        node: usize,
        made: &Made<E>,
        u: u64,
        way: &mut Way<'_, E>,
        store: &CudaStore<E>,
    ) -> Result<()> {
        let (rows, width) = self.shape(node, made, store);
        let (first, rows, width) = (made.arguments[0], rows as u32, width as u32);
        // One cotangent for all that was added up. It is needed by itself where it is that of several.
        let alone = way.bars.of(first) != 0 || made.arguments.len() > 1 || made.shift() != 0;
        let wanted = self.wants(first, way);
        let x_bar = if alone || !wanted {
            let shape = (store.height(), self.nodes[node].width);
            place(&mut self.spare[way.bars.set], node, shape, store)?
        } else {
            self.target(first, &mut way.bars, store)?.0
        };
        let mut sums = ColumnSums {
            a: u,
            b: 0,
            c: 0,
            after: 0,
            products: 0,
            sums: 0,
            others: 0,
            rows,
            width,
        };
        let mut learns = false;
        match &made.code {
            Code::Normalize { beside, .. } => {
                let back = self.normalization(node, made, (u, x_bar), store)?;
                store.engine.launch::<E, _>(back)?;
                (sums.b, sums.after) = (back.values, self.after(node, *beside, store)?);
                if let Some(gradients) = &mut way.gradients {
                    for (place, parameter) in [&mut sums.products, &mut sums.sums]
                        .into_iter()
                        .zip(&made.parameters)
                    {
                        if let Some(index) = parameter.place {
                            *place = gradients.parameter(index, store)?;
                            learns = true;
                        }
                    }
                }
            }
            Code::Pointwise { formulas, .. } => {
                let argument = PointwiseBackArgument {
                    argument: self.recorded_own(node, store)?[0],
                    result: self.recorded(node, store)?,
                    input: u,
                    factor: 0,
                    out: x_bar,
                    count: rows * width,
                    add: 0,
                };
                store
                    .engine
                    .launch::<E, _>(PointwiseBack(formulas, argument))?;
            }
            Code::Operation(_) => {}
        }
        let shift = made.shift_parameter().and_then(|shift| shift.place);
        if let (Some(gradients), Some(index)) = (&mut way.gradients, shift) {
            (sums.c, sums.others) = (x_bar, gradients.parameter(index, store)?);
            learns = true;
        }
        if learns {
            store.engine.launch::<E, _>(sums)?;
        }
        if alone {
            for &argument in &made.arguments {
                if self.wants(argument, way) {
                    self.hand_on(argument, x_bar, &mut way.bars, store)?;
                }
            }
        }
        Ok(())
    }
}

/// `to = from`, or `to += from`.
pub(super) fn put<E: Real>(
    from: u64,
    (to, add): (u64, u32),
    width: usize,
    store: &CudaStore<E>,
) -> Result<()>
where
    Cuda: Backend<E>,
{
    store.engine.launch::<E, _>(Linear {
        a: from,
        b: 0,
        out: to,
        c: 1.0,
        d: 0.0,
        e: 0.0,
        rows: store.batch() as u32,
        width: width as u32,
        row: 0,
        add,
    })
}
