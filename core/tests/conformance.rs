//! The conformance kit finds what it is there to find: every solver here breaks the contract in its own way.

use std::sync::atomic::{AtomicUsize, Ordering};

use equilibria_core::prelude::*;
use equilibria_testing::conformance::{
    check_configuration, check_problem, check_solver, stop, table, Score, Verdict,
};
use equilibria_testing::problems::{find, Precision, Space};

/// Declares a solver with one field and its way to the next point.
macro_rules! solver {
    ($(#[doc = $doc:literal])* $type:ident, $name:literal, $field:ident, $advance:expr) => {
        plugin! {
            $(#[doc = $doc])*
            pub struct $type: FixedPointSolver {
                /// A number.
                pub $field: usize = 1,
            }
        }

        #[typetag::serde(name = $name)]
        impl FixedPointSolver for $type {
            fn start(&self, _: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
                Ok(Box::new(self.clone()))
            }
        }

        impl Iteration for $type {
            fn advance(
                &mut self,
                space: &mut dyn Map,
                at: &mut Evaluation,
                next: Slot,
            ) -> Result<()> {
                let advance: fn(&mut Self, &mut dyn Map, Evaluation, Slot) -> Result<()> =
                    $advance;
                advance(self, space, *at, next)
            }
        }
    };
}

fn plain(space: &mut dyn Map, at: Evaluation, next: Slot) -> Result<()> {
    space.combine(next, &[(Coef::Same(1.0), at.fz)])
}

solver! {
    /// Keeps the contract.
    Good, "good", unused, |_, space, at, next| plain(space, at, next)
}

solver! {
    /// Keeps a slot.
    Leaky, "leaky", unused, |_, space, at, next| {
        space.alloc()?;
        plain(space, at, next)
    }
}

/// What `Mindful` keeps.
static SOLVES: AtomicUsize = AtomicUsize::new(0);

solver! {
    /// Remembers across solves.
    Mindful, "mindful", unused, |_, space, at, next| {
        let damping = 1.0 / (1.0 + SOLVES.fetch_add(1, Ordering::Relaxed) as f64 * 1e-3);
        let terms = [(Coef::Same(1.0), at.z), (Coef::Same(damping), at.residual)];
        space.combine(next, &terms)
    }
}

solver! {
    /// Lets samples know of their mates.
    Sociable, "sociable", unused, |_, space, at, next| {
        let damping = 1.0 / space.batch() as f64;
        let terms = [(Coef::Same(1.0), at.z), (Coef::Same(damping), at.residual)];
        space.combine(next, &terms)
    }
}

solver! {
    /// Proposes NaN.
    Reckless, "reckless", unused, |_, space, at, next| {
        space.combine(next, &[(Coef::Same(f64::NAN), at.fz)])
    }
}

solver! {
    /// Does not check its field.
    Trusting, "trusting", memory, |config, space, at, next| {
        let room: Vec<f64> = Vec::with_capacity(config.memory);
        assert!(room.capacity() > 0, "no memory");
        plain(space, at, next)
    }
}

solver! {
    /// Goes the wrong way.
    Contrary, "contrary", unused, |_, space, at, next| {
        space.combine(next, &[(Coef::Same(1.0), at.z), (Coef::Same(-1.0), at.residual)])
    }
}

plugin! {
    /// Two solvers in turn.
    pub struct Pair: FixedPointSolver {
        /// The two.
        pub solvers: Vec<Box<dyn FixedPointSolver>> =
            vec![Box::new(Contrary::default()), Box::new(Good::default())],
    }
}

#[typetag::serde(name = "pair")]
impl FixedPointSolver for Pair {
    fn start(&self, space: &mut dyn Map, to: Tolerance) -> Result<Box<dyn Iteration>> {
        self.solvers[0].start(space, to)
    }

    fn stages(&self) -> &[Box<dyn FixedPointSolver>] {
        &self.solvers
    }
}

/// Evaluations of all stages are counted, and a sample that the first one gave up may be solved by the second.
#[test]
fn chains_keep_the_contract() {
    let outcomes = check_solver(&Pair::default());
    for outcome in &outcomes {
        assert!(!matches!(outcome.verdict, Verdict::Wrong(_)), "{outcome}");
    }
    let solved = |name| {
        let mut here = outcomes.iter().filter(|outcome| outcome.problem == name);
        here.all(|outcome| outcome.verdict == Verdict::Solved)
    };
    assert!(solved("linear-half") && solved("tanh-contractive"));
    let breaches = check_configuration(&Pair::default());
    assert!(breaches.is_empty(), "{breaches:?}");
}

fn reason(solver: &dyn FixedPointSolver, problem: &str) -> String {
    let problem = find(problem).expect("known");
    let stop = stop(&problem, Precision::Double);
    let outcome = check_problem(solver, &problem, Precision::Double, Space::Slice, &stop);
    match outcome.verdict {
        Verdict::Wrong(reason) => reason,
        Verdict::Solved | Verdict::Unsolved => String::new(),
    }
}

#[test]
fn breaches_are_found() {
    let leaky = reason(&Leaky::default(), "linear-half");
    assert!(
        leaky.ends_with(" slots have not been given back"),
        "{leaky}"
    );
    let again = "a second solve in the same space gives another result";
    assert_eq!(reason(&Mindful::default(), "linear-half"), again);
    let sociable = reason(&Sociable::default(), "linear-half");
    assert!(sociable.starts_with("sample 0 differs in"), "{sociable}");
    let reckless = reason(&Reckless::default(), "linear-half");
    assert_eq!(reckless, "sample 0: proposes a point that is not finite");
    let panic = reason(&Trusting { memory: 0 }, "linear-half");
    assert_eq!(panic, "panicked: no memory");
}

#[test]
fn fields_out_of_bounds_are_found() {
    let breaches = check_configuration(&Trusting::default());
    let found = |what: &str| breaches.iter().any(|breach| breach.starts_with(what));
    assert!(found(
        "`memory` = 0: linear-90, f64, slice: wrong: panicked: no memory"
    ));
    assert!(found("`memory` = 18446744073709551615: "), "{breaches:?}");
    assert!(!found("`memory` = -1"), "refused by its type: {breaches:?}");
    assert!(check_configuration(&Good::default()).is_empty());
}

#[test]
fn a_good_solver_passes_and_is_scored() {
    let outcomes = check_solver(&Good::default());
    for outcome in &outcomes {
        assert!(!matches!(outcome.verdict, Verdict::Wrong(_)), "{outcome}");
    }
    let score = Score::of(&outcomes);
    assert_eq!(score.solved + score.unsolved, outcomes.len());
    // Plain iteration: every problem with a radius up to 0.95 is solved within 500 evaluations, in all four places.
    assert!(score.solved >= 4 * 19, "{score:?}");
    let table = table(&[("good".to_owned(), outcomes)]);
    assert_eq!(table.lines().count(), 3);
    assert!(
        table
            .lines()
            .last()
            .is_some_and(|row| row.ends_with("| 0 |")),
        "{table}"
    );
}
