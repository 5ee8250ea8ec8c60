//! Contracts of all registered heads: a new one is tested without an edit.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::registry::{self, Plugin};
use equilibria_core::serde_json::{self, json, Value};
use equilibria_core::{from_host, Backend, Matrix, Parameters};
use equilibria_fusion::backbones::encoder::EncoderConfig;
use equilibria_fusion::data::{
    Answered, Answers, Boxes, DataError, DataSet, LabelSets, Split, Table, TargetKind, Targets,
};
use equilibria_fusion::detection::{OrientedBox, Outputs};
use equilibria_fusion::fusions::concat::ConcatConfig;
use equilibria_fusion::head::Losses;
use equilibria_fusion::heads::regression::{Norm, Regression};
use equilibria_fusion::layers::modules::Linear;
use equilibria_fusion::layers::Initializer;
use equilibria_fusion::metrics::MetricsError;
use equilibria_fusion::predict::predict;
use equilibria_fusion::train::evaluate;
use equilibria_fusion::{
    BackboneRequest, Backbones, Experiment, FusionRequest, Fusions, Head, Model, Pass,
};
use equilibria_testing::{misplaced, random_values, worse};

const ROWS: usize = 5;

/// Classes, or labels.
const CLASSES: usize = 3;

fn plugins() -> Vec<Plugin> {
    registry::of_kind("head").expect("heads are linked")
}

/// The defaults, and every other value of a field that has few.
fn heads() -> Vec<(String, Box<dyn Head>)> {
    let small = |mut config: Value| {
        if config["type"] == "boxes" {
            config["proposals"] = json!(4);
        }
        config
    };
    let defaults = plugins().into_iter().map(|plugin| small(plugin.default));
    let more = [
        json!({"type": "regression", "loss": "l1", "zero": "exclude"}),
        json!({"type": "regression", "sentiment": true}),
        json!({"type": "regression", "standardization": {"mean": 0.5, "deviation": 2.0}}),
        json!({"type": "multi-label", "threshold": 0.2}),
        json!({"type": "answers", "loss": "shares"}),
        json!({"type": "boxes", "proposals": 3, "headings": 2, "sizes": [[1.0, 2.0, 0.5], [0.5, 0.5, 0.5], [2.0, 2.0, 2.0]]}),
    ];
    let make = |config: Value| {
        let head = registry::make::<dyn Head>(&config).expect("it parses");
        (config.to_string(), head)
    };
    defaults.chain(more).map(make).collect()
}

fn targets(kind: TargetKind) -> Targets {
    match kind {
        TargetKind::Class => Targets::Classes((0..ROWS).map(|row| row % CLASSES).collect()),
        TargetKind::LabelSet => Targets::LabelSets(LabelSets {
            columns: CLASSES,
            values: (0..ROWS * CLASSES).map(|entry| entry % 4 < 2).collect(),
        }),
        TargetKind::Number => Targets::Numbers((0..ROWS).map(|row| row as f64 - 2.0).collect()),
        TargetKind::Answers => answers(ROWS),
        TargetKind::Boxes => boxes(ROWS),
    }
}

/// One box in each row, of every class in turn.
fn boxes(rows: usize) -> Targets {
    let shape = |row: usize| OrientedBox {
        center: [0.1 * row as f64, 0.5, -0.5],
        size: [1.0, 2.0, 0.5],
        heading: 0.3,
    };
    let row = |row: usize| Arc::from([(shape(row % ROWS), row % CLASSES)]);
    Targets::Boxes(Boxes {
        classes: (0..CLASSES).map(|class| class.to_string()).collect(),
        most: 2,
        rows: (0..rows).map(row).collect(),
    })
}

/// Outputs that propose the boxes of every row, each as often as there are proposals.
fn proposing(head: &dyn Head, boxes: &Boxes) -> Vec<f64> {
    let rows = head.proposals(CLASSES).expect("a head of boxes");
    let (outputs, coding) = (rows.outputs(), &rows.coding);
    let row = |row: &Arc<[(OrientedBox, usize)]>| {
        let (shape, class) = row[0];
        let mut own = vec![0.0; outputs.width()];
        own[Outputs::OBJECTNESS].copy_from_slice(&[-50.0, 50.0]);
        let (heading, rest) = coding.heading(shape.heading);
        own[outputs.heading_scores()][heading] = 50.0;
        own[outputs.heading_residuals()][heading] = rest;
        own[outputs.size_scores()][class] = 50.0;
        let rest = coding.size(class, shape.size);
        own[outputs.size_residuals()][3 * class..][..3].copy_from_slice(&rest);
        own[outputs.class_scores()][class] = 50.0;
        [&shape.center[..], &own].concat().repeat(rows.proposals)
    };
    boxes.rows.iter().flat_map(row).collect()
}

