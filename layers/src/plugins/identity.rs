//! The identity on the injected input.

use std::ops::Range;
use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::kernel::swap_rows;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, AnyLayer};

use crate::kernel::add;
use crate::{LayerConfig, LayerRequest, Layers};

plugin! {
    /// The layer f(z; x) = x: its equilibrium is the injected input itself.
    ///
    /// No parameters, and nothing to solve. As f_θ of DEQ fusion it takes the modality projections away, z_i* = x_i
    /// (table 6, third ablation). It takes one injected input as wide as the state.
    ///
    /// Reference: J. Ni et al., Deep Equilibrium Multimodal Fusion, arXiv 2306.16645, part 4.2.
    pub struct IdentityConfig: LayerConfig {}
}

#[typetag::serde(name = "identity")]
impl LayerConfig for IdentityConfig {}

impl Build<Layers> for IdentityConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        let (width, inputs) = (request.state, format!("{:?}", request.inputs));
        let fits = request.inputs == [width];
        Error::require(
            fits,
            "identity",
            "inputs",
            "one, as wide as the state",
            inputs,
        )?;
        Ok(AnyLayer::new(Identity { width }))
    }
}

/// `f(z; x) = x`.
#[derive(Clone)]
pub struct Identity {
    /// Width of state and input.
    pub width: usize,
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for Identity {
    fn visit(&self, _: &str, _: &mut dyn FnMut(&str, &Matrix<E, D>)) {}

    fn visit_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {}
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Identity {
    fn state_dim(&self) -> usize {
        self.width
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.width]
    }

    fn step<T: AnyTape<E, D>>(
        &self,
        z: Matrix<E, D, T>,
        x: &[Input<E, D, T>],
    ) -> Result<Matrix<E, D, T>> {
        let ((_, tape), (x, rest)) = (z.split_tape(), x[0].value().split_tape());
        Ok(x.put_tape(tape.merge(rest)))
    }

    fn kernel(&self, x: &[Matrix<E, D>]) -> Option<Arc<dyn Kernel<E>>> {
        Some(Arc::new(IdentityKernel {
            width: self.width,
            x: to_host(&x[0]),
        }))
    }
}

/// The map on slices.
struct IdentityKernel<E> {
    width: usize,
    x: Vec<E>,
}

impl<E: Scalar> Kernel<E> for IdentityKernel<E> {
    fn block(self: Arc<Self>, rows: Range<usize>) -> Box<dyn KernelBlock<E>> {
        Box::new(IdentityRows {
            width: self.width,
            x: self.x[rows.start * self.width..rows.end * self.width].to_vec(),
        })
    }
}

/// The rows of one block.
struct IdentityRows<E> {
    width: usize,
    x: Vec<E>,
}

impl<E: Scalar> KernelBlock<E> for IdentityRows<E> {
    fn apply(&mut self, z: &[E], out: &mut [E]) {
        out.copy_from_slice(&self.x[..z.len()]);
    }

    fn linearize(&mut self, z: &[E], out: &mut [E]) {
        self.apply(z, out);
    }

    fn jvp(&mut self, _: &[E], out: &mut [E]) -> bool {
        out.fill(E::zero());
        true
    }

    fn vjp(&mut self, _: &[E], out: &mut [E]) {
        out.fill(E::zero());
    }

    fn pull_back(&mut self, u: &[E], gradients: &mut KernelGradients<E>) {
        if let [x] = &mut gradients.inputs[..] {
            add(x, u);
        }
    }

    fn pull_back_tangent(
        &mut self,
        u: &[E],
        _p: &[E],
        _v: &[E],
        _kept: &[E],
        gradients: &mut KernelGradients<E>,
    ) -> bool {
        self.pull_back(u, gradients);
        true
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        swap_rows(&mut self.x, self.width, a, b);
    }
}
