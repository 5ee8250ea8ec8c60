//! How the solves of the test rows went.

use equilibria_core::{Report, SampleReport, Status};

use super::boxes::{self, Group, Summary};
use super::figure::{figure, frame};
use super::page::{number, Cell, Page};
use crate::plot::{Line, Scale};

/// Up to this many equilibria have a line each in one chart of rows solved; more have a box each.
const LINES: usize = 4;

/// Headings of the table of solves.
const COLUMNS: [&str; 6] = [
    "equilibrium",
    "solves",
    "converged",
    "mean steps",
    "most steps",
    "largest relative residual",
];

/// Writes how soon the equilibria were found, and how their residuals fell; nothing for a fusion that solves nothing.
pub fn write(solves: &[(String, &Report)], page: &mut Page) {
    if solves.is_empty() {
        return;
    }
    page.heading("Solves of the test rows");
    let rows: Vec<_> = solves.iter().map(row).collect();
    page.table("Solves by equilibrium", &COLUMNS, &rows);
    let at_step = |pick: fn(&[f64]) -> f64| {
        lines(solves, |report| {
            let steps = residuals(report);
            (1..).zip(steps.iter().map(|step| pick(step))).collect()
        })
    };
    page.figures(&[
        rows_solved(solves),
        figure(
            "Largest residual",
            ["step", "‖f(z) − z‖"],
            Scale::Logarithmic,
            at_step(|sorted| sorted.last().copied().unwrap_or(f64::NAN)),
        ),
        figure(
            "Median residual",
            ["step", "‖f(z) − z‖"],
            Scale::Logarithmic,
            at_step(|sorted| sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)),
        ),
    ]);
    let traced = solves.iter().map(|(_, report)| traces(report).count());
    if let Some(rows) = traced.max().filter(|&rows| rows > 0) {
        page.paragraph(&format!(
            "Residuals are those of the first {rows} rows; a row that is done keeps its last one."
        ));
    }
}

fn lines(solves: &[(String, &Report)], points: impl Fn(&Report) -> Vec<(usize, f64)>) -> Vec<Line> {
    (solves.iter())
        .map(|(name, report)| Line {
            label: name.clone(),
            points: points(report),
        })
        .collect()
}

/// The share of rows that are solved after so many evaluations, a line for each of a few equilibria; or boxes that tell how many
/// evaluations the rows took, since many lines cover each other.
fn rows_solved(solves: &[(String, &Report)]) -> String {
    let title = "Rows solved";
    if solves.len() <= LINES {
        let last = solves.iter().map(|(_, report)| report.max_evaluations());
        let last = last.max().unwrap_or(0);
        return figure(
            title,
            ["evaluations per row", "share of the rows"],
            Scale::Share,
            lines(solves, |report| solved(report, last)),
        );
    }
    let boxes: Vec<(String, Vec<f64>)> = (solves.iter())
        .map(|(name, report)| {
            let ended = evaluations(report);
            let name = match report.unconverged() {
                0 => name.clone(),
                _ => format!("{} of {} rows, {name}", ended.len(), report.samples.len()),
            };
            (name, ended.into_iter().map(|at| at as f64).collect())
        })
        .collect();
    let groups: Vec<Group<'_>> = (boxes.iter())
        .map(|(name, sorted)| Group { name, sorted })
        .collect();
    let medians = groups.iter().map(|group| {
        let median = Summary::of(group.sorted).map_or(f64::NAN, |summary| summary.0[2]);
        format!("; {}, median {}", group.name, number(median))
    });
    let axis = "evaluations until a row was solved";
    let description = format!("{title}. {axis}{}", medians.collect::<String>());
    frame(title, boxes::draw(axis, &groups, &description), "")
}

fn row((name, report): &(String, &Report)) -> (String, Vec<Cell>) {
    let worst = report.worst();
    let worst = worst.map_or(f64::NAN, |(_, sample)| sample.relative_residual);
    let cells = [
        report.samples.len().to_string(),
        report.count(Status::Converged).to_string(),
        number(report.mean_evaluations()),
        report.max_evaluations().to_string(),
        number(worst),
    ];
    (name.clone(), cells.into_iter().map(Cell::new).collect())
}

