//! Every module, layer, loss, head and fusion with arguments that are contiguous, permuted, broadcast or repeated: gradients
//! against central differences.

#[path = "views/arguments.rs"]
mod arguments;
mod building;

use arguments::{check, check_at, on_tape, weights, Array, Found};
use building::Case;
use dfdx::prelude::*;
use equilibria_core::serde_json::{json, Value};
use equilibria_core::{
    apply, output, registry, AnyLayer, Backend, BackwardStrategy, Equilibrium, FixedPointSolver,
    ImplicitLayer, OnUnconverged, Parameters, Result, StepOnly, Stop, Tolerance,
};
use equilibria_fusion::data::TargetKind;
use equilibria_fusion::head::{Head, Losses};
use equilibria_fusion::layers::modules::{self, GroupNorm, Linear};
use equilibria_fusion::layers::{Initializer, LayerConfig, LayerRequest, Layers, Sizes};
use equilibria_fusion::{loss, FusionConfig, Pass};

/// Square matrices among the arguments: parameters and inputs of one shape are repeated together.
const ROWS: usize = 12;
const WIDTH: usize = 12;

/// Rows of an equilibrium: the fewer, the fewer kinks of ReLUs are met.
const FEW: usize = 3;

const TIGHT: f64 = 1e-13;

/// All arguments of size 1.
const ONE: fn(usize) -> f64 = |_| 1.0;

fn tight() -> Stop {
    Stop {
        max_evaluations: 1000,
        patience: 100,
        on_unconverged: OnUnconverged::Error,
        ..Stop::at(Tolerance::relative(TIGHT))
    }
}

/// A configuration with accurate solves by what gets along with kinks.
fn accurate(mut config: Value) -> Value {
    for (key, field) in config.as_object_mut().into_iter().flatten() {
        *field = match key.as_str() {
            "stop" => json!(tight()),
            "solver" => json!({ "type": "newton-gmres" }),
            _ => accurate(field.take()),
        };
    }
    config
}

#[test]
fn every_module() {
    let (x, w, b) = ((ROWS, WIDTH), (WIDTH, WIDTH), (1, WIDTH));
    check(
        "linear",
        ONE,
        &[x, w, b],
        on_tape(|a, tape| {
            let linear = Linear::new(a[1].clone(), a[2].clone());
            Ok(linear.forward(a[0].clone().put_tape(tape)).split_tape())
        }),
    );
    // More outputs than rows: the other way to multiply.
    check(
        "linear of few rows",
        ONE,
        &[(17, 5), (40, 5), (1, 40)],
        on_tape(|a, tape| {
            let linear = Linear::new(a[1].clone(), a[2].clone());
            Ok(linear.forward(a[0].clone().put_tape(tape)).split_tape())
        }),
    );
    check(
        "linear of data",
        ONE,
        &[w, b],
        on_tape(|a, tape| {
            let linear = Linear::new(a[0].clone(), a[1].clone());
            let data = weights(&a[0])?.permute::<_, Axes2<1, 0>>();
            Ok(linear.forward_data(&data, tape).split_tape())
        }),
    );
    check(
        "group-norm",
        ONE,
        &[x, b, b],
        on_tape(|a, tape| {
            let mut init = Initializer::new(&Cpu::default(), 1);
            let mut norm: GroupNorm<f64, Cpu> = GroupNorm::new(WIDTH, 4, &mut init)?;
            (norm.weight, norm.bias) = (a[1].clone(), a[2].clone());
            Ok(norm.forward(a[0].clone().put_tape(tape)).split_tape())
        }),
    );
    check(
        "columns",
        ONE,
        &[x],
        on_tape(|a, tape| {
            let (first, tape) = modules::columns(a[0].clone().put_tape(tape), 1..5)?.split_tape();
            let second = modules::columns(a[0].clone().put_tape(tape), 3..7)?;
            Ok((second * first).split_tape())
        }),
    );
    check(
        "concatenate",
        ONE,
        &[x, x, (ROWS, 2)],
        on_tape(modules::concatenate),
    );
    check(
        "weighted combination",
        ONE,
        &[(1, 3), x, x, x],
        on_tape(|a, tape| modules::linear_combination(Some(&a[0]), &a[1..], tape)),
    );
    check(
        "sum",
        ONE,
        &[x, x, x],
        on_tape(|a, tape| modules::linear_combination(None, a, tape)),
    );
    check(
        "scale-rows",
        ONE,
        &[(ROWS, 1), x],
        on_tape(
            |a, tape| Ok(modules::scale_rows(&a[0], a[1].clone().put_tape(tape))?.split_tape()),
        ),
    );
    type Pointwise = fn(arguments::Traced) -> Result<arguments::Traced>;
    let pointwise: [(&str, Pointwise); 5] = [
        ("relu", modules::relu),
        ("sigmoid", modules::sigmoid),
        ("mean", modules::mean),
        ("dropout", |x| modules::dropout(x, 0.3, 5)),
        ("times-data", |x| {
            let factor = weights(&x.retaped::<NoneTape>())?;
            modules::times_data(x, &factor)
        }),
    ];
    for (name, operation) in pointwise {
        let operation = on_tape(|a, tape| Ok(operation(a[0].clone().put_tape(tape))?.split_tape()));
        check(name, ONE, &[x], operation);
    }
}

