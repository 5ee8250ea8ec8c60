//! Times the jobs of a workload.

use std::time::Instant;

use equilibria_core::plumbing::SliceSpace;
use equilibria_core::simd::{whole_tiles, Packed, TILE};
use equilibria_core::{
    from_host, to_host, AnyLayer, Backend, ImplicitLayer, Map, Report, RowGradients, Slot, Vectors,
};
use rayon::prelude::*;

use crate::workload::Workload;
use crate::Result;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// One application of the joint map, at the equilibrium.
    Map,
    /// The solve from 0 to the tolerance.
    Solve,
    /// Solve, loss with Jacobian penalty, and all gradients.
    Train,
}

/// What a job has taken, and what it has reached.
#[derive(Debug, Clone, Default)]
pub struct Timing {
    /// Milliseconds of the fastest run.
    pub ms: f64,
    /// Evaluations, at most for one sample.
    pub evaluations: usize,
    /// Evaluations per sample, mean over equilibria.
    pub mean_evaluations: f64,
    /// Largest relative residual of the equilibrium, evaluated afresh in f64.
    pub residual: f64,
    /// Largest relative residual of the adjoint.
    pub adjoint_residual: f64,
    /// The share of the time that the products would take at the peak rate.
    pub product_share: Option<f64>,
}

/// Times the jobs that are `wanted`, each for some `seconds`; with the peak rate of the device in operations a second, if it is known,
/// tells the share of products.
pub fn time<D: Backend<f32>>(
    workload: &Workload<D>,
    wanted: impl Fn(Job) -> bool,
    seconds: f64,
    peak: Option<f64>,
    tell: &mut dyn FnMut(Job, &Timing),
) -> Result<()> {
    let fusion = workload.fusion();
    let (states, reports) = workload.solve(&fusion)?;
    let share = |operations: f64, ms: f64| peak.map(|peak| operations / peak / (ms * 1e-3));
    if wanted(Job::Map) {
        let z = workload.joint_state(&states);
        let ms = match D::ON_HOST {
            true => map(workload, &z, seconds)?,
            false => map_on_device(workload, z, seconds)?,
        };
        let timing = Timing {
            ms,
            evaluations: 1,
            mean_evaluations: 1.0,
            product_share: share(workload.map_operations(), ms),
            ..Timing::default()
        };
        tell(Job::Map, &timing);
    }
    let mut timing = Timing {
        evaluations: (reports.iter().map(Report::max_evaluations).max()).unwrap_or(0),
        mean_evaluations: reports.iter().map(Report::mean_evaluations).sum::<f64>()
            / reports.len() as f64,
        residual: workload.residual(&states)?,
        ..Timing::default()
    };
    if wanted(Job::Solve) {
        timing.ms = best(seconds, || {
            workload.solve(&fusion)?;
            finish(workload)
        })?;
        timing.product_share = share(workload.solve_operations(&reports), timing.ms);
        tell(Job::Solve, &timing);
    }
    if wanted(Job::Train) {
        timing.ms = best(seconds, || {
            workload.train(&fusion)?;
            finish(workload)
        })?;
        timing.product_share = None;
        timing.adjoint_residual = workload.adjoint_residual(&states)?;
        tell(Job::Train, &timing);
    }
    Ok(())
}

/// Multiplications and additions a second of one large product on every thread at the same time.
pub fn peak(threads: usize) -> f64 {
    const ROWS: usize = 240;
    const WIDTH: usize = 512;
    let ones = vec![1.0_f32; WIDTH * WIDTH];
    let (x, weight) = (&ones[..ROWS * WIDTH], Packed::new(&ones, WIDTH, WIDTH));
    let mut outputs = vec![vec![0.0; ROWS * WIDTH]; threads];
    let ms = best(0.1, || {
        outputs.par_iter_mut().for_each(|y| weight.multiply(x, y));
        Ok(())
    });
    let operations = 2.0 * (threads * ROWS * WIDTH * WIDTH) as f64;
    operations / ms.map_or(f64::INFINITY, |ms| ms * 1e-3)
}

/// Rows one thread applies the map to at a time, at most: few stay in cache; many share the reading of weights that do not.
const ROWS: [usize; 2] = [30, 174];

/// Bytes of the second-level cache.
const CACHE: usize = 1 << 20;

/// Some rows of the map, its argument and its result.
type Rows = (SliceSpace<f32>, Slot, Slot);

/// Milliseconds of one application of the joint map at `z`. Not at 0, where the products of all rows are the same.
fn map<D: Backend<f32>>(workload: &Workload<D>, z: &[f32], seconds: f64) -> Result<f64> {
    let (layer, inputs) = (workload.parts.joint(), workload.parts.joint_inputs()?);
    let Some(map) = layer.row_map() else {
        return Ok(f64::NAN);
    };
    let (batch, dim) = (workload.parts.sizes.batch, workload.parts.sizes.joint_dim());
    let weight = workload.parts.sizes.width.pow(2) * size_of::<f32>();
    let most = ROWS[usize::from(weight > CACHE)];
    let count = batch
        .div_ceil(most)
        .next_multiple_of(rayon::current_num_threads());
    let count = count.min(batch.div_ceil(TILE));
    let on_host: Vec<Vec<f32>> = inputs.iter().map(to_host).collect();
    let mut blocks: Vec<Rows> = Vec::with_capacity(count);
    for index in 0..count {
        let rows = whole_tiles(batch, index, count);
        let own = on_host.iter().map(|x| {
            let width = x.len() / batch;
            &x[rows.start * width..rows.end * width]
        });
        let (own, none) = (own.collect::<Vec<_>>(), RowGradients::default());
        let mut space = SliceSpace::new(map.clone(), dim, rows.clone(), &own, none);
        let [point, out] = [space.alloc()?, space.alloc()?];
        let z = &z[rows.start * dim..rows.end * dim];
        space.state_mut(point).copy_from_slice(z);
        blocks.push((space, point, out));
    }
    best(seconds, || {
        let apply = |(space, z, out): &mut Rows| space.apply(*z, *out);
        match &mut blocks[..] {
            [block] => apply(block)?,
            blocks => blocks.par_iter_mut().try_for_each(apply)?,
        }
        Ok(())
    })
}

/// The same on a device that is not the host, which has all rows at once.
fn map_on_device<D: Backend<f32>>(
    workload: &Workload<D>,
    z: Vec<f32>,
    seconds: f64,
) -> Result<f64> {
    let (layer, inputs) = (workload.parts.joint(), workload.parts.joint_inputs()?);
    let shape = (workload.parts.sizes.batch, workload.parts.sizes.joint_dim());
    let device = workload.parts.w.device();
    let mut space = D::space(&AnyLayer::new(layer), device, &inputs, shape.0)?;
    let point = space.adopt(from_host(device, z, shape)?)?;
    let out = space.alloc()?;
    best(seconds, || {
        space.apply(point, out)?;
        finish(workload)
    })
}

/// Waits until the device has done all it was asked for.
fn finish<D: Backend<f32>>(workload: &Workload<D>) -> Result<()> {
    Ok(D::wait(workload.parts.w.device())?)
}

/// Milliseconds of the fastest of at least three runs.
fn best(seconds: f64, mut job: impl FnMut() -> Result<()>) -> Result<f64> {
    job()?;
    let (started, mut fastest, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < 3 || started.elapsed().as_secs_f64() < seconds {
        let run = Instant::now();
        job()?;
        fastest = run.elapsed().as_secs_f64().min(fastest);
        runs += 1;
    }
    Ok(fastest * 1e3)
}