/// What it took to solve the samples that have converged, in ascending order.
fn evaluations(report: &Report) -> Vec<usize> {
    let converged = |sample: &&SampleReport| sample.status == Status::Converged;
    let mut ended: Vec<usize> = (report.samples.iter().filter(converged))
        .map(|sample| sample.evaluations)
        .collect();
    ended.sort_unstable();
    ended
}

/// The share of samples that have converged after 1, 2, …, `last` evaluations.
fn solved(report: &Report, last: usize) -> Vec<(usize, f64)> {
    let ended = evaluations(report);
    let share = |evaluations| {
        let count = ended.partition_point(|&at| at <= evaluations);
        count as f64 / report.samples.len().max(1) as f64
    };
    (1..=last).map(|at| (at, share(at))).collect()
}

fn traces(report: &Report) -> impl Iterator<Item = &SampleReport> {
    let traced = |sample: &&SampleReport| !sample.trace.is_empty();
    report.samples.iter().filter(traced)
}

/// The residuals of all traced samples at every step, in ascending order, NaN last.
fn residuals(report: &Report) -> Vec<Vec<f64>> {
    let count = traces(report).map(|sample| sample.trace.len()).max();
    let at = |step: usize| {
        let point = |sample: &SampleReport| {
            let point = sample.trace.get(step).or(sample.trace.last());
            point.map_or(f64::NAN, |point| point.residual)
        };
        let mut residuals: Vec<f64> = traces(report).map(point).collect();
        residuals.sort_by(f64::total_cmp);
        residuals
    };
    (0..count.unwrap_or(0)).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use equilibria_core::TracePoint;

    fn sample(status: Status, residuals: &[f64]) -> SampleReport {
        let points = (1..).zip(residuals);
        SampleReport {
            status,
            steps: residuals.len(),
            evaluations: residuals.len(),
            rounded: 0,
            stage: 0,
            residual: 0.0,
            relative_residual: 0.0,
            bound: None,
            trace: points
                .map(|(evaluations, &residual)| TracePoint {
                    evaluations,
                    residual,
                })
                .collect(),
        }
    }

    #[test]
    fn many_equilibria_have_a_box_each_and_few_a_line() {
        let report = Report {
            samples: vec![
                sample(Status::Converged, &[8.0, 1.0]),
                sample(Status::Converged, &[4.0, 3.0, 2.0]),
                sample(Status::MaxEvaluations, &[9.0, 7.0, 6.0, 5.0]),
            ],
        };
        let page = |count: usize| {
            let names = (1..=count).map(|number| format!("theta.{number} (a<b)"));
            let solves: Vec<_> = names.map(|name| (name, &report)).collect();
            rows_solved(&solves)
        };
        let (few, many) = (page(LINES), page(LINES + 1));
        assert_eq!(few.matches("class=\"key\"").count(), LINES);
        assert_eq!(many.matches("<rect").count(), LINES + 1);
        for number in 1..=LINES + 1 {
            let name = format!("2 of 3 rows, theta.{number} (a&lt;b)");
            assert!(many.contains(&name), "{many}");
        }
        assert!(many.contains("median 2.500") && !many.contains("a<b"));
    }

    #[test]
    fn samples_count_from_when_they_converged_and_keep_their_last_residual() {
        let report = Report {
            samples: vec![
                sample(Status::Converged, &[8.0, 1.0]),
                sample(Status::MaxEvaluations, &[9.0, 7.0, 6.0, 5.0]),
                sample(Status::Converged, &[4.0, 3.0, 2.0]),
                sample(Status::Converged, &[2.0]),
            ],
        };
        let shares: Vec<f64> = solved(&report, 4).into_iter().map(|(_, s)| s).collect();
        let quarters: Vec<f64> = shares.iter().map(|share| 4.0 * share).collect();
        assert!((quarters.iter().zip([1.0, 2.0, 3.0, 3.0])).all(|(a, b)| (a - b).abs() < 1e-12));
        let steps = residuals(&report);
        assert_eq!(steps.len(), 4);
        let expected = [1.0, 2.0, 2.0, 5.0];
        assert!((steps[3].iter().zip(expected)).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}
