//! How well questions are answered, by the type of their answers.

use equilibria_fusion::metrics::VqaAccuracy;

use super::page::{number, Cell, Page};

/// Writes the accuracy of every type.
pub fn write(accuracy: &VqaAccuracy, page: &mut Page) {
    page.heading("Answers to the test rows");
    page.paragraph("One row per type of answer; the longer the bar, the larger the accuracy. An answer that at least four of ten people gave counts as right, one that n fewer gave as 0.3 n.");
    let row = |name: &str, mean: f64, count: usize| {
        let cells = vec![Cell::bar(number(mean), mean / 100.0), Cell::new(count)];
        (name.to_owned(), cells)
    };
    let types = accuracy.by_type();
    let mut rows: Vec<_> = types
        .map(|(name, mean, count)| row(name, mean, count))
        .collect();
    rows.push(row("all", accuracy.overall(), accuracy.questions()));
    let head = ["type", "VQA accuracy, %", "rows"];
    page.table("Accuracy by type of answer", &head, &rows);
}
