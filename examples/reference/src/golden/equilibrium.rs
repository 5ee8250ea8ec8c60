//! Fixed points and their gradients, eqs. 5-6, 14 and 18.

use dfdx::prelude::*;
use equilibria_core::{
    solve, to_host, AdjointMap, Backend, Coef, DifferentiableMap, Matrix, Parameters, Value,
    Vectors,
};
use equilibria_fusion::deq::DeqFusion;
use equilibria_fusion::fusions::weighted_sum::WeightedSum;
use equilibria_fusion::{Fusion, Pass};

use super::file::Golden;
use super::ledger::Ledger;
use super::spaces::in_all;
use super::step::part_name;
use super::subject::{equilibrium, fusions, Subject};
use super::tolerance::{SOLVED, STEP};
use crate::Result;

/// The equilibrium, its loss mean(z_fuse*²), and the gradients of that, as one way to compute them has it.
pub struct Differentiated<D: Backend<f64>> {
    /// z_1*, …, z_N*, z_fuse*.
    pub states: Vec<Matrix<f64, D>>,
    /// The loss.
    pub loss: f64,
    /// By name: parameters, and `x.1`, …, `x.N`, `x_fuse`.
    pub gradients: Vec<(String, Vec<f64>)>,
}

impl<D: Backend<f64>> Differentiated<D> {
    /// Solves and differentiates. With `x_fuse`, that is a variable of its own; else it is Σ_i w_i x_i.
    pub fn new(
        fusion: &DeqFusion<f64, D>,
        x: &[Matrix<f64, D>],
        x_fuse: Option<Matrix<f64, D>>,
    ) -> Result<Self> {
        let mut pass = Pass::noiseless();
        let x_fuse = match x_fuse {
            Some(x_fuse) => x_fuse,
            None => WeightedSum {
                w: fusion.w.clone(),
                bias: None,
                width: fusion.output_dim(),
            }
            .fuse(x, &mut pass)?,
        };
        let states = fusion.states(x, x_fuse.clone(), &mut pass)?;
        let loss = pass.run(&states[x.len()], |z| {
            z.square().mean::<Rank0, _>().reshape_like(&(1, 1))
        });
        let mut outcome = pass.backward(&loss)?;
        let mut tensors = fusion.named();
        for (index, x) in x.iter().enumerate() {
            tensors.push((format!("x.{}", index + 1), x.clone()));
        }
        tensors.push(("x_fuse".to_owned(), x_fuse));
        let gradient = |(name, tensor): (String, Matrix<f64, D>)| {
            outcome
                .gradients
                .try_alloc_for(&tensor)
                .map_err(equilibria_core::Error::device)?;
            Ok((name, to_host(&outcome.gradients.get(&tensor))))
        };
        Ok(Self {
            states,
            loss: outcome.loss,
            gradients: tensors.into_iter().map(gradient).collect::<Result<_>>()?,
        })
    }

    /// The joint state, `[batch, K]`.
    pub fn joint(&self) -> Vec<f64> {
        let states: Vec<Vec<f64>> = self.states.iter().map(to_host).collect();
        let (rows, width) = *self.states[0].shape();
        let row = |row: usize| states.iter().flat_map(move |s| &s[row * width..][..width]);
        (0..rows).flat_map(row).copied().collect()
    }
}

