//! What is done between two epochs.

use std::path::PathBuf;
use std::time::Instant;

use equilibria_core::{Backend, Scalar};
use equilibria_fusion::progress::Progress;
use equilibria_fusion::ranks::Ranks;
use equilibria_fusion::Model;

use super::history::message;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::run_folder::{RunFolder, CHECKPOINT};
use crate::saved_run::RunMetadata;
use crate::terminal::Epochs;

/// The time spent on a run that may have been left before.
pub struct Clock {
    /// Seconds spent before.
    pub earlier: f64,
    /// When the run began, or went on.
    pub started: Instant,
}

impl Clock {
    /// Seconds spent until now.
    pub fn seconds(&self) -> f64 {
        self.earlier + self.started.elapsed().as_secs_f64()
    }
}

/// Shows epochs, writes checkpoints, and ends a run that is interrupted.
pub struct Watch<'a> {
    /// Where epochs are shown.
    pub shown: Epochs,
    /// Those that train together: one that is interrupted interrupts all.
    pub ranks: &'a dyn Ranks,
    /// Where checkpoints are written, on the first of them.
    pub folder: Option<&'a mut RunFolder>,
    /// What is written beside the parameters.
    pub metadata: &'a RunMetadata<'a>,
    /// The time spent.
    pub clock: &'a Clock,
}

impl Watch<'_> {
    /// Sees model and progress after an epoch.
    ///
    /// # Errors
    /// [`Error::Interrupted`], and those of writing.
    pub fn see<E: Scalar, D: Backend<E>>(
        &mut self,
        model: &Model<E, D>,
        progress: &mut Progress<E>,
    ) -> Result<()> {
        progress.seconds = self.clock.seconds();
        let Some(last) = progress.history.last() else {
            return Ok(());
        };
        let (epoch, training) = (last.epoch, &self.metadata.experiment.training);
        let text = message(&*model.head, last, self.shown.is_detailed());
        self.shown.show(epoch, text);
        let due = training.checkpoint > 0 && epoch.is_multiple_of(training.checkpoint);
        let stop = self.ranks.any(interrupt::asked())?;
        if !(due || stop) || epoch >= training.epochs {
            return Ok(());
        }
        let mut path = PathBuf::new();
        if let Some(folder) = self.folder.as_mut() {
            let snapshot = progress.snapshot(model, self.metadata.with(&*model.head));
            folder.write_behind(CHECKPOINT, || Ok(snapshot.into_bytes()?))?;
            folder.keep();
            if stop {
                folder.wait()?;
            }
            path = folder.target().to_owned();
        }
        match stop {
            true => Err(Error::Interrupted { epoch, path }),
            false => Ok(()),
        }
    }
}
