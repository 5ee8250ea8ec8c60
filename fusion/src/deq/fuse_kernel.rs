//! `f_fuse` on slices.

use std::ops::Range;
use std::sync::Arc;

use equilibria_core::kernel::swap_rows;
use equilibria_core::{
    to_host, vectorized, Backend, Kernel, KernelBlock, KernelGradients, Matrix, ParameterGradient,
    Scalar,
};

use super::FuseBlock;
use crate::layers::kernel::{
    add, add_scaled, add_to_rows, parts, relu, relu_backward, Affine, GroupNorm, Normalized,
    Rectify,
};

/// The weights and injected inputs of a [`FuseBlock`].
pub(super) struct FuseKernel<E> {
    alpha: Arc<Affine<E>>,
    fuse: Arc<Affine<E>>,
    gn: GroupNorm<E>,
    modalities: E,
    gate: bool,
    /// `Σ_i z_i`, `[batch, dim]`; empty where the caller sets it row by row.
    sum: Vec<E>,
    /// `x_fuse + b_fuse`.
    injected: Vec<E>,
}

impl<E: Scalar> FuseKernel<E> {
    /// Copies the parameters; without `sum`, every block must be told it by [`FuseRows::set_sum`].
    pub fn new<D: Backend<E>>(
        layer: &FuseBlock<E, D>,
        sum: Option<&Matrix<E, D>>,
        x_fuse: &Matrix<E, D>,
    ) -> Self {
        let fuse = layer.fuse.affine();
        let mut injected = to_host(x_fuse);
        add_to_rows(&mut injected, fuse.bias());
        Self {
            alpha: layer.alpha.affine(),
            fuse,
            gn: GroupNorm::new(&layer.gn),
            modalities: E::of(layer.modalities as f64),
            gate: layer.gate,
            sum: sum.map_or_else(Vec::new, to_host),
            injected,
        }
    }

    /// Adds the gradients of θ_α and b_α due to the cotangent of `Σ_i α_i` at `N z + Σ_i z_i`.
    fn alpha_backward(
        &self,
        gate_bar: &[E],
        argument: &[E],
        weight: &mut ParameterGradient<E>,
        bias: &mut ParameterGradient<E>,
    ) {
        weight.add_product(gate_bar, argument);
        let bias = bias.sum();
        for row in gate_bar.chunks_exact(bias.len()) {
            add_scaled(bias, self.modalities, row);
        }
    }

    /// The cotangent of `Σ_i z_i` due to that of `Σ_i α_i`; without the gate, to that of `Σ_i z'_i`, which is the same sum.
    fn sum_backward(&self, bar: &[E], sum_bar: &mut [E]) {
        match self.gate {
            true => self.alpha.backward(bar, sum_bar),
            false => sum_bar.copy_from_slice(bar),
        }
    }

    /// Takes the cotangents of the tangent of f and of f, in place, back to before the ReLU; `tangent` is that after it.
    fn rectified_tangent_backward(
        &self,
        at: &Linearization<E>,
        tangent: &mut [E],
        [p_bar, u_bar]: [&mut [E]; 2],
        [weight, bias]: [&mut ParameterGradient<E>; 2],
    ) {
        let len = tangent.len();
        (self.gn).tangent_backward(&at.norm, tangent, p_bar, u_bar, weight, bias);
        relu_backward(&at.rectified[..len], p_bar);
        relu_backward(&at.rectified[..len], u_bar);
    }

    /// Work space for the given rows.
    pub fn rows(self: &Arc<Self>, rows: Range<usize>) -> FuseRows<E> {
        let dim = self.fuse.bias().len();
        let range = rows.start * dim..rows.end * dim;
        let zeros = || vec![E::zero(); rows.len() * dim];
        let mut block = FuseRows {
            kernel: self.clone(),
            dim,
            injected: self.injected[range.clone()].to_vec(),
            sum: zeros(),
            constant: Vec::new(),
            scratch: zeros(),
            sum_bar: Vec::new(),
            z_bar: Vec::new(),
            tangents: Vec::new(),
            exact: usize::MAX,
            room: Vec::new(),
            at: Linearization::default(),
        };
        if !self.sum.is_empty() {
            block.fix_sum(&self.sum[range]);
        }
        block
    }
}

