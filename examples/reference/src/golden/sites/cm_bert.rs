//! Sentiments of sentences as text and sound.

use equilibria_core::inventory;
use equilibria_fusion::data::Targets;
use equilibria_fusion::Pass;
use serde_json::json;

use super::{Case, Comparer};
use crate::golden::ledger::Ledger;
use crate::golden::site::{deq, Site};
use crate::Result;

inventory::submit! {
    Comparer {
        arrays: &["param.embedding.position.weight", "param.attention.audio.weight", "input.tokens", "input.audio"],
        compare,
    }
}

fn compare(case: &Case, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let layers = (1..).take_while(|n| golden.has(&format!("param.layer.{n}.query.bias")));
    let words = case.length("input.tokens", 1)?;
    let solved = golden.has("param.fusion.fuse.w");
    let groups = if solved { case.size("groups")? } else { 0 };
    // In the layout of the authors' program a row is the whole map of a sentence.
    let whole = solved && golden.count("deq.z") == case.length("input.tokens", 0)?;
    let tokens = if whole { words } else { 1 };
    let fusion = match solved {
        true => deq([groups, tokens]),
        false => json!({ "type": "weighted-sum", "bias": true }),
    };
    let backbone = json!({
        "type": "cm-bert",
        "vocabulary": case.length("param.embedding.word.weight", 0)?,
        "positions": case.length("param.embedding.position.weight", 0)?,
        "hidden": case.length("param.embedding.word.weight", 1)?,
        "layers": layers.count(),
        "heads": case.size("heads")?,
        "inner": case.length("param.layer.1.ffn.1.weight", 0)?,
        "projection": case.length("param.attention.text.weight", 0)?,
        "rows": if whole { "whole" } else { "columns" },
        "text_scale": "batch",
        "dropout": 0.0,
        "attention_dropout": 0.0,
    });
    // Scores as they are, of the numbers as they are.
    let scale = json!({ "mean": 0.0, "deviation": 1.0 });
    let head = json!({ "type": "regression", "standardization": scale });
    let settings = [backbone, fusion, head];
    let site = Site::new(case, settings, &["tokens", "audio"], 0)?;

    let targets = Targets::Numbers(golden.get("input.target")?.values.clone());
    let targets = site
        .model
        .targets(&dfdx::prelude::Cpu::default(), &targets)?;
    let mut pass = Pass::training(1);
    pass.inspect = true;
    let score = site.model.outputs(&site.x, None, &mut pass)?;
    // The original takes half of the square.
    let loss = site.model.loss(&score, &targets, &mut pass)?;
    let loss = pass.run(&loss, |loss| loss * 0.5);
    site.compare("out.score", &score, ledger);
    let shown = std::mem::take(&mut pass.shown);
    let names = [
        ("embedding", "embedding", None),
        ("layer", "layer.*", None),
        ("audio_map", "audio_map", None),
        ("text_map", "text_map", None),
        ("fused", "fused", Some([words, words])),
        ("attention", "attention", None),
        ("first", "first", None),
    ];
    site.compare_shown(&shown, &names, ledger)?;
    // That of the whole batch stands in every row.
    let scales = shown.iter().filter(|(name, _)| *name == "text_scale");
    for scale in scales.flat_map(|(_, scale)| equilibria_core::to_host(scale)) {
        ledger.compare(golden, "mid.text_scale", &[scale], 1e-12);
    }
    site.compare_gradients(&loss, pass, ledger)?;
    if solved {
        let features = shown.iter().filter(|(name, _)| *name == "features");
        let features: Vec<_> = features.map(|(_, x)| x.clone()).collect();
        let subject = site.subject("fusion", [groups, tokens], &features)?;
        site.compare_states("deq.z", &subject, ledger)?;
    }
    Ok(())
}
