//! Combinations of any number of vectors.

use arrayvec::ArrayVec;

use super::{Coef, Slot, StateSpace};
use crate::Result;

/// Terms of one pass.
const TERMS: usize = 16;

/// [`StateSpace::combine`] for terms from an iterator, without memory on the heap: `out = Σ_k c_k v_k`, sixteen terms in a
/// pass. `out` may be the first of the vectors, but none of the others.
pub fn combine_all<'c>(
    space: &mut dyn StateSpace,
    out: Slot,
    terms: impl IntoIterator<Item = (Coef<'c>, Slot)>,
) -> Result<()> {
    let mut pass = ArrayVec::<(Coef<'c>, Slot), TERMS>::new();
    for term in terms {
        if pass.is_full() {
            space.combine(out, &pass)?;
            pass.clear();
            pass.push((Coef::Same(1.0), out));
        }
        pass.push(term);
    }
    space.combine(out, &pass)
}
