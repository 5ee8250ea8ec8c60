//! The same numbers as arguments that lie in memory in every way dfdx has, and gradients by what lies in memory.

use dfdx::prelude::*;
use equilibria_core::{from_host, Error, Matrix, Result};
use equilibria_testing::{random_values, worse};

pub type Array = Matrix<f64, Cpu>;
pub type Tape = OwnedTape<f64, Cpu>;
pub type Traced = Matrix<f64, Cpu, Tape>;
pub type Found = Gradients<f64, Cpu>;

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
    fn of(self, shape: (usize, usize), memory: Vec<f64>) -> Result<(Array, Leaf)> {
        let device = Cpu::default();
        let line = |memory: Vec<f64>| device.tensor_from_vec(memory.clone(), (memory.len(),));
        Ok(match self {
            Self::Contiguous | Self::Repeated => {
                let leaf: Array = from_host(&device, memory, shape)?;
                (leaf.clone(), Leaf::Matrix(leaf))
            }
            Self::Permuted => {
                let leaf: Array = from_host(&device, memory, (shape.1, shape.0))?;
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
enum Leaf {
    Matrix(Array),
    Line(Tensor<(usize,), f64, Cpu>),
}

impl Leaf {
    fn gradient(&self, gradients: &mut Found) -> Vec<f64> {
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

/// Step h of the differences: of fourth order, they are off by the noise of a solve of tolerance 1e-13 over h, 5e-9, and by
/// much less than that where f is smooth. A longer step meets kinks of ReLUs.
const STEP: f64 = 2e-5;

/// Largest error of a gradient, relative to its largest entry.
const ALLOWED: f64 = 1e-7;

/// An argument whose gradient is smaller than this share of the largest is measured against that share.
const FLOOR: f64 = 1e-3;

/// Entries looked at of each argument.
const ENTRIES: usize = 4;

/// Compares the gradients of a loss with central differences, in every view of arguments of these shapes, whose entries are
/// normal numbers times `size`. Where all columns of a layer's input are the same, its equilibrium may be out of reach; then
/// the solve has to say so.
pub fn check(
    name: &str,
    size: impl Fn(usize) -> f64,
    shapes: &[(usize, usize)],
    loss: impl Fn(&[Array]) -> Result<(f64, Found)>,
) {
    check_at(name, |index, normal| normal * size(index), shapes, loss);
}

/// [`check`] at other numbers: entries of argument `index` are `number(index, normal)`.
pub fn check_at(
    name: &str,
    number: impl Fn(usize, f64) -> f64,
    shapes: &[(usize, usize)],
    loss: impl Fn(&[Array]) -> Result<(f64, Found)>,
) {
    for view in View::ALL {
        // Of a repeated argument, the first one holds the numbers.
        let owner = |index: usize| match view {
            View::Repeated => shapes.iter().position(|shape| *shape == shapes[index]),
            _ => Some(index),
        };
        let owners: Vec<usize> = (0..shapes.len()).filter_map(owner).collect();
        let memory = |index: usize| {
            let normal = random_values(view.size(shapes[index]), 50 + index as u64);
            normal
                .into_iter()
                .map(|value| number(index, value))
                .collect()
        };
        let memories: Vec<Vec<f64>> = (0..shapes.len()).map(memory).collect();
        let place = || format!("{name}, {view:?}");
        let evaluate = |memories: &[Vec<f64>]| {
            let made = shapes.iter().zip(memories);
            let made = made.map(|(shape, memory)| view.of(*shape, memory.clone()));
            let made = made.collect::<Result<Vec<_>>>().expect("memory");
            let arguments: Vec<Array> = owners.iter().map(|&o| made[o].0.clone()).collect();
            (loss(&arguments), made)
        };
        let (found, made) = evaluate(&memories);
        let (_, mut gradients) = match (found, view) {
            (Ok(found), _) => found,
            (Err(error), View::BroadcastColumn) if unsolved(&error) => continue,
            (Err(error), _) => panic!("{}: {error}", place()),
        };
        let mut errors = Vec::new();
        for (index, (_, leaf)) in made.iter().enumerate() {
            if owners[index] != index {
                continue;
            }
            let gradient = leaf.gradient(&mut gradients);
            let (mut largest, mut error) = (0.0, 0.0);
            for entry in (0..gradient.len()).step_by(gradient.len().div_ceil(ENTRIES)) {
                let at = |shift: f64| {
                    let mut shifted = memories.clone();
                    shifted[index][entry] += shift;
                    let found = evaluate(&shifted).0;
                    found
                        .unwrap_or_else(|error| panic!("{}: {error}", place()))
                        .0
                };
                let near = at(STEP) - at(-STEP);
                let far = at(2.0 * STEP) - at(-2.0 * STEP);
                let slope = (8.0 * near - far) / (12.0 * STEP);
                largest = worse(largest, slope.abs());
                error = worse(error, (gradient[entry] - slope).abs());
            }
            errors.push((index, largest, error));
        }
        let floor = FLOOR * errors.iter().fold(0.0, |most, error| worse(most, error.1));
        for (index, largest, error) in errors {
            // A fusion may have nothing to differentiate at some arguments: all its ReLUs are off.
            let relative = if error <= 0.0 {
                0.0
            } else {
                error / largest.max(floor)
            };
            assert!(
                relative <= ALLOWED,
                "{}, argument {index}: {relative:e}",
                place()
            );
        }
    }
}

fn unsolved(error: &Error) -> bool {
    match error {
        Error::Equilibrium { source, .. } => unsolved(source),
        error => matches!(error, Error::Unconverged { .. }),
    }
}

/// The loss Σ c ⊙ y of what an operation on a tape gives, and Σ x² / 2 of every argument: what other uses of an argument have
/// left of its gradient must stay.
pub fn on_tape(
    operation: impl Fn(&[Array], Tape) -> Result<(Array, Tape)>,
) -> impl Fn(&[Array]) -> Result<(f64, Found)> {
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
fn squares(arguments: &[Array], mut tape: Tape) -> (Tensor<Rank0, f64, Cpu>, Tape) {
    let mut sum: Tensor<Rank0, f64, Cpu> = Cpu::default().zeros();
    for x in arguments {
        let square = x.clone().put_tape(tape).square().sum::<Rank0, _>() * 0.5;
        (sum, tape) = (square + sum).split_tape();
    }
    (sum, tape)
}

/// c, of the shape of y.
pub fn weights(y: &Array) -> Result<Array> {
    let shape = *y.shape();
    from_host(y.device(), random_values(shape.0 * shape.1, 90), shape)
}
