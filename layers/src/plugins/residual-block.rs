//! The residual block of DEQ fusion.

use std::ops::Range;
use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::kernel::swap_rows;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, AnyLayer};

use crate::kernel::{
    self, add, add_to_rows, parts, relu, relu_backward, Affine, Normalized, Rectify,
};
use crate::modules::{self, GroupNorm, Linear};
use crate::{LayerConfig, LayerRequest, Layers};

plugin! {
    /// The residual block of DEQ fusion (eq. 8), a group-normalized two-layer map with injected input.
    ///
    /// ẑ = ReLU(GN₁(θ̂ z + b̂)), z̃ = GN₂(θ̃ ẑ + x + b̃), f(z; x) = GN₃(ReLU(z̃)).
    ///
    /// It takes one injected input as wide as the state. Linear weights start as N(0, `deviation`²), small, so that the
    /// equilibrium is easy at first: with the usual U(±1/√d) the spectral radius is about 0.65 already.
    ///
    /// Reference: J. Ni et al., Deep Equilibrium Multimodal Fusion, arXiv 2306.16645, eq. 8. The authors' code adds z
    /// before the last ReLU; the paper does not: see `skip`.
    pub struct ResidualBlockConfig: LayerConfig {
        /// Groups of the group normalizations, a divisor of the width with two features or more to a group.
        pub groups: usize = 4,
        /// Standard deviation of the initial linear weights, above 0.
        pub deviation: f64 = 0.01,
        /// Adds z before the last ReLU, f(z; x) = GN₃(ReLU(z̃ + z)), as the authors' code does.
        pub skip: bool = false,
    }
}

#[typetag::serde(name = "residual-block")]
impl LayerConfig for ResidualBlockConfig {
    fn validate(&self) -> Result<()> {
        Error::require_at_least_one("residual-block", "groups", self.groups)?;
        Error::require_positive("residual-block", "deviation", self.deviation)
    }
}

impl Build<Layers> for ResidualBlockConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        let (width, init) = (request.state, request.init);
        let got = format!("{:?}", request.inputs);
        let fits = request.inputs == [width];
        Error::require(
            fits,
            "residual-block",
            "inputs",
            "one, as wide as the state",
            got,
        )?;
        self.validate()?;
        Ok(AnyLayer::new(ResidualBlock {
            hat: Linear::normal(width, width, self.deviation, init)?,
            tilde: Linear::normal(width, width, self.deviation, init)?,
            gn1: GroupNorm::new(width, self.groups, init)?,
            gn2: GroupNorm::new(width, self.groups, init)?,
            gn3: GroupNorm::new(width, self.groups, init)?,
            skip: self.skip,
        }))
    }
}

/// `f(z; x) = GN₃(ReLU(GN₂(θ̃ ReLU(GN₁(θ̂ z + b̂)) + x + b̃)))`, eq. 8.
#[derive(Clone)]
pub struct ResidualBlock<E: Scalar, D: Backend<E>> {
    /// θ̂ and b̂.
    pub hat: Linear<E, D>,
    /// θ̃ and b̃.
    pub tilde: Linear<E, D>,
    /// Normalization of the first line of eq. 8.
    pub gn1: GroupNorm<E, D>,
    /// Normalization of the second line.
    pub gn2: GroupNorm<E, D>,
    /// Normalization of the third line.
    pub gn3: GroupNorm<E, D>,
    /// Whether z is added before the last ReLU.
    pub skip: bool,
}

parameters!(ResidualBlock {
    hat,
    tilde,
    gn1,
    gn2,
    gn3
});

impl<E: Scalar, D: Backend<E>> ResidualBlock<E, D> {
    /// `ẑ = ReLU(GN₁(θ̂ z + b̂))`, the first line of eq. 8.
    pub fn hat<T: AnyTape<E, D>>(&self, z: Matrix<E, D, T>) -> Result<Matrix<E, D, T>> {
        modules::relu(self.gn1.forward(self.hat.forward(z)))
    }

