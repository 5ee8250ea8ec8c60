//! DEQ fusion: the equilibria of all modalities and of the fused state, on the tape of a pass.

use equilibria_core::parameters::join;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, AnyLayer, Equilibrium};

use super::convergence::solver_differences;
use super::masks::side_by_side;
use super::{FuseBlock, JointLayer, Starts};
use crate::fusions::deq::Schedule;
use crate::fusions::weighted_sum::weighted_sum;
use crate::layers::modules::columns;
use crate::layers::{stabilize, Masked, Stabilizer};
use crate::model::Fusion;
use crate::pass::{Gate, Pass};

/// The parameters of DEQ fusion and the plugins that solve it.
pub struct DeqFusion<E: Scalar, D: Backend<E>> {
    /// f_θ of each modality.
    pub theta: Vec<AnyLayer<E, D>>,
    /// f_fuse.
    pub fuse: FuseBlock<E, D>,
    /// w_i of eq. 12, `[1, N]`.
    pub w: Matrix<E, D>,
    /// How the system is solved.
    pub schedule: Schedule,
    /// Whether the fused state is the equilibrium of f_fuse; otherwise it is Σ_i z_i*, and f_fuse and w are not used.
    pub solves_fuse: bool,
    /// Solver, stop, backward strategy and regularizers, for whichever layer.
    pub plugins: Equilibrium<()>,
    /// Probability that an entry of a modality state is dropped inside f_θ in training, in [0, 1).
    pub dropout: f64,
    /// What keeps the matrices of every f_θ and of f_fuse small, in this order.
    pub stabilizers: Vec<Box<dyn Stabilizer<E, D>>>,
    /// Where solves start.
    pub starts: Starts<E, D>,
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for DeqFusion<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        self.theta.visit(&join(path, "theta"), visitor);
        if self.solves_fuse {
            self.fuse.visit(&join(path, "fuse"), visitor);
            self.w.visit(&join(path, "fuse.w"), visitor);
        }
        self.starts.visit(&join(path, "start"), visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        self.theta.visit_mut(&join(path, "theta"), visitor);
        if self.solves_fuse {
            self.fuse.visit_mut(&join(path, "fuse"), visitor);
            self.w.visit_mut(&join(path, "fuse.w"), visitor);
        }
        self.starts.visit_mut(&join(path, "start"), visitor);
    }

    fn project(&mut self) -> Result<()> {
        self.theta.project()
    }
}

impl<E: Scalar, D: Backend<E>> DeqFusion<E, D> {
    /// The plain fusion: no dropout, no stabilizers, solves that start at 0.
    pub fn new(
        theta: Vec<AnyLayer<E, D>>,
        fuse: FuseBlock<E, D>,
        w: Matrix<E, D>,
        schedule: Schedule,
        plugins: Equilibrium<()>,
    ) -> Self {
        Self {
            theta,
            fuse,
            w,
            schedule,
            solves_fuse: true,
            plugins,
            dropout: 0.0,
            stabilizers: Vec::new(),
            starts: Starts::Zero,
        }
    }

    /// The joint layer over the same parameters.
    pub fn joint(&self) -> JointLayer<E, D> {
        JointLayer {
            theta: self.theta.clone(),
            fuse: self.fuse.clone(),
        }
    }

    /// The equilibrium `z_1*, …, z_N*, z_fuse*` of eq. 14, each `[batch, width]`.
    ///
    /// `x_fuse` is a variable of its own here: for x_fuse = Σ_i w_i x_i, compute it in the same pass.
    pub fn states(
        &self,
        x: &[Matrix<E, D>],
        x_fuse: Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        if x.len() != self.theta.len() {
            return Err(Error::Shape {
                what: "the features".to_owned(),
                expected: format!("{} matrices, one per modality", self.theta.len()),
                got: format!("{}", x.len()),
            });
        }
        // The solves and their penalties see the effective parameters; the tape leads on to the raw ones.
        let layer = pass.lend(|tape| stabilize(&self.joint(), &self.stabilizers, tape))?;
        let states = match self.schedule {
            Schedule::Sequential => self.solve_in_turn(&layer, x, x_fuse, pass),
            Schedule::Joint => self.solve_jointly(&layer, x, x_fuse, pass),
        }?;
        if pass.inspect && self.solves_fuse && self.fuse.gate {
            pass.gates = self.gates(&layer.fuse, &states);
        }
        Ok(states)
    }

    /// The gates of `fuse`, stabilized, at the equilibrium `z_1*, …, z_N*, z_fuse*`.
    fn gates(&self, fuse: &FuseBlock<E, D>, states: &[Matrix<E, D>]) -> Vec<Gate> {
        let Some((z_fuse, z)) = states.split_last() else {
            return Vec::new();
        };
        let gate = |(z_i, weight): (&Matrix<E, D>, E)| {
            let [z_fuse, z_i] = [z_fuse, z_i].map(|z| Value::plain(z.clone()));
            let alpha = fuse.alpha(&z_fuse, &z_i).into_matrix();
            let alpha = alpha.map_or_else(|_| Vec::new(), |alpha| to_host(&alpha));
            let sum: f64 = alpha.iter().map(|alpha| alpha.wide().abs()).sum();
            Gate {
                magnitude: sum / alpha.len().max(1) as f64,
                weight: weight.wide(),
            }
        };
        z.iter().zip(to_host(&self.w)).map(gate).collect()
    }

