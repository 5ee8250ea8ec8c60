//! What a run needs to be repeated.

use equilibria_core::simd;

use super::page::{Cell, Page};
use super::RunReport;

/// The version of dfdx the program is built with.
const DFDX: &str = "0.13.0";

/// Writes the configuration, the versions and the instruction set.
pub fn write(run: &RunReport<'_>, page: &mut Page) {
    page.heading("Configuration");
    page.paragraph("With all defaults, as in config.toml; it gives the same run again.");
    page.source("Configuration", run.config);
    page.heading("Program");
    let fact = |name: &str, value: &str| (name.to_owned(), vec![Cell::new(value)]);
    page.table(
        "Versions and instruction set",
        &[],
        &[
            fact("equilibria", env!("CARGO_PKG_VERSION")),
            fact("dfdx", DFDX),
            fact("instruction set", simd::instruction_set()),
            fact("rounded products", simd::rounded_products()),
            fact("architecture", std::env::consts::ARCH),
        ],
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_dfdx_is_the_locked_one() {
        let lock = include_str!("../../../../Cargo.lock");
        let entry = format!("name = \"dfdx\"\nversion = \"{DFDX}\"\n");
        assert!(lock.contains(&entry), "dfdx is not {DFDX}");
    }
}
