//! Training on a GPU: gradients, updates, masks and rows, in place.

use dfdx::prelude::{Cuda, Gradients, HasShape, ReshapeTo, ZerosTensor};

use super::kernels::{
    Leading, Linear, Mask, MoveRows, Normal, Pointwise, PointwiseArgument, PointwiseBack,
    PointwiseBackArgument, Project, Squares, Update, UpdateArgument,
};
use super::store::Rows;
use super::{address, is_row_major, Engine, Real};
use crate::device_code::Formulas;
use crate::on_device::{ConvexSet, OnDevice, UpdateRule};
use crate::{Backend, Error, Matrix, Result};

/// See [`OnDevice`].
pub(crate) struct CudaTraining;

/// Blocks that sum squares of one tensor, at most: so many numbers go to the host.
const PARTS: usize = 32;

fn count<E: Real>(tensor: &Matrix<E, Cuda>) -> usize
where
    Cuda: Backend<E>,
{
    let (rows, columns) = *tensor.shape();
    rows * columns
}

fn contiguous<E: Real>(tensor: &Matrix<E, Cuda>) -> Result<Matrix<E, Cuda>>
where
    Cuda: Backend<E>,
{
    tensor.clone().try_contiguous().map_err(Error::device)
}

/// Adds `delta` to the gradient of a tensor that is no view.
pub(crate) fn accumulate<E: Real>(
    gradients: &mut Gradients<E, Cuda>,
    tensor: &Matrix<E, Cuda>,
    delta: &Matrix<E, Cuda>,
) -> Result<()>
where
    Cuda: Backend<E>,
{
    let delta = contiguous(delta)?;
    let (rows, width) = *delta.shape();
    Engine::of(delta.device())?.launch::<E, _>(Linear {
        a: address(&delta)?,
        b: 0,
        out: E::gradient(gradients, tensor)?,
        c: 1.0,
        d: 0.0,
        e: 0.0,
        rows: rows as u32,
        width: width as u32,
        row: 0,
        add: 1,
    })
}

