//! Numbers and names as bytes, by which ranks tell each other what they have found.

use equilibria_core::{Error, Report, Result, SampleReport, Status, TracePoint};

/// Bytes that are being written.
#[derive(Debug, Default)]
pub struct Parcel(Vec<u8>);

impl Parcel {
    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Adds a count.
    pub fn count(&mut self, count: usize) {
        self.0.extend((count as u64).to_le_bytes());
    }

    /// Adds a number, to the last bit.
    pub fn number(&mut self, number: f64) {
        self.0.extend(number.to_le_bytes());
    }

    /// Adds numbers.
    pub fn numbers(&mut self, numbers: &[f64]) {
        self.count(numbers.len());
        numbers.iter().for_each(|&number| self.number(number));
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend(bytes);
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Adds a report.
    pub fn report(&mut self, report: &Report) {
        self.count(report.samples.len());
        for sample in &report.samples {
            self.count(sample.status as usize);
            let counts = [
                sample.steps,
                sample.evaluations,
                sample.rounded,
                sample.stage,
            ];
            counts.into_iter().for_each(|count| self.count(count));
            self.number(sample.residual);
            self.number(sample.relative_residual);
            let bound: Vec<f64> = sample.bound.into_iter().collect();
            self.numbers(&bound);
            self.count(sample.trace.len());
            for point in &sample.trace {
                self.count(point.evaluations);
                self.number(point.residual);
            }
        }
    }
}

/// All of them, each at its number. One that is not here would be refused where it is read.
const STATUSES: [Status; 6] = [
    Status::Converged,
    Status::MaxEvaluations,
    Status::Stalled,
    Status::Diverged,
    Status::NonFinite,
    Status::Singular,
];

/// Bytes that are being read, in the order in which they were written.
#[derive(Debug)]
pub struct Unpacked<'b>(&'b [u8]);

impl<'b> Unpacked<'b> {
    /// Those of a [`Parcel`].
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8]> {
        let taken = self.0.split_at_checked(length);
        let (taken, rest) = taken.ok_or_else(unreadable)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next count.
    ///
    /// # Errors
    /// Here and below [`Error::Parse`] where bytes are missing or others, because ranks run different versions of the program.
    pub fn count(&mut self) -> Result<usize> {
        let bytes = self.take(8)?.first_chunk().ok_or_else(unreadable)?;
        usize::try_from(u64::from_le_bytes(*bytes)).map_err(|_| unreadable())
    }

    /// The next number.
    pub fn number(&mut self) -> Result<f64> {
        let bytes = self.take(8)?.first_chunk().ok_or_else(unreadable)?;
        Ok(f64::from_le_bytes(*bytes))
    }

    /// The next numbers.
    pub fn numbers(&mut self) -> Result<Vec<f64>> {
        (0..self.count()?).map(|_| self.number()).collect()
    }

    /// The next bytes.
    pub fn bytes(&mut self) -> Result<&'b [u8]> {
        let length = self.count()?;
        self.take(length)
    }

    /// The next text.
    pub fn text(&mut self) -> Result<String> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| unreadable())
    }

    /// The next report.
    pub fn report(&mut self) -> Result<Report> {
        let samples = (0..self.count()?).map(|_| self.sample());
        Ok(Report {
            samples: samples.collect::<Result<_>>()?,
        })
    }

    fn sample(&mut self) -> Result<SampleReport> {
        let status = STATUSES.get(self.count()?);
        let status = *status.ok_or_else(unreadable)?;
        let counts = [self.count()?, self.count()?, self.count()?, self.count()?];
        let [steps, evaluations, rounded, stage] = counts;
        let (residual, relative_residual) = (self.number()?, self.number()?);
        let bound = self.numbers()?.first().copied();
        let trace = (0..self.count()?).map(|_| {
            let (evaluations, residual) = (self.count()?, self.number()?);
            Ok(TracePoint {
                evaluations,
                residual,
            })
        });
        Ok(SampleReport {
            status,
            steps,
            evaluations,
            rounded,
            stage,
            residual,
            relative_residual,
            bound,
            trace: trace.collect::<Result<_>>()?,
        })
    }
}

fn unreadable() -> Error {
    Error::Parse {
        what: "what another rank has sent".to_owned(),
        message: "it cannot be read; run the same version of the program on every machine"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_stand_at_their_numbers() {
        for (number, status) in STATUSES.into_iter().enumerate() {
            assert_eq!(status as usize, number, "{status}");
        }
        let mut parcel = Parcel::default();
        parcel.count(1);
        parcel.count(STATUSES.len());
        assert!(Unpacked::new(&parcel.into_bytes()).report().is_err());
    }

    #[test]
    fn what_is_packed_is_unpacked_to_the_last_bit() {
        let sample = |status, bound| SampleReport {
            status,
            steps: 3,
            evaluations: 5,
            rounded: 2,
            stage: 1,
            residual: f64::INFINITY,
            relative_residual: 0.1,
            bound,
            trace: vec![TracePoint {
                evaluations: 4,
                residual: 1e-300,
            }],
        };
        let report = Report {
            samples: STATUSES
                .map(|status| sample(status, (status == Status::Stalled).then_some(0.75)))
                .to_vec(),
        };
        let mut parcel = Parcel::default();
        parcel.text("ṽ");
        parcel.report(&report);
        parcel.numbers(&[f64::NAN, -0.0]);
        let bytes = parcel.into_bytes();
        let mut unpacked = Unpacked::new(&bytes);
        assert_eq!(unpacked.text().expect("a text"), "ṽ");
        assert_eq!(unpacked.report().expect("a report"), report);
        let numbers = unpacked.numbers().expect("numbers");
        assert!(numbers[0].is_nan() && numbers[1].to_bits() == (-0.0f64).to_bits());
        assert!(unpacked.count().is_err());
        assert!(Unpacked::new(&bytes[..bytes.len() - 1])
            .text()
            .is_ok_and(|text| text == "ṽ"));
    }
}
