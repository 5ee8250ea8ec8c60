//! `f_fuse` on slices.

use std::ops::Range;

use equilibria_core::kernel::swap_rows;
use equilibria_core::{to_host, Backend, Kernel, KernelBlock, KernelGradients, Matrix, Scalar};

use super::FuseBlock;
use crate::layers::kernel::{add, relu, relu_backward, Affine, GroupNorm, Normalized};

/// The weights and injected inputs of a [`FuseBlock`].
pub(super) struct FuseKernel<E> {
    alpha: Affine<E>,
    fuse: Affine<E>,
    gn: GroupNorm<E>,
    modalities: E,
    gate: bool,
    /// `Σ_i z_i`, `[batch, dim]`; empty where the caller sets it row by row.
    sum: Vec<E>,
    x_fuse: Vec<E>,
}

impl<E: Scalar> FuseKernel<E> {
    /// Copies the parameters; without `sum`, every block must be told it by [`FuseRows::set_sum`].
    pub fn new<D: Backend<E>>(
        layer: &FuseBlock<E, D>,
        sum: Option<&Matrix<E, D>>,
        x_fuse: &Matrix<E, D>,
    ) -> Self {
        Self {
            alpha: Affine::new(&layer.alpha),
            fuse: Affine::new(&layer.fuse),
            gn: GroupNorm::new(&layer.gn),
            modalities: E::of(layer.modalities as f64),
            gate: layer.gate,
            sum: sum.map_or_else(Vec::new, to_host),
            x_fuse: to_host(x_fuse),
        }
    }

    /// Work space for the given rows.
    pub fn rows(&self, rows: Range<usize>) -> FuseRows<'_, E> {
        let dim = self.fuse.bias().len();
        let range = rows.start * dim..rows.end * dim;
        let zeros = || vec![E::zero(); rows.len() * dim];
        let mut block = FuseRows {
            kernel: self,
            dim,
            x_fuse: self.x_fuse[range.clone()].to_vec(),
            sum: zeros(),
            constant: zeros(),
            z: zeros(),
            argument: zeros(),
            gate: zeros(),
            purified: zeros(),
            rectified: zeros(),
            scratch: zeros(),
            norm: self.gn.record(rows.len()),
        };
        if !self.sum.is_empty() {
            block.set_sum(&self.sum[range]);
        }
        block
    }
}

impl<E: Scalar> Kernel<E> for FuseKernel<E> {
    fn block(&self, rows: Range<usize>) -> Box<dyn KernelBlock<E> + '_> {
        Box::new(self.rows(rows))
    }
}

/// The rows of one block.
pub(super) struct FuseRows<'k, E> {
    kernel: &'k FuseKernel<E>,
    dim: usize,
    x_fuse: Vec<E>,
    sum: Vec<E>,
    /// `θ_α Σ_i z_i + N b_α`, a constant of the solve.
    constant: Vec<E>,
    /// The linearization point.
    z: Vec<E>,
    /// `N z + Σ_i z_i` there, which the gate is affine in.
    argument: Vec<E>,
    /// `Σ_i α_i` there.
    gate: Vec<E>,
    /// `Σ_i z'_i` there.
    purified: Vec<E>,
    /// The ReLU's result there.
    rectified: Vec<E>,
    scratch: Vec<E>,
    norm: Normalized<E>,
}

