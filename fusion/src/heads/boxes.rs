//! Boxes in space.

use dfdx::prelude::HasShape;
use equilibria_core::prelude::*;

use crate::data::{BoxesError, DataError, Samples, TargetKind, Targets};
use crate::detection::{BoxCoding, Judged, OrientedBox, Proposal, ProposalRows};
use crate::head::{Comparison, Head, Loss, Losses, Metric};
use crate::metrics::{require_finite, MetricsError};

plugin! {
    /// Any number of boxes in space per row, from a fixed number of proposals that the backbone makes, such as `imvotenet`.
    ///
    /// A proposal is a place, and 5 + 2 headings + 5 classes numbers: whether there is a box, where its middle is from there, a score and a
    /// residual for each class of headings, a score and three residuals for the size of each class, and a score for each class. Loss: 10 (0.5
    /// objectness + center + 0.1 heading class + heading residual + 0.1 size class + size residual + 0.1 class), as ImVoteNet has them. Metrics:
    /// mAP at overlaps of more than 0.25, which chooses the best epoch, and of more than 0.5, in percent: a box counts for every class, with a
    /// score of objectness times the probability of the class. Predictions: a line for each box, by falling objectness: its likeliest class, the
    /// score for that class, its middle, its size along its heading, across and up, in meters, and its heading, in radians from +X toward −Y.
    ///
    /// Reference: C. R. Qi, O. Litany, K. He, L. J. Guibas, Deep Hough Voting for 3D Object Detection in Point Clouds, ICCV 2019, section 4;
    /// the SUN RGB-D experiment of arXiv 2306.16645, table 4.
    pub struct BoxesHead: Head {
        /// Boxes that are proposed of each row, from 1 to 1048576.
        pub proposals: usize = 256,
        /// Classes of headings, which divide the circle, from 1 to 1048576.
        pub headings: usize = 12,
        /// The mean size of the boxes of each class, along the heading, across and up, in meters: in units of these, sizes are learned. Default: 1 m each.
        pub sizes: Vec<[f64; 3]> = Vec::new(),
        /// A box goes that overlaps a surer one of the same class by more than this, in [0, 1].
        pub overlap: f64 = 0.25,
        /// A box goes whose objectness is not above this, in [0, 1).
        pub objectness: f64 = 0.05,
    }
}

const METRICS: [Metric; 2] = [
    Metric::percent("map_25", "mAP@0.25"),
    Metric::percent("map_50", "mAP@0.5"),
];

/// Headings of what is predicted.
const COLUMNS: [&str; 9] = [
    "predicted",
    "score",
    "x",
    "y",
    "z",
    "length",
    "width",
    "height",
    "heading",
];

impl BoxesHead {
    fn rows(&self, classes: usize) -> ProposalRows {
        let mean_sizes = match self.sizes.is_empty() {
            true => vec![[1.0; 3]; classes],
            false => self.sizes.clone(),
        };
        ProposalRows {
            proposals: self.proposals,
            coding: BoxCoding {
                headings: self.headings,
                mean_sizes,
            },
        }
    }

    /// The boxes that a row says.
    fn found(&self, rows: &ProposalRows, row: &[f64]) -> Vec<Proposal> {
        let found = rows.boxes(row, self.overlap, self.objectness);
        // The coding is that of the rows.
        found.unwrap_or_default()
    }
}

#[typetag::serde(name = "boxes")]
impl Head for BoxesHead {
    fn validate(&self) -> Result<()> {
        Error::require_width("boxes", "proposals", self.proposals)?;
        Error::require_width("boxes", "headings", self.headings)?;
        let proper = self.sizes.iter().flatten();
        let proper = proper.clone().all(|edge| *edge > 0.0 && edge.is_finite());
        let got = format!("{:?}", self.sizes);
        let expected = "lists of three numbers above 0, one for each class";
        Error::require(proper, "boxes", "sizes", expected, got)?;
        let proper = (0.0..=1.0).contains(&self.overlap);
        Error::require(proper, "boxes", "overlap", "in [0, 1]", self.overlap)?;
        Error::require_fraction("boxes", "objectness", self.objectness)
    }

    fn targets(&self) -> TargetKind {
        TargetKind::Boxes
    }

    fn check(&self, data: &Samples) -> Result<(), DataError> {
        data.require("boxes", self.targets())?;
        let (sizes, classes) = (self.sizes.len(), data.classes.len());
        if classes == 0 {
            return Err(BoxesError::NoClasses.into());
        }
        match sizes == 0 || sizes == classes {
            true => Ok(()),
            false => Err(BoxesError::Sizes { sizes, classes }.into()),
        }
    }

    fn outputs(&self, classes: usize) -> usize {
        self.rows(classes).width()
    }

    fn proposals(&self, classes: usize) -> Option<ProposalRows> {
        Some(self.rows(classes))
    }

    fn loss_name(&self) -> &'static str {
        "loss of proposals"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn score(
        &self,
        outputs: &[f64],
        targets: &Targets,
    ) -> Result<(Vec<f64>, Comparison), MetricsError> {
        let Targets::Boxes(boxes) = targets else {
            return Err(MetricsError::targets(self.targets(), targets));
        };
        let rows = self.rows(boxes.classes.len());
        require_finite(outputs, rows.width())?;
        let each = outputs.chunks_exact(rows.width());
        if each.len() != boxes.rows.len() || !each.remainder().is_empty() {
            return Err(MetricsError::Length {
                predictions: outputs.len() / rows.width(),
                labels: boxes.rows.len(),
            });
        }
        let found = each.map(|row| self.found(&rows, row)).collect();
        let judged = Judged::new(found, boxes.clone());
        Ok((judged.means().to_vec(), Comparison::Boxes(judged)))
    }

    fn columns(&self, _classes: &[String]) -> Vec<String> {
        COLUMNS.map(str::to_owned).to_vec()
    }

    fn predict(&self, outputs: &[f64], classes: &[String]) -> Vec<Vec<String>> {
        let found = self.found(&self.rows(classes.len()), outputs).into_iter();
        let line = |own: Proposal| {
            let OrientedBox {
                center: [x, y, z],
                size: [l, w, h],
                heading,
            } = own.shape;
            let probability = own.probabilities.get(own.class).copied();
            let score = own.objectness * probability.unwrap_or_default();
            let name = classes.get(own.class).cloned().unwrap_or_default();
            let numbers = [score, x, y, z, l, w, h, heading];
            let numbers = numbers.iter().map(f64::to_string);
            std::iter::once(name).chain(numbers).collect()
        };
        found.map(line).collect()
    }
}

impl Build<Losses> for BoxesHead {
    fn build<E: Scalar, D: Backend<E>>(&self, (): ()) -> Result<Loss<E, D>> {
        let head = self.clone();
        Ok(Box::new(move |rows, truth| {
            // 5 numbers for each class, as many for a box, its place, and two for each class of headings.
            let width = rows.shape().1 / head.proposals.max(1);
            let classes = width.saturating_sub(8 + 2 * head.headings) / 5;
            head.rows(classes).loss(rows, truth)
        }))
    }
}
