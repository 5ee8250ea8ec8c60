//! The affine-tanh layer.

use std::ops::Range;
use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::kernel::swap_rows;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, AnyLayer};

use crate::kernel::{add, parts, Affine};
use crate::modules::Linear;
use crate::{LayerConfig, LayerRequest, Layers};

plugin! {
    /// The affine-tanh layer, f(z; x) = tanh(W z + U x + b).
    ///
    /// The smallest useful equilibrium: a recurrent cell run to rest. A contraction where ‖W‖₂ < 1, which the default
    /// initialization makes likely: W has independent normal entries of deviation `gain` / √d, so ‖W‖₂ ≈ 2 `gain`.
    /// It takes one injected input of any width.
    ///
    /// Reference: S. Bai, J. Z. Kolter, V. Koltun, Deep Equilibrium Models, NeurIPS 2019, §3 (weight-tied networks).
    pub struct AffineTanhConfig: LayerConfig {
        /// Scale of the initial W, above 0. Dimensionless.
        pub gain: f64 = 0.4,
    }
}

#[typetag::serde(name = "affine-tanh")]
impl LayerConfig for AffineTanhConfig {
    fn validate(&self) -> Result<()> {
        Error::require_positive("affine-tanh", "gain", self.gain)
    }
}

impl Build<Layers> for AffineTanhConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        let (state, inputs) = (request.state, request.inputs);
        let one = format!("{} inputs", inputs.len());
        Error::require(
            inputs.len() == 1,
            "affine-tanh",
            "inputs",
            "one injected input",
            one,
        )?;
        let init = request.init;
        Ok(AnyLayer::new(AffineTanh {
            w: Linear::normal(state, state, self.gain / (state as f64).sqrt(), init)?,
            u: init.xavier_normal(state, inputs[0])?,
        }))
    }
}

/// `f(z; x) = tanh(W z + U x + b)`.
#[derive(Clone)]
pub struct AffineTanh<E: Scalar, D: Backend<E>> {
    /// W, `[dim, dim]`, and b.
    pub w: Linear<E, D>,
    /// U, `[dim, width of x]`.
    pub u: Matrix<E, D>,
}

parameters!(AffineTanh { w, u });

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for AffineTanh<E, D> {
    fn state_dim(&self) -> usize {
        self.w.outputs()
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.u.shape().1]
    }

    fn step<T: AnyTape<E, D>>(
        &self,
        z: Matrix<E, D, T>,
        x: &[Input<E, D, T>],
    ) -> Result<Matrix<E, D, T>> {
        let u = self.u.retaped::<T>().permute::<_, Axes2<1, 0>>();
        let injected = x[0].value().matmul(u);
        Ok((self.w.forward(z) + injected).tanh())
    }

    fn kernel(&self, x: &[Matrix<E, D>]) -> Option<Arc<dyn Kernel<E>>> {
        let w = self.w.affine();
        let u = Affine::new(&self.u, &self.w.bias);
        let x = to_host(&x[0]);
        let mut injected = vec![E::zero(); x.len() / self.u.shape().1 * self.state_dim()];
        u.forward(&x, &mut injected);
        Some(Arc::new(AffineTanhKernel { w, u, x, injected }))
    }
}

/// The map on slices. U x + b is a constant of the solve.
struct AffineTanhKernel<E> {
    w: Arc<Affine<E>>,
    u: Affine<E>,
    x: Vec<E>,
    injected: Vec<E>,
}

impl<E: Scalar> AffineTanhKernel<E> {
    /// Adds the gradients due to the cotangent of the tanh's argument at `(z, x)`.
    fn argument_backward(
        &self,
        (z, x): (&[E], &[E]),
        cotangent: &[E],
        gradients: &mut KernelGradients<E>,
    ) {
        let x = &x[..cotangent.len() / self.w.bias().len() * self.u.inputs()];
        if let [w, b, injection] = &mut gradients.parameters[..] {
            let z = &z[..cotangent.len()];
            self.w.parameters_backward(z, cotangent, w, b);
            injection.add_product(cotangent, x);
        }
        if let [x_bar] = &mut gradients.inputs[..] {
            self.u.backward_add(cotangent, &mut x_bar[..x.len()]);
        }
    }
}

