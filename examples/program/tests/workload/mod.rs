//! A small workload for `bench`.

use std::collections::HashMap;
use std::path::Path;

use equilibria_testing::random_values;
use safetensors::tensor::TensorView;
use safetensors::Dtype;

const BATCH: usize = 5;
const WIDTH: usize = 8;
const MODALITIES: usize = 2;

/// Writes a small workload; `without` leaves out one of its arrays.
pub fn write(path: &Path, without: &str) {
    let mut arrays: Vec<(String, Vec<usize>)> = Vec::new();
    let matrix = vec![WIDTH, WIDTH];
    for i in 1..=MODALITIES {
        arrays.push((format!("input.x.{i}"), vec![BATCH, WIDTH]));
        for linear in ["hat", "tilde"] {
            let name = format!("param.theta.{i}.{linear}");
            arrays.push((format!("{name}.weight"), matrix.clone()));
            arrays.push((format!("{name}.bias"), vec![WIDTH]));
        }
        for norm in ["gn1", "gn2", "gn3"] {
            for part in ["weight", "bias"] {
                arrays.push((format!("param.theta.{i}.{norm}.{part}"), vec![WIDTH]));
            }
        }
    }
    for linear in ["alpha", "fuse"] {
        arrays.push((format!("param.fuse.{linear}.weight"), matrix.clone()));
        arrays.push((format!("param.fuse.{linear}.bias"), vec![WIDTH]));
    }
    for part in ["weight", "bias"] {
        arrays.push((format!("param.fuse.gn.{part}"), vec![WIDTH]));
    }
    arrays.push(("param.fuse.w".to_owned(), vec![MODALITIES]));
    arrays.push(("target".to_owned(), vec![BATCH, WIDTH]));
    arrays.retain(|(name, _)| name != without);

    let bytes: Vec<Vec<u8>> = (arrays.iter().enumerate())
        .map(|(seed, (name, shape))| {
            let scale = if name.ends_with("weight") { 0.15 } else { 1.0 };
            let values = random_values(shape.iter().product(), seed as u64);
            let values = values.iter().map(|value| (scale * value) as f32);
            values.flat_map(f32::to_le_bytes).collect()
        })
        .collect();
    let views = arrays.iter().zip(&bytes).map(|((name, shape), bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name.clone(), view.expect("as many bytes as numbers"))
    });
    let sizes = [
        ("batch", BATCH),
        ("width", WIDTH),
        ("modalities", MODALITIES),
        ("groups", 2),
    ];
    let header: HashMap<String, String> = (sizes.iter())
        .map(|(key, size)| ((*key).to_owned(), size.to_string()))
        .collect();
    let views: Vec<_> = views.collect();
    safetensors::serialize_to_file(views, Some(header), path).expect("a file");
}
