//! Whether a run is any good, and why, in one sentence.

use std::collections::BTreeSet;

use equilibria_fusion::data::Targets;
use equilibria_fusion::detection::Judged;
use equilibria_fusion::head::Comparison;
use equilibria_fusion::metrics::{
    soft_target, ConfusionMatrix, MultiLabel, Regression, VqaAccuracy,
};

use super::page::{number, Page};
use super::RunReport;

/// How good a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Quality {
    Good,
    Doubtful,
    Bad,
}

/// A quality with the reason for it.
type Judgment = (Quality, String);

/// Shares of solves that did not converge from which on results are doubtful, and bad: gradients and predictions of these rows
/// are those of no equilibrium.
const UNSOLVED: [f64; 2] = [0.01, 0.1];

/// Writes the sentence: the worst of all that can be said of predictions and solves, and the reasons.
pub fn write(run: &RunReport<'_>, page: &mut Page) {
    let predictions = match &run.test.comparison {
        Comparison::Classes(confusion) => classes(confusion),
        Comparison::LabelSets(counts) => labels(counts, run.data.test.len()),
        Comparison::Numbers(pairs) => numbers(pairs, run.targets),
        Comparison::Answers(accuracy) => answers(accuracy, run.targets),
        Comparison::Boxes(judged) => boxes(judged),
    };
    let judgments: Vec<Judgment> = [Some(predictions), test_solves(run), training_solves(run)]
        .into_iter()
        .flatten()
        .collect();
    let worst = judgments.iter().map(|(quality, _)| *quality).max();
    let word = match worst.unwrap_or(Quality::Doubtful) {
        Quality::Good => "Good",
        Quality::Doubtful => "Doubtful",
        Quality::Bad => "Bad",
    };
    // What makes it bad comes first.
    let mut ordered: Vec<&Judgment> = judgments.iter().collect();
    ordered.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
    let reasons: Vec<&str> = ordered.iter().map(|(_, reason)| reason.as_str()).collect();
    page.headline(word, &format!("{}.", reasons.join("; ")));
}

/// Against the most frequent class: two standard errors of its share are a difference that chance does not explain.
fn classes(confusion: &ConfusionMatrix) -> Judgment {
    let supports = confusion.supports();
    let rows: usize = supports.iter().sum();
    let most = supports.iter().copied().max().unwrap_or(0);
    let accuracy = confusion.accuracy();
    let share = most as f64 / rows.max(1) as f64;
    let deviation = (share * (1.0 - share) / rows.max(1) as f64).sqrt();
    if most == rows {
        let text = "all test rows are of one class, which tells nothing of the others";
        return (Quality::Doubtful, text.to_owned());
    }
    let right = format!("{accuracy:.2} % of the {rows} test rows are classified right");
    let guess = 100.0 * share;
    let (gain, most) = (
        accuracy - guess,
        format!("the most frequent class alone makes {guess:.2} %"),
    );
    if 0.0 < gain && gain <= 200.0 * deviation {
        let text = format!(
            "{right}, which are too few rows to tell it from guessing: {most}, and chance alone up to {:.2} % more (two standard errors)",
            200.0 * deviation
        );
        return (Quality::Doubtful, text);
    }
    compared(gain > 0.0, right, most)
}

/// Against giving every row every label.
fn labels(counts: &MultiLabel, rows: usize) -> Judgment {
    let scores = counts.per_class();
    let support: usize = scores.iter().map(|score| score.support).sum();
    let entries = rows * scores.len();
    let guess = 200.0 * support as f64 / (entries + support).max(1) as f64;
    let f1 = counts.micro_f1();
    compared(
        f1 > guess,
        format!("micro F1 of {f1:.2} % on {rows} test rows"),
        format!("giving every row every label makes {guess:.2} %"),
    )
}

/// Against the median, which no other constant beats.
fn numbers(pairs: &Regression, targets: &Targets) -> Judgment {
    let mut sorted = match targets {
        Targets::Numbers(numbers) => numbers.clone(),
        _ => Vec::new(),
    };
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let distances = sorted.iter().map(|number| (number - median).abs());
    let guess = distances.sum::<f64>() / sorted.len().max(1) as f64;
    let error = pairs.mean_absolute_error();
    let rows = sorted.len();
    compared(
        error < guess,
        format!(
            "mean absolute error of {} on {rows} test rows",
            number(error)
        ),
        format!("always predicting their median makes {}", number(guess)),
    )
}

/// Against the one answer that is the best to all questions.
fn answers(accuracy: &VqaAccuracy, targets: &Targets) -> Judgment {
    let Targets::Answers(all) = targets else {
        return (Quality::Doubtful, "nothing is known of its answers".into());
    };
    let mut worth = vec![0.0; all.known.len()];
    for &(answer, people) in all.rows.iter().flat_map(|row| &row.counts) {
        worth[answer] += soft_target(people);
    }
    let best = worth.iter().zip(all.known.iter());
    let best = best.max_by(|a, b| a.0.total_cmp(b.0));
    let best = best.map_or("", |(_, answer)| answer.as_str());
    let mut same = VqaAccuracy::default();
    for row in &all.rows {
        same.add(&row.kind, best, &row.people);
    }
    let (reached, guess) = (accuracy.overall(), same.overall());
    compared(
        reached > guess,
        format!(
            "VQA accuracy of {reached:.2} % on {} test rows",
            all.rows.len()
        ),
        format!("always answering {best:?} makes {guess:.2} %"),
    )
}

