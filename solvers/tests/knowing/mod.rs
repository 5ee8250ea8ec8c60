//! What tests of backward strategies share: a map with a known inverse, and a solver that knows part of it.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::operations::{arguments, TensorCode, Tensors};
use equilibria_core::prelude::*;
use equilibria_core::{from_host, parameters, to_host, Equilibrium};
use equilibria_testing::{random_matrix, random_values, AffineMap};
use nalgebra::DMatrix;

pub const DIM: usize = 4;

/// J = q pᵀ + noise for the map f(z; x) = z A + x with A = p qᵀ + noise: ‖A‖₂ ≤ 0.62 + ‖noise‖_F, and not symmetric, so
/// that a forgotten transposition shows.
const P: [f64; DIM] = [0.5, -0.3, 0.2, 0.4];
const Q: [f64; DIM] = [0.6, 0.1, -0.5, 0.3];

/// The map, with noise of deviation `noise`.
pub fn map(noise: f64) -> AffineMap<f64, Cpu> {
    let mut map = AffineMap::new(&Cpu::default(), &[0.0; DIM], 1).expect("a map");
    let entry = |(index, value): (usize, f64)| P[index / DIM] * Q[index % DIM] + noise * value;
    let a = random_values(DIM * DIM, 2)
        .into_iter()
        .enumerate()
        .map(entry);
    map.a = from_host(&Cpu::default(), a.collect(), (DIM, DIM)).expect("memory");
    map
}

/// A, which is Jᵀ.
pub fn transposed_jacobian(map: &AffineMap<f64, Cpu>) -> DMatrix<f64> {
    DMatrix::from_row_slice(DIM, DIM, &to_host(&map.a))
}

/// f(z; x) = tanh(z W + x): derivatives differ from point to point.
#[derive(Clone)]
pub struct Tanh<E: Scalar, D: Backend<E>> {
    pub w: Matrix<E, D>,
}

parameters!(Tanh { w });

/// `tanh(z W + x)`.
#[derive(Clone)]
struct Step;

impl TensorCode for Step {
    fn run<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Vec<Matrix<E, D, T>>,
        parameters: &[Matrix<E, D>],
    ) -> Result<Matrix<E, D, T>> {
        let ([z, x], [w]) = (arguments(x)?, arguments(parameters.to_vec())?);
        Ok((z.matmul(w.retaped::<T>()) + x).tanh())
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Tanh<E, D> {
    fn state_dim(&self) -> usize {
        self.w.shape().0
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(Value::of(&Tensors::new(Step, &[&self.w]), &[z, &x[0]]))
    }
}

plugin! {
    /// Picard iteration that knows the inverse of the map without noise: (I − q pᵀ)⁻¹ = I + q pᵀ / (1 − pᵀq).
    pub struct Knowing: FixedPointSolver {}
}

/// The pair (a, b) with (I − J)⁻¹ ≈ I + a bᵀ.
pub fn knowledge() -> ([f64; DIM], [f64; DIM]) {
    let product: f64 = P.iter().zip(Q).map(|(p, q)| p * q).sum();
    (Q.map(|q| q / (1.0 - product)), P)
}

#[typetag::serde(name = "knowing")]
impl FixedPointSolver for Knowing {
    fn start(&self, space: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
        let (a, b) = knowledge();
        let (pair, batch) = ((space.alloc()?, space.alloc()?), space.batch());
        let vectors = space.vectors_mut();
        vectors.write(pair.0, &a.repeat(batch))?;
        vectors.write(pair.1, &b.repeat(batch))?;
        let terms = vec![pair];
        Ok(Box::new(Known(LowRank { terms })))
    }
}

struct Known(LowRank);

impl Iteration for Known {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        space.combine(next, &[(Coef::Same(1.0), at.fz)])
    }

    fn finish(&mut self, _: &mut dyn Map) -> LowRank {
        std::mem::take(&mut self.0)
    }
}

/// Far below what is compared, and still some ten roundings.
pub fn tight() -> Stop {
    Stop {
        max_evaluations: 1000,
        on_unconverged: OnUnconverged::Error,
        ..Stop::at(Tolerance::relative(1e-14))
    }
}

pub fn matrix(shape: (usize, usize), seed: u64) -> Matrix<f64, Cpu> {
    random_matrix(&Cpu::default(), shape, seed).expect("memory")
}

pub fn equilibrium<L>(layer: L, backward: Arc<dyn BackwardStrategy>) -> Equilibrium<L> {
    let solver: Arc<dyn FixedPointSolver> = Arc::new(Knowing::default());
    let mut equilibrium = Equilibrium::new(layer, solver, backward);
    equilibrium.stop = tight();
    equilibrium
}

/// Gradients of ⟨v, z⟩ by parameters, then inputs, and the report of the adjoint solve.
pub fn gradients<L: ImplicitLayer<f64, Cpu>>(
    equilibrium: &Equilibrium<L>,
    x: &[Matrix<f64, Cpu>],
    v: &Matrix<f64, Cpu>,
) -> Result<(Vec<Vec<f64>>, Report)> {
    let solved = equilibrium.forward(x, OwnedTape::default())?;
    let loss = (solved.z * v.clone()).sum::<Rank0, _>();
    let all = collect(&equilibrium.layer, x, loss);
    let report = solved.adjoint.take()?.expect("the tape has run");
    Ok((all, report))
}

/// Gradients of a loss by parameters, then inputs.
pub fn collect<L: Parameters<f64, Cpu>>(
    layer: &L,
    x: &[Matrix<f64, Cpu>],
    loss: Tensor<Rank0, f64, Cpu, OwnedTape<f64, Cpu>>,
) -> Vec<Vec<f64>> {
    let mut gradients = loss.backward();
    let parameters = layer.named().into_iter().map(|(_, tensor)| tensor);
    let mut of = |tensor: Matrix<f64, Cpu>| {
        gradients.try_alloc_for(&tensor).expect("memory");
        to_host(&gradients.get(&tensor))
    };
    parameters.chain(x.iter().cloned()).map(&mut of).collect()
}
