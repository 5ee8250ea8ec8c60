//! How the fusion weighs the modalities.

use super::page::{number, Cell, Page};
use super::RunReport;

/// Writes the gates of every modality; nothing for a fusion that has none.
pub fn write(run: &RunReport<'_>, page: &mut Page) {
    let gates = &run.test.gates;
    if gates.is_empty() {
        return;
    }
    page.heading("Gates");
    page.paragraph(
        "How much of each modality passes: the mean of |α_i| over test rows and entries, where α_i = θ_α (z_fuse + z_i) + b_α \
         at the equilibrium (eq. 9), and the learned factor w_i of its feature in x_fuse (eq. 12).",
    );
    let largest = gates.iter().map(|gate| gate.magnitude).fold(0.0, f64::max);
    let rows: Vec<_> = (gates.iter().zip(run.data.test.modalities()))
        .map(|(gate, (modality, _))| {
            let share = gate.magnitude / largest;
            let magnitude = Cell::bar(number(gate.magnitude), share);
            let cells = vec![magnitude, Cell::new(number(gate.weight))];
            (modality.to_owned(), cells)
        })
        .collect();
    let head = ["modality", "mean |α_i|", "w_i"];
    page.table("Gates of the modalities", &head, &rows);
}
