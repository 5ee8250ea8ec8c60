//! Entropic optimal transport.

use std::sync::Arc;

use equilibria_core::prelude::*;
use equilibria_core::{to_host, AnyLayer};

use crate::config::pairs;
use crate::projection::{project, ConvexSet};
use crate::{LayerConfig, LayerRequest, Layers, Sizes, Vocabulary};

plugin! {
    /// Sinkhorn's iteration for entropic optimal transport; the output is the transport plan.
    ///
    /// f_i = ε ln a_i − ε LSE_j((g_j − C_ij)/ε), then g⁺_j = ε ln b_j − ε LSE_i((f_i − C_ij)/ε), less its mean over j. The output is
    /// P_ij = exp((f_i + g_j − C_ij)/ε), with row sums a and column sums b, row-major. It takes three injected inputs: costs C,
    /// `rows` × `columns`, and positive marginals a and b of equal mass. The state is g, `columns` numbers.
    ///
    /// Without its mean taken away, g plus a constant would be a solution as well: I − J would be singular and no gradient right.
    /// Unique for any C, a contraction of the spread max − min by tanh²(Δ/4), Δ = max (C_ik + C_jl − C_jk − C_il)/ε: `picard` for
    /// large ε, `anderson` or `newton-gmres` for small ones. Where the marginals differ in mass there is no plan, and column sums
    /// are wrong by a factor. For the value of the transport alone, its gradients are f, g and P, and no layer is needed.
    ///
    /// Reference: M. Cuturi, Sinkhorn Distances, NeurIPS 2013; G. Peyré, M. Cuturi, Computational Optimal Transport, 2019, §4.
    pub struct SinkhornConfig: LayerConfig {
        /// Rows of C: points that mass is taken from, at least 1.
        pub rows: usize = 3,
        /// Columns of C: points that mass is brought to, at least 1; the state has this width.
        pub columns: usize = 4,
        /// Initial ε, in units of the costs, above 0. It is trained.
        pub epsilon: f64 = 0.3,
        /// What ε is kept above, by a projection after every optimizer step; above 0. The plan is the closer to a permutation, and the
        /// solve the longer, the smaller ε.
        pub smallest: f64 = 0.05,
    }
}

#[typetag::serde(name = "sinkhorn")]
impl LayerConfig for SinkhornConfig {
    fn validate(&self) -> Result<()> {
        Error::require_at_least_one("sinkhorn", "rows", self.rows)?;
        Error::require_at_least_one("sinkhorn", "columns", self.columns)?;
        Error::require_positive("sinkhorn", "epsilon", self.epsilon)?;
        Error::require_positive("sinkhorn", "smallest", self.smallest)
    }

    fn sizes(&self) -> Option<Sizes> {
        Some(Sizes {
            state: self.columns,
            inputs: vec![self.rows * self.columns, self.rows, self.columns],
        })
    }

    fn needs_positive(&self) -> bool {
        true
    }

    fn original_names(&self) -> Vec<(String, String)> {
        pairs(&[("epsilon", "eps")])
    }
}

impl Build<Layers> for SinkhornConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        Sizes::require(self.sizes(), "sinkhorn", request.state, request.inputs)?;
        Ok(AnyLayer::new(Sinkhorn {
            epsilon: request.init.constant((1, 1), self.epsilon)?,
            smallest: self.smallest,
            rows: self.rows,
            columns: self.columns,
        }))
    }
}

/// Sinkhorn's iteration on the centered potential g.
#[derive(Clone)]
pub struct Sinkhorn<E: Scalar, D: Backend<E>> {
    /// ε, `[1, 1]`.
    pub epsilon: Matrix<E, D>,
    /// What a projection keeps it above.
    pub smallest: f64,
    /// Rows of C.
    pub rows: usize,
    /// Columns of C.
    pub columns: usize,
}

parameters!(Sinkhorn { epsilon }, project = stay_positive);

impl<E: Scalar, D: Backend<E>> Sinkhorn<E, D> {
    fn stay_positive(&mut self) -> Result<()> {
        project(&mut self.epsilon, ConvexSet::AtLeast(self.smallest))
    }

    /// f/ε for g/ε and C/ε.
    fn potential(&self, g: &Value<E, D>, cost: &Value<E, D>, a: &Value<E, D>) -> Value<E, D> {
        a.ln() - (g.repeat(self.rows) - cost).logsumexp(self.rows)
    }

