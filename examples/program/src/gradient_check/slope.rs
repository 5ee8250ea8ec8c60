//! The slope of a function by central differences, and how far it can be trusted.

use crate::error::Result;

/// A slope and a bound of its error.
#[derive(Debug, Clone, Copy)]
pub struct Slope {
    pub value: f64,
    pub error: f64,
}

/// Steps h to try. Values that are accurate to η make differences that are wrong by η / h, truncation is of the order of h²,
/// and a kink is the less likely to lie between the points, the smaller h is.
const STEPS: [f64; 3] = [1e-4, 1e-5, 1e-6];

/// The slope of f at 0, where its value is `middle`, by the first of some steps that makes it accurate enough, else by the
/// one that makes it most accurate; `None` if f has no value beside 0. The error is an estimate, see [`difference`].
pub fn slope(
    middle: f64,
    accuracy: f64,
    mut f: impl FnMut(f64) -> Result<Option<f64>>,
) -> Result<Option<Slope>> {
    let mut best: Option<Slope> = None;
    for h in STEPS {
        let Some(values) = around(h, &mut f)? else {
            continue;
        };
        let slope = difference(middle, values, h);
        if best.is_none_or(|best| slope.error < best.error) {
            best = Some(slope);
        }
        if slope.error <= accuracy {
            break;
        }
    }
    Ok(best)
}

/// The values at −h, −h/2, h/2 and h; `None` if one is missing.
fn around(h: f64, f: &mut impl FnMut(f64) -> Result<Option<f64>>) -> Result<Option<[f64; 4]>> {
    let mut values = [0.0; 4];
    for (value, at) in values.iter_mut().zip([-h, -h / 2.0, h / 2.0, h]) {
        match f(at)? {
            Some(number) => *value = number,
            None => return Ok(None),
        }
    }
    Ok(Some(values))
}

/// The central difference D(h/2) = (f(h/2) − f(−h/2)) / h from the values at −h, −h/2, h/2 and h.
///
/// With the bend B(h) = (f(h) − 2 f(0) + f(−h)) / h, its error is taken to be |D(h) − D(h/2)| + |B(h/2) − B(h)/2|:
///
/// - Where f is smooth, D(h) is wrong by h² f‴/6 and D(h/2) by a quarter of that, so that the first term alone is three times
///   the error, and the second one of the order of h³.
/// - Where the slope of f changes by a at some t, 0 ≤ t < h/2, the error is a (1/2 − t/h), the first term a t/(2h) and the
///   second a |1/2 − 3t/(2h)|: together no less than the error, which the first one alone would miss at t = 0.
/// - Where f jumps by a between 0 and h/2, the error is a/h, and the sum 2a/h.
/// - Noise of the values is in both terms, with larger factors than in the error.
fn difference(middle: f64, [a, b, c, d]: [f64; 4], h: f64) -> Slope {
    let (wide, narrow) = ((d - a) / (2.0 * h), (c - b) / h);
    let bend_wide = (d - 2.0 * middle + a) / h;
    let bend_narrow = (c - 2.0 * middle + b) / (h / 2.0);
    Slope {
        value: narrow,
        error: (wide - narrow).abs() + (bend_narrow - bend_wide / 2.0).abs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slope_of(f: impl Fn(f64) -> f64) -> Slope {
        let slope = slope(f(0.0), 1e-9, |x| Ok(Some(f(x))));
        slope.expect("no error").expect("a slope")
    }

    #[test]
    fn smooth_functions_have_a_slope_that_is_as_good_as_it_says() {
        for (shift, curvature) in [(0.3, 1.0), (-1.1, 5.0), (0.0, 0.1)] {
            let slope = slope_of(|x: f64| (curvature * x + shift).sin());
            let error = (slope.value - curvature * f64::cos(shift)).abs();
            assert!(error <= slope.error && slope.error < 1e-7, "{slope:?}");
        }
    }

    /// Whatever lies between the points: the estimate is no less than the error, up to rounding over the smallest step.
    #[test]
    fn kinks_and_jumps_are_seen_wherever_they_are() {
        for share in [-0.9, -0.6, -0.4, -0.2, 0.0, 1e-9, 0.1, 0.3, 0.49, 0.7, 0.99] {
            for h in STEPS {
                let t = share * h;
                let kink = move |x: f64| x + 3.0 * (x - t).max(0.0);
                let jump = move |x: f64| x + if x > t { 0.01 } else { 0.0 };
                for f in [&kink as &dyn Fn(f64) -> f64, &jump] {
                    let values = [-h, -h / 2.0, h / 2.0, h].map(f);
                    let slope = difference(f(0.0), values, h);
                    // Of the side that 0 is on; at the kink itself either side will do.
                    let right = if t < 0.0 && f(1.0) > 3.0 { 4.0 } else { 1.0 };
                    let error = (slope.value - right).abs();
                    assert!(error <= slope.error + 1e-9, "{share} {h}: {slope:?}");
                }
            }
        }
    }

    #[test]
    fn a_narrower_step_is_taken_where_a_wider_one_meets_a_kink() {
        let slope = slope_of(|x: f64| 2.0 * x + (x - 3e-6).abs());
        assert!(
            slope.error < 1e-7 && (slope.value - 1.0).abs() < 1e-7,
            "{slope:?}"
        );
        // Without a value there is no slope.
        let half = |x: f64| Ok(Some(x).filter(|&x| x < 0.0));
        assert!(super::slope(0.0, 1e-9, half).expect("no error").is_none());
    }
}
