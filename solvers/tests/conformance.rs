//! All registered solvers in the conformance kit, and what each of them solves.

use std::collections::BTreeSet;
use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, Equilibrium};
use equilibria_solvers::backward::jacobian_free::JacobianFree;
use equilibria_testing::conformance::{
    check_configuration, check_solver, stop, table, Outcome, Verdict,
};
use equilibria_testing::problems::{all, find, Precision, Problem, Space};
use equilibria_testing::relative_difference;
use rayon::prelude::*;

/// Every solver with its name.
fn solvers() -> Vec<(String, Arc<dyn FixedPointSolver>)> {
    let plugins = registry::of_kind("solver").expect("solvers are linked");
    let named = plugins.into_iter().map(|plugin| {
        let solver = equilibria_solvers::solver(&plugin.name).expect("registered");
        (plugin.name, solver)
    });
    named.collect()
}

/// `solver problem dtype` of everything in `unsolved.txt`: what stays unsolved, and where rounding decides.
fn listed() -> [BTreeSet<String>; 2] {
    let lines = include_str!("unsolved.txt").lines().map(str::trim);
    let entries = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let [mut unsolved, mut either] = [BTreeSet::new(), BTreeSet::new()];
    for entry in entries {
        let (entry, into) = match entry.strip_suffix(" either") {
            Some(entry) => (entry, &mut either),
            None => (entry, &mut unsolved),
        };
        match entry.split_whitespace().count() {
            2 => into.extend([format!("{entry} f32"), format!("{entry} f64")]),
            _ => into.extend([entry.to_owned()]),
        }
    }
    [unsolved, either]
}

#[test]
fn every_solver_keeps_its_contract_and_solves_what_is_not_listed() {
    let solvable: BTreeSet<&str> = (all().iter())
        .filter(|problem| problem.solutions.iter().any(Option::is_some))
        .map(|problem| problem.name)
        .collect();
    let (mut unsolved, mut solved) = (BTreeSet::new(), BTreeSet::new());
    let checked = solvers().into_par_iter();
    let checked = checked.map(|(name, solver)| (name, check_solver(&*solver)));
    let checked: Vec<(String, Vec<Outcome>)> = checked.collect();
    for (name, outcomes) in &checked {
        for outcome in outcomes {
            let Outcome {
                problem,
                precision,
                verdict,
                ..
            } = outcome;
            let entry = format!("{name} {problem} {precision}");
            match verdict {
                Verdict::Wrong(_) => panic!("`{name}` breaks the contract: {outcome}"),
                Verdict::Solved => solved.insert(entry),
                Verdict::Unsolved if solvable.contains(problem) => unsolved.insert(entry),
                Verdict::Unsolved => false,
            };
        }
    }
    let page = include_str!("../../docs/src/conformance.md");
    let (_, rest) = page.split_once("<!-- conformance -->\n").expect("a marker");
    let (shown, _) = rest.split_once("<!-- /conformance -->").expect("a marker");
    let counted = table(&checked);
    let current = shown.trim() == counted.trim();
    let [listed, either] = listed();
    unsolved.retain(|entry| !either.contains(entry));
    let missing: Vec<_> = unsolved.difference(&listed).collect();
    let stale: Vec<_> = listed.difference(&unsolved).collect();
    let torn: Vec<_> = solved.intersection(&unsolved).collect();
    assert!(
        current && missing.is_empty() && stale.is_empty() && torn.is_empty(),
        "unsolved, but not in unsolved.txt: {missing:#?}\nin unsolved.txt, but solved or unknown: {stale:#?}\n\
         solved in one of the two spaces only: {torn:#?}\ntable of docs/src/conformance.md:\n{counted}"
    );
}

#[test]
fn every_configuration_is_refused_or_behaves() {
    solvers().into_par_iter().for_each(|(name, solver)| {
        let breaches = check_configuration(&*solver);
        assert!(breaches.is_empty(), "`{name}`: {breaches:#?}");
    });
}

/// The other 63 samples are what they are without the one that is NaN.
#[test]
fn one_nan_sample_leaves_the_others_alone() {
    let problem = find("nan-sample").expect("known");
    let bad = problem.solutions.iter().position(Option::is_none);
    let bad = bad.expect("one sample without a solution");
    let others: Vec<usize> = (0..problem.batch).filter(|&s| s != bad).collect();
    let without = problem.select(&others);
    let stop = stop(&problem, Precision::Double);
    for (name, solver) in solvers() {
        for space in Space::ALL {
            let solve = |problem: &Problem| {
                let run = problem.solve(&*solver, Precision::Double, space, &stop);
                run.expect("NaN is no error")
            };
            let (all, clean) = (solve(&problem), solve(&without));
            assert_eq!(all.report.samples[bad].status, Status::NonFinite, "{name}");
            assert_eq!(all.report.unconverged(), 1, "{name}, {space}");
            for (row, &sample) in others.iter().enumerate() {
                let (z, expected) = (problem.row(&all.z, sample), without.row(&clean.z, row));
                let difference = relative_difference(z, expected);
                // A product of one number is rounded once, whatever the batch.
                assert!(
                    difference <= 1e-12,
                    "{name}, {space}, sample {sample}: {difference:e}"
                );
            }
        }
    }
}

/// Blocks of rows run on as many threads as there are; the bits do not depend on it.
#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let device = Cpu::default();
    let backward: Arc<dyn BackwardStrategy> = Arc::new(JacobianFree::default());
    for name in ["mixed-rates", "tanh-contractive", "nan-sample", "fusion"] {
        let problem = find(name).expect("known");
        // Three blocks of rows.
        let many: Vec<usize> = (0..70).map(|row| row % problem.batch).collect();
        let many = problem.select(&many);
        let layer = many.layer::<f64, Cpu>(&device).expect("memory");
        let x = many.tensors(&device).expect("memory");
        for (solver_name, solver) in solvers() {
            let mut equilibrium = Equilibrium::new(layer.clone(), solver, backward.clone());
            equilibrium.stop = stop(&many, Precision::Double);
            equilibrium.stop.on_unconverged = OnUnconverged::Accept;
            let solved = [1, 2].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let pool = pool.build().expect("threads");
                let start = device.tensor_from_vec(many.start.clone(), (70, many.dim));
                let solved = pool.install(|| {
                    let solved = equilibrium.forward_from(start, &x, NoneTape);
                    solved.map(|solved| (to_host(&solved.z), solved.report))
                });
                solved.expect("nothing can fail here")
            });
            let [one, two] = solved;
            let bits = |z: &[f64]| z.iter().map(|z| z.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&one.0), bits(&two.0), "{solver_name}, {name}");
            assert_eq!(one.1, two.1, "{solver_name}, {name}");
        }
    }
}
