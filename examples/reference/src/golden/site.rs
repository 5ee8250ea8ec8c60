//! What the models of all systems have in common: a model by its configuration, with everything else from a golden file.

use std::collections::HashSet;

use dfdx::prelude::*;
use equilibria_core::{
    from_host, to_host, Backend, Error as CoreError, Matrix, Parameters, Vectors,
};
use equilibria_fusion::{Experiment, Model, Pass};
use serde_json::{json, Value};

use super::equilibrium::{jacobian, Differentiated};
use super::file::Arrays;
use super::jacobian::penalties;
use super::layer::largest;
use super::ledger::Ledger;
use super::sites::Case;
use super::spaces::in_all;
use super::subject::{fusions, Subject};
use super::tolerance::{SOLVED, STEP};
use crate::parts::{Parts, Sizes};
use crate::{Error, Result};

/// A gradient, beside the largest of all.
const GRADIENT: f64 = 1e-11;

/// The model of a golden file.
pub struct Site<'c> {
    /// The file.
    pub case: &'c Case,
    /// The model, with the parameters of the file.
    pub model: Model<f64, Cpu>,
    /// Its inputs.
    pub x: Vec<Matrix<f64, Cpu>>,
    /// Their names in the file, without `input.`.
    pub inputs: Vec<&'static str>,
    /// What it is built from; its backbone knows what the file calls a parameter.
    pub experiment: Experiment,
    /// Whether there is an equilibrium on the way, behind which solves end what can be compared.
    pub solved: bool,
}

/// The configuration of DEQ fusion as golden files have it, with so many groups and tokens, solved to the last digit.
pub fn deq([groups, tokens]: [usize; 2]) -> Value {
    let stop = json!({
        "tolerance": { "relative": 1e-14 },
        "max_evaluations": 1000,
        "patience": 200,
    });
    json!({
        "type": "deq",
        "groups": groups,
        "tokens": tokens,
        "layer": { "type": "residual-block", "groups": groups, "tokens": tokens },
        "stop": stop,
        "backward": { "type": "implicit", "stop": stop },
    })
}

