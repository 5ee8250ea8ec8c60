//! Columns chosen by an index: windows of images, larger images, and what else moves numbers about.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::operations::arguments;
use equilibria_core::simd::add_scaled;
use equilibria_core::{
    try_contiguous, AnyTape, At, Backend, DeviceCode, Element, Error, Matrix, Operation, Result,
    RowOperation, Scalar, Scratch,
};

use crate::selection::{Selection, NOTHING};

/// `y_i = x_s(i)` with a [`Selection`] s, and 0 where it selects nothing; or its transpose, `y_j = Σ x_i` over all i with s(i) = j.
#[derive(Debug, Clone)]
pub struct Gather<'s> {
    /// s.
    pub selection: &'s Selection,
    /// Whether the transpose is wanted.
    pub transposed: bool,
}

impl Gather<'_> {
    /// Widths of argument and result.
    fn widths(&self) -> [usize; 2] {
        let [from, to] = [self.selection.from(), self.selection.to()];
        match self.transposed {
            false => [from, to],
            true => [to, from],
        }
    }
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Gather<'_> {
    const NAME: &'static str = "gather";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        let [from, to] = self.widths();
        match widths == [from] && to > 0 {
            true => Ok(to),
            false => Err(Error::Shape {
                what: "the argument of a selection of columns".to_owned(),
                expected: format!("width {from}"),
                got: format!("{widths:?}"),
            }),
        }
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        // dfdx gathers rows.
        let columns = x.try_permute::<_, Axes2<1, 0>>().map_err(Error::device)?;
        let columns = try_contiguous(columns)?;
        let gathered = match self.transposed {
            false => gather_rows(columns, self.selection.index())?,
            true => {
                let mut rounds = self.selection.inverse().into_iter();
                let first = rounds.next().unwrap_or_default();
                let mut sum = gather_rows(columns.with_empty_tape(), &first)?;
                for index in rounds {
                    let next = gather_rows(columns.with_empty_tape(), &index)?;
                    sum = sum.try_add(next).map_err(Error::device)?;
                }
                let (sum, tape) = sum.split_tape();
                let (_, before) = columns.split_tape();
                sum.put_tape(before.merge(tape))
            }
        };
        let rows = gathered
            .try_permute::<_, Axes2<1, 0>>()
            .map_err(Error::device)?;
        try_contiguous(rows)
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Gather {
            columns: self.selection.shared_index(),
            from: self.selection.from(),
            transposed: self.transposed,
        })
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(GatheredRows {
            selection: self.selection.clone(),
            transposed: self.transposed,
        })
    }
}

/// Rows of x by their index, and 0 where there is none.
fn gather_rows<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
    index: &[u32],
) -> Result<Matrix<E, D, T>> {
    let (device, shape) = (x.device().clone(), (index.len(), x.shape().1));
    let places = index.iter().map(|&place| match place {
        NOTHING => 0,
        place => place as usize,
    });
    let places = device.try_tensor_from_vec(places.collect(), (index.len(),));
    let rows = places.and_then(|places| x.try_gather::<(usize, usize), (usize,)>(places));
    let rows = rows.map_err(Error::device)?;
    if !index.contains(&NOTHING) {
        return Ok(rows);
    }
    let there = index.iter().map(|&place| match place {
        NOTHING => E::zero(),
        _ => E::one(),
    });
    let there: Tensor<(usize,), E, D> =
        (device.try_tensor_from_vec(there.collect(), (index.len(),))).map_err(Error::device)?;
    let there = there
        .retaped::<T>()
        .try_broadcast_like::<_, Axis<1>>(&shape);
    there
        .and_then(|there| rows.try_mul(there))
        .map_err(Error::device)
}

struct GatheredRows {
    selection: Selection,
    transposed: bool,
}

impl GatheredRows {
    fn gather<E: Element>(&self, transposed: bool, x: &[E], y: &mut [E]) {
        let (to, from) = (self.selection.to(), self.selection.from());
        let (starts, run) = self.selection.runs();
        if transposed {
            y.fill(E::zero());
            for (x, y) in x.chunks_exact(to).zip(y.chunks_exact_mut(from)) {
                match run {
                    1 => {
                        for (&x, place) in x.iter().zip(starts.clone()) {
                            if let Some(y) = y.get_mut(place as usize) {
                                *y += x;
                            }
                        }
                    }
                    _ => {
                        for (x, place) in x.chunks_exact(run).zip(starts.clone()) {
                            if let Some(y) = y.get_mut(place as usize..) {
                                add_scaled(&mut y[..run], E::one(), x);
                            }
                        }
                    }
                }
            }
            return;
        }
        for (x, y) in x.chunks_exact(from).zip(y.chunks_exact_mut(to)) {
            match run {
                1 => {
                    for (y, place) in y.iter_mut().zip(starts.clone()) {
                        *y = x.get(place as usize).copied().unwrap_or(E::zero());
                    }
                }
                _ => {
                    for (y, place) in y.chunks_exact_mut(run).zip(starts.clone()) {
                        match x.get(place as usize..) {
                            Some(x) => y.copy_from_slice(&x[..run]),
                            None => y.fill(E::zero()),
                        }
                    }
                }
            }
        }
    }
}

impl<E: Element> RowOperation<E> for GatheredRows {
    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        self.gather(self.transposed, x[0], y);
    }

    fn jvp(&self, _: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot)] = x_dot {
            self.gather(self.transposed, x_dot, y_dot);
        }
    }

    fn vjp(&self, _: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        if let [Some(x_bar)] = x_bar {
            self.gather(!self.transposed, y_bar, x_bar);
        }
    }
}
