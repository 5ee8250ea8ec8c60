//! How well each of several labels is found.

use equilibria_fusion::metrics::MultiLabel;

use super::page::{number, Cell, Page};

/// Writes the scores of every label.
pub fn write(counts: &MultiLabel, labels: &[String], page: &mut Page) {
    page.heading("Labels of the test rows");
    page.paragraph("One row per label; the longer the bar, the larger F1. A label that is neither predicted nor there has 0.");
    let head = ["label", "precision, %", "recall, %", "F1, %", "rows"];
    let rows: Vec<_> = (counts.per_class().iter().zip(labels))
        .map(|(scores, label)| {
            let cells = vec![
                Cell::new(number(scores.precision)),
                Cell::new(number(scores.recall)),
                Cell::bar(number(scores.f1), scores.f1 / 100.0),
                Cell::new(scores.support),
            ];
            (label.clone(), cells)
        })
        .collect();
    page.table("Scores of each label", &head, &rows);
}
