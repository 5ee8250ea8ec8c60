//! Any dfdx code.

use std::sync::Arc;

use dfdx::prelude::*;

use crate::backend::from_host;
use crate::operation::{At, Gradients, Reads, RowOperation, Scratch};
use crate::simd::add_scaled;
use crate::{separate, AnyTape, Backend, Error, Matrix, Operation, Result, Scalar};

/// dfdx code that makes a value of values, where the vocabulary lacks a word.
///
/// On the CPU it runs in blocks of rows on all threads, as all operations do. It has no exact tangents: solvers that want `J v` and
/// penalties on the Jacobian take differences. dfdx may sum in another order where a block has fewer rows, so that a row gives what it
/// gives in any other batch up to rounding.
pub trait TensorCode: Clone + Send + Sync + 'static {
    /// The result, with as many rows as the arguments; each row must depend on the same row of the arguments alone. Parameters are
    /// those of [`Tensors::new`], in its order; they take part as `parameter.retaped::<T>()`.
    ///
    /// # Errors
    /// Those of the code. They must depend on shapes alone, not on numbers.
    fn run<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Vec<Matrix<E, D, T>>,
        parameters: &[Matrix<E, D>],
    ) -> Result<Matrix<E, D, T>>;

    /// Width of the result. Default: that of the first argument.
    fn width(&self, widths: &[usize]) -> usize {
        widths.first().copied().unwrap_or(0)
    }
}

/// The operation that runs some [`TensorCode`].
#[derive(Debug, Clone)]
pub struct Tensors<E: Scalar, D: Backend<E>, C> {
    code: C,
    parameters: Vec<Matrix<E, D>>,
}

impl<E: Scalar, D: Backend<E>, C: TensorCode> Tensors<E, D, C> {
    /// The code with the parameters that take part.
    pub fn new(code: C, parameters: &[&Matrix<E, D>]) -> Self {
        Self {
            code,
            parameters: parameters.iter().map(|&each| each.clone()).collect(),
        }
    }
}

impl<E: Scalar, D: Backend<E>, C: TensorCode> Operation<E, D> for Tensors<E, D, C> {
    const NAME: &'static str = "an operation in dfdx code";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        Ok(self.code.width(widths))
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        run(&self.code, x, &self.parameters)
    }

    fn on_rows(&self, widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        D::rows_of_code(&self.code, &self.parameters, widths)
    }

    fn parameters(&self) -> Vec<Matrix<E, D>> {
        self.parameters.clone()
    }
}

/// Runs the code and looks at the shape of its result.
fn run<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    code: &impl TensorCode,
    x: Vec<Matrix<E, D, T>>,
    parameters: &[Matrix<E, D>],
) -> Result<Matrix<E, D, T>> {
    let widths: Vec<usize> = x.iter().map(|x| x.shape().1).collect();
    let batch = x.first().map_or(0, |x| x.shape().0);
    let y = code.run(x, parameters)?;
    let expected = (batch, code.width(&widths));
    if *y.shape() != expected {
        return Err(Error::Shape {
            what: "the result of an operation in dfdx code".to_owned(),
            expected: format!("{expected:?}"),
            got: format!("{:?}", y.shape()),
        });
    }
    // The code may return one of its arguments as it is.
    Ok(separate(y))
}

/// The code on slices, which it is given as tensors.
pub(crate) struct RowsOfCode<E: Scalar, C>
where
    Cpu: Backend<E>,
{
    code: C,
    parameters: Vec<Matrix<E, Cpu>>,
    /// Of the arguments.
    widths: Vec<usize>,
    device: Cpu,
}

