//! The rows of a training run.

use equilibria_core::Scalar;
use equilibria_fusion::data::{stratified_holdout, DataSet, MinMax, Split, SplitName};
use equilibria_fusion::Experiment;

use crate::error::{Error, Result};

/// Rows, scaled, and how they were scaled.
pub struct ScaledRows {
    /// Those the parameters are fitted to.
    pub fitted: Split,
    /// Those held out, if some are.
    pub validation: Option<Split>,
    /// The scale of all.
    pub scaling: MinMax,
}

impl ScaledRows {
    /// Holds out rows for validation, and scales them, the others and the test rows.
    ///
    /// # Errors
    /// [`Error::NoValidation`] where there are too few rows to hold some out, and those of numbers too large for `E`.
    pub fn new<E: Scalar>(experiment: &Experiment, data: &mut DataSet) -> Result<Self> {
        let (mut fitted, mut validation) = hold_out(experiment, data)?;
        // Scaled by the rows the parameters are fitted to, and no others.
        let scaling = match experiment.data.scaled() {
            true => MinMax::fit(&fitted),
            false => MinMax::identity(&fitted),
        };
        for name in SplitName::BOTH {
            let Split {
                modalities,
                targets,
            } = data.split(name);
            experiment.check_range::<E>(&scaling, name, modalities, Some(targets))?;
        }
        for split in [&mut fitted, &mut data.test]
            .into_iter()
            .chain(&mut validation)
        {
            scaling.apply(split)?;
        }
        Ok(Self {
            fitted,
            validation,
            scaling,
        })
    }

    /// Number of features of each modality.
    pub fn columns(&self) -> Vec<usize> {
        let tables = self.fitted.modalities.iter();
        tables.map(|table| table.columns).collect()
    }
}

/// The training rows to fit parameters to, and those for validation.
fn hold_out(experiment: &Experiment, data: &DataSet) -> Result<(Split, Option<Split>)> {
    let share = experiment.training.validation;
    if let Some(set_aside) = experiment.data.validation().filter(|_| share > 0.0) {
        let (held_out, kept) =
            (0..data.train.len()).partition::<Vec<_>, _>(|row| set_aside.contains(row));
        return Ok((data.train.select(&kept), Some(data.train.select(&held_out))));
    }
    let strata = data.train.targets.strata();
    let (kept, held_out) = stratified_holdout(&strata, share, experiment.seed);
    if share > 0.0 && held_out.is_empty() {
        let rows = kept.len();
        return Err(Error::NoValidation { share, rows });
    }
    let validation = (!held_out.is_empty()).then(|| data.train.select(&held_out));
    Ok((data.train.select(&kept), validation))
}
