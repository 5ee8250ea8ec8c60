//! Metrics of sentiments.

use equilibria_core::inventory;
use equilibria_fusion::metrics::{Regression, Zero};

use super::{Case, Comparer};
use crate::golden::ledger::Ledger;
use crate::golden::tolerance::STEP;
use crate::Result;

inventory::submit! {
    Comparer { arrays: &["metric.pred", "metric.target", "metric.acc7", "metric.mae"], compare }
}

fn compare(case: &Case, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let [predictions, targets] = ["metric.pred", "metric.target"].map(|name| golden.get(name));
    let pairs = Regression::new(&predictions?.values, &targets?.values);
    let pairs = pairs.map_err(equilibria_core::Error::from)?;
    let [negative, exclude, positive] =
        [Zero::Negative, Zero::Exclude, Zero::Positive].map(|zero| pairs.signs(zero));
    let percent = |name: &str, value: f64| (format!("metric.{name}"), value / 100.0);
    for (name, value) in [
        percent("acc7", pairs.seven_classes().accuracy()),
        percent("acc2_zero_is_negative", negative.accuracy()),
        percent("acc2_without_zero", exclude.accuracy()),
        percent("acc2_zero_is_positive", positive.accuracy()),
        percent(
            "f1_weighted_by_prediction",
            negative.prediction_weighted_f1(),
        ),
        percent("f1_weighted_by_target", negative.weighted_f1()),
        percent("f1_without_zero_by_target", exclude.weighted_f1()),
        ("metric.mae".to_owned(), pairs.mean_absolute_error()),
        (
            "metric.corr".to_owned(),
            pairs.correlation().unwrap_or(f64::NAN),
        ),
    ] {
        ledger.compare(golden, &name, &[value], STEP);
    }
    ledger.input(golden, "metric.pred");
    ledger.input(golden, "metric.target");
    Ok(())
}
