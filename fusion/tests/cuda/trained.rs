//! Training: of models, step by step, and with stabilizers.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::{self, json, Value};
use equilibria_fusion::data::{
    Answered, Answers, Boxes, LabelSets, Split, Table, TargetKind, Targets,
};
use equilibria_fusion::detection::OrientedBox;
use equilibria_fusion::layers::modules::Linear;
use equilibria_fusion::layers::optimizer::{clip_norm, gradient_norm, Average, Optimizer};
use equilibria_fusion::layers::projection::{project, ConvexSet};
use equilibria_fusion::layers::stabilizer::{StabilizerConfig, Stabilizers};
use equilibria_fusion::layers::{stabilize, Initializer};
use equilibria_fusion::progress::Progress;
use equilibria_fusion::train::{evaluate, Trainer};
use equilibria_fusion::{
    Backbone, FusionConfig, FusionRequest, Fusions, Head, Model, Pass, Training,
};
use equilibria_testing::{random_matrix, random_values};

use crate::{numbers, Numbers, Work};

/// A model of two modalities.
pub struct Train {
    pub fusion: Value,
    pub head: Value,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            fusion: json!({ "type": "deq" }),
            head: json!({ "type": "multi-class" }),
        }
    }
}

/// Hands features on, thinned out.
struct Same;

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for Same {
    fn visit(&self, _: &str, _: &mut dyn FnMut(&str, &Matrix<E, D>)) {}
    fn visit_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {}
}

impl<E: Scalar, D: Backend<E>> Backbone<E, D> for Same {
    fn encode(
        &self,
        x: &[Matrix<E, D>],
        _: Option<&Matrix<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        let sites = 0..;
        sites
            .zip(x)
            .map(|(site, x)| pass.dropout(x, 0.1, site))
            .collect()
    }
}

const WIDTH: usize = 8;

fn split(rows: usize, kind: TargetKind) -> Split {
    let table = |seed: u64| Table {
        name: format!("x{seed}"),
        columns: WIDTH,
        values: random_values(rows * WIDTH, seed)
            .into_iter()
            .map(|x| x as f32 as _)
            .collect(),
    };
    let targets = match kind {
        TargetKind::Class => Targets::Classes((0..rows).map(|row| row % 2).collect()),
        TargetKind::LabelSet => Targets::LabelSets(LabelSets {
            columns: 2,
            values: (0..2 * rows).map(|entry| entry % 3 == 0).collect(),
        }),
        TargetKind::Number => Targets::Numbers(random_values(rows, 9)),
        TargetKind::Answers => answers(rows),
        TargetKind::Boxes => boxes(rows),
    };
    Split {
        modalities: vec![table(1), table(2)],
        targets,
    }
}

/// One in each row.
fn boxes(rows: usize) -> Targets {
    let shape = OrientedBox {
        center: [0.1, 0.5, -0.5],
        size: [1.0, 2.0, 0.5],
        heading: 0.3,
    };
    Targets::Boxes(Boxes {
        classes: ["x", "y"].map(str::to_owned).into(),
        most: 2,
        rows: (0..rows).map(|row| Arc::from([(shape, row % 2)])).collect(),
    })
}

/// Of ten people, who do not agree.
fn answers(rows: usize) -> Targets {
    let known: Arc<[String]> = ["x", "y"].map(str::to_owned).into();
    let row = |row: usize| {
        let people = (0..10).map(|person| known[usize::from(person > row)].clone());
        let place = |answer: &str| known.iter().position(|known| known == answer);
        Arc::new(Answered::new("other", people.collect(), place))
    };
    Targets::Answers(Answers {
        rows: (0..rows).map(row).collect(),
        known: known.clone(),
    })
}

impl Work for Train {
    fn on<E: Scalar, D: Backend<E>>(&self, device: &D) -> Numbers {
        let mut init = Initializer::new(device, 1);
        let config = registry::make::<dyn FusionConfig>(&self.fusion).expect("it parses");
        let request = FusionRequest {
            modalities: 2,
            width: WIDTH,
            widths: &[],
            init: &mut init,
        };
        let fusion = <D as Backend<E>>::build::<Fusions>(&*config, request).expect("it builds");
        let head = registry::make::<dyn Head>(&self.head).expect("it parses");
        let (width, kind) = (fusion.output_dim(), head.targets());
        let mut model = Model {
            backbone: Box::new(Same),
            fusion: fusion.into(),
            linear: Some(Linear::xavier(head.outputs(2), width, &mut init).expect("memory")),
            head,
        };
        let training = json!({
            "epochs": 2, "batch": 4, "optimizer": { "type": "sgd", "rate": 1e-2, "momentum": 0.5 }, "clip": 1.0, "average": 0.9,
        });
        let training: Training = serde_json::from_value(training).expect("it parses");
        let mut progress = Progress::new(&training).expect("in range");
        let mut trainer = Trainer {
            model: &mut model,
            device,
            training: &training,
            seed: 5,
        };
        let (rows, others) = (split(8, kind), split(4, kind));
        trainer
            .run::<Error>(&rows, Some(&others), &mut progress, &mut |_, _| Ok(()))
            .expect("it trains");
        let losses = progress.history.iter().map(|epoch| epoch.loss).collect();
        let mut results = vec![("losses".to_owned(), losses)];
        let evaluation = evaluate(&model, device, &others).expect("it works");
        results.push(("loss of evaluation".to_owned(), vec![evaluation.loss]));
        model.visit("", &mut |name, tensor| {
            results.push((name.to_owned(), numbers(tensor)))
        });
        results
    }
}

