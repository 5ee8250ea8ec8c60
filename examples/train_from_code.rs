//! What a configuration file holds, written in code: DEQ fusion trained on the digits for three epochs, and measured on the test rows.

use equilibria::data::MinMax;
use equilibria::dfdx::prelude::Cpu;
use equilibria::progress::Progress;
use equilibria::serde_json::{from_value, json};
use equilibria::train::{evaluate, Trainer};
use equilibria::Experiment;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let experiment: Experiment = from_value(json!({
        "data": { "type": "digits" },
        "backbone": { "type": "encoder", "hidden": 32 },
        "fusion": { "type": "deq", "solver": { "type": "anderson", "memory": 6 } },
        "training": { "epochs": 3, "optimizer": { "type": "adam", "rate": 2e-3 } },
    }))?;
    experiment.validate()?;

    // Features are scaled to [0, 1] by what the training rows show.
    let mut data = experiment.data.load()?;
    let scaling = MinMax::fit(&data.train);
    scaling.apply(&mut data.train)?;
    scaling.apply(&mut data.test)?;

    let device = Cpu::default();
    let columns: Vec<usize> = (data.train.modalities.iter())
        .map(|table| table.columns)
        .collect();
    let mut model = experiment.model::<f32, _>(&device, &columns, data.classes.len())?;
    let mut trainer = Trainer {
        model: &mut model,
        device: &device,
        training: &experiment.training,
        seed: experiment.seed,
    };
    let mut progress = Progress::new(&experiment.training)?;
    trainer.run(&data.train, None, &mut progress, &mut |_, progress| {
        if let Some(epoch) = progress.history.last() {
            let (loss, steps) = (epoch.loss, epoch.solver_steps);
            println!(
                "epoch {}: loss {loss:.3}, {steps:.1} solver steps",
                epoch.epoch
            );
        }
        Ok::<(), equilibria::Error>(())
    })?;
    println!("test: {}", evaluate(&model, &device, &data.test)?);
    Ok(())
}
