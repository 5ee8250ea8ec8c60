//! Questions about images with MUTAN's attention.

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
        arrays: &["param.gru.r.hidden.weight", "param.attention.score.weight", "input.question", "input.image"],
        compare,
    }
}

fn compare(case: &Case, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let outputs = |name: &str| case.length(&format!("param.{name}.bias"), 0);
    let glimpses = outputs("attention.score")?;
    let regions = case.length("input.image", 1)?;
    let in_attention = golden.has("param.attention.deq.fuse.w");
    let solved = golden.has("param.fusion.deq.fuse.w");
    // The width of a sum of products, and the number of its terms.
    let product = |site: &str| -> Result<[usize; 2]> {
        let name = |term: usize| format!("param.{site}.mutan.hq.{term}.weight");
        let terms = (1..).take_while(|&term| golden.has(&name(term))).count();
        match terms {
            0 => Ok([1, 1]),
            terms => Ok([case.length(&name(1), 0)?, terms]),
        }
    };
    let common = match solved {
        true => outputs("fusion.deq.fuse.alpha")?,
        false => 1,
    };
    let places: &[&str] = match in_attention {
        true => &["attention", "classifier"],
        false => &["classifier"],
    };
    let backbone = json!({
        "type": "mutan",
        "words": case.length("param.embedding.weight", 0)?,
        "embedding": case.length("param.embedding.weight", 1)?,
        "question": outputs("gru.r.input")?,
        "regions": regions,
        "attention": [outputs("attention.question")?, outputs("attention.image")?],
        "product": product("attention")?,
        "glimpses": glimpses,
        "features": [outputs("fusion.question")?, outputs("fusion.image.1")?],
        "common": common,
        "where": places,
        "dropout": 0.0,
    });
    let groups = if solved { case.size("groups")? } else { 0 };
    let fusion = match solved {
        true => deq([groups, 1]),
        false => {
            let [width, rank] = product("fusion")?;
            json!({ "type": "mutan", "width": width, "rank": rank, "project": false, "output": false })
        }
    };
    let classes = outputs("classifier")?;
    let settings = [backbone, fusion, json!({ "type": "multi-class" })];
    let site = Site::new(case, settings, &["question", "image"], classes)?;

    let answers = golden.get("input.answer")?.values.iter();
    let targets = Targets::Classes(answers.map(|&answer| answer as usize).collect());
    let targets = site
        .model
        .targets(&dfdx::prelude::Cpu::default(), &targets)?;
    let mut pass = Pass::training(1);
    pass.inspect = true;
    let logits = site.model.outputs(&site.x, None, &mut pass)?;
    let loss = site.model.loss(&logits, &targets, &mut pass)?;
    site.compare("out.logits", &logits, ledger);
    let names = [
        ("states", "states", None),
        ("question", "question", None),
        ("attention_fused", "attention_fused", None),
        ("weights", "attention", Some([glimpses, regions])),
        ("attended", "attended", None),
        ("query", "query", None),
        ("image", "image", None),
        ("fused", "fused", None),
    ];
    let shown = std::mem::take(&mut pass.shown);
    site.compare_shown(&shown, &names, ledger)?;
    site.compare_gradients(&loss, pass, ledger)?;
    if solved {
        let features: Vec<_> = shown
            .iter()
            .filter(|(name, _)| *name == "features")
            .collect();
        let slots: &[&str] = match in_attention {
            true => &["attention", "fusion"],
            false => &["fusion"],
        };
        for (slot, features) in slots.iter().zip(features.chunks(2)) {
            let features: Vec<_> = features.iter().map(|(_, x)| x.clone()).collect();
            let subject = site.subject(&format!("{slot}.deq"), [groups, 1], &features)?;
            site.compare_states(&format!("deq.{slot}.z"), &subject, ledger)?;
        }
    }
    Ok(())
}