    /// The numbers of a value per ε.
    fn scaled(&self, x: &Value<E, D>) -> Value<E, D> {
        let inverse = 1.0 / x.broadcast(&self.epsilon);
        x * inverse.repeat(x.width())
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Sinkhorn<E, D> {
    fn state_dim(&self) -> usize {
        self.columns
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.rows * self.columns, self.rows, self.columns]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let (cost, n) = (self.scaled(&x[0]), self.columns);
        let f = self.potential(&self.scaled(z), &cost, &x[1]);
        let by_column = cost.tokens(self.rows).transpose().into_value();
        let g = x[2].ln() - (f.repeat(n) - by_column).logsumexp(n);
        let centered = &g - g.mean(1).repeat(n);
        Ok(centered * z.broadcast(&self.epsilon).repeat(n))
    }

    /// The plan P, row-major.
    fn output(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let (cost, g) = (self.scaled(&x[0]), self.scaled(z));
        let f = self.potential(&g, &cost, &x[1]).tokens(self.rows);
        Ok((f.repeat(self.columns).into_value() + g.repeat(self.rows) - cost).exp())
    }

    fn output_dim(&self) -> usize {
        self.rows * self.columns
    }

    fn certificate(&self) -> Option<Arc<dyn Certificate>> {
        let epsilon = to_host(&self.epsilon)[0].wide();
        Some(Arc::new(Contraction {
            epsilon,
            rows: self.rows,
            columns: self.columns,
        }))
    }
}

/// ‖z − z*‖₂ by the contraction in the spread: `spread(z − z*) ≤ spread(z − f(z)) cosh²(Δ/4)`, since 1 − tanh² = 1 / cosh².
struct Contraction {
    epsilon: f64,
    rows: usize,
    columns: usize,
}

impl Contraction {
    /// One step of the map at g.
    fn step(&self, g: &[f64], cost: &[f64], a: &[f64], b: &[f64]) -> Vec<f64> {
        let (eps, n) = (self.epsilon, self.columns);
        let f: Vec<f64> = (a.iter().zip(cost.chunks_exact(n)))
            .map(|(a, cost)| {
                let terms = g.iter().zip(cost).map(|(g, cost)| (g - cost) / eps);
                eps * (a.ln() - log_sum_exp(terms))
            })
            .collect();
        let column = |(j, b): (usize, &f64)| {
            let terms = f.iter().zip(cost.chunks_exact(n));
            eps * (b.ln() - log_sum_exp(terms.map(|(f, cost)| (f - cost[j]) / eps)))
        };
        let next: Vec<f64> = b.iter().enumerate().map(column).collect();
        let mean = next.iter().sum::<f64>() / n as f64;
        next.iter().map(|g| g - mean).collect()
    }

    /// Δ: the largest spread of the difference of two rows of C, per ε.
    fn diameter(&self, cost: &[f64]) -> f64 {
        let rows = || cost.chunks_exact(self.columns);
        let pairs = rows().enumerate().flat_map(|(i, row)| {
            rows()
                .skip(i + 1)
                .map(move |other| spread(row.iter().zip(other).map(|(cost, other)| cost - other)))
        });
        pairs.fold(0.0, f64::max) / self.epsilon
    }
}

impl Certificate for Contraction {
    fn bound(&self, z: &[f64], x: &[&[f64]]) -> f64 {
        let [cost, a, b] = x else {
            return f64::INFINITY;
        };
        let next = self.step(z, cost, a, b);
        let largest = |values: &[f64]| values.iter().fold(0.0_f64, |all, x| all.max(x.abs()));
        let logarithms = [*a, *b]
            .concat()
            .iter()
            .map(|x| x.ln().abs())
            .fold(0.0, f64::max);
        let size = self.epsilon * (logarithms + 2.0 * ((self.rows * self.columns) as f64).ln());
        let size = size + 4.0 * (largest(z) + largest(cost));
        let rounding = 8.0 * (self.rows + self.columns) as f64 * f64::EPSILON * size;
        let residual = spread(z.iter().zip(&next).map(|(z, next)| z - next)) + 2.0 * rounding;
        let diameter = self.diameter(cost) * (1.0 + 8.0 * f64::EPSILON);
        let error = residual * (diameter / 4.0).cosh().powi(2);
        // z* has mean 0, and n numbers of mean 0 and spread s have a norm of s √n / 2 at most.
        let n = self.columns as f64;
        let mean = z.iter().sum::<f64>().abs() / n + rounding;
        let bound = n.sqrt() * mean.hypot(error / 2.0) * (1.0 + 8.0 * f64::EPSILON);
        match bound.is_nan() {
            true => f64::INFINITY,
            false => bound,
        }
    }
}

fn log_sum_exp(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = terms.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + terms.map(|term| (term - largest).exp()).sum::<f64>().ln()
}

/// max − min.
fn spread(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    largest - values.fold(f64::INFINITY, f64::min)
}
