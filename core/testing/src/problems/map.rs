//! Compositions of stages, as a kernel and as a layer.

use std::sync::Arc;

use std::ops::Range;

use dfdx::prelude::*;

use super::stage::{Function, Stage, EPSILON};
use equilibria_core::kernel::swap_rows;
use equilibria_core::operations::{TensorCode, Tensors};
use equilibria_core::{
    from_host, to_host, AnyTape, Backend, Error, ImplicitLayer, Kernel, KernelBlock,
    KernelGradients, Matrix, Parameters, Result, Scalar, Value,
};

/// The map of a problem on one device: stages applied one after the other, without parameters. Stages that take an
/// injected input, `[batch, dim]` each, take the next one.
#[derive(Clone)]
pub struct ProblemLayer<E: Scalar, D: Backend<E>> {
    dim: usize,
    stages: Vec<Stage<E>>,
    /// M of every stage that has one.
    matrices: Vec<Option<Matrix<E, D>>>,
}

impl<E: Scalar, D: Backend<E>> ProblemLayer<E, D> {
    /// Copies the matrices of `stages` to `device`.
    pub fn new(device: &D, dim: usize, stages: Vec<Stage<E>>) -> Result<Self> {
        let matrix = |stage: &Stage<E>| match stage {
            Stage::Linear(m) => from_host(device, m.clone(), (dim, dim)).map(Some),
            _ => Ok(None),
        };
        Ok(Self {
            matrices: stages.iter().map(matrix).collect::<Result<_>>()?,
            dim,
            stages,
        })
    }
}

/// Problems have no parameters.
impl<E: Scalar, D: Backend<E>> Parameters<E, D> for ProblemLayer<E, D> {
    fn visit(&self, _: &str, _: &mut dyn FnMut(&str, &Matrix<E, D>)) {}

    fn visit_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {}
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for ProblemLayer<E, D> {
    fn state_dim(&self) -> usize {
        self.dim
    }

    fn input_dims(&self) -> Vec<usize> {
        let inputs = self.stages.iter().filter(|stage| stage.takes_input());
        inputs.map(|_| self.dim).collect()
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let arguments: Vec<&Value<E, D>> = std::iter::once(z).chain(x).collect();
        let stages = InTensors(self.stages.clone());
        let matrices: Vec<&Matrix<E, D>> = self.matrices.iter().flatten().collect();
        Ok(Value::of(&Tensors::new(stages, &matrices), &arguments))
    }

    fn kernel(&self, x: &[Matrix<E, D>]) -> Option<Arc<dyn Kernel<E>>> {
        Some(Arc::new(ProblemKernel {
            dim: self.dim,
            stages: self.stages.clone(),
            inputs: x.iter().map(to_host).collect(),
        }))
    }
}

/// The stages in dfdx tensors. Parameters are the matrices of those that have one.
#[derive(Clone)]
struct InTensors<F>(Vec<Stage<F>>);

impl<F: Scalar> TensorCode for InTensors<F> {
    fn run<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Vec<Matrix<E, D, T>>,
        parameters: &[Matrix<E, D>],
    ) -> Result<Matrix<E, D, T>> {
        let missing = || Error::Missing {
            what: "an argument of a stage".to_owned(),
            remedy: "give the state, then one input for each of `input_dims`",
        };
        let (mut inputs, mut matrices) = (x.into_iter(), parameters.iter());
        let mut z = inputs.next().ok_or_else(missing)?;
        for stage in &self.0 {
            let mut input = || inputs.next().ok_or_else(missing);
            z = match stage {
                Stage::Linear(_) => z.matmul(matrices.next().ok_or_else(missing)?.retaped::<T>()),
                Stage::Shift => z + input()?,
                Stage::Scale => z * input()?,
                Stage::Heron => {
                    let quotient = input()? / z.with_empty_tape();
                    (z + quotient) * E::of(0.5)
                }
                Stage::Each(function) => each(*function, z),
                Stage::Normalize => z.normalize::<Axis<1>>(EPSILON),
            };
        }
        Ok(z)
    }
}

fn each<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    function: Function,
    z: Matrix<E, D, T>,
) -> Matrix<E, D, T> {
    match function {
        Function::Tanh => z.tanh(),
        Function::Relu => z.relu(),
        Function::Abs => z.abs(),
        Function::Cos => z.cos(),
        Function::Sqrt => z.sqrt(),
        Function::Drift => {
            let square = z.with_empty_tape().square();
            z + (square + E::one()).recip()
        }
    }
}

/// The map with its inputs bound. Written in plain loops, one row after the other, so that the result for a row is the
/// same to the last bit whatever the other rows are.
pub(super) struct ProblemKernel<E> {
    pub dim: usize,
    pub stages: Vec<Stage<E>>,
    pub inputs: Vec<Vec<E>>,
}

