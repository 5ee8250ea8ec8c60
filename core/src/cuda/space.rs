//! The space on a GPU: a layer's program, or its step in dfdx operations, on vectors that kernels of our own work on.

use dfdx::prelude::*;

use super::program::{Program, PulledBack};
use super::store::CudaStore;
use super::Real;
use crate::plumbing::{central_difference, pull_back_difference, Space, Store, TensorGradients};
use crate::program::record_codes;
use crate::{
    apply, AnyLayer, Backend, Coef, DifferentiableMap, Error, Map, Matrix, Parameters, Result,
    Slot, Vectors,
};

/// The whole batch on a GPU.
pub(crate) struct CudaSpace<E: Real>
where
    Cuda: Backend<E>,
{
    store: CudaStore<E>,
    map: Way<E>,
    /// The linearization point, once there is one.
    point: Option<Slot>,
    is_linearized: bool,
    gradients: PulledBack<E>,
}

/// How the map is evaluated.
enum Way<E: Real>
where
    Cuda: Backend<E>,
{
    /// By kernels.
    Program(Box<Program<E>>),
    /// By dfdx operations, with inputs in slots.
    Step(AnyLayer<E, Cuda>, Vec<Slot>),
}

impl<E: Real> CudaSpace<E>
where
    Cuda: Backend<E>,
{
    /// A space for the map of `layer` with the injected inputs `inputs`, each `[batch, width]`.
    pub fn new(
        layer: &AnyLayer<E, Cuda>,
        device: &Cuda,
        inputs: &[Matrix<E, Cuda>],
        batch: usize,
    ) -> Result<Self> {
        let dim = crate::ImplicitLayer::state_dim(layer);
        let mut store = CudaStore::new(device, dim, batch)?;
        let mut layer = layer.clone();
        let is_recorded = crate::ImplicitLayer::is_recorded(&layer);
        let recorded = is_recorded.then(|| record_codes(&layer).ok()).flatten();
        let map = match recorded {
            Some(recorded) => Way::Program(Box::new(Program::new(recorded, inputs, &mut store)?)),
            None => {
                // Of a broadcast parameter, dfdx would give the gradients of all copies together.
                layer.visit_mut("", &mut |_, parameter| {
                    *parameter = parameter.clone().contiguous()
                });
                let inputs = inputs.iter().map(|input| store.adopt_reserved(input));
                Way::Step(layer.clone(), inputs.collect::<Result<_>>()?)
            }
        };
        let parameters: Vec<_> = layer
            .named()
            .into_iter()
            .map(|(_, tensor)| tensor)
            .collect();
        Ok(Self {
            gradients: PulledBack::new(&parameters, inputs),
            store,
            map,
            point: None,
            is_linearized: false,
        })
    }

    /// The slot that keeps the linearization point.
    fn base(&self) -> Result<Slot> {
        let point = self.point.filter(|_| self.is_linearized);
        point.ok_or_else(Error::not_linearized)
    }

    /// Linearizes at a slot, of which a copy is kept.
    fn linearize_at(&mut self, z: Slot) -> Result<()> {
        let point = match self.point {
            Some(point) => point,
            None => {
                let point = self.store.reserve(self.store.dim())?;
                *self.point.insert(point)
            }
        };
        if point != z {
            self.store.copy_slot(z, point)?;
        }
        self.is_linearized = true;
        let at = self.store.address(point)?;
        match &mut self.map {
            Way::Program(program) => program.linearize(at, None, &mut self.store),
            Way::Step(..) => Ok(()),
        }
    }

    fn apply_apart(&mut self, z: Slot, out: Slot) -> Result<()> {
        match &mut self.map {
            Way::Program(program) => {
                let at = self.store.address(z)?;
                program.apply(at, out, &mut self.store)
            }
            Way::Step(layer, inputs) => {
                let inputs = states(&self.store, inputs)?;
                let fz = apply(layer, self.store.state(z)?, &inputs)?;
                let shape = (self.store.batch(), self.store.dim());
                if fz.shape() != &shape {
                    return Err(Error::Shape {
                        what: "the result of `step`".to_owned(),
                        expected: format!("{shape:?}"),
                        got: format!("{:?}", fz.shape()),
                    });
                }
                self.store.fill(out, &fz)
            }
        }
    }

    /// Gradients of `⟨u, f(z)⟩` at the linearization point by dfdx, with `z` and the inputs they belong to.
    #[allow(clippy::type_complexity)]
    fn backward(
        &self,
        layer: &AnyLayer<E, Cuda>,
        inputs: &[Slot],
        u: Slot,
    ) -> Result<(Gradients<E, Cuda>, Matrix<E, Cuda>, Vec<Matrix<E, Cuda>>)> {
        let point = self.store.state(self.base()?)?;
        let inputs = states(&self.store, inputs)?;
        let fz = apply(layer, point.leaky_trace(), &inputs)?;
        let product = fz * self.store.state(u)?;
        let gradients = product.sum::<Rank0, _>().try_backward();
        Ok((gradients.map_err(Error::device)?, point, inputs))
    }

    fn pull_back_here(&mut self, u: Slot) -> Result<()> {
        if let Way::Program(program) = &mut self.map {
            return program.pull_back(Some(u), None, &mut self.gradients, &mut self.store);
        }
        let Way::Step(layer, inputs) = &self.map else {
            return Ok(());
        };
        let (mut gradients, _, inputs) = self.backward(layer, inputs, u)?;
        let parameters = layer.named();
        let (count, tensors) = (
            parameters.len(),
            parameters.iter().map(|(_, tensor)| tensor),
        );
        for (index, tensor) in tensors.chain(&inputs).enumerate() {
            gradients.try_alloc_for(tensor).map_err(Error::device)?;
            let new = gradients.get(tensor);
            // A tensor used twice has one gradient, which covers both uses: it must not be taken again.
            <Cuda as Backend<E>>::accumulate(&mut gradients, tensor, &-new.clone())?;
            let sum = match index < count {
                true => self.gradients.parameter(index, &self.store)?,
                false => self.gradients.input(index - count, &self.store)?,
            };
            super::program::add_tensor(&new, sum, &self.store)?;
        }
        Ok(())
    }
}

