//! The space over dfdx tensors: any layer with a `step`, on any device.

use dfdx::prelude::*;

use super::differences::{central_difference, pull_back_difference};
use super::{Store, TensorStore};
use crate::{
    apply, Backend, DifferentiableMap, Error, ImplicitLayer, Map, Matrix, Result, Scalar, Slot,
    Vectors,
};

/// The whole batch as dfdx tensors; `f` and its derivatives come from [`ImplicitLayer::step`] alone.
///
/// A dfdx tape runs once, so every `Jᵀu` costs a fresh traced application of `f` and its backward pass.
pub struct TensorSpace<E: Scalar, D: Backend<E>, L> {
    /// The layer, with parameters that are no views: of a broadcast one, dfdx would give the gradients of all copies together.
    layer: L,
    store: TensorStore<E, D>,
    inputs: Vec<Slot>,
    /// The linearization point, once there is one.
    point: Option<Slot>,
    gradients: TensorGradients<E, D>,
}

/// A space for the whole batch on a device, where jobs of an equilibrium run.
pub trait Space<E: Scalar, D: Backend<E>>: DifferentiableMap {
    /// A slot that holds `state`, `[batch, dim]`.
    fn adopt(&mut self, state: Matrix<E, D>) -> Result<Slot>;

    /// The active rows of a slot.
    fn state(&self, slot: Slot) -> Result<Matrix<E, D>>;

    /// What was pulled back.
    fn into_gradients(self: Box<Self>) -> TensorGradients<E, D>;
}

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>> Space<E, D> for TensorSpace<E, D, L> {
    fn adopt(&mut self, state: Matrix<E, D>) -> Result<Slot> {
        Ok(Self::adopt(self, state))
    }

    fn state(&self, slot: Slot) -> Result<Matrix<E, D>> {
        Self::state(self, slot)
    }

    fn into_gradients(self: Box<Self>) -> TensorGradients<E, D> {
        Self::into_gradients(*self)
    }
}

/// What was pulled back; `None` where nothing was.
pub struct TensorGradients<E: Scalar, D: Backend<E>> {
    /// One per parameter, in the order of [`Parameters::visit`](crate::Parameters::visit).
    pub parameters: Vec<Option<Matrix<E, D>>>,
    /// One per injected input, `[batch, width]`.
    pub inputs: Vec<Option<Matrix<E, D>>>,
}

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>> TensorSpace<E, D, L> {
    /// A space for the map of `layer` with the injected inputs `inputs`, each `[batch, width]`.
    pub fn new(layer: &L, device: D, inputs: &[Matrix<E, D>], batch: usize) -> Self {
        let mut layer = dyn_clone::clone(layer);
        layer.visit_mut("", &mut |_, parameter| {
            *parameter = parameter.clone().contiguous()
        });
        let mut store = TensorStore::new(device, layer.state_dim(), batch);
        Self {
            gradients: TensorGradients {
                parameters: vec![None; layer.named().len()],
                inputs: vec![None; inputs.len()],
            },
            layer,
            inputs: (inputs.iter())
                .map(|input| store.reserve(Some(input.clone())))
                .collect(),
            store,
            point: None,
        }
    }

    /// A slot that holds `state`, `[batch, dim]`.
    pub fn adopt(&mut self, state: Matrix<E, D>) -> Slot {
        self.store.adopt(state)
    }

    /// The active rows of a slot.
    pub fn state(&self, slot: Slot) -> Result<Matrix<E, D>> {
        self.store.state(slot)
    }

    /// What was pulled back.
    pub fn into_gradients(self) -> TensorGradients<E, D> {
        self.gradients
    }

    fn active_inputs(&self) -> Vec<Matrix<E, D>> {
        let inputs = self.inputs.iter().filter_map(|&x| self.store.contents(x));
        inputs.cloned().collect()
    }

    /// The slot of the linearization point.
    fn base(&self) -> Result<Slot> {
        let point = self
            .point
            .filter(|&point| self.store.contents(point).is_some());
        point.ok_or_else(Error::not_linearized)
    }

    /// Gradients of `⟨u, f(z)⟩` at the linearization point, with `z` and the inputs they belong to.
    #[allow(clippy::type_complexity)]
    fn backward(&self, u: Slot) -> Result<(Gradients<E, D>, Matrix<E, D>, Vec<Matrix<E, D>>)> {
        let point = self.store.state(self.base()?)?;
        let inputs = self.active_inputs();
        let fz = apply(&self.layer, point.leaky_trace(), &inputs)?;
        let gradients = (fz * self.state(u)?).sum::<Rank0, _>().backward();
        Ok((gradients, point, inputs))
    }
}

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>> Map for TensorSpace<E, D, L> {
    fn vectors(&self) -> &dyn Store {
        &self.store
    }

    fn vectors_mut(&mut self) -> &mut dyn Store {
        &mut self.store
    }

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        let fz = apply(&self.layer, self.state(z)?, &self.active_inputs())?;
        let shape = (self.batch(), self.dim());
        if fz.shape() != &shape {
            return Err(Error::Shape {
                what: "the result of `step`".to_owned(),
                expected: format!("{shape:?}"),
                got: format!("{:?}", fz.shape()),
            });
        }
        self.store.set(out, fz.contiguous());
        Ok(())
    }

    fn linearize(&mut self, z: Slot) -> Result<()> {
        let store = &mut self.store;
        let point = *self.point.get_or_insert_with(|| store.reserve(None));
        store.copy_slot(z, point);
        Ok(())
    }

    fn jvp(&mut self, v: Slot, out: Slot) -> Result<usize> {
        let z = self.base()?;
        central_difference(self, z, v, out)?;
        Ok(2)
    }
}

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>> DifferentiableMap for TensorSpace<E, D, L> {
    fn vjp(&mut self, u: Slot, out: Slot) -> Result<()> {
        let (mut gradients, point, _) = self.backward(u)?;
        gradients.get_or_alloc_mut(&point).map_err(Error::device)?;
        self.store.set(out, gradients.get(&point));
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

    fn pull_back_tangent(&mut self, p: Slot, v: Slot, factors: &[f64], step: f64) -> Result<()> {
        let point = self.base()?;
        let z = self.alloc()?;
        self.store.copy_slot(point, z);
        let at = |space: &mut Self, point: Slot, cotangent: Slot| {
            space.linearize(point)?;
            space.pull_back(cotangent)
        };
        let outcome = pull_back_difference(self, z, [p, v], (factors, step), at);
        self.store.copy_slot(z, point);
        self.release(z);
        outcome
    }
}
