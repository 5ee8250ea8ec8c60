//! Every module, layer, loss, head and fusion as losses of matrices.

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
use equilibria_fusion::{loss, Fusion, FusionConfig, FusionRequest, Fusions, Pass};
use equilibria_testing::perturb;

use crate::arguments::{on_tape, weights, Array, Case, Found, Traced};

/// Square matrices among the arguments: parameters and inputs of one shape are repeated together.
const ROWS: usize = 12;
const WIDTH: usize = 12;

/// Rows of an equilibrium: the fewer, the fewer kinks of ReLUs are met.
const FEW: usize = 3;

const TIGHT: f64 = 1e-13;

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

pub fn modules<D: Backend<f64>>(device: &D) -> Vec<Case<D>> {
    let (x, w, b) = ((ROWS, WIDTH), (WIDTH, WIDTH), (1, WIDTH));
    let linear = |name: &str, shapes: &[(usize, usize)]| {
        let of = on_tape(|a: &[Array<D>], tape| {
            let linear = Linear::new(a[1].clone(), a[2].clone());
            Ok(linear.forward(a[0].clone().put_tape(tape)).split_tape())
        });
        Case::new(device, name, shapes, of)
    };
    let of_data = on_tape(|a: &[Array<D>], tape| {
        let linear = Linear::new(a[0].clone(), a[1].clone());
        let data = weights(&a[0])?.permute::<_, Axes2<1, 0>>();
        Ok(linear.forward_data(&data, tape).split_tape())
    });
    let group_norm = on_tape(|a: &[Array<D>], tape| {
        let mut init = Initializer::new(a[0].device(), 1);
        let mut norm: GroupNorm<f64, D> = GroupNorm::new(WIDTH, 4, &mut init)?;
        (norm.weight, norm.bias) = (a[1].clone(), a[2].clone());
        Ok(norm.forward(a[0].clone().put_tape(tape)).split_tape())
    });
    let columns = on_tape(|a: &[Array<D>], tape| {
        let (first, tape) = modules::columns(a[0].clone().put_tape(tape), 1..5)?.split_tape();
        let second = modules::columns(a[0].clone().put_tape(tape), 3..7)?;
        Ok((second * first).split_tape())
    });
    let combination =
        on_tape(|a: &[Array<D>], tape| modules::linear_combination(Some(&a[0]), &a[1..], tape));
    let sum = on_tape(|a: &[Array<D>], tape| modules::linear_combination(None, a, tape));
    let scale_rows = on_tape(|a: &[Array<D>], tape| {
        Ok(modules::scale_rows(&a[0], a[1].clone().put_tape(tape))?.split_tape())
    });
    let mut cases = vec![
        linear("linear", &[x, w, b]),
        // More outputs than rows: the other way to multiply.
        linear("linear of few rows", &[(17, 5), (40, 5), (1, 40)]),
        Case::new(device, "linear of data", &[w, b], of_data),
        Case::new(device, "group-norm", &[x, b, b], group_norm),
        Case::new(device, "columns", &[x], columns),
        Case::new(
            device,
            "concatenate",
            &[x, x, (ROWS, 2)],
            on_tape(modules::concatenate),
        ),
        Case::new(
            device,
            "weighted combination",
            &[(1, 3), x, x, x],
            combination,
        ),
        Case::new(device, "sum", &[x, x, x], sum),
        Case::new(device, "scale-rows", &[(ROWS, 1), x], scale_rows),
    ];
    type Pointwise<D> = fn(Traced<D>) -> Result<Traced<D>>;
    let pointwise: [(&str, Pointwise<D>); 5] = [
        ("relu", modules::relu),
        ("sigmoid", modules::sigmoid),
        ("mean", modules::mean),
        ("dropout", |x| modules::dropout(x, 0.3, 5)),
        ("times-data", |x| {
            let factor = weights(&x.retaped::<NoneTape>())?;
            modules::times_data(x, &factor)
        }),
    ];
    cases.extend(pointwise.into_iter().map(|(name, operation)| {
        let of = on_tape(move |a: &[Array<D>], tape| {
            Ok(operation(a[0].clone().put_tape(tape))?.split_tape())
        });
        Case::new(device, name, &[x], of)
    }));
    cases
}

/// 1 in one column of every row.
fn one_hot<D: Backend<f64>>(device: &D, shape: (usize, usize)) -> Array<D> {
    let bit = |index: usize| f64::from(u8::from(index / shape.1 % shape.1 == index % shape.1));
    device.tensor_from_vec((0..shape.0 * shape.1).map(bit).collect(), shape)
}

