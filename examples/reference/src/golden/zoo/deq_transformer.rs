//! The deep equilibrium transformer: post-norm, with memory, normalized before, and as an encoder with a mask.

use equilibria_core::Backend;
use serde_json::json;

use crate::golden::layer::{width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::zoo::Case;
use crate::{Error, Result};

comparer!(
    "deq_transformer",
    [
        "param.inject_conv.weight",
        "param.func.dec_attn.qkv_net.weight",
        "input.x"
    ],
    compare
);

fn compare<D: Backend<f64>>(case: &Case<D>, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let own = width(golden, "param.func.dec_attn.qkv_net.weight")?;
    let features = width(golden, "param.inject_conv.weight")?;
    let tokens = width(golden, "input.x")? / features.max(1);
    let norm = match case.word("norm")? {
        "post" => "post",
        "pre" => "pre-normalized",
        other => {
            let message = format!("no place of a norm is called `{other}`");
            return Err(Error::golden(&golden.path, message));
        }
    };
    let relative = golden.has("param.func.dec_attn.r_net.weight");
    let (memory, masked) = (golden.has("input.mems"), golden.has("mask"));
    let config = json!({
        "type": "transformer",
        "tokens": tokens,
        "width": own,
        "features": features,
        "heads": case.size("n_head")?,
        "inner": golden.count("param.func.pos_ff.ff1_net.weight"),
        "memory": if memory { width(golden, "input.mems")? / own.max(1) } else { 0 },
        "positions": if relative { "relative" } else { "none" },
        "causal": case.truth("causal", relative),
        "masked": masked,
        "norm": norm,
    });
    let optional = [(memory, "mems"), (memory, "mems_u"), (masked, "mask")];
    let optional = optional.iter().filter(|(there, _)| *there);
    let inputs: Vec<&str> = std::iter::once("x")
        .chain(optional.map(|(_, name)| *name))
        .collect();
    let mut subject = Subject::new(case, config, tokens * own, &inputs)?;
    // There may be several equilibria: plain iteration from 0 comes to this one, if it comes to rest.
    subject.solver = json!({ "type": "picard" });
    subject.several = true;
    subject.compare(golden, ledger)?;
    ledger.input(golden, "mask");
    Ok(())
}
