//! What is known of the map of a problem, in f64 and on the host: values, derivatives, and bounds that follow from its
//! stages.

use super::{dense, Function, Problem, Stage};

impl Problem {
    /// f(z) of one sample in f64, whatever space and dtype the solve ran in.
    pub fn value(&self, sample: usize, z: &[f64]) -> Vec<f64> {
        let mut z = z.to_vec();
        self.walk(sample, |stage, x| {
            let mut out = vec![0.0; z.len()];
            stage.value(&z, x, &mut out);
            z = out;
        });
        z
    }

    /// ‖f(z) − z‖₂ of one sample, in f64.
    pub fn residual(&self, sample: usize, z: &[f64]) -> f64 {
        distance(&self.value(sample, z), z)
    }

    /// ‖z − z*‖₂ of one sample, if it has a solution.
    pub fn error(&self, sample: usize, z: &[f64]) -> Option<f64> {
        let solution = self.solutions[sample].as_ref()?;
        Some(distance(z, solution))
    }

    /// Whether z, at which the residual is small, is a fixed point of one sample other than the known solution z*.
    ///
    /// Near z* the distance is ‖(I − J)⁻¹‖ times the residual, J the Jacobian at z*, or times what rounding makes of a
    /// residual. Ten times that leaves room for the bend of f; other fixed points are further off by orders of magnitude.
    pub fn is_other_solution(&self, sample: usize, z: &[f64]) -> bool {
        let Some(solution) = &self.solutions[sample] else {
            return false;
        };
        let jacobian = self.jacobian(sample, solution);
        let condition = dense::inverse_norm(&minus_identity(jacobian, self.dim), self.dim);
        let rounding = self.dim as f64 * f64::EPSILON * self.magnitude(sample, z);
        distance(z, solution) > 10.0 * condition * (self.residual(sample, z) + rounding)
    }

    /// The size of the numbers that are added up on the way from z to f(z) − z, summed over the stages: evaluated with
    /// relative rounding errors ε, the residual is wrong by some `dim` · ε times that.
    pub fn magnitude(&self, sample: usize, z: &[f64]) -> f64 {
        let mut size = dense::norm(z);
        let mut z = z.to_vec();
        self.walk(sample, |stage, x| {
            size += stage.magnitude(&z, x);
            let mut out = vec![0.0; z.len()];
            stage.value(&z, x, &mut out);
            z = out;
        });
        size
    }

    /// ∂f/∂z of one sample, `[dim, dim]`: row i holds the derivatives of the i-th entry of f.
    pub fn jacobian(&self, sample: usize, z: &[f64]) -> Vec<f64> {
        let columns = (0..self.dim).map(|column| {
            let mut z = z.to_vec();
            let mut v: Vec<f64> = vec![0.0; self.dim];
            v[column] = 1.0;
            self.walk(sample, |stage, x| {
                let (mut value, mut product) = (vec![0.0; self.dim], vec![0.0; self.dim]);
                stage.value(&z, x, &mut value);
                stage.push(&z, x, &v, &mut product);
                (z, v) = (value, product);
            });
            v
        });
        let columns: Vec<_> = columns.collect();
        dense::matrix(self.dim, |i, j| columns[j][i])
    }

    /// A Lipschitz constant L of f over all samples, in the 2-norm, as far as the stages tell: an upper bound.
    pub fn lipschitz(&self) -> Option<f64> {
        let bounds = (0..self.batch).map(|sample| {
            let mut bound = Some(1.0);
            self.walk(sample, |stage, x| {
                let factor = match stage {
                    Stage::Linear(m) => Some(dense::spectral_norm(m, self.dim)),
                    Stage::Scale => Some(x.iter().fold(0.0_f64, |l, x| l.max(x.abs()))),
                    Stage::Shift => Some(1.0),
                    Stage::Each(Function::Drift | Function::Sqrt) => None,
                    Stage::Each(_) => Some(1.0),
                    Stage::Heron | Stage::Normalize => None,
                };
                bound = bound.zip(factor).map(|(bound, factor)| bound * factor);
            });
            bound
        });
        bounds.reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b)))?
    }

    /// The spectral radius of ∂f/∂z at the solution, the largest over samples that have one.
    pub fn radius(&self) -> Option<f64> {
        let known = self.solutions.iter().enumerate();
        let radii = known.filter_map(|(sample, z)| {
            let jacobian = self.jacobian(sample, z.as_ref()?);
            Some(dense::spectral_radius(&jacobian, self.dim))
        });
        radii.reduce(f64::max)
    }

    /// K with ‖z − z*‖ ≤ K ‖f(z) − z‖ for every z and sample, where known: ‖(I − J)⁻¹‖ of an affine map (in the Frobenius
    /// norm), 1 / (1 − L) of a contraction.
    pub fn condition(&self) -> Option<f64> {
        let affine =
            |stage: &Stage<f64>| matches!(stage, Stage::Linear(_) | Stage::Shift | Stage::Scale);
        if !self.stages.iter().all(affine) {
            let lipschitz = self.lipschitz().filter(|&lipschitz| lipschitz < 1.0);
            return lipschitz.map(|lipschitz| 1.0 / (1.0 - lipschitz));
        }
        let constants = (0..self.batch).map(|sample| {
            let jacobian = self.jacobian(sample, self.row(&self.start, sample));
            dense::inverse_norm(&minus_identity(jacobian, self.dim), self.dim)
        });
        constants.reduce(f64::max).filter(|k| k.is_finite())
    }

    /// Shows every stage with the sample's share of its input.
    fn walk(&self, sample: usize, mut visit: impl FnMut(&Stage<f64>, &[f64])) {
        let mut inputs = self.inputs.iter();
        for stage in &self.stages {
            let x = stage.takes_input().then(|| inputs.next()).flatten();
            visit(stage, x.map_or(&[], |x| self.row(x, sample)));
        }
    }
}

/// ‖a − b‖₂.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    dense::norm(&difference)
}

/// J − I.
pub(super) fn minus_identity(mut jacobian: Vec<f64>, dim: usize) -> Vec<f64> {
    (0..dim).for_each(|i| jacobian[i * dim + i] -= 1.0);
    jacobian
}
