//! Set abstraction and feature propagation.

use dfdx::prelude::{Axes2, Cpu, HasShape, Rank0, ReshapeTo, SumTo};
use equilibria_core::parameters::join;
use equilibria_core::{inventory, to_host, Matrix, Parameters};
use equilibria_fusion::layers::Initializer;
use equilibria_fusion::points::{Abstracted, FeaturePropagation, Points, Sampling, SetAbstraction};
use equilibria_fusion::Pass;

use super::{Case, Comparer};
use crate::golden::ledger::Ledger;
use crate::golden::network::{compare_gradients, matrix, restore, within, Tolerances};
use crate::{Error, Result};

inventory::submit! {
    Comparer {
        arrays: &["param.sa1.1.weight", "param.fp.1.weight", "input.xyz", "input.height"],
        compare,
    }
}

const TOLERANCES: Tolerances = Tolerances {
    forward: 1e-11,
    gradient: 1e-9,
};

/// Abstractions one after the other, and the way back from the last to the one before it.
struct Network {
    abstraction: Vec<SetAbstraction<f64, Cpu>>,
    propagation: FeaturePropagation<f64, Cpu>,
}

impl Parameters<f64, Cpu> for Network {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {
        for (number, own) in (1..).zip(&self.abstraction) {
            own.visit(&join(path, &format!("sa{number}")), visitor);
        }
        self.propagation.visit(&join(path, "fp"), visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {
        for (number, own) in (1..).zip(&mut self.abstraction) {
            own.visit_mut(&join(path, &format!("sa{number}")), visitor);
        }
        self.propagation.visit_mut(&join(path, "fp"), visitor);
    }

    fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
        for (number, own) in (1..).zip(&self.abstraction) {
            own.visit_statistics(&join(path, &format!("sa{number}")), visitor);
        }
        self.propagation
            .visit_statistics(&join(path, "fp"), visitor);
    }
}

impl Network {
    fn read(case: &Case) -> Result<Self> {
        let init = &mut Initializer::new(&Cpu::default(), 1);
        let levels = (1..).take_while(|n| case.golden.has(&format!("param.sa{n}.1.weight")));
        let mut abstraction = Vec::new();
        for level in levels {
            let inputs = case.length(&format!("param.sa{level}.1.weight"), 1)?;
            let radius = case.config["radius"][level - 1].as_f64().ok_or_else(|| {
                let message = format!(
                    "metadata.json must have a number `config.radius[{}]` for it",
                    level - 1
                );
                Error::golden(&case.golden.path, message)
            })?;
            let sampling = Sampling {
                centers: case.length(&format!("mid.sa{level}.sampled"), 1)?,
                radius,
                neighbors: case.length(&format!("mid.sa{level}.neighbors"), 2)?,
            };
            let features = inputs.checked_sub(3).ok_or_else(|| {
                Error::golden(
                    &case.golden.path,
                    "a set abstraction must have three inputs or more",
                )
            })?;
            let widths = widths(case, &format!("sa{level}"))?;
            abstraction.push(SetAbstraction::new(sampling, features, &widths, init)?);
        }
        let inputs = case.length("param.fp.1.weight", 1)?;
        let mut network = Self {
            abstraction,
            propagation: FeaturePropagation::new(inputs, &widths(case, "fp")?, init)?,
        };
        restore(&case.golden, &mut network)?;
        Ok(network)
    }
}

/// Widths of the maps of a network.
fn widths(case: &Case, name: &str) -> Result<Vec<usize>> {
    let array = |number: usize| format!("param.{name}.{number}.weight");
    let maps = (1..).take_while(|&number| case.golden.has(&array(number)));
    maps.map(|number| case.length(&array(number), 0)).collect()
}

fn compare(case: &Case, ledger: &mut Ledger) -> Result<()> {
    let (golden, network) = (&case.golden, Network::read(case)?);
    let scenes = case.length("input.xyz", 0)?;
    let (xyz, height) = (
        matrix(golden, "input.xyz", 3)?,
        matrix(golden, "input.height", 1)?,
    );
    let mut pass = Pass::training(1);
    let mut levels: Vec<Abstracted<f64, Cpu>> = Vec::new();
    for (number, own) in (1..).zip(&network.abstraction) {
        let (points, features) = match levels.last() {
            Some(last) => (last.xyz.clone(), last.features.clone()),
            None => (xyz.clone(), height.clone()),
        };
        let count = points.shape().0 / scenes;
        let level = own.forward(scenes, &points, Some(&features), &mut pass)?;
        let mut check = |what: &str, got: &[f64], tolerance| {
            ledger.compare(golden, &format!("mid.sa{number}.{what}"), got, tolerance);
        };
        check("sampled", &within(&level.sampled, count), 0.0);
        check("neighbors", &within(&level.neighbors, count), 0.0);
        check("xyz", &to_host(&level.xyz), TOLERANCES.forward);
        check("features", &to_host(&level.features), TOLERANCES.forward);
        levels.push(level);
    }
    let [.., own, known] = &levels[..] else {
        return Err(Error::golden(
            &golden.path,
            "two set abstractions are needed to propagate features",
        ));
    };
    let known_points: &Points<f64> = &known.points;
    let (features, nearest) = network.propagation.forward(
        &own.points,
        &own.features,
        known_points,
        &known.features,
        &mut pass,
    )?;
    let numbers = within(&nearest.numbers, known_points.count());
    ledger.compare(golden, "mid.fp.nearest", &numbers, 0.0);
    ledger.compare(
        golden,
        "mid.fp.weights",
        &nearest.weights,
        TOLERANCES.forward,
    );
    ledger.compare(
        golden,
        "mid.fp.features",
        &to_host(&features),
        TOLERANCES.forward,
    );

    let probe = matrix(golden, "input.target_probe", features.shape().1)?;
    let loss = pass.run(&features, |features| {
        let sum = (features * probe).sum::<Rank0, Axes2<0, 1>>();
        sum.reshape_like(&(1, 1))
    });
    ledger.compare(golden, "loss", &to_host(&loss), TOLERANCES.forward);
    let inputs = [("height", &height)];
    compare_gradients(
        golden,
        &network,
        &inputs,
        (&loss, pass),
        &TOLERANCES,
        ledger,
    )
}
