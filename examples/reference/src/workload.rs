//! Benchmark workloads: DEQ fusion with random weights of a given scale, in a safetensors file that other libraries read
//! as well.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::{
    apply, from_host, to_host, AdjointMap, Backend, Coef, Equilibrium, Matrix, OnUnconverged,
    Report, Stop, Tolerance, Vectors,
};
use equilibria_fusion::checkpoint::decode;
use equilibria_fusion::deq::DeqFusion;
use equilibria_fusion::fusions::deq::Schedule;
use equilibria_fusion::fusions::weighted_sum::WeightedSum;
use equilibria_fusion::layers::modules::mean;
use equilibria_fusion::solvers::backward::implicit::Implicit;
use equilibria_fusion::solvers::forward::anderson::Anderson;
use equilibria_fusion::solvers::regularizers::jacobian::Jacobian;
use equilibria_fusion::{Fusion, Pass};
use equilibria_testing::{relative_difference, worse};
use safetensors::SafeTensors;

use crate::parts::{Parts, Sizes};
use crate::{Error, Result};

/// Weight of the Jacobian penalty in the training step.
const JACOBIAN: f64 = 0.1;

/// How every job solves. Two points less than by default: solves are short here, and each point costs a pass over the state.
fn solver() -> Anderson {
    Anderson {
        memory: 4,
        ..Anderson::default()
    }
}

/// z_1*, …, z_N*, z_fuse*.
type States<D> = Vec<Matrix<f32, D>>;

/// One file.
pub struct Workload<D: Backend<f32>> {
    /// Its name, without extension.
    pub name: String,
    /// In f32, as the file has it.
    pub parts: Parts<f32, D>,
    /// In f64, to measure residuals with.
    wide: Parts<f64, Cpu>,
    target: Matrix<f32, D>,
    tolerance: f64,
    max_evaluations: usize,
    /// Whether early evaluations may be rounded, see [`Stop::rounded`]. They may, to begin with.
    pub rounded: bool,
}

/// The workloads of a folder, files `fusion_*.safetensors` with `only` in their name, in order.
pub fn files(folder: &Path, only: &str) -> Result<Vec<PathBuf>> {
    let list = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut files: Vec<PathBuf> = list.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("fusion_") && name.ends_with(".safetensors") && name.contains(only)
    });
    files.sort();
    let middle = match only {
        "" => String::new(),
        only => format!("{only}*"),
    };
    match files.is_empty() {
        true => Err(Error::workload(
            folder,
            format!("holds no fusion_*{middle}.safetensors"),
        )),
        false => Ok(files),
    }
}

