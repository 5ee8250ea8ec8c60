//! What a model says of samples whose targets need not be known.

use std::ops::Range;

use equilibria_core::{from_host, parallel, Backend, Matrix, Report, Result, Scalar};

use crate::data::{Features, Table, Tables};
use crate::metrics::require_finite;
use crate::model::Model;
use crate::pass::{Gate, Pass};
use crate::ranks::parcel::{Parcel, Unpacked};
use crate::ranks::{Division, Ranks};

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
    predict_on(&Division::none(), model, device, modalities)
}

/// [`predict`] on ranks, each of which predicts its rows; all of them get the predictions of all.
///
/// # Errors
/// Those of [`predict`], and [`Error::OtherRank`](equilibria_core::Error::OtherRank).
pub fn predict_on<E: Scalar, D: Backend<E>>(
    division: &Division<'_>,
    model: &Model<E, D>,
    device: &D,
    modalities: &dyn Features,
) -> Result<Prediction> {
    let nothing = |_: Range<usize>, _: &Matrix<E, D>, _: &mut Pass<E, D>| Ok(0.0);
    let Outputs { values, solves, .. } = outputs(
        division,
        Pass::evaluation,
        model,
        device,
        modalities,
        nothing,
    )?;
    let width = model.width().max(1);
    require_finite(&values, width)?;
    Ok(Prediction {
        outputs: values.chunks(width).map(<[f64]>::to_vec).collect(),
        solves,
    })
}

/// What came of all rows, in their order.
#[derive(Default)]
pub(crate) struct Outputs {
    /// The outputs, row after row.
    pub values: Vec<f64>,
    /// The equilibria by name, and how the solve of every row went; traces, if passes have them, of the first rows only.
    pub solves: Vec<(String, Report)>,
    /// Of the rows that went through the model at a time: how many, the number that was asked for, and the gates.
    pub pieces: Vec<(usize, f64, Vec<Gate>)>,
}

/// Evaluates the outputs of all rows, those of this rank some at a time, and shows them with the pass they come from, for a number.
pub(crate) fn outputs<E: Scalar, D: Backend<E>>(
    division: &Division<'_>,
    new_pass: fn() -> Pass<E, D>,
    model: &Model<E, D>,
    device: &D,
    modalities: &dyn Features,
    mut observe: impl FnMut(Range<usize>, &Matrix<E, D>, &mut Pass<E, D>) -> Result<f64>,
) -> Result<Outputs> {
    let mut own = Outputs::default();
    let columns: usize = modalities.columns().iter().sum();
    let at_once = (NUMBERS / columns.max(1)).clamp(1, ROWS);
    let mut pieces = division
        .pieces(modalities.len(), at_once)
        .into_iter()
        .peekable();
    while let Some(range) = pieces.next() {
        let mut pass = new_pass();
        pass.first = range.start;
        let x = batch(device, modalities, &range.clone().collect::<Vec<_>>())?;
        if let Some(next) = pieces.peek() {
            modalities.announce(&next.clone().collect::<Vec<_>>());
        }
        let outputs = model.outputs(&x, None, &mut pass)?;
        for (index, solve) in std::mem::take(&mut pass.solves).into_iter().enumerate() {
            let mut report = solve.report;
            // The rows that are traced do not depend on how they are divided.
            let traced = at_once.saturating_sub(range.start).min(range.len());
            for sample in report.samples.iter_mut().skip(traced) {
                sample.trace.clear();
            }
            add(&mut own.solves, index, solve.name, report);
        }
        own.values.extend(outputs.as_vec().into_iter().map(E::wide));
        let number = observe(range.clone(), &outputs, &mut pass)?;
        own.pieces
            .push((range.len(), number, std::mem::take(&mut pass.gates)));
    }
    match division.ranks.are_several() {
        true => own.of_all(division.ranks),
        false => Ok(own),
    }
}

/// Adds rows to the reports of the equilibrium of this number.
fn add(solves: &mut Vec<(String, Report)>, index: usize, name: String, report: Report) {
    match solves.get_mut(index) {
        Some((_, all)) => all.extend(report),
        None => solves.push((name, report)),
    }
}

impl Outputs {
    /// What all ranks have, in their order.
    fn of_all(&self, ranks: &dyn Ranks) -> Result<Self> {
        let mut all = Self::default();
        for bytes in ranks.gather(&self.pack())? {
            let mut unpacked = Unpacked::new(&bytes);
            all.values.extend(unpacked.numbers()?);
            for index in 0..unpacked.count()? {
                let (name, report) = (unpacked.text()?, unpacked.report()?);
                add(&mut all.solves, index, name, report);
            }
            for _ in 0..unpacked.count()? {
                let (rows, number) = (unpacked.count()?, unpacked.number()?);
                let gates = unpacked.numbers()?;
                let gate = |pair: &[f64; 2]| Gate {
                    magnitude: pair[0],
                    weight: pair[1],
                };
                let gates = gates.as_chunks().0.iter().map(gate);
                all.pieces.push((rows, number, gates.collect()));
            }
        }
        Ok(all)
    }

    fn pack(&self) -> Vec<u8> {
        let mut parcel = Parcel::default();
        parcel.numbers(&self.values);
        parcel.count(self.solves.len());
        for (name, report) in &self.solves {
            parcel.text(name);
            parcel.report(report);
        }
        parcel.count(self.pieces.len());
        for (rows, number, gates) in &self.pieces {
            parcel.count(*rows);
            parcel.number(*number);
            let gates = gates.iter().flat_map(|gate| [gate.magnitude, gate.weight]);
            parcel.numbers(&gates.collect::<Vec<_>>());
        }
        parcel.into_bytes()
    }
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
