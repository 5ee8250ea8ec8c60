//! The same numbers as arguments that lie in memory in every way dfdx has, and gradients by what lies in memory.

use dfdx::prelude::*;
use equilibria_core::{from_host, Backend, Error, Matrix, Result};
use equilibria_testing::random_values;

pub type Array<D> = Matrix<f64, D>;
pub type Tape<D> = OwnedTape<f64, D>;
pub type Traced<D> = Matrix<f64, D, Tape<D>>;
pub type Found<D> = Gradients<f64, D>;

/// How arguments lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Row after row.
    Contiguous,
    /// Column after column.
    Permuted,
    /// One row for all.
    BroadcastRow,
    /// One column for all.
    BroadcastColumn,
    /// Row after row; arguments of one shape are the same tensor.
    Repeated,
}

impl View {
    pub const ALL: [Self; 5] = [
        Self::Contiguous,
        Self::Permuted,
        Self::BroadcastRow,
        Self::BroadcastColumn,
        Self::Repeated,
    ];

    /// How many numbers a matrix of this shape takes.
    fn size(self, (rows, columns): (usize, usize)) -> usize {
        match self {
            Self::BroadcastRow => columns,
            Self::BroadcastColumn => rows,
            _ => rows * columns,
        }
    }

    /// The matrix of this shape, and the tensor it looks at.
    fn of<D: Backend<f64>>(
        self,
        device: &D,
        shape: (usize, usize),
        memory: Vec<f64>,
    ) -> Result<(Array<D>, Leaf<D>)> {
        let line = |memory: Vec<f64>| device.tensor_from_vec(memory.clone(), (memory.len(),));
        Ok(match self {
            Self::Contiguous | Self::Repeated => {
                let leaf: Array<D> = from_host(device, memory, shape)?;
                (leaf.clone(), Leaf::Matrix(leaf))
            }
            Self::Permuted => {
                let leaf: Array<D> = from_host(device, memory, (shape.1, shape.0))?;
                (leaf.clone().permute::<_, Axes2<1, 0>>(), Leaf::Matrix(leaf))
            }
            Self::BroadcastRow => {
                let leaf = line(memory);
                let view = leaf.clone().broadcast_like::<_, Axis<0>>(&shape);
                (view, Leaf::Line(leaf))
            }
            Self::BroadcastColumn => {
                let leaf = line(memory);
                let view = leaf.clone().broadcast_like::<_, Axis<1>>(&shape);
                (view, Leaf::Line(leaf))
            }
        })
    }
}

/// What a view looks at.
enum Leaf<D: Backend<f64>> {
    Matrix(Array<D>),
    Line(Tensor<(usize,), f64, D>),
}

impl<D: Backend<f64>> Leaf<D> {
    fn gradient(&self, gradients: &mut Found<D>) -> Vec<f64> {
        match self {
            Self::Matrix(leaf) => {
                gradients.try_alloc_for(leaf).expect("memory");
                gradients.get(leaf).as_vec()
            }
            Self::Line(leaf) => {
                gradients.try_alloc_for(leaf).expect("memory");
                gradients.get(leaf).as_vec()
            }
        }
    }
}

/// A loss of arguments, and its gradients.
pub type Loss<D> = Box<dyn Fn(&[Array<D>]) -> Result<(f64, Found<D>)>>;

/// A loss of matrices of some shapes.
pub struct Case<D: Backend<f64>> {
    pub device: D,
    pub name: String,
    pub shapes: Vec<(usize, usize)>,
    /// The entry of argument `index` that a normal number stands for.
    pub number: Box<dyn Fn(usize, f64) -> f64>,
    pub loss: Loss<D>,
}

impl<D: Backend<f64>> Case<D> {
    /// Of normal numbers.
    pub fn new(
        device: &D,
        name: impl Into<String>,
        shapes: &[(usize, usize)],
        loss: impl Fn(&[Array<D>]) -> Result<(f64, Found<D>)> + 'static,
    ) -> Self {
        Self {
            device: device.clone(),
            name: name.into(),
            shapes: shapes.to_vec(),
            number: Box::new(|_, normal| normal),
            loss: Box::new(loss),
        }
    }

