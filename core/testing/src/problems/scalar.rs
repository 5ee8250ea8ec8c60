//! Equations of one unknown.

use super::{Function, Problem, Stage};

pub(super) fn problems() -> Vec<Problem> {
    let cosine = Problem::new(
        "cosine",
        "z = cos z: the solution is 0.739085.",
        1,
        vec![Stage::Each(Function::Cos), Stage::Scale],
        vec![vec![1.0]],
    );
    let root = Problem::new(
        "square-root",
        "Heron's rule z = (z + a / z) / 2 for the roots of 2, 1/4 and 100: slope 0 at the solution.",
        1,
        vec![Stage::Heron],
        vec![vec![2.0, 0.25, 100.0]],
    );
    vec![cosine.solved(), root.starting(vec![1.0; 3]).solved()]
}
