//! Multimodal models: DEQ fusion and its alternatives, backbones, data sets, training.
//!
//! A new file in `src/fusions`, `src/backbones`, `src/heads` or `src/sources` is a new plugin; nothing else is edited.

#[doc(hidden)]
pub use equilibria_layers as layers;
#[doc(hidden)]
pub use equilibria_layers::{core, solvers};

pub mod checkpoint;
pub mod data;
pub mod deq;
pub mod detection;
mod dtype;
pub mod experiment;
pub mod head;
pub mod loss;
pub mod metrics;
pub mod model;
pub mod part;
pub mod pass;
pub mod points;
pub mod predict;
pub mod progress;
pub mod ranks;
pub mod slot;
pub mod standardization;
pub mod train;

/// Fusions: from one feature per modality to one feature.
pub mod fusions {
    automod::dir!(pub "src/fusions");
}

/// Backbones: from raw modalities to one feature each.
pub mod backbones {
    automod::dir!(pub "src/backbones");
}

/// Heads: what the outputs of a model mean.
pub mod heads {
    automod::dir!(pub "src/heads");
}

/// Where data comes from.
pub mod sources {
    automod::dir!(pub "src/sources");
}

pub use experiment::{Dtype, Experiment, Training};
pub use head::{head, Head, Losses};
pub use model::{
    backbone, data, fusion, Backbone, BackboneConfig, BackboneRequest, Backbones, DataSource,
    Fusion, FusionConfig, FusionRequest, Fusions, Inner, Model,
};
pub use pass::{Pass, Solve};
pub use slot::{FillSlot, Filled, Slot, Slots};
pub use standardization::Standardization;
