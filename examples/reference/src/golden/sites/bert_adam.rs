//! Steps of BertAdam on two parameters in groups of their own.

use dfdx::prelude::*;
use equilibria_core::{from_host, inventory, registry, to_host, Backend, Matrix};
use equilibria_fusion::layers::optimizer::{Group, Moment, Optimizer, Schedule};
use serde_json::{json, Value};

use super::{Case, Comparer};
use crate::golden::ledger::Ledger;
use crate::golden::tolerance::STEP;
use crate::{Error, Result};

inventory::submit! {
    Comparer { arrays: &["optim.w0", "optim.b0", "optim.grad_w", "optim.grad_b"], compare }
}

fn compare(case: &Case, ledger: &mut Ledger) -> Result<()> {
    let (golden, config) = (&case.golden, &case.config);
    let schedule = json!({ "type": "warmup-linear", "warmup": config["warmup"] });
    let schedule: Schedule = parsed(case, schedule)?;
    let update = json!({
        "type": "bert-adam",
        "beta1": config["betas"][0],
        "beta2": config["betas"][1],
        "epsilon": config["eps"],
    });
    let groups = [0, 1].map(|own| {
        json!({
            "names": [(own + 1).to_string()],
            "rate": config["lr"][own],
            "weight_decay": config["weight_decay"][own],
        })
    });
    let groups: Vec<Group> = parsed(case, json!(groups))?;
    let optimizer = Optimizer::new(registry::parse(update)?)?.with_groups(&groups)?;
    let mut optimizer = optimizer.with_clip_each(config["clip_norm_per_tensor"].as_f64());

    let mut parameters: Vec<Matrix<f64, Cpu>> = Vec::new();
    for name in ["optim.w0", "optim.b0"] {
        let values = golden.get(name)?.values.clone();
        let shape = (1, values.len());
        parameters.push(from_host(&Cpu::default(), values, shape)?);
    }
    let steps = golden.count("optim.grad_w");
    let (mut seen, mut factors) = ([Vec::new(), Vec::new()], Vec::new());
    for step in 0..steps {
        let moment = Moment {
            epoch: 0,
            step,
            steps: case.size("total")?,
        };
        let factor = schedule.at(moment);
        factors.push(factor);
        let mut gradients = Gradients::leaky();
        for (w, name) in parameters.iter().zip(["optim.grad_w", "optim.grad_b"]) {
            let count = w.shape().1;
            let all = golden.need(name, steps * count)?;
            let own = all[step * count..][..count].to_vec();
            Cpu::put_gradient(&mut gradients, w, own)?;
        }
        optimizer.step(&mut parameters, &mut gradients, factor, 1.0)?;
        for (seen, w) in seen.iter_mut().zip(&parameters) {
            seen.extend(to_host(w));
        }
    }
    ledger.compare(golden, "optim.factor", &factors, STEP);
    ledger.compare(golden, "optim.w", &seen[0], STEP);
    ledger.compare(golden, "optim.b", &seen[1], STEP);
    for name in ["optim.w0", "optim.b0", "optim.grad_w", "optim.grad_b"] {
        ledger.input(golden, name);
    }
    Ok(())
}

fn parsed<T: serde::de::DeserializeOwned>(case: &Case, config: Value) -> Result<T> {
    serde_json::from_value(config).map_err(|error| Error::golden(&case.golden.path, error))
}
