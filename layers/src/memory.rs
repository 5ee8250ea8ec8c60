//! Memory for parameters: a width with a few zeros too many must end in a message, not in a machine that swaps.

use equilibria_core::{Error, Result};

/// Smaller parameters are made without asking the system.
const UNASKED: f64 = (64 << 20) as f64;

/// Makes sure that the host has room for a matrix of `size` bytes an entry.
///
/// # Errors
/// [`Error::Memory`] if it needs more than the system has free, swap included. Where the system does not tell (it does on
/// Linux), only a matrix beyond the address space is refused.
pub fn require((rows, columns): (usize, usize), size: usize) -> Result<()> {
    // In f64: the product of two widths may be beyond any whole number.
    let needed = rows as f64 * columns as f64 * size as f64;
    if needed <= UNASKED {
        return Ok(());
    }
    let free = free().unwrap_or(isize::MAX as u64) as f64;
    match needed <= free {
        true => Ok(()),
        false => Err(Error::Memory {
            rows,
            columns,
            needed,
            free,
        }),
    }
}

/// Bytes of memory and swap that are free for programs.
fn free() -> Option<u64> {
    available(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// Bytes that are free by the text of `/proc/meminfo`, which counts in KiB.
fn available(meminfo: &str) -> Option<u64> {
    let entry = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let kib = entry("MemAvailable:")? + entry("SwapFree:").unwrap_or(0);
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_that_no_machine_holds_is_refused_before_it_is_made() {
        require((1000, 1000), 8).expect("8 MB");
        for shape in [(1_000_000_000, 1_000_000_000), (usize::MAX, usize::MAX)] {
            let error = require(shape, 4).expect_err("there is no such memory");
            assert!(matches!(error, Error::Memory { .. }), "{error}");
        }
    }

    #[test]
    fn free_memory_is_what_programs_can_have_and_swap() {
        let text = "MemTotal: 100 kB\nMemFree:  10 kB\nMemAvailable:   60 kB\nSwapFree:  4 kB\n";
        assert_eq!(available(text), Some(64 << 10));
        assert_eq!(available("MemTotal: 100 kB\n"), None);
    }
}