impl<E: Scalar> Kernel<E> for FuseKernel<E> {
    fn block(self: Arc<Self>, rows: Range<usize>) -> Box<dyn KernelBlock<E>> {
        Box::new(self.rows(rows))
    }
}

/// The rows of one block.
pub(super) struct FuseRows<E> {
    kernel: Arc<FuseKernel<E>>,
    dim: usize,
    injected: Vec<E>,
    sum: Vec<E>,
    /// `θ_α Σ_i z_i`, where that is a constant of the solve; else empty.
    constant: Vec<E>,
    scratch: Vec<E>,
    /// Cotangent of `Σ_i z_i` where nobody else wants it, and cotangent of z likewise; empty until then.
    sum_bar: Vec<E>,
    z_bar: Vec<E>,
    /// Room for tangents, empty until some are wanted.
    tangents: Vec<E>,
    /// Rows that are not rounded, and room for those that are.
    exact: usize,
    room: Vec<u32>,
    at: Linearization<E>,
}

/// What derivatives need to know of a point; empty until there is one.
#[derive(Default)]
struct Linearization<E> {
    z: Vec<E>,
    /// `N z + Σ_i z_i`, which the gate is affine in.
    argument: Vec<E>,
    /// `Σ_i α_i`.
    gate: Vec<E>,
    /// `Σ_i z'_i`.
    purified: Vec<E>,
    /// The ReLU's result.
    rectified: Vec<E>,
    norm: Normalized<E>,
}

impl<E: Scalar> FuseRows<E> {
    fn make_room(&mut self) {
        let (at, len) = (&mut self.at, self.injected.len());
        if at.z.is_empty() {
            let rows = [&mut at.z, &mut at.argument, &mut at.gate, &mut at.purified];
            for rows in rows.into_iter().chain([&mut at.rectified]) {
                rows.resize(len, E::zero());
            }
            at.norm = self.kernel.gn.record(len / self.dim);
        }
    }

    /// Injects `Σ_i z_i`, `[rows, dim]`, which stays as it is.
    fn fix_sum(&mut self, sum: &[E]) {
        self.set_sum(sum);
        if self.kernel.gate {
            self.constant.resize(sum.len(), E::zero());
            self.kernel.alpha.product(sum, &mut self.constant);
        }
    }

    /// Injects `Σ_i z_i`, `[rows, dim]`, which changes from call to call.
    pub fn set_sum(&mut self, sum: &[E]) {
        self.sum[..sum.len()].copy_from_slice(sum);
    }

    /// [`KernelBlock::jvp`] along `v` and, at the same time, along the tangent `sum_dot` of `Σ_i z_i`, if it has one.
    pub fn jvp_sum(&mut self, v: &[E], sum_dot: Option<&[E]>, out: &mut [E]) {
        let (k, at) = (&*self.kernel, &self.at);
        let [argument, purified] = parts(&mut self.tangents, v.len());
        rectified_tangent(k, at, (v, sum_dot), [argument, purified, out]);
        k.gn.tangent(&at.norm, out);
    }

    /// Adds the gradients of `⟨u, f(z)⟩ + ⟨p, ∂f v⟩` and leaves the cotangent of `Σ_i z_i` in `sum_bar`. Where that sum has
    /// a tangent of its own, v has it as well; its place receives its cotangent. `kept` is that of
    /// [`KernelBlock::pull_back_tangent`].
    pub fn tangent_backward(
        &mut self,
        [u, p, v]: [&[E]; 3],
        kept: &[E],
        sum_dot: Option<&mut [E]>,
        sum_bar: &mut [E],
        gradients: &mut KernelGradients<E>,
    ) {
        let (k, at, len) = (&*self.kernel, &self.at, u.len());
        let [p_bar, u_bar, argument, purified, value, other] = parts(&mut self.tangents, len);
        let along = (v, sum_dot.as_deref());
        rectified_tangent(k, at, along, [argument, purified, value]);

        let [w_alpha, b_alpha, w_fuse, b_fuse, weight, bias] = &mut gradients.parameters[..] else {
            return;
        };
        p_bar.copy_from_slice(p);
        u_bar.copy_from_slice(u);
        k.rectified_tangent_backward(at, value, [p_bar, u_bar], [weight, bias]);
        w_fuse.add_product(p_bar, purified);
        let point = &at.purified[..len];
        k.fuse.parameters_backward(point, u_bar, w_fuse, b_fuse);
        if let [.., x_fuse] = &mut gradients.inputs[..] {
            add(x_fuse, u_bar);
        }
        match kept {
            [] => k.fuse.backward(p_bar, value),
            kept => value.copy_from_slice(kept),
        }
        k.fuse.backward(u_bar, other);
        if k.gate {
            gate_tangent_backward(&at.z, v, value, other);
            w_alpha.add_product(value, argument);
            k.alpha_backward(other, &at.argument[..len], w_alpha, b_alpha);
        }
        k.sum_backward(other, sum_bar);
        if let Some(sum_dot) = sum_dot {
            k.sum_backward(value, sum_dot);
        }
    }

