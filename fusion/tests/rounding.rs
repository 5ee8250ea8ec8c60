//! Maps with rounded products: close to the exact ones, row by row, and only where they are allowed to.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::plumbing::{Shortcuts, SliceSpace};
use equilibria_core::prelude::*;
use equilibria_core::simd::RoundedPacked;
use equilibria_core::{from_host, to_host, AnyLayer, Equilibrium, SampleReport};
use equilibria_fusion::deq::{FuseBlock, JointLayer};
use equilibria_fusion::layers::masked::Masked;
use equilibria_fusion::layers::modules::dropout_mask;
use equilibria_fusion::layers::plugins::residual_block::ResidualBlockConfig;
use equilibria_fusion::layers::{Initializer, LayerRequest};
use equilibria_fusion::solvers::backward::implicit::Implicit;
use equilibria_fusion::solvers::solver;
use equilibria_testing::{perturb, random_matrix, relative_difference, OnRows};

/// The narrowest layers that are rounded.
const WIDTH: usize = 128;

type Layer = AnyLayer<f32, Cpu>;

fn residual_block(deviation: f64, skip: bool) -> Layer {
    let config = ResidualBlockConfig {
        deviation,
        skip,
        ..ResidualBlockConfig::default()
    };
    let request = LayerRequest {
        state: WIDTH,
        inputs: &[WIDTH],
        init: &mut Initializer::new(&Cpu::default(), 1),
    };
    let mut layer = Build::build::<f32, Cpu>(&config, request).expect("it builds");
    perturb(&mut layer, 0.02, 2).expect("memory");
    layer
}

fn fuse_block(gate: bool) -> FuseBlock<f32, Cpu> {
    let init = &mut Initializer::new(&Cpu::default(), 3);
    let mut block = FuseBlock::new(WIDTH, 2, 4, 0.05, init).expect("it builds");
    block.gate = gate;
    block
}

