//! One solver on one problem: is what it reports true, and does it depend on nothing it should not?

use super::watch::{Seen, Watch};
use crate::problems::{Precision, Problem, Run, Space};
use crate::relative_difference;
use equilibria_core::report::{SampleReport, Status};
use equilibria_core::{Error, FixedPointSolver, Stop};

/// In units of ε: 1e-12 in f64. What a different order of summation may change in a row.
const SAME: f64 = 4500.0;

/// At most so many samples are solved alone.
const ALONE: usize = 8;

/// The place and settings of a check.
struct Check<'a> {
    solver: &'a dyn FixedPointSolver,
    precision: Precision,
    space: Space,
    stop: &'a Stop,
    /// [`Problem::condition`] of the whole problem.
    condition: Option<f64>,
}

/// The statuses of all samples.
///
/// # Errors
/// The breach of contract, in words.
pub(super) fn examine(
    solver: &dyn FixedPointSolver,
    problem: &Problem,
    precision: Precision,
    space: Space,
    stop: &Stop,
) -> Result<Vec<Status>, String> {
    let check = Check {
        solver,
        precision,
        space,
        stop,
        condition: problem.condition(),
    };
    let (run, seen) = check.twice(problem)?;
    for sample in 0..problem.batch {
        let wrong = |reason| format!("sample {sample}: {reason}");
        check.counts(sample, &run, &seen).map_err(wrong)?;
        check.truth(problem, sample, &run, &seen).map_err(wrong)?;
    }
    check.batches(problem, &run)?;
    let samples = run.report.samples.iter();
    Ok(samples.map(|sample| sample.status).collect())
}