impl<E: Scalar> Kernel<E> for AffineTanhKernel<E> {
    fn block(self: Arc<Self>, rows: Range<usize>) -> Box<dyn KernelBlock<E>> {
        let dim = self.w.bias().len();
        let width = self.x.len() / (self.injected.len() / dim);
        let part = |all: &[E], width| all[rows.start * width..rows.end * width].to_vec();
        Box::new(AffineTanhBlock {
            kernel: self.clone(),
            dim,
            width,
            x: part(&self.x, width),
            injected: part(&self.injected, dim),
            z: vec![E::zero(); rows.len() * dim],
            value: vec![E::zero(); rows.len() * dim],
            cotangent: vec![E::zero(); rows.len() * dim],
            tangents: Vec::new(),
        })
    }
}

struct AffineTanhBlock<E> {
    kernel: Arc<AffineTanhKernel<E>>,
    dim: usize,
    width: usize,
    x: Vec<E>,
    injected: Vec<E>,
    /// The linearization point.
    z: Vec<E>,
    /// f there.
    value: Vec<E>,
    cotangent: Vec<E>,
    /// Scratch memory for [`pull_back_tangent`](KernelBlock::pull_back_tangent), empty until then.
    tangents: Vec<E>,
}

impl<E: Scalar> AffineTanhBlock<E> {
    /// The cotangent of the tanh's argument, from that of its value.
    fn before_tanh(&mut self, u: &[E]) {
        for ((c, &u), &value) in self.cotangent.iter_mut().zip(u).zip(&self.value) {
            *c = u * (E::one() - value * value);
        }
    }
}

impl<E: Scalar> KernelBlock<E> for AffineTanhBlock<E> {
    fn apply(&mut self, z: &[E], out: &mut [E]) {
        self.kernel.w.product(z, out);
        add(out, &self.injected);
        out.iter_mut().for_each(|out| *out = out.tanh());
    }

    fn linearize(&mut self, z: &[E], out: &mut [E]) {
        self.z[..z.len()].copy_from_slice(z);
        self.apply(z, out);
        self.value[..z.len()].copy_from_slice(out);
    }

    fn jvp(&mut self, v: &[E], out: &mut [E]) -> bool {
        self.kernel.w.product(v, out);
        for (out, &value) in out.iter_mut().zip(&self.value) {
            *out *= E::one() - value * value;
        }
        true
    }

    fn vjp(&mut self, u: &[E], out: &mut [E]) {
        self.before_tanh(u);
        self.kernel.w.backward(&self.cotangent[..u.len()], out);
    }

    fn pull_back(&mut self, u: &[E], gradients: &mut KernelGradients<E>) {
        self.before_tanh(u);
        let cotangent = &self.cotangent[..u.len()];
        let point = (&self.z[..], &self.x[..]);
        self.kernel.argument_backward(point, cotangent, gradients);
    }

    fn pull_back_tangent(
        &mut self,
        u: &[E],
        p: &[E],
        v: &[E],
        _kept: &[E],
        gradients: &mut KernelGradients<E>,
    ) -> bool {
        let (k, len) = (&*self.kernel, u.len());
        let [p_bar, u_bar] = parts(&mut self.tangents, len);
        k.w.product(v, u_bar);
        // The slope of the tanh is 1 − f², and that of the slope −2 f (1 − f²).
        let cotangents = p_bar.iter_mut().zip(&mut *u_bar).zip(p.iter().zip(u));
        for (((p_bar, u_bar), (&p, &u)), &value) in cotangents.zip(&self.value) {
            *p_bar = p * (E::one() - value * value);
            let twice = value + value;
            *u_bar = u * (E::one() - value * value) - twice * *p_bar * *u_bar;
        }
        if let [w, ..] = &mut gradients.parameters[..] {
            w.add_product(p_bar, v);
        }
        let point = (&self.z[..], &self.x[..]);
        k.argument_backward(point, u_bar, gradients);
        true
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        swap_rows(&mut self.x, self.width, a, b);
        for rows in [&mut self.injected, &mut self.z, &mut self.value] {
            swap_rows(rows, self.dim, a, b);
        }
    }
}