    /// The cotangents of z, in `out`, and of `Σ_i z_i`; adds the gradients too, if they are wanted, and keeps the cotangent of
    /// `Σ_i z'_i`, if that is; with neither, rows may be rounded.
    pub fn backward(
        &mut self,
        u: &[E],
        out: &mut [E],
        sum_bar: &mut [E],
        mut gradients: Option<&mut KernelGradients<E>>,
        kept: Option<&mut Vec<E>>,
    ) {
        let rounds = gradients.is_none() && kept.is_none();
        let exact = if rounds { self.exact } else { usize::MAX };
        let gate = self.kernel.gate;
        let purified_bar = if gate { &mut *out } else { &mut *sum_bar };
        self.combine_backward(u, purified_bar, gradients.as_deref_mut(), exact);
        if let Some(kept) = kept {
            kept.clear();
            kept.extend_from_slice(purified_bar);
        }
        match gate {
            true => self.purify_backward(out, sum_bar, gradients, exact),
            false => out.fill(E::zero()),
        }
    }

    /// From the cotangent u of f, that of `Σ_i z'_i`; adds the gradients of the normalization, of θ_fuse, b_fuse and x_fuse,
    /// if they are wanted. Rows from `exact` on are rounded.
    fn combine_backward(
        &mut self,
        u: &[E],
        purified_bar: &mut [E],
        mut gradients: Option<&mut KernelGradients<E>>,
        exact: usize,
    ) {
        let (k, at, len) = (&*self.kernel, &self.at, u.len());
        let mut parameters = gradients.as_deref_mut().map(|g| &mut g.parameters[..]);
        let upper = &mut self.scratch[..len];
        upper.copy_from_slice(u);
        if let Some([.., weight, bias]) = &mut parameters {
            k.gn.parameters_backward(&at.norm, upper, weight, bias);
        }
        k.gn.backward(&at.norm, upper, &at.rectified, Rectify::Before);
        if let Some([_, _, weight, bias, ..]) = &mut parameters {
            k.fuse
                .parameters_backward(&at.purified[..len], upper, weight, bias);
        }
        if let Some([.., x_fuse]) = gradients.map(|g| &mut g.inputs[..]) {
            add(x_fuse, upper);
        }
        (k.fuse).backward_rounded(upper, purified_bar, exact, &mut self.room);
    }

    /// From the cotangent of `Σ_i z'_i`, in `out`, that of z, in its place, and that of `Σ_i z_i`; adds the gradients of θ_α
    /// and b_α, if they are wanted. Rows from `exact` on are rounded.
    fn purify_backward(
        &mut self,
        out: &mut [E],
        sum_bar: &mut [E],
        gradients: Option<&mut KernelGradients<E>>,
        exact: usize,
    ) {
        let (k, at, len) = (&*self.kernel, &self.at, out.len());
        // p = gate ⊙ z: the cotangent of p goes to z directly and, through the gate, to z and to the sum.
        let gate_bar = &mut self.scratch[..len];
        open_gate_backward(&at.z, &at.gate, gate_bar, out);
        (k.alpha).backward_rounded(gate_bar, sum_bar, exact, &mut self.room);
        add_scaled(out, k.modalities, sum_bar);
        if let Some([weight, bias, ..]) = gradients.map(|g| &mut g.parameters[..]) {
            k.alpha_backward(gate_bar, &at.argument[..len], weight, bias);
        }
    }