impl Check<'_> {
    /// Solves twice in the same space, the second time in slots that hold what the first one left there.
    fn twice(&self, problem: &Problem) -> Result<(Run, Seen), String> {
        let failed = |error: Error| format!("the solve failed: {error}");
        let both = problem.within(self.precision, self.space, |space| {
            let mut watch = Watch::new(space);
            let first = problem.solve_in(&mut watch, self.solver, self.stop)?;
            let seen = std::mem::take(&mut watch.seen);
            let held = space.vectors().held();
            let second = problem.solve_in(space, self.solver, self.stop)?;
            Ok((first, second, seen, held))
        });
        let (first, second, seen, held) = both.map_err(failed)?;
        if !same_bits(&first.z, &second.z) || first.report != second.report {
            return Err("a second solve in the same space gives another result".to_owned());
        }
        match held {
            0 => Ok((first, seen)),
            slots => Err(format!("{slots} slots have not been given back")),
        }
    }

    /// Is the effort reported as it was seen?
    fn counts(&self, sample: usize, run: &Run, seen: &Seen) -> Result<(), String> {
        let SampleReport {
            evaluations, steps, ..
        } = run.report.samples[sample];
        let counted = seen.evaluations[sample];
        if evaluations != counted {
            return Err(format!("reports {evaluations} evaluations, {counted} seen"));
        }
        match steps <= evaluations {
            true => Ok(()),
            false => Err(format!("{steps} steps with {evaluations} evaluations")),
        }
    }

    /// Is what is said of the sample true?
    fn truth(
        &self,
        problem: &Problem,
        sample: usize,
        run: &Run,
        seen: &Seen,
    ) -> Result<(), String> {
        let report = &run.report.samples[sample];
        let (status, z) = (report.status, problem.row(&run.z, sample));
        if !z.iter().all(|z| z.is_finite()) {
            return Err("returns a state that is not finite".to_owned());
        }
        if seen.nonsense[sample] {
            return Err("proposes a point that is not finite".to_owned());
        }
        let borne_out = match status {
            Status::NonFinite => seen.overflow[sample],
            // For direct methods; no fixed-point solver is one.
            Status::Singular => false,
            Status::MaxEvaluations => report.evaluations >= self.stop.max_evaluations,
            Status::Stalled => report.steps > self.stop.patience,
            Status::Converged | Status::Diverged => true,
        };
        if !borne_out || !problem.truthful(sample).contains(&status) {
            return Err(format!("`{status}` is not true"));
        }
        if report.residual.is_infinite() {
            return Ok(());
        }
        let rounding = self.rounding(problem, sample, z);
        let (residual, reported) = (problem.residual(sample, z), report.residual);
        if (residual - reported).abs() > rounding {
            return Err(format!("residual {residual:e}, reported as {reported:e}"));
        }
        if status != Status::Converged {
            return Ok(());
        }
        let value = problem.value(sample, z);
        let norm = value.iter().map(|v| v * v).sum::<f64>().sqrt();
        // Not `Tolerance::bound`, which is what the loop goes by.
        let tolerance = self.stop.tolerance;
        let bound = tolerance.absolute + tolerance.relative * norm + rounding;
        if residual > bound {
            return Err(format!("not solved: residual {residual:e} above {bound:e}"));
        }
        let Some((error, condition)) = problem.error(sample, z).zip(self.condition) else {
            return Ok(());
        };
        // The solution itself is known to 1e-14 of its residual.
        let known = 1e-14 * problem.magnitude(sample, z);
        let allowed = condition * (residual + known);
        match error <= allowed * (1.0 + 1e-9) {
            true => Ok(()),
            false => Err(format!("error {error:e} above {allowed:e}")),
        }
    }

    /// Is the result of every sample the same in other batches?
    fn batches(&self, problem: &Problem, run: &Run) -> Result<(), String> {
        let batch = problem.batch;
        let half = batch.div_ceil(2);
        let mut others: Vec<(&str, Vec<usize>)> = vec![
            ("in another order", (0..batch).rev().collect()),
            ("in the first half of the batch", (0..half).collect()),
            ("in the second half of the batch", (half..batch).collect()),
        ];
        let some = (0..batch).step_by(batch.div_ceil(ALONE));
        others.extend(some.map(|sample| ("alone", vec![sample])));
        for (how, samples) in others.iter().filter(|(_, samples)| !samples.is_empty()) {
            let part = problem.select(samples);
            let solved = part.solve(self.solver, self.precision, self.space, self.stop);
            let solved = solved.map_err(|error| format!("the solve failed {how}: {error}"))?;
            for (row, &sample) in samples.iter().enumerate() {
                let pair = [(&solved, row), (run, sample)];
                self.same(problem, pair)
                    .map_err(|reason| format!("sample {sample} differs {how}: {reason}"))?;
            }
        }
        Ok(())
    }

    /// Are two results of one sample the same?
    ///
    /// Products of matrices round differently in batches of different size, and a solver that diverges, or is led by
    /// chance, makes much of it. So in the tensor space no more is asked than that solved samples are near one another.
    fn same(&self, problem: &Problem, pair: [(&Run, usize); 2]) -> Result<(), String> {
        let [a, b] = pair.map(|(run, row)| problem.row(&run.z, row));
        let [first, second] = pair.map(|(run, row)| &run.report.samples[row]);
        let (status, other) = (first.status, second.status);
        let mut allowed = SAME * self.precision.epsilon();
        if self.space == Space::Tensor {
            let solved = [status, other] == [Status::Converged; 2];
            let Some(condition) = self.condition.filter(|_| solved) else {
                return Ok(());
            };
            let sample = pair[1].1;
            let rounding = self.rounding(problem, sample, a) + self.rounding(problem, sample, b);
            let apart = condition * (first.residual + second.residual + rounding);
            allowed += apart / b.iter().map(|z| z * z).sum::<f64>().sqrt();
        } else if status != other {
            return Err(format!("{status}, not {other}"));
        }
        let difference = relative_difference(a, b);
        match difference <= allowed {
            true => Ok(()),
            false => Err(format!("by {difference:e}, relative")),
        }
    }

    /// How wrong a residual at `z` may be: each stage adds up at most `dim` numbers, and rounds each product and sum.
    fn rounding(&self, problem: &Problem, sample: usize, z: &[f64]) -> f64 {
        4.0 * problem.dim as f64 * self.precision.epsilon() * problem.magnitude(sample, z)
    }
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    bits(a) == bits(b)
}
