//! An affine map with a chosen spectrum and a known fixed point.

use std::sync::Arc;

use super::random_values;
use dfdx::prelude::*;
use equilibria_core::operations::{arguments, TensorCode, Tensors};
use equilibria_core::{
    from_host, parameters, to_host, AnyTape, Backend, ImplicitLayer, Matrix, Result, RowGradients,
    RowMap, Scalar, Scratch, Tangents, Value,
};

/// `f(z; x) = z A + x` with a symmetric A of chosen eigenvalues: its contraction factor is the largest |eigenvalue|.
///
/// Its map in rows is written by hand, in plain loops, one row after the other, so that the result for a row is the same to the
/// last bit whatever the other rows are.
#[derive(Clone)]
pub struct AffineMap<E: Scalar, D: Backend<E>> {
    /// A, `[dim, dim]`.
    pub a: Matrix<E, D>,
    /// (I − A)⁻¹, row-major.
    resolvent: Vec<f64>,
}

parameters!(AffineMap { a });

impl<E: Scalar, D: Backend<E>> AffineMap<E, D> {
    /// A = Q diag(eigenvalues) Q with a random reflection Q.
    pub fn new(device: &D, eigenvalues: &[f64], seed: u64) -> Result<Self> {
        let dim = eigenvalues.len();
        let normal = random_values(dim, seed);
        let square: f64 = normal.iter().map(|n| n * n).sum();
        let q =
            |i: usize, j: usize| f64::from(u8::from(i == j)) - 2.0 * normal[i] * normal[j] / square;
        let spectral = |value: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let entry = |i, j| {
                (0..dim)
                    .map(|k| q(i, k) * value(eigenvalues[k]) * q(k, j))
                    .sum()
            };
            (0..dim * dim)
                .map(|index| entry(index / dim, index % dim))
                .collect()
        };
        let a = spectral(&|eigenvalue| eigenvalue)
            .into_iter()
            .map(E::of)
            .collect();
        Ok(Self {
            a: from_host(device, a, (dim, dim))?,
            resolvent: spectral(&|eigenvalue| 1.0 / (1.0 - eigenvalue)),
        })
    }

    /// The fixed points x (I − A)⁻¹, row-major, of the inputs `x`, `[batch, dim]`.
    pub fn solution(&self, x: &Matrix<E, D>) -> Vec<f64> {
        let dim = self.a.shape().0;
        let x = to_host(x);
        let mut all = Vec::with_capacity(x.len());
        for row in x.chunks_exact(dim) {
            for j in 0..dim {
                let terms = row.iter().enumerate();
                all.push(
                    terms
                        .map(|(i, x)| x.wide() * self.resolvent[i * dim + j])
                        .sum(),
                );
            }
        }
        all
    }
}

/// `z A`.
#[derive(Clone)]
struct Times;

impl TensorCode for Times {
    fn run<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Vec<Matrix<E, D, T>>,
        parameters: &[Matrix<E, D>],
    ) -> Result<Matrix<E, D, T>> {
        let ([z], [a]) = (arguments(x)?, arguments(parameters.to_vec())?);
        Ok(z.matmul(a.retaped::<T>()))
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for AffineMap<E, D> {
    fn state_dim(&self) -> usize {
        self.a.shape().0
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(Value::of(&Tensors::new(Times, &[&self.a]), &[z]) + &x[0])
    }

    fn row_map(&self) -> Option<Arc<dyn RowMap<E>>> {
        Some(Arc::new(Affine {
            a: to_host(&self.a),
            dim: self.state_dim(),
        }))
    }
}

/// The map in rows. Its record is z, which the gradient of A reads.
struct Affine<E> {
    a: Vec<E>,
    dim: usize,
}

impl<E: Scalar> Affine<E> {
    /// `out = out + z A`.
    fn add_product(&self, z: &[E], out: &mut [E]) {
        for (z, out) in z.chunks_exact(self.dim).zip(out.chunks_exact_mut(self.dim)) {
            for (&z, a) in z.iter().zip(self.a.chunks_exact(self.dim)) {
                out.iter_mut().zip(a).for_each(|(out, &a)| *out += z * a);
            }
        }
    }

    /// Adds the gradient `zᵀ u` of A.
    fn add_outer(&self, z: &[E], u: &[E], gradients: &mut RowGradients<E>) {
        let sum = gradients.parameters[0].sum();
        for (z, u) in z.chunks_exact(self.dim).zip(u.chunks_exact(self.dim)) {
            for (&z, sum) in z.iter().zip(sum.chunks_exact_mut(self.dim)) {
                sum.iter_mut().zip(u).for_each(|(sum, &u)| *sum += z * u);
            }
        }
    }
}

impl<E: Scalar> RowMap<E> for Affine<E> {
    fn record(&self) -> Vec<usize> {
        vec![self.dim]
    }

    fn apply(&self, x: &[&[E]], z: &[E], out: &mut [E], _: &mut Scratch<E>) {
        out.copy_from_slice(x[0]);
        self.add_product(z, out);
    }

    fn linearize(
        &self,
        x: &[&[E]],
        z: &[E],
        out: &mut [E],
        record: &mut [&mut [E]],
        scratch: &mut Scratch<E>,
    ) {
        record[0].copy_from_slice(z);
        self.apply(x, z, out, scratch);
    }

    fn vjp(&self, _: &[&[E]], _: &[&[E]], u: &[E], out: &mut [E], _: &mut Scratch<E>) {
        for (u, out) in u.chunks_exact(self.dim).zip(out.chunks_exact_mut(self.dim)) {
            for (out, a) in out.iter_mut().zip(self.a.chunks_exact(self.dim)) {
                *out = u.iter().zip(a).map(|(&u, &a)| u * a).sum();
            }
        }
    }

    fn pull_back(
        &self,
        _: &[&[E]],
        record: &[&[E]],
        u: &[E],
        gradients: &mut RowGradients<E>,
        _: &mut Scratch<E>,
    ) {
        self.add_outer(record[0], u, gradients);
        let x = gradients.inputs[0].iter_mut().zip(u);
        x.for_each(|(x, &u)| *x += u);
    }

    fn tangents(&self) -> Option<&dyn Tangents<E>> {
        Some(self)
    }
}

impl<E: Scalar> Tangents<E> for Affine<E> {
    fn jvp(&self, _: &[&[E]], _: &[&[E]], v: &[E], out: &mut [E], _: &mut Scratch<E>) {
        out.fill(E::zero());
        self.add_product(v, out);
    }

    fn pull_back_tangent(
        &self,
        x: &[&[E]],
        record: &[&[E]],
        u: &[E],
        [p, v]: [&[E]; 2],
        gradients: &mut RowGradients<E>,
        scratch: &mut Scratch<E>,
    ) {
        self.pull_back(x, record, u, gradients, scratch);
        self.add_outer(v, p, gradients);
    }
}
