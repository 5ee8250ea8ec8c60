//! The ranks of the program: one process, or those that a launcher of MPI such as `mpirun` has started together.

#[cfg(feature = "mpi")]
mod cores;

use std::time::Duration;

#[cfg(feature = "mpi")]
use equilibria_fusion::ranks::mpi::Job;
use equilibria_fusion::ranks::{Alone, Ranks};

use crate::error::{Error, Result};
use crate::terminal;

/// What launchers say to the processes that they start: how many there are. Open MPI; MPICH and others by its launcher.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// What other launchers say to processes of MPI: `srun` with PMIx.
#[cfg(feature = "mpi")]
const SIGNS: [&str; 1] = ["PMIX_RANK"];

/// How long another rank than the first waits with its error: the same one, of a mistake that all ranks see, is told once then.
const GRACE: Duration = Duration::from_millis(500);

/// This process, as it was started.
pub struct Launch {
    #[cfg(feature = "mpi")]
    job: Option<Job>,
}

impl Launch {
    /// Joins the other processes, if it was started with some, and shares the processor with those that are on the same machine.
    ///
    /// # Errors
    /// [`Error::WithoutMpi`] if it was started with others by a launcher, and was built without MPI.
    #[cfg(not(feature = "mpi"))]
    pub fn begin() -> Result<Self> {
        let mut sizes = SIZES
            .into_iter()
            .filter_map(|variable| Some((variable, std::env::var(variable).ok()?)));
        let several = |(_, size): &(&'static str, String)| {
            size.trim().parse().is_ok_and(|size: usize| size > 1)
        };
        match sizes.find(several) {
            Some((variable, processes)) => Err(Error::WithoutMpi {
                variable,
                processes,
            }),
            None => Ok(Self {}),
        }
    }

    /// Joins the other processes, if it was started with some, and shares the processor with those that are on the same machine.
    ///
    /// # Errors
    /// Those of MPI, and of threads that the system does not give.
    #[cfg(feature = "mpi")]
    pub fn begin() -> Result<Self> {
        let mut signs = SIZES.iter().chain(&SIGNS);
        if !signs.any(|sign| std::env::var_os(sign).is_some()) {
            return Ok(Self { job: None });
        }
        let job = Job::begin()?;
        cores::share(job.world())?;
        Ok(Self { job: Some(job) })
    }

    /// All of them.
    pub fn ranks(&self) -> &dyn Ranks {
        #[cfg(feature = "mpi")]
        if let Some(job) = &self.job {
            return job.world();
        }
        &Alone
    }
}

/// Tells of the error that ends a rank and all others with it. Returns the exit code.
pub fn tell(ranks: &dyn Ranks, error: &Error) -> u8 {
    if ranks.are_several() {
        if !ranks.leads() {
            std::thread::sleep(GRACE);
        }
        terminal::say(&format!("rank {}: error: {error}", ranks.rank()));
    }
    crate::FAILED
}
