//! Back along tangents: derivatives of ⟨p, J v⟩ by arguments and parameters.

use dfdx::prelude::Cuda;

use super::super::kernels::{ColumnSums, NormalizeBend, PointwiseBack, PointwiseBackArgument};
use super::super::store::CudaStore;
use super::back::{put, Way};
use super::operation::Along;
use super::{place, Code, Made, Program, Real};
use crate::{Backend, Result};

impl<E: Real> Program<E>
where
    Cuda: Backend<E>,
{
    /// Adds the derivatives of ⟨p, ẏ⟩ by arguments and parameters, with p and tangents held constant.
    pub(super) fn bend(
        &mut self,
        node: usize,
        (p, v): (u64, u64),
        way: &mut Way<'_, E>,
        store: &CudaStore<E>,
    ) -> Result<()> {
        let Some(made) = self.nodes[node].made_by.take() else {
            return Ok(());
        };
        let done = self.bend_made(node, &made, (p, v), way, store);
        self.nodes[node].made_by = Some(made);
        done
    }

    fn bend_made(
        &mut self,
        node: usize,
        made: &Made<E>,
        (p, v): (u64, u64),
        way: &mut Way<'_, E>,
        store: &CudaStore<E>,
    ) -> Result<()> {
        let (rows, width) = self.shape(node, made, store);
        let (rows, width) = (rows as u32, width as u32);
        let x_dot: Vec<u64> = made
            .arguments
            .iter()
            .map(|&from| self.tangent_of(from, v))
            .collect();
        match &made.code {
            Code::Operation(operation) => {
                let x_dot = &x_dot;
                let along = Along { p, x_dot };
                self.bend_through((node, made, &**operation), &along, way, store)
            }
            Code::Normalize { groups, beside, .. } => {
                let [values, scales, before] = self.recorded_own(node, store)?;
                let after = self.after(node, *beside, store)?;
                let weight = &made.parameters[0];
                if let (Some(gradients), Some(index)) = (&mut way.gradients, weight.place) {
                    let plain = self.plain_tangents[node].as_ref();
                    store.engine.launch::<E, _>(ColumnSums {
                        a: p,
                        b: plain.map_or(0, |rows| rows.address),
                        c: 0,
                        after,
                        products: gradients.parameter(index, store)?,
                        sums: 0,
                        others: 0,
                        rows,
                        width,
                    })?;
                }
                self.bent(node, made, way, store, |x_bar, store| {
                    store.engine.launch::<E, _>(NormalizeBend {
                        values,
                        scales,
                        weight: weight.address,
                        before,
                        after,
                        p,
                        x_dot: x_dot[0],
                        x_bar,
                        width,
                        groups: *groups as u32,
                        add: 0,
                        rows,
                    })
                })
            }
            Code::Pointwise { formulas, .. } => {
                let argument = PointwiseBackArgument {
                    argument: self.recorded_own(node, store)?[0],
                    result: self.recorded(node, store)?,
                    input: p,
                    factor: x_dot[0],
                    out: 0,
                    count: rows * width,
                    add: 0,
                };
                self.bent(node, made, way, store, |out, store| {
                    let argument = PointwiseBackArgument { out, ..argument };
                    store
                        .engine
                        .launch::<E, _>(PointwiseBack(formulas, argument))
                })
            }
        }
    }

    /// Lets `launch` write what a bend gives all that is added up before a normalization or function, and adds it to each.
    fn bent(
        &mut self,
        node: usize,
        made: &Made<E>,
        way: &mut Way<'_, E>,
        store: &CudaStore<E>,
        launch: impl FnOnce(u64, &CudaStore<E>) -> Result<()>,
    ) -> Result<()> {
        let width = self.nodes[node].width;
        // Not where `back` has left what was handed on.
        let x_bar = place(&mut self.bent, node, (store.height(), width), store)?;
        launch(x_bar, store)?;
        let shift = made.shift_parameter().and_then(|shift| shift.place);
        let (rows, token) = self.shape(node, made, store);
        if let (Some(gradients), Some(index)) = (&mut way.gradients, shift) {
            store.engine.launch::<E, _>(ColumnSums {
                a: x_bar,
                b: 0,
                c: 0,
                after: 0,
                products: 0,
                sums: gradients.parameter(index, store)?,
                others: 0,
                rows: rows as u32,
                width: token as u32,
            })?;
        }
        let mut done = Vec::new();
        for &argument in &made.arguments {
            if self.wants(argument, way) {
                let (out, adds) = self.target(argument, &mut way.bars, store)?;
                // Where one cotangent was handed on to several, it is that of all.
                if !done.contains(&out) {
                    put(x_bar, (out, adds), width, store)?;
                    done.push(out);
                }
            }
        }
        Ok(())
    }
}
