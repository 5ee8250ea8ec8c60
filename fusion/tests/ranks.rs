//! Several ranks train, evaluate and predict what one does; here they are threads.

use dfdx::prelude::Cpu;
use equilibria_core::serde_json::{self, json, Value};
use equilibria_core::{Backend, Error, Matrix, Parameters, Result, Scalar};
use equilibria_fusion::checkpoint::Checkpoint;
use equilibria_fusion::data::DataSet;
use equilibria_fusion::predict::predict_on;
use equilibria_fusion::progress::Progress;
use equilibria_fusion::ranks::threads::{run, Thread};
use equilibria_fusion::ranks::{Alone, Division, Ranks};
use equilibria_fusion::train::{evaluate_on, inspect_on, Trainer};
use equilibria_fusion::{Backbone, Experiment, Model, Pass};
use equilibria_testing::relative_difference;

const EPOCHS: usize = 3;

/// 45 rows in batches of 16, the last of 13: no number of ranks divides both.
fn experiment(fusion: Value, training: Value) -> Experiment {
    let mut experiment = json!({
        "dtype": "f64",
        "data": { "type": "generated-movies", "train": 45, "test": 11 },
        "backbone": { "type": "encoder", "hidden": 32, "dropout": 0.3 },
        "fusion": fusion,
        "head": { "type": "multi-label" },
        "training": {
            "epochs": EPOCHS,
            "batch": 16,
            "optimizer": { "type": "adam", "rate": 1e-2 },
            "clip": 1.0,
            "average": 0.9,
        },
    });
    for (key, value) in training.as_object().into_iter().flatten() {
        experiment["training"][key] = value.clone();
    }
    serde_json::from_value(experiment).expect("it parses")
}

/// With everything that a sample has of its own: masks, probes, and the equilibrium of the epoch before. Solves converge: one that does not
/// makes of a rounding error what it likes.
fn deq() -> Value {
    json!({
        "type": "deq",
        "groups": 2,
        "start": "warm",
        "dropout": 0.2,
        "layer": { "type": "affine-tanh" },
        "stop": { "tolerance": { "relative": 1e-8 }, "max_evaluations": 200 },
        "regularizer": [{ "type": "jacobian" }],
    })
}

fn layer() -> Value {
    json!({
        "type": "equilibrium",
        "state": 8,
        "layer": { "type": "mondeq", "margin": 1.0 },
        "solver": { "type": "newton-gmres" },
        "stop": { "tolerance": { "relative": 1e-8 }, "max_evaluations": 200 },
        "backward": { "type": "implicit", "solver": { "type": "gmres" } },
    })
}

fn model<E: Scalar>(experiment: &Experiment, data: &DataSet) -> Result<Model<E, Cpu>>
where
    Cpu: Backend<E>,
{
    let tables = data.train.modalities.iter();
    let columns: Vec<usize> = tables.map(|table| table.columns).collect();
    experiment.model(&Cpu::default(), &columns, data.classes.len())
}

/// What a rank ends with: parameters, history, and what is said of the test rows.
#[derive(Debug, Clone, PartialEq)]
struct End {
    parameters: Vec<f64>,
    history: Vec<f64>,
    test: Vec<f64>,
}

/// Trains from the beginning, or from a checkpoint; stops after an epoch, if one is given, and leaves a checkpoint.
struct Run<'a> {
    experiment: &'a Experiment,
    from: Option<&'a [u8]>,
    stop: usize,
}

impl Run<'_> {
    fn on<E: Scalar>(&self, ranks: &dyn Ranks) -> Result<(End, Vec<u8>)>
    where
        Cpu: Backend<E>,
    {
        let (experiment, device) = (self.experiment, Cpu::default());
        let data = experiment.data.load().expect("sound");
        let mut model = model::<E>(experiment, &data)?;
        let training = &experiment.training;
        let mut progress = match self.from {
            Some(bytes) => {
                let saved = Checkpoint::of_bytes("memory".as_ref(), bytes.to_vec());
                Progress::resume(&saved.expect("sound"), &mut model, training).expect("its own")
            }
            None => Progress::new(training)?,
        };
        let mut kept = Vec::new();
        let mut trainer = Trainer {
            model: &mut model,
            device: &device,
            training,
            seed: 5,
        };
        let ended = trainer.run_on::<Error>(
            ranks,
            &data.train,
            Some(&data.test),
            &mut progress,
            &mut |model, progress| {
                if progress.history.len() == self.stop {
                    let snapshot = progress.snapshot(model, Default::default());
                    kept = snapshot.into_bytes().expect("bytes");
                    return Err(Error::device("stopped"));
                }
                Ok(())
            },
        );
        if kept.is_empty() {
            ended?;
        }
        let division = Division {
            ranks,
            reproducible: training.reproducible,
        };
        let evaluation = inspect_on(&division, &model, &device, &data.test)?;
        let prediction = predict_on(&division, &model, &device, &data.test.modalities)?;
        let mut test = vec![evaluation.loss, evaluation.mean_solver_steps];
        test.extend(evaluation.scores.iter().map(|score| score.value));
        for (_, report) in evaluation.solves.iter().chain(&prediction.solves) {
            assert_eq!(report.samples.len(), data.test.len());
            let steps = report.samples.iter().map(|sample| sample.steps as f64);
            test.extend(steps);
        }
        test.extend(prediction.outputs.concat());
        let (named, mut parameters) = (model.named(), Vec::new());
        for (_, tensor) in &named {
            parameters.extend(tensor.as_vec().into_iter().map(E::wide));
        }
        let end = End {
            parameters,
            history: progress.history.iter().flat_map(|e| e.row()).collect(),
            test,
        };
        Ok((end, kept))
    }

    /// What all of so many ranks end with, which is the same.
    fn on_ranks<E: Scalar>(&self, size: usize) -> (End, Vec<u8>)
    where
        Cpu: Backend<E>,
    {
        let ends = run::<_, Error>(size, |ranks: &Thread<'_>| self.on::<E>(ranks));
        let mut ends = ends.into_iter().map(|end| end.expect("no rank fails"));
        let first = ends.next().expect("one rank");
        for (rank, other) in ends.enumerate() {
            assert_eq!(other.0, first.0, "rank {}", rank + 1);
        }
        first
    }
}

