//! A small data set and a configuration that trains on it within a second.

use std::path::Path;

use equilibria_testing::random_values;

/// Everything that is kept from one epoch to the next takes part: averages, validation, warm starts, running means.
pub const CONFIG: &str = r#"
seed = 3
[data]
type = "folder"
[backbone]
type = "mm-dynamics"
hidden = 8
dropout = 0.2
[fusion]
type = "deq"
groups = 2
start = "warm"
layer = { type = "residual-block", groups = 2 }
[[fusion.regularizer]]
type = "jacobian"
[training]
epochs = 60
batch = 16
validation = 0.2
optimizer = { type = "adam", rate = 1e-3 }
average = 0.9
checkpoint = 5
"#;

/// A folder with `config.toml`, and the data in `data`.
#[allow(dead_code)] // some tests have other configurations
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.toml"), CONFIG).expect("a file");
    std::fs::create_dir(folder.path().join("data")).expect("a folder");
    write_data(&folder.path().join("data"));
    folder
}

/// Two modalities of three features, 40 rows, two classes.
pub fn write_data(folder: &Path) {
    for (split, rows) in [("tr", 40), ("te", 10)] {
        for modality in 1..=2 {
            let values = random_values(3 * rows, modality);
            let lines = values
                .chunks(3)
                .map(|row| format!("{},{},{}\n", row[0], row[1], row[2]));
            let name = format!("{modality}_{split}.csv");
            std::fs::write(folder.join(name), lines.collect::<String>()).expect("a file");
        }
        let labels: String = (0..rows).map(|row| format!("{}\n", row % 2)).collect();
        std::fs::write(folder.join(format!("labels_{split}.csv")), labels).expect("a file");
    }
}
