//! Which class was taken for which.

use equilibria_fusion::metrics::ConfusionMatrix;

use super::page::{number, Cell, Page};

/// Writes the confusion matrix and the scores of every class.
pub fn write(confusion: &ConfusionMatrix, classes: &[String], page: &mut Page) {
    page.heading("Confusion matrix of the test rows");
    page.paragraph("One row per true class, one column per predicted class; the stronger the color, the larger the share of its row.");
    let mut head = vec!["true class"];
    head.extend(classes.iter().map(String::as_str));
    let rows: Vec<_> = (confusion.counts().iter().zip(classes))
        .map(|(counts, class)| {
            let total = counts.iter().sum::<usize>().max(1) as f64;
            let cells = counts.iter();
            let cells = cells.map(|&count| Cell::shaded(count, count as f64 / total));
            (class.clone(), cells.collect())
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
