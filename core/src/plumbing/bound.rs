//! A layer with its inputs bound: splits the batch into blocks where its map runs in rows, and runs jobs in spaces.

use std::cell::OnceCell;
use std::sync::Arc;

use dfdx::prelude::*;

use super::blocks::{Blocks, HostLayer, HostOutput, Partition, Products, Split};
use super::gradients::{HostGradient, TensorGradient, WeightedGradients};
use crate::backend::{from_host, to_host};
use crate::{parallel, simd};
use crate::{
    AnyLayer, Backend, DifferentiableMap, Error, ImplicitLayer, Matrix, Parameters, Result, Scalar,
    Slot,
};

/// A layer with its injected inputs.
pub(crate) struct Bound<E: Scalar, D: Backend<E>> {
    layer: AnyLayer<E, D>,
    device: D,
    inputs: Vec<Matrix<E, D>>,
    /// None where the layer runs in tensors.
    host: Option<Arc<HostLayer<E>>>,
    batch: usize,
    partition: Partition,
    /// Those of the layer, once they are wanted.
    parameters: OnceCell<Vec<Matrix<E, D>>>,
    /// Where the last job has run, in rows.
    blocks: Option<Blocks<E>>,
    /// What jobs hold on to, in tensors.
    held: Vec<Matrix<E, D>>,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It changes the first state, which is wanted, and pulls nothing back.
    Solve,
    /// It pulls gradients back.
    Differentiate,
}

/// What a job leaves behind, on the device of the layer.
pub(crate) struct JobOutput<E: Scalar, D: Backend<E>, R> {
    /// The first state, after a solve.
    pub state: Option<Matrix<E, D>>,
    /// What was pulled back: parameters, then inputs. None if nothing was.
    pub gradients: Vec<TensorGradient<E, D>>,
    /// One result per block, in order.
    pub results: Vec<R>,
}

/// A job to be run on a layer.
pub(crate) struct LayerJob<'r, E: Scalar, D: Backend<E>, R> {
    pub bound: &'r mut Bound<E, D>,
    /// States to be added to those that are held, each `[batch, state_dim]`.
    pub given: Vec<Matrix<E, D>>,
    pub products: Products<'r>,
    pub block_job: &'r BlockJob<'r, R>,
}

/// What a job does in every space the batch is split into, on the slots that are held from the jobs before and those of the
/// given states. What it leaves among them is held for the next one; what it takes away is its own to release.
pub(crate) type BlockJob<'j, R> =
    dyn Fn(&mut dyn DifferentiableMap, &mut Vec<Slot>) -> Result<R> + Sync + 'j;

impl<E: Scalar, D: Backend<E>> Bound<E, D> {
    /// Checks the inputs and binds them. They must be contiguous.
    pub fn new(
        layer: AnyLayer<E, D>,
        inputs: Vec<Matrix<E, D>>,
        partition: Partition,
    ) -> Result<Self> {
        let dims = layer.input_dims();
        let batch = inputs.first().map_or(0, |x| x.shape().0);
        let got: Vec<(usize, usize)> = inputs.iter().map(|x| *x.shape()).collect();
        let expected: Vec<(usize, usize)> = dims.iter().map(|&dim| (batch, dim)).collect();
        let device = match inputs.first() {
            Some(x) if got == expected && batch > 0 => x.device().clone(),
            _ => {
                return Err(Error::Shape {
                    what: "the injected inputs".to_owned(),
                    expected: format!("{expected:?} with a batch of at least 1"),
                    got: format!("{got:?}"),
                })
            }
        };
        if layer.state_dim() == 0 || dims.contains(&0) {
            return Err(Error::Shape {
                what: "the layer".to_owned(),
                expected: "state and inputs of width 1 or more".to_owned(),
                got: format!("state {}, inputs {dims:?}", layer.state_dim()),
            });
        }
        let mut on_host = Vec::with_capacity(inputs.len());
        for (index, (x, dim)) in inputs.iter().zip(dims).enumerate() {
            // The device only tells whether all are finite; if not, the host looks for the one that is not.
            if let Some(device) = D::on_device() {
                if device.is_finite(x)? {
                    continue;
                }
            }
            let x = to_host(x);
            require_finite(&x, dim, || format!("injected input {index}"))?;
            on_host.push(x);
        }
        let map = D::ON_HOST.then(|| layer.row_map()).flatten();
        Ok(Self {
            layer,
            device,
            inputs,
            host: map.map(|map| {
                let inputs = on_host;
                Arc::new(HostLayer { map, inputs })
            }),
            batch,
            partition,
            parameters: OnceCell::new(),
            blocks: None,
            held: Vec::new(),
        })
    }

