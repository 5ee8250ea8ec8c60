//! The page of a study: several configurations, several runs of each.

use super::boxes::{self, Group, Summary};
use super::figure::{figure, frame};
use super::page::{number, Cell, Page};
use crate::plot::{Line, Scale};

/// One configuration of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct StudyRow {
    /// What it is called.
    pub name: String,
    /// For every metric the value of each run. A run without a value of some metric may leave it out or give NaN.
    pub values: Vec<Vec<f64>>,
}

/// How the states of one configuration settle, step by step.
#[derive(Debug, Clone, PartialEq)]
pub struct Settling {
    /// Name of the configuration.
    pub name: String,
    /// Relative difference norm at steps 1, 2, …: mean over runs, and half the width of its 95 % confidence interval.
    pub band: Vec<(f64, f64)>,
}

/// A self-contained HTML page: for every metric the mean ± standard deviation over the runs of each row, and box plots;
/// and the curves of what settles, if anything does.
///
/// `metrics` are column headings, such as `accuracy, %`; `rows[i].values[k]` belongs to `metrics[k]`. The standard
/// deviation is that of a sample, with n − 1; a single run has none. Values that are not finite are left out, and the
/// table says so. Text is escaped.
///
/// ```
/// # mod equilibria {
/// #     pub extern crate equilibria_program as program;
/// # }
/// use equilibria::program::report::{study_page, StudyRow};
///
/// let row = |name: &str, accuracy: [f64; 3]| StudyRow {
///     name: name.to_owned(),
///     values: vec![accuracy.to_vec()],
/// };
/// let rows = [row("deq", [91.0, 92.0, 93.0]), row("concat", [88.0, 90.0, 89.0])];
/// let page = study_page("Two fusions", &["accuracy, %"], &rows, &[]);
/// assert!(page.contains("92.0 ± 1.0"));
/// ```
pub fn study_page(
    title: &str,
    metrics: &[&str],
    rows: &[StudyRow],
    settling: &[Settling],
) -> String {
    let mut page = Page::new(title);
    page.paragraph(&format!(
        "A study of equilibria {}.",
        env!("CARGO_PKG_VERSION")
    ));
    page.heading("Mean and standard deviation over runs");
    let head = [&["configuration", "runs"], metrics].concat();
    let lines: Vec<_> = rows.iter().map(|row| line(row, metrics.len())).collect();
    page.table("Mean ± standard deviation", &head, &lines);
    page.heading("Distributions");
    page.paragraph(
        "Boxes reach from the lower to the upper quartile, with a line at the median; whiskers reach to the last value within \
         1.5 times the length of the box; dots are runs.",
    );
    let figures = metrics.iter().enumerate();
    let figures: Vec<_> = figures
        .map(|(column, metric)| box_plot(metric, column, rows))
        .collect();
    page.figures(&figures);
    if !settling.is_empty() {
        page.heading("Convergence");
        page.paragraph(
            "Relative difference norm of the fused state from one step to the next, mean over test rows and runs, with the \
             95 % confidence interval over runs.",
        );
        page.figures(&settling.iter().map(settling_figure).collect::<Vec<_>>());
    }
    page.finish()
}

fn settling_figure(settling: &Settling) -> String {
    let line = |label: &str, value: fn((f64, f64)) -> f64| Line {
        label: label.to_owned(),
        points: (1..)
            .zip(settling.band.iter().map(|&point| value(point)))
            .collect(),
    };
    let lines = vec![
        line("mean", |(mean, _)| mean),
        line("upper", |(mean, half)| mean + half),
        line("lower", |(mean, half)| mean - half),
    ];
    let axes = ["step", "‖z′ − z‖ / ‖z‖"];
    figure(&settling.name, axes, Scale::Logarithmic, lines)
}

/// The finite values of one metric, in ascending order.
fn sorted(row: &StudyRow, column: usize) -> Vec<f64> {
    let values = row.values.get(column).into_iter().flatten();
    let mut finite: Vec<f64> = values.copied().filter(|value| value.is_finite()).collect();
    finite.sort_by(f64::total_cmp);
    finite
}

fn line(row: &StudyRow, metrics: usize) -> (String, Vec<Cell>) {
    let runs = row.values.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |column| {
        let values = sorted(row, column);
        let text = mean_and_deviation(&values);
        match values.len() {
            0 => Cell::new("–"),
            n if n < runs => Cell::new(format!("{text} ({n} of {runs})")),
            _ => Cell::new(text),
        }
    };
    let cells = std::iter::once(Cell::new(runs)).chain((0..metrics).map(cell));
    (row.name.clone(), cells.collect())
}

/// `mean ± deviation`, to the second digit of the deviation.
fn mean_and_deviation(values: &[f64]) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return number(mean);
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = (squares / (n - 1.0)).sqrt();
    let digits = 1.0 - deviation.log10().floor();
    // Beyond, the exponents of both say more than a row of zeros.
    if !(-5.0..=5.0).contains(&digits) {
        return format!("{} ± {}", number(mean), number(deviation));
    }
    let digits = digits.max(0.0) as usize;
    format!("{mean:.digits$} ± {deviation:.digits$}")
}

fn box_plot(metric: &str, column: usize, rows: &[StudyRow]) -> String {
    let values: Vec<Vec<f64>> = rows.iter().map(|row| sorted(row, column)).collect();
    let named = rows.iter().zip(&values);
    let groups: Vec<Group<'_>> = named
        .map(|(row, sorted)| Group {
            name: &row.name,
            sorted,
        })
        .collect();
    if values.iter().all(Vec::is_empty) {
        return String::new();
    }
    let medians = groups.iter().map(|group| {
        let median = Summary::of(group.sorted).map_or(f64::NAN, |summary| summary.0[2]);
        format!("; {}: {}", group.name, number(median))
    });
    let description = format!("{metric}, medians{}", medians.collect::<String>());
    frame(metric, boxes::draw(metric, &groups, &description), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_those_of_a_sample() {
        // Mean 5, squares 9 + 1 + 1 + 9 = 20, variance 20 / 3.
        assert_eq!(mean_and_deviation(&[2.0, 4.0, 6.0, 8.0]), "5.0 ± 2.6");
        assert_eq!(mean_and_deviation(&[2.5]), "2.500");
        assert_eq!(mean_and_deviation(&[3.0, 3.0]), "3.000 ± 0.000");
        assert_eq!(mean_and_deviation(&[1000.0, 3000.0]), "2000 ± 1414");
        assert_eq!(mean_and_deviation(&[0.9999, 1.0001]), "1.00000 ± 0.00014");
    }

    #[test]
    fn runs_without_a_value_are_counted() {
        let row = StudyRow {
            name: "a <b>".to_owned(),
            values: vec![vec![1.0, f64::NAN, 3.0], vec![f64::INFINITY; 3]],
        };
        let page = study_page("s & t", &["x", "y", "z"], &[row], &[]);
        assert!(page.contains("<td>2.0 ± 1.4 (2 of 3)</td><td>–</td><td>–</td>"));
        assert!(page.contains("a &lt;b&gt;") && !page.contains("a <b>"));
        assert!(page.contains("<h1>s &amp; t</h1>"));
        // One metric has values to draw.
        assert_eq!(page.matches("<figure>").count(), 1);
    }

    #[test]
    fn a_study_of_nothing_is_a_page() {
        assert!(study_page("nothing", &[], &[], &[]).ends_with("</html>\n"));
        assert!(!study_page("nothing", &["x"], &[], &[]).contains("<figure>"));
    }
}
