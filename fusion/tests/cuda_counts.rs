//! What solves and training steps ask of a GPU: launches, products, copies, allocations. Counted on the stand-in of `core/testing/cuda`; on
//! a GPU, whose driver does not count, there is nothing to test.
//!
//! The residual block, f32, of width 500, as in the figures of the documentation.

#[path = "cuda/resident.rs"]
mod resident;

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::json;
use equilibria_core::{cuda, AnyLayer, Equilibrium, StepOnly};
use equilibria_fusion::layers::{Initializer, LayerConfig, LayerRequest, Layers};
use equilibria_testing::{perturb, print_kernels, random_matrix, Counters};

/// As many launches go to few samples as to many, and each takes the stand-in long.
const BATCH: usize = 40;
const WIDTH: usize = 500;

/// Where the driver counts: it does so for the process, in which one test runs at a time.
fn alone() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    Counters::now()?;
    Some(TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

fn layer(device: &Cuda) -> AnyLayer<f32, Cuda> {
    let config = registry::make::<dyn LayerConfig>(&json!({ "type": "residual-block" }));
    let request = LayerRequest {
        state: WIDTH,
        inputs: &[WIDTH],
        init: &mut Initializer::new(device, 1),
    };
    let config = config.expect("it parses");
    let mut layer = <Cuda as Backend<f32>>::build::<Layers>(&*config, request).expect("it builds");
    perturb(&mut layer, 0.02, 2).expect("memory");
    layer
}

/// Anderson acceleration that notes what is counted whenever it is asked for a point: from one to the next lies a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(crate = "equilibria_core::serde")]
struct Noted;

thread_local! {
    static NOTES: RefCell<Vec<Counters>> = const { RefCell::new(Vec::new()) };
}

struct Noting(Box<dyn Iteration>);

#[typetag::serde(name = "noted")]
impl FixedPointSolver for Noted {
    fn start(&self, space: &mut dyn Map, tolerance: Tolerance) -> Result<Box<dyn Iteration>> {
        let anderson = equilibria_fusion::layers::solvers::solver("anderson")?;
        Ok(Box::new(Noting(anderson.start(space, tolerance)?)))
    }
}

impl Iteration for Noting {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation<'_>, next: Slot) -> Result<()> {
        NOTES.with_borrow_mut(|notes| notes.extend(Counters::now()));
        self.0.advance(space, at, next)
    }

    fn permute(&mut self, swaps: &[(usize, usize)], batch: usize) {
        self.0.permute(swaps, batch);
    }

    fn finish(&mut self, space: &mut dyn Map) -> LowRank {
        self.0.finish(space)
    }
}

/// What each step from the third on has asked for.
fn steps() -> Vec<Counters> {
    let notes = NOTES.take();
    let steps = notes.windows(2).map(|pair| pair[1] - pair[0]);
    steps.skip(2).collect()
}

fn noted<L>(layer: L) -> Equilibrium<L> {
    // No sample leaves: steps are all alike.
    let stop = Stop {
        max_evaluations: 9,
        on_unconverged: OnUnconverged::Accept,
        ..Stop::at(Tolerance::relative(1e-12))
    };
    let backward = json!({ "type": "implicit", "solver": { "type": "noted" }, "stop": stop });
    let backward = registry::make::<dyn BackwardStrategy>(&backward).expect("it parses");
    let solver: Box<dyn FixedPointSolver> = Box::new(Noted);
    let mut equilibrium = Equilibrium::new(layer, solver, backward);
    equilibrium.stop = stop;
    equilibrium
}

/// Solves and differentiates once to warm up, and once more; returns what forward and adjoint steps ask for.
fn forward_and_adjoint<L: ImplicitLayer<f32, Cuda>>(
    device: &Cuda,
    layer: L,
    batch: usize,
) -> [Vec<Counters>; 2] {
    let equilibrium = noted(layer);
    let x: Matrix<f32, Cuda> = random_matrix(device, (batch, WIDTH), 3).expect("memory");
    let mut counted = [Vec::new(), Vec::new()];
    for _ in 0..2 {
        NOTES.take();
        let inputs = [x.clone()];
        let solved = equilibrium.forward(&inputs, OwnedTape::default());
        let solved = solved.expect("it runs");
        counted[0] = steps();
        solved.z.square().sum::<Rank0, Axes2<0, 1>>().backward();
        solved.adjoint.take().expect("it works");
        counted[1] = steps();
    }
    counted
}

