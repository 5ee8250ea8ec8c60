//! `equilibria completions SHELL`: a completion script.

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::Command;
use clap_complete::Shell;
use equilibria_core::registry;
use equilibria_testing::problems;

use crate::error::Result;
use crate::terminal;

/// Arguments of `completions`.
#[derive(clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script for `program`, which has the subcommands that are named here.
pub fn run(args: &Args, program: Command) -> Result<ExitCode> {
    let mut program = with_names(program)?;
    let (name, mut script) = (program.get_name().to_owned(), Vec::new());
    clap_complete::generate(args.shell, &mut program, name, &mut script);
    terminal::print(String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// Offers the names of plugins and problems. For scripts alone: the program itself says more about a name it does not know
/// than clap would.
fn with_names(program: Command) -> Result<Command> {
    let plugins = registry::plugins()?;
    let names = |wanted: &dyn Fn(&str) -> bool| {
        let found = plugins.values().filter(|plugin| wanted(plugin.kind));
        let mut names: Vec<String> = found.map(|plugin| plugin.name.clone()).collect();
        names.sort();
        names.dedup();
        PossibleValuesParser::new(names)
    };
    let mut kinds: Vec<&str> = plugins.keys().map(|(kind, _)| *kind).collect();
    kinds.dedup();
    let (kinds, all) = (PossibleValuesParser::new(kinds), names(&|_| true));
    let problems = problems::all().into_iter().map(|problem| problem.name);
    let problems = PossibleValuesParser::new(problems.collect::<Vec<_>>());
    let solvers = names(&|kind| kind == "solver");
    Ok(program
        .mut_subcommand("describe", |describe| {
            describe
                .mut_arg("kind", |kind| kind.value_parser(kinds))
                .mut_arg("name", |name| name.value_parser(all))
        })
        .mut_subcommand("solve", |solve| {
            solve
                .mut_arg("problem", |problem| problem.value_parser(problems))
                .mut_arg("solver", |solver| solver.value_parser(solvers))
        }))
}
