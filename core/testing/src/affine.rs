//! An affine map with a chosen spectrum and a known fixed point.

use std::sync::Arc;

use std::ops::Range;

use super::random_values;
use dfdx::prelude::*;
use equilibria_core::kernel::swap_rows;
use equilibria_core::operations::{arguments, TensorCode, Tensors};
use equilibria_core::{
    from_host, parameters, to_host, AnyTape, Backend, ImplicitLayer, Kernel, KernelBlock,
    KernelGradients, Matrix, Result, Scalar, Value,
};

/// `f(z; x) = z A + x` with a symmetric A of chosen eigenvalues: its contraction factor is the largest |eigenvalue|.
///
/// It has a kernel of its own, in plain loops, one row after the other, so that the result for a row is the same to the
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

    fn input_dims(&self) -> Vec<usize> {
        vec![self.state_dim()]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(Value::of(&Tensors::new(Times, &[&self.a]), &[z]) + &x[0])
    }

    fn kernel(&self, x: &[Matrix<E, D>]) -> Option<Arc<dyn Kernel<E>>> {
        Some(Arc::new(AffineKernel {
            a: to_host(&self.a),
            x: to_host(&x[0]),
            dim: self.state_dim(),
        }))
    }
}

struct AffineKernel<E> {
    a: Vec<E>,
    x: Vec<E>,
    dim: usize,
}

impl<E: Scalar> Kernel<E> for AffineKernel<E> {
    fn block(self: Arc<Self>, rows: Range<usize>) -> Box<dyn KernelBlock<E>> {
        let x = self.x[rows.start * self.dim..rows.end * self.dim].to_vec();
        Box::new(AffineBlock {
            kernel: self.clone(),
            z: x.clone(),
            x,
        })
    }
}

struct AffineBlock<E> {
    kernel: Arc<AffineKernel<E>>,
    x: Vec<E>,
    z: Vec<E>,
}

impl<E: Scalar> AffineBlock<E> {
    /// `out = out + z A`.
    fn add_product(&self, z: &[E], out: &mut [E]) {
        let dim = self.kernel.dim;
        for (z, out) in z.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
            for (&z, a) in z.iter().zip(self.kernel.a.chunks_exact(dim)) {
                out.iter_mut().zip(a).for_each(|(out, &a)| *out += z * a);
            }
        }
    }
}

impl<E: Scalar> KernelBlock<E> for AffineBlock<E> {
    fn apply(&mut self, z: &[E], out: &mut [E]) {
        out.copy_from_slice(&self.x[..z.len()]);
        self.add_product(z, out);
    }

    fn linearize(&mut self, z: &[E], out: &mut [E]) {
        self.z[..z.len()].copy_from_slice(z);
        self.apply(z, out);
    }

    fn jvp(&mut self, v: &[E], out: &mut [E]) -> bool {
        out.fill(E::zero());
        self.add_product(v, out);
        true
    }

    fn vjp(&mut self, u: &[E], out: &mut [E]) {
        let dim = self.kernel.dim;
        for (u, out) in u.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
            for (out, a) in out.iter_mut().zip(self.kernel.a.chunks_exact(dim)) {
                *out = u.iter().zip(a).map(|(&u, &a)| u * a).sum();
            }
        }
    }

    fn pull_back(&mut self, u: &[E], gradients: &mut KernelGradients<E>) {
        let dim = self.kernel.dim;
        if let [a] = &mut gradients.parameters[..] {
            for (z, u) in self.z.chunks_exact(dim).zip(u.chunks_exact(dim)) {
                for (&z, a) in z.iter().zip(a.sum().chunks_exact_mut(dim)) {
                    a.iter_mut().zip(u).for_each(|(a, &u)| *a += z * u);
                }
            }
        }
        if let [x] = &mut gradients.inputs[..] {
            x.iter_mut().zip(u).for_each(|(x, &u)| *x += u);
        }
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        swap_rows(&mut self.x, self.kernel.dim, a, b);
        swap_rows(&mut self.z, self.kernel.dim, a, b);
    }
}