fn most(steps: &[Counters], of: fn(&Counters) -> u64) -> u64 {
    assert!(steps.len() > 3, "too few steps to tell");
    steps.iter().map(of).max().unwrap_or(0)
}

#[test]
fn steps_of_a_solve_ask_for_little() {
    let Some(_alone) = alone() else {
        return;
    };
    let device = cuda::open(0).expect("a device");
    let [forward, adjoint] = forward_and_adjoint(&device, layer(&device), BATCH);
    println!("forward {:?}\nadjoint {:?}", forward.last(), adjoint.last());
    print_kernels();
    assert!(most(&forward, |step| step.launches) <= 6);
    assert!(most(&forward, |step| step.products) <= 2);
    assert!(most(&forward, |step| step.copies_to) <= 1);
    assert!(most(&forward, |step| step.copies_back) <= 1);
    assert_eq!(most(&forward, |step| step.allocations), 0);
    assert!(most(&adjoint, |step| step.launches) <= 7);
    assert!(most(&adjoint, |step| step.products) <= 2);
    assert!(most(&adjoint, |step| step.copies_to) <= 1);
    assert!(most(&adjoint, |step| step.copies_back) <= 1);
    assert_eq!(most(&adjoint, |step| step.allocations), 0);
}

/// A layer of which nothing is known but its step in dfdx operations.
#[test]
fn a_layer_in_dfdx_operations_costs_little_beside_its_own() {
    let Some(_alone) = alone() else {
        return;
    };
    let device = cuda::open(0).expect("a device");
    let layer = StepOnly(layer(&device));
    let x: Matrix<f32, Cuda> = random_matrix(&device, (BATCH, WIDTH), 3).expect("memory");
    let step = || equilibria_core::apply(&layer, x.clone(), &[x.clone()]).expect("it runs");
    step();
    let (own, _) = Counters::of(step).expect("it counts");
    let [forward, _] = forward_and_adjoint(&device, layer.clone(), BATCH);
    println!("own {own:?}\nforward {:?}", forward.last());
    assert!(most(&forward, |step| step.launches) <= own.launches + 5);
}

#[test]
fn gradients_of_parameters_ask_for_little() {
    let Some(_alone) = alone() else {
        return;
    };
    let device = cuda::open(0).expect("a device");
    let layer = layer(&device);
    let equilibrium = noted(layer);
    let states = [3, 4].map(|seed| random_matrix(&device, (BATCH, WIDTH), seed).expect("memory"));
    let x: Matrix<f32, Cuda> = random_matrix(&device, (BATCH, WIDTH), 5).expect("memory");
    let counted = RefCell::new(Vec::new());
    // One thread runs all of it.
    let counted = Mutex::new(counted.take());
    let job = |space: &mut dyn DifferentiableMap, slots: &[Slot]| {
        space.linearize(slots[0])?;
        for _ in 0..2 {
            let asked = Counters::of(|| space.pull_back(slots[1]));
            let (asked, done) = asked.expect("it counts");
            done?;
            counted.lock().expect("no panic").push(asked);
        }
        Ok(())
    };
    equilibrium.inspect(&states, &[x], job).expect("it runs");
    let counted = counted.into_inner().expect("no panic");
    println!("pull-back {counted:?}");
    let last = counted.last().expect("two");
    assert!(last.launches <= 7 && last.products <= 3, "{last:?}");
    assert_eq!(
        (last.copies_to, last.copies_back, last.allocations),
        (0, 0, 0)
    );
}

