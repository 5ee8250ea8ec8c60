//! One answer per row, compared with those of ten people.

use equilibria_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::multi_class::{argmax, softmax};
use super::multi_label::sigmoid;
use crate::data::{TargetKind, Targets};
use crate::head::{Comparison, Head, Loss, Losses, Metric};
use crate::loss::{answer_scores, answer_shares};
use crate::metrics::{require_finite, MetricsError, VqaAccuracy};

plugin! {
    /// One answer per row, that with the largest output, to a question that ten people answered; targets are soft.
    ///
    /// Loss of outputs x where n_c of the ten gave answer c: with `scores`, −s_c log σ(x_c) − (1 − s_c) log(1 − σ(x_c)) with the score
    /// s_c = min(0.3 n_c, 1), sum over answers, mean over rows (MCAN, whose program adds up rows too); with `shares`, −s_c log softmax(x)_c
    /// with s_c = n_c / Σ_k n_k over the answers that can be given, sum over answers, mean over rows (MUTAN, whose program draws one
    /// answer with these probabilities at each step: this is its mean). Metrics: the VQA accuracy, which chooses the best epoch, over all rows
    /// and of those of the types `yes/no`, `number` and `other`; an answer is worth the mean over people of min(m / 3, 1), of m others who
    /// gave it, after the normalization of the VQA challenge. Predictions: the answer, and its σ(x_c) or softmax(x)_c. One output per answer.
    ///
    /// Reference: the VQA experiment of arXiv 2306.16645, table 5; Z. Yu et al., MCAN, CVPR 2019, section 4; H. Ben-younes et al., MUTAN, ICCV
    /// 2017, section 4.
    pub struct AnswersHead: Head {
        /// `scores`, the binary cross-entropy, or `shares`, the softmax cross-entropy.
        pub loss: Soft = Soft::Scores,
    }
}

/// What answers are to be given, where people differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Soft {
    /// Each as far as it counts as right.
    Scores,
    /// Each as often as people gave it.
    Shares,
}

const METRICS: [Metric; 4] = [
    Metric::percent("vqa_accuracy", "VQA accuracy"),
    Metric::percent("yes_no", "VQA accuracy of yes/no").untracked(),
    Metric::percent("number", "VQA accuracy of numbers").untracked(),
    Metric::percent("other", "VQA accuracy of other answers").untracked(),
];

/// Types of answers, those of the metrics after the first.
const TYPES: [&str; 3] = ["yes/no", "number", "other"];

#[typetag::serde(name = "answers")]
impl Head for AnswersHead {
    fn targets(&self) -> TargetKind {
        TargetKind::Answers
    }

    fn loss_name(&self) -> &'static str {
        match self.loss {
            Soft::Scores => "binary cross-entropy",
            Soft::Shares => "cross-entropy",
        }
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn score(
        &self,
        outputs: &[f64],
        targets: &Targets,
    ) -> Result<(Vec<f64>, Comparison), MetricsError> {
        let Targets::Answers(answers) = targets else {
            return Err(MetricsError::targets(self.targets(), targets));
        };
        let classes = answers.known.len();
        require_finite(outputs, classes)?;
        if outputs.len() != answers.rows.len() * classes {
            return Err(MetricsError::Length {
                predictions: outputs.len() / classes.max(1),
                labels: answers.rows.len(),
            });
        }
        let mut accuracy = VqaAccuracy::default();
        for (row, answered) in outputs.chunks_exact(classes.max(1)).zip(&answers.rows) {
            let predicted = &answers.known[argmax(row)];
            accuracy.add(&answered.kind, predicted, &answered.people);
        }
        let of_type = |name: &&str| accuracy.of_type(name).unwrap_or(f64::NAN);
        let mut values = vec![accuracy.overall()];
        values.extend(TYPES.iter().map(of_type));
        Ok((values, Comparison::Answers(accuracy)))
    }

    fn columns(&self, _classes: &[String]) -> Vec<String> {
        ["predicted", "probability"].map(str::to_owned).to_vec()
    }

