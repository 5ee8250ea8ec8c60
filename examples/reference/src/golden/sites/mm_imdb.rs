//! Late fusion of text and poster of a movie.

use equilibria_core::inventory;
use equilibria_fusion::data::{LabelSets, Targets};
use equilibria_fusion::Pass;
use serde_json::json;

use super::{Case, Comparer};
use crate::golden::ledger::Ledger;
use crate::golden::site::{deq, Site};
use crate::{Error, Result};

inventory::submit! {
    Comparer {
        arrays: &["param.text.maxout1.weight", "param.image.maxout1.weight", "input.text", "input.image"],
        compare,
    }
}

fn compare(case: &Case, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let units = |name: &str| Ok::<_, Error>(case.length(&format!("param.{name}.bias"), 0)? / 2);
    let hidden = [units("text.maxout1")?, units("image.maxout1")?];
    let backbone = json!({
        "type": "mm-imdb",
        "hidden": hidden,
        "width": units("text.maxout2")?,
        "dropout": 0.0,
    });
    let solved = golden.has("param.fusion.fuse.w");
    let (fusion, groups) = match solved {
        true => (deq([case.size("groups")?, 1]), case.size("groups")?),
        false => (json!({ "type": "concat" }), 0),
    };
    let labels = case.length("param.head.bias", 0)?;
    let head = json!({ "type": "multi-label" });
    let settings = [backbone, fusion, head];
    let mut site = Site::new(case, settings, &["text", "image"], labels)?;
    let targets = Targets::LabelSets(LabelSets {
        columns: labels,
        values: golden
            .get("input.target")?
            .values
            .iter()
            .map(|&v| v > 0.5)
            .collect(),
    });
    let device = &dfdx::prelude::Cpu::default();

    // In evaluation first: the other pass changes the running statistics.
    for (prefix, training) in [("eval.", false), ("", true)] {
        let mut pass = match training {
            true => Pass::training(1),
            false => Pass::evaluation(),
        };
        let features = site.model.backbone.encode(&site.x, None, &mut pass)?;
        let fused = site.model.fusion.fuse(0, &features, &mut pass)?;
        let linear = site.model.linear.as_ref();
        let logits = linear.map(|linear| pass.run(&fused, |fused| linear.forward(fused)));
        let logits = logits.unwrap_or_else(|| fused.clone());
        let loss = site.model.targets(device, &targets)?;
        let loss = site.model.loss(&logits, &loss, &mut pass)?;
        for (name, got) in [
            ("mid.text", &features[0]),
            ("mid.image", &features[1]),
            ("mid.fused", &fused),
            ("out.logits", &logits),
            ("loss", &loss),
        ] {
            site.compare(&format!("{prefix}{name}"), got, ledger);
        }
        if training {
            site.compare_gradients(&loss, pass, ledger)?;
        }
    }
    if solved {
        site.restore()?;
        let mut pass = Pass::training(1);
        let features = site.model.backbone.encode(&site.x, None, &mut pass)?;
        let subject = site.subject("fusion", [groups, 1], &features)?;
        site.compare_states("deq.z", &subject, ledger)?;
        let mut of_inputs = Vec::new();
        if golden.has("jac.probes") {
            of_inputs = site.compare_penalty(&subject, "fusion", ledger)?;
        }
        for cotangents in of_inputs {
            site.restore()?;
            let mut pass = Pass::training(1);
            let features = site.model.backbone.encode(&site.x, None, &mut pass)?;
            site.compare_pulled(&features, &cotangents, pass, ledger)?;
        }
    }
    Ok(())
}
