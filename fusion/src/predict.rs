//! What a model says of samples whose targets need not be known.

use std::ops::Range;

use equilibria_core::{from_host, parallel, Backend, Matrix, Report, Result, Scalar};

use crate::data::{Features, Table, Tables};
use crate::metrics::require_finite;
use crate::model::Model;
use crate::pass::Pass;

/// Rows that go through a model at a time, and numbers of these at most: scenes of many points leave no room for as many.
const ROWS: usize = 256;
const NUMBERS: usize = 1 << 21;

/// The outputs of some rows, and how their equilibria were found.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// What the [head](crate::Head::predict) of the model gets of every row.
    pub outputs: Vec<Vec<f64>>,
    /// The equilibria by name, and how the forward solve of every row went; empty if the model has none.
    pub solves: Vec<(String, Report)>,
}

impl Prediction {
    /// The solves of one row, one per equilibrium.
    pub fn solves_of(&self, row: usize) -> Report {
        let samples = self.solves.iter().map(|(_, report)| &report.samples[row]);
        Report {
            samples: samples.cloned().collect(),
        }
    }
}

/// Predicts all rows; modalities are scaled as in training.
///
/// # Errors
/// Those of the model, e.g. of a solve where the configuration asks for an error, and [`Error::Parse`](equilibria_core::Error::Parse)
/// for the first row whose outputs are not finite: nothing can be said of it.
pub fn predict<E: Scalar, D: Backend<E>>(
    model: &Model<E, D>,
    device: &D,
    modalities: &dyn Features,
) -> Result<Prediction> {
    let mut all = Vec::new();
    let solves = outputs(
        Pass::evaluation,
        model,
        device,
        modalities,
        |_, outputs, _| {
            all.extend(outputs.as_vec().into_iter().map(E::wide));
            Ok(())
        },
    )?;
    let width = model.width().max(1);
    require_finite(&all, width)?;
    Ok(Prediction {
        outputs: all.chunks(width).map(<[f64]>::to_vec).collect(),
        solves,
    })
}

/// Evaluates the outputs of all rows, some rows at a time, and shows them with the pass they come from. Returns the
/// equilibria by name, and how the solve of every row went; traces, if the pass has them, of the first rows only.
pub(crate) fn outputs<E: Scalar, D: Backend<E>>(
    new_pass: fn() -> Pass<E, D>,
    model: &Model<E, D>,
    device: &D,
    modalities: &dyn Features,
    mut observe: impl FnMut(Range<usize>, &Matrix<E, D>, &mut Pass<E, D>) -> Result<()>,
) -> Result<Vec<(String, Report)>> {
    let mut solves: Vec<(String, Report)> = Vec::new();
    let rows = modalities.len();
    let columns: usize = modalities.columns().iter().sum();
    let at_once = (NUMBERS / columns.max(1)).clamp(1, ROWS);
    let share = |start: usize| start..rows.min(start + at_once);
    for start in (0..rows).step_by(at_once) {
        let range = share(start);
        let mut pass = new_pass();
        pass.first = start;
        let x = batch(device, modalities, &range.clone().collect::<Vec<_>>())?;
        if range.end < rows {
            modalities.announce(&share(range.end).collect::<Vec<_>>());
        }
        let outputs = model.outputs(&x, None, &mut pass)?;
        for (index, solve) in std::mem::take(&mut pass.solves).into_iter().enumerate() {
            let (name, mut report) = (solve.name, solve.report);
            match solves.get_mut(index) {
                Some((_, all)) => {
                    report.samples.iter_mut().for_each(|s| s.trace.clear());
                    all.extend(report);
                }
                None => solves.push((name, report)),
            }
        }
        observe(range, &outputs, &mut pass)?;
    }
    Ok(solves)
}

/// Some rows as tensors, `[rows, features]` per modality.
pub(crate) fn batch<E: Scalar, D: Backend<E>>(
    device: &D,
    modalities: &dyn Features,
    rows: &[usize],
) -> Result<Vec<Matrix<E, D>>> {
    match modalities.tables(rows)? {
        Tables::Within(tables, rows) => tensors(device, tables, rows.iter().copied()),
        Tables::Alone(tables) => tensors(device, &tables, 0..rows.len()),
    }
}

/// Rows of modalities as tensors, `[rows, features]` each; all threads read them.
pub(crate) fn tensors<E: Scalar, D: Backend<E>>(
    device: &D,
    modalities: &[Table],
    rows: impl ExactSizeIterator<Item = usize> + Clone + Sync,
) -> Result<Vec<Matrix<E, D>>> {
    let values = parallel::map(modalities.iter(), |table| {
        let mut values = Vec::with_capacity(rows.len() * table.columns);
        for row in rows.clone() {
            values.extend(table.row(row).iter().map(|&value| E::of(value)));
        }
        values
    });
    let matrix =
        |(values, table): (_, &Table)| from_host(device, values, (rows.len(), table.columns));
    values.into_iter().zip(modalities).map(matrix).collect()
}