/// Ten people who agree, on questions of all types.
fn answers(rows: usize) -> Targets {
    let known: Arc<[String]> = (0..CLASSES).map(|answer| answer.to_string()).collect();
    let row = |row: usize| {
        let people = vec![(row % CLASSES).to_string(); 10];
        let place = |answer: &str| known.iter().position(|known| known == answer);
        let kind = ["yes/no", "number", "other"][row % 3];
        Arc::new(Answered::new(kind, people, place))
    };
    let rows = (0..rows).map(row).collect();
    let known = known.clone();
    Targets::Answers(Answers { known, rows })
}

fn data(kind: TargetKind) -> DataSet {
    let table = Table {
        name: "m".to_owned(),
        columns: 1,
        values: vec![0.0; ROWS],
    };
    let split = Split {
        modalities: vec![table],
        targets: targets(kind),
    };
    let named = kind != TargetKind::Number;
    DataSet {
        name: "data".to_owned(),
        classes: (0..if named { CLASSES } else { 0 })
            .map(|c| c.to_string())
            .collect(),
        train: split.clone(),
        test: split,
    }
}

const KINDS: [TargetKind; 5] = [
    TargetKind::Class,
    TargetKind::LabelSet,
    TargetKind::Number,
    TargetKind::Answers,
    TargetKind::Boxes,
];

/// Value and gradient of the loss.
fn loss(head: &dyn Head, outputs: &[f64], targets: &Targets) -> (f64, Vec<f64>) {
    let (device, columns) = (Cpu::default(), outputs.len() / ROWS);
    let x: Matrix<f64, Cpu> =
        from_host(&device, outputs.to_vec(), (ROWS, columns)).expect("memory");
    let targets = head.scaled(targets);
    let targets = targets.matrix(&device, columns).expect("they fit");
    let loss = <Cpu as Backend<f64>>::build::<Losses>(head, ()).expect("it builds");
    let mut pass = Pass::noiseless();
    let value = (pass.try_run(&x, |x| loss(x, &targets))).expect("memory");
    let outcome = pass.backward(&value).expect("gradients");
    (outcome.loss, outcome.gradients.get(&x).as_vec())
}

#[test]
fn every_file_is_one_plugin_of_its_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/heads");
    let misplaced = misplaced(&plugins(), &folder).expect("the plugin folder");
    assert_eq!(misplaced, [""; 0]);
}

#[test]
fn every_default_is_valid_documented_and_survives_serde() {
    for plugin in plugins() {
        let made = registry::make::<dyn Head>(&plugin.default).expect("it parses");
        made.validate().expect("the default is valid");
        let written = serde_json::to_value(&made).expect("serializable");
        assert_eq!(written, plugin.default);
        assert!(plugin.docs.contains("Reference: "), "{}", plugin.name);
        let fields = plugin.default.as_object().expect("a table").len() - 1;
        assert_eq!(plugin.fields.len(), fields, "{}", plugin.name);
        assert!(plugin.fields.iter().all(|(_, docs)| !docs.is_empty()));
    }
}

/// Central differences with step h are off by h² times a third derivative of order 1, and by the rounding of the loss
/// divided by h: with h = 1e-5 by some 1e-10. No difference of output and target is as near to 0 as h, where |x − y| has
/// a kink.
#[test]
fn gradients_of_losses_are_those_of_central_differences() {
    const STEP: f64 = 1e-5;
    for (name, head) in heads() {
        let targets = targets(head.targets());
        let count = ROWS * head.outputs(CLASSES);
        let outputs: Vec<f64> = random_values(count, 7).iter().map(|x| 2.0 * x).collect();
        let (value, gradient) = loss(&*head, &outputs, &targets);
        let mut error = 0.0;
        for entry in 0..count {
            let at = |shift: f64| {
                let mut shifted = outputs.clone();
                shifted[entry] += shift;
                loss(&*head, &shifted, &targets).0
            };
            let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            error = worse(error, (gradient[entry] - slope).abs());
        }
        // Terms of the loss of boxes are in square meters, and count tenfold.
        assert!(error < 1e-9 * value.max(1.0), "{name}: {error:e}");
        assert!(gradient.iter().any(|g| g.abs() > 1e-3), "{name}");
    }
}

