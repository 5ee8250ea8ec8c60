//! `equilibria solve PROBLEM`: one or several solvers on a named problem.

use std::path::PathBuf;
use std::process::ExitCode;

use equilibria_core::report::{largest, Step};
use equilibria_core::{
    registry, Backend, DeviceName, Error as CoreError, FixedPointSolver, Report, Scalar, Status,
    Stop,
};
use equilibria_fusion::Dtype;
use equilibria_testing::conformance;
use equilibria_testing::problems::{self, Precision, Problem, Run, Space};
use serde_json::{json, Value};

use crate::config::{require_finite, toml_value};
use crate::device::{DeviceArgs, Work};
use crate::error::{Error, Result};
use crate::plot::{self, Line};
use crate::terminal::print_line;

/// Arguments of `solve`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the problem; see --list
    #[arg(required_unless_present = "list")]
    problem: Option<String>,
    /// A solver, by name or as a table such as `{type="anderson", memory=3}`; may be given several times
    #[arg(long, default_value = "anderson")]
    solver: Vec<String>,
    /// Relative tolerance, absolute for problems without a solution [default: 1e-10, with --f32 1e-5]
    #[arg(long, allow_negative_numbers = true)]
    tolerance: Option<f64>,
    /// Evaluations allowed per sample [default: 500]
    #[arg(long, alias = "max-steps")]
    max_evaluations: Option<usize>,
    /// Solve in f32 instead of f64
    #[arg(long)]
    f32: bool,
    #[command(flatten)]
    device: DeviceArgs,
    /// Draw residuals against evaluations to this SVG file
    #[arg(long)]
    plot: Option<PathBuf>,
    /// List all problems instead
    #[arg(long)]
    list: bool,
    /// Print the outcome as JSON on the last line
    #[arg(long)]
    json: bool,
}

/// Runs the command; exit status 1 if a sample has not converged.
pub fn run(args: &Args) -> Result<ExitCode> {
    let Some(name) = args.problem.as_ref().filter(|_| !args.list) else {
        list(args.json)?;
        return Ok(ExitCode::SUCCESS);
    };
    let problem = problems::find(name)?;
    let device = args.device.or(DeviceName::Cpu)?;
    let precision = match args.f32 {
        true => Precision::Single,
        false => Precision::Double,
    };
    let stop = stop(args, &problem, precision)?;
    let solvers = (args.solver.iter())
        .map(|text| solver(text))
        .collect::<Result<Vec<_>>>()?;

    print_line(format_args!("{}: {}", problem.name, problem.summary))?;
    let (mut lines, mut outcomes, mut solved) = (Vec::new(), Vec::new(), true);
    for (label, solver) in args.solver.iter().zip(solvers) {
        let solve = Solve {
            problem: &problem,
            solver: &*solver,
            stop: &stop,
        };
        let run = match device {
            DeviceName::Cpu => problem.solve(&*solver, precision, Space::Slice, &stop)?,
            device => solve.run_on(device, dtype(precision))?,
        };
        let name = solver.typetag_name();
        (run.report).log(|| format!("{}: forward solve by {name}", problem.name));
        print_steps(label, &run.report.steps())?;
        let summary = Summary::new(&problem, &run);
        print_line(format_args!("{label}: {}", summary.line()))?;
        solved &= run.report.unconverged() == 0;
        let solver = serde_json::to_value(&solver).map_err(|error| parse(label, error))?;
        outcomes.push(summary.outcome(&solver));
        lines.push(line(label, &run.report.steps()));
    }
    if let Some(path) = &args.plot {
        let title = format!("{}, {precision}", problem.name);
        plot::write(path, &title, &lines)?;
    }
    if args.json {
        let all = json!({"problem": problem.name, "precision": precision, "solvers": outcomes});
        print_line(&all)?;
    }
    Ok(match solved {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    })
}

/// One solver on a problem, where there are no rows to run a map in.
struct Solve<'a> {
    problem: &'a Problem,
    solver: &'a dyn FixedPointSolver,
    stop: &'a Stop,
}

impl Work for Solve<'_> {
    type Output = Run;

    fn on<E: Scalar, D: Backend<E>>(self, device: &D) -> Result<Run> {
        Ok((self.problem).solve_on::<E, D>(device, self.solver, self.stop)?)
    }
}

fn dtype(precision: Precision) -> Dtype {
    match precision {
        Precision::Single => Dtype::F32,
        Precision::Double => Dtype::F64,
    }
}