/// Compares the fixed point, the loss and its gradients, in both schedules, with and without kernels.
pub fn compare<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Golden,
    tolerance: f64,
    ledger: &mut Ledger,
) -> Result<()> {
    for fusion in fusions(subject) {
        let solved = Differentiated::new(&fusion, &subject.x, None)?;
        ledger.compare(golden, "fixed_point.z", &solved.joint(), tolerance);
        let z_fuse = &solved.states[subject.sizes.modalities];
        for (index, z) in solved.states.iter().enumerate() {
            let name = part_name(index, subject.sizes.modalities);
            ledger.compare(
                golden,
                &format!("fixed_point.z.{name}"),
                &to_host(z),
                tolerance,
            );
            if index < subject.sizes.modalities {
                let [z_fuse, z] = [z_fuse, z].map(|z| Value::plain(z.clone()));
                let alpha = to_host(&subject.fuse.alpha(&z_fuse, &z).into_matrix()?);
                ledger.compare(
                    golden,
                    &format!("fixed_point.alpha.{name}"),
                    &alpha,
                    tolerance,
                );
            }
        }
        ledger.compare(golden, "loss", &[solved.loss], tolerance);
        for (name, gradient) in &solved.gradients {
            ledger.compare(golden, &format!("grad.{name}"), gradient, tolerance);
        }

        // With x_fuse held fixed only the path of eq. 18 is left; the path through x_fuse is what it leaves out.
        let split = Differentiated::new(&fusion, &subject.x, Some(subject.x_fuse()?))?;
        let gradient = |wanted: &str| {
            let mut all = split.gradients.iter();
            all.find(|(name, _)| name == wanted)
                .map_or(&[][..], |(_, g)| g)
        };
        for (index, w) in to_host(&subject.w).into_iter().enumerate() {
            let i = index + 1;
            let name = format!("eq18.grad_x.{i}");
            ledger.compare(golden, &name, gradient(&format!("x.{i}")), tolerance);
            let injected: Vec<f64> = gradient("x_fuse").iter().map(|g| w * g).collect();
            ledger.compare(golden, &format!("eq18.inject_x.{i}"), &injected, tolerance);
        }
    }
    Ok(())
}

/// Compares the Jacobian at the golden fixed point and the solution of the adjoint equation.
pub fn compare_adjoint<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Golden,
    ledger: &mut Ledger,
) -> Result<()> {
    if !golden.has("ift.J") {
        return Ok(());
    }
    let (b, d, k) = (
        subject.sizes.batch,
        subject.sizes.width,
        subject.sizes.joint_dim(),
    );
    let z = golden.need("fixed_point.z", b * k)?;
    // l = mean(z_fuse²), so ∂l/∂z_fuse = 2 z_fuse / (B d), and 0 for the other states.
    let slope = |(index, z): (usize, &f64)| {
        let fused = index % k >= k - d;
        if fused {
            2.0 * z / (b * d) as f64
        } else {
            0.0
        }
    };
    let dl_dz: Vec<f64> = z.iter().enumerate().map(slope).collect();
    ledger.compare(golden, "ift.dl_dz", &dl_dz, SOLVED);

    let equilibrium = equilibrium(());
    let outcomes = in_all(subject, |space| {
        let [at, v, u] = [space.alloc()?, space.alloc()?, space.alloc()?];
        space.vectors_mut().write(at, z)?;
        space.linearize(at)?;
        space.vectors_mut().write(v, &dl_dz)?;
        space.combine(u, &[(Coef::Same(1.0), v)])?;
        let mut adjoint = AdjointMap::new(space, v);
        solve(&*equilibrium.solver, &mut adjoint, u, &equilibrium.stop)?;
        Ok((jacobian(space)?, space.vectors().read(u)?))
    })?;
    for outcome in outcomes {
        let (jacobian, adjoint) = outcome.result;
        ledger.compare(golden, "ift.J", &jacobian, SOLVED);
        ledger.compare(golden, "ift.adjoint", &adjoint, SOLVED);
        if golden.has("jac.exact") {
            let square: f64 = jacobian.iter().map(|entry| entry * entry).sum();
            ledger.compare(golden, "jac.exact", &[square / (b * k) as f64], STEP);
        }
    }
    Ok(())
}

/// The Jacobian of every sample at the linearization point, `[batch, K, K]`, row by row: row k is Jᵀ e_k.
pub fn jacobian(space: &mut dyn DifferentiableMap) -> equilibria_core::Result<Vec<f64>> {
    let (b, k) = (space.batch(), space.dim());
    let [unit, row] = [space.alloc()?, space.alloc()?];
    let mut jacobian = vec![0.0; b * k * k];
    for index in 0..k {
        let mut values = vec![0.0; b * k];
        (0..b).for_each(|sample| values[sample * k + index] = 1.0);
        space.vectors_mut().write(unit, &values)?;
        space.vjp(unit, row)?;
        for (sample, values) in space.vectors().read(row)?.chunks_exact(k).enumerate() {
            jacobian[(sample * k + index) * k..][..k].copy_from_slice(values);
        }
    }
    Ok(jacobian)
}