fn random(rows: usize, width: usize, seed: u64) -> Matrix<f32, Cpu> {
    random_matrix(&Cpu::default(), (rows, width), seed).expect("memory")
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Checks the map in rows of a layer whose inputs are all as wide as one part of its state.
fn check(name: &str, layer: &impl ImplicitLayer<f32, Cpu>, inputs: &[Matrix<f32, Cpu>]) {
    check_rounding(name, layer, inputs, RoundedPacked::<f32>::pays());
}

/// The same of a layer of which it is known whether some of its products are rounded.
fn check_rounding(
    name: &str,
    layer: &impl ImplicitLayer<f32, Cpu>,
    inputs: &[Matrix<f32, Cpu>],
    is_rounded: bool,
) {
    const ROWS: usize = 7;
    const EXACT: usize = 3;
    let dim = layer.state_dim();
    let z = to_host(&random(ROWS, dim, 7));
    let space = |rows: std::ops::Range<usize>| {
        let on_host = inputs.iter().map(|x| (x.shape().1, to_host(x)));
        let on_host: Vec<(usize, Vec<f32>)> = on_host.collect();
        let own = on_host.iter();
        let own = own.map(|(width, x)| &x[rows.start * width..rows.end * width]);
        let (map, none) = (layer.row_map().expect("a map"), RowGradients::default());
        let mut space = SliceSpace::new(map, dim, rows.clone(), &own.collect::<Vec<_>>(), none);
        let [point, out] = [(); 2].map(|()| space.alloc().expect("memory"));
        let own = &z[rows.start * dim..rows.end * dim];
        space.state_mut(point).copy_from_slice(own);
        (space, point, out)
    };
    let exact = OnRows::new(layer.row_map().expect("a map"), dim, inputs);
    let rounded = OnRows::new(layer.row_map().expect("a map"), dim, inputs).rounded();
    for mut map in std::iter::once(exact).chain(rounded) {
        // An evaluation that is kept is the one it takes the place of.
        assert_eq!(bits(&map.linearize(&z)), bits(&map.apply(&z)), "{name}");
    }
    let (mut block, point, out) = space(0..ROWS);
    let mut evaluate = |from: usize| {
        let rounds = block.allow_rounding(from);
        assert_eq!(rounds, is_rounded, "{name}");
        block.apply(point, out).expect("it runs");
        let value = block.state(out).to_vec();
        // Written to, so that it is linearized anew.
        block.state_mut(point);
        block.linearize(point).expect("it runs");
        block.vjp(point, out).expect("it runs");
        [value, block.state(out).to_vec()]
    };
    let exact = evaluate(usize::MAX);
    let rounded = evaluate(EXACT);
    let all = evaluate(0);
    assert_eq!(
        evaluate(ROWS).map(|v| bits(&v)),
        exact.clone().map(|v| bits(&v))
    );
    for index in [0, 1] {
        let (exact, rounded, all) = (&exact[index], &rounded[index], &all[index]);
        let (head, tail) = exact.split_at(EXACT * dim);
        let (rounded_head, rounded_tail) = rounded.split_at(EXACT * dim);
        assert_eq!(bits(rounded_head), bits(head), "{name} {index}");
        assert_eq!(
            bits(rounded_tail),
            bits(&all[EXACT * dim..]),
            "{name} {index}"
        );
        if is_rounded {
            // Factors err by 2^-9 at most, so products of two by 2^-8; a few of these follow each other, and
            // normalizations and gates may raise that a few times.
            let wide = |row: &[f32]| row.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            let difference = relative_difference(&wide(rounded_tail), &wide(tail));
            assert!(
                difference > 1e-5 && difference < 0.1,
                "{name} {index}: {difference:e}"
            );
        }
    }
    // One row alone.
    for row in 0..ROWS {
        let own = row * dim..(row + 1) * dim;
        let (mut block, point, out) = space(row..row + 1);
        block.allow_rounding(0);
        block.apply(point, out).expect("it runs");
        assert_eq!(
            bits(block.state(out)),
            bits(&all[0][own]),
            "{name} row {row}"
        );
    }
}

#[test]
fn rounded_rows_are_close_and_the_others_are_exact() {
    let x = random(7, WIDTH, 5);
    for skip in [false, true] {
        check(
            "residual-block",
            &residual_block(0.05, skip),
            std::slice::from_ref(&x),
        );
    }
    let mask = dropout_mask(&Cpu::default(), (7, WIDTH), 0.4, 6).expect("a mask");
    let masked = AnyLayer::new(Masked(residual_block(0.05, false)));
    check("masked", &masked, &[x.clone(), mask]);
    let others = [random(7, WIDTH, 8), random(7, WIDTH, 9)];
    for gate in [false, true] {
        // Without the gate f_fuse does not depend on z: its products are constants of a solve, which are exact.
        let is_rounded = gate && RoundedPacked::<f32>::pays();
        check_rounding(
            "fuse",
            &AnyLayer::new(fuse_block(gate)),
            &others,
            is_rounded,
        );
        let joint = JointLayer {
            theta: vec![residual_block(0.05, false), residual_block(0.06, false)],
            fuse: fuse_block(gate),
        };
        let inputs = [std::slice::from_ref(&x), &others[..]].concat();
        check("joint", &AnyLayer::new(joint), &inputs);
    }
}

/// What rounding changes in Jᵀu + v of every sample, relative to the bound that [`AdjointMap`] gives: from 0, and from a
/// point at which it was exact.
fn shares_of_bound(layer: Layer, inputs: &[Matrix<f32, Cpu>]) -> Vec<f64> {
    let anderson = solver("anderson").expect("registered");
    let backward: Arc<dyn BackwardStrategy> = Arc::new(Implicit::default());
    let equilibrium = Equilibrium::new(layer, anderson, backward);
    let (rows, dim) = (inputs[0].shape().0, equilibrium.layer.state_dim());
    let states = [7, 8, 9, 10].map(|seed| random(rows, dim, seed));
    let shares = equilibrium.inspect(&states, inputs, |space, slots| {
        let [z, point, other, v] = [slots[0], slots[1], slots[2], slots[3]];
        let [rounded, exact, off] = [space.alloc()?, space.alloc()?, space.alloc()?];
        let batch = space.batch();
        let (mut errors, mut squares) = (vec![f64::NAN; batch], vec![f64::NAN; batch]);
        let mut shares = Vec::new();
        space.linearize(z)?;
        for u in [point, other] {
            let mut adjoint = AdjointMap::new(space, v);
            if u == other {
                // A tenth of the way from the first point.
                let terms = [(Coef::Same(0.9), point), (Coef::Same(0.1), other)];
                adjoint.combine(other, &terms)?;
                adjoint.allow_rounding(batch);
                adjoint.apply(point, rounded)?;
            }
            adjoint.allow_rounding(0);
            adjoint.apply(u, rounded)?;
            adjoint.rounding_errors(&mut errors);
            adjoint.allow_rounding(usize::MAX);
            adjoint.apply(u, exact)?;
            let terms = [(Coef::Same(1.0), rounded), (Coef::Same(-1.0), exact)];
            adjoint.combine(off, &terms)?;
            adjoint.dots(off, &[off], &mut squares)?;
            shares.extend(
                squares
                    .iter()
                    .zip(&errors)
                    .map(|(off, bound)| off.sqrt() / bound),
            );
        }
        Ok(shares)
    });
    shares.expect("it runs").concat()
}

#[test]
fn rounding_changes_less_than_the_adjoint_equation_allows_for() {
    if !RoundedPacked::<f32>::pays() {
        return;
    }
    let x = random(7, WIDTH, 5);
    let inputs = [x.clone(), random(7, WIDTH, 8), random(7, WIDTH, 9)];
    let joint = JointLayer {
        theta: vec![residual_block(0.05, false)],
        fuse: fuse_block(true),
    };
    let mut layers = vec![
        ("fuse", AnyLayer::new(fuse_block(true)), &inputs[1..]),
        ("joint", AnyLayer::new(joint), &inputs[..2]),
    ];
    for deviation in [0.02, 0.05, 0.1] {
        for skip in [false, true] {
            layers.push((
                "residual-block",
                residual_block(deviation, skip),
                &inputs[..1],
            ));
        }
    }
    for (name, layer, inputs) in layers {
        let shares = shares_of_bound(layer, inputs);
        assert_eq!(shares.len(), 14);
        for share in shares {
            // Sums of many roundings: nearly all of them a good deal smaller than the bound, none of them 0.
            assert!(share > 0.01 && share < 1.0, "{name}: {share}");
        }
    }
}

/// z*, the gradient by x, and the reports of both solves, sample by sample.
type Sample = (Vec<u32>, Vec<u32>, SampleReport, SampleReport);

fn solved(layer: &Layer, x: &[f32], weights: &[f32], stop: &Stop) -> Vec<Sample> {
    let (device, rows) = (Cpu::default(), x.len() / WIDTH);
    let matrix = |values: &[f32]| from_host(&device, values.to_vec(), (rows, WIDTH));
    let inputs: [Matrix<f32, Cpu>; 1] = [matrix(x).expect("memory")];
    let implicit = Implicit {
        stop: stop.clone(),
        ..Implicit::default()
    };
    let backward: Arc<dyn BackwardStrategy> = Arc::new(implicit);
    let anderson = solver("anderson").expect("registered");
    let mut equilibrium = Equilibrium::new(layer.clone(), anderson, backward);
    equilibrium.stop = stop.clone();
    let solved = (equilibrium.forward(&inputs, OwnedTape::default())).expect("solvable");
    let (z, tape) = solved.z.split_tape();
    let loss = z.clone().put_tape(tape) * matrix(weights).expect("memory");
    let mut gradients = loss.sum::<Rank0, _>().backward();
    gradients.try_alloc_for(&inputs[0]).expect("memory");
    let gradient = to_host(&gradients.get(&inputs[0]));
    let adjoint = (solved.adjoint.take().expect("solved")).expect("the tape has run");
    let z = to_host(&z);
    let rows = z.chunks_exact(WIDTH).zip(gradient.chunks_exact(WIDTH));
    let reports = solved.report.samples.into_iter().zip(adjoint.samples);
    rows.zip(reports)
        .map(|((z, gradient), (forward, adjoint))| (bits(z), bits(gradient), forward, adjoint))
        .collect()
}

#[test]
fn a_sample_does_not_know_its_batch_mates() {
    const BATCH: usize = 40;
    let stop = Stop {
        on_unconverged: OnUnconverged::Error,
        trace: true,
        rounded: true,
        ..Stop::default()
    };
    let layer = residual_block(0.03, false);
    // Inputs of very different sizes, from those that decide f nearly alone to smaller ones; two are the same.
    let (mut x, weights) = (
        to_host(&random(BATCH, WIDTH, 5)),
        to_host(&random(BATCH, WIDTH, 6)),
    );
    for (row, x) in x.chunks_exact_mut(WIDTH).enumerate() {
        let size = 16.0 * 0.5_f32.powi(row as i32 % 5);
        x.iter_mut().for_each(|x| *x *= size);
    }
    x.copy_within(..WIDTH, WIDTH);
    let batch = |size: usize, stop: &Stop| -> Vec<Sample> {
        let parts = x.chunks(size * WIDTH).zip(weights.chunks(size * WIDTH));
        parts
            .flat_map(|(x, weights)| solved(&layer, x, weights, stop))
            .collect()
    };
    let alone = batch(1, &stop);
    let steps: std::collections::BTreeSet<_> = alone.iter().map(|sample| sample.2.steps).collect();
    assert!(
        steps.len() > 2,
        "samples take different numbers of steps: {steps:?}"
    );
    for size in [2, 7, 33, BATCH] {
        let together = batch(size, &stop);
        for (index, (a, b)) in alone.iter().zip(&together).enumerate() {
            assert_eq!(a, b, "sample {index} of batches of {size}");
        }
    }
    let exact = batch(
        BATCH,
        &Stop {
            rounded: false,
            ..stop
        },
    );
    let same = alone.iter().zip(&exact).filter(|(a, b)| a.0 == b.0).count();
    match RoundedPacked::<f32>::pays() {
        true => assert!(same < BATCH / 2, "{same} samples have not been rounded"),
        false => assert_eq!(same, BATCH),
    }
}