/// Three steps of an optimizer with given gradients, and the average beside it.
pub struct Optimized(pub Value);

impl Work for Optimized {
    fn on<E: Scalar, D: Backend<E>>(&self, device: &D) -> Numbers {
        let matrix =
            |shape, seed| -> Matrix<E, D> { random_matrix(device, shape, seed).expect("memory") };
        let shapes = [(5, 7), (1, 500), (3, 125)];
        let mut w: Vec<_> = shapes
            .into_iter()
            .zip(1..)
            .map(|(shape, seed)| matrix(shape, seed))
            .collect();
        let config = registry::parse(self.0.clone()).expect("it parses");
        let mut optimizer = Optimizer::<E>::new(config).expect("in range");
        let mut average = Average::new(0.9);
        let mut norms = Vec::new();
        for step in 0..3 {
            let mut gradients = Gradients::leaky();
            for (w, seed) in w.iter().zip(10 * (step + 1)..) {
                let delta = matrix(*w.shape(), seed);
                D::accumulate(&mut gradients, w, &delta).expect("memory");
                D::accumulate(&mut gradients, w, &delta).expect("memory");
            }
            let norm = gradient_norm(&w, &mut gradients).expect("memory");
            norms.push(norm);
            let clip = clip_norm(norm, 1.0);
            let average = Some(&mut average);
            (optimizer.averaged_step(&mut w, &mut gradients, 0.5, clip, average)).expect("memory");
        }
        let mut results = vec![("norms".to_owned(), norms)];
        for kind in ["parameters", "averages", "parameters again"] {
            results.extend(w.iter().map(|w| (kind.to_owned(), numbers(w))));
            average.exchange(&mut w).expect("memory");
        }
        results
    }
}

/// A stabilizer on a linear map, and gradients through it.
pub struct Stabilized(pub Value);

impl Work for Stabilized {
    fn on<E: Scalar, D: Backend<E>>(&self, device: &D) -> Numbers {
        let config = registry::make::<dyn StabilizerConfig>(&self.0).expect("it parses");
        let stabilizer = <D as Backend<E>>::build::<Stabilizers>(&*config, ()).expect("it builds");
        let weight: Matrix<E, D> = random_matrix(device, (6, 9), 1).expect("memory");
        let bias = random_matrix(device, (1, 6), 2).expect("memory");
        let map = vec![("weight", weight.clone())];
        let layer = Linear::new(weight, bias);
        let tape = OwnedTape::default();
        let (stable, tape) = stabilize(&layer, &[stabilizer], tape).expect("it works");
        let x: Matrix<E, D> = random_matrix(device, (4, 9), 3).expect("memory");
        let y = stable.forward(x.put_tape(tape));
        let value = numbers(&y.retaped::<NoneTape>());
        let gradients = y.square().sum::<Rank0, Axes2<0, 1>>().backward();
        let mut results = vec![("y".to_owned(), value)];
        for (name, tensor) in map {
            results.push((name.to_owned(), numbers(&gradients.get(&tensor))));
        }
        results
    }
}

/// A projection of matrices of which rows and columns are within the set, and others not.
pub struct Projected(pub ConvexSet);

impl Work for Projected {
    fn on<E: Scalar, D: Backend<E>>(&self, device: &D) -> Numbers {
        let shapes = [(5, 7), (4, 700), (700, 3)];
        let matrices = shapes.into_iter().zip(1..).map(|(shape, seed)| {
            let mut matrix: Matrix<E, D> = random_matrix(device, shape, seed).expect("memory");
            let before = matrix.clone();
            project(&mut matrix, self.0).expect("memory");
            [numbers(&matrix), numbers(&before)]
        });
        let results = matrices.flatten();
        results
            .map(|values| ("matrix".to_owned(), values))
            .collect()
    }
}
