//! Elementary functions of one number, without branches: the compiler vectorizes loops over them.
//!
//! They are meant for [`vectorized!`](crate::vectorized!) functions. Results are within 3 units in the last place, of f32 and
//! of f64 (those of sine and cosine up to 2·10⁵), and have the same bits on every instruction set: a product is rounded before
//! it is added, for to round the two once is slow where a processor has no instruction for it.
//! NaN stays NaN.
//!
//! ```
//! use equilibria_compute::simd::functions::tanh;
//!
//! equilibria_compute::vectorized! {
//!     /// `y ← tanh x`.
//!     fn activate<'a, E, S>(_simd: S, x: &'a [E], y: &'a mut [E]) {
//!         for (y, &x) in y.iter_mut().zip(x) {
//!             *y = tanh(x);
//!         }
//!     }
//! }
//! let mut y = [0.0; 2];
//! activate(&[0.0, 100.0], &mut y);
//! assert_eq!(y, [0.0, 1.0]);
//! ```

mod erf;
mod exp;
mod expm1;
mod ln;
mod log1p;
mod sigmoid;
mod sine;
mod softplus;
mod tanh;

#[cfg(test)]
mod tests;

pub use erf::erf;
pub use exp::exp;
pub use expm1::expm1;
pub use ln::ln;
pub use sigmoid::sigmoid;
pub use sine::{cos, sin};
pub use softplus::softplus;
pub use tanh::tanh;
