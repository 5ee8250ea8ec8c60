//! The memory allocator of the program, which [`main!`](crate::main) puts in place.
//!
//! A training step asks for the same memory as the one before. Memory that was given back to the system in between has to be
//! mapped and cleared again, which takes up to a twentieth of a step.
#![allow(unsafe_code)] // one call of a C function, see below

pub use mimalloc::MiMalloc;

use libmimalloc_sys::{mi_option_eager_commit_delay, mi_option_set, mi_option_t};

/// `mi_option_purge_delay` of mimalloc.h, which the crate does not name: how long memory that nobody uses is kept, in
/// milliseconds, 10 by default. It follows the delay that the crate does name.
const PURGE_DELAY: mi_option_t = mi_option_eager_commit_delay + 1;

/// Lets free memory stay with the program for a second, large pieces of it for ten, before the system gets it back.
///
/// # Safety
/// No other thread may run: none may look at the options of the allocator meanwhile.
pub unsafe fn keep_memory() {
    // SAFETY: the function stores a number in a table of the allocator, at an index it checks, which nobody reads now.
    unsafe { mi_option_set(PURGE_DELAY, 1000) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use libmimalloc_sys::mi_option_get;

    /// By its default, which its neighbors do not share, the option is the one it is taken for.
    #[test]
    fn the_purge_delay_is_the_option_meant() {
        // SAFETY: the function reads a number from a table of the allocator, to which nobody writes in a test.
        assert_eq!(unsafe { mi_option_get(PURGE_DELAY) }, 10);
    }
}