impl<E: Real> OnDevice<E, Cuda> for CudaTraining
where
    Cuda: Backend<E>,
{
    fn is_finite(&self, x: &Matrix<E, Cuda>) -> Result<bool> {
        let x = contiguous(x)?;
        let (engine, parts) = (Engine::of(x.device())?, PARTS);
        let sums = Rows::<f64>::zeros(x.device(), (1, parts))?;
        engine.launch::<E, _>(Squares {
            x: address(&x)?,
            parts: sums.address,
            count: count(&x) as u32,
            blocks: parts as u32,
        })?;
        let mut squares = vec![0.0_f64; parts];
        engine.receive(sums.address, &mut squares)?;
        Ok(squares.into_iter().all(f64::is_finite))
    }

    fn gradient_squares(
        &self,
        gradients: &mut Gradients<E, Cuda>,
        tensors: &[Matrix<E, Cuda>],
    ) -> Result<Vec<f64>> {
        let Some(first) = tensors.first() else {
            return Ok(Vec::new());
        };
        let engine = Engine::of(first.device())?;
        let sums = Rows::<f64>::zeros(first.device(), (tensors.len(), PARTS))?;
        for (index, tensor) in tensors.iter().enumerate() {
            let bytes = (index * PARTS * size_of::<f64>()) as u64;
            let view = gradient_of_view(gradients, tensor)?;
            let x = match &view {
                Some(gradient) => address(gradient)?,
                None => E::gradient(gradients, tensor)?,
            };
            engine.launch::<E, _>(Squares {
                x,
                parts: sums.address + bytes,
                count: count(tensor) as u32,
                blocks: PARTS as u32,
            })?;
        }
        let mut squares = vec![0.0; tensors.len() * PARTS];
        engine.receive(sums.address, &mut squares)?;
        Ok(squares
            .chunks(PARTS)
            .map(|parts| parts.iter().sum())
            .collect())
    }

    fn update(
        &self,
        rule: &UpdateRule,
        tensor: &mut Matrix<E, Cuda>,
        gradients: &mut Gradients<E, Cuda>,
        kept: [Option<&mut Matrix<E, Cuda>>; 3],
    ) -> Result<()> {
        let engine = Engine::of(tensor.device())?;
        let view = gradient_of_view(gradients, tensor)?;
        let gradient = match &view {
            Some(gradient) => address(gradient)?,
            None => E::gradient(gradients, tensor)?,
        };
        let mut places = [0; 3];
        for (place, kept) in places.iter_mut().zip(kept) {
            if let Some(kept) = kept {
                *place = address(kept)?;
            }
        }
        let [first, second, average] = places;
        written(tensor, |old, values| {
            let argument = UpdateArgument {
                old,
                gradient,
                values,
                first,
                second,
                average,
                numbers: rule.numbers,
                decay: rule.decay,
                count: 0,
            };
            Ok(argument)
        })
        .and_then(|(argument, count, _old)| {
            let argument = UpdateArgument { count, ..argument };
            engine.launch::<E, _>(Update(rule.code, argument))
        })
    }

    fn copy(&self, x: &Matrix<E, Cuda>) -> Result<Matrix<E, Cuda>> {
        let x = contiguous(x)?;
        let copy = Rows::<E>::zeros(x.device(), *x.shape())?;
        Engine::of(x.device())?.copy::<E>(address(&x)?, copy.address, count(&x))?;
        Ok(copy.into_tensor())
    }

    fn assign(&self, tensor: &mut Matrix<E, Cuda>, values: &Matrix<E, Cuda>) -> Result<()> {
        let (engine, values) = (Engine::of(tensor.device())?, contiguous(values)?);
        let from = address(&values)?;
        let (to, count, _old) = written(tensor, |_, to| Ok(to))?;
        engine.copy::<E>(from, to, count as usize)
    }

    fn pointwise(&self, function: &Formulas, x: &Matrix<E, Cuda>) -> Result<Matrix<E, Cuda>> {
        let (x, (rows, width)) = (contiguous(x)?, *x.shape());
        let y = Rows::<E>::zeros(x.device(), (rows, width))?;
        let argument = PointwiseArgument {
            x: address(&x)?,
            shift: 0,
            added: 0,
            argument: 0,
            y: y.address,
            rows: rows as u32,
            width: width as u32,
        };
        Engine::of(x.device())?.launch::<E, _>(Pointwise(function, argument))?;
        Ok(y.into_tensor())
    }

    fn pointwise_back(
        &self,
        function: &Formulas,
        gradients: &mut Gradients<E, Cuda>,
        x: &Matrix<E, Cuda>,
        y: &Matrix<E, Cuda>,
    ) -> Result<()> {
        let argument = PointwiseBackArgument {
            argument: address(x)?,
            result: address(y)?,
            input: E::gradient(gradients, y)?,
            factor: 0,
            out: E::gradient(gradients, x)?,
            count: count(x) as u32,
            add: 1,
        };
        Engine::of(x.device())?.launch::<E, _>(PointwiseBack(function, argument))
    }

    fn project(&self, tensor: &mut Matrix<E, Cuda>, set: ConvexSet) -> Result<()> {
        let (engine, (rows, columns)) = (Engine::of(tensor.device())?, *tensor.shape());
        let (set, bound) = match set {
            ConvexSet::AtLeast(smallest) => (0, smallest),
            ConvexSet::RowsInL1Ball(radius) => (1, radius),
            ConvexSet::ColumnsInL2Ball(radius) => (2, radius),
        };
        let ((from, to), _, _old) = written(tensor, |from, to| Ok((from, to)))?;
        engine.launch::<E, _>(Project {
            from,
            to,
            bound,
            slack: ConvexSet::SLACK,
            rows: rows as u32,
            columns: columns as u32,
            set,
        })
    }

    fn mask(
        &self,
        device: &Cuda,
        shape: (usize, usize),
        stream: u64,
        (dropped, kept): (u64, E),
    ) -> Result<Matrix<E, Cuda>> {
        let mask = Rows::<E>::zeros(device, shape)?;
        Engine::of(device)?.launch::<E, _>(Mask {
            out: mask.address,
            stream,
            dropped,
            kept: kept.wide(),
            count: (shape.0 * shape.1) as u32,
        })?;
        Ok(mask.into_tensor())
    }

    fn leading(
        &self,
        x: &Matrix<E, Cuda>,
        stream: u64,
        steps: usize,
    ) -> Result<(f64, Matrix<E, Cuda>)> {
        let (x, device) = (contiguous(x)?, x.device());
        let (rows, columns) = *x.shape();
        let engine = Engine::of(device)?;
        // u, v, σ and the stream, one after the other.
        let numbers = Rows::<f64>::zeros(device, (1, rows + columns + 2))?;
        let at = |index: usize| numbers.address + (index * size_of::<f64>()) as u64;
        let (u, start, sigma) = (at(0), at(rows), at(rows + columns));
        let streams = at(rows + columns + 1);
        engine.send(&[stream], streams)?;
        engine.launch::<f64, _>(Normal {
            out: start,
            streams,
            rows: 1,
            dim: columns as u32,
        })?;
        let outer = Rows::<E>::zeros(device, (rows, columns))?;
        engine.launch::<E, _>(Leading {
            x: address(&x)?,
            u,
            v: start,
            sigma,
            outer: outer.address,
            rows: rows as u32,
            columns: columns as u32,
            iterations: steps as u32,
        })?;
        let mut found = [0.0];
        engine.receive(sigma, &mut found)?;
        Ok((found[0], outer.into_tensor()))
    }

    fn scatter_rows(
        &self,
        from: &Matrix<E, Cuda>,
        places: &[usize],
        to: &mut Matrix<E, Cuda>,
    ) -> Result<()> {
        let (from, (limit, _)) = (contiguous(from)?, *to.shape());
        let target = address(to)?;
        move_rows(&from, places, (target, limit), true)
    }

    fn gather_rows(&self, from: &Matrix<E, Cuda>, places: &[usize]) -> Result<Matrix<E, Cuda>> {
        let (from, (limit, width)) = (contiguous(from)?, *from.shape());
        let gathered = Rows::<E>::zeros(from.device(), (places.len(), width))?;
        move_rows(&from, places, (gathered.address, limit), false)?;
        Ok(gathered.into_tensor())
    }
}