impl<E: Scalar> FuseRows<'_, E> {
    /// Injects `Σ_i z_i`, `[rows, dim]`.
    pub fn set_sum(&mut self, sum: &[E]) {
        let k = self.kernel;
        self.sum[..sum.len()].copy_from_slice(sum);
        if k.gate {
            let constant = &mut self.constant[..sum.len()];
            k.alpha.product(sum, constant);
            for row in constant.chunks_exact_mut(self.dim) {
                for (c, &bias) in row.iter_mut().zip(k.alpha.bias()) {
                    *c += k.modalities * bias;
                }
            }
        }
    }

    /// `gate = N θ_α z + constant` and `purified = gate ⊙ z`; without the gate `purified = Σ_i z_i`.
    fn purify(&self, z: &[E], gate: &mut [E], purified: &mut [E]) {
        let k = self.kernel;
        if !k.gate {
            purified.copy_from_slice(&self.sum[..z.len()]);
            return;
        }
        k.alpha.product(z, gate);
        let constants = self.constant.iter().zip(z);
        for ((gate, purified), (&constant, &z)) in gate.iter_mut().zip(purified).zip(constants) {
            *gate = k.modalities * *gate + constant;
            *purified = *gate * z;
        }
    }

    /// [`KernelBlock::jvp`] along `v` and, at the same time, along the tangent `sum_dot` of `Σ_i z_i`.
    pub fn jvp_sum(&mut self, v: &[E], sum_dot: &[E], out: &mut [E]) {
        let (k, len) = (self.kernel, v.len());
        let purified = &mut self.scratch[..len];
        if k.gate {
            let argument = &mut *out;
            for ((argument, &v), &sum) in argument.iter_mut().zip(v).zip(sum_dot) {
                *argument = k.modalities * v + sum;
            }
            k.alpha.product(argument, purified);
            let points = self.z.iter().zip(&self.gate);
            for ((purified, &v), (&z, &gate)) in purified.iter_mut().zip(v).zip(points) {
                *purified = *purified * z + gate * v;
            }
        } else {
            purified.copy_from_slice(sum_dot);
        }
        k.fuse.product(purified, out);
        relu_backward(&self.rectified[..len], out);
        k.gn.tangent(&self.norm, out);
    }

    /// [`KernelBlock::pull_back`] that also gives the cotangent of `Σ_i z_i`.
    pub fn pull_back_sum(
        &mut self,
        u: &[E],
        out: &mut [E],
        sum_bar: &mut [E],
        mut gradients: Option<&mut KernelGradients<E>>,
    ) {
        let (k, len) = (self.kernel, u.len());
        let mut parameters = gradients.as_deref_mut().map(|g| &mut g.parameters[..]);
        let upper = &mut self.scratch[..len];
        upper.copy_from_slice(u);
        if let Some([.., weight, bias]) = &mut parameters {
            k.gn.parameters_backward(&self.norm, upper, weight, bias);
        }
        k.gn.backward(&self.norm, upper);
        relu_backward(&self.rectified[..len], upper);
        if let Some([_, _, weight, bias, ..]) = &mut parameters {
            k.fuse
                .parameters_backward(&self.purified[..len], upper, weight, bias);
        }
        if let Some([.., x_fuse]) = gradients.as_deref_mut().map(|g| &mut g.inputs[..]) {
            add(x_fuse, upper);
        }
        if !k.gate {
            k.fuse.backward(upper, sum_bar);
            out.fill(E::zero());
            return;
        }
        // p = gate ⊙ z: the cotangent of p goes to z directly and, through the gate, to z and to the sum.
        k.fuse.backward(upper, out);
        let gate_bar = upper;
        for ((gate_bar, out), (&z, &gate)) in gate_bar
            .iter_mut()
            .zip(&mut *out)
            .zip(self.z.iter().zip(&self.gate))
        {
            *gate_bar = *out * z;
            *out *= gate;
        }
        k.alpha.backward(gate_bar, sum_bar);
        for (out, &s) in out.iter_mut().zip(&*sum_bar) {
            *out += k.modalities * s;
        }
        let Some(gradients) = gradients else { return };
        if let [weight, bias, ..] = &mut gradients.parameters[..] {
            k.alpha
                .weight_backward(&self.argument[..len], gate_bar, weight);
            for row in gate_bar.chunks_exact(self.dim) {
                for (bias, &g) in bias.iter_mut().zip(row) {
                    *bias += k.modalities * g;
                }
            }
        }
    }
}

impl<E: Scalar> KernelBlock<E> for FuseRows<'_, E> {
    fn apply(&mut self, z: &[E], out: &mut [E]) {
        let len = z.len();
        let mut purified = std::mem::take(&mut self.scratch);
        self.purify(z, out, &mut purified[..len]);
        self.kernel.fuse.forward(&purified[..len], out);
        self.scratch = purified;
        add(out, &self.x_fuse);
        relu(out);
        self.kernel.gn.forward(out);
    }

    fn linearize(&mut self, z: &[E], out: &mut [E]) {
        let (k, len) = (self.kernel, z.len());
        self.z[..len].copy_from_slice(z);
        // Kept, since the sum may have changed by the time gradients are pulled back.
        for ((argument, &z), &sum) in self.argument.iter_mut().zip(z).zip(&self.sum) {
            *argument = k.modalities * z + sum;
        }
        let (mut gate, mut purified) = (
            std::mem::take(&mut self.gate),
            std::mem::take(&mut self.purified),
        );
        self.purify(z, &mut gate[..len], &mut purified[..len]);
        (self.gate, self.purified) = (gate, purified);
        k.fuse.forward(&self.purified[..len], out);
        add(out, &self.x_fuse);
        relu(out);
        self.rectified[..len].copy_from_slice(out);
        k.gn.forward_recorded(out, &mut self.norm);
    }

    fn jvp(&mut self, v: &[E], out: &mut [E]) -> bool {
        self.jvp_sum(v, &vec![E::zero(); v.len()], out);
        true
    }

    fn pull_back(
        &mut self,
        u: &[E],
        out: &mut [E],
        mut gradients: Option<&mut KernelGradients<E>>,
    ) {
        let mut sum_bar = vec![E::zero(); u.len()];
        self.pull_back_sum(u, out, &mut sum_bar, gradients.as_deref_mut());
        if let Some([sum, _]) = gradients.map(|g| &mut g.inputs[..]) {
            add(sum, &sum_bar);
        }
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        for rows in [
            &mut self.x_fuse,
            &mut self.sum,
            &mut self.constant,
            &mut self.z,
            &mut self.argument,
            &mut self.gate,
            &mut self.purified,
            &mut self.rectified,
        ] {
            swap_rows(rows, self.dim, a, b);
        }
        self.norm.swap_rows(&self.kernel.gn, a, b);
    }
}
