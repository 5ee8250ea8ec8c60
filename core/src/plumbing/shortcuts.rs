//! What the solve loop may do in place of plain evaluations.

use crate::{Map, Result, Slot};

/// Cheaper ways to evaluate a map, for the solve loop, which alone knows where they are good enough.
pub trait Shortcuts: Map {
    /// [`apply`](Map::apply) at what may be the last point of some samples: where the solution is to be linearized, keeps what
    /// that will take. Returns whether it did. Default: it does not.
    fn apply_keeping(&mut self, z: Slot, out: Slot) -> Result<bool> {
        self.apply(z, out)?;
        Ok(false)
    }

    /// Tells that `z` holds the points at which every sample was [kept](Self::apply_keeping) last, exactly: the map is
    /// linearized there. Default: of no use.
    fn keep_linearization(&mut self, _z: Slot) {}

    /// Lets evaluations of the rows from `from` on, counted among the active ones, be rounded to 8 binary digits, until told
    /// otherwise; at first none are. Returns whether any would differ. Products with the Jacobian and gradients
    /// are exact, unless the map was linearized meanwhile. From the number of rows on, none are, but more may be asked for;
    /// `usize::MAX` says that no more will be. Default: all evaluations are exact.
    fn allow_rounding(&mut self, _from: usize) -> bool {
        false
    }

    /// Writes to `errors`, for every active row, an estimate of what rounding has changed in the last evaluation, ‖·‖₂; 0 where that
    /// was exact. Rows of which it is not known keep what is there. Asked for before rows change places. Default: none is known.
    fn rounding_errors(&mut self, _errors: &mut [f64]) {}
}
