//! A new solver is one new file: this one. It edits no list, and the registry, configurations and equilibria find it.

use std::sync::Arc;

use equilibria_core::prelude::*;

plugin! {
    /// Picard iteration with a step that shrinks as 1 / (1 + k / `period`).
    pub struct Fading: FixedPointSolver {
        /// Evaluations after which the step has halved, above 0.
        pub period: f64 = 50.0,
    }
}

#[typetag::serde(name = "fading")]
impl FixedPointSolver for Fading {
    fn validate(&self) -> Result<()> {
        Error::require(
            self.period > 0.0,
            "fading",
            "period",
            "above 0",
            self.period,
        )
    }

    fn start(&self, _: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
        let (period, step) = (self.period, 0.0);
        Ok(Box::new(Fade { period, step }))
    }
}

struct Fade {
    period: f64,
    step: f64,
}

impl Iteration for Fade {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        let factor = 1.0 / (1.0 + self.step / self.period);
        self.step += 1.0;
        let terms = [(Coef::Same(1.0), at.z), (Coef::Same(factor), at.residual)];
        space.combine(next, &terms)
    }
}

#[test]
fn a_solver_of_ones_own_is_found_by_name() {
    let plugin = registry::find("solver", "fading").expect("registered");
    assert_eq!(plugin.fields.len(), 1);
    assert!(plugin.file.ends_with("own_solver.rs"));
    let names = registry::of_kind("solver").expect("linked").len();
    // Beside the ones of the crate: the registry is one.
    assert!(names >= 3, "{names}");
    let config = equilibria_core::serde_json::json!({ "type": "fading", "period": -1.0 });
    let bad = registry::make::<dyn FixedPointSolver>(&config).expect("it parses");
    let error = bad.validate().expect_err("out of range");
    assert_eq!(
        error.to_string(),
        "`fading`: `period` must be above 0, got -1"
    );
}

#[test]
fn a_solver_of_ones_own_solves_forward_and_adjoint() {
    use equilibria_core::dfdx::prelude::*;
    use equilibria_core::{to_host, Equilibrium};
    use equilibria_testing::{check_equilibrium, random_matrix, relative_difference, AffineMap};

    let solver = equilibria_solvers::solver("fading").expect("registered");
    let mut stop = Stop::at(Tolerance::relative(1e-12));
    stop.max_evaluations = 400;
    let config = equilibria_core::serde_json::json!({
        "type": "implicit", "solver": { "type": "fading" }, "stop": stop,
    });
    let backward = registry::make::<dyn BackwardStrategy>(&config).expect("it parses");
    let device = Cpu::default();
    let map: AffineMap<f64, Cpu> = AffineMap::new(&device, &[0.6, -0.4], 1).expect("a map");
    let x = [random_matrix(&device, (3, 2), 2).expect("inputs")];
    let exact = map.solution(&x[0]);
    let backward: Arc<dyn BackwardStrategy> = Arc::from(backward);
    let mut equilibrium = Equilibrium::new(map, solver, backward);
    equilibrium.stop = stop;
    let solved = equilibrium.forward(&x, NoneTape).expect("solvable");
    assert_eq!(solved.report.unconverged(), 0);
    // Tolerance times ‖(I − A)⁻¹‖ = 2.5.
    assert!(relative_difference(&to_host(&solved.z), &exact) < 2.5e-12);
    // Tolerance / step = 1e-8 of noise, step² = 1e-8 of truncation.
    assert!(check_equilibrium(&equilibrium, &x, 1e-4).expect("solvable") < 1e-7);
}