impl<D: Backend<f32>> Workload<D> {
    /// Reads a file. Every solve is allowed `max_evaluations` evaluations to reach a relative `tolerance`.
    pub fn read(device: &D, path: &Path, tolerance: f64, max_evaluations: usize) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let bad = |message: String| Error::workload(path, message);
        let file = SafeTensors::deserialize(&bytes).map_err(|error| bad(error.to_string()))?;
        let (_, header) =
            SafeTensors::read_metadata(&bytes).map_err(|error| bad(error.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let size = |key: &str| {
            let value = metadata
                .get(key)
                .and_then(|text| text.parse::<usize>().ok());
            value.ok_or_else(|| bad(format!("no number `{key}` in the metadata")))
        };
        let sizes = Sizes {
            batch: size("batch")?,
            width: size("width")?,
            modalities: size("modalities")?,
            groups: size("groups")?,
            tokens: 1,
        };
        let get = |name: &str, count: usize| -> Result<Vec<f32>> {
            let view = file.tensor(name).map_err(|error| bad(error.to_string()))?;
            if view.dtype() != safetensors::Dtype::F32
                || Some(view.data().len()) != count.checked_mul(4)
            {
                let got = format!("{:?} {:?}", view.dtype(), view.shape());
                return Err(bad(format!(
                    "`{name}` must be {count} numbers in F32, got {got}"
                )));
            }
            Ok(decode(view.data()))
        };
        let get_wide = |name: &str, count: usize| -> Result<Vec<f64>> {
            Ok(get(name, count)?.into_iter().map(f64::from).collect())
        };
        let wrong = |expected: &str| bad(format!("the metadata must give {expected}"));
        let shape = (sizes.batch, sizes.width);
        let Some(count) = shape.0.checked_mul(shape.1) else {
            return Err(wrong("sizes of arrays that memory has room for"));
        };
        let target = get("target", count)?;
        let name = path.file_stem().unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            parts: Parts::new(device, &sizes, get, wrong)?,
            wide: Parts::new(&Cpu::default(), &sizes, get_wide, wrong)?,
            target: from_host(device, target, shape)?,
            tolerance,
            max_evaluations,
            rounded: true,
        })
    }

    /// How every job solves: Anderson acceleration, forward and adjoint to the same relative tolerance.
    pub(crate) fn plugins(&self) -> Equilibrium<()> {
        let stop = Stop {
            on_unconverged: OnUnconverged::Accept,
            max_evaluations: self.max_evaluations,
            rounded: self.rounded,
            // Without a tolerance, every step that is allowed is taken.
            patience: match self.tolerance > 0.0 {
                true => Stop::default().patience,
                false => self.max_evaluations,
            },
            ..Stop::at(Tolerance::relative(self.tolerance))
        };
        Equilibrium {
            name: String::new(),
            layer: (),
            solver: Arc::new(solver()),
            backward: Arc::new(Implicit {
                solver: Box::new(solver()),
                stop: stop.clone(),
            }),
            stop,
            regularizers: vec![Arc::new(Jacobian {
                weight: JACOBIAN,
                ..Jacobian::default()
            })],
        }
    }

    /// DEQ fusion in the sequential schedule.
    pub fn fusion(&self) -> DeqFusion<f32, D> {
        self.parts
            .fusion(Schedule::Sequential, true, self.plugins())
    }

    /// z*: all states, and how the solves of the equilibria went.
    pub fn solve(&self, fusion: &DeqFusion<f32, D>) -> Result<(States<D>, Vec<Report>)> {
        let mut pass = Pass::evaluation();
        let x_fuse = self.weighted(fusion, &mut pass)?;
        let states = fusion.states(&self.parts.x, x_fuse, &mut pass)?;
        let reports = pass.solves.into_iter().map(|solve| solve.report);
        Ok((states, reports.collect()))
    }

    /// One training step: solve, loss mean((z_fuse − target)²) + 0.1 Jacobian penalty (one probe), gradients of all
    /// parameters and features.
    pub fn train(&self, fusion: &DeqFusion<f32, D>) -> Result<f64> {
        let mut pass = Pass::training(1);
        let x_fuse = self.weighted(fusion, &mut pass)?;
        let mut states = fusion.states(&self.parts.x, x_fuse, &mut pass)?;
        let z = states.swap_remove(self.parts.sizes.modalities);
        let loss = pass.try_run(&z, |z| mean((z - self.target.clone()).square()))?;
        Ok(pass.backward(&loss)?.loss)
    }

    fn weighted(
        &self,
        fusion: &DeqFusion<f32, D>,
        pass: &mut Pass<f32, D>,
    ) -> Result<Matrix<f32, D>> {
        let sum = WeightedSum {
            w: fusion.w.clone(),
            bias: None,
            width: self.parts.sizes.width,
        };
        Ok(sum.fuse(&self.parts.x, pass)?)
    }

    /// Multiplications and additions in the products of one application of the joint map.
    pub fn map_operations(&self) -> f64 {
        self.operations(2.0 * self.parts.sizes.modalities as f64 + 2.0)
    }

    /// Those of a solve with these reports: two products per evaluation, of which the first, at z = 0, takes none; and one
    /// for the constant part of the gate. Rounded ones count half, as they take half the time.
    pub fn solve_operations(&self, reports: &[Report]) -> f64 {
        let products = |report: &Report| {
            let (all, rounded) = (report.mean_evaluations(), report.mean_rounded());
            // The first evaluation is one of the rounded ones, if there are any.
            2.0 * (all - 1.0) - (rounded - 1.0).max(0.0)
        };
        self.operations(reports.iter().map(products).sum::<f64>() + 1.0)
    }

    /// Of this many products of a state with a weight matrix.
    fn operations(&self, products: f64) -> f64 {
        let sizes = &self.parts.sizes;
        2.0 * products * (sizes.batch * sizes.width * sizes.width) as f64
    }

    /// The joint state `[z_1 | … | z_fuse]`.
    pub fn joint_state(&self, states: &[Matrix<f32, D>]) -> Vec<f32> {
        let joint = joint(states, &self.parts.sizes).into_iter();
        joint.map(|value| value as f32).collect()
    }

    /// Largest ‖F(z) − z‖ / ‖F(z)‖ over the samples, F the joint map in f64.
    pub fn residual(&self, states: &[Matrix<f32, D>]) -> Result<f64> {
        let joint = joint(states, &self.parts.sizes);
        let value = to_host(&apply(
            &self.wide.joint(),
            from_host(&Cpu::default(), joint.clone(), self.shape())?,
            &self.wide.joint_inputs()?,
        )?);
        let samples = residuals(&value, &joint, self.parts.sizes.joint_dim());
        Ok(samples.into_iter().fold(0.0, worse))
    }

    fn shape(&self) -> (usize, usize) {
        (self.parts.sizes.batch, self.parts.sizes.joint_dim())
    }

    /// Largest ‖Jᵀu + v − u‖ / ‖Jᵀu + v‖ over the samples for the adjoint of f_fuse, J at the f32 equilibrium: solves the
    /// adjoint equation of the loss as a training step does.
    ///
    /// J is evaluated in f64 and in f32, and the smaller residual of each sample counts: where a ReLU's argument is 0 up to
    /// rounding, the two fall on different sides of the kink, and a sample can solve the equation of one side only.
    pub fn adjoint_residual(&self, states: &[Matrix<f32, D>]) -> Result<f64> {
        let (n, sizes) = (self.parts.sizes.modalities, &self.parts.sizes);
        let (device, host) = (self.target.device(), Cpu::default());
        let v =
            (states[n].clone() - self.target.clone()) * (2.0 / (sizes.batch * sizes.width) as f32);
        let mut sum = vec![0.0_f32; sizes.batch * sizes.width];
        for z in &states[..n] {
            sum.iter_mut()
                .zip(to_host(z))
                .for_each(|(sum, z)| *sum += z);
        }
        let shape = (sizes.batch, sizes.width);
        let inputs = [from_host(device, sum.clone(), shape)?, self.parts.x_fuse()?];
        let equilibrium = self.plugins().with_layer(self.parts.fuse.clone());
        let stop = equilibrium.stop.clone();
        let solved =
            equilibrium.inspect(&[states[n].clone(), v.clone()], &inputs, |space, slots| {
                space.linearize(slots[0])?;
                let u = space.alloc()?;
                space.combine(u, &[(Coef::Same(1.0), slots[1])])?;
                let mut adjoint = AdjointMap::new(space, slots[1]);
                equilibria_core::solve(&solver(), &mut adjoint, u, &stop)?;
                let product = space.alloc()?;
                space.vjp(u, product)?;
                Ok((space.vectors().read(u)?, space.vectors().read(product)?))
            })?;
        let (u, narrow): (Vec<_>, Vec<_>) = solved.into_iter().unzip();
        let (u, narrow) = (u.concat(), narrow.concat());

        let widen = |tensor: &Matrix<f32, D>| -> Result<Matrix<f64, Cpu>> {
            let values = to_host(tensor).into_iter().map(f64::from).collect();
            Ok(from_host(&host, values, *tensor.shape())?)
        };
        let wide = self.plugins().with_layer(self.wide.fuse.clone());
        let inputs = [widen(&inputs[0])?, self.wide.x_fuse()?];
        let at = [widen(&states[n])?, from_host(&host, u.clone(), shape)?];
        let products = wide.inspect(&at, &inputs, |space, slots| {
            space.linearize(slots[0])?;
            let product = space.alloc()?;
            space.vjp(slots[1], product)?;
            space.vectors().read(product)
        })?;
        let v = to_host(&widen(&v)?);
        let residuals = [products.concat(), narrow].map(|products| {
            let value: Vec<f64> = products.iter().zip(&v).map(|(p, v)| p + v).collect();
            residuals(&value, &u, sizes.width)
        });
        let samples = residuals[0].iter().zip(&residuals[1]);
        Ok(samples
            .map(|(wide, narrow)| wide.min(*narrow))
            .fold(0.0, worse))
    }
}

/// The joint state `[z_1 | … | z_fuse]`, in f64.
fn joint<D: Backend<f32>>(states: &[Matrix<f32, D>], sizes: &Sizes) -> Vec<f64> {
    let parts: Vec<Vec<f32>> = states.iter().map(to_host).collect();
    let width = sizes.width;
    let row = |row: usize| {
        parts
            .iter()
            .flat_map(move |part| &part[row * width..][..width])
    };
    let rows = (0..sizes.batch).flat_map(row);
    rows.map(|&value| f64::from(value)).collect()
}

/// ‖value − point‖ / ‖value‖ of every row of `dim` numbers.
fn residuals(value: &[f64], point: &[f64], dim: usize) -> Vec<f64> {
    let rows = value.chunks_exact(dim).zip(point.chunks_exact(dim));
    rows.map(|(value, point)| relative_difference(point, value))
        .collect()
}
