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
