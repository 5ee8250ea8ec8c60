//! The relative difference norms of trained models, averaged over test rows and over seeds.

use std::fmt::Write;
use std::path::Path;

use equilibria_core::{Backend, DeviceName, Scalar};
use equilibria_fusion::data::Samples;
use equilibria_fusion::train::tensors;
use equilibria_fusion::Pass;

use super::statistics::{half_band, mean};
use crate::device::Work;
use crate::error::Result;
use crate::report::Settling;
use crate::run_folder;
use crate::saved_run::SavedRun;

/// Steps shown in the table, as in table 9 of arXiv 2306.16645.
const SHOWN: [usize; 5] = [1, 10, 20, 40, 100];

/// The curves of all variants that iterate.
#[derive(Default)]
pub struct Convergence {
    /// Name of the variant, and one curve per seed.
    variants: Vec<(String, Vec<Vec<f64>>)>,
}

impl Convergence {
    /// Measures the model in a run folder on the test rows over `steps` steps, on some device; a fusion that does not iterate has no
    /// curve.
    pub fn measure(
        (run, device): (&Path, DeviceName),
        data: &Samples,
        steps: usize,
    ) -> Result<Option<Vec<f64>>> {
        let mut saved = SavedRun::read(&run_folder::model(run)?)?;
        saved.experiment.device = device;
        let saved = &saved;
        let settling = Settles { saved, data, steps };
        settling.run(&saved.experiment)
    }

    /// Adds the curve of a run, if it has one.
    pub fn add(&mut self, variant: &str, curve: Option<Vec<f64>>) {
        let Some(curve) = curve else { return };
        match self.variants.iter_mut().find(|(name, _)| name == variant) {
            Some((_, curves)) => curves.push(curve),
            None => self.variants.push((variant.to_owned(), vec![curve])),
        }
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.variants.is_empty()
    }

    /// The curves of each variant, summed up over seeds.
    pub fn bands(&self) -> Vec<Settling> {
        let band = |curves: &[Vec<f64>]| {
            let steps = curves.iter().map(Vec::len).min().unwrap_or(0);
            let at = |step: usize| curves.iter().map(|curve| curve[step]).collect::<Vec<_>>();
            let points = (0..steps).map(at);
            points
                .map(|values| (mean(&values), half_band(&values)))
                .collect()
        };
        (self.variants.iter())
            .map(|(name, curves)| Settling {
                name: name.clone(),
                band: band(curves),
            })
            .collect()
    }

    /// All means and bands, one line per variant and step.
    pub fn to_csv(&self) -> String {
        let mut csv = String::from("variant,step,mean,half_band\n");
        for Settling { name, band } in self.bands() {
            for (step, (mean, half)) in (1..).zip(band) {
                let _ = writeln!(csv, "{name},{step},{mean:e},{half:e}");
            }
        }
        csv
    }

    /// The steps of table 9.
    pub fn to_text(&self) -> String {
        let width = self.variants.iter().map(|(name, _)| name.chars().count());
        let width = width.max().unwrap_or(0).max(7);
        let mut text = format!("{:width$}", "variant");
        for step in SHOWN {
            let _ = write!(text, "  step {step:<5}");
        }
        for Settling { name, band } in self.bands() {
            let _ = write!(text, "\n{name:width$}");
            for step in SHOWN {
                let cell = band.get(step - 1);
                let cell = cell.map_or("-".to_owned(), |(mean, _)| format!("{mean:.2e}"));
                let _ = write!(text, "  {cell:<10}");
            }
        }
        text
    }
}

/// A saved model, of which it is to be seen how it settles.
struct Settles<'a> {
    saved: &'a SavedRun,
    data: &'a Samples,
    steps: usize,
}

impl Work for Settles<'_> {
    type Output = Option<Vec<f64>>;

    fn on<E: Scalar, D: Backend<E>>(self, device: &D) -> Result<Option<Vec<f64>>> {
        let Self { saved, data, steps } = self;
        saved.check(data)?;
        let mut test = data.test.read_all()?;
        saved.scaling.apply(&mut test)?;
        let model = saved.model::<E, D>(device)?;
        let x = tensors(device, &test)?;
        let features = model.backbone.encode(&x, None, &mut Pass::evaluation())?;
        let Some(samples) = model.fusion.differences(&features, steps)? else {
            return Ok(None);
        };
        let at = |step: usize| samples.iter().map(|s| s[step]).collect::<Vec<_>>();
        Ok(Some((0..steps).map(at).map(|all| mean(&all)).collect()))
    }
}
