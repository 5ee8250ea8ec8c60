//! The program as a job of MPI.

use std::path::Path;
use std::process::{Command, Stdio};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_equilibria-program");

/// `mpirun` with these arguments.
pub fn mpirun(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("mpirun");
    command.current_dir(folder).args(arguments);
    // More ranks than cores, which share all of them; also for root. For Open MPI; others allow it anyway.
    command.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
    command.env("OMPI_MCA_hwloc_base_binding_policy", "none");
    for allowed in ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] {
        command.env(allowed, "1");
    }
    // What a job that is killed leaves of the memory that ranks share, and of its sockets, goes with the folder.
    for place in ["orte_tmpdir_base", "btl_vader_backing_directory"] {
        command.env(format!("OMPI_MCA_{place}"), folder);
    }
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// So many ranks of the program with the same arguments.
pub fn ranks(folder: &Path, size: usize, arguments: &[&str]) -> Command {
    let size = size.to_string();
    mpirun(folder, &[&["-n", &size, PROGRAM], arguments].concat())
}
