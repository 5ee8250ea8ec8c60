//! Files of arrays that a description lists with their shapes.

use equilibria_testing::random_values;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

/// Numbers of a file at most: more of them make runs slow, and nothing else.
const MOST_NUMBERS: usize = 1 << 14;

/// The bytes of a safetensors file with the arrays of `"arrays": {"NAME": [2, 5], …}`, numbers of order 1; `None` where that is not what
/// the description has, or where there are too many.
pub fn described(description: &Value) -> Option<Vec<u8>> {
    let (mut arrays, mut sum) = (Vec::new(), 0usize);
    for (seed, (name, shape)) in (0..).zip(description["arrays"].as_object()?) {
        let axes = shape.as_array()?.iter();
        let axes = axes.map(|axis| usize::try_from(axis.as_u64()?).ok());
        let shape = axes.collect::<Option<Vec<usize>>>()?;
        let count = (shape.iter()).try_fold(1usize, |all, &axis| all.checked_mul(axis))?;
        sum = sum.checked_add(count)?;
        if sum > MOST_NUMBERS {
            return None;
        }
        let values = random_values(count, seed).into_iter();
        let bytes: Vec<u8> = values.flat_map(|v| (0.3 * v).to_le_bytes()).collect();
        arrays.push((name, shape, bytes));
    }
    let views = arrays.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F64, shape.clone(), bytes);
        Some((name.as_str(), view.ok()?))
    });
    safetensors::serialize(views.collect::<Option<Vec<_>>>()?, None).ok()
}