    /// The same at other numbers.
    pub fn at(self, number: impl Fn(usize, f64) -> f64 + 'static) -> Self {
        let number = Box::new(number);
        Self { number, ..self }
    }

    /// Number of the argument whose tensor each is: of a repeated one, the first.
    pub fn owners(&self, view: View) -> Vec<usize> {
        let owner = |index: usize| match view {
            View::Repeated => {
                let mut shapes = self.shapes.iter();
                shapes.position(|shape| *shape == self.shapes[index])
            }
            _ => Some(index),
        };
        (0..self.shapes.len()).filter_map(owner).collect()
    }

    /// What lies in memory for each argument.
    pub fn memories(&self, view: View) -> Vec<Vec<f64>> {
        let memory = |(index, shape): (usize, &(usize, usize))| {
            let normal = random_values(view.size(*shape), 50 + index as u64);
            let numbers = normal.into_iter().map(|value| (self.number)(index, value));
            numbers.collect()
        };
        self.shapes.iter().enumerate().map(memory).collect()
    }

    /// The loss, and its gradient by the memory of each argument; none for those that are others again.
    pub fn differentiate(
        &self,
        view: View,
        memories: &[Vec<f64>],
    ) -> Result<(f64, Vec<Option<Vec<f64>>>)> {
        let owners = self.owners(view);
        let made = self.shapes.iter().zip(memories);
        let made = made.map(|(shape, memory)| view.of(&self.device, *shape, memory.clone()));
        let made = made.collect::<Result<Vec<_>>>()?;
        let arguments: Vec<_> = owners.iter().map(|&o| made[o].0.clone()).collect();
        let (loss, mut gradients) = (self.loss)(&arguments)?;
        let all = made.iter().enumerate().map(|(index, (_, leaf))| {
            let own = owners[index] == index;
            own.then(|| leaf.gradient(&mut gradients))
        });
        Ok((loss, all.collect()))
    }
}

pub fn unsolved(error: &Error) -> bool {
    match error {
        Error::Equilibrium { source, .. } => unsolved(source),
        error => matches!(error, Error::Unconverged { .. }),
    }
}

/// The loss Σ c ⊙ y of what an operation on a tape gives, and Σ x² / 2 of every argument: what other uses of an argument have
/// left of its gradient must stay.
pub fn on_tape<D: Backend<f64>>(
    operation: impl Fn(&[Array<D>], Tape<D>) -> Result<(Array<D>, Tape<D>)>,
) -> impl Fn(&[Array<D>]) -> Result<(f64, Found<D>)> {
    move |arguments| {
        let (square, tape) = squares(arguments, Tape::default());
        let (y, tape) = operation(arguments, tape)?;
        let weights = weights(&y)?;
        let loss = (y.put_tape(tape) * weights).sum::<Rank0, _>() + square;
        let value = loss.as_vec()[0];
        Ok((value, loss.backward()))
    }
}

/// Σ x² / 2 of every argument.
fn squares<D: Backend<f64>>(
    arguments: &[Array<D>],
    mut tape: Tape<D>,
) -> (Tensor<Rank0, f64, D>, Tape<D>) {
    let mut sum: Tensor<Rank0, f64, D> = arguments[0].device().zeros();
    for x in arguments {
        let square = x.clone().put_tape(tape).square().sum::<Rank0, _>() * 0.5;
        (sum, tape) = (square + sum).split_tape();
    }
    (sum, tape)
}

/// c, of the shape of y.
pub fn weights<D: Backend<f64>>(y: &Array<D>) -> Result<Array<D>> {
    let shape = *y.shape();
    from_host(y.device(), random_values(shape.0 * shape.1, 90), shape)
}