/// What a layer of images selects from its columns is sent once for all solves.
#[test]
fn programs_of_a_layer_send_what_they_select_once() {
    let Some(_alone) = alone() else {
        return;
    };
    let device = cuda::open(0).expect("a device");
    let config = registry::make::<dyn LayerConfig>(&json!({ "type": "mdeq" })).expect("it parses");
    let sizes = config.sizes().expect("those of images");
    let request = LayerRequest {
        state: sizes.state,
        inputs: &sizes.inputs,
        init: &mut Initializer::new(&device, 1),
    };
    let layer = <Cuda as Backend<f32>>::build::<Layers>(&*config, request).expect("it builds");
    let inputs = sizes.inputs.iter();
    let inputs = inputs.map(|&width| random_matrix(&device, (2, width), 3).expect("memory"));
    let inputs: Vec<Matrix<f32, Cuda>> = inputs.collect();
    let program = || {
        let space = <Cuda as Backend<f32>>::space(&layer, &device, &inputs, 2);
        drop(space.expect("a space"));
    };
    let [first, second] = [0, 1].map(|_| Counters::of(program).expect("it counts").0);
    assert!(first.copies_to > 0);
    assert_eq!(second.copies_to, 0);
}

/// Milliseconds of the fastest of several runs; the device has done all of each.
fn fastest(device: &Cuda, mut job: impl FnMut()) -> f64 {
    job();
    // Where the driver counts, times tell nothing.
    let seconds = if Counters::now().is_some() { 0.0 } else { 3.0 };
    let (begun, mut fastest) = (Instant::now(), f64::INFINITY);
    while fastest.is_infinite() || begun.elapsed().as_secs_f64() < seconds {
        device.synchronize();
        let run = Instant::now();
        job();
        device.synchronize();
        fastest = run.elapsed().as_secs_f64().min(fastest);
    }
    1e3 * fastest
}

/// One JSON object per job: the residual block of the figures above, at the sizes of the benchmarks. `examples/gpu_check.py` times PyTorch
/// on the same equation, with the same words. Where the driver counts it is no GPU, and a small size shows that all works.
#[test]
#[ignore = "takes half a minute, and tells something on a GPU alone"]
fn times() {
    let device = cuda::open(0).expect("a device");
    let sizes = match Counters::now() {
        Some(_) => vec![(16, 32)],
        None => vec![(128, 256), (612, 500), (1024, 1024)],
    };
    for (batch, width) in sizes {
        let config = registry::make::<dyn LayerConfig>(&json!({ "type": "residual-block" }));
        let request = LayerRequest {
            state: width,
            inputs: &[width],
            init: &mut Initializer::new(&device, 1),
        };
        let config = config.expect("it parses");
        let layer = <Cuda as Backend<f32>>::build::<Layers>(&*config, request);
        let mut layer: AnyLayer<f32, Cuda> = layer.expect("it builds");
        perturb(&mut layer, 0.7 / (2.0 * width as f64).sqrt(), 2).expect("memory");
        let solver = equilibria_fusion::layers::solvers::solver("anderson").expect("known");
        let backward = equilibria_fusion::layers::solvers::backward("implicit").expect("known");
        let mut equilibrium = Equilibrium::new(layer, solver, backward);
        equilibrium.stop.on_unconverged = OnUnconverged::Accept;
        let x = [random_matrix(&device, (batch, width), 3).expect("memory")];
        let states = [random_matrix(&device, (batch, width), 4).expect("memory")];
        let map = equilibrium.inspect(&states, &x, |space, slots| {
            let out = space.alloc()?;
            Ok(fastest(&device_of(0), || {
                space.apply(slots[0], out).expect("it runs");
            }))
        });
        let map = map.expect("it runs")[0];
        let solve = || equilibrium.forward(&x, NoneTape).expect("it runs").report;
        let steps = solve().max_evaluations();
        let solved = fastest(&device, || drop(solve()));
        let trained = fastest(&device, || {
            let solved = equilibrium.forward(&x, OwnedTape::default());
            let z = solved.expect("it runs").z;
            z.square().sum::<Rank0, Axes2<0, 1>>().backward();
        });
        for (job, ms) in [("map", map), ("solve", solved), ("train", trained)] {
            let line = json!({
                "system": "equilibria", "batch": batch, "width": width, "job": job, "ms": ms, "steps": steps,
            });
            println!("{line}");
        }
    }
}

/// The device again, where it cannot be lent to a job.
fn device_of(number: usize) -> Cuda {
    cuda::open(number).expect("a device")
}
