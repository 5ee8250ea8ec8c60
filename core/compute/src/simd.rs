//! Loops compiled for every instruction set, chosen when they run: AVX-512, AVX2, or what every processor has.
//!
//! The `pulp` crate makes the choice and keeps it safe; no build flags are needed. But for [`Packed`], these are ordinary
//! loops over slices that the compiler vectorizes; [`vectorized!`](crate::vectorized!) defines more of them.

pub mod functions;

pub mod group_norm;
pub(crate) mod matrices;
pub(crate) mod product;
mod rounded;
mod rows;
pub(crate) mod transposed_product;

use pulp::Arch;
pub use pulp::Simd;
#[doc(hidden)]
pub use pulp::WithSimd;

pub use matrices::{multiply_matrices, Shapes};
pub use product::{whole_tiles, Packed, TILE};
pub use rounded::{rounded_products, RoundedPacked};
pub use rows::{
    add_scaled, combine, difference, dot, dots, finite, sum, sum_deviations, sum_products, update,
};
pub use transposed_product::add_transposed_product;

/// An element type with vector registers: f32 and f64.
pub trait Lanes: Copy + Default + Send + Sync + 'static {
    /// One vector register.
    type Vector<S: Simd>: Copy;

    /// Elements in one register.
    fn count<S: Simd>() -> usize;
    /// A register full of `x`.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    /// `a + b`.
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a − b`.
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a b`.
    fn times<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a / b`.
    fn divide<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `√a`.
    fn root<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;
    /// `x` where `a < b`, else `y`.
    fn if_less<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        x: Self::Vector<S>,
        y: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// `max(a, 0)`; NaN stays NaN.
    fn rectified<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;
    /// The sum of all elements.
    fn total<S: Simd>(simd: S, a: Self::Vector<S>) -> Self;
    /// `a b + c`, rounded once where the processor can.
    fn fused<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// The first element.
    fn first<S: Simd>(a: Self::Vector<S>) -> Self;
    /// `sums + a b` in f64, in twice as many registers as a takes; which of them a product is added to is not said.
    fn fused_wide<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        sums: [S::f64s; 2],
    ) -> [S::f64s; 2];
    /// Full registers of a slice, and what is left.
    fn vectors<S: Simd>(x: &[Self]) -> (&[Self::Vector<S>], &[Self]);
    /// [`vectors`](Self::vectors) for writing.
    fn vectors_mut<S: Simd>(x: &mut [Self]) -> (&mut [Self::Vector<S>], &mut [Self]);
    /// A register of fewer elements than it holds; the others are 0.
    fn load_part<S: Simd>(simd: S, x: &[Self]) -> Self::Vector<S>;
    /// The first elements of a register.
    fn store_part<S: Simd>(simd: S, x: &mut [Self], vector: Self::Vector<S>);
    /// The numbers, if they are f32.
    fn as_f32(x: &[Self]) -> Option<&[f32]>;
    /// [`as_f32`](Self::as_f32) for writing.
    fn as_f32_mut(x: &mut [Self]) -> Option<&mut [f32]>;
}

macro_rules! lanes {
    ($type:ty, $vector:ident, $count:ident, $splat:ident, $add:ident, $sub:ident, $mul:ident,
     $div:ident, $sqrt:ident, $less:ident, $select:ident, $total:ident, $mul_add:ident, $vectors:ident, $vectors_mut:ident,
     $load:ident, $store:ident, $fused_wide:ident, $as_f32:expr, $as_f32_mut:expr) => {
        impl Lanes for $type {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn count<S: Simd>() -> usize {
                S::$count
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$vector {
                simd.$splat(x)
            }
            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn minus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$sub(a, b)
            }
            #[inline(always)]
            fn times<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$mul(a, b)
            }
            #[inline(always)]
            fn divide<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$div(a, b)
            }
            #[inline(always)]
            fn root<S: Simd>(simd: S, a: S::$vector) -> S::$vector {
                simd.$sqrt(a)
            }
            #[inline(always)]
            fn if_less<S: Simd>(
                simd: S,
                a: S::$vector,
                b: S::$vector,
                x: S::$vector,
                y: S::$vector,
            ) -> S::$vector {
                simd.$select(simd.$less(a, b), x, y)
            }
            #[inline(always)]
            fn rectified<S: Simd>(simd: S, a: S::$vector) -> S::$vector {
                let zero = simd.$splat(0.0);
                Self::if_less(simd, a, zero, zero, a)
            }
            #[inline(always)]
            fn total<S: Simd>(simd: S, a: S::$vector) -> Self {
                simd.$total(a)
            }
            #[inline(always)]
            fn fused<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }
            #[inline(always)]
            fn fused_wide<S: Simd>(
                simd: S,
                a: S::$vector,
                b: S::$vector,
                sums: [S::f64s; 2],
            ) -> [S::f64s; 2] {
                $fused_wide(simd, a, b, sums)
            }
            #[inline(always)]
            fn first<S: Simd>(a: S::$vector) -> Self {
                let numbers: &[Self] = pulp::bytemuck::cast_slice(std::slice::from_ref(&a));
                numbers[0]
            }

            #[inline(always)]
            fn vectors<S: Simd>(x: &[Self]) -> (&[S::$vector], &[Self]) {
                S::$vectors(x)
            }
            #[inline(always)]
            fn vectors_mut<S: Simd>(x: &mut [Self]) -> (&mut [S::$vector], &mut [Self]) {
                S::$vectors_mut(x)
            }
            #[inline(always)]
            fn load_part<S: Simd>(simd: S, x: &[Self]) -> S::$vector {
                simd.$load(x)
            }
            #[inline(always)]
            fn store_part<S: Simd>(simd: S, x: &mut [Self], vector: S::$vector) {
                simd.$store(x, vector);
            }
            fn as_f32(x: &[Self]) -> Option<&[f32]> {
                $as_f32(x)
            }
            fn as_f32_mut(x: &mut [Self]) -> Option<&mut [f32]> {
                $as_f32_mut(x)
            }
        }
    };
}

lanes!(
    f32,
    f32s,
    F32_LANES,
    splat_f32s,
    add_f32s,
    sub_f32s,
    mul_f32s,
    div_f32s,
    sqrt_f32s,
    less_than_f32s,
    select_f32s,
    reduce_sum_f32s,
    mul_add_e_f32s,
    as_simd_f32s,
    as_mut_simd_f32s,
    partial_load_f32s,
    partial_store_f32s,
    fused_wide_f32s,
    Some,
    Some
);
lanes!(
    f64,
    f64s,
    F64_LANES,
    splat_f64s,
    add_f64s,
    sub_f64s,
    mul_f64s,
    div_f64s,
    sqrt_f64s,
    less_than_f64s,
    select_f64s,
    reduce_sum_f64s,
    mul_add_e_f64s,
    as_simd_f64s,
    as_mut_simd_f64s,
    partial_load_f64s,
    partial_store_f64s,
    fused_wide_f64s,
    |_| None,
    |_| None
);

#[inline(always)]
fn fused_wide_f32s<S: Simd>(simd: S, a: S::f32s, b: S::f32s, sums: [S::f64s; 2]) -> [S::f64s; 2] {
    let (a, b) = (widened(simd, a), widened(simd, b));
    [
        f64::fused(simd, a[0], b[0], sums[0]),
        f64::fused(simd, a[1], b[1], sums[1]),
    ]
}

#[inline(always)]
fn fused_wide_f64s<S: Simd>(
    simd: S,
    a: S::f64s,
    b: S::f64s,
    [even, odd]: [S::f64s; 2],
) -> [S::f64s; 2] {
    [f64::fused(simd, a, b, even), odd]
}

/// The two halves of a register in f64.
#[inline(always)]
fn widened<S: Simd>(simd: S, x: S::f32s) -> [S::f64s; 2] {
    let mut wide = [simd.splat_f64s(0.0); 2];
    let (numbers, wide_numbers): (&[f32], &mut [f64]) = (
        pulp::bytemuck::cast_slice(std::slice::from_ref(&x)),
        pulp::bytemuck::cast_slice_mut(&mut wide),
    );
    for (wide, &x) in wide_numbers.iter_mut().zip(numbers) {
        *wide = f64::from(x);
    }
    wide
}

/// Defines functions that are compiled for every instruction set; a call runs the best one of this processor.
///
/// Generic over one lifetime, which the references among the arguments name, one [`Element`](crate::Element) and the
/// instruction set, which is the first argument and is left out in calls. Functions that the body calls take part if they
/// are marked `#[inline(always)]`.
///
/// ```
/// equilibria_compute::vectorized! {
///     /// `x ← x / Σ x`.
///     fn normalize<'a, E, S>(simd: S, x: &'a mut [E]) {
///         let sum = equilibria_compute::simd::sum(simd, x);
///         for x in x {
///             *x /= sum;
///         }
///     }
/// }
/// let mut x = [1.0, 3.0];
/// normalize(&mut x);
/// assert_eq!(x, [0.25, 0.75]);
/// ```
#[macro_export]
macro_rules! vectorized {
    ($(
        $(#[$meta:meta])*
        $visibility:vis fn $name:ident<$lifetime:lifetime, $scalar:ident, $set:ident>(
            $simd:ident: $_set:ident, $($argument:ident: $type:ty),* $(,)?
        ) $(-> $output:ty)? $body:block
    )*) => { $(
        $(#[$meta])*
        $visibility fn $name<$lifetime, $scalar: $crate::Element>($($argument: $type),*) $(-> $output)? {
            // A struct, for its method can be inlined by force into the function that has the instruction set, which a
            // closure cannot.
            struct Job<$lifetime, $scalar: $crate::Element> {
                $($argument: $type,)*
                nothing: ::std::marker::PhantomData<&$lifetime $scalar>,
            }
            impl<$lifetime, $scalar: $crate::Element> $crate::simd::WithSimd
                for Job<$lifetime, $scalar>
            {
                type Output = $crate::vectorized!(@ $($output)?);

                #[inline(always)]
                fn with_simd<$set: $crate::simd::Simd>(self, $simd: $set) -> Self::Output {
                    let Self { $($argument,)* .. } = self;
                    $body
                }
            }
            $crate::simd::run(Job { $($argument,)* nothing: ::std::marker::PhantomData })
        }
    )* };
    (@) => { () };
    (@ $output:ty) => { $output };
}

/// The instruction set the loops run on here: `AVX-512`, `AVX2`, `NEON`, or `baseline`, what every processor of the kind has.
pub fn instruction_set() -> &'static str {
    struct Name;
    impl WithSimd for Name {
        type Output = &'static str;

        fn with_simd<S: Simd>(self, _: S) -> Self::Output {
            // The choice is made among types, one per instruction set.
            match std::any::type_name::<S>().rsplit("::").next() {
                Some("V4") => "AVX-512",
                Some("V3") => "AVX2",
                Some("Neon") => "NEON",
                _ => "baseline",
            }
        }
    }
    run(Name)
}

#[doc(hidden)]
pub fn run<J: WithSimd>(job: J) -> J::Output {
    Arch::new().dispatch(job)
}
