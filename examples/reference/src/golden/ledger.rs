//! The books of a verification: one comparison per array.

use equilibria_testing::worse;

use super::file::Arrays;

/// One array of a golden file.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Comparison {
    /// Name of the file.
    pub file: String,
    /// Name of the array.
    pub array: String,
    /// Largest |got − golden| over all entries and all ways to compute them; `None` if the array was not compared.
    pub error: Option<f64>,
    /// Largest error that passes.
    pub tolerance: Option<f64>,
    /// What came of it.
    pub outcome: Verdict,
}

/// What came of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Within the tolerance.
    Pass,
    /// Beyond the tolerance, of another shape, or not a number.
    Fail,
    /// The array is an input: a parameter, a feature, a probe, a state to start from.
    Input,
    /// A trace of residuals that depends on rounding.
    Chaotic,
    /// No rule says what this array is.
    Unknown,
}

/// All comparisons, in order.
#[derive(Debug, Default)]
pub struct Ledger {
    /// One per array.
    pub comparisons: Vec<Comparison>,
    /// Where the comparisons of the present file begin.
    first: usize,
    file: String,
}

impl Ledger {
    /// Begins a file.
    pub fn open(&mut self, golden: &Arrays) {
        self.first = self.comparisons.len();
        let name = golden.path.file_name().unwrap_or_default();
        self.file = name.to_string_lossy().into_owned();
    }

    /// Compares one array; if it has been compared before, the larger error counts. Does nothing if the file has none.
    pub fn compare(&mut self, golden: &Arrays, name: &str, got: &[f64], tolerance: f64) {
        let Some(array) = golden.arrays.get(name) else {
            return;
        };
        let mut error = if got.len() == array.values.len() {
            let differences = got.iter().zip(&array.values).map(|(a, b)| (a - b).abs());
            differences.fold(0.0, worse)
        } else {
            f64::NAN
        };
        let known = self.comparisons[self.first..].iter_mut();
        let known = known.into_iter().find(|known| known.array == name);
        if let Some(before) = known.as_ref().and_then(|known| known.error) {
            error = worse(error, before);
        }
        let comparison = Comparison {
            file: self.file.clone(),
            array: name.to_owned(),
            error: Some(error),
            tolerance: Some(tolerance),
            outcome: if error <= tolerance {
                Verdict::Pass
            } else {
                Verdict::Fail
            },
        };
        match known {
            Some(known) => *known = comparison,
            None => self.comparisons.push(comparison),
        }
    }

    /// Notes that an array is none to be compared: what it is is in the documentation of its file.
    pub fn input(&mut self, golden: &Arrays, name: &str) {
        if golden.has(name) {
            self.comparisons.push(Comparison {
                file: self.file.clone(),
                array: name.to_owned(),
                error: None,
                tolerance: None,
                outcome: Verdict::Input,
            });
        }
    }

    /// Ends a file: accounts for the arrays that were not compared.
    pub fn close(&mut self, golden: &Arrays) {
        for name in golden.arrays.keys() {
            let compared = self.comparisons[self.first..].iter();
            if compared.into_iter().any(|known| known.array == *name) {
                continue;
            }
            let input = ["param.", "input."].iter().any(|p| name.starts_with(p))
                || ["step_rand.z", "step_rand.u", "loss.probe", "jac.probes"]
                    .contains(&name.as_str());
            // Where the reference kept no iterates, its residuals are there to be looked at: they follow no other solver.
            let chaotic = name.ends_with(".abs_residual") && !golden.has("anderson.X");
            self.comparisons.push(Comparison {
                file: self.file.clone(),
                array: name.clone(),
                error: None,
                tolerance: None,
                outcome: match (input, chaotic) {
                    (true, _) => Verdict::Input,
                    (_, true) => Verdict::Chaotic,
                    _ => Verdict::Unknown,
                },
            });
        }
    }

    /// Number of arrays with this outcome.
    pub fn count(&self, outcome: Verdict) -> usize {
        let all = self.comparisons.iter();
        all.filter(|known| known.outcome == outcome).count()
    }

    /// Whether something was compared, everything compared has passed, and nothing unknown was found.
    pub fn passed(&self) -> bool {
        self.count(Verdict::Pass) > 0
            && self.count(Verdict::Fail) == 0
            && self.count(Verdict::Unknown) == 0
    }
}
