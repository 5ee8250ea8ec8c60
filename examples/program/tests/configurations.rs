//! The configurations that come with the repository.

use std::path::Path;

use equilibria_digits as _;
use equilibria_fusion::Experiment;

#[test]
fn every_configuration_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("a file").path();
        let name = path.display();
        let text = std::fs::read_to_string(&path).expect("a text");
        let experiment = toml::from_str::<Experiment>(&text);
        let experiment = experiment.unwrap_or_else(|error| panic!("{name}: {error}"));
        let valid = experiment.validate();
        valid.unwrap_or_else(|error| panic!("{name}: {error}"));
        count += 1;
    }
    assert!(count > 10, "{count}");
}
