//! What ranks tell each other between two epochs.

use std::cell::OnceCell;
use std::collections::HashSet;

use dfdx::prelude::HasShape;
use equilibria_core::{to_host, Backend, Error, Parameters, Result, Scalar, Tally};
use sha2::{Digest, Sha256};

use crate::data::Batches;
use crate::experiment::Training;
use crate::model::Model;
use crate::ranks::parcel::{Parcel, Unpacked};
use crate::ranks::{Division, Ranks};

/// What parameters that differ come from.
const REMEDY: &str =
    "give every rank the same configuration and data, and run the same build on processors with the same instructions";

/// Refuses a model whose rows of a batch depend on each other, where batches are divided.
///
/// # Errors
/// [`Error::Config`] of the backbone, or of `reproducible`.
pub(super) fn require_independent_rows<E: Scalar, D: Backend<E>>(
    model: &Model<E, D>,
    division: &Division<'_>,
) -> Result<()> {
    let mut first = None;
    model.visit_statistics("", &mut |name| {
        first.get_or_insert_with(|| name.to_owned());
    });
    let Some(name) = first.filter(|_| division.divides()) else {
        return Ok(());
    };
    let got = format!("one that normalizes by batches: `{name}` is what they add up to");
    let (plugin, field, expected) = match division.ranks.are_several() {
        true => (
            "backbone",
            "type",
            "one that takes each row by itself where several ranks share a batch; train this one on one rank",
        ),
        false => (
            "training",
            "reproducible",
            "false for a backbone whose rows depend on each other",
        ),
    };
    Error::require(false, plugin, field, expected, got)
}

/// Makes sure that all ranks have the same parameters.
///
/// # Errors
/// [`Error::RanksDiffer`].
pub(super) fn require_same_parameters<E: Scalar, D: Backend<E>>(
    model: &Model<E, D>,
    ranks: &dyn Ranks,
    place: &str,
) -> Result<()> {
    if !ranks.are_several() {
        return Ok(());
    }
    let mut hash = Sha256::new();
    model.visit("", &mut |name, tensor| {
        hash.update(name);
        let (rows, columns) = *tensor.shape();
        hash.update((rows as u64).to_le_bytes());
        hash.update((columns as u64).to_le_bytes());
        for value in to_host(tensor) {
            hash.update(value.wide().to_le_bytes());
        }
    });
    let what = format!("the parameters {place}");
    ranks.require_same(&hash.finalize(), &what, REMEDY)
}

/// Adds up what ranks have counted.
///
/// # Errors
/// Those of [`Ranks::gather`].
pub(super) fn all_together(tallies: [&mut Tally; 2], ranks: &dyn Ranks) -> Result<()> {
    if !ranks.are_several() {
        return Ok(());
    }
    let mut parcel = Parcel::default();
    for tally in &tallies {
        parcel.count(tally.solves);
        parcel.count(tally.evaluations);
        parcel.count(tally.unconverged);
        parcel.number(tally.residual);
    }
    let all = ranks.gather(&parcel.into_bytes())?;
    let mut all: Vec<Unpacked<'_>> = all.iter().map(|bytes| Unpacked::new(bytes)).collect();
    for tally in tallies {
        *tally = Tally::default();
        for own in &mut all {
            tally.solves += own.count()?;
            tally.evaluations += own.count()?;
            tally.unconverged += own.count()?;
            let residual = own.number()?;
            // One that is no number is kept.
            if residual.is_nan() || residual > tally.residual {
                tally.residual = residual;
            }
        }
    }
    Ok(())
}

/// Gives every rank what the fusions of the others remember of the samples of an epoch with these batches.
///
/// # Errors
/// Those of [`Ranks::gather`].
pub(super) fn share_memory<E: Scalar, D: Backend<E>>(
    model: &Model<E, D>,
    division: &Division<'_>,
    training: &Training,
    batches: &Batches,
) -> Result<()> {
    if !division.ranks.are_several() {
        return Ok(());
    }
    let samples = || {
        let mut own: HashSet<usize> = HashSet::new();
        for batch in batches.iter() {
            for chunk in division.chunks(batch.len(), training.batch).0 {
                own.extend(&batch[chunk.rows]);
            }
        }
        own
    };
    // Most fusions remember nothing and never ask.
    let own = OnceCell::new();
    let is_own = |sample: usize| own.get_or_init(samples).contains(&sample);
    let memory = model.fusion.memory_of(&is_own);
    let mut parcel = Parcel::default();
    parcel.count(memory.len());
    for (name, values) in memory {
        parcel.text(&name);
        let values: Vec<f64> = values.into_iter().map(E::wide).collect();
        parcel.numbers(&values);
    }
    for bytes in division.ranks.gather(&parcel.into_bytes())? {
        let mut unpacked = Unpacked::new(&bytes);
        for _ in 0..unpacked.count()? {
            let name = unpacked.text()?;
            let values = unpacked.numbers()?.into_iter().map(E::of);
            model.fusion.remember(&name, values.collect());
        }
    }
    Ok(())
}