impl<E: Scalar> Kernel<E> for ProblemKernel<E> {
    fn block(self: Arc<Self>, rows: Range<usize>) -> Box<dyn KernelBlock<E>> {
        let part = rows.start * self.dim..rows.end * self.dim;
        let inputs = self.inputs.iter().map(|x| x[part.clone()].to_vec());
        Box::new(ProblemBlock {
            dim: self.dim,
            stages: self.stages.clone(),
            inputs: inputs.collect(),
            points: vec![vec![E::zero(); part.len()]; self.stages.len()],
            here: vec![E::zero(); self.dim],
            there: vec![E::zero(); self.dim],
        })
    }
}

struct ProblemBlock<E> {
    dim: usize,
    stages: Vec<Stage<E>>,
    inputs: Vec<Vec<E>>,
    /// What each stage was given at the linearization point.
    points: Vec<Vec<E>>,
    here: Vec<E>,
    there: Vec<E>,
}

/// Every stage with the number of its input, if it takes one.
fn numbered<E: Scalar>(stages: &[Stage<E>]) -> impl Iterator<Item = (&Stage<E>, Option<usize>)> {
    stages.iter().scan(0, |next, stage| {
        let input = stage.takes_input().then_some(*next);
        *next += usize::from(stage.takes_input());
        Some((stage, input))
    })
}

impl<E: Scalar> ProblemBlock<E> {
    fn run(&mut self, z: &[E], out: &mut [E], remember: bool) {
        let rows = z.chunks_exact(self.dim).zip(out.chunks_exact_mut(self.dim));
        for (row, (z, out)) in rows.enumerate() {
            let range = row * self.dim..(row + 1) * self.dim;
            self.here.copy_from_slice(z);
            for ((stage, input), point) in numbered(&self.stages).zip(&mut self.points) {
                if remember {
                    point[range.clone()].copy_from_slice(&self.here);
                }
                let x = input.map_or(&[][..], |input| &self.inputs[input][range.clone()]);
                stage.value(&self.here, x, &mut self.there);
                std::mem::swap(&mut self.here, &mut self.there);
            }
            out.copy_from_slice(&self.here);
        }
    }

    /// Takes the cotangent `u` of the value down through the stages, to `out` and the inputs if these are wanted.
    fn backward(
        &mut self,
        u: &[E],
        mut out: Option<&mut [E]>,
        mut gradients: Option<&mut KernelGradients<E>>,
    ) {
        let order: Vec<_> = numbered(&self.stages).zip(&self.points).collect();
        for (row, u) in u.chunks_exact(self.dim).enumerate() {
            let range = row * self.dim..(row + 1) * self.dim;
            self.here.copy_from_slice(u);
            for &((stage, input), point) in order.iter().rev() {
                let point = &point[range.clone()];
                let x = input.map_or(&[][..], |input| &self.inputs[input][range.clone()]);
                let sums = gradients.as_mut().zip(input);
                let sums = sums.and_then(|(all, input)| all.inputs.get_mut(input));
                if let Some(sum) = sums {
                    stage.pull_input(point, &self.here, &mut sum[range.clone()]);
                }
                stage.pull(point, x, &self.here, &mut self.there);
                std::mem::swap(&mut self.here, &mut self.there);
            }
            if let Some(out) = &mut out {
                out[range].copy_from_slice(&self.here);
            }
        }
    }
}

impl<E: Scalar> KernelBlock<E> for ProblemBlock<E> {
    fn apply(&mut self, z: &[E], out: &mut [E]) {
        self.run(z, out, false);
    }

    fn linearize(&mut self, z: &[E], out: &mut [E]) {
        self.run(z, out, true);
    }

    fn jvp(&mut self, v: &[E], out: &mut [E]) -> bool {
        let rows = v.chunks_exact(self.dim).zip(out.chunks_exact_mut(self.dim));
        for (row, (v, out)) in rows.enumerate() {
            let range = row * self.dim..(row + 1) * self.dim;
            self.here.copy_from_slice(v);
            for ((stage, input), point) in numbered(&self.stages).zip(&self.points) {
                let x = input.map_or(&[][..], |input| &self.inputs[input][range.clone()]);
                stage.push(&point[range.clone()], x, &self.here, &mut self.there);
                std::mem::swap(&mut self.here, &mut self.there);
            }
            out.copy_from_slice(&self.here);
        }
        true
    }

    fn vjp(&mut self, u: &[E], out: &mut [E]) {
        self.backward(u, Some(out), None);
    }

    fn pull_back(&mut self, u: &[E], gradients: &mut KernelGradients<E>) {
        self.backward(u, None, Some(gradients));
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        for matrix in self.inputs.iter_mut().chain(&mut self.points) {
            swap_rows(matrix, self.dim, a, b);
        }
    }
}
