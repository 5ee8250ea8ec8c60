//! Both state spaces of the joint layer, and wrappers that look into them.

use dfdx::prelude::*;
use equilibria_core::space::{SliceSpace, TensorSpace};
use equilibria_core::{
    to_host, Coef, DifferentiableSpace, ImplicitLayer, KernelGradients, Parameters, Result, Slot,
    StateSpace,
};

use super::subject::Subject;

/// What a job computed in one space, and what it pulled back: parameters, then inputs.
pub struct Outcome<R> {
    pub result: R,
    pub gradients: Vec<Vec<f64>>,
}

/// Runs a job in the slice space and in the tensor space of the joint layer.
pub fn in_both<R>(
    subject: &Subject,
    job: impl Fn(&mut dyn DifferentiableSpace) -> Result<R>,
) -> crate::error::Result<Vec<Outcome<R>>> {
    let (layer, inputs) = (subject.joint(), subject.joint_inputs()?);
    let (batch, dim) = (subject.config.batch, subject.config.joint_dim());
    let mut outcomes = Vec::new();

    if let Some(kernel) = layer.kernel(&inputs) {
        let zeros = |tensor: &equilibria_core::Matrix<f64, Cpu>| {
            vec![0.0; tensor.shape().0 * tensor.shape().1]
        };
        let gradients = KernelGradients {
            parameters: layer
                .named()
                .iter()
                .map(|(_, tensor)| zeros(tensor))
                .collect(),
            inputs: inputs.iter().map(zeros).collect(),
        };
        let mut space = SliceSpace::new(kernel.block(0..batch), dim, 0..batch, gradients);
        let result = job(&mut space)?;
        let KernelGradients { parameters, inputs } = space.into_gradients();
        outcomes.push(Outcome {
            result,
            gradients: [parameters, inputs].concat(),
        });
    }

    let mut space = TensorSpace::new(&layer, Cpu::default(), &inputs, batch);
    let result = job(&mut space)?;
    let gradients = space.into_gradients();
    let gradients = gradients.parameters.into_iter().chain(gradients.inputs);
    outcomes.push(Outcome {
        result,
        gradients: gradients
            .map(|g| g.map_or_else(Vec::new, |g| to_host(&g)))
            .collect(),
    });
    Ok(outcomes)
}

/// Every call of f in a solve.
#[derive(Default)]
pub struct Calls {
    /// Arguments, call after call.
    pub x: Vec<f64>,
    /// Values.
    pub f: Vec<f64>,
}

/// Records every call of f.
pub struct Recording<'s> {
    inner: &'s mut dyn StateSpace,
    calls: Calls,
}

impl<'s> Recording<'s> {
    /// Watches `inner`.
    pub fn new(inner: &'s mut dyn StateSpace) -> Self {
        Self {
            inner,
            calls: Calls::default(),
        }
    }

    /// What was seen.
    pub fn into_calls(self) -> Calls {
        self.calls
    }
}

/// Draws the given probes in place of random ones: the seed is the index.
pub struct GivenProbes<'s> {
    /// The space.
    pub inner: &'s mut dyn DifferentiableSpace,
    /// All probes, `[probes, batch, dim]`.
    pub probes: &'s [f64],
}

/// The operations of [`StateSpace`] that are handed on as they are.
macro_rules! hand_on {
    () => {
        fn batch(&self) -> usize {
            self.inner.batch()
        }
        fn dim(&self) -> usize {
            self.inner.dim()
        }
        fn alloc(&mut self) -> Result<Slot> {
            self.inner.alloc()
        }
        fn release(&mut self, slot: Slot) {
            self.inner.release(slot);
        }
        fn dots(&mut self, a: Slot, bs: &[Slot], out: &mut [f64]) -> Result<()> {
            self.inner.dots(a, bs, out)
        }
        fn combine(&mut self, out: Slot, terms: &[(Coef<'_>, Slot)]) -> Result<()> {
            self.inner.combine(out, terms)
        }
        fn copy_rows(&mut self, from: Slot, to: Slot, rows: &[usize]) -> Result<()> {
            self.inner.copy_rows(from, to, rows)
        }
        fn permute(&mut self, swaps: &[(usize, usize)], batch: usize) -> Result<()> {
            self.inner.permute(swaps, batch)
        }
        fn write(&mut self, slot: Slot, values: &[f64]) -> Result<()> {
            self.inner.write(slot, values)
        }
        fn read(&mut self, slot: Slot) -> Result<Vec<f64>> {
            self.inner.read(slot)
        }
    };
}

impl StateSpace for Recording<'_> {
    hand_on!();

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        self.inner.apply(z, out)?;
        self.calls.x.extend(self.inner.read(z)?);
        self.calls.f.extend(self.inner.read(out)?);
        Ok(())
    }

    fn fill_normal(&mut self, slot: Slot, seed: u64) -> Result<()> {
        self.inner.fill_normal(slot, seed)
    }
}

impl StateSpace for GivenProbes<'_> {
    hand_on!();

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        self.inner.apply(z, out)
    }

    fn fill_normal(&mut self, slot: Slot, seed: u64) -> Result<()> {
        let size = self.inner.batch() * self.inner.dim();
        self.inner
            .write(slot, &self.probes[seed as usize * size..][..size])
    }
}

impl DifferentiableSpace for GivenProbes<'_> {
    fn linearize(&mut self, z: Slot) -> Result<()> {
        self.inner.linearize(z)
    }

    fn vjp(&mut self, u: Slot, out: Slot) -> Result<()> {
        self.inner.vjp(u, out)
    }

    fn pull_back(&mut self, u: Slot) -> Result<()> {
        self.inner.pull_back(u)
    }
}
