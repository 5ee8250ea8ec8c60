//! Group normalization.

use std::sync::Arc;

use dfdx::prelude::HasShape;
use equilibria_core::operations::arguments;
use equilibria_core::{
    to_host, AnyTape, At, Backend, Element, Error, Gradients, Matrix, Neighbors, Operation, Reads,
    Result, RowOperation, Scalar, Scratch,
};

use crate::kernel::{self, relu, relu_backward, Normalized, Rectify};
use crate::modules;

/// `y = w ⊙ (x − μ) / √(σ² + ε) + b` per group; see [`modules::GroupNorm`].
pub struct GroupNorm<'m, E: Scalar, D: Backend<E>>(pub &'m modules::GroupNorm<E, D>);

impl<E: Scalar, D: Backend<E>> Operation<E, D> for GroupNorm<'_, E, D> {
    const NAME: &'static str = "group normalization";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        let width = super::row_of_width(&self.0.weight, widths)?;
        let divides = self.0.groups >= 1 && width.is_multiple_of(self.0.groups);
        match divides && self.0.bias.shape() == self.0.weight.shape() {
            true => Ok(width),
            false => Err(Error::Shape {
                what: "the parameters of group normalization".to_owned(),
                expected: format!("weight and bias as wide as {} groups", self.0.groups),
                got: format!("{:?}, {:?}", self.0.weight.shape(), self.0.bias.shape()),
            }),
        }
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        Ok(self.0.forward(x))
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        let module = self.0;
        let epsilon = E::of(modules::GroupNorm::<E, D>::EPSILON);
        let (weight, bias) = (to_host(&module.weight), to_host(&module.bias));
        let norm = kernel::GroupNorm::new(weight, bias, module.groups, epsilon);
        Arc::new(NormalizedRows::new(norm))
    }

    fn parameters(&self) -> Vec<Matrix<E, D>> {
        vec![self.0.weight.clone(), self.0.bias.clone()]
    }
}

/// The normalization, and what it takes along: an addition and a ReLU before or after.
pub(super) struct NormalizedRows<E> {
    norm: Arc<kernel::GroupNorm<E>>,
    added: bool,
    rectify: Rectify,
}

impl<E: Element> NormalizedRows<E> {
    /// The normalization alone.
    pub fn new(norm: kernel::GroupNorm<E>) -> Self {
        Self {
            norm: Arc::new(norm),
            added: false,
            rectify: Rectify::Never,
        }
    }

    fn record<'r>(at: &At<'r, E>) -> Normalized<'r, E> {
        Normalized {
            values: at.record[0],
            scales: at.record[1],
        }
    }

    /// What the ReLU beside the normalization has left.
    fn rectified<'r>(&self, at: &At<'r, E>) -> &'r [E] {
        match self.rectify {
            Rectify::Never => &[],
            Rectify::Before => at.record[2],
            Rectify::After => at.y,
        }
    }

    /// Turns ȳ into x̄, in place.
    fn back(&self, at: &At<'_, E>, bar: &mut [E]) {
        let rectified = self.rectified(at);
        self.norm
            .backward(Self::record(at), bar, rectified, self.rectify);
    }

    /// Passes the ReLU, if it is there.
    fn pass(&self, at: &At<'_, E>, there: Rectify, values: &mut [E]) {
        if self.rectify == there {
            relu_backward(self.rectified(at), values);
        }
    }
}

impl<E: Element> RowOperation<E> for NormalizedRows<E> {
    fn reads(&self) -> Reads {
        Reads {
            arguments: false,
            result: self.rectify == Rectify::After,
        }
    }

    fn record(&self) -> Vec<usize> {
        let [width, groups] = self.norm.widths();
        match self.rectify {
            Rectify::Before => vec![width, groups, width],
            _ => vec![width, groups],
        }
    }

