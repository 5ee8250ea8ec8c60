//! Numbers on the command line, each with the range in which it means something.

/// A relative error that may be left: above 0, below 1, where everything would pass.
pub fn tolerance(text: &str) -> Result<f64, String> {
    parsed(text, "above 0 and below 1", |value| {
        value > 0.0 && value < 1.0
    })
}

/// [`tolerance`], or 0.
pub fn tolerance_or_zero(text: &str) -> Result<f64, String> {
    parsed(text, "at least 0 and below 1", |value| {
        (0.0..1.0).contains(&value)
    })
}

/// A time, of no more than a day.
pub fn seconds(text: &str) -> Result<f64, String> {
    parsed(text, "at least 0 and at most 86400", |value| {
        (0.0..=86400.0).contains(&value)
    })
}

fn parsed(text: &str, range: &str, holds: fn(f64) -> bool) -> Result<f64, String> {
    let value = text.trim().parse::<f64>().ok();
    value
        .filter(|value| holds(*value))
        .ok_or_else(|| format!("expected a number {range}"))
}