impl<'c> Site<'c> {
    /// A model for the given inputs, all of whose parameters are in the file.
    ///
    /// # Errors
    /// [`Error::Golden`] for an array that is missing or of another size, and those of the model.
    pub fn new(
        case: &'c Case,
        [backbone, fusion, head]: [Value; 3],
        inputs: &[&'static str],
        outputs: usize,
    ) -> Result<Self> {
        let device = Cpu::default();
        let mut x = Vec::new();
        for name in inputs {
            let array = case.golden.get(&format!("input.{name}"))?;
            let rows = array.shape.first().copied().unwrap_or(0);
            let shape = (rows, array.values.len() / rows.max(1));
            x.push(from_host(&device, array.values.clone(), shape)?);
        }
        let solved = fusion["type"] == "deq";
        let experiment = json!({
            "dtype": "f64",
            "data": { "type": "folder" },
            "backbone": backbone,
            "fusion": fusion,
            "head": head,
        });
        let experiment = serde_json::from_value::<Experiment>(experiment);
        let experiment = experiment.map_err(|error| Error::golden(&case.golden.path, error))?;
        let columns: Vec<usize> = x.iter().map(|x| x.shape().1).collect();
        let model = experiment.model(&device, &columns, outputs)?;
        let mut site = Self {
            case,
            model,
            x,
            inputs: inputs.to_vec(),
            experiment,
            solved,
        };
        site.restore()?;
        Ok(site)
    }

    /// Gives the model the parameters of the file, and the running statistics.
    pub fn restore(&mut self) -> Result<()> {
        let statistics = self.statistics();
        let mut values = Vec::new();
        for (name, tensor) in self.model.named() {
            let kind = match statistics.contains(&name) {
                true => "buffer",
                false => "param",
            };
            let (rows, columns) = *tensor.shape();
            let mut all = Vec::with_capacity(rows * columns);
            for array in self.arrays(kind, &name) {
                all.extend_from_slice(&self.case.golden.get(&array)?.values);
            }
            values.push(all);
        }
        Ok(self.model.assign(values)?)
    }

    /// The arrays of a parameter, in their order.
    fn arrays(&self, kind: &str, name: &str) -> Vec<String> {
        let renamed = self.experiment.backbone.original_name(name);
        let mut arrays = Vec::new();
        for part in renamed.split('+') {
            let array = |part: &str| format!("{kind}.{part}");
            if !part.contains('*') {
                arrays.push(array(part));
                continue;
            }
            let numbered = (1..).map(|number: usize| part.replace('*', &number.to_string()));
            let there = numbered.take_while(|part| self.case.golden.has(&format!("param.{part}")));
            arrays.extend(there.map(|part| array(&part)));
        }
        arrays
    }

    /// Compares the gradient of a parameter with those of its arrays.
    fn compare_parts(
        &self,
        kind: &str,
        name: &str,
        gradient: &[f64],
        tolerance: f64,
        ledger: &mut Ledger,
    ) {
        let golden = &self.case.golden;
        let mut rest = gradient;
        for array in self.arrays(kind, name) {
            let length = golden
                .arrays
                .get(&array)
                .map_or(0, |array| array.values.len());
            let (own, others) = rest.split_at(length.min(rest.len()));
            ledger.compare(golden, &array, own, tolerance);
            rest = others;
        }
    }

    /// Names of the running statistics.
    fn statistics(&self) -> HashSet<String> {
        let mut names = HashSet::new();
        self.model.visit_statistics("", &mut |name| {
            names.insert(name.to_owned());
        });
        names
    }

    /// Compares the values that a pass has shown, by their names in the file, without `mid.`; where the file has an axis the other way
    /// round, by its sizes `[rows, columns]` here, it is turned.
    pub fn compare_shown(
        &self,
        shown: &[(&'static str, Matrix<f64, Cpu>)],
        names: &[(&str, &str, Option<[usize; 2]>)],
        ledger: &mut Ledger,
    ) -> Result<()> {
        for (ours, name, turn) in names {
            let found = shown.iter().filter(|(name, _)| name == ours);
            for (number, (_, got)) in (1..).zip(found) {
                let name = format!("mid.{}", name.replace('*', &number.to_string()));
                let mut values = to_host(got);
                if let Some(sizes) = turn {
                    values = turned(&values, *sizes);
                }
                let shape = (1, values.len());
                let got = from_host(&Cpu::default(), values, shape)?;
                self.compare(&name, &got, ledger);
            }
        }
        Ok(())
    }

    /// Compares an array that has been computed ahead.
    pub fn compare(&self, name: &str, got: &Matrix<f64, Cpu>, ledger: &mut Ledger) {
        let golden = &self.case.golden;
        let tolerance = if self.solved { SOLVED } else { STEP };
        let tolerance = tolerance * largest(golden, name);
        ledger.compare(golden, name, &to_host(got), tolerance);
    }

    /// Differentiates the loss and all that is left in the pass, and compares `loss`, `grad.param.*`, `grad.input.*`, and the running
    /// statistics of the pass, `after.*`.
    pub fn compare_gradients(
        &self,
        loss: &Matrix<f64, Cpu>,
        pass: Pass<f64, Cpu>,
        ledger: &mut Ledger,
    ) -> Result<()> {
        self.compare("loss", loss, ledger);
        let (golden, mut gradients) = (&self.case.golden, pass.backward(loss)?.gradients);
        let statistics = self.statistics();
        let tolerance =
            if self.solved { SOLVED } else { GRADIENT } * self.largest_gradient("grad.");
        for (name, tensor) in self.model.named() {
            if statistics.contains(&name) {
                let renamed = self.experiment.backbone.original_name(&name);
                self.compare(&format!("after.{renamed}"), &tensor, ledger);
                continue;
            }
            let gradient = gradient(&mut gradients, &tensor)?;
            self.compare_parts("grad.param", &name, &gradient, tolerance, ledger);
        }
        for (name, x) in self.inputs.iter().zip(&self.x) {
            let gradient = gradient(&mut gradients, x)?;
            ledger.compare(golden, &format!("grad.input.{name}"), &gradient, tolerance);
        }
        for name in golden
            .arrays
            .keys()
            .filter(|name| name.starts_with("buffer."))
        {
            ledger.input(golden, name);
        }
        Ok(())
    }

    /// The largest entry of all gradients of a kind, at least 1.
    fn largest_gradient(&self, prefix: &str) -> f64 {
        let names = self.case.golden.arrays.keys();
        let names = names.filter(|name| name.starts_with(prefix));
        names
            .map(|name| largest(&self.case.golden, name))
            .fold(1.0, f64::max)
    }

    /// [`subject`] of this file.
    pub fn subject(
        &self,
        prefix: &str,
        sizes: [usize; 2],
        x: &[Matrix<f64, Cpu>],
    ) -> Result<Subject<Cpu>> {
        subject(&self.case.golden, prefix, sizes, x)
    }

    /// [`compare_states`] of this file.
    pub fn compare_states(
        &self,
        name: &str,
        subject: &Subject<Cpu>,
        ledger: &mut Ledger,
    ) -> Result<()> {
        compare_states(&self.case.golden, name, subject, ledger)
    }

    /// Compares the Jacobian penalty at the golden states with the golden probes; its gradients of the fusion are compared, those of its
    /// inputs returned, once for every space.
    pub fn compare_penalty(
        &self,
        subject: &Subject<Cpu>,
        fusion: &str,
        ledger: &mut Ledger,
    ) -> Result<Vec<Vec<Vec<f64>>>> {
        let golden = &self.case.golden;
        let size = subject.sizes.batch * subject.sizes.joint_dim();
        let count = golden.calls("jac.probes", size)?;
        let z = golden.need("deq.z", size)?;
        let probes = golden.need("jac.probes", count * size)?;
        for outcome in in_all(subject, |space| {
            let at = space.alloc()?;
            space.vectors_mut().write(at, z)?;
            space.linearize(at)?;
            jacobian(space)
        })? {
            let square: f64 = outcome.result.iter().map(|entry| entry * entry).sum();
            ledger.compare(golden, "jac.exact", &[square / size as f64], STEP);
        }
        let tolerance = SOLVED * self.largest_gradient("jac_grad.");
        let mut of_inputs = Vec::new();
        for penalty in penalties(subject, z, probes, count)? {
            ledger.compare(golden, "jac.estimate", &[penalty.estimate], STEP);
            for ((name, _), gradient) in subject.named().iter().zip(&penalty.parameters) {
                let name = format!("jac_grad.param.{fusion}.{name}");
                ledger.compare(golden, &name, gradient, tolerance);
            }
            of_inputs.push(penalty.x);
        }
        Ok(of_inputs)
    }

    /// Compares the gradients `jac_grad.*` that reach the parameters before the fusion, and the inputs: those of `Σ_i ⟨x_i, x̄_i⟩`, where
    /// x_i are features that the pass has made. What lies behind the fusion has none.
    pub fn compare_pulled(
        &self,
        features: &[Matrix<f64, Cpu>],
        cotangents: &[Vec<f64>],
        mut pass: Pass<f64, Cpu>,
        ledger: &mut Ledger,
    ) -> Result<()> {
        let golden = &self.case.golden;
        for (x, cotangent) in features.iter().zip(cotangents) {
            let cotangent = from_host(x.device(), cotangent.clone(), *x.shape())?;
            let product = pass.run(x, |x| {
                (x * cotangent)
                    .sum::<Rank0, Axes2<0, 1>>()
                    .reshape_like(&(1, 1))
            });
            pass.losses.push(product);
        }
        let last = pass
            .losses
            .pop()
            .ok_or_else(|| Error::golden(&golden.path, "no features"))?;
        let mut gradients = pass.backward(&last)?.gradients;
        let tolerance = SOLVED * self.largest_gradient("jac_grad.");
        for (name, tensor) in self.model.named() {
            if !name.starts_with("fusion.") {
                let gradient = gradient(&mut gradients, &tensor)?;
                self.compare_parts("jac_grad.param", &name, &gradient, tolerance, ledger);
            }
        }
        for (name, x) in self.inputs.iter().zip(&self.x) {
            let gradient = gradient(&mut gradients, x)?;
            ledger.compare(
                golden,
                &format!("jac_grad.input.{name}"),
                &gradient,
                tolerance,
            );
        }
        Ok(())
    }
}

/// DEQ fusion with the parameters `param.PREFIX.*`, apart from the model: for the features of a slot.
pub fn subject(
    golden: &Arrays,
    prefix: &str,
    [groups, tokens]: [usize; 2],
    x: &[Matrix<f64, Cpu>],
) -> Result<Subject<Cpu>> {
    let Some(&(batch, width)) = x.first().map(|x| x.shape()) else {
        return Err(Error::golden(&golden.path, "no features"));
    };
    let sizes = Sizes {
        batch,
        width,
        modalities: x.len(),
        groups,
        tokens,
    };
    let need = |name: &str, count: usize| {
        if let Some(own) = name.strip_prefix("param.") {
            let array = format!("param.{prefix}.{own}");
            return golden.need(&array, count).map(<[f64]>::to_vec);
        }
        let number = name
            .rsplit('.')
            .next()
            .and_then(|number| number.parse().ok());
        let x = number.and_then(|number: usize| x.get(number.checked_sub(1)?));
        Ok(x.map(to_host).unwrap_or_default())
    };
    let wrong =
        |expected: &str| Error::golden(&golden.path, format!("the arrays must give {expected}"));
    Parts::new(x[0].device(), &sizes, need, wrong)
}

/// Compares the states at the equilibrium of a slot, in both schedules, with and without kernels. Where they are made of tokens, the
/// file has the columns of all tokens one after the other.
pub fn compare_states(
    golden: &Arrays,
    name: &str,
    subject: &Subject<Cpu>,
    ledger: &mut Ledger,
) -> Result<()> {
    let sizes = &subject.sizes;
    for fusion in fusions(subject) {
        let mut states = Differentiated::new(&fusion, &subject.x, None)?.joint();
        if sizes.tokens > 1 {
            states = turned(&states, [sizes.tokens, sizes.width / sizes.tokens]);
        }
        let tolerance = SOLVED * largest(golden, name);
        ledger.compare(golden, name, &states, tolerance);
    }
    Ok(())
}

fn gradient(
    gradients: &mut Gradients<f64, Cpu>,
    tensor: &Matrix<f64, Cpu>,
) -> std::result::Result<Vec<f64>, CoreError> {
    Cpu::with_gradient(gradients, tensor, <[f64]>::to_vec)
}

/// Each `[rows, columns]` of the numbers as `[columns, rows]`.
fn turned(values: &[f64], [rows, columns]: [usize; 2]) -> Vec<f64> {
    let size = rows * columns;
    let place = |entry: usize| {
        let (block, entry) = (entry / size, entry % size);
        block * size + entry % rows * columns + entry / rows
    };
    (0..values.len())
        .map(|entry| values[place(entry)])
        .collect()
}
