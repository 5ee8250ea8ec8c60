//! `equilibria man [COMMAND]`: a manual page.

use std::process::ExitCode;

use clap::Command;
use clap_mangen::Man;

use crate::error::{Error, Result};
use crate::terminal;

/// Arguments of `man`.
#[derive(clap::Args)]
pub struct Args {
    /// The command whose page it is [default: the program]
    command: Option<String>,
}

/// Prints the page of `program`, or of one of its subcommands.
pub fn run(args: &Args, mut program: Command) -> Result<ExitCode> {
    program.build();
    let page = match &args.command {
        None => program,
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command.clone(),
            None => {
                let known: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
                return Err(Error::UnknownCommand {
                    name: name.clone(),
                    known: known.join(", "),
                });
            }
        },
    };
    // A page of its own is called as in `man equilibria-train`.
    let title = page
        .get_display_name()
        .unwrap_or(page.get_name())
        .to_owned();
    let mut text = Vec::new();
    let written = Man::new(page).title(title).render(&mut text);
    written.map_err(Error::io("the manual page".as_ref()))?;
    terminal::print(String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}