pub fn losses<D: Backend<f64>>(device: &D) -> Vec<Case<D>> {
    let shape = (ROWS, 3);
    type Loss<D> = fn(Traced<D>, &Array<D>) -> Result<Traced<D>>;
    let losses: [(&str, Loss<D>); 5] = [
        ("cross-entropy", loss::cross_entropy),
        ("true-class probability", |x, y| {
            Ok(loss::true_class_probability(x, y))
        }),
        ("binary cross-entropy", loss::binary_cross_entropy),
        ("absolute error", loss::absolute_error),
        ("squared error", loss::squared_error),
    ];
    let case = |(name, loss): (&str, Loss<D>)| {
        let targets = one_hot(device, shape);
        let of = on_tape(move |a: &[Array<D>], tape| {
            Ok(loss(a[0].clone().put_tape(tape), &targets)?.split_tape())
        });
        Case::new(device, name, &[shape], of)
    };
    losses.into_iter().map(case).collect()
}

pub fn heads<D: Backend<f64>>(device: &D) -> Result<Vec<Case<D>>> {
    let plugins = registry::of_kind("head")?.into_iter();
    let case = |plugin: registry::Plugin| {
        let mut config = plugin.default;
        if let Some(proposals) = config.get_mut("proposals") {
            *proposals = json!(2);
        }
        let head = registry::make::<dyn Head>(&config)?;
        let shape = match head.targets() {
            TargetKind::Number => (ROWS, 1),
            _ => (ROWS, head.outputs(3)),
        };
        let (loss, targets) = (
            <D as Backend<f64>>::build::<Losses>(&*head, ())?,
            one_hot(device, shape),
        );
        let of = on_tape(move |a: &[Array<D>], tape| {
            Ok(loss(a[0].clone().put_tape(tape), &targets)?.split_tape())
        });
        Ok(Case::new(device, plugin.name, &[shape], of))
    };
    plugins.map(case).collect()
}

/// Exchanges all parameters.
fn set_parameters<D: Backend<f64>>(
    parts: &mut (impl Parameters<f64, D> + ?Sized),
    parameters: &[Array<D>],
) {
    let mut parameters = parameters.iter();
    parts.visit_mut("", &mut |_, tensor| {
        if let Some(parameter) = parameters.next() {
            *tensor = parameter.clone();
        }
    });
}

fn layer<D: Backend<f64>>(device: &D, config: &Value) -> Result<AnyLayer<f64, D>> {
    let config = registry::make::<dyn LayerConfig>(config)?;
    let sizes = config.sizes().unwrap_or(Sizes {
        state: WIDTH,
        inputs: vec![WIDTH],
    });
    let request = LayerRequest {
        state: sizes.state,
        inputs: &sizes.inputs,
        init: &mut Initializer::new(device, 1),
    };
    <D as Backend<f64>>::build::<Layers>(&*config, request)
}

/// Shapes of the parameters of a layer.
fn shapes<D: Backend<f64>>(parts: &impl Parameters<f64, D>) -> Vec<(usize, usize)> {
    parts.named().iter().map(|(_, p)| *p.shape()).collect()
}

/// The step and the output of all layers, and of one with an option that changes the map.
pub fn layers<D: Backend<f64>>(device: &D) -> Result<Vec<Case<D>>> {
    let plugins = registry::of_kind("layer")?.into_iter();
    let configs = plugins.map(|plugin| plugin.default);
    let skip = json!({ "type": "residual-block", "skip": true });
    let configs = configs.chain([skip]);
    configs.map(|config| applied_once(device, config)).collect()
}

fn applied_once<D: Backend<f64>>(device: &D, config: Value) -> Result<Case<D>> {
    let layer = layer(device, &config)?;
    let parameters = shapes(&layer);
    let count = parameters.len();
    let widths = [vec![layer.state_dim()], layer.input_dims()].concat();
    let rows = widths.into_iter().map(|width| (FEW, width));
    let all = [parameters, rows.collect()].concat();
    let both = on_tape(move |a: &[Array<D>], tape| {
        let (parameters, rest) = a.split_at(count);
        let mut layer = layer.clone();
        set_parameters(&mut layer, parameters);
        let (z, x) = rest.split_first().expect("a state");
        let y = apply(&layer, z.clone().put_tape(tape), x)?;
        Ok(output(&layer, y, x)?.split_tape())
    });
    let positive = registry::make::<dyn LayerConfig>(&config)?.needs_positive();
    let number = move |index, normal: f64| match positive && index >= count {
        true => 0.2 + normal.abs(),
        false => normal,
    };
    Ok(Case::new(device, format!("{config}, step"), &all, both).at(number))
}