    /// [`backward`](Self::backward) where nobody wants the cotangent of `Σ_i z_i`.
    fn product(&mut self, u: &[E], out: &mut [E], kept: Option<&mut Vec<E>>) {
        let mut sum_bar = std::mem::take(&mut self.sum_bar);
        sum_bar.resize(u.len(), E::zero());
        self.backward(u, out, &mut sum_bar, None, kept);
        self.sum_bar = sum_bar;
    }
}

/// The tangents of `N z + Σ_i z_i`, of `Σ_i z'_i` and of the ReLU's result, along v and that of `Σ_i z_i`.
fn rectified_tangent<E: Scalar>(
    k: &FuseKernel<E>,
    at: &Linearization<E>,
    (v, sum_dot): (&[E], Option<&[E]>),
    [argument, purified, rectified]: [&mut [E]; 3],
) {
    match sum_dot {
        Some(sum_dot) => argument.copy_from_slice(sum_dot),
        None => argument.fill(E::zero()),
    }
    if k.gate {
        add_scaled(argument, k.modalities, v);
        k.alpha.product(argument, purified);
        gate_tangent(&at.z, &at.gate, v, purified);
    } else {
        purified.copy_from_slice(argument);
    }
    k.fuse.product(purified, rectified);
    relu_backward(&at.rectified[..v.len()], rectified);
}

/// `gate = Σ_i α_i = θ_α (N z + Σ_i z_i) + N b_α` and `purified = gate ⊙ z`; without the gate `purified = Σ_i z_i`.
/// Rows from `exact` on are rounded.
fn purify<E: Scalar>(
    k: &FuseKernel<E>,
    (sum, constant): (&[E], &[E]),
    z: &[E],
    gate: &mut [E],
    purified: &mut [E],
    exact: usize,
    room: &mut Vec<u32>,
) {
    purified.copy_from_slice(&sum[..z.len()]);
    if !k.gate {
        return;
    }
    let n = k.modalities;
    if constant.is_empty() {
        add_scaled(purified, n, z);
        k.alpha.product_rounded(purified, gate, exact, room);
        open_gate(E::one(), &[], n, k.alpha.bias(), z, gate, purified);
    } else {
        k.alpha.product_rounded(z, gate, exact, room);
        open_gate(n, constant, n, k.alpha.bias(), z, gate, purified);
    }
}

vectorized! {
    /// `gate ← scale gate + constant + n bias`, row by row, and `purified = gate ⊙ z`; an empty constant is 0.
    fn open_gate<'a, E, S>(
        _simd: S,
        scale: E,
        constant: &'a [E],
        n: E,
        bias: &'a [E],
        z: &'a [E],
        gate: &'a mut [E],
        purified: &'a mut [E],
    ) {
        let dim = bias.len();
        let mut constants = constant.chunks_exact(dim);
        let results = gate.chunks_exact_mut(dim).zip(purified.chunks_exact_mut(dim));
        for ((gate, purified), z) in results.zip(z.chunks_exact(dim)) {
            for (gate, &bias) in gate.iter_mut().zip(bias) {
                *gate = scale * *gate + n * bias;
            }
            if let Some(constant) = constants.next() {
                gate.iter_mut().zip(constant).for_each(|(gate, &c)| *gate += c);
            }
            for ((purified, &gate), &z) in purified.iter_mut().zip(&*gate).zip(z) {
                *purified = gate * z;
            }
        }
    }

    /// From the tangents of the gate, in `purified`, and v of z, that of `gate ⊙ z`.
    fn gate_tangent<'a, E, S>(
        _simd: S,
        z: &'a [E],
        gate: &'a [E],
        v: &'a [E],
        purified: &'a mut [E],
    ) {
        for ((purified, &v), (&z, &gate)) in purified.iter_mut().zip(v).zip(z.iter().zip(gate)) {
            *purified = *purified * z + gate * v;
        }
    }

    /// From the cotangents of the tangent of `gate ⊙ z` and of itself, in place, those of the tangent of the gate and of the
    /// gate.
    fn gate_tangent_backward<'a, E, S>(
        _simd: S,
        z: &'a [E],
        v: &'a [E],
        tangent: &'a mut [E],
        value: &'a mut [E],
    ) {
        for ((tangent, value), (&z, &v)) in tangent.iter_mut().zip(value).zip(z.iter().zip(v)) {
            *value = *tangent * v + *value * z;
            *tangent *= z;
        }
    }

    /// From the cotangent `p̄` of `p = gate ⊙ z`: `gate_bar = p̄ ⊙ z`, and `p̄ ← p̄ ⊙ gate`, which is that of z.
    fn open_gate_backward<'a, E, S>(
        _simd: S,
        z: &'a [E],
        gate: &'a [E],
        gate_bar: &'a mut [E],
        p_bar: &'a mut [E],
    ) {
        let points = z.iter().zip(gate);
        for ((gate_bar, p_bar), (&z, &gate)) in gate_bar.iter_mut().zip(p_bar).zip(points) {
            *gate_bar = *p_bar * z;
            *p_bar *= gate;
        }
    }
}

