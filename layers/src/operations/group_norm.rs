//! Group normalization.

use std::sync::Arc;

use dfdx::prelude::HasShape;
use equilibria_core::operations::arguments;
use equilibria_core::{
    to_host, AnyTape, At, Backend, DeviceCode, Element, Error, Gradients, Matrix, Neighbors,
    Operation, Reads, Result, RowOperation, Scalar, Scratch,
};

use crate::kernel::{self, relu_backward, Normalized, Recorded, Rectify};
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

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Normalize {
            groups: self.0.groups,
            epsilon: modules::GroupNorm::<E, D>::EPSILON,
        })
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

    /// What the ReLU beside the normalization has left, and where it stands.
    fn rectified<'r>(&self, at: &At<'r, E>) -> (&'r [E], Rectify) {
        let rectified = match self.rectify {
            Rectify::Never => &[],
            Rectify::Before => at.record[2],
            Rectify::After => at.y,
        };
        (rectified, self.rectify)
    }

    /// Turns ȳ into the cotangent that all arguments have, and adds those of weight and bias, unless these are empty. `nowhere` takes
    /// what no argument wants.
    fn cotangents(
        &self,
        at: &At<'_, E>,
        y_bar: &[E],
        x_bar: &mut [Option<&mut [E]>],
        parameter_bars: [&mut [E]; 2],
        nowhere: &mut [E],
    ) {
        let mut wanted = x_bar.iter_mut().flatten();
        let place = first_or(&mut wanted, nowhere);
        let (record, rectified) = (Self::record(at), self.rectified(at));
        (self.norm).backward(record, rectified, y_bar, place, parameter_bars);
        wanted.for_each(|other| other.copy_from_slice(place));
    }

    /// Numbers that each part of the work space holds.
    fn work(&self, len: usize) -> usize {
        let [width, _] = self.norm.widths();
        len.max(2 * width)
    }

    /// Lets `job` add to the gradients of weight and bias. Where one of the two is no parameter of the layer, its gradient is lost in
    /// `own`.
    fn with_parameter_bars(
        &self,
        gradients: &mut Gradients<'_, E>,
        own: &mut [E],
        job: impl FnOnce([&mut [E]; 2]),
    ) {
        if let Some(bars) = gradients.two() {
            return job(bars);
        }
        let [width, _] = self.norm.widths();
        let (weight_bar, bias_bar) = own[..2 * width].split_at_mut(width);
        weight_bar.fill(E::zero());
        bias_bar.fill(E::zero());
        job([&mut *weight_bar, &mut *bias_bar]);
        add(gradients, 0, weight_bar);
        add(gradients, 1, bias_bar);
    }

    /// Passes the ReLU, if it is there.
    fn pass(&self, at: &At<'_, E>, there: Rectify, values: &mut [E]) {
        if self.rectify == there {
            relu_backward(self.rectified(at).0, values);
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
        let injection = (if self.added { x[1] } else { &[] }, self.rectify);
        let record = match record {
            [values, scales, others @ ..] => Some(Recorded {
                values,
                scales,
                rectified: others
                    .first_mut()
                    .map_or(&mut [][..], |rectified| rectified),
            }),
            _ => None,
        };
        self.norm.forward(x[0], y, injection, record);
    }

    fn jvp(
        &self,
        at: &At<'_, E>,
        x_dot: &[Option<&[E]>],
        y_dot: &mut [E],
        scratch: &mut Scratch<E>,
    ) {
        let [Some(mut x_dot), ..] = x_dot else { return };
        if self.rectify == Rectify::Before {
            let [passed] = scratch.parts(x_dot.len());
            passed.copy_from_slice(x_dot);
            self.pass(at, Rectify::Before, passed);
            x_dot = passed;
        }
        self.norm.tangent(Self::record(at), x_dot, y_dot);
        self.pass(at, Rectify::After, y_dot);
    }

    fn vjp(&self, at: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        if x_bar.iter().any(Option::is_some) {
            self.cotangents(at, y_bar, x_bar, [&mut [], &mut []], &mut []);
        }
    }

    fn back(
        &self,
        at: &At<'_, E>,
        y_bar: &[E],
        x_bar: &mut [Option<&mut [E]>],
        gradients: &mut Gradients<'_, E>,
        scratch: &mut Scratch<E>,
    ) {
        if gradients.of(0).is_none() && gradients.of(1).is_none() {
            return self.vjp(at, y_bar, x_bar, scratch);
        }
        let [nowhere, own] = scratch.parts(self.work(y_bar.len()));
        let nowhere = &mut nowhere[..y_bar.len()];
        self.with_parameter_bars(gradients, own, |parameter_bars| {
            self.cotangents(at, y_bar, x_bar, parameter_bars, nowhere);
        });
    }

    fn back_with_tangent(
        &self,
        at: &At<'_, E>,
        bars: [&[E]; 2],
        x_dot: &[Option<&[E]>],
        argument_bars: [&mut [Option<&mut [E]>]; 2],
        gradients: &mut Gradients<'_, E>,
        scratch: &mut Scratch<E>,
    ) {
        let [Some(x_dot), ..] = x_dot else {
            // Without a tangent of x the tangent of y is 0, and so are its derivatives.
            let [x_bar, p_bar] = argument_bars;
            self.back(at, bars[0], x_bar, gradients, scratch);
            return self.vjp(at, bars[1], p_bar, scratch);
        };
        let [first, second, work, own] = scratch.parts(self.work(x_dot.len()));
        let mut nowhere = [first, second].map(|place| &mut place[..x_dot.len()]);
        let mut wanted = argument_bars.map(|bars| bars.iter_mut().flatten());
        let [place, p_place] = {
            let ([wanted, p_wanted], [nowhere, p_nowhere]) =
                (wanted.each_mut(), nowhere.each_mut());
            [first_or(wanted, nowhere), first_or(p_wanted, p_nowhere)]
        };
        let (record, rectified) = (Self::record(at), self.rectified(at));
        self.with_parameter_bars(gradients, own, |parameter_bars| {
            let places = [&mut *place, &mut *p_place];
            let points = (*x_dot, bars);
            (self.norm).tangent_backward(record, rectified, points, places, parameter_bars, work);
        });
        let [others, p_others] = wanted;
        others.for_each(|other| other.copy_from_slice(place));
        p_others.for_each(|other| other.copy_from_slice(p_place));
    }
}

/// The first of the places that are wanted, or nowhere.
fn first_or<'a, 'b: 'a, E: 'b>(
    wanted: &mut impl Iterator<Item = &'a mut &'b mut [E]>,
    nowhere: &'a mut [E],
) -> &'a mut [E] {
    wanted.next().map_or(nowhere, |place| &mut **place)
}

fn add<E: Element>(gradients: &mut Gradients<'_, E>, index: usize, part: &[E]) {
    if let Some(gradient) = gradients.of(index) {
        kernel::add(gradient.sum(), part);
    }
}