    /// `z̃ = GN₂(θ̃ ẑ + x + b̃)`, the second line of eq. 8.
    pub fn tilde<T: AnyTape<E, D>>(
        &self,
        hat: Matrix<E, D, T>,
        x: Matrix<E, D, T>,
    ) -> Matrix<E, D, T> {
        self.gn2.forward(self.tilde.forward(hat) + x)
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for ResidualBlock<E, D> {
    fn state_dim(&self) -> usize {
        self.hat.outputs()
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.state_dim()]
    }

    fn step<T: AnyTape<E, D>>(
        &self,
        z: Matrix<E, D, T>,
        x: &[Input<E, D, T>],
    ) -> Result<Matrix<E, D, T>> {
        let skipped = self.skip.then(|| z.with_empty_tape());
        let tilde = self.tilde(self.hat(z)?, x[0].value());
        let sum = match skipped {
            Some(z) => tilde + z,
            None => tilde,
        };
        Ok(self.gn3.forward(modules::relu(sum)?))
    }

    fn kernel(&self, x: &[Matrix<E, D>]) -> Option<Arc<dyn Kernel<E>>> {
        let tilde = self.tilde.affine();
        let mut injected = to_host(&x[0]);
        add_to_rows(&mut injected, tilde.bias());
        Some(Arc::new(ResidualKernel {
            hat: self.hat.affine(),
            tilde,
            gn1: kernel::GroupNorm::new(&self.gn1),
            gn2: kernel::GroupNorm::new(&self.gn2),
            gn3: kernel::GroupNorm::new(&self.gn3),
            skip: self.skip,
            injected,
        }))
    }
}

/// The map on slices.
struct ResidualKernel<E> {
    hat: Arc<Affine<E>>,
    tilde: Arc<Affine<E>>,
    gn1: kernel::GroupNorm<E>,
    gn2: kernel::GroupNorm<E>,
    gn3: kernel::GroupNorm<E>,
    skip: bool,
    /// x + b̃.
    injected: Vec<E>,
}

impl<E: Scalar> ResidualKernel<E> {
    /// The tangents of θ̂ z, ẑ, θ̃ ẑ and ReLU(z̃) along v.
    fn tangents(
        &self,
        at: &Linearization<E>,
        v: &[E],
        [first, hat, second, rectified]: [&mut [E]; 4],
    ) {
        let len = v.len();
        self.hat.product(v, first);
        hat.copy_from_slice(first);
        self.gn1.tangent(&at.norm1, hat);
        relu_backward(&at.hat[..len], hat);
        self.tilde.product(hat, second);
        rectified.copy_from_slice(second);
        self.gn2.tangent(&at.norm2, rectified);
        if self.skip {
            add(rectified, v);
        }
        relu_backward(&at.rectified[..len], rectified);
    }

    /// From the cotangents of the value's tangent and of the value to those of θ̃ẑ + x + b̃, in place; adds
    /// the gradients of both normalizations. The tangents of θ̃ẑ and ReLU(z̃) are of no use afterwards.
    fn tangent_backward_norms(
        &self,
        at: &Linearization<E>,
        [second, rectified]: [&mut [E]; 2],
        [p_bar, u_bar]: &mut [&mut [E]; 2],
        [w2, b2, w3, b3]: [&mut ParameterGradient<E>; 4],
    ) {
        let len = p_bar.len();
        self.gn3
            .tangent_backward(&at.norm3, rectified, p_bar, u_bar, w3, b3);
        relu_backward(&at.rectified[..len], p_bar);
        relu_backward(&at.rectified[..len], u_bar);
        self.gn2
            .tangent_backward(&at.norm2, second, p_bar, u_bar, w2, b2);
    }

    /// Takes the cotangents of ẑ's tangent and of ẑ, `p_bar` and `u_bar`, to the parameters of the first line; `first` is the
    /// tangent of θ̂z. What is left in all three is of no use.
    fn tangent_backward_hat(
        &self,
        at: &Linearization<E>,
        v: &[E],
        [first, p_bar, u_bar]: [&mut [E]; 3],
        [weight, bias, w1, b1]: [&mut ParameterGradient<E>; 4],
    ) {
        let len = v.len();
        relu_backward(&at.hat[..len], p_bar);
        relu_backward(&at.hat[..len], u_bar);
        self.gn1
            .tangent_backward(&at.norm1, first, p_bar, u_bar, w1, b1);
        weight.add_product(p_bar, v);
        self.hat
            .parameters_backward(&at.z[..len], u_bar, weight, bias);
    }
}

impl<E: Scalar> Kernel<E> for ResidualKernel<E> {
    fn block(self: Arc<Self>, rows: Range<usize>) -> Box<dyn KernelBlock<E>> {
        let dim = self.hat.bias().len();
        let zeros = || vec![E::zero(); rows.len() * dim];
        Box::new(ResidualBlockRows {
            kernel: self.clone(),
            dim,
            injected: self.injected[rows.start * dim..rows.end * dim].to_vec(),
            upper: zeros(),
            lower: zeros(),
            skipped: if self.skip { zeros() } else { Vec::new() },
            tangents: Vec::new(),
            exact_rows: usize::MAX,
            scratch: Vec::new(),
            at: Linearization::default(),
        })
    }
}

/// The rows of one block: injected input, linearization, scratch memory.
struct ResidualBlockRows<E> {
    kernel: Arc<ResidualKernel<E>>,
    dim: usize,
    injected: Vec<E>,
    upper: Vec<E>,
    lower: Vec<E>,
    skipped: Vec<E>,
    /// Scratch memory for tangents, empty until some are wanted.
    tangents: Vec<E>,
    /// Rows that are not rounded, and scratch memory for those that are.
    exact_rows: usize,
    scratch: Vec<u32>,
    at: Linearization<E>,
}

/// What derivatives need to know of a point; empty until there is one.
#[derive(Default)]
struct Linearization<E> {
    z: Vec<E>,
    /// ẑ.
    hat: Vec<E>,
    /// ReLU(z̃).
    rectified: Vec<E>,
    norm1: Normalized<E>,
    norm2: Normalized<E>,
    norm3: Normalized<E>,
}

impl<E: Scalar> ResidualBlockRows<E> {
    fn make_records(&mut self) {
        let (k, at, len) = (&*self.kernel, &mut self.at, self.injected.len());
        if at.z.is_empty() {
            for rows in [&mut at.z, &mut at.hat, &mut at.rectified] {
                rows.resize(len, E::zero());
            }
            at.norm1 = k.gn1.record(len / self.dim);
            at.norm2 = k.gn2.record(len / self.dim);
            at.norm3 = k.gn3.record(len / self.dim);
        }
    }