fn move_rows<E: Real>(
    from: &Matrix<E, Cuda>,
    places: &[usize],
    (to, limit): (u64, usize),
    scatter: bool,
) -> Result<()>
where
    Cuda: Backend<E>,
{
    let (engine, device) = (Engine::of(from.device())?, from.device());
    let numbers = Rows::<f64>::zeros(device, (1, places.len().div_ceil(2).max(1)))?;
    let places: Vec<u32> = places
        .iter()
        .map(|&place| u32::try_from(place).unwrap_or(u32::MAX))
        .collect();
    engine.send(&places, numbers.address)?;
    engine.launch::<E, _>(MoveRows {
        from: address(from)?,
        to,
        places: numbers.address,
        rows: places.len() as u32,
        width: from.shape().1 as u32,
        limit: limit as u32,
        scatter: u32::from(scatter),
    })
}

/// The gradient of a view, row by row; `None` for what is no view.
fn gradient_of_view<E: Real>(
    gradients: &mut Gradients<E, Cuda>,
    tensor: &Matrix<E, Cuda>,
) -> Result<Option<Matrix<E, Cuda>>>
where
    Cuda: Backend<E>,
{
    if is_row_major(tensor)? {
        return Ok(None);
    }
    gradients.try_alloc_for(tensor).map_err(Error::device)?;
    contiguous(&gradients.get(tensor)).map(Some)
}

/// Makes sure that nobody else has the storage of a tensor, and shows `look` where its values are and where new ones go. Returns what
/// that says, the number of values, and what keeps the old ones.
fn written<E: Real, R>(
    tensor: &mut Matrix<E, Cuda>,
    look: impl FnOnce(u64, u64) -> Result<R>,
) -> Result<(R, u32, Matrix<E, Cuda>)>
where
    Cuda: Backend<E>,
{
    let old = tensor.clone();
    if is_row_major(tensor)? {
        // What is shared, if only with the copy above, is copied before it is written.
        tensor.try_fill_with_zeros().map_err(Error::device)?;
    } else {
        let zeros = tensor.device().try_zeros_like(tensor.shape());
        *tensor = zeros.map_err(Error::device)?;
    }
    let old = contiguous(&old)?;
    let result = look(address(&old)?, address(tensor)?)?;
    let count = count(tensor) as u32;
    Ok((result, count, old))
}
