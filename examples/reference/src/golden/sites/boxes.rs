//! Overlap of oriented boxes, average precision, and non-maximum suppression.

use equilibria_core::inventory;
use equilibria_fusion::detection::{
    average_precision, mean_average_precision, overlap, suppress, Detected, OrientedBox, True,
};

use super::{Case, Comparer};
use crate::golden::ledger::Ledger;
use crate::Result;

inventory::submit! {
    Comparer { arrays: &["metric.truth", "metric.prediction", "metric.iou", "metric.nms_box"], compare }
}

/// Of values, absolute, as the file states it.
const TOLERANCE: f64 = 1e-11;

/// The overlap from which on a worse box goes, as of the file's reference.
const SUPPRESSION: f64 = 0.25;

/// A row `(scene, class, x, y, z, l, w, h, heading[, score])` in the upright axes of a camera.
struct Row {
    scene: usize,
    class: usize,
    shape: OrientedBox,
    score: f64,
}

fn rows(case: &Case, name: &str) -> Result<Vec<Row>> {
    let columns = case.length(name, 1)?;
    let rows = case.golden.get(name)?.values.chunks_exact(columns.max(1));
    let row = |row: &[f64]| {
        let &[scene, class, x, y, z, l, w, h, heading, ..] = row else {
            let message = format!("array `{name}` must have rows of nine numbers or more");
            return Err(crate::Error::golden(&case.golden.path, message));
        };
        Ok(Row {
            scene: scene as usize,
            class: class as usize,
            shape: OrientedBox::from_camera([x, y, z], [l, w, h], heading),
            score: row.get(9).copied().unwrap_or(0.0),
        })
    };
    rows.map(row).collect()
}

fn compare(case: &Case, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let (truth, predicted) = (
        rows(case, "metric.truth")?,
        rows(case, "metric.prediction")?,
    );
    let corners = truth.iter().flat_map(|row| row.shape.corners());
    let corners: Vec<f64> = corners.flat_map(OrientedBox::to_camera).collect();
    ledger.compare(golden, "metric.truth_corners", &corners, TOLERANCE);
    // Boxes of different scenes do not meet.
    let overlaps = |own: &Row| -> Vec<f64> {
        let each = truth.iter();
        each.map(|other| match own.scene == other.scene {
            true => overlap(&own.shape, &other.shape),
            false => 0.0,
        })
        .collect()
    };
    let overlaps: Vec<f64> = predicted.iter().flat_map(overlaps).collect();
    ledger.compare(golden, "metric.iou", &overlaps, TOLERANCE);

    let there: Vec<True> = (truth.iter())
        .map(
            |&Row {
                 scene,
                 class,
                 shape,
                 ..
             }| True {
                scene,
                class,
                shape,
            },
        )
        .collect();
    let detected: Vec<Detected> = (predicted.iter())
        .map(
            |&Row {
                 scene,
                 class,
                 shape,
                 score,
             }| Detected {
                scene,
                class,
                shape,
                score,
            },
        )
        .collect();
    let names: Vec<&String> = golden.arrays.keys().collect();
    for name in names {
        let Some(threshold) = name.strip_prefix("metric.ap_") else {
            continue;
        };
        let Ok(number) = threshold.parse::<f64>() else {
            continue;
        };
        let each = average_precision(&detected, &there, case.length(name, 0)?, number);
        let values: Vec<f64> = each.iter().map(|ap| ap.unwrap_or(0.0)).collect();
        ledger.compare(golden, name, &values, TOLERANCE);
        let mean = mean_average_precision(&each);
        ledger.compare(
            golden,
            &format!("metric.map_{threshold}"),
            &[mean],
            TOLERANCE,
        );
    }

    let boxes = rows(case, "metric.nms_box")?;
    let shapes: Vec<OrientedBox> = boxes.iter().map(|row| row.shape).collect();
    let classes: Vec<usize> = boxes.iter().map(|row| row.class).collect();
    let scores: Vec<f64> = boxes.iter().map(|row| row.score).collect();
    let kept = suppress(&shapes, &classes, &scores, SUPPRESSION);
    let kept: Vec<f64> = kept.into_iter().map(|number| number as f64).collect();
    ledger.compare(golden, "metric.nms_kept", &kept, 0.0);
    for name in ["metric.truth", "metric.prediction", "metric.nms_box"] {
        ledger.input(golden, name);
    }
    Ok(())
}
