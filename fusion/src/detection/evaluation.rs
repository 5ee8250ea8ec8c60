//! Predicted boxes of scenes against the boxes that are there.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{average_precision, mean_average_precision, Detected, OrientedBox, Proposal, True};
use crate::data::Boxes;

/// Every proposal of every scene as boxes of all classes, whose scores are objectness times the probability of the class.
pub fn detected(proposals: &[Vec<Proposal>]) -> Vec<Detected> {
    let mut all = Vec::new();
    for (scene, proposals) in proposals.iter().enumerate() {
        for proposal in proposals {
            for (class, probability) in proposal.probabilities.iter().enumerate() {
                all.push(Detected {
                    scene,
                    class,
                    shape: proposal.shape,
                    score: proposal.objectness * probability,
                });
            }
        }
    }
    all
}

/// The boxes of scenes, each with its class.
pub fn truth(scenes: &[Arc<[(OrientedBox, usize)]>]) -> Vec<True> {
    let numbered = scenes.iter().enumerate();
    let boxes = numbered.flat_map(|(scene, own)| {
        own.iter().map(move |&(shape, class)| True {
            scene,
            class,
            shape,
        })
    });
    boxes.collect()
}

/// [Average precision](average_precision()) of every class for the proposals of scenes.
pub fn judge(proposals: &[Vec<Proposal>], boxes: &Boxes, threshold: f64) -> Vec<Option<f64>> {
    let classes = boxes.classes.len();
    let truth = truth(&boxes.rows);
    average_precision(&detected(proposals), &truth, classes, threshold)
}

/// Proposals and true boxes of scenes, and how well they agree.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The proposals of each scene.
    pub proposals: Vec<Vec<Proposal>>,
    /// What is there.
    pub truth: Boxes,
    /// Average precision of each class, in [0, 1], at each of the [thresholds](Self::THRESHOLDS); `None` where no box of the class is there.
    pub precision: [Vec<Option<f64>>; 2],
}

impl Judged {
    /// By how much a proposal must overlap a true box to be right.
    pub const THRESHOLDS: [f64; 2] = [0.25, 0.5];

    /// Judges the proposals of as many scenes as there are rows of boxes.
    pub fn new(proposals: Vec<Vec<Proposal>>, truth: Boxes) -> Self {
        let at = |threshold| judge(&proposals, &truth, threshold);
        let precision = Self::THRESHOLDS.map(at);
        Self {
            proposals,
            truth,
            precision,
        }
    }

    /// mAP in percent at each of the thresholds; NaN where no box is there.
    pub fn means(&self) -> [f64; 2] {
        [0, 1].map(|at| 100.0 * mean_average_precision(&self.precision[at]))
    }

    /// The entry `average_precision` of a table of metrics: for each class, by its name, what it is in percent at each of the thresholds.
    pub(crate) fn of_classes(&self) -> BTreeMap<&'static str, BTreeMap<&str, [Option<f64>; 2]>> {
        let names = self.truth.classes.iter().enumerate();
        let each = names.map(|(class, name)| {
            let at = |at: usize| self.precision[at][class].map(|share| 100.0 * share);
            (name.as_str(), [at(0), at(1)])
        });
        BTreeMap::from([("average_precision", each.collect())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::generated_scenes;

    /// Right boxes with right classes are perfect; where the class is a guess, half of the best boxes of each class are wrong.
    #[test]
    fn a_box_counts_for_every_class_by_its_probability() {
        let scenes = generated_scenes(40, 50, 3);
        let boxes = Boxes {
            classes: ["crate", "cabinet"].map(str::to_owned).into(),
            most: 5,
            rows: scenes.iter().map(|scene| scene.boxes[..].into()).collect(),
        };
        let all = |probabilities: fn(usize) -> Vec<f64>| -> Vec<Vec<Proposal>> {
            let scene = |boxes: &Arc<[(OrientedBox, usize)]>| {
                let proposal = |&(shape, class): &(OrientedBox, usize)| Proposal {
                    shape,
                    class,
                    objectness: 0.9,
                    probabilities: probabilities(class),
                };
                boxes.iter().map(proposal).collect()
            };
            boxes.rows.iter().map(scene).collect()
        };
        let map = |proposals: &[Vec<Proposal>]| {
            Judged::new(proposals.to_vec(), boxes.clone()).means()[1] / 100.0
        };
        let sure = all(|class| match class {
            0 => vec![0.9, 0.1],
            _ => vec![0.1, 0.9],
        });
        approx::assert_relative_eq!(map(&sure), 1.0, epsilon = 1e-12);
        let guessed = map(&all(|_| vec![0.5, 0.5]));
        assert!((0.3..0.75).contains(&guessed), "{guessed}");
    }
}