#[test]
fn losses_are_finite_however_large_outputs_are() {
    for (name, head) in heads() {
        let targets = targets(head.targets());
        let count = ROWS * head.outputs(CLASSES);
        for size in [1e4, -1e4] {
            let outputs: Vec<f64> = (0..count)
                .map(|entry| if entry % 2 == 0 { size } else { -size })
                .collect();
            let (value, gradient) = loss(&*head, &outputs, &targets);
            assert!(value.is_finite() && value > 1.0, "{name}: {value}");
            assert!(gradient.iter().all(|g| g.is_finite()), "{name}");
        }
    }
}

/// −log(1/3); log 2; mean of 4, 1, 0, 1, 4; mean of 2, 1, 0, 1, 2; log 2 of three answers; −log(1/3).
#[test]
fn losses_of_outputs_that_say_nothing_are_known() {
    for (config, expected) in [
        (json!({"type": "multi-class"}), 3f64.ln()),
        (json!({"type": "multi-label"}), 2f64.ln()),
        (json!({"type": "regression"}), 2.0),
        (json!({"type": "regression", "loss": "l1"}), 1.2),
        (json!({"type": "answers"}), 3.0 * 2f64.ln()),
        (json!({"type": "answers", "loss": "shares"}), 3f64.ln()),
    ] {
        let head = registry::make::<dyn Head>(&config).expect("it parses");
        let outputs = vec![0.0; ROWS * head.outputs(CLASSES)];
        let (value, _) = loss(&*head, &outputs, &targets(head.targets()));
        assert!((value - expected).abs() < 1e-15, "{config}: {value}");
    }
}

#[test]
fn what_a_head_announces_is_what_it_gives() {
    for (name, head) in heads() {
        let data = data(head.targets());
        head.check(&data.clone().into())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let outputs = head.outputs(data.classes.len());
        let values = random_values(ROWS * outputs, 3);
        let (scores, _) = head.score(&values, &data.test.targets).expect("comparable");
        let metrics = head.metrics();
        assert_eq!(scores.len(), metrics.len(), "{name}");
        assert!(
            metrics[0].tracked,
            "{name}: the first chooses the best epoch"
        );
        let keys: BTreeSet<&str> = metrics.iter().map(|metric| metric.key).collect();
        assert_eq!(keys.len(), metrics.len(), "{name}");
        assert!(
            !keys.contains("loss") && !keys.contains("seconds"),
            "{name}"
        );
        let percent = metrics.iter().zip(&scores).filter(|(m, _)| m.percent);
        assert!(
            percent.into_iter().all(|(_, s)| (0.0..=100.0).contains(s)),
            "{name}: {scores:?}"
        );

        let columns = head.columns(&data.classes);
        let lines = head.predict(&values[..outputs], &data.classes);
        assert!(!lines.is_empty(), "{name}");
        for cells in lines {
            assert_eq!(columns.len(), cells.len(), "{name}");
        }
        assert_eq!(columns[0], "predicted", "{name}");
        assert!(!head.loss_name().is_empty());
    }
}

/// Outputs that hit every target, and outputs that miss them.
#[test]
fn the_first_metric_tells_right_from_wrong() {
    for (name, head) in heads() {
        let targets = targets(head.targets());
        let columns = head.outputs(CLASSES);
        let matrix = head.scaled(&targets).matrix(&Cpu::default(), columns);
        let matrix: Matrix<f64, Cpu> = matrix.expect("they fit");
        let right: Vec<f64> = match (head.targets(), &targets) {
            (_, Targets::Boxes(boxes)) => proposing(&*head, boxes),
            (TargetKind::Number, _) => matrix.as_vec(),
            _ => matrix.as_vec().iter().map(|y| 20.0 * y - 10.0).collect(),
        };
        let wrong: Vec<f64> = right.iter().map(|x| -x + 0.25).collect();
        let merit = |outputs: &[f64]| {
            let (scores, _) = head.score(outputs, &targets).expect("comparable");
            head.metrics()[0].merit(scores[0])
        };
        assert!(merit(&right) > merit(&wrong), "{name}");
        let (right, wrong) = (
            loss(&*head, &right, &targets),
            loss(&*head, &wrong, &targets),
        );
        assert!(
            right.0 < 1e-3 && wrong.0 > 0.1,
            "{name}: {} {}",
            right.0,
            wrong.0
        );
    }
}

