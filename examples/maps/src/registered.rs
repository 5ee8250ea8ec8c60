//! Registered layers, as `docs/originals.py` writes them: parameters under the names that the authors' code has for them.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria::prelude::*;
use equilibria::serde_json::{from_str, json, Value};
use equilibria::Renamed;
use safetensors::SafeTensors;

use crate::{load, matrix, median, Layer, Outcome};

/// Times the layer of a file whose metadata has its configuration, `layer`, and those of `solver` and `backward`; `false` where they are
/// not there.
///
/// The line has relative errors, in the 2-norm, of the state beside the array `z` of the file, and of all gradients of the mean of
/// squared differences from `target` beside its arrays `grad.*`: both sides of a comparison have to be at the same equilibrium.
pub fn time(name: &str, bytes: &[u8], inputs: &[Matrix<f32, Cpu>], seconds: f64) -> Outcome<bool> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let entry = |key: &str| header.metadata().as_ref().and_then(|all| all.get(key));
    let entries = (entry("layer"), entry("solver"), entry("backward"));
    let (Some(layer), Some(solver), Some(backward)) = entries else {
        return Ok(false);
    };
    let [layer, solver, backward]: [Value; 3] =
        [from_str(layer)?, from_str(solver)?, from_str(backward)?];
    let (file, device) = (SafeTensors::deserialize(bytes)?, Cpu::default());
    let [z, target] = [file.tensor("z")?, file.tensor("target")?];
    let [z, target] = [matrix(&device, &z)?, matrix(&device, &target)?];
    let config = registry::make::<dyn LayerConfig>(&layer)?;
    let request = LayerRequest {
        state: z.shape().1,
        inputs: &inputs.iter().map(|x| x.shape().1).collect::<Vec<_>>(),
        init: &mut Initializer::new(&device, 1),
    };
    let made: Layer = <Cpu as Backend<f32>>::build::<Layers>(&*config, request)?;
    let mut renamed = Renamed::new(made, config.original_names());
    load(&mut renamed, &file, &device)?;
    let names: Vec<String> = renamed.named().into_iter().map(|(name, _)| name).collect();
    let solver: Arc<dyn FixedPointSolver> = registry::make::<dyn FixedPointSolver>(&solver)?.into();
    let backward = registry::make::<dyn BackwardStrategy>(&backward)?;
    let mut equilibrium = Equilibrium::new(renamed.inner, solver, backward);
    equilibrium.stop.max_evaluations = 500;

    // Where it is the state itself, as for most, nothing is computed twice.
    let splits = layer["splitting"] == "peaceman-rachford";
    let output = |z: Matrix<f32, Cpu, OwnedTape<f32, Cpu>>| match splits {
        true => equilibrium.output(z, inputs),
        false => Ok(z),
    };
    let solved = equilibrium.forward(inputs, OwnedTape::default())?;
    let (report, given) = (solved.report, output(solved.z)?);
    let state = given.as_vec();
    let mut gradients = (given - target.clone())
        .square()
        .mean::<Rank0, _>()
        .backward();
    let (mut got, mut wanted) = (Vec::new(), Vec::new());
    for (name, (_, parameter)) in names.iter().zip(equilibrium.named()) {
        gradients.try_alloc_for(&parameter)?;
        got.extend(gradients.get(&parameter).as_vec());
        wanted.extend(matrix(&device, &file.tensor(&format!("grad.{name}"))?)?.as_vec());
    }
    let solve = || {
        let z = equilibrium.forward(inputs, NoneTape)?.z;
        match splits {
            true => equilibrium.output(z, inputs).map(|_| ()),
            false => Ok(()),
        }
    };
    let solve_ms = median(seconds, solve)?;
    let train_ms = median(seconds, || {
        let solved = equilibrium.forward(inputs, OwnedTape::default())?;
        (output(solved.z)? - target.clone())
            .square()
            .mean::<Rank0, _>()
            .backward();
        Ok(())
    })?;
    let line = json!({"map": name, "path": "program", "solve_ms": solve_ms, "train_ms": train_ms,
        "evaluations": report.mean_evaluations(), "unconverged": report.unconverged(),
        "error": distance(&state, &z.as_vec()), "gradient_error": distance(&got, &wanted)});
    println!("{line}");
    Ok(true)
}

/// ‖a − b‖ / ‖b‖; not a number where they do not fit.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return f64::NAN;
    }
    let norm = |of: &mut dyn Iterator<Item = f32>| of.map(|v| f64::from(v).powi(2)).sum::<f64>();
    let off = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    (off / norm(&mut b.iter().copied())).sqrt()
}
