//! Where the solves of DEQ fusion start.

use equilibria_core::prelude::*;

use super::learned_start::LearnedStart;
use super::warm_start::WarmStart;
use crate::layers::Initializer;
use crate::pass::Pass;

/// Where solves start, as it stands in a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "equilibria_core::serde", rename_all = "kebab-case")]
pub enum Start {
    /// At 0.
    Zero,
    /// In training, at the last equilibrium of the same sample; see [`WarmStart`].
    Warm,
    /// At a learned linear map of the injected feature; see [`LearnedStart`].
    Learned,
}

/// Where solves start. A start changes the number of steps, not the equilibrium, and receives no gradient from it.
pub enum Starts<E: Scalar, D: Backend<E>> {
    /// At 0.
    Zero,
    /// At the last equilibrium of the same sample.
    Warm(WarmStart<E>),
    /// At a learned map of the injected feature.
    Learned(LearnedStart<E, D>),
}

impl<E: Scalar, D: Backend<E>> Starts<E, D> {
    /// The starts of `parts` states of the given width. `weight` is the factor of the loss of a learned start.
    pub fn new(
        start: Start,
        parts: usize,
        width: usize,
        weight: f64,
        init: &mut Initializer<D>,
    ) -> Result<Self> {
        Ok(match start {
            Start::Zero => Self::Zero,
            Start::Warm => Self::Warm(WarmStart::default()),
            Start::Learned => Self::Learned(LearnedStart::new(parts, width, weight, init)?),
        })
    }

    /// Where state `part`, with the injected feature `x`, starts, `[batch, width]`; `None` for 0.
    pub(super) fn begin(
        &self,
        part: usize,
        x: &Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Option<Matrix<E, D>>> {
        match self {
            Self::Zero => Ok(None),
            Self::Warm(warm) => warm.recall(part, x, pass),
            Self::Learned(learned) => learned.predict(part, x, pass).map(Some),
        }
    }

    /// Learns from the equilibrium `z` of state `part`, whose solve started at `start`.
    pub(super) fn finish(
        &self,
        part: usize,
        start: Option<&Matrix<E, D>>,
        z: &Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<()> {
        match (self, start) {
            (Self::Warm(warm), _) => warm.remember(part, z, pass),
            (Self::Learned(learned), Some(start)) => learned.compare(start, z, pass),
            _ => Ok(()),
        }
    }
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for Starts<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        if let Self::Learned(learned) = self {
            learned.maps.visit(path, visitor);
        }
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        if let Self::Learned(learned) = self {
            learned.maps.visit_mut(path, visitor);
        }
    }
}