    fn solve_jointly(
        &self,
        layer: &JointLayer<E, D>,
        x: &[Matrix<E, D>],
        x_fuse: Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        let d = self.output_dim();
        let mask = self.joint_mask(x, &x_fuse, pass)?;
        let inputs = [x, &[x_fuse]].concat();
        let starts = self.begin(&inputs, pass)?;
        let start: Option<Vec<_>> = starts.iter().cloned().collect();
        let start = start.and_then(side_by_side);
        let (name, share) = ("joint".to_owned(), self.share());
        let z = match mask {
            Some(mask) => {
                let masked = self.equilibrium(name, Masked(layer.clone()));
                pass.solve(&masked, &[&inputs[..], &[mask]].concat(), start, share)?
            }
            None => pass.solve(
                &self.equilibrium(name, layer.clone()),
                &inputs,
                start,
                share,
            )?,
        };
        let mut states = Vec::with_capacity(inputs.len());
        for (index, start) in starts.iter().enumerate() {
            let state = pass.try_run(&z, |z| columns(z, index * d..(index + 1) * d))?;
            self.starts.finish(index, start.as_ref(), &state, pass)?;
            states.push(state);
        }
        if !self.solves_fuse {
            states.truncate(x.len());
            let sum = pass.sum(&states)?;
            states.push(sum);
        }
        Ok(states)
    }

    fn solve_in_turn(
        &self,
        layer: &JointLayer<E, D>,
        x: &[Matrix<E, D>],
        x_fuse: Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        let starts = self.begin(x, pass)?;
        let mut states = self.solve_modalities(layer, x, starts.clone(), pass)?;
        for (index, (start, z)) in starts.iter().zip(&states).enumerate() {
            self.starts.finish(index, start.as_ref(), z, pass)?;
        }
        let sum = pass.sum(&states)?;
        if !self.solves_fuse {
            states.push(sum);
            return Ok(states);
        }
        let start = self.starts.begin(x.len(), &x_fuse, pass)?;
        let inputs = [sum, x_fuse];
        let fuse = self.equilibrium("fuse".to_owned(), layer.fuse.clone());
        let z = pass.solve(&fuse, &inputs, start.clone(), self.share())?;
        self.starts.finish(x.len(), start.as_ref(), &z, pass)?;
        states.push(z);
        Ok(states)
    }

    /// The equilibria `z_1*, …, z_N*` from `starts`.
    fn solve_modalities(
        &self,
        layer: &JointLayer<E, D>,
        x: &[Matrix<E, D>],
        starts: Vec<Option<Matrix<E, D>>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        let names = (1..=x.len()).map(|number| format!("theta.{number}"));
        let theta = names.zip(layer.theta.iter().cloned());
        match self.masks(x, pass)? {
            Some(masks) => {
                let masked = theta.map(|(name, theta)| self.equilibrium(name, Masked(theta)));
                let inputs: Vec<[Matrix<E, D>; 2]> =
                    x.iter().cloned().zip(masks).map(Into::into).collect();
                let inputs: Vec<&[Matrix<E, D>]> = inputs.iter().map(|pair| &pair[..]).collect();
                pass.solve_each(masked.collect(), &inputs, starts, self.share())
            }
            None => {
                let plain = theta.map(|(name, theta)| self.equilibrium(name, theta));
                let inputs: Vec<&[Matrix<E, D>]> = x.chunks(1).collect();
                pass.solve_each(plain.collect(), &inputs, starts, self.share())
            }
        }
    }

    /// Where the solves with the given inputs start.
    fn begin(
        &self,
        x: &[Matrix<E, D>],
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Option<Matrix<E, D>>>> {
        let numbered = x.iter().enumerate();
        numbered
            .map(|(index, x)| self.starts.begin(index, x, pass))
            .collect()
    }

    /// A layer with the plugins, under a name.
    fn equilibrium<L>(&self, name: String, layer: L) -> Equilibrium<L> {
        Equilibrium {
            name,
            ..self.plugins.with_layer(layer)
        }
    }

    /// The share of each equilibrium's penalty: the loss takes their mean.
    fn share(&self) -> f64 {
        match self.schedule {
            Schedule::Sequential => 1.0 / (self.theta.len() + usize::from(self.solves_fuse)) as f64,
            Schedule::Joint => 1.0,
        }
    }
}

impl<E: Scalar, D: Backend<E>> Fusion<E, D> for DeqFusion<E, D> {
    fn output_dim(&self) -> usize {
        self.fuse.state_dim()
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let x_fuse = weighted_sum(&self.w, x, pass)?;
        let mut states = self.states(x, x_fuse, pass)?;
        Ok(states.swap_remove(x.len()))
    }

    fn differences(&self, x: &[Matrix<E, D>], steps: usize) -> Result<Option<Vec<Vec<f64>>>> {
        if !self.solves_fuse {
            return Ok(None);
        }
        let mut pass = Pass::evaluation();
        let layer = pass.lend(|tape| stabilize(&self.joint(), &self.stabilizers, tape))?;
        let inputs = [x, &[weighted_sum(&self.w, x, &mut pass)?]].concat();
        let (d, n) = (self.output_dim(), x.len());
        let joint = self.plugins.with_layer(layer);
        solver_differences(&joint, &inputs, n * d..(n + 1) * d, steps).map(Some)
    }

    fn memory(&self) -> Vec<(String, Vec<E>)> {
        match &self.starts {
            Starts::Warm(warm) => warm.memory(&|_| true),
            _ => Vec::new(),
        }
    }

    fn memory_of(&self, of: &dyn Fn(usize) -> bool) -> Vec<(String, Vec<E>)> {
        match &self.starts {
            Starts::Warm(warm) => warm.memory(of),
            _ => Vec::new(),
        }
    }

    fn remember(&self, name: &str, values: Vec<E>) {
        if let Starts::Warm(warm) = &self.starts {
            warm.restore(name, values);
        }
    }
}
