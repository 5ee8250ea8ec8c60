//! Metrics of several labels per row.

use equilibria_core::{inventory, registry};
use equilibria_fusion::data::{LabelSets, Targets};
use equilibria_fusion::head::Comparison;
use equilibria_fusion::Head;
use serde_json::json;

use super::{Case, Comparer};
use crate::golden::ledger::Ledger;
use crate::golden::tolerance::STEP;
use crate::Result;

inventory::submit! {
    Comparer { arrays: &["metric.logits", "metric.f1_micro", "metric.f1_macro"], compare }
}

fn compare(case: &Case, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let logits = &golden.get("metric.logits")?.values;
    let columns = case.length("metric.target", 1)?;
    let targets = Targets::LabelSets(LabelSets {
        columns,
        values: golden
            .get("metric.target")?
            .values
            .iter()
            .map(|&v| v > 0.5)
            .collect(),
    });
    let head = registry::make::<dyn Head>(&json!({ "type": "multi-label" }))?;
    let (values, comparison) =
        (head.score(logits, &targets)).map_err(equilibria_core::Error::from)?;
    for (metric, value) in head.metrics().iter().zip(values) {
        let Some(average) = metric.key.strip_suffix("_f1") else {
            continue;
        };
        let name = format!("metric.f1_{average}");
        ledger.compare(golden, &name, &[value / 100.0], STEP);
    }
    if let Comparison::LabelSets(counts) = &comparison {
        let scores = counts.per_class().into_iter();
        let scores: Vec<f64> = scores.map(|class| class.f1 / 100.0).collect();
        ledger.compare(golden, "metric.f1_per_class", &scores, STEP);
    }
    let names: Vec<String> = (0..columns).map(|label| label.to_string()).collect();
    let mut predicted = Vec::new();
    for row in logits.chunks_exact(columns.max(1)) {
        let said = head.predict(row, &names).concat().swap_remove(0);
        let said: Vec<&str> = said.split(';').collect();
        let bits = names.iter().map(|name| said.contains(&name.as_str()));
        predicted.extend(bits.map(|bit| f64::from(u8::from(bit))));
    }
    ledger.compare(golden, "metric.pred", &predicted, STEP);
    ledger.input(golden, "metric.logits");
    ledger.input(golden, "metric.target");
    Ok(())
}
