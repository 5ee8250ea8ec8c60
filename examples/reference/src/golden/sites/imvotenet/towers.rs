//! The network of a golden file.

use dfdx::prelude::Cpu;
use equilibria_core::parameters::join;
use equilibria_core::{registry, Matrix, Parameters};
use equilibria_fusion::backbones::imvotenet::ImVoteNet;
use equilibria_fusion::detection::{BoxCoding, Detector, Outputs, ProposalRows, Tower, TowerSizes};
use equilibria_fusion::layers::Initializer;
use equilibria_fusion::model::BackboneRequest;
use equilibria_fusion::points::{Sampling, SharedMlp};
use equilibria_fusion::{Filled, FusionConfig, Slot, Slots};
use serde_json::json;

use crate::golden::network::restore;
use crate::golden::site::deq;
use crate::golden::sites::Case;
use crate::{Error, Result};

/// Names of the towers, in their order.
pub const TOWERS: [&str; 3] = ["image", "point", "joint"];

/// What comes after the point backbone.
pub struct Network {
    /// The detector that is trained, with one tower for each of [`TOWERS`]; its points are not in the file.
    pub detector: Detector<f64, Cpu>,
    /// Of the features of points and image.
    pub fusion: Slots<f64, Cpu>,
    /// What each says of a proposal.
    pub outputs: Outputs,
}

impl Network {
    /// With the sizes and parameters of a file.
    pub fn read(case: &Case) -> Result<Self> {
        let init = &mut Initializer::new(&Cpu::default(), 1);
        let width = |name: &str, axis: usize| case.length(&format!("param.{name}.weight"), axis);
        let image = [
            width("image.1", 1)?,
            width("image.1", 0)?,
            width("image.2", 0)?,
        ];
        let solved = case.golden.has("param.fusion.fuse.w");
        let config = match solved {
            true => deq([case.size("groups")?, 1]),
            false => json!({ "type": "concat" }),
        };
        let config = registry::make::<dyn FusionConfig>(&config)?;
        let widths = [width("point.vote.1", 1)?, image[2]];
        let fusion = Slots(vec![Filled::new(
            Slot::new("joint", widths),
            &*config,
            init,
        )?]);
        let outputs = Outputs {
            headings: case.size("heading_bins")?,
            sizes: case.size("size_clusters")?,
            classes: case.size("classes")?,
        };
        let radius = case.config["radius"].as_f64().ok_or_else(|| {
            let message = "metadata.json must have a number `config.radius` for it";
            Error::golden(&case.golden.path, message)
        })?;
        let mut tower = Vec::new();
        for name in TOWERS {
            let sizes = TowerSizes {
                seeds: width(&format!("{name}.vote.1"), 1)?,
                vote: width(&format!("{name}.vote.1"), 0)?,
                sampling: Sampling {
                    centers: case.length(&format!("mid.{name}.aggregated_index"), 1)?,
                    radius,
                    neighbors: case.size("group")?,
                },
                hidden: width(&format!("{name}.group.1"), 0)?,
                outputs,
            };
            tower.push(Tower::new(sizes, init)?);
        }
        let sizes = ImVoteNet {
            width: image[2],
            kept: 1,
            ..ImVoteNet::default()
        };
        let proposals = ProposalRows {
            proposals: case.length("mid.joint.aggregated_index", 1)?,
            coding: BoxCoding {
                headings: outputs.headings,
                mean_sizes: vec![[1.0; 3]; outputs.sizes],
            },
        };
        let mut slot = |_: Slot, _: &mut Initializer<Cpu>| Ok(fusion.output_dim());
        let request = BackboneRequest {
            modalities: &[4, 22],
            classes: outputs.classes,
            proposals: Some(&proposals),
            init,
            slot: &mut slot,
        };
        // The file has other classes than it has sizes, and narrower networks: its own take the place of those that were made.
        let mut detector = Detector::new(&sizes, request)?;
        detector.image = vec![SharedMlp::biased(&image, init)?];
        detector.tower = tower;
        let mut network = Self {
            detector,
            fusion,
            outputs,
        };
        restore(&case.golden, &mut network)?;
        Ok(network)
    }

    /// On the cues of the image.
    pub fn image(&self) -> Result<&SharedMlp<f64, Cpu>> {
        let missing = || equilibria_core::Error::Missing {
            what: "the network on the image".to_owned(),
            remedy: "make the detector of two modalities",
        };
        Ok(self.detector.image.first().ok_or_else(missing)?)
    }
}

impl Parameters<f64, Cpu> for Network {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {
        for image in &self.detector.image {
            image.visit(&join(path, "image"), visitor);
        }
        self.fusion.visit(&join(path, "fusion"), visitor);
        for (name, tower) in TOWERS.iter().zip(&self.detector.tower) {
            tower.visit(&join(path, name), visitor);
        }
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {
        for image in &mut self.detector.image {
            image.visit_mut(&join(path, "image"), visitor);
        }
        self.fusion.visit_mut(&join(path, "fusion"), visitor);
        for (name, tower) in TOWERS.iter().zip(&mut self.detector.tower) {
            tower.visit_mut(&join(path, name), visitor);
        }
    }

    fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
        for image in &self.detector.image {
            image.visit_statistics(&join(path, "image"), visitor);
        }
        self.fusion.visit_statistics(&join(path, "fusion"), visitor);
        for (name, tower) in TOWERS.iter().zip(&self.detector.tower) {
            tower.visit_statistics(&join(path, name), visitor);
        }
    }
}
