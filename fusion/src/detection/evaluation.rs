//! Predicted boxes of scenes against the boxes that are there.

use super::{average_precision, Detected, Proposal, Scene, True};

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

/// The boxes of scenes.
pub fn truth(scenes: &[Scene]) -> Vec<True> {
    let numbered = scenes.iter().enumerate();
    let boxes = numbered.flat_map(|(scene, own)| {
        let boxes = own.boxes.iter();
        boxes.map(move |&(shape, class)| True {
            scene,
            class,
            shape,
        })
    });
    boxes.collect()
}

/// [Average precision](average_precision()) of every class for the proposals of scenes.
pub fn judge(
    proposals: &[Vec<Proposal>],
    scenes: &[Scene],
    classes: usize,
    threshold: f64,
) -> Vec<Option<f64>> {
    average_precision(&detected(proposals), &truth(scenes), classes, threshold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::{generated_scenes, mean_average_precision};

    /// Right boxes with right classes are perfect; where the class is a guess, half of the best boxes of each class are wrong.
    #[test]
    fn a_box_counts_for_every_class_by_its_probability() {
        let scenes = generated_scenes(40, 50, 3);
        let all = |probabilities: fn(usize) -> Vec<f64>| -> Vec<Vec<Proposal>> {
            let scene = |scene: &Scene| {
                let boxes = scene.boxes.iter();
                boxes
                    .map(|&(shape, class)| Proposal {
                        shape,
                        class,
                        objectness: 0.9,
                        probabilities: probabilities(class),
                    })
                    .collect()
            };
            scenes.iter().map(scene).collect()
        };
        let map = |proposals: &[Vec<Proposal>]| {
            mean_average_precision(&judge(proposals, &scenes, 2, 0.5))
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
