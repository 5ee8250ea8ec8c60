use dfdx::prelude::Cpu;
use equilibria_fusion::progress::Progress;
use equilibria_fusion::train::Trainer;
use equilibria_fusion::{DataSource, Experiment, Model};
use serde_json::json;

#[test]
fn seed() {
    let folder = tempfile::tempdir().expect("f");
    for (name, text) in [
        ("1_tr.csv", "1,2\n3,4\n5,6\n7,8\n"),
        ("1_te.csv", "7,8\n9,1\n"),
        ("2_tr.csv", "0.5\n-1.5\n2e-3\n4\n"),
        ("2_te.csv", "0\n1\n"),
        ("labels_tr.csv", "0\n1\n1\n0\n"),
        ("labels_te.csv", "0\n1\n"),
    ] {
        std::fs::write(folder.path().join(name), text).expect("w");
    }
    for (fusion, start) in [("deq", "warm"), ("deq", "zero")] {
        let experiment: Experiment = serde_json::from_value(json!({
            "data": { "type": "folder", "path": folder.path() },
            "backbone": { "type": "encoder", "hidden": 2 },
            "fusion": { "type": fusion, "groups": 1, "start": start },
            "training": { "epochs": 1, "batch": 4, "average": 0.9, "optimizer": { "type": "adam", "rate": 1e-3 } },
        }))
        .expect("c");
        let device = Cpu::default();
        let mut model: Model<f64, Cpu> = experiment.model(&device, &[2, 1], 2).expect("m");
        let source: &dyn DataSource = &*experiment.data;
        let set = source.load().expect("d");
        let mut progress = Progress::new(&experiment.training).expect("p");
        let fresh = progress.snapshot(&model, Default::default()).into_bytes().expect("b");
        std::fs::write(format!("/tmp/seed-fresh-{start}.safetensors"), fresh).expect("w");
        Trainer { model: &mut model, device: &device, training: &experiment.training, seed: 1 }
            .run::<equilibria_core::Error>(&set.train, None, &mut progress, &mut |m, p| {
                let bytes = p.snapshot(m, Default::default()).into_bytes().expect("b");
                std::fs::write(format!("/tmp/seed-{start}.safetensors"), bytes).expect("w");
                Ok(())
            })
            .expect("r");
    }
}
