//! Compositions of stages, in rows and as a layer.

use std::sync::Arc;

use dfdx::prelude::*;

use super::stage::{Function, Stage, EPSILON};
use equilibria_core::operations::{TensorCode, Tensors};
use equilibria_core::{
    from_host, AnyTape, Backend, Error, ImplicitLayer, Matrix, Parameters, Result, RowGradients,
    RowMap, Scalar, Scratch, Tangents, Value,
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

    fn row_map(&self) -> Option<Arc<dyn RowMap<E>>> {
        Some(Arc::new(Stages {
            dim: self.dim,
            stages: self.stages.clone(),
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

/// The map in rows. Written in plain loops, one row after the other, so that the result for a row is the same to the last bit
/// whatever the other rows are. Its record is what each stage was given.
pub(super) struct Stages<E> {
    pub dim: usize,
    pub stages: Vec<Stage<E>>,
}

/// What belongs to one row of a stage: what it was given, and its share of the input, if it takes one.
struct Here<'s, E> {
    stage: &'s Stage<E>,
    /// The number of the stage, and of its input.
    index: usize,
    input: Option<usize>,
    point: &'s [E],
    x: &'s [E],
}

impl<E: Scalar> Stages<E> {
    /// The stages with the numbers of their inputs.
    fn numbered(&self) -> impl DoubleEndedIterator<Item = (usize, &Stage<E>, Option<usize>)> {
        let takes = |stage: &&Stage<E>| stage.takes_input();
        let stages = self.stages.iter().enumerate();
        stages.map(move |(index, stage)| {
            let before = self.stages[..index].iter().filter(takes).count();
            (index, stage, stage.takes_input().then_some(before))
        })
    }

    /// The stages at one row of the record.
    fn at<'s>(
        &'s self,
        x: &'s [&'s [E]],
        record: &'s [&'s [E]],
        row: usize,
    ) -> impl DoubleEndedIterator<Item = Here<'s, E>> {
        let range = row * self.dim..(row + 1) * self.dim;
        self.numbered().map(move |(index, stage, input)| Here {
            stage,
            index,
            input,
            point: &record[index][range.clone()],
            x: input.map_or(&[], |input| &x[input][range.clone()]),
        })
    }

    fn run(
        &self,
        (x, z): (&[&[E]], &[E]),
        out: &mut [E],
        mut record: Option<&mut [&mut [E]]>,
        scratch: &mut Scratch<E>,
    ) {
        let [mut here, mut there] = scratch.parts(self.dim);
        let rows = z.chunks_exact(self.dim).zip(out.chunks_exact_mut(self.dim));
        for (row, (z, out)) in rows.enumerate() {
            let range = row * self.dim..(row + 1) * self.dim;
            here.copy_from_slice(z);
            for (index, stage, input) in self.numbered() {
                if let Some(record) = &mut record {
                    record[index][range.clone()].copy_from_slice(here);
                }
                let x = input.map_or(&[][..], |input| &x[input][range.clone()]);
                stage.value(here, x, there);
                std::mem::swap(&mut here, &mut there);
            }
            out.copy_from_slice(here);
        }
    }
}

impl<E: Scalar> RowMap<E> for Stages<E> {
    fn record(&self) -> Vec<usize> {
        vec![self.dim; self.stages.len()]
    }

    fn apply(&self, x: &[&[E]], z: &[E], out: &mut [E], scratch: &mut Scratch<E>) {
        self.run((x, z), out, None, scratch);
    }

    fn linearize(
        &self,
        x: &[&[E]],
        z: &[E],
        out: &mut [E],
        record: &mut [&mut [E]],
        scratch: &mut Scratch<E>,
    ) {
        self.run((x, z), out, Some(record), scratch);
    }

    fn vjp(&self, x: &[&[E]], record: &[&[E]], u: &[E], out: &mut [E], scratch: &mut Scratch<E>) {
        let [mut here, mut there] = scratch.parts(self.dim);
        let rows = u.chunks_exact(self.dim).zip(out.chunks_exact_mut(self.dim));
        for (row, (u, out)) in rows.enumerate() {
            here.copy_from_slice(u);
            for Here {
                stage, point, x, ..
            } in self.at(x, record, row).rev()
            {
                stage.pull(point, x, here, there);
                std::mem::swap(&mut here, &mut there);
            }
            out.copy_from_slice(here);
        }
    }

    fn pull_back(
        &self,
        x: &[&[E]],
        record: &[&[E]],
        u: &[E],
        gradients: &mut RowGradients<E>,
        scratch: &mut Scratch<E>,
    ) {
        let [mut here, mut there] = scratch.parts(self.dim);
        for (row, u) in u.chunks_exact(self.dim).enumerate() {
            here.copy_from_slice(u);
            for Here {
                stage,
                input,
                point,
                x,
                ..
            } in self.at(x, record, row).rev()
            {
                if let Some(input) = input {
                    let sum = &mut gradients.inputs[input][row * self.dim..][..self.dim];
                    stage.pull_input(point, here, sum);
                }
                stage.pull(point, x, here, there);
                std::mem::swap(&mut here, &mut there);
            }
        }
    }

    fn tangents(&self) -> Option<&dyn Tangents<E>> {
        Some(self)
    }
}

impl<E: Scalar> Tangents<E> for Stages<E> {
    fn jvp(&self, x: &[&[E]], record: &[&[E]], v: &[E], out: &mut [E], scratch: &mut Scratch<E>) {
        let [mut here, mut there] = scratch.parts(self.dim);
        let rows = v.chunks_exact(self.dim).zip(out.chunks_exact_mut(self.dim));
        for (row, (v, out)) in rows.enumerate() {
            here.copy_from_slice(v);
            for Here {
                stage, point, x, ..
            } in self.at(x, record, row)
            {
                stage.push(point, x, here, there);
                std::mem::swap(&mut here, &mut there);
            }
            out.copy_from_slice(here);
        }
    }

    fn pull_back_tangent(
        &self,
        x: &[&[E]],
        record: &[&[E]],
        u: &[E],
        [p, v]: [&[E]; 2],
        gradients: &mut RowGradients<E>,
        _: &mut Scratch<E>,
    ) {
        let zeros = || vec![E::zero(); self.dim];
        for (row, u) in u.chunks_exact(self.dim).enumerate() {
            let range = row * self.dim..(row + 1) * self.dim;
            // The tangent that each stage is given.
            let mut tangents = vec![v[range.clone()].to_vec()];
            for Here {
                stage,
                index,
                point,
                x,
                ..
            } in self.at(x, record, row)
            {
                let mut next = zeros();
                stage.push(point, x, &tangents[index], &mut next);
                tangents.push(next);
            }
            let (mut bar, mut p_bar, mut none) = (u.to_vec(), p[range.clone()].to_vec(), zeros());
            for Here {
                stage,
                index,
                input,
                point,
                x,
            } in self.at(x, record, row).rev()
            {
                let (mut next, mut p_next) = (zeros(), zeros());
                stage.pull(point, x, &bar, &mut next);
                stage.pull(point, x, &p_bar, &mut p_next);
                let sum = match input {
                    Some(input) => &mut gradients.inputs[input][range.clone()],
                    None => &mut none[..],
                };
                stage.pull_input(point, &bar, sum);
                stage.bend(point, x, [&p_bar, &tangents[index]], [&mut next, sum]);
                (bar, p_bar) = (next, p_next);
            }
        }
    }
}
