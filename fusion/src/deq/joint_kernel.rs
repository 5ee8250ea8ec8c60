//! The joint system on slices: the kernels of its parts, side by side.

use std::ops::Range;
use std::sync::Arc;

use equilibria_core::{
    Backend, ImplicitLayer, Kernel, KernelBlock, KernelGradients, Matrix, Parameters, Scalar,
};

use super::fuse_kernel::{FuseKernel, FuseRows};
use super::JointLayer;
use crate::layers::kernel::{add, parts};

/// Kernels of every f_θ and of f_fuse.
pub(super) struct JointKernel<E> {
    theta: Vec<Arc<dyn Kernel<E>>>,
    fuse: Arc<FuseKernel<E>>,
    dim: usize,
    /// Number of parameters of each f_θ.
    parameters: Vec<usize>,
}

impl<E: Scalar> JointKernel<E> {
    /// `None` if one of the parts has no kernel.
    pub fn new<D: Backend<E>>(layer: &JointLayer<E, D>, x: &[Matrix<E, D>]) -> Option<Self> {
        let parts = layer.theta.iter().zip(x.chunks(1));
        Some(Self {
            theta: parts
                .map(|(theta, x)| theta.kernel(x))
                .collect::<Option<_>>()?,
            fuse: Arc::new(FuseKernel::new(&layer.fuse, None, x.last()?)),
            dim: layer.fuse.state_dim(),
            parameters: layer
                .theta
                .iter()
                .map(|theta| theta.named().len())
                .collect(),
        })
    }
}

impl<E: Scalar> Kernel<E> for JointKernel<E> {
    fn block(self: Arc<Self>, rows: Range<usize>) -> Box<dyn KernelBlock<E>> {
        let zeros = || vec![E::zero(); rows.len() * self.dim];
        Box::new(JointRows {
            theta: self
                .theta
                .iter()
                .map(|kernel| kernel.clone().block(rows.clone()))
                .collect(),
            fuse: self.fuse.rows(rows.clone()),
            dim: self.dim,
            parameters: self.parameters.clone(),
            z: zeros(),
            value: zeros(),
            sum: zeros(),
            tangents: Vec::new(),
        })
    }
}

struct JointRows<E> {
    theta: Vec<Box<dyn KernelBlock<E>>>,
    fuse: FuseRows<E>,
    dim: usize,
    parameters: Vec<usize>,
    z: Vec<E>,
    value: Vec<E>,
    sum: Vec<E>,
    /// Room for [`pull_back_tangent`](KernelBlock::pull_back_tangent), empty until then.
    tangents: Vec<E>,
}

/// Copies columns `part · dim ..` of the joint state `[rows, parts · dim]` to `[rows, dim]`.
fn take<E: Scalar>(joint: &[E], parts: usize, dim: usize, part: usize, out: &mut [E]) {
    for (out, row) in out
        .chunks_exact_mut(dim)
        .zip(joint.chunks_exact(parts * dim))
    {
        out.copy_from_slice(&row[part * dim..][..dim]);
    }
}

/// The reverse of [`take`].
fn put<E: Scalar>(joint: &mut [E], parts: usize, dim: usize, part: usize, values: &[E]) {
    for (values, row) in values
        .chunks_exact(dim)
        .zip(joint.chunks_exact_mut(parts * dim))
    {
        row[part * dim..][..dim].copy_from_slice(values);
    }
}

/// The gradients of every f_θ, with its number of parameters, and of f_fuse, which has the rest.
fn shares<E>(counts: &[usize], all: &mut KernelGradients<E>) -> Vec<KernelGradients<E>> {
    let mut parameters = std::mem::take(&mut all.parameters).into_iter();
    let mut inputs = std::mem::take(&mut all.inputs).into_iter();
    let theta = counts.iter().map(|&count| KernelGradients {
        parameters: parameters.by_ref().take(count).collect(),
        inputs: inputs.by_ref().take(1).collect(),
    });
    let mut shares: Vec<_> = theta.collect();
    shares.push(KernelGradients {
        parameters: parameters.collect(),
        inputs: inputs.collect(),
    });
    shares
}

/// The reverse of [`shares`].
fn put_back<E>(shares: Vec<KernelGradients<E>>, all: &mut KernelGradients<E>) {
    for share in shares {
        all.parameters.extend(share.parameters);
        all.inputs.extend(share.inputs);
    }
}

impl<E: Scalar> JointRows<E> {
    /// Runs every part in turn by `run`, which is `apply` or `linearize`.
    fn run(
        &mut self,
        joint: &[E],
        out: &mut [E],
        run: impl Fn(&mut dyn KernelBlock<E>, &[E], &mut [E]),
    ) {
        let (parts, dim) = (self.theta.len() + 1, self.dim);
        let len = joint.len() / parts;
        let (z, value) = (&mut self.z[..len], &mut self.value[..len]);
        let sum = &mut self.sum[..len];
        sum.fill(E::zero());
        for (part, theta) in self.theta.iter_mut().enumerate() {
            take(joint, parts, dim, part, z);
            run(&mut **theta, z, value);
            add(sum, value);
            put(out, parts, dim, part, value);
        }
        self.fuse.set_sum(sum);
        take(joint, parts, dim, parts - 1, z);
        run(&mut self.fuse, z, value);
        put(out, parts, dim, parts - 1, value);
    }
}