fn whole(experiment: &Experiment) -> Run<'_> {
    Run {
        experiment,
        from: None,
        stop: usize::MAX,
    }
}

fn assert_near(one: &End, several: &End, what: &str) {
    let pairs = [
        (&one.parameters, &several.parameters),
        (&one.history, &several.history),
        (&one.test, &several.test),
    ];
    for (part, (one, several)) in ["parameters", "history", "test"].into_iter().zip(pairs) {
        assert_eq!(one.len(), several.len());
        let difference = relative_difference(several, one);
        assert!(difference < 1e-9, "{what}: {part} differ by {difference:e}");
    }
}

#[test]
fn several_ranks_train_what_one_does() {
    for fusion in [deq(), layer(), json!({ "type": "dynmm" })] {
        let experiment = experiment(fusion.clone(), json!({}));
        let (one, _) = whole(&experiment).on::<f64>(&Alone).expect("it trains");
        assert!(one.parameters.iter().all(|x| x.is_finite()));
        for size in [1, 2, 3, 4] {
            let (several, _) = whole(&experiment).on_ranks::<f64>(size);
            assert_near(&one, &several, &format!("{size} ranks, {fusion}"));
        }
    }
}

/// In single precision as well, where any other order of a sum is seen.
#[test]
fn reproducible_runs_have_the_same_bits_on_any_number_of_ranks() {
    for fusion in [deq(), layer()] {
        let usual = experiment(fusion.clone(), json!({}));
        let experiment = experiment(fusion, json!({ "reproducible": true }));
        let (one, _) = whole(&experiment).on::<f64>(&Alone).expect("it trains");
        let (usual, _) = whole(&usual).on::<f64>(&Alone).expect("it trains");
        assert_near(&usual, &one, "in chunks");
        let (single, _) = whole(&experiment).on::<f32>(&Alone).expect("it trains");
        for size in [2, 3, 4] {
            let bits = |end: &End| {
                let all = [&end.parameters, &end.history, &end.test];
                all.map(|part| part.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
            };
            let (several, _) = whole(&experiment).on_ranks::<f64>(size);
            assert_eq!(bits(&several), bits(&one), "{size} ranks");
            let (several, _) = whole(&experiment).on_ranks::<f32>(size);
            assert_eq!(bits(&several), bits(&single), "{size} ranks, f32");
        }
    }
}

#[test]
fn a_run_goes_on_on_another_number_of_ranks() {
    let experiment = experiment(deq(), json!({ "reproducible": true }));
    let (through, _) = whole(&experiment).on::<f64>(&Alone).expect("it trains");
    for (before, after) in [(3, 2), (2, 4), (1, 3)] {
        let first = Run {
            stop: 1,
            ..whole(&experiment)
        };
        let (_, checkpoint) = first.on_ranks::<f64>(before);
        let second = Run {
            from: Some(&checkpoint),
            ..whole(&experiment)
        };
        let (end, _) = second.on_ranks::<f64>(after);
        assert_eq!(end, through, "from {before} to {after} ranks");
    }
}

#[test]
fn ranks_may_be_more_than_the_rows_of_a_batch() {
    let experiment = experiment(deq(), json!({ "batch": 2, "epochs": 1 }));
    let (one, _) = whole(&experiment).on::<f64>(&Alone).expect("it trains");
    let (several, _) = whole(&experiment).on_ranks::<f64>(3);
    assert_near(&one, &several, "3 ranks");
}

#[test]
fn rows_that_depend_on_each_other_are_refused() {
    let refusal = |size: usize, reproducible: bool| {
        let mut experiment = experiment(
            json!({ "type": "concat" }),
            json!({ "reproducible": reproducible }),
        );
        let backbone = json!({ "type": "mm-imdb", "hidden": [6], "width": 4 });
        experiment.backbone = serde_json::from_value(backbone).expect("it parses");
        let mut ends = run::<_, Error>(size, |ranks| whole(&experiment).on::<f64>(ranks).map(drop));
        ends.swap_remove(0)
    };
    refusal(1, false).expect("one rank normalizes whole batches");
    for (size, reproducible, plugin, field) in [
        (2, false, "backbone", "type"),
        (2, true, "backbone", "type"),
        (1, true, "training", "reproducible"),
    ] {
        match refusal(size, reproducible).expect_err("it is refused") {
            Error::Config {
                plugin: p,
                field: f,
                got,
                ..
            } => {
                assert_eq!((p, f), (plugin, field));
                assert!(got.contains("running_mean"), "{got}");
            }
            other => panic!("{other}"),
        }
    }
}

/// Fails on one sample.
struct Faulty(usize);

impl Parameters<f64, Cpu> for Faulty {
    fn visit(&self, _: &str, _: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {}
    fn visit_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {}
}

impl Backbone<f64, Cpu> for Faulty {
    fn encode(
        &self,
        x: &[Matrix<f64, Cpu>],
        _: Option<&Matrix<f64, Cpu>>,
        pass: &mut Pass<f64, Cpu>,
    ) -> Result<Vec<Matrix<f64, Cpu>>> {
        let samples = pass.samples.as_ref();
        match samples.is_some_and(|samples| samples.contains(&self.0)) {
            true => Err(Error::device("a sample that cannot be encoded")),
            false => Ok(x.to_vec()),
        }
    }
}

#[test]
fn an_error_of_one_rank_ends_all() {
    let mut experiment = experiment(json!({ "type": "concat" }), json!({}));
    let mut data = experiment.data.load().expect("sound");
    data.train.modalities.truncate(1);
    let columns = data.train.modalities[0].columns;
    let raw = json!({ "type": "raw", "width": columns });
    experiment.backbone = serde_json::from_value(raw).expect("it parses");
    let ends = run::<(), Error>(3, |ranks| {
        let device = Cpu::default();
        let mut model = model::<f64>(&experiment, &data)?;
        model.backbone = Box::new(Faulty(7));
        let mut progress = Progress::new(&experiment.training)?;
        let mut trainer = Trainer {
            model: &mut model,
            device: &device,
            training: &experiment.training,
            seed: 5,
        };
        let mut observe = |_: &Model<f64, Cpu>, _: &mut Progress<f64>| Ok(());
        trainer.run_on::<Error>(ranks, &data.train, None, &mut progress, &mut observe)?;
        Ok(())
    });
    let errors: Vec<Error> = ends.into_iter().map(|e| e.expect_err("all end")).collect();
    let own = |error: &&Error| matches!(error, Error::Device { .. });
    assert_eq!(errors.iter().filter(own).count(), 1, "{errors:?}");
    let others = |error: &&Error| matches!(error, Error::OtherRank { .. });
    assert_eq!(errors.iter().filter(others).count(), 2, "{errors:?}");
}

#[test]
fn ranks_with_other_parameters_are_told_before_the_first_step() {
    let ends = run::<(), Error>(2, |ranks| {
        let mut experiment = experiment(deq(), json!({}));
        experiment.seed = ranks.rank() as u64;
        whole(&experiment).on::<f64>(ranks).map(drop)
    });
    for end in ends {
        let error = end.expect_err("they differ").to_string();
        let expected = "rank 1 differs from rank 0 in the parameters before the first step";
        assert!(error.starts_with(expected), "{error}");
    }
}

/// Single rows as well: the number of test rows is below that of ranks.
#[test]
fn evaluations_on_ranks_are_those_of_one() {
    let experiment = experiment(deq(), json!({}));
    let data = experiment.data.load().expect("sound");
    let few = data.test.select(&[3, 8]);
    let on = |ranks: &dyn Ranks| {
        let model = model::<f64>(&experiment, &data)?;
        let division = Division {
            ranks,
            reproducible: false,
        };
        evaluate_on(&division, &model, &Cpu::default(), &few)
    };
    let one = on(&Alone).expect("sound");
    for several in run::<_, Error>(3, |ranks| on(ranks)) {
        let several = several.expect("sound");
        let difference = (several.loss - one.loss).abs();
        assert!(difference < 1e-12 * one.loss, "{difference:e}");
        assert_eq!(several.solves.len(), one.solves.len());
        let counts = |e: &equilibria_fusion::train::Evaluation| e.comparison.clone();
        assert_eq!(counts(&several), counts(&one));
    }
}
