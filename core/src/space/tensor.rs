//! The state space over dfdx tensors: any layer with a `step`, on any device.

use dfdx::prelude::*;

use super::normal::normal_row;
use crate::backend::{from_host, to_host};
use crate::input::separate;
use crate::{
    apply, Backend, Coef, DifferentiableSpace, Error, ImplicitLayer, Matrix, Result, Scalar, Slot,
    StateSpace,
};

/// The whole batch as dfdx tensors; `f` and its derivatives come from [`ImplicitLayer::step`] alone.
///
/// A dfdx tape runs once, so every `Jᵀu` costs a fresh traced application of `f` and its backward pass.
pub struct TensorSpace<E: Scalar, D: Backend<E>, L> {
    /// The layer, with parameters that are no views: of a broadcast one, dfdx would give the gradients of all copies together.
    layer: L,
    device: D,
    inputs: Vec<Rows<E, D>>,
    /// The sample each row belongs to.
    samples: Vec<usize>,
    batch: usize,
    slots: Vec<Option<Rows<E, D>>>,
    free: Vec<Slot>,
    point: Option<Rows<E, D>>,
    gradients: TensorGradients<E, D>,
}

/// What was pulled back; `None` where nothing was.
pub struct TensorGradients<E: Scalar, D: Backend<E>> {
    /// One per parameter, in the order of [`Parameters::visit`](crate::Parameters::visit).
    pub parameters: Vec<Option<Matrix<E, D>>>,
    /// One per injected input, `[batch, width]`.
    pub inputs: Vec<Option<Matrix<E, D>>>,
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

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>> TensorSpace<E, D, L> {
    /// A space for the map of `layer` with the injected inputs `inputs`, each `[batch, width]`.
    pub fn new(layer: &L, device: D, inputs: &[Matrix<E, D>], batch: usize) -> Self {
        let mut layer = dyn_clone::clone(layer);
        layer.visit_mut("", &mut |_, parameter| {
            *parameter = parameter.clone().contiguous()
        });
        Self {
            gradients: TensorGradients {
                parameters: vec![None; layer.named().len()],
                inputs: vec![None; inputs.len()],
            },
            layer,
            device,
            inputs: inputs.iter().cloned().map(Rows::all).collect(),
            samples: (0..batch).collect(),
            batch,
            slots: Vec::new(),
            free: Vec::new(),
            point: None,
        }
    }

    /// A slot that holds `state`, `[batch, dim]`.
    pub fn adopt(&mut self, state: Matrix<E, D>) -> Result<Slot> {
        let slot = self.alloc()?;
        self.slots[slot.0] = Some(Rows::all(state));
        Ok(slot)
    }

    /// The active rows of a slot.
    pub fn state(&self, slot: Slot) -> Result<Matrix<E, D>> {
        match &self.slots[slot.0] {
            Some(rows) => Ok(rows.active.clone()),
            None => from_host(
                &self.device,
                vec![E::zero(); self.batch * self.layer.state_dim()],
                (self.batch, self.layer.state_dim()),
            ),
        }
    }

    /// What was pulled back.
    pub fn into_gradients(self) -> TensorGradients<E, D> {
        self.gradients
    }

    fn set(&mut self, slot: Slot, active: Matrix<E, D>) {
        let done = self.slots[slot.0].take().and_then(|rows| rows.done);
        self.slots[slot.0] = Some(Rows { active, done });
    }

    fn active_inputs(&self) -> Vec<Matrix<E, D>> {
        self.inputs.iter().map(|rows| rows.active.clone()).collect()
    }

    /// Gradients of `⟨u, f(z)⟩` at the linearization point, with `z` and the inputs they belong to.
    #[allow(clippy::type_complexity)]
    fn backward(&self, u: Slot) -> Result<(Gradients<E, D>, Matrix<E, D>, Vec<Matrix<E, D>>)> {
        let point = self.point.as_ref().map(|rows| rows.active.clone());
        let point = point.ok_or_else(Error::not_linearized)?;
        let inputs = self.active_inputs();
        let fz = apply(&self.layer, point.leaky_trace(), &inputs)?;
        let gradients = (fz * self.state(u)?).sum::<Rank0, _>().backward();
        Ok((gradients, point, inputs))
    }
}

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>> StateSpace for TensorSpace<E, D, L> {
    fn batch(&self) -> usize {
        self.batch
    }

    fn dim(&self) -> usize {
        self.layer.state_dim()
    }

    fn epsilon(&self) -> f64 {
        E::epsilon().wide()
    }

    fn alloc(&mut self) -> Result<Slot> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot(self.slots.len() - 1)
        });
        if self.slots[slot.0].is_none() {
            let shape = (self.samples.len(), self.dim());
            let zeros = self.device.try_zeros_like(&shape).map_err(Error::device)?;
            let order: Vec<usize> = (0..shape.0).collect();
            let order = self.device.tensor_from_vec(order, (shape.0,));
            self.slots[slot.0] = Some(Rows::all(zeros).reorder(&order, self.batch));
        }
        Ok(slot)
    }

    fn release(&mut self, slot: Slot) {
        // What a failed sample has left behind may be NaN.
        self.slots[slot.0] = None;
        self.free.push(slot);
    }

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        let fz = apply(&self.layer, self.state(z)?, &self.active_inputs())?;
        if fz.shape() != &(self.batch, self.dim()) {
            return Err(Error::Shape {
                what: "the result of `step`".to_owned(),
                expected: format!("{:?}", (self.batch, self.dim())),
                got: format!("{:?}", fz.shape()),
            });
        }
        self.set(out, fz.contiguous());
        Ok(())
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
        let shape = (self.batch, self.dim());
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
            None => self.device.try_zeros_like(&shape).map_err(Error::device)?,
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
            let pick = self.device.tensor_from_vec(pick, (self.batch,));
            let both: Matrix<E, D> = (self.state(to)?, self.state(from)?)
                .concat_along(Axis::<0>)
                .realize();
            self.set(to, both.gather(pick));
        }
        Ok(())
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
        let count = order.len();
        let order = self.device.tensor_from_vec(order, (count,));
        let slots = self.slots.iter_mut().flatten();
        for rows in slots.chain(&mut self.inputs).chain(&mut self.point) {
            *rows = rows.reorder(&order, batch);
        }
        self.batch = batch;
        Ok(())
    }

    fn fill_normal(&mut self, slot: Slot, seed: u64) -> Result<()> {
        let dim = self.dim();
        let mut values = vec![E::zero(); self.batch * dim];
        for (row, values) in values.chunks_exact_mut(dim).enumerate() {
            normal_row(seed, self.samples[row], values);
        }
        let normal = from_host(&self.device, values, (self.batch, dim))?;
        self.set(slot, normal);
        Ok(())
    }

    fn write(&mut self, slot: Slot, values: &[f64]) -> Result<()> {
        let values = values.iter().map(|&value| E::of(value)).collect();
        let state = from_host(&self.device, values, (self.batch, self.dim()))?;
        self.set(slot, state);
        Ok(())
    }

    fn read(&mut self, slot: Slot) -> Result<Vec<f64>> {
        let state = to_host(&self.state(slot)?);
        Ok(state.into_iter().map(E::wide).collect())
    }

    fn linearize(&mut self, z: Slot) -> Result<()> {
        // The state may be an injected input, as f(z; x) = x leaves it.
        self.point = self.slots[z.0].as_ref().map(|rows| Rows {
            active: separate(rows.active.clone()),
            done: rows.done.clone(),
        });
        Ok(())
    }
}

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>> DifferentiableSpace
    for TensorSpace<E, D, L>
{
    fn vjp(&mut self, u: Slot, out: Slot) -> Result<()> {
        let (mut gradients, point, _) = self.backward(u)?;
        gradients.get_or_alloc_mut(&point).map_err(Error::device)?;
        self.set(out, gradients.get(&point));
        Ok(())
    }

    fn pull_back(&mut self, u: Slot) -> Result<()> {
        let (mut gradients, _, inputs) = self.backward(u)?;
        let parameters = self.layer.named();
        let parameters = parameters.iter().map(|(_, tensor)| tensor);
        let sums = self.gradients.parameters.iter_mut();
        for (tensor, sum) in parameters
            .zip(sums)
            .chain(inputs.iter().zip(&mut self.gradients.inputs))
        {
            gradients.get_or_alloc_mut(tensor).map_err(Error::device)?;
            let new = gradients.get(tensor);
            // A tensor used twice has one gradient, which covers both uses: it must not be taken again.
            D::accumulate(&mut gradients, tensor, &-new.clone())?;
            *sum = Some(match sum.take() {
                Some(sum) => sum + new,
                None => new,
            });
        }
        Ok(())
    }
}