    /// Runs `block_job` on what is held and on the given states, each `[batch, state_dim]`.
    pub fn run<R: Send>(
        &mut self,
        purpose: Purpose,
        given: Vec<Matrix<E, D>>,
        products: Products<'_>,
        block_job: &BlockJob<'_, R>,
    ) -> Result<JobOutput<E, D, R>> {
        self.check(&given)?;
        match self.host.clone() {
            Some(host) => {
                let host_job = self.host_job(host, &given, products);
                let done = host_job.run(purpose, block_job);
                self.finish(done)
            }
            None => self.run_tensors(purpose, given, block_job),
        }
    }

    /// [`run`](Self::run) of several jobs, at the same time where all layers run in rows.
    pub fn run_each<R: Send>(
        purpose: Purpose,
        jobs: Vec<LayerJob<'_, E, D, R>>,
    ) -> Vec<Result<JobOutput<E, D, R>>> {
        let hosts = jobs.iter().map(|job| job.bound.host.clone());
        let Some(hosts) = hosts.collect::<Option<Vec<_>>>() else {
            let alone = |job: LayerJob<'_, E, D, R>| {
                (job.bound).run(purpose, job.given, job.products, job.block_job)
            };
            return jobs.into_iter().map(alone).collect();
        };
        let (mut bounds, mut host_jobs) = (Vec::new(), Vec::new());
        for (job, host) in jobs.into_iter().zip(hosts) {
            let checked = job.bound.check(&job.given);
            let host_job = job.bound.host_job(host, &job.given, job.products);
            host_jobs.push((checked.map(|()| host_job), job.block_job));
            bounds.push(job.bound);
        }
        let done = parallel::map(host_jobs.into_iter(), |(host_job, block_job)| {
            host_job?.run(purpose, block_job)
        });
        let done = bounds.into_iter().zip(done);
        done.map(|(bound, done)| bound.finish(done)).collect()
    }

    fn check(&self, given: &[Matrix<E, D>]) -> Result<()> {
        let expected = (self.batch, self.layer.state_dim());
        match given.iter().find(|state| *state.shape() != expected) {
            Some(state) => Err(Error::Shape {
                what: "a state".to_owned(),
                expected: format!("{expected:?}"),
                got: format!("{:?}", state.shape()),
            }),
            None => Ok(()),
        }
    }

    fn run_tensors<R>(
        &mut self,
        purpose: Purpose,
        given: Vec<Matrix<E, D>>,
        block_job: &BlockJob<'_, R>,
    ) -> Result<JobOutput<E, D, R>> {
        let mut space = D::space(&self.layer, &self.device, &self.inputs, self.batch)?;
        let held = self.held.drain(..).chain(given);
        let slots = held.map(|state| space.adopt(state));
        let mut slots = slots.collect::<Result<_>>()?;
        let result = block_job(&mut *space, &mut slots)?;
        self.held = (slots.iter())
            .map(|&slot| space.state(slot))
            .collect::<Result<_>>()?;
        let gradients = space.into_gradients();
        let state = self.held.first().filter(|_| purpose == Purpose::Solve);
        Ok(JobOutput {
            state: state.cloned(),
            gradients: gradients
                .parameters
                .into_iter()
                .chain(gradients.inputs)
                .map(|gradient| gradient.map_or(TensorGradient::Zero, TensorGradient::Device))
                .collect(),
            results: vec![result],
        })
    }

    fn host_job<'t>(
        &mut self,
        host: Arc<HostLayer<E>>,
        given: &[Matrix<E, D>],
        products: Products<'t>,
    ) -> HostJob<'t, E> {
        let blocks = self.blocks.take().unwrap_or_else(|| {
            let (parameters, inputs) = match self.partition {
                Partition::Threads => (Vec::new(), Vec::new()),
                Partition::Sizes { .. } => {
                    let parameters = self.parameters().iter().map(|p| *p.shape());
                    let inputs = self.inputs.iter().enumerate();
                    let inputs = inputs.map(|(index, x)| match host.map.reaches_input(index) {
                        true => x.shape().1,
                        false => 0,
                    });
                    (parameters.collect(), inputs.collect())
                }
            };
            let split = Split {
                batch: self.batch,
                dim: self.layer.state_dim(),
                partition: self.partition,
                parts: host.map.parts(),
                parameters,
                inputs,
            };
            Blocks::new(host, split)
        });
        HostJob {
            blocks,
            states: given.iter().map(to_host).collect(),
            products,
        }
    }

    /// What a job on this layer has left on the host, on its device. Keeps the blocks for the next one.
    fn finish<R>(
        &mut self,
        done: Result<(HostOutput<E, R>, Blocks<E>)>,
    ) -> Result<JobOutput<E, D, R>> {
        let (output, blocks) = done?;
        self.blocks = Some(blocks);
        let shape = (self.batch, self.layer.state_dim());
        let state = |values| from_host(&self.device, values, shape);
        let gradient = |gradient: HostGradient<E>| match gradient.is_zero() {
            true => TensorGradient::Zero,
            false => TensorGradient::Host(gradient),
        };
        Ok(JobOutput {
            state: output.state.map(state).transpose()?,
            gradients: output.gradients.into_iter().map(gradient).collect(),
            results: output.results,
        })
    }

    /// Rows of the batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The layer and its inputs.
    pub fn parts(&self) -> (&AnyLayer<E, D>, &[Matrix<E, D>]) {
        (&self.layer, &self.inputs)
    }

    /// Where the layer is.
    pub fn device(&self) -> &D {
        &self.device
    }

    fn parameters(&self) -> &[Matrix<E, D>] {
        self.parameters.get_or_init(|| {
            let mut parameters = Vec::new();
            let note = &mut |_: &str, tensor: &Matrix<E, D>| parameters.push(tensor.clone());
            self.layer.visit("", note);
            parameters
        })
    }

    /// Parameters, then inputs.
    fn tensors(&self) -> impl Iterator<Item = &Matrix<E, D>> {
        self.parameters().iter().chain(&self.inputs)
    }

    /// What jobs have pulled back, each gradient with the tensor whose gradient it is and with its factor; without inputs that gradients do not
    /// reach.
    pub fn by_tensor<'p>(
        &'p self,
        pulled: impl IntoIterator<Item = WeightedGradients<E, D>> + 'p,
    ) -> impl Iterator<Item = (&'p Matrix<E, D>, TensorGradient<E, D>, f64)> + 'p {
        pulled.into_iter().flat_map(|(factor, gradients)| {
            let parameters = self.parameters().iter().map(|tensor| (tensor, true));
            let inputs = self.inputs.iter().enumerate();
            let inputs = inputs.map(|(index, x)| (x, self.layer.reaches_input(index)));
            let gradients = parameters.chain(inputs).zip(gradients);
            let reached = gradients.filter(|((_, reached), _)| *reached);
            reached.map(move |((tensor, _), gradient)| (tensor, gradient, factor))
        })
    }

    /// Makes every gradient of this layer NaN: a failed backward pass must not look like a zero gradient.
    pub fn poison(&self, gradients: &mut Gradients<E, D>) {
        for tensor in self.tensors() {
            // Where even this fails, the device is out of memory and the next allocation says so.
            let _ = D::accumulate(gradients, tensor, &(tensor.clone() * E::nan()));
        }
    }
}

/// A job on the host, which any thread may run.
struct HostJob<'t, E: Scalar> {
    blocks: Blocks<E>,
    states: Vec<Vec<E>>,
    products: Products<'t>,
}

impl<E: Scalar> HostJob<'_, E> {
    fn run<R: Send>(
        mut self,
        purpose: Purpose,
        block_job: &BlockJob<'_, R>,
    ) -> Result<(HostOutput<E, R>, Blocks<E>)> {
        let output = (self.blocks).run(purpose, self.states, self.products, block_job)?;
        Ok((output, self.blocks))
    }
}

/// An error unless all `values`, in rows of `columns`, are finite.
fn require_finite<E: Scalar>(
    values: &[E],
    columns: usize,
    what: impl Fn() -> String,
) -> Result<()> {
    if simd::finite(values) {
        return Ok(());
    }
    let bad = values.iter().position(|value| !value.is_finite());
    bad.map_or(Ok(()), |index| {
        Err(Error::NonFinite {
            what: what(),
            row: index / columns,
            column: index % columns,
        })
    })
}