    /// Takes the cotangent `u` of the value down to that of θ̂z + b̂, in `lower`, past the skip, in `skipped`; adds the
    /// gradients on the way, if they are wanted, and keeps the cotangent of ẑ, if that is; with neither, rows may be rounded.
    fn backward(
        &mut self,
        u: &[E],
        mut gradients: Option<&mut KernelGradients<E>>,
        kept: Option<&mut Vec<E>>,
    ) {
        let rounds = gradients.is_none() && kept.is_none();
        let exact_rows = if rounds { self.exact_rows } else { usize::MAX };
        let mut parameters = gradients.as_deref_mut().map(|g| &mut g.parameters[..]);
        self.backward_norms(u, parameters.as_deref_mut());
        let (k, at, len) = (&*self.kernel, &self.at, u.len());
        let (upper, lower) = (&self.upper[..len], &mut self.lower[..len]);
        if let Some([_, _, weight, bias, ..]) = &mut parameters {
            k.tilde
                .parameters_backward(&at.hat[..len], upper, weight, bias);
        }

        k.tilde
            .backward_rounded(upper, lower, exact_rows, &mut self.scratch);
        if let Some(kept) = kept {
            kept.clear();
            kept.extend_from_slice(lower);
        }
        if let Some([_, _, _, _, w1, b1, ..]) = &mut parameters {
            // These want the cotangent past the ReLU already, which `backward` passes without leaving it behind.
            relu_backward(&at.hat[..len], lower);
            k.gn1.parameters_backward(&at.norm1, lower, w1, b1);
        }
        k.gn1.backward(&at.norm1, lower, &at.hat, Rectify::After);
        if let Some([weight, bias, ..]) = &mut parameters {
            k.hat.parameters_backward(&at.z[..len], lower, weight, bias);
        }
        if let Some([x]) = gradients.map(|g| &mut g.inputs[..]) {
            add(x, upper);
        }
    }

    /// Takes the cotangent `u` of the value down to that of θ̃ẑ + x + b̃, in `upper`, past the skip, in `skipped`.
    fn backward_norms(&mut self, u: &[E], mut parameters: Option<&mut [ParameterGradient<E>]>) {
        let (k, at, len) = (&*self.kernel, &self.at, u.len());
        let upper = &mut self.upper[..len];
        upper.copy_from_slice(u);
        if let Some([.., w3, b3]) = &mut parameters {
            k.gn3.parameters_backward(&at.norm3, upper, w3, b3);
        }
        k.gn3
            .backward(&at.norm3, upper, &at.rectified, Rectify::Before);
        if k.skip {
            self.skipped[..len].copy_from_slice(upper);
        }
        if let Some([.., w2, b2, _, _]) = &mut parameters {
            k.gn2.parameters_backward(&at.norm2, upper, w2, b2);
        }
        k.gn2.backward(&at.norm2, upper, &[], Rectify::Never);
    }

