//! Questions about images with modular co-attention.

use dfdx::prelude::{Cpu, HasShape};
use equilibria_core::{from_host, inventory, to_host};
use equilibria_fusion::Pass;
use serde_json::json;

use super::{Case, Comparer};
use crate::golden::ledger::Ledger;
use crate::golden::site::{deq, Site};
use crate::Result;

inventory::submit! {
    Comparer {
        arrays: &["param.lstm.hidden.weight", "param.vision.1.guided.query.weight", "input.question", "input.image"],
        compare,
    }
}

fn compare(case: &Case, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let outputs = |name: &str| case.length(&format!("param.{name}.bias"), 0);
    let layers = (1..).take_while(|n| golden.has(&format!("param.vision.{n}.norm1.weight")));
    let solved = golden.has("param.fusion.fuse.w");
    let groups = if solved { case.size("groups")? } else { 0 };
    let fusion = match solved {
        true => deq([groups, 1]),
        false => json!({ "type": "sum" }),
    };
    let backbone = json!({
        "type": "mcan",
        "words": case.length("param.embedding.weight", 0)?,
        "embedding": case.length("param.embedding.weight", 1)?,
        "regions": case.length("input.image", 1)?,
        "hidden": outputs("image")?,
        "layers": layers.count(),
        "heads": case.size("heads")?,
        "inner": outputs("language.1.ffn.1")?,
        "pooling": outputs("language.pool.1")?,
        "width": outputs("language.pool.merge")?,
        "dropout": 0.0,
    });
    let classes = outputs("classifier")?;
    let settings = [backbone, fusion, json!({ "type": "multi-label" })];
    let site = Site::new(case, settings, &["question", "image"], classes)?;

    let targets = golden.get("input.target")?.values.clone();
    let rows = targets.len() / classes.max(1);
    let targets = from_host(&Cpu::default(), targets, (rows, classes))?;
    let mut pass = Pass::training(1);
    pass.inspect = true;
    let logits = site.model.outputs(&site.x, None, &mut pass)?;
    // The original adds up what the head takes the mean of.
    let loss = site.model.loss(&logits, &targets, &mut pass)?;
    let loss = pass.run(&loss, |loss| loss * (rows * classes) as f64);
    site.compare("out.logits", &logits, ledger);
    site.compare("out.probability", &logits.clone().sigmoid(), ledger);
    let shown = std::mem::take(&mut pass.shown);
    let names = [
        ("lstm", "lstm", None),
        ("image_in", "image_in", None),
        ("language", "language.*", None),
        ("vision", "vision.*", None),
        ("fused", "fused", None),
    ];
    site.compare_shown(&shown, &names, ledger)?;
    for (name, x) in [("mask_question", &site.x[0]), ("mask_image", &site.x[1])] {
        let count = case.length(&format!("mid.{name}"), 1)?;
        let values = to_host(x);
        let groups = values.chunks_exact(x.shape().1 / count);
        let padded = groups.map(|group| f64::from(u8::from(group.iter().all(|x| x.abs() <= 0.0))));
        ledger.compare(
            golden,
            &format!("mid.{name}"),
            &padded.collect::<Vec<_>>(),
            1e-12,
        );
    }
    let features = shown.iter().filter(|(name, _)| *name == "features");
    let features: Vec<_> = features.map(|(_, x)| x.clone()).collect();
    for (side, vector) in ["language", "vision"].iter().zip(&features) {
        site.compare(&format!("mid.{side}.vector"), vector, ledger);
    }
    site.compare_gradients(&loss, pass, ledger)?;
    if solved {
        let subject = site.subject("fusion", [groups, 1], &features)?;
        site.compare_states("deq.z", &subject, ledger)?;
        let mut of_inputs = Vec::new();
        if golden.has("jac.probes") {
            of_inputs = site.compare_penalty(&subject, "fusion", ledger)?;
        }
        for cotangents in of_inputs {
            let mut pass = Pass::training(1);
            let features = site.model.backbone.encode(&site.x, None, &mut pass)?;
            site.compare_pulled(&features, &cotangents, pass, ledger)?;
        }
    }
    Ok(())
}