impl<E: Scalar, C: TensorCode> RowsOfCode<E, C>
where
    Cpu: Backend<E>,
{
    pub fn new(code: &C, parameters: &[Matrix<E, Cpu>], widths: &[usize]) -> Self {
        // A view is copied, so that it has a gradient of its own.
        let parameters = parameters.iter().map(|each| each.clone().contiguous());
        Self {
            code: code.clone(),
            parameters: parameters.collect(),
            widths: widths.to_vec(),
            device: Cpu::default(),
        }
    }

    fn tensor(&self, values: &[E], width: usize) -> Result<Matrix<E, Cpu>> {
        let rows = values.len() / width.max(1);
        from_host(&self.device, values.to_vec(), (rows, width))
    }

    fn tensors(&self, x: &[&[E]]) -> Result<Vec<Matrix<E, Cpu>>> {
        let each = x.iter().zip(&self.widths);
        each.map(|(x, &width)| self.tensor(x, width)).collect()
    }

    fn value(&self, x: &[&[E]], y: &mut [E]) -> Result<()> {
        let result = run(&self.code, self.tensors(x)?, &self.parameters)?;
        result.contiguous().copy_into(y);
        Ok(())
    }

    /// The cotangents of arguments, and where they are wanted those of parameters, which are added.
    fn cotangents(
        &self,
        x: &[&[E]],
        y_bar: &[E],
        x_bar: &mut [Option<&mut [E]>],
        gradients: Option<&mut Gradients<'_, E>>,
    ) -> Result<()> {
        let x = self.tensors(x)?;
        let on_tape = |x: &Matrix<E, Cpu>| x.clone().put_tape(OwnedTape::default());
        let y = run(
            &self.code,
            x.iter().map(on_tape).collect(),
            &self.parameters,
        )?;
        let y_bar = self.tensor(y_bar, y.shape().1)?;
        let mut found = (y * y_bar).sum::<Rank0, _>().backward();
        for (x, x_bar) in x.iter().zip(x_bar) {
            if let Some(x_bar) = x_bar {
                Cpu::with_gradient(&mut found, x, |values| x_bar.copy_from_slice(values))?;
            }
        }
        let Some(gradients) = gradients else {
            return Ok(());
        };
        for (index, parameter) in self.parameters.iter().enumerate() {
            if let Some(gradient) = gradients.of(index) {
                // A parameter that is listed twice has one gradient, which must not be added twice: taking it leaves 0 for the second time.
                let part = Cpu::take_gradient(&mut found, parameter)?;
                add_scaled(&mut gradient.sum()[..part.len()], E::one(), &part);
            }
        }
        Ok(())
    }
}

/// Where a device is out of memory, which nothing else can be by [`RowOperation::check`], numbers are NaN.
impl<E: Scalar, C: TensorCode> RowOperation<E> for RowsOfCode<E, C>
where
    Cpu: Backend<E>,
{
    fn check(&self) -> Result<()> {
        let zeros: Vec<Vec<E>> = (self.widths.iter())
            .map(|&width| vec![E::zero(); width])
            .collect();
        let x: Vec<&[E]> = zeros.iter().map(Vec::as_slice).collect();
        run(&self.code, self.tensors(&x)?, &self.parameters).map(|_| ())
    }

    fn reads(&self) -> Reads {
        Reads {
            arguments: true,
            result: false,
        }
    }

    /// Not for the parameters: a call takes some time, however few its rows are.
    fn shares_parameter(&self) -> bool {
        true
    }

    fn has_tangents(&self) -> bool {
        false
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        if self.value(x, y).is_err() {
            y.fill(E::nan());
        }
    }

    fn jvp(&self, _: &At<'_, E>, _: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        y_dot.fill(E::nan());
    }

    fn vjp(&self, at: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        if self.cotangents(at.x, y_bar, x_bar, None).is_err() {
            fill_nan(x_bar);
        }
    }

    fn back(
        &self,
        at: &At<'_, E>,
        y_bar: &[E],
        x_bar: &mut [Option<&mut [E]>],
        gradients: &mut Gradients<'_, E>,
        _: &mut Scratch<E>,
    ) {
        if self
            .cotangents(at.x, y_bar, x_bar, Some(gradients))
            .is_err()
        {
            fill_nan(x_bar);
        }
    }
}

fn fill_nan<E: Scalar>(x_bar: &mut [Option<&mut [E]>]) {
    let wanted = x_bar.iter_mut().flatten();
    wanted.for_each(|x_bar| x_bar.fill(E::nan()));
}
