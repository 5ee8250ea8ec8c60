//! The regularization loss of equilibria.

use dfdx::prelude::*;

use super::Equilibrium;
use crate::layer::AnyTape;
use crate::plumbing::blocks::{Partition, Products};
use crate::plumbing::bound::{Bound, LayerJob, Purpose};
use crate::plumbing::gradients::{accumulate, WeightedGradients};
use crate::seed::mix;
use crate::{
    from_host, AnyLayer, Backend, DifferentiableMap, ImplicitLayer, Matrix, Result, Scalar, Slot,
};

impl<L> Equilibrium<L> {
    /// The regularization loss at `z`, `Σ_r weight_r · mean over samples of penalty_r`, a `[1, 1]` matrix on `tape`.
    ///
    /// Its gradient reaches parameters and inputs; `z` is held constant. `seed` fixes the random probes.
    ///
    /// # Shapes
    /// `z`: `[batch, state_dim]`; `x[i]`: `[batch, input_dims[i]]`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a plugin's field out of range, [`Error::Shape`](crate::Error::Shape),
    /// [`Error::NonFinite`](crate::Error::NonFinite) for bad inputs.
    pub fn penalty<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        z: &Matrix<E, D>,
        x: &[Matrix<E, D>],
        tape: T,
        seed: u64,
    ) -> Result<Matrix<E, D, T>>
    where
        L: ImplicitLayer<E, D>,
    {
        self.of_any_layer().penalty_at(z, x, tape, seed)
    }
}

// Compiled once for all layers.
impl<E: Scalar, D: Backend<E>> Equilibrium<AnyLayer<E, D>> {
    fn penalty_at<T: AnyTape<E, D>>(
        &self,
        z: &Matrix<E, D>,
        x: &[Matrix<E, D>],
        tape: T,
        seed: u64,
    ) -> Result<Matrix<E, D, T>> {
        let (mut bound, mut tape) = self.bind(x, tape, Partition::Sizes { together: 1 })?;
        let (all, bounds) = (std::slice::from_ref(self), std::slice::from_mut(&mut bound));
        let given = std::slice::from_ref(z);
        let probes = Probes {
            seeds: &[seed],
            first: 0,
        };
        let penalty = penalize(all, bounds, given, probes)?.swap_remove(0);
        let value = penalty.value.clone();
        if T::OWNS_TAPE {
            tape.add_backward_op(move |gradients| {
                let factors = penalty.factors(gradients)?;
                let flush = |_: &mut dyn DifferentiableMap, _: &mut Vec<Slot>| Ok(());
                let products = Products::Join(&factors);
                let rest = bound.run(Purpose::Differentiate, Vec::new(), products, &flush);
                let all = rest.and_then(|rest| {
                    let rest = std::iter::once((1.0, rest.gradients));
                    accumulate(
                        gradients,
                        bound.by_tensor(rest.chain(penalty.pulled(&factors))),
                    )
                });
                if all.is_err() {
                    bound.poison(gradients);
                }
                Ok(())
            });
        }
        Ok(value.put_tape(tape))
    }
}

/// What random probes depend on.
#[derive(Clone, Copy)]
pub(super) struct Probes<'s> {
    /// One for each equilibrium.
    pub seeds: &'s [u64],
    /// The number of the first row of the batch, where that is a part of another one.
    pub first: usize,
}

/// The penalty of one equilibrium, and what is known of its gradient.
pub(super) struct Penalty<E: Scalar, D: Backend<E>> {
    /// `[1, 1]`.
    pub value: Matrix<E, D>,
    /// What each regularizer counts in it, and what it has pulled back. The rest waits in the blocks of the layer, under
    /// the number of the regularizer.
    terms: Vec<WeightedGradients<E, D>>,
}

