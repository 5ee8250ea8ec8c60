//! Generated training sets: nothing but inputs.

use equilibria_core::inventory;

use super::{Case, Comparer};
use crate::golden::ledger::Ledger;
use crate::Result;

inventory::submit! {
    Comparer { arrays: &["split"], compare }
}

fn compare(case: &Case, ledger: &mut Ledger) -> Result<()> {
    for name in case.golden.arrays.keys() {
        ledger.input(&case.golden, name);
    }
    Ok(())
}