impl<E: Scalar> KernelBlock<E> for FuseRows<E> {
    fn apply(&mut self, z: &[E], out: &mut [E]) {
        let (k, purified) = (&*self.kernel, &mut self.scratch[..z.len()]);
        let (fixed, exact, room) = (
            (&self.sum[..], &self.constant[..]),
            self.exact,
            &mut self.room,
        );
        purify(k, fixed, z, out, purified, exact, room);
        k.fuse.product_rounded(purified, out, exact, room);
        k.gn.forward(out, &self.injected, Rectify::Before);
    }

    fn linearize(&mut self, z: &[E], out: &mut [E]) {
        self.make_room();
        let (k, at, len) = (&*self.kernel, &mut self.at, z.len());
        at.z[..len].copy_from_slice(z);
        // Kept, since the sum may have changed by the time gradients are pulled back.
        for ((argument, &z), &sum) in at.argument.iter_mut().zip(z).zip(&self.sum) {
            *argument = k.modalities * z + sum;
        }
        let (gate, purified) = (&mut at.gate[..len], &mut at.purified[..len]);
        let (fixed, exact, room) = (
            (&self.sum[..], &self.constant[..]),
            self.exact,
            &mut self.room,
        );
        purify(k, fixed, z, gate, purified, exact, room);
        k.fuse.product_rounded(purified, out, exact, room);
        add(out, &self.injected);
        relu(out);
        at.rectified[..len].copy_from_slice(out);
        k.gn.forward_recorded(out, &[], Rectify::Never, &mut at.norm);
    }

    fn jvp(&mut self, v: &[E], out: &mut [E]) -> bool {
        self.jvp_sum(v, None, out);
        true
    }

    fn vjp(&mut self, u: &[E], out: &mut [E]) {
        self.product(u, out, None);
    }

    fn vjp_keeping(&mut self, u: &[E], out: &mut [E], kept: &mut Vec<E>) {
        self.product(u, out, Some(kept));
    }

    fn pull_back(&mut self, u: &[E], gradients: &mut KernelGradients<E>) {
        let rooms = [&mut self.sum_bar, &mut self.z_bar].map(std::mem::take);
        let [mut sum_bar, mut z_bar] = rooms.map(|mut room| {
            room.resize(u.len(), E::zero());
            room
        });
        self.backward(u, &mut z_bar, &mut sum_bar, Some(gradients), None);
        if let [sum, _] = &mut gradients.inputs[..] {
            add(sum, &sum_bar);
        }
        (self.sum_bar, self.z_bar) = (sum_bar, z_bar);
    }

    fn pull_back_tangent(
        &mut self,
        u: &[E],
        p: &[E],
        v: &[E],
        kept: &[E],
        gradients: &mut KernelGradients<E>,
    ) -> bool {
        let mut sum_bar = std::mem::take(&mut self.sum_bar);
        sum_bar.resize(u.len(), E::zero());
        self.tangent_backward([u, p, v], kept, None, &mut sum_bar, gradients);
        if let [sum, _] = &mut gradients.inputs[..] {
            add(sum, &sum_bar);
        }
        self.sum_bar = sum_bar;
        true
    }

    fn allow_rounding(&mut self, from: usize) -> bool {
        self.exact = from;
        self.kernel.fuse.rounds()
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        let at = &mut self.at;
        for rows in [
            &mut self.injected,
            &mut self.sum,
            &mut self.constant,
            &mut at.z,
            &mut at.argument,
            &mut at.gate,
            &mut at.purified,
            &mut at.rectified,
        ] {
            swap_rows(rows, self.dim, a, b);
        }
        at.norm.swap_rows(&self.kernel.gn, a, b);
    }
}