    fn taking_along(&self, neighbors: Neighbors) -> Option<Arc<dyn RowOperation<E>>> {
        let rectify = match (neighbors.rectified, neighbors.result_rectified) {
            (false, false) => self.rectify,
            (true, false) if self.rectify == Rectify::Never => Rectify::Before,
            (false, true) if self.rectify == Rectify::Never => Rectify::After,
            _ => return None,
        };
        let takes = neighbors != Neighbors::default() && !(self.added && neighbors.added);
        takes.then(|| {
            Arc::new(Self {
                norm: self.norm.clone(),
                added: self.added || neighbors.added,
                rectify,
            }) as _
        })
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], record: &mut [&mut [E]], _: &mut Scratch<E>) {
        let added = if self.added { x[1] } else { &[] };
        y.copy_from_slice(x[0]);
        match record {
            [values, scales] => self
                .norm
                .forward_recorded(y, added, self.rectify, values, scales),
            [values, scales, rectified] => {
                if self.added {
                    kernel::add(y, added);
                }
                relu(y);
                rectified.copy_from_slice(y);
                self.norm
                    .forward_recorded(y, &[], Rectify::Never, values, scales);
            }
            _ => self.norm.forward(y, added, self.rectify),
        }
    }

    fn jvp(&self, at: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot), ..] = x_dot {
            y_dot.copy_from_slice(x_dot);
            self.pass(at, Rectify::Before, y_dot);
            self.norm.tangent(Self::record(at), y_dot);
            self.pass(at, Rectify::After, y_dot);
        }
    }

    fn vjp(&self, at: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        match x_bar {
            [Some(x_bar), others @ ..] => {
                x_bar.copy_from_slice(y_bar);
                self.back(at, x_bar);
                if let [Some(added_bar)] = others {
                    added_bar.copy_from_slice(x_bar);
                }
            }
            [None, Some(added_bar)] => {
                added_bar.copy_from_slice(y_bar);
                self.back(at, added_bar);
            }
            _ => {}
        }
    }

    fn pull_back(
        &self,
        at: &At<'_, E>,
        y_bar: &[E],
        gradients: &mut Gradients<'_, E>,
        scratch: &mut Scratch<E>,
    ) {
        if gradients.of(0).is_none() && gradients.of(1).is_none() {
            return;
        }
        let [width, _] = self.norm.widths();
        // Where one of the two is no parameter, its gradient goes nowhere.
        let [bars, passed] = scratch.parts(y_bar.len().max(2 * width));
        let passed = &mut passed[..y_bar.len()];
        let y_bar = match self.rectify {
            Rectify::After => {
                passed.copy_from_slice(y_bar);
                self.pass(at, Rectify::After, passed);
                passed
            }
            _ => y_bar,
        };
        let (weight_bar, bias_bar) = bars[..2 * width].split_at_mut(width);
        weight_bar.fill(E::zero());
        bias_bar.fill(E::zero());
        (self.norm).parameters_backward(Self::record(at), y_bar, weight_bar, bias_bar);
        add(gradients, 0, weight_bar);
        add(gradients, 1, bias_bar);
    }

    fn bend(
        &self,
        at: &At<'_, E>,
        p: &[E],
        x_dot: &[Option<&[E]>],
        x_bar: &mut [Option<&mut [E]>],
        gradients: &mut Gradients<'_, E>,
        scratch: &mut Scratch<E>,
    ) -> bool {
        let ([Some(x_dot), ..], [x_bar, others @ ..]) = (x_dot, x_bar) else {
            return false;
        };
        let (len, [width, _]) = (p.len(), self.norm.widths());
        let [p_bar, x_dot_bar, nowhere, bars] = scratch.parts(len.max(2 * width));
        let (p_bar, x_dot_bar) = (&mut p_bar[..len], &mut x_dot_bar[..len]);
        p_bar.copy_from_slice(p);
        self.pass(at, Rectify::After, p_bar);
        x_dot_bar.copy_from_slice(x_dot);
        self.pass(at, Rectify::Before, x_dot_bar);
        let bends = x_bar.is_some() || others.iter().any(Option::is_some);
        let x_bar = match x_bar {
            Some(x_bar) => &mut x_bar[..],
            None => &mut nowhere[..len],
        };
        x_bar.fill(E::zero());
        let (weight_bar, bias_bar) = bars[..2 * width].split_at_mut(width);
        weight_bar.fill(E::zero());
        bias_bar.fill(E::zero());
        let record = Self::record(at);
        (self.norm).tangent_backward(record, x_dot_bar, p_bar, x_bar, weight_bar, bias_bar);
        self.pass(at, Rectify::Before, x_bar);
        if let [Some(added_bar)] = others {
            added_bar.copy_from_slice(x_bar);
        }
        add(gradients, 0, weight_bar);
        add(gradients, 1, bias_bar);
        bends
    }
}

fn add<E: Element>(gradients: &mut Gradients<'_, E>, index: usize, part: &[E]) {
    if let Some(gradient) = gradients.of(index) {
        kernel::add(gradient.sum(), part);
    }
}
