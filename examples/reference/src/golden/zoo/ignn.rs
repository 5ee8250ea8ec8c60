//! The implicit graph neural network.

use equilibria_core::{from_host, Backend, Parameters};
use equilibria_fusion::layers::plugins::ignn::Ignn;
use equilibria_fusion::layers::Activation;
use serde_json::json;

use crate::golden::layer::{width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::tolerance::{SOLVED, STEP};
use crate::golden::zoo::Case;
use crate::Result;

comparer!(
    "ignn",
    ["param.W", "param.Omega_1", "input.U", "input.A"],
    compare
);

fn compare<D: Backend<f64>>(case: &Case<D>, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let (own, features) = (width(golden, "param.W")?, width(golden, "param.Omega_1")?);
    let nodes = width(golden, "input.U")? / features.max(1);
    let config = json!({
        "type": "ignn",
        "nodes": nodes,
        "width": own,
        "features": features,
        "activation": case.word("phi")?,
        "normalize": false,
    });
    let subject = Subject::new(case, config, nodes * own, &["U", "A"])?;
    subject.compare(golden, ledger)?;
    compare_projection(case, own, ledger)?;
    compare_perron_vectors(case, nodes, ledger)?;
    ledger.input(golden, "labels");
    Ok(())
}

/// The projection of a W that is outside the ball.
fn compare_projection<D: Backend<f64>>(
    case: &Case<D>,
    own: usize,
    ledger: &mut Ledger,
) -> Result<()> {
    let golden = &case.golden;
    if !golden.has("projection.raw") {
        return Ok(());
    }
    let device = &case.device;
    let raw = golden.need("projection.raw", own * own)?.to_vec();
    let mut layer: Ignn<f64, D> = Ignn {
        w: from_host(device, raw, (own, own))?,
        omega: device.zeros_like(&(own, 1)),
        nodes: 1,
        activation: Activation::Relu,
        normalize: false,
        edge_gradients: true,
        readout: equilibria_fusion::layers::plugins::ignn::Readout::Nodes,
        radius: golden.need("projection.radius", 1)?[0],
    };
    layer.project()?;
    ledger.compare(golden, "param.W", &layer.w.as_vec(), STEP);
    ledger.input(golden, "projection.raw");
    ledger.input(golden, "projection.radius");
    Ok(())
}

/// `certificate.v` is the left Perron vector of |A|, up to its length: its own image, which is compared at the length it has.
fn compare_perron_vectors<D: Backend<f64>>(
    case: &Case<D>,
    nodes: usize,
    ledger: &mut Ledger,
) -> Result<()> {
    let golden = &case.golden;
    let Ok(vectors) = golden.get("certificate.v") else {
        return Ok(());
    };
    let graphs = golden.get("input.A")?.values.chunks_exact(nodes * nodes);
    let mut images = Vec::new();
    for (v, a) in vectors.values.chunks_exact(nodes).zip(graphs) {
        let image: Vec<f64> = (0..nodes)
            .map(|to| {
                (0..nodes)
                    .map(|from| a[from * nodes + to].abs() * v[from])
                    .sum()
            })
            .collect();
        let rate = image.iter().sum::<f64>() / v.iter().sum::<f64>();
        images.extend(image.into_iter().map(|entry| entry / rate));
    }
    let scale = vectors
        .values
        .iter()
        .fold(1.0_f64, |all, v| all.max(v.abs()));
    ledger.compare(golden, "certificate.v", &images, SOLVED * scale);
    Ok(())
}
