//! Configurations.
#![no_main]

use equilibria_fusion::Experiment;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(experiment) = toml::from_str::<Experiment>(text) {
        let _ = experiment.validate();
    }
});