/// What solves and differentiates knows nothing of a layer; that its step is right is tested above, for all of them.
pub fn equilibria<D: Backend<f64>>(device: &D) -> Result<Vec<Case<D>>> {
    let mut cases = Vec::new();
    for name in ["affine-tanh", "identity", "mondeq", "residual-block"] {
        let layer = layer(device, &json!({ "type": name }))?;
        cases.push(solved(device, name, layer.clone())?);
        cases.push(solved(
            device,
            &format!("{name}, step only"),
            StepOnly(layer),
        )?);
    }
    Ok(cases)
}

fn solved<D: Backend<f64>, L: ImplicitLayer<f64, D>>(
    device: &D,
    name: &str,
    layer: L,
) -> Result<Case<D>> {
    let all = [shapes(&layer), vec![(FEW, WIDTH)]].concat();
    let last = all.len() - 1;
    let backward = accurate(json!({ "type": "implicit", "stop": {}, "solver": {} }));
    let of = on_tape(move |a: &[Array<D>], tape| {
        let (x, parameters) = a.split_last().expect("an input");
        let mut layer = dyn_clone::clone(&layer);
        set_parameters(&mut layer, parameters);
        let mut equilibrium = Equilibrium::new(
            layer,
            registry::default::<dyn FixedPointSolver>("newton-gmres")?,
            registry::make::<dyn BackwardStrategy>(&backward)?,
        );
        equilibrium.stop = tight();
        let solved = equilibrium.forward(std::slice::from_ref(x), tape)?;
        Ok(solved.z.split_tape())
    });
    // Small parameters make contractions.
    let number = move |index, normal: f64| if index < last { 0.1 * normal } else { normal };
    Ok(Case::new(device, name, &all, of).at(number))
}

/// A fusion of two modalities.
fn fusion<D: Backend<f64>>(
    device: &D,
    config: &dyn FusionConfig,
) -> Result<Box<dyn Fusion<f64, D>>> {
    let request = FusionRequest {
        modalities: 2,
        width: WIDTH,
        widths: &[],
        init: &mut Initializer::new(device, 3),
    };
    <D as Backend<f64>>::build::<Fusions>(config, request)
}

/// Views of features, with parameters as they are; then views of parameters as well.
pub fn fusions<D: Backend<f64>>(device: &D) -> Result<Vec<Case<D>>> {
    let mut cases = Vec::new();
    for plugin in registry::of_kind("fusion")? {
        let config = accurate(plugin.default.clone());
        let fused = move |parameters: &[Array<D>], x: &[Array<D>]| -> Result<(f64, Found<D>)> {
            let config = registry::make::<dyn FusionConfig>(&config)?;
            let mut fusion = fusion(x[0].device(), &*config)?;
            set_parameters(&mut *fusion, parameters);
            let mut pass = Pass::noiseless();
            let y = fusion.fuse(x, &mut pass)?;
            let c = weights(&y)?;
            let sum = pass.run(&y, |y| (y * c).sum::<Rank0, _>().reshape_like(&(1, 1)));
            let outcome = pass.backward(&sum)?;
            Ok((outcome.loss, outcome.gradients))
        };
        let config = registry::make::<dyn FusionConfig>(&accurate(plugin.default))?;
        let mut parameters: Vec<Array<D>> = Vec::new();
        fusion(device, &*config)?.visit("", &mut |_, tensor| parameters.push(tensor.clone()));
        // None of them at a special value.
        perturb(&mut parameters, 0.05, 4)?;
        let own: Vec<(usize, usize)> = parameters.iter().map(|p| *p.shape()).collect();
        let features = [(FEW, WIDTH); 2];
        let (of_features, of_all) = (fused.clone(), fused);
        let count = own.len();
        cases.push(Case::new(
            device,
            format!("{}, features", plugin.name),
            &features,
            move |x| of_features(&parameters, x),
        ));
        let number = move |index, normal: f64| if index < count { 0.1 * normal } else { normal };
        let all = [own, features.to_vec()].concat();
        let of = move |a: &[Array<D>]| {
            let (parameters, x) = a.split_at(count);
            of_all(parameters, x)
        };
        cases.push(Case::new(device, format!("{}, parameters", plugin.name), &all, of).at(number));
    }
    Ok(cases)
}