/// 1 in one column of every row.
fn one_hot(shape: (usize, usize)) -> Array {
    let bit = |index: usize| f64::from(u8::from(index / shape.1 % shape.1 == index % shape.1));
    Cpu::default().tensor_from_vec((0..shape.0 * shape.1).map(bit).collect(), shape)
}

#[test]
fn every_loss() {
    let shape = (ROWS, 3);
    type Loss = fn(arguments::Traced, &Array) -> Result<arguments::Traced>;
    let losses: [(&str, Loss); 5] = [
        ("cross-entropy", loss::cross_entropy),
        ("true-class probability", |x, y| {
            Ok(loss::true_class_probability(x, y))
        }),
        ("binary cross-entropy", loss::binary_cross_entropy),
        ("absolute error", loss::absolute_error),
        ("squared error", loss::squared_error),
    ];
    for (name, loss) in losses {
        let targets = one_hot(shape);
        let of = on_tape(|a, tape| Ok(loss(a[0].clone().put_tape(tape), &targets)?.split_tape()));
        check(name, ONE, &[shape], of);
    }
}

#[test]
fn every_head() -> Result<()> {
    for plugin in registry::of_kind("head")? {
        let head = registry::make::<dyn Head>(&plugin.default)?;
        let shape = match head.targets() {
            TargetKind::Number => (ROWS, 1),
            _ => (ROWS, head.outputs(3)),
        };
        let (loss, targets) = (
            <Cpu as Backend<f64>>::build::<Losses>(&*head, ())?,
            one_hot(shape),
        );
        let of = on_tape(|a, tape| Ok(loss(a[0].clone().put_tape(tape), &targets)?.split_tape()));
        check(&plugin.name, ONE, &[shape], of);
    }
    Ok(())
}

/// The layer with these parameters.
fn with_parameters<P: Parameters<f64, Cpu>>(mut parts: P, parameters: &[Array]) -> P {
    let mut parameters = parameters.iter();
    parts.visit_mut("", &mut |_, tensor| {
        if let Some(parameter) = parameters.next() {
            *tensor = parameter.clone();
        }
    });
    parts
}

fn layer(config: &Value) -> Result<AnyLayer<f64, Cpu>> {
    let config = registry::make::<dyn LayerConfig>(config)?;
    let sizes = config.sizes().unwrap_or(Sizes {
        state: WIDTH,
        inputs: vec![WIDTH],
    });
    let request = LayerRequest {
        state: sizes.state,
        inputs: &sizes.inputs,
        init: &mut Initializer::new(&Cpu::default(), 1),
    };
    <Cpu as Backend<f64>>::build::<Layers>(&*config, request)
}

/// Shapes of the parameters of a layer.
fn shapes(parts: &impl Parameters<f64, Cpu>) -> Vec<(usize, usize)> {
    parts.named().iter().map(|(_, p)| *p.shape()).collect()
}

/// All layers, and one with an option that changes the map.
fn layers() -> Result<Vec<Value>> {
    let plugins = registry::of_kind("layer")?.into_iter();
    let configs = plugins.map(|plugin| plugin.default);
    let skip = json!({ "type": "residual-block", "skip": true });
    Ok(configs.chain([skip]).collect())
}

