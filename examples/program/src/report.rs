//! Pages that tell how a run, or a study of many, went: one HTML file each, without scripts and without anything to load.
//!
//! One file per part. Text from data and configurations is escaped where it enters a page; charts are drawn by
//! `plot`.

mod answers;
mod boxes;
mod confusion;
mod convergence;
mod figure;
mod gates;
mod header;
mod headline;
mod labels;
mod page;
mod rooms;
mod scatter;
mod setup;
mod study;
mod training;

use std::path::Path;

use equilibria_core::Report;
use equilibria_fusion::data::{Samples, Targets};
use equilibria_fusion::head::Comparison;
use equilibria_fusion::train::{Epoch, Evaluation};
use equilibria_fusion::Experiment;

pub(crate) use page::escape;
pub use study::{study_page, Settling, StudyRow};

use page::Page;

/// What the report of a training run tells of.
pub(crate) struct RunReport<'a> {
    /// The run folder; its name is that of the run.
    pub folder: &'a Path,
    /// What it depends on.
    pub experiment: &'a Experiment,
    /// The same as TOML, with all defaults.
    pub config: &'a str,
    /// The data; the test rows are those of [`test`](Self::test).
    pub data: &'a Samples,
    /// The targets of the test rows.
    pub targets: &'a Targets,
    /// The type of the device.
    pub device: &'static str,
    /// Every epoch.
    pub history: &'a [Epoch],
    /// The epoch whose parameters were kept.
    pub best_epoch: usize,
    /// Wall time of training and evaluation.
    pub seconds: f64,
    /// The kept parameters on the test rows, [inspected](equilibria_fusion::train::inspect).
    pub test: &'a Evaluation,
}

impl RunReport<'_> {
    /// The whole page.
    pub fn page(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        let mut page = Page::new(&name);
        headline::write(self, &mut page);
        header::write(self, &mut page);
        training::write(&*self.experiment.head, self.history, &mut page);
        let classes = &self.data.classes;
        match &self.test.comparison {
            Comparison::Classes(confusion) => confusion::write(confusion, classes, &mut page),
            Comparison::LabelSets(counts) => labels::write(counts, classes, &mut page),
            Comparison::Numbers(pairs) => scatter::write(pairs, &mut page),
            Comparison::Answers(accuracy) => answers::write(accuracy, &mut page),
            Comparison::Boxes(judged) => rooms::write(judged, self.data, &mut page),
        }
        gates::write(self, &mut page);
        convergence::write(&self.solves(), &mut page);
        setup::write(self, &mut page);
        page.finish()
    }

    /// The solves of the test rows; an equilibrium that belongs to a modality bears its name: `theta.1 (pixels)`.
    fn solves(&self) -> Vec<(String, &Report)> {
        let name = |name: &str| {
            let number = name.strip_prefix("theta.")?.parse::<usize>().ok()?;
            let modalities = self.data.test.modalities();
            let (modality, _) = modalities.get(number.checked_sub(1)?)?;
            Some(format!("{name} ({modality})"))
        };
        let named = self.test.solves.iter();
        named
            .map(|(plain, report)| (name(plain).unwrap_or_else(|| plain.clone()), report))
            .collect()
    }
}
