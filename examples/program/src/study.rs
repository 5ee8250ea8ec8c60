//! Studies: variants of a configuration, each trained with several seeds, and what is compared of them.

mod convergence;
mod plan;
mod statistics;
mod table;

pub use convergence::Convergence;
pub use plan::{require_distinct, Plan, Variant};
pub use table::{Columns, Row, Table};