/// The step and the output.
#[test]
fn every_layer_applied_once() -> Result<()> {
    for config in layers()? {
        let layer = layer(&config)?;
        let parameters = shapes(&layer);
        let widths = [vec![layer.state_dim()], layer.input_dims()].concat();
        let rows = widths.into_iter().map(|width| (FEW, width));
        let all = [parameters.clone(), rows.collect()].concat();
        let both = on_tape(|a, tape| {
            let (parameters, rest) = a.split_at(parameters.len());
            let layer = with_parameters(layer.clone(), parameters);
            let (z, x) = rest.split_first().expect("a state");
            let y = apply(&layer, z.clone().put_tape(tape), x)?;
            Ok(output(&layer, y, x)?.split_tape())
        });
        let positive = registry::make::<dyn LayerConfig>(&config)?.needs_positive();
        let number = |index, normal: f64| match positive && index >= parameters.len() {
            true => 0.2 + normal.abs(),
            false => normal,
        };
        check_at(&format!("{config}, step"), number, &all, both);
    }
    Ok(())
}

fn check_equilibrium<L: ImplicitLayer<f64, Cpu>>(name: &str, layer: &L) -> Result<()> {
    let all = [shapes(layer), vec![(FEW, WIDTH)]].concat();
    let backward = accurate(json!({ "type": "implicit", "stop": {}, "solver": {} }));
    let of = on_tape(|a, tape| {
        let (x, parameters) = a.split_last().expect("an input");
        let mut equilibrium = Equilibrium::new(
            with_parameters(dyn_clone::clone(layer), parameters),
            registry::default::<dyn FixedPointSolver>("newton-gmres")?,
            registry::make::<dyn BackwardStrategy>(&backward)?,
        );
        equilibrium.stop = tight();
        let solved = equilibrium.forward(std::slice::from_ref(x), tape)?;
        Ok(solved.z.split_tape())
    });
    // Small parameters make contractions.
    let size = |index| if index + 1 < all.len() { 0.1 } else { 1.0 };
    check(name, size, &all, of);
    Ok(())
}

#[test]
fn equilibria() -> Result<()> {
    // What solves and differentiates knows nothing of a layer; that its step is right is tested above, for all of them.
    for name in ["affine-tanh", "identity", "mondeq", "residual-block"] {
        let layer = layer(&json!({ "type": name }))?;
        check_equilibrium(name, &layer)?;
        check_equilibrium(&format!("{name}, step only"), &StepOnly(layer))?;
    }
    Ok(())
}

#[test]
fn every_fusion() -> Result<()> {
    for plugin in registry::of_kind("fusion")? {
        let config = accurate(plugin.default);
        let config = registry::make::<dyn FusionConfig>(&config)?;
        let case = Case {
            config: &*config,
            modalities: 2,
            width: WIDTH,
        };
        let parameters = case.parameters()?;
        let own: Vec<(usize, usize)> = parameters.iter().map(|p| *p.shape()).collect();
        let x = *case.features(3)?[0].shape();
        // Views of features, with parameters as they are; then views of parameters as well.
        let loss = |parameters: &[Array], x: &[Array]| -> Result<(f64, Found)> {
            let fusion = case.with(parameters)?;
            let mut pass = Pass::noiseless();
            let y = fusion.fuse(x, &mut pass)?;
            let c = weights(&y)?;
            let sum = pass.run(&y, |y| (y * c).sum::<Rank0, _>().reshape_like(&(1, 1)));
            let outcome = pass.backward(&sum)?;
            Ok((outcome.loss, outcome.gradients))
        };
        check(&format!("{}, features", plugin.name), ONE, &[x, x], |x| {
            loss(&parameters, x)
        });
        let all = [own, vec![x, x]].concat();
        let size = |index| if index + 2 < all.len() { 0.1 } else { 1.0 };
        check(&format!("{}, parameters", plugin.name), size, &all, |a| {
            let (parameters, x) = a.split_at(a.len() - 2);
            loss(parameters, x)
        });
    }
    Ok(())
}
