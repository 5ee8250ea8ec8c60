//! What tests of fusions build.

use dfdx::prelude::*;
use equilibria_core::{Backend, Matrix, Result};
use equilibria_fusion::layers::Initializer;
use equilibria_fusion::{Fusion, FusionConfig, FusionRequest, Fusions};
use equilibria_testing::{perturb, random_matrix};

pub type Array = Matrix<f64, Cpu>;

/// A fusion for so many modalities of such a width.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    pub config: &'a dyn FusionConfig,
    pub modalities: usize,
    pub width: usize,
}

impl Case<'_> {
    pub fn build(&self) -> Result<Box<dyn Fusion<f64, Cpu>>> {
        self.config.validate()?;
        let request = FusionRequest {
            modalities: self.modalities,
            width: self.width,
            widths: &[],
            init: &mut Initializer::new(&Cpu::default(), 3),
        };
        <Cpu as Backend<f64>>::build::<Fusions>(self.config, request)
    }

    /// Parameters none of which is at a special value.
    pub fn parameters(&self) -> Result<Vec<Array>> {
        let named = self.build()?.named().into_iter();
        let mut all: Vec<Array> = named.map(|(_, tensor)| tensor).collect();
        perturb(&mut all, 0.05, 4)?;
        Ok(all)
    }

    /// The fusion with these parameters.
    pub fn with(&self, parameters: &[Array]) -> Result<Box<dyn Fusion<f64, Cpu>>> {
        let (mut fusion, mut parameters) = (self.build()?, parameters.iter());
        fusion.visit_mut("", &mut |_, tensor| {
            if let Some(parameter) = parameters.next() {
                *tensor = parameter.clone();
            }
        });
        Ok(fusion)
    }

    /// Normal features.
    pub fn features(&self, batch: usize) -> Result<Vec<Array>> {
        let seeds = 50..50 + self.modalities as u64;
        seeds
            .map(|seed| random_matrix(&Cpu::default(), (batch, self.width), seed))
            .collect()
    }
}
