//! DEQ fusion between modules of one's own: two sensors, each with an encoder, are fused at an equilibrium and tell one number.

use dfdx::prelude::*;
use equilibria::modules::Linear;
use equilibria::optimizer::{Adam, Optimizer, OptimizerConfig};
use equilibria::prelude::*;

struct Model<E: Scalar, D: Backend<E>> {
    encoders: Vec<Linear<E, D>>,
    fusion: Box<dyn Fusion<E, D>>,
    readout: Linear<E, D>,
}

parameters!(Model {
    encoders,
    fusion,
    readout
});

impl<E: Scalar, D: Backend<E>> Model<E, D> {
    /// For sensors of so many features each.
    fn new(sensors: &[usize], width: usize, init: &mut Initializer<D>) -> Result<Self> {
        let mut encoders = Vec::new();
        for features in sensors {
            encoders.push(Linear::xavier(width, *features, init)?);
        }
        Ok(Self {
            encoders,
            fusion: equilibria::fusion("deq", sensors.len(), width, init)?,
            readout: Linear::xavier(1, width, init)?,
        })
    }

    fn predict(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let encoded = self.encoders.iter().zip(x);
        let features: Vec<_> = encoded
            .map(|(encoder, x)| pass.run(x, |x| encoder.forward(x).tanh()))
            .collect();
        let fused = self.fusion.fuse(&features, pass)?;
        Ok(pass.run(&fused, |fused| self.readout.forward(fused)))
    }
}

fn main() -> Result<()> {
    let mut init = Initializer::new(&Cpu::default(), 1);
    let x: [Matrix<f32, Cpu>; 2] = [init.normal((64, 5), 1.0)?, init.normal((64, 3), 1.0)?];
    // What neither sensor knows alone.
    let first = |sensor: usize| x[sensor].clone().slice((.., 0..1)).realize();
    let target: Matrix<f32, Cpu> = (first(0) + first(1)).tanh();

    let mut model = Model::new(&[5, 3], 16, &mut init)?;
    let adam = Adam {
        rate: 5e-3,
        ..Adam::default()
    };
    let mut optimizer = Optimizer::new(OptimizerConfig::Adam(adam))?;
    for step in 0..100 {
        let mut pass = Pass::training(step);
        let outputs = model.predict(&x, &mut pass)?;
        let loss = pass.run(&outputs, |outputs| {
            (outputs - target.clone())
                .square()
                .mean::<Rank0, _>()
                .reshape_like(&(1, 1))
        });
        let mut outcome = pass.backward(&loss)?;
        if step % 20 == 0 {
            let unsolved: usize = outcome
                .reports
                .iter()
                .map(|(_, report, _)| report.unconverged())
                .sum();
            println!(
                "step {step:3}: loss {:.4}, unconverged: {unsolved}",
                outcome.loss
            );
        }
        optimizer.step(&mut model, &mut outcome.gradients, 1.0, 1.0)?;
    }
    Ok(())
}
