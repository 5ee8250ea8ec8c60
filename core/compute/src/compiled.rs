//! Large loops that are compiled here, once for each type of element.
//!
//! A generic function is compiled anew by every crate that calls it, for every instruction set. These are so large that this would
//! take most of the time of a build, and without optimization a test would spend its time in them.

use crate::simd::group_norm::{self, GroupNorm, Normalized, Recorded, Rectify};
use crate::simd::{matrices, product, transposed_product, Packed, Shapes, TILE};

macro_rules! compiled {
    ($(
        $(#[$meta:meta])*
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) = $function:path;
    )*) => {
        /// See [the module](self).
        #[doc(hidden)]
        pub trait Compiled: Sized {
            $( $(#[$meta])* fn $name($($argument: $type),*); )*
        }

        compiled!(@ f32, $($name($($argument: $type),*) = $function;)*);
        compiled!(@ f64, $($name($($argument: $type),*) = $function;)*);
    };
    (@ $element:ty, $($name:ident($($argument:ident: $type:ty),*) = $function:path;)*) => {
        impl Compiled for $element {
            $( fn $name($($argument: $type),*) { $function($($argument),*) } )*
        }
    };
}

compiled! {
    /// See [`Packed::multiply`] and [`Packed::multiply_add`].
    fn multiply(x: &[Self], b: &Packed<Self>, y: &mut [Self], add: bool) = product::product;
    /// See [`add_transposed_product`](crate::simd::add_transposed_product).
    fn add_strip(a: &[[Self; TILE]], b: &Packed<Self>, out: &mut [Self]) = transposed_product::strip;
    /// See [`multiply_matrices`](crate::simd::multiply_matrices).
    fn multiply_matrices(
        shapes: Shapes,
        a: &[Self],
        b: &[Self],
        y: &mut [Self],
        add: bool,
    ) = matrices::product;
    /// See [`GroupNorm::forward`].
    fn normalize(
        norm: &GroupNorm<Self>,
        x: &[Self],
        y: &mut [Self],
        injection: (&[Self], Rectify),
        record: Option<Recorded<'_, Self>>,
    ) = group_norm::forward;
    /// See [`GroupNorm::backward`].
    fn normalize_back(
        norm: &GroupNorm<Self>,
        record: Normalized<'_, Self>,
        rectified: (&[Self], Rectify),
        u: &[Self],
        x_bar: &mut [Self],
        parameter_bars: [&mut [Self]; 2],
    ) = group_norm::backward;
    /// See [`GroupNorm::tangent`].
    fn normalize_tangent(
        norm: &GroupNorm<Self>,
        record: Normalized<'_, Self>,
        v: &[Self],
        y_dot: &mut [Self],
    ) = group_norm::tangent;
    /// See [`GroupNorm::tangent_backward`].
    fn normalize_tangent_back(
        norm: &GroupNorm<Self>,
        record: Normalized<'_, Self>,
        rectified: (&[Self], Rectify),
        points: (&[Self], [&[Self]; 2]),
        places: [&mut [Self]; 2],
        parameter_bars: [&mut [Self]; 2],
        work: &mut [Self],
    ) = group_norm::tangent_backward;
}
