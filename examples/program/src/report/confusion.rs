//! Which class was taken for which.

use equilibria_fusion::metrics::ConfusionMatrix;

use super::page::{number, Cell, Page};

/// The color of a single error among any number of rows, as a share of the full one.
const LEAST: f64 = 0.25;

/// Writes the confusion matrix and the scores of every class.
pub fn write(confusion: &ConfusionMatrix, classes: &[String], page: &mut Page) {
    page.heading("Confusion matrix of the test rows");
    page.paragraph(
        "One row per true class, one column per predicted class. Blue is right and orange is wrong, the stronger the larger the \
         share of the row; for what is wrong by the square root of the share, and never less than a quarter of the full color, so \
         that single errors show.",
    );
    let mut head = vec!["true class"];
    head.extend(classes.iter().map(String::as_str));
    let rows: Vec<_> = (confusion.counts().iter().zip(classes).enumerate())
        .map(|(label, (counts, class))| {
            let total = counts.iter().sum::<usize>().max(1) as f64;
            let cell = |(prediction, &count): (usize, &usize)| match count as f64 / total {
                share if prediction == label => Cell::right(count, share),
                share if share > 0.0 => Cell::wrong(count, LEAST + (1.0 - LEAST) * share.sqrt()),
                _ => Cell::new(count),
            };
            (class.clone(), counts.iter().enumerate().map(cell).collect())
        })
        .collect();
    page.table("Rows of each class by prediction", &head, &rows);

    let head = ["class", "precision, %", "recall, %", "F1, %", "rows"];
    let rows: Vec<_> = (confusion.per_class().iter().zip(classes))
        .map(|(scores, class)| {
            let percent = [scores.precision, scores.recall, scores.f1].map(number);
            let cells = percent.into_iter().chain([scores.support.to_string()]);
            (class.clone(), cells.map(Cell::new).collect())
        })
        .collect();
    page.table("Scores of each class", &head, &rows);
}
