//! The device and element type of a run, chosen when the program runs.

use dfdx::prelude::Cpu;
use equilibria_core::{Backend, DeviceName, Scalar};
use equilibria_fusion::{Dtype, Experiment};

use crate::error::{Error, Result};

/// The option that takes the place of the configured device.
#[derive(Debug, Clone, clap::Args)]
pub struct DeviceArgs {
    /// Compute here instead of on the configured device, which is `cpu` where nothing is configured: `cpu`, `cuda` or `cuda:N`
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
}

impl DeviceArgs {
    /// Enters a device of the command line in the configuration.
    ///
    /// # Errors
    /// [`WithoutCuda`](equilibria_core::Error::WithoutCuda), before anything is read or written.
    pub fn choose(&self, experiment: &mut Experiment) -> Result<()> {
        experiment.device = self.or(experiment.device)?;
        Ok(())
    }

    /// The device of the command line, or else this one.
    ///
    /// # Errors
    /// As [`choose`](Self::choose) has them.
    pub fn or(&self, configured: DeviceName) -> Result<DeviceName> {
        match self.device.unwrap_or(configured) {
            device @ DeviceName::Cuda(_) if !cfg!(feature = "cuda") => Err(without_cuda(device)),
            device => Ok(device),
        }
    }
}

/// What is to be done on some device with numbers of some type.
pub trait Work: Sized {
    /// What comes of it.
    type Output;

    /// Does it.
    fn on<E: Scalar, D: Backend<E>>(self, device: &D) -> Result<Self::Output>;

    /// Does it where the configuration says, with the numbers that it says.
    fn run(self, experiment: &Experiment) -> Result<Self::Output> {
        self.run_on(experiment.device, experiment.dtype)
    }

    /// Does it on a device, with numbers of a type.
    fn run_on(self, device: DeviceName, dtype: Dtype) -> Result<Self::Output> {
        match (device, dtype) {
            (DeviceName::Cpu, Dtype::F32) => self.on::<f32, _>(&Cpu::default()),
            (DeviceName::Cpu, Dtype::F64) => self.on::<f64, _>(&Cpu::default()),
            #[cfg(feature = "cuda")]
            (DeviceName::Cuda(number), Dtype::F32) => self.on::<f32, _>(&open(number)?),
            #[cfg(feature = "cuda")]
            (DeviceName::Cuda(number), Dtype::F64) => self.on::<f64, _>(&open(number)?),
            #[cfg(not(feature = "cuda"))]
            (device, _) => Err(without_cuda(device)),
        }
    }
}

/// Work with numbers of one type.
macro_rules! work_with {
    ($(#[$docs:meta])* $name:ident, $dtype:ty) => {
        $(#[$docs])*
        pub trait $name: Sized {
            /// What comes of it.
            type Output;

            /// Does it.
            fn on<D: Backend<$dtype>>(self, device: &D) -> Result<Self::Output>;

            /// Does it on a device.
            fn run_on(self, device: DeviceName) -> Result<Self::Output> {
                match device {
                    DeviceName::Cpu => self.on(&Cpu::default()),
                    #[cfg(feature = "cuda")]
                    DeviceName::Cuda(number) => self.on(&open(number)?),
                    #[cfg(not(feature = "cuda"))]
                    device => Err(without_cuda(device)),
                }
            }
        }
    };
}

work_with! {
    /// [`Work`] in double precision, whatever the configuration says.
    WorkInDouble, f64
}

work_with! {
    /// [`Work`] in single precision.
    WorkInSingle, f32
}

#[cfg(feature = "cuda")]
fn open(number: usize) -> Result<dfdx::prelude::Cuda> {
    Ok(equilibria_core::cuda::open(number)?)
}

fn without_cuda(device: DeviceName) -> Error {
    Error::Core(equilibria_core::Error::WithoutCuda { device })
}

/// The program that can use a GPU, beside this one that cannot.
const CUDA_PROGRAM: &str = "equilibria-cuda";

/// Where a command has failed because this program was built without CUDA, goes on as `equilibria-cuda` with the same arguments, if that
/// lies beside this program and starts. Returns what to tell if it does not.
pub fn hand_over(error: Error) -> Error {
    let Error::Core(equilibria_core::Error::WithoutCuda { .. }) = error else {
        return error;
    };
    let beside = std::env::current_exe().map(|own| own.with_file_name(CUDA_PROGRAM));
    let Some(program) = beside.ok().filter(|program| program.exists()) else {
        return error;
    };
    // Where libraries of CUDA are missing the loader ends it with a message of its own.
    let trial = std::process::Command::new(&program)
        .arg("--version")
        .output();
    let reason = match trial {
        Ok(output) if output.status.success() => go_on_as(&program).to_string(),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Error::CudaProgram { program, reason }
}

/// Becomes another program. Returns only if that fails.
#[cfg(unix)]
fn go_on_as(program: &std::path::Path) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    std::process::Command::new(program)
        .args(std::env::args_os().skip(1))
        .exec()
}

/// Waits for another program, and ends as that has.
#[cfg(not(unix))]
fn go_on_as(program: &std::path::Path) -> std::io::Error {
    let mut command = std::process::Command::new(program);
    match command.args(std::env::args_os().skip(1)).status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(2)),
        Err(error) => error,
    }
}