#[test]
fn targets_of_other_kinds_are_refused() {
    for (name, head) in heads() {
        for kind in KINDS.into_iter().filter(|kind| *kind != head.targets()) {
            let error = head.check(&data(kind).into()).expect_err("the wrong kind");
            assert!(matches!(error, DataError::Head { .. }), "{name}: {error}");
            let message = error.to_string();
            assert!(message.contains("set `head = { type = "), "{message}");
            let outputs = vec![0.0; ROWS * head.outputs(CLASSES)];
            let error = head
                .score(&outputs, &targets(kind))
                .expect_err("the wrong kind");
            assert!(
                matches!(error, MetricsError::Kind { .. }),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn undefined_metrics_are_worst() {
    let head = Regression::default();
    let constant = head.score(&[1.0; ROWS], &targets(TargetKind::Number));
    let (scores, _) = constant.expect("comparable");
    assert!(scores[1].is_nan(), "a constant correlates with nothing");
    let correlation = &head.metrics()[1];
    assert!(correlation.merit(scores[1]) < correlation.merit(-1.0));
    assert_eq!(correlation.show(scores[1]), "undefined");
}

#[test]
fn outputs_that_are_not_finite_are_refused_with_their_row() {
    for (name, head) in heads() {
        let width = head.outputs(CLASSES);
        for (bad, entry) in [
            (f64::NAN, 0),
            (f64::INFINITY, width),
            (f64::NEG_INFINITY, ROWS * width - 1),
        ] {
            let mut outputs = vec![0.0; ROWS * width];
            outputs[entry] = bad;
            let error = head.score(&outputs, &targets(head.targets()));
            let error = error.expect_err("not finite");
            let row = entry / width + 1;
            assert_eq!(error, MetricsError::NonFinite { row }, "{name}");
        }
    }
}

/// A model whose outputs are its one feature, once for every output.
fn echo(head: Box<dyn Head>) -> Model<f32, Cpu> {
    let device = Cpu::default();
    let init = &mut Initializer::new(&device, 1);
    let backbone = EncoderConfig {
        hidden: 1,
        ..EncoderConfig::default()
    };
    let request = BackboneRequest {
        modalities: &[1],
        classes: CLASSES,
        proposals: None,
        init: &mut *init,
        slot: &mut |_, _| Ok(1),
    };
    let backbone = <Cpu as Backend<f32>>::build::<Backbones>(&backbone, request);
    let request = FusionRequest {
        modalities: 1,
        width: 1,
        widths: &[],
        init: &mut *init,
    };
    let fusion = <Cpu as Backend<f32>>::build::<Fusions>(&ConcatConfig::default(), request);
    let mut model = Model {
        backbone: backbone.expect("it builds"),
        fusion: fusion.expect("it builds").into(),
        linear: Some(Linear::xavier(head.outputs(CLASSES), 1, init).expect("memory")),
        head,
    };
    let named = model.named();
    let ones = named.iter().map(|(name, tensor)| {
        let value = f32::from(u8::from(name.ends_with("weight")));
        vec![value; tensor.shape().0 * tensor.shape().1]
    });
    model.assign(ones.collect()).expect("they fit");
    model
}

/// As many rows as go through a model in two parts; the feature of one of them is as given.
fn many_rows(kind: TargetKind, row: usize, feature: f64) -> Split {
    let rows = 300;
    let mut values = vec![0.5; rows];
    values[row - 1] = feature;
    let targets = match kind {
        TargetKind::Class => Targets::Classes(vec![1; rows]),
        TargetKind::LabelSet => Targets::LabelSets(LabelSets {
            columns: CLASSES,
            values: vec![true; rows * CLASSES],
        }),
        TargetKind::Number => Targets::Numbers((0..rows).map(|row| row as f64 / 100.0).collect()),
        TargetKind::Answers => answers(rows),
        TargetKind::Boxes => boxes(rows),
    };
    let modalities = vec![Table {
        name: "m".to_owned(),
        columns: 1,
        values,
    }];
    Split {
        modalities,
        targets,
    }
}

#[test]
fn neither_evaluation_nor_prediction_takes_outputs_that_are_not_finite() {
    let device = Cpu::default();
    for (name, head) in heads() {
        let model = echo(head);
        let sound = many_rows(model.head.targets(), 290, 0.25);
        let metrics = evaluate(&model, &device, &sound).expect("finite");
        let metrics = serde_json::to_value(&metrics).expect("serializable");
        let null = metrics.as_object().expect("a table").iter();
        let null: Vec<_> = null.filter(|(_, value)| value.is_null()).collect();
        assert!(null.is_empty(), "{name}: {null:?}");
        // Beyond the range of f32: infinite where it enters the model.
        let broken = many_rows(model.head.targets(), 290, 1e39);
        let evaluated = evaluate(&model, &device, &broken).map(drop);
        let predicted = predict(&model, &device, &broken.modalities).map(drop);
        for outcome in [evaluated, predicted] {
            let message = outcome.expect_err("not finite").to_string();
            let start = "predictions: row 290: a prediction or label is not a finite number";
            assert!(message.starts_with(start), "{name}: {message}");
        }
    }
}

/// Squares of 1e20 are beyond f32, and so is the sum of 300 losses of 3e36, which f64 holds.
#[test]
fn a_loss_that_overflows_is_refused_with_its_row_and_a_sum_that_does_is_not() {
    let (device, model) = (Cpu::default(), echo(Box::new(Regression::default())));
    let far = many_rows(TargetKind::Number, 7, 1e20);
    let message = evaluate(&model, &device, &far).expect_err("infinite");
    let message = message.to_string();
    assert!(
        message.starts_with("predictions: row 7: the loss is not a finite number"),
        "{message}"
    );
    let mut large = many_rows(TargetKind::Number, 1, 0.5);
    large.modalities[0].values.fill(1.7e18);
    let loss = evaluate(&model, &device, &large).expect("finite").loss;
    assert!((loss / 2.89e36 - 1.0).abs() < 1e-5, "{loss:e}");
}

/// Runs that were saved before the key and its values had other names.
#[test]
fn a_head_with_the_earlier_name_of_a_key_is_read() {
    for (earlier, now) in [("left-out", "exclude"), ("non-negative", "positive")] {
        let make = |key: &str, value: &str| {
            let config = json!({"type": "regression", key: value});
            let head = registry::make::<dyn Head>(&config).expect("it parses");
            serde_json::to_value(&head).expect("serializable")
        };
        assert_eq!(make("zeros", earlier), make("zero", now));
    }
}

#[test]
fn sentiments_have_their_range() {
    let mut data = data(TargetKind::Number);
    data.test.targets = Targets::Numbers(vec![0.0, 3.0, -3.5, 1.0, 1.0]);
    let head = Regression {
        sentiment: true,
        ..Regression::default()
    };
    let error = head.check(&data.clone().into()).expect_err("no sentiment");
    let message = error.to_string();
    for part in ["[targets, test], row 3", "-3.5", "head.sentiment = false"] {
        assert!(message.contains(part), "{message}");
    }
    let head = Regression {
        loss: Norm::L1,
        ..Regression::default()
    };
    head.check(&data.clone().into()).expect("any number");
    let keys: Vec<&str> = head.metrics().iter().map(|metric| metric.key).collect();
    assert_eq!(keys, ["mae", "correlation"]);
}

#[test]
fn what_is_no_sentiment_is_named_by_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("1_tr.csv", "1\n2\n3\n"),
        ("1_te.csv", "1\n2\n"),
        ("targets_tr.csv", "y\n0\n1\n-2\n"),
        ("targets_te.csv", "y\n3\n7\n"),
    ] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let experiment: Experiment = serde_json::from_value(json!({
        "data": { "type": "folder", "path": folder.path() },
        "backbone": { "type": "encoder" },
        "fusion": { "type": "deq" },
        "head": { "type": "regression", "sentiment": true },
    }))
    .expect("it parses");
    let set = experiment.data.load().expect("it is sound");
    let error = experiment.check_targets(&set.into(), None);
    let message = error.expect_err("7 is none").to_string();
    assert!(
        message.contains("targets_te.csv, row 3, column 1: found 7"),
        "{message}"
    );
}

#[test]
fn ranges_of_fields_are_checked() {
    for threshold in [0.0, 1.0, -1.0] {
        let config = json!({"type": "multi-label", "threshold": threshold});
        let head = registry::make::<dyn Head>(&config).expect("it parses");
        let message = head.validate().expect_err("out of range").to_string();
        assert!(
            message.contains("`threshold` must be in (0, 1)"),
            "{message}"
        );
    }
    for deviation in [0.0, -1.0] {
        let scale = json!({"mean": 0.0, "deviation": deviation});
        let config = json!({"type": "regression", "standardization": scale});
        let head = registry::make::<dyn Head>(&config).expect("it parses");
        let message = head.validate().expect_err("out of range").to_string();
        assert!(message.contains("`deviation` must be finite"), "{message}");
    }
    let config = json!({"type": "regression", "loss": "l3"});
    let error = registry::make::<dyn Head>(&config).expect_err("no such loss");
    assert!(error.to_string().contains("`l3`"), "{error}");
}