    /// Takes the cotangent of θ̂z + b̂, in `lower`, and that past the skip to z.
    fn backward_hat(&mut self, out: &mut [E]) {
        let (k, len) = (&*self.kernel, out.len());
        let lower = &self.lower[..len];
        k.hat
            .backward_rounded(lower, out, self.exact_rows, &mut self.scratch);
        if k.skip {
            add(out, &self.skipped);
        }
    }
}

impl<E: Scalar> KernelBlock<E> for ResidualBlockRows<E> {
    fn apply(&mut self, z: &[E], out: &mut [E]) {
        let (k, hat) = (&*self.kernel, &mut self.upper[..z.len()]);
        let (exact_rows, scratch) = (self.exact_rows, &mut self.scratch);
        k.hat.product_rounded(z, hat, exact_rows, scratch);
        k.gn1.forward(hat, k.hat.bias(), Rectify::After);
        k.tilde.product_rounded(hat, out, exact_rows, scratch);
        if k.skip {
            k.gn2.forward(out, &self.injected, Rectify::Never);
            k.gn3.forward(out, z, Rectify::Before);
        } else {
            k.gn2.forward(out, &self.injected, Rectify::After);
            k.gn3.forward(out, &[], Rectify::Never);
        }
    }

    fn linearize(&mut self, z: &[E], out: &mut [E]) {
        self.make_records();
        let (k, at, len) = (&*self.kernel, &mut self.at, z.len());
        at.z[..len].copy_from_slice(z);
        let (hat, exact_rows, scratch) = (&mut at.hat[..len], self.exact_rows, &mut self.scratch);
        k.hat.product_rounded(z, hat, exact_rows, scratch);
        k.gn1
            .forward_recorded(hat, k.hat.bias(), Rectify::After, &mut at.norm1);
        k.tilde.product_rounded(hat, out, exact_rows, scratch);
        let rectify = if k.skip {
            Rectify::Never
        } else {
            Rectify::After
        };
        k.gn2
            .forward_recorded(out, &self.injected, rectify, &mut at.norm2);
        if k.skip {
            add(out, z);
            relu(out);
        }
        at.rectified[..len].copy_from_slice(out);
        k.gn3
            .forward_recorded(out, &[], Rectify::Never, &mut at.norm3);
    }

    fn jvp(&mut self, v: &[E], out: &mut [E]) -> bool {
        let (k, at) = (&*self.kernel, &self.at);
        let [first, hat, second] = parts(&mut self.tangents, v.len());
        k.tangents(at, v, [first, hat, second, out]);
        k.gn3.tangent(&at.norm3, out);
        true
    }

    fn vjp(&mut self, u: &[E], out: &mut [E]) {
        self.backward(u, None, None);
        self.backward_hat(out);
    }

    fn vjp_keeping(&mut self, u: &[E], out: &mut [E], kept: &mut Vec<E>) {
        self.backward(u, None, Some(kept));
        self.backward_hat(out);
    }

    fn pull_back(&mut self, u: &[E], gradients: &mut KernelGradients<E>) {
        self.backward(u, Some(gradients), None);
    }

    fn pull_back_tangent(
        &mut self,
        u: &[E],
        p: &[E],
        v: &[E],
        kept: &[E],
        gradients: &mut KernelGradients<E>,
    ) -> bool {
        let (k, at, len) = (&*self.kernel, &self.at, u.len());
        let [first, hat, second, third] = parts(&mut self.tangents, len);
        k.tangents(at, v, [first, hat, second, third]);

        let [w_hat, b_hat, w_tilde, b_tilde, w1, b1, w2, b2, w3, b3] =
            &mut gradients.parameters[..]
        else {
            return true;
        };
        // The cotangents of these tangents, and of what they are the tangents of.
        let mut bars = [&mut self.upper[..len], &mut self.lower[..len]];
        bars[0].copy_from_slice(p);
        bars[1].copy_from_slice(u);
        k.tangent_backward_norms(at, [second, third], &mut bars, [w2, b2, w3, b3]);
        let [p_bar, u_bar] = bars;
        w_tilde.add_product(p_bar, hat);
        k.tilde
            .parameters_backward(&at.hat[..len], u_bar, w_tilde, b_tilde);
        if let [x] = &mut gradients.inputs[..] {
            add(x, u_bar);
        }
        match kept {
            [] => k.tilde.backward(p_bar, second),
            kept => second.copy_from_slice(kept),
        }
        k.tilde.backward(u_bar, third);
        k.tangent_backward_hat(at, v, [first, second, third], [w_hat, b_hat, w1, b1]);
        true
    }

    fn allow_rounding(&mut self, from: usize) -> bool {
        self.exact_rows = from;
        self.kernel.hat.rounds()
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        let at = &mut self.at;
        for rows in [
            &mut self.injected,
            &mut at.z,
            &mut at.hat,
            &mut at.rectified,
        ] {
            swap_rows(rows, self.dim, a, b);
        }
        at.norm1.swap_rows(&self.kernel.gn1, a, b);
        at.norm2.swap_rows(&self.kernel.gn2, a, b);
        at.norm3.swap_rows(&self.kernel.gn3, a, b);
    }
}
