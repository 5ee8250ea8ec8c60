//! Means, deviations and confidence bands over a few runs.

/// 97.5 % quantiles of Student's t distribution for 1, 2, … degrees of freedom.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// That of the normal distribution, for more.
const NORMAL: f64 = 1.960;

/// Mean of some numbers; NaN of none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Their standard deviation, with n − 1 in the denominator; 0 of a single one.
pub fn deviation(values: &[f64]) -> f64 {
    let center = mean(values);
    let squares: f64 = values.iter().map(|x| (x - center) * (x - center)).sum();
    (squares / (values.len().max(2) - 1) as f64).sqrt()
}

/// Half the width of the 95 % confidence interval of the mean; 0 of a single number.
pub fn half_band(values: &[f64]) -> f64 {
    let quantile = values
        .len()
        .checked_sub(2)
        .map_or(0.0, |index| STUDENT.get(index).copied().unwrap_or(NORMAL));
    quantile * deviation(values) / (values.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    /// 1, 2, 3, 4: mean 2.5, squares 2.25 + 0.25 + 0.25 + 2.25 = 5, deviation √(5/3).
    #[test]
    fn hand_computed_values() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_relative_eq!(mean(&values), 2.5);
        assert_relative_eq!(deviation(&values), (5.0_f64 / 3.0).sqrt(), epsilon = 1e-15);
        let expected = 3.182 * (5.0_f64 / 3.0).sqrt() / 2.0;
        assert_relative_eq!(half_band(&values), expected, epsilon = 1e-15);
        assert_relative_eq!(deviation(&[7.0]), 0.0);
        assert_relative_eq!(half_band(&[7.0]), 0.0);
    }
}