impl<E: Scalar> KernelBlock<E> for JointRows<E> {
    fn apply(&mut self, joint: &[E], out: &mut [E]) {
        self.run(joint, out, |part, z, value| part.apply(z, value));
    }

    fn linearize(&mut self, joint: &[E], out: &mut [E]) {
        self.run(joint, out, |part, z, value| part.linearize(z, value));
    }

    fn jvp(&mut self, v: &[E], out: &mut [E]) -> bool {
        let (parts, dim) = (self.theta.len() + 1, self.dim);
        let len = v.len() / parts;
        let (tangent, result) = (&mut self.z[..len], &mut self.value[..len]);
        let sum_dot = &mut self.sum[..len];
        sum_dot.fill(E::zero());
        for (part, theta) in self.theta.iter_mut().enumerate() {
            take(v, parts, dim, part, tangent);
            if !theta.jvp(tangent, result) {
                return false;
            }
            add(sum_dot, result);
            put(out, parts, dim, part, result);
        }
        take(v, parts, dim, parts - 1, tangent);
        self.fuse.jvp_sum(tangent, Some(sum_dot), result);
        put(out, parts, dim, parts - 1, result);
        true
    }

    fn vjp(&mut self, u: &[E], out: &mut [E]) {
        let (parts, dim) = (self.theta.len() + 1, self.dim);
        let len = u.len() / parts;
        let (cotangent, result) = (&mut self.z[..len], &mut self.value[..len]);
        let sum_bar = &mut self.sum[..len];
        take(u, parts, dim, parts - 1, cotangent);
        self.fuse.backward(cotangent, result, sum_bar, None, None);
        put(out, parts, dim, parts - 1, result);
        for (part, theta) in self.theta.iter_mut().enumerate() {
            take(u, parts, dim, part, cotangent);
            add(cotangent, sum_bar);
            theta.vjp(cotangent, result);
            put(out, parts, dim, part, result);
        }
    }

    fn pull_back(&mut self, u: &[E], gradients: &mut KernelGradients<E>) {
        let (parts, dim) = (self.theta.len() + 1, self.dim);
        let len = u.len() / parts;
        let (cotangent, unused) = (&mut self.z[..len], &mut self.value[..len]);
        let sum_bar = &mut self.sum[..len];
        let mut shares = shares(&self.parameters, gradients);
        take(u, parts, dim, parts - 1, cotangent);
        let fuse_share = &mut shares[parts - 1];
        self.fuse
            .backward(cotangent, unused, sum_bar, Some(fuse_share), None);
        for (part, (theta, share)) in self.theta.iter_mut().zip(&mut shares).enumerate() {
            take(u, parts, dim, part, cotangent);
            add(cotangent, sum_bar);
            theta.pull_back(cotangent, share);
        }
        put_back(shares, gradients);
    }

    fn pull_back_tangent(
        &mut self,
        u: &[E],
        p: &[E],
        v: &[E],
        _kept: &[E],
        gradients: &mut KernelGradients<E>,
    ) -> bool {
        let (count, dim) = (self.theta.len() + 1, self.dim);
        let len = u.len() / count;
        let mut shares = shares(&self.parameters, gradients);
        let (z, value) = (&mut self.z[..len], &mut self.value[..len]);
        let [sum_dot, p_part, v_part] = parts(&mut self.tangents, len);
        sum_dot.fill(E::zero());
        let mut able = true;
        for (part, (theta, share)) in self.theta.iter_mut().zip(&mut shares).enumerate() {
            take(v, count, dim, part, v_part);
            // All are asked first: gradients of one part could not be taken back if another part has none.
            able &= theta.pull_back_tangent(&[], &[], &[], &[], share) && theta.jvp(v_part, value);
            add(sum_dot, value);
        }
        if able {
            for (joint, part) in [(u, &mut *z), (p, &mut *p_part), (v, &mut *v_part)] {
                take(joint, count, dim, count - 1, part);
            }
            let (sum_bar, share) = (&mut self.sum[..len], &mut shares[count - 1]);
            self.fuse
                .tangent_backward([z, p_part, v_part], &[], Some(sum_dot), sum_bar, share);
            for (part, (theta, share)) in self.theta.iter_mut().zip(&mut shares).enumerate() {
                for (joint, rows) in [(u, &mut *z), (p, &mut *p_part), (v, &mut *v_part)] {
                    take(joint, count, dim, part, rows);
                }
                add(z, sum_bar);
                add(p_part, sum_dot);
                theta.pull_back_tangent(z, p_part, v_part, &[], share);
            }
        }
        put_back(shares, gradients);
        able
    }

    fn allow_rounding(&mut self, from: usize) -> bool {
        let parts = self.theta.iter_mut();
        let theta = parts.fold(false, |any, part| part.allow_rounding(from) | any);
        self.fuse.allow_rounding(from) | theta
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        for theta in &mut self.theta {
            theta.swap_rows(a, b);
        }
        self.fuse.swap_rows(a, b);
    }
}