/// The penalties of several equilibria, the k-th with the probes of its seed, at the same time: at the first state that is
/// held, or at `z[k]`, which then is.
pub(super) fn penalize<E: Scalar, D: Backend<E>>(
    equilibria: &[Equilibrium<AnyLayer<E, D>>],
    bounds: &mut [Bound<E, D>],
    z: &[Matrix<E, D>],
    probes: Probes<'_>,
) -> Result<Vec<Penalty<E, D>>> {
    let mut sums: Vec<PenaltySum<E, D>> = bounds.iter().map(|_| Default::default()).collect();
    let most = equilibria.iter().map(|e| e.regularizers.len()).max();
    for number in 0..most.unwrap_or(0) {
        let given = if number == 0 { z } else { &[] };
        add_term(equilibria, number, bounds, given, probes, &mut sums)?;
    }
    let penalties = sums.into_iter().zip(bounds);
    let penalty = |((sum, terms), bound): (PenaltySum<E, D>, &mut Bound<E, D>)| {
        let value = from_host(bound.device(), vec![E::of(sum)], (1, 1))?;
        Ok(Penalty { value, terms })
    };
    penalties.map(penalty).collect()
}

/// The value of a penalty as far as it is known, and its [terms](Penalty::terms).
type PenaltySum<E, D> = (f64, Vec<WeightedGradients<E, D>>);

/// Adds the regularizer of this number of every equilibrium that has one, as [`penalize`] does; `given` are the states to be held.
fn add_term<E: Scalar, D: Backend<E>>(
    equilibria: &[Equilibrium<AnyLayer<E, D>>],
    number: usize,
    bounds: &mut [Bound<E, D>],
    given: &[Matrix<E, D>],
    probes: Probes<'_>,
    sums: &mut [PenaltySum<E, D>],
) -> Result<()> {
    let regularizers = equilibria.iter().map(|e| e.regularizers.get(number));
    let first = probes.first;
    let block_jobs: Vec<_> = (regularizers.zip(probes.seeds))
        .map(|(regularizer, &seed)| {
            let (regularizer, seed) = (regularizer?, mix(seed, number as u64));
            let block_job = move |space: &mut dyn DifferentiableMap, slots: &mut Vec<Slot>| {
                space.vectors_mut().number_from(first);
                regularizer.penalty(space, slots[0], seed)
            };
            Some((regularizer.weight(), block_job))
        })
        .collect();
    let (mut jobs, mut owners) = (Vec::new(), Vec::new());
    let all = bounds.iter_mut().zip(sums).zip(&block_jobs).enumerate();
    for (index, ((bound, sum), block_job)) in all {
        let Some((weight, block_job)) = block_job else {
            continue;
        };
        owners.push((sum, weight / bound.batch() as f64));
        jobs.push(LayerJob {
            bound,
            given: given.get(index).cloned().into_iter().collect(),
            products: Products::Wait(number),
            block_job,
        });
    }
    let outputs = Bound::run_each(Purpose::Differentiate, jobs);
    for ((sum, factor), output) in owners.into_iter().zip(outputs) {
        let output = output?;
        sum.0 += factor * output.results.iter().sum::<f64>();
        sum.1.push((factor, output.gradients));
    }
    Ok(())
}

impl<E: Scalar, D: Backend<E>> Penalty<E, D> {
    /// What each regularizer counts in the loss, once the cotangent of the penalty has arrived.
    pub fn factors(
        &self,
        gradients: &mut Gradients<E, D>,
    ) -> std::result::Result<Vec<f64>, D::Err> {
        gradients.try_alloc_for(&self.value)?;
        let cotangent = gradients.get(&self.value).as_vec()[0].wide();
        let factors = self.terms.iter().map(|(factor, _)| cotangent * factor);
        Ok(factors.collect())
    }

    /// What the regularizers have pulled back, each with its factor.
    pub fn pulled(self, factors: &[f64]) -> impl Iterator<Item = WeightedGradients<E, D>> + '_ {
        let gradients = self.terms.into_iter().map(|(_, gradients)| gradients);
        factors.iter().copied().zip(gradients)
    }
}
