//! The rows of a training run.

use equilibria_core::Scalar;
use equilibria_fusion::data::{held_out, MinMax, Rows, Samples, SplitName};
use equilibria_fusion::Experiment;

use crate::error::{Error, Result};

/// Rows, scaled, and how they were scaled.
pub struct ScaledRows {
    /// Those the parameters are fitted to.
    pub fitted: Box<dyn Rows>,
    /// Those held out, if some are.
    pub validation: Option<Box<dyn Rows>>,
    /// The scale of all.
    pub scaling: MinMax,
}

impl ScaledRows {
    /// Holds out rows for validation, and scales them, the others and the test rows.
    ///
    /// # Errors
    /// [`Error::NoValidation`] where there are too few rows to hold some out, and those of numbers too large for `E`.
    pub fn new<E: Scalar>(experiment: &Experiment, data: &mut Samples) -> Result<Self> {
        let (mut fitted, mut validation) = hold_out(experiment, data)?;
        // Scaled by the rows the parameters are fitted to, and no others.
        let scaling = match experiment.data.scaled() {
            true => MinMax::fit_rows(fitted.features())?,
            false => MinMax::identity_of(&fitted.features().columns()),
        };
        for name in SplitName::BOTH {
            let rows = data.split(name);
            experiment.check_range::<E>(&scaling, name, rows.features(), Some(rows))?;
        }
        for rows in [&mut fitted, &mut data.test]
            .into_iter()
            .chain(&mut validation)
        {
            rows.scale(&scaling)?;
        }
        Ok(Self {
            fitted,
            validation,
            scaling,
        })
    }

    /// Number of features of each modality.
    pub fn columns(&self) -> Vec<usize> {
        self.fitted.features().columns()
    }
}

/// The training rows to fit parameters to, and those for validation.
type Divided = (Box<dyn Rows>, Option<Box<dyn Rows>>);

/// Divides the training rows.
fn hold_out(experiment: &Experiment, data: &Samples) -> Result<Divided> {
    let (train, share) = (&data.train, experiment.training.validation);
    if let Some(set_aside) = experiment.data.validation().filter(|_| share > 0.0) {
        let rows: Vec<usize> = set_aside.filter(|&row| row < train.len()).collect();
        return Ok((train.without(&rows), Some(train.select(&rows))));
    }
    if share <= 0.0 {
        return Ok((train.without(&[]), None));
    }
    let mut read = Ok(());
    let rows = held_out(train.strata(&mut read), share, experiment.seed);
    read?;
    if rows.is_empty() {
        let rows = train.len();
        return Err(Error::NoValidation { share, rows });
    }
    Ok((train.without(&rows), Some(train.select(&rows))))
}