/// The active rows of slots.
fn states<E: Real>(store: &CudaStore<E>, slots: &[Slot]) -> Result<Vec<Matrix<E, Cuda>>>
where
    Cuda: Backend<E>,
{
    slots.iter().map(|&slot| store.state(slot)).collect()
}

impl<E: Real> Space<E, Cuda> for CudaSpace<E>
where
    Cuda: Backend<E>,
{
    fn adopt(&mut self, state: Matrix<E, Cuda>) -> Result<Slot> {
        self.store.adopt(&state)
    }

    fn state(&self, slot: Slot) -> Result<Matrix<E, Cuda>> {
        self.store.state(slot)
    }

    fn into_gradients(self: Box<Self>) -> TensorGradients<E, Cuda> {
        let [parameters, inputs] = self.gradients.into_tensors();
        TensorGradients { parameters, inputs }
    }
}

impl<E: Real> Map for CudaSpace<E>
where
    Cuda: Backend<E>,
{
    fn vectors(&self) -> &dyn Store {
        &self.store
    }

    fn vectors_mut(&mut self) -> &mut dyn Store {
        &mut self.store
    }

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        if z != out {
            return self.apply_apart(z, out);
        }
        let result = self.store.alloc()?;
        let done = self.apply_apart(z, result);
        let done = done.and_then(|()| self.store.copy_slot(result, out));
        self.store.release(result);
        done
    }

    fn linearize(&mut self, z: Slot) -> Result<()> {
        self.linearize_at(z)
    }

    fn jvp(&mut self, v: Slot, out: Slot) -> Result<usize> {
        let z = self.base()?;
        if let Way::Program(program) = &mut self.map {
            let v = self.store.address(v)?;
            program.push(v, Some(out), &mut self.store)?;
            return Ok(1);
        }
        central_difference(self, z, v, out)?;
        Ok(2)
    }
}

impl<E: Real> DifferentiableMap for CudaSpace<E>
where
    Cuda: Backend<E>,
{
    fn vjp(&mut self, u: Slot, out: Slot) -> Result<()> {
        self.base()?;
        if let Way::Program(program) = &mut self.map {
            if u != out {
                return program.vjp(u, out, &mut self.store);
            }
            let result = self.store.alloc()?;
            let done = program.vjp(u, result, &mut self.store);
            let done = done.and_then(|()| self.store.copy_slot(result, out));
            self.store.release(result);
            return done;
        }
        let Way::Step(layer, inputs) = &self.map else {
            return Ok(());
        };
        let (mut gradients, point, _) = self.backward(layer, inputs, u)?;
        gradients.try_alloc_for(&point).map_err(Error::device)?;
        self.store.fill(out, &gradients.get(&point))
    }

    fn pull_back(&mut self, u: Slot) -> Result<()> {
        self.base()?;
        self.pull_back_here(u)
    }

    fn pull_back_tangent(&mut self, p: Slot, v: Slot, factors: &[f64], step: f64) -> Result<()> {
        let point = self.base()?;
        if let Way::Program(program) = &mut self.map {
            let scaled = self.store.alloc()?;
            self.store
                .combine(scaled, &[(Coef::PerSample(factors), p)])?;
            let along = self.store.address(v)?;
            program.push(along, None, &mut self.store)?;
            let product = Some([scaled, v]);
            let (gradients, store) = (&mut self.gradients, &mut self.store);
            let done = program.pull_back(None, product, gradients, store);
            self.store.release(scaled);
            return done;
        }
        let z = self.alloc()?;
        self.store.copy_slot(point, z)?;
        let at = |space: &mut Self, point: Slot, cotangent: Slot| {
            space.linearize_at(point)?;
            space.pull_back_here(cotangent)
        };
        let outcome = pull_back_difference(self, z, [p, v], (factors, step), at);
        self.store.copy_slot(z, point)?;
        self.release(z);
        outcome
    }
}