    fn predict(&self, outputs: &[f64], classes: &[String]) -> Vec<Vec<String>> {
        let best = argmax(outputs);
        let name = classes.get(best).cloned().unwrap_or_default();
        let probability = match self.loss {
            Soft::Scores => outputs.get(best).copied().map(sigmoid),
            Soft::Shares => softmax(outputs).get(best).copied(),
        };
        vec![vec![name, probability.unwrap_or_default().to_string()]]
    }
}

impl Build<Losses> for AnswersHead {
    fn build<E: Scalar, D: Backend<E>>(&self, (): ()) -> Result<Loss<E, D>> {
        Ok(match self.loss {
            Soft::Scores => Box::new(answer_scores),
            Soft::Shares => Box::new(answer_shares),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::data::{Answered, Answers};
    use dfdx::prelude::*;
    use equilibria_core::{from_host, Matrix};

    /// Four people say the first, three the second, one the third, and two what no model can say.
    fn targets() -> Targets {
        let people = "w w w w x x x y z z".split(' ').map(str::to_owned);
        let known: Arc<[String]> = ["w", "x", "y"].map(str::to_owned).into();
        let place = |answer: &str| known.iter().position(|known| known == answer);
        let row = Answered::new("other", people.collect(), place);
        Targets::Answers(Answers {
            known: known.clone(),
            rows: vec![Arc::new(row)],
        })
    }

    fn loss(loss: Soft, x: [f64; 3], targets: &Targets) -> f64 {
        let head = AnswersHead { loss };
        let device = Cpu::default();
        let x: Matrix<f64, Cpu> = from_host(&device, x.to_vec(), (1, 3)).expect("memory");
        let targets = targets.matrix(&device, 3).expect("they fit");
        let loss = Build::<Losses>::build::<f64, Cpu>(&head, ()).expect("it builds");
        loss(x.leaky_trace(), &targets).expect("memory").as_vec()[0]
    }

    #[test]
    fn losses_are_those_of_the_programs() {
        let x = [0.3f64, -0.7, 1.1];
        let scores = [1.0, 0.9, 0.3];
        let term = |(x, s): (&f64, f64)| {
            let p = 1.0 / (1.0 + (-x).exp());
            -s * p.ln() - (1.0 - s) * (1.0 - p).ln()
        };
        let expected: f64 = x.iter().zip(scores).map(term).sum();
        let found = loss(Soft::Scores, x, &targets());
        assert!((found - expected).abs() < 1e-14, "{found}, {expected}");
        let sum: f64 = x.iter().map(|x| x.exp()).sum();
        let shares = [0.5, 0.375, 0.125];
        let term = |(x, s): (&f64, f64)| -s * (x.exp() / sum).ln();
        let expected: f64 = x.iter().zip(shares).map(term).sum();
        let found = loss(Soft::Shares, x, &targets());
        assert!((found - expected).abs() < 1e-14, "{found}, {expected}");
    }

    /// A question of which no answer can be given teaches softmax nothing, and nothing becomes NaN.
    #[test]
    fn questions_without_an_answer_are_no_division_by_zero() {
        let Targets::Answers(mut answers) = targets() else {
            panic!("answers");
        };
        let row = Answered::new("other", vec!["v".to_owned(); 10], |_| None);
        answers.rows = vec![Arc::new(row)];
        let loss = loss(Soft::Shares, [1.0, 2.0, 3.0], &Targets::Answers(answers));
        assert!(loss.abs() < 1e-300);
    }

    #[test]
    fn accuracies_are_soft_and_by_type() {
        let head = AnswersHead::default();
        for (outputs, expected) in [([1.0, 0.0, 0.0], 100.0), ([0.0, 1.0, 0.0], 90.0)] {
            let (values, _) = head.score(&outputs, &targets()).expect("comparable");
            assert!((values[0] - expected).abs() < 1e-12, "{values:?}");
            assert!((values[3] - expected).abs() < 1e-12, "{values:?}");
            assert!(values[1].is_nan() && values[2].is_nan());
        }
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(head.predict(&[-1.0, 0.0, -1.0], &names), [["b", "0.5"]]);
    }
}