/// Against finding all boxes with no idea of their classes: of predictions in random order a class has the precision of its share.
fn boxes(judged: &Judged) -> Judgment {
    let all = judged.truth.rows.iter().flat_map(|row| row.iter());
    let classes: BTreeSet<usize> = all.map(|(_, class)| *class).collect();
    let ([reached, _], rows) = (judged.means(), judged.truth.rows.len());
    let text = format!("mAP@0.25 of {reached:.2} % on {rows} test rows");
    match classes.len() {
        0 => (Quality::Doubtful, "the test rows have no boxes".to_owned()),
        _ if reached <= 0.0 => (Quality::Bad, format!("{text}: no box is found")),
        1 => (Quality::Good, text),
        count => {
            let guess = 100.0 / count as f64;
            let quality = match reached > guess {
                true => Quality::Good,
                false => Quality::Doubtful,
            };
            let guess =
                format!("finding every box and guessing its class makes about {guess:.2} %");
            (quality, format!("{text}, where {guess}"))
        }
    }
}

fn compared(better: bool, score: String, guess: String) -> Judgment {
    match better {
        true => (Quality::Good, format!("{score}, where {guess}")),
        false => (
            Quality::Bad,
            format!("{score}, which is no better than guessing: {guess}"),
        ),
    }
}

/// Nothing for a fusion that solves nothing.
fn test_solves(run: &RunReport<'_>) -> Option<Judgment> {
    let solves: usize = (run.test.solves.iter())
        .map(|(_, report)| report.samples.len())
        .sum();
    let text = match run.test.unconverged_fraction > 0.0 {
        true => format!(
            "{} of their {solves} solves did not converge",
            percent(run.test.unconverged_fraction)
        ),
        false => format!("all of their {solves} solves converged"),
    };
    (solves > 0).then(|| (solved(run.test.unconverged_fraction), text))
}

/// Nothing where none failed.
fn training_solves(run: &RunReport<'_>) -> Option<Judgment> {
    let epochs = run.history.len().max(1) as f64;
    let forward = run.history.iter().map(|epoch| epoch.unconverged_fraction);
    let adjoint = (run.history.iter()).map(|epoch| epoch.adjoint_unconverged_fraction);
    let (forward, adjoint) = (forward.sum::<f64>() / epochs, adjoint.sum::<f64>() / epochs);
    let share = forward.max(adjoint);
    (share > 0.0).then(|| {
        let text = format!(
            "in training {} of the forward and {} of the adjoint solves did not",
            percent(forward),
            percent(adjoint)
        );
        (solved(share), text)
    })
}

fn solved(unconverged: f64) -> Quality {
    match unconverged {
        share if share >= UNSOLVED[1] => Quality::Bad,
        share if share >= UNSOLVED[0] => Quality::Doubtful,
        _ => Quality::Good,
    }
}

fn percent(share: f64) -> String {
    format!("{} %", number(100.0 * share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_classifier_is_good_if_it_beats_the_most_frequent_class_beyond_chance() {
        let judge = |right: usize| {
            let labels: Vec<usize> = (0..100).map(|row| usize::from(row >= 80)).collect();
            let wrong = 100 - right;
            let flip = |(row, &label): (usize, &usize)| if row < wrong { 1 - label } else { label };
            let predictions: Vec<usize> = labels.iter().enumerate().map(flip).collect();
            classes(&ConfusionMatrix::new(&predictions, &labels, 2).expect("as many"))
        };
        assert_eq!(judge(80).0, Quality::Bad);
        // 80 % by guessing, 4 % of deviation: 88 % could be luck.
        for right in [81, 88] {
            let (quality, text) = judge(right);
            assert_eq!(quality, Quality::Doubtful);
            assert!(
                text.contains("too few rows to tell it from guessing"),
                "{text}"
            );
            assert!(text.contains("up to 8.00 % more"), "{text}");
        }
        let (quality, text) = judge(89);
        assert_eq!(quality, Quality::Good);
        assert!(text.starts_with("89.00 % of the 100 test rows"), "{text}");
        let one = ConfusionMatrix::new(&[0, 0], &[0, 0], 2).expect("as many");
        assert_eq!(classes(&one).0, Quality::Doubtful);
    }

    #[test]
    fn labels_and_numbers_have_a_guess_to_beat() {
        // 2 labels of 4 entries: every label everywhere has F1 = 2 · 2 / (4 + 2).
        let judge = |predictions: [bool; 4]| {
            let counts = MultiLabel::new(&predictions, &[true, false, true, false], 2);
            labels(&counts.expect("whole rows"), 2)
        };
        assert_eq!(judge([true; 4]).0, Quality::Bad);
        assert!(judge([true; 4]).1.ends_with("makes 66.67 %"));
        assert_eq!(judge([true, false, true, false]).0, Quality::Good);
        let targets = [0.0, 1.0, 5.0];
        let judge = |predictions: [f64; 3]| {
            let pairs = Regression::new(&predictions, &targets).expect("as many");
            numbers(&pairs, &Targets::Numbers(targets.to_vec()))
        };
        assert_eq!(judge([1.0; 3]).0, Quality::Bad);
        assert_eq!(judge([0.0, 1.0, 4.0]).0, Quality::Good);
    }

    #[test]
    fn unsolved_rows_spoil_a_run() {
        let qualities = [0.0, 0.009, 0.01, 0.1, f64::INFINITY].map(solved);
        use Quality::{Bad, Doubtful, Good};
        assert_eq!(qualities, [Good, Good, Doubtful, Bad, Bad]);
    }
}