fn print_steps(label: &str, steps: &[Step]) -> Result<()> {
    print_line(format_args!(
        "\n{label}\n  step  evaluations  largest residual  active samples"
    ))?;
    for (number, step) in steps.iter().enumerate() {
        let Step {
            evaluations,
            residual,
            active,
        } = step;
        print_line(format_args!(
            "{:>6}  {evaluations:>11}  {residual:>16.3e}  {active:>14}",
            number + 1
        ))?;
    }
    Ok(())
}

/// Residuals against evaluations.
fn line(label: &str, steps: &[Step]) -> Line {
    let points = steps.iter().map(|step| (step.evaluations, step.residual));
    Line {
        label: label.to_owned(),
        points: points.collect(),
    }
}

fn list(as_json: bool) -> Result<()> {
    let problems = problems::all();
    if as_json {
        let entry = |p: &Problem| json!({"name": p.name, "batch": p.batch, "dim": p.dim, "summary": p.summary});
        return print_line(Value::from_iter(problems.iter().map(entry)));
    }
    for Problem {
        name,
        batch,
        dim,
        summary,
        ..
    } in problems
    {
        print_line(format_args!(
            "{name:<20} batch {batch:<3} dimension {dim:<3} {summary}"
        ))?;
    }
    Ok(())
}

/// That of the conformance kit, with what the arguments change.
fn stop(args: &Args, problem: &Problem, precision: Precision) -> Result<Stop> {
    let mut stop = conformance::stop(problem, precision);
    stop.trace = true;
    stop.max_evaluations = args.max_evaluations.unwrap_or(stop.max_evaluations);
    if let Some(tolerance) = args.tolerance {
        let kind = &mut stop.tolerance;
        *match kind.relative > 0.0 {
            true => &mut kind.relative,
            false => {
                CoreError::require_fraction("tolerance", "absolute", tolerance)?;
                &mut kind.absolute
            }
        } = tolerance;
    }
    stop.validate()?;
    Ok(stop)
}

/// A solver by name or by table.
pub fn solver(text: &str) -> Result<Box<dyn FixedPointSolver>> {
    let config = match text.trim_start().starts_with('{') {
        true => {
            let config = toml_value(text).map_err(|message| parse(text, message))?;
            require_finite(&config, &format!("--solver `{text}`"))?;
            config
        }
        false => json!({ "type": text }),
    };
    let solver = registry::make::<dyn FixedPointSolver>(&config)?;
    solver.validate()?;
    Ok(solver)
}

fn parse(text: &str, message: impl ToString) -> Error {
    Error::Config {
        origin: format!("--solver `{text}`"),
        message: message.to_string(),
    }
}

/// What a solve has come to, measured without the help of the solve.
struct Summary<'r> {
    report: &'r Report,
    residual: f64,
    /// The largest distance from the known solution, of samples that have not found another one.
    error: Option<f64>,
    /// The distances of those that have.
    elsewhere: Vec<f64>,
}

impl<'r> Summary<'r> {
    fn new(problem: &Problem, run: &'r Run) -> Self {
        let row = |sample| problem.row(&run.z, sample);
        let error = |sample| problem.error(sample, row(sample));
        let samples = 0..problem.batch;
        let residuals = samples
            .clone()
            .map(|sample| problem.residual(sample, row(sample)));
        let (elsewhere, near): (Vec<_>, Vec<_>) = samples.partition(|&sample| {
            run.report.samples[sample].status == Status::Converged
                && problem.is_other_solution(sample, row(sample))
        });
        Self {
            report: &run.report,
            residual: largest(residuals),
            error: near.into_iter().filter_map(error).reduce(f64::max),
            elsewhere: elsewhere.into_iter().filter_map(error).collect(),
        }
    }

    fn outcome(&self, solver: &Value) -> Value {
        json!({
            "solver": solver,
            "converged": self.report.count(Status::Converged),
            "samples": self.report.samples,
            "residual": self.residual,
            "error": self.error,
            "other_fixed_points": self.elsewhere.len(),
        })
    }

    fn line(&self) -> String {
        let report = self.report;
        let mut line = format!(
            "{} of {} samples converged, {} evaluations, {} at most for one sample, largest residual {:.1e}",
            report.count(Status::Converged),
            report.samples.len(),
            report.evaluations(),
            report.max_evaluations(),
            self.residual,
        );
        if let Some(error) = self.error {
            line += &format!(", largest error {error:.1e}");
        }
        if let Some(distance) = self.elsewhere.iter().copied().reduce(f64::max) {
            line += &format!(
                "; the solution is not unique: {} of them at another fixed point than the known one, up to {distance:.1e} from it",
                self.elsewhere.len()
            );
        }
        line
    }
}
