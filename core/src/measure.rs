//! Measures of errors, which never hide a NaN.

/// ‖a − b‖₂ / ‖b‖₂; 0 if both are 0 or empty, NaN if a number is not finite or the lengths differ.
pub fn relative_difference(a: &[f64], b: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    if a.len() != b.len() {
        return f64::NAN;
    }
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    let scale = norm(&mut b.iter().copied());
    if difference == 0.0 && scale == 0.0 {
        return 0.0;
    }
    let ratio = difference / scale;
    if ratio.is_finite() || scale == 0.0 {
        ratio
    } else {
        f64::NAN
    }
}

/// The larger of two errors; NaN if one is: [`f64::max`] would forget it.
pub fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp)] // exact by construction
    fn differences_are_relative_and_never_hide_nan() {
        assert_eq!(relative_difference(&[3.0, 4.5], &[3.0, 4.0]), 0.1);
        assert_eq!(relative_difference(&[0.0], &[0.0]), 0.0);
        assert_eq!(relative_difference(&[1.0], &[0.0]), f64::INFINITY);
        assert!(relative_difference(&[f64::NAN], &[1.0]).is_nan());
        assert!(relative_difference(&[1.0], &[1.0, 2.0]).is_nan());
        assert!(worse(worse(0.0, f64::NAN), 1.0).is_nan());
    }
}
