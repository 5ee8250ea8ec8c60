//! The network of a golden file.

use dfdx::prelude::Cpu;
use equilibria_core::parameters::join;
use equilibria_core::{registry, Matrix, Parameters};
use equilibria_fusion::detection::{Outputs, Tower, TowerSizes};
use equilibria_fusion::layers::Initializer;
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
    /// On the cues of the image.
    pub image: SharedMlp<f64, Cpu>,
    /// Of the features of points and image.
    pub fusion: Slots<f64, Cpu>,
    /// One for each of [`TOWERS`].
    pub tower: Vec<Tower<f64, Cpu>>,
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
        let mut network = Self {
            image: SharedMlp::biased(&image, init)?,
            fusion,
            tower,
            outputs,
        };
        restore(&case.golden, &mut network)?;
        Ok(network)
    }
}

impl Parameters<f64, Cpu> for Network {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {
        self.image.visit(&join(path, "image"), visitor);
        self.fusion.visit(&join(path, "fusion"), visitor);
        for (name, tower) in TOWERS.iter().zip(&self.tower) {
            tower.visit(&join(path, name), visitor);
        }
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {
        self.image.visit_mut(&join(path, "image"), visitor);
        self.fusion.visit_mut(&join(path, "fusion"), visitor);
        for (name, tower) in TOWERS.iter().zip(&mut self.tower) {
            tower.visit_mut(&join(path, name), visitor);
        }
    }

    fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
        self.image.visit_statistics(&join(path, "image"), visitor);
        self.fusion.visit_statistics(&join(path, "fusion"), visitor);
        for (name, tower) in TOWERS.iter().zip(&self.tower) {
            tower.visit_statistics(&join(path, name), visitor);
        }
    }
}
