//! Which class was taken for which.

use equilibria_fusion::metrics::ConfusionMatrix;

use super::page::{number, Cell, Page};

/// The color of a single error among any number of rows, as a share of the full one.
const LEAST: f64 = 0.25;

/// With more classes, the matrix would be larger than the rest of the page: the pairs that occur most stand for it.
const MOST_CLASSES: usize = 100;

/// Rows of a list of pairs, and of classes where there are too many for a matrix.
const LISTED: usize = 100;

/// Writes the confusion matrix and the scores of every class.
pub fn write(confusion: &ConfusionMatrix, classes: &[String], page: &mut Page) {
    page.heading("Confusion matrix of the test rows");
    if confusion.classes() <= MOST_CLASSES {
        matrix(confusion, classes, page);
    } else {
        pairs(confusion, classes, page);
    }
    scores(confusion, classes, page);
}

fn matrix(confusion: &ConfusionMatrix, classes: &[String], page: &mut Page) {
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
}

/// The errors that occur most.
fn pairs(confusion: &ConfusionMatrix, classes: &[String], page: &mut Page) {
    let mut wrong: Vec<_> = (confusion.pairs())
        .filter(|(label, prediction, _)| label != prediction)
        .collect();
    wrong.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
    page.paragraph(&format!(
        "The matrix is left out: it would have {} classes, and is shown up to {MOST_CLASSES}. {} pairs of classes were taken for \
         each other; these are the most frequent, {} of them.",
        confusion.classes(),
        wrong.len(),
        wrong.len().min(LISTED)
    ));
    let name = |class: usize| classes.get(class).cloned().unwrap_or_default();
    let rows: Vec<_> = (wrong.into_iter().take(LISTED))
        .map(|(label, prediction, count)| {
            let cells = vec![Cell::new(name(prediction)), Cell::new(count)];
            (name(label), cells)
        })
        .collect();
    let head = ["true class", "predicted class", "rows"];
    page.table("Most frequent errors", &head, &rows);
}

fn scores(confusion: &ConfusionMatrix, classes: &[String], page: &mut Page) {
    let mut all: Vec<_> = confusion.per_class().into_iter().zip(classes).collect();
    if all.len() > MOST_CLASSES {
        all.sort_by_key(|(scores, _)| std::cmp::Reverse(scores.support));
        all.truncate(LISTED);
        page.paragraph(&format!("The {LISTED} classes with the most test rows:"));
    }
    let head = ["class", "precision, %", "recall, %", "F1, %", "rows"];
    let rows: Vec<_> = (all.into_iter())
        .map(|(scores, class)| {
            let percent = [scores.precision, scores.recall, scores.f1].map(number);
            let cells = percent.into_iter().chain([scores.support.to_string()]);
            (class.clone(), cells.map(Cell::new).collect())
        })
        .collect();
    page.table("Scores of each class", &head, &rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(classes: usize) -> String {
        let labels: Vec<usize> = (0..classes).collect();
        let predictions: Vec<usize> = labels.iter().map(|label| label / 2).collect();
        let names: Vec<String> = labels
            .iter()
            .map(|label| format!("class {label}"))
            .collect();
        let confusion = ConfusionMatrix::new(&predictions, &labels, classes).expect("as many");
        let mut page = Page::new("run");
        write(&confusion, &names, &mut page);
        page.finish()
    }

    #[test]
    fn a_matrix_of_too_many_classes_is_left_out_and_the_page_says_so() {
        let small = page(MOST_CLASSES);
        assert!(small.contains("Rows of each class by prediction") && !small.contains("left out"));
        let large = page(20_000);
        assert!(large.contains("The matrix is left out: it would have 20000 classes"));
        assert!(large.contains("Most frequent errors") && large.len() < 100_000);
    }
}
