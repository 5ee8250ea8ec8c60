use super::*;
use crate::{vectorized, Element};

/// The distance of two numbers in units in the last place of E, of the second.
fn distance<E: Element>(value: E, exact: f64) -> f64 {
    let same_kind = value.is_nan() == exact.is_nan();
    assert!(same_kind, "{} for {exact}", value.wide());
    let rounded = E::of(exact);
    if value == rounded || exact.is_nan() {
        return 0.0;
    }
    // Numbers of the least exponent have all the same last place.
    let (_, exponent, _) = rounded.integer_decode();
    let least = E::either(-149.0, -1074.0).wide();
    (value.wide() - exact).abs() / f64::from(exponent).max(least).exp2()
}

/// Every power of two with some fractions, of both signs, evenly spaced numbers up to 30 and to 800, and special ones.
fn everywhere<E: Element>() -> Vec<E> {
    let powers = (-1074..1024)
        .flat_map(|exponent| [1.0, 1.27, 1.5, 1.81].map(|x| x * f64::from(exponent).exp2()));
    let fine = (0..20_000).map(|i| f64::from(i) * 1.501e-3);
    let coarse = (0..10_000).map(|i| f64::from(i) * 8.003e-2);
    let sizes = powers.chain(fine).chain(coarse).chain([f64::INFINITY]);
    let both = sizes.flat_map(|x| [E::of(x), E::of(-x)]);
    both.chain([E::nan()]).collect()
}

#[derive(Clone, Copy)]
struct Function {
    name: &'static str,
    single: fn(f32) -> f32,
    double: fn(f64) -> f64,
    exact: fn(f64) -> f64,
}

/// Checks f32 and f64 against a function in f64, whose own error in the last place counts with that of f64.
fn check(function: Function, inputs: (&[f32], &[f64])) {
    let Function {
        name,
        single,
        double,
        exact,
    } = function;
    let worst = |errors: &mut dyn Iterator<Item = (f64, f64)>| {
        errors.fold((0.0, 0.0), |a, b| if b.1 > a.1 { b } else { a })
    };
    let in_single = worst(
        &mut inputs
            .0
            .iter()
            .map(|&x| (x.wide(), distance(single(x), exact(x.wide())))),
    );
    let in_double = worst(&mut inputs.1.iter().map(|&x| (x, distance(double(x), exact(x)))));
    assert!(in_single.1 <= 3.0, "{name}: {in_single:?} in f32");
    assert!(in_double.1 <= 4.0, "{name}: {in_double:?} in f64");
}

fn check_everywhere(function: Function) {
    check(function, (&everywhere(), &everywhere()));
}

macro_rules! function {
    ($name:ident, $exact:expr) => {
        Function {
            name: stringify!($name),
            single: $name,
            double: $name,
            exact: $exact,
        }
    };
}

fn exact_sigmoid(x: f64) -> f64 {
    if x < 0.0 {
        x.exp() / (1.0 + x.exp())
    } else {
        1.0 / (1.0 + (-x).exp())
    }
}

fn exact_softplus(x: f64) -> f64 {
    if x < 0.0 {
        x.exp().ln_1p()
    } else {
        x + (-x).exp().ln_1p()
    }
}

#[test]
fn exponentials_are_accurate() {
    check_everywhere(function!(exp, f64::exp));
    check_everywhere(function!(expm1, f64::exp_m1));
    check_everywhere(function!(tanh, f64::tanh));
    check_everywhere(function!(sigmoid, exact_sigmoid));
    check_everywhere(function!(softplus, exact_softplus));
}

#[test]
fn logarithms_are_accurate() {
    // Numbers close to 1, and what is too small to be normal, are among those everywhere.
    check_everywhere(function!(ln, f64::ln));
    let near_one = (-20_000..20_000).map(|i| 1.0 + f64::from(i) * 1.7e-5);
    let doubles: Vec<f64> = near_one.clone().collect();
    let singles: Vec<f32> = near_one.map(|x| x as f32).collect();
    check(function!(ln, f64::ln), (&singles, &doubles));
}

#[test]
fn sines_are_accurate() {
    let within = |bound: f64, x: f64| x.abs() <= bound || !x.is_finite();
    // Multiples of π/2 as near as f32 and f64 come.
    let zeros = (1..60_000).map(|i| f64::from(i) * std::f64::consts::FRAC_PI_2);
    let mut singles: Vec<f32> = everywhere();
    singles.extend(zeros.clone().map(|x| x as f32));
    singles.retain(|&x| within(1e6, x.wide()));
    let mut doubles: Vec<f64> = everywhere();
    doubles.extend(zeros);
    doubles.retain(|&x| within(2e5, x));
    check(function!(sin, f64::sin), (&singles, &doubles));
    check(function!(cos, f64::cos), (&singles, &doubles));
}

#[test]
fn sines_of_large_numbers_are_those_of_numbers_next_to_them() {
    for x in everywhere::<f64>() {
        if x.abs() <= f64::exp2(45.0) {
            let spacing = x.abs() * f64::EPSILON;
            assert!((sin(x) - x.sin()).abs() <= spacing.max(1e-15), "{x}");
            assert!((cos(x) - x.cos()).abs() <= spacing.max(1e-15), "{x}");
        } else if x.is_finite() {
            assert_eq!((sin(x).abs(), cos(x)), (0.0, 1.0), "{x}");
        }
        let bounded = |y: f64| y.abs() <= 1.0 || !x.is_finite();
        assert!(bounded(sin(x)) && bounded(cos(x)), "{x}");
    }
}

#[test]
fn erf_is_accurate() {
    // With f64 as the exact one for f32.
    check_everywhere(function!(erf, erf::<f64>));
    for &(x, exact) in ERF {
        let worst = distance(erf(x), exact).max(distance(erf(-x), -exact));
        assert!(worst <= 3.0, "erf({x}): {worst}");
    }
}

#[test]
fn signs_of_zero_stay() {
    fn check<E: Element>() {
        for function in [expm1::<E>, tanh, erf, sin] {
            for x in [E::zero(), E::neg_zero()] {
                let y = function(x);
                assert!(y.is_zero() && y.is_sign_negative() == x.is_sign_negative());
            }
        }
        for function in [exp::<E>, cos] {
            assert!(function(E::neg_zero()) == E::one());
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn nothing_exceeds_its_bound() {
    fn check<E: Element>() {
        let within = |y: E, low: E| y >= low && y <= E::one();
        for x in everywhere::<E>() {
            if !x.is_nan() {
                assert!(
                    within(tanh(x), -E::one()) && within(erf(x), -E::one()),
                    "{}",
                    x.wide()
                );
                assert!(within(sigmoid(x), E::zero()), "{}", x.wide());
                assert!(expm1(x) >= -E::one(), "{}", x.wide());
            }
        }
        let large = E::of(30.0);
        assert!(tanh(large) == E::one() && erf(-large) == -E::one());
        assert!(softplus(-E::infinity()).is_zero() && softplus(large) == large + softplus(-large));
    }
    check::<f32>();
    check::<f64>();
}

macro_rules! loops {
    ($($name:ident)*) => { mod loops {
        use super::*;
        $( vectorized! {
            pub fn $name<'a, E, S>(_simd: S, x: &'a [E], y: &'a mut [E]) {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = functions::$name(x);
                }
            }
        } )*
    } };
}

use crate::simd::functions;
loops!(exp expm1 ln tanh sigmoid softplus erf sin cos);

#[test]
fn loops_have_the_same_bits() {
    fn check<E: Element>() {
        macro_rules! pairs {
            ($($name:ident)*) => { [$((loops::$name::<E> as fn(&[E], &mut [E]), functions::$name::<E> as fn(E) -> E)),*] };
        }
        let x = everywhere::<E>();
        for (in_loop, alone) in pairs!(exp expm1 ln tanh sigmoid softplus erf sin cos) {
            let mut y = vec![E::zero(); x.len()];
            in_loop(&x, &mut y);
            for (&x, &y) in x.iter().zip(&y) {
                let alone = alone(x).wide();
                assert!(y.wide().to_bits() == alone.to_bits() || alone.is_nan() && y.is_nan());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

/// The error function, from mpmath, to more digits than f64 has.
#[allow(clippy::excessive_precision)]
const ERF: &[(f64, f64)] = &[
    (9.332636185032189e-302, 1.0530752245272063158e-301),
    (8.673617379884035e-19, 9.7871291548187100235e-19),
    (9.094947017729282e-13, 1.0262548740643183682e-12),
    (9.313225746154785e-10, 1.0508849910418620087e-9),
    (9.5367431640625e-07, 1.0761062308265404596e-6),
    (0.000244140625, 0.00027548318961831864401),
    (0.00390625, 0.0044077087026896622133),
    (0.015625, 0.017629489782642005546),
    (0.03125, 0.035250373867322825999),
    (0.0625, 0.070431977722387078051),
    (0.125, 0.14031620480133381739),
    (0.1875, 0.20911767705937584830),
    (0.25, 0.27632639016823693299),
    (0.3125, 0.34146863350159500629),
    (0.375, 0.40411690943482229832),
    (0.4375, 0.46389813574993297302),
    (0.5, 0.52049987781304653768),
    (0.5625, 0.57367445661559195399),
    (0.625, 0.62324088218841797245),
    (0.6875, 0.66908466288608128223),
    (0.75, 0.71115563365351513160),
    (0.8125, 0.74946402558636206761),
    (0.875, 0.78407506105985965831),
    (0.9375, 0.81510240103439980418),
    (1.0, 0.84270079294971486934),
    (1.0625, 0.86705826943495275538),
    (1.125, 0.88838823170170776407),
    (1.1875, 0.90692171978168648926),
    (1.25, 0.92290012825645823014),
    (1.3125, 0.93656857471138871370),
    (1.375, 0.94817007278209032256),
    (1.4375, 0.95794060605646006371),
    (1.5, 0.96610514647531072707),
    (1.5625, 0.97287461382093353737),
    (1.625, 0.97844373323998366472),
    (1.6875, 0.98298971660197802976),
    (1.75, 0.98667167121918244377),
    (1.8125, 0.98963062579477518496),
    (1.875, 0.99199005767011997030),
    (1.9375, 0.99385680639521319999),
    (2.0, 0.99532226501895273416),
    (2.125, 0.99734597064051765847),
    (2.25, 0.99853728341331884830),
    (2.375, 0.99921706178210888080),
    (2.5, 0.99959304798255504106),
    (2.625, 0.99979462426385878256),
    (2.75, 0.99989937807788036316),
    (2.875, 0.99995214516025622659),
    (3.0, 0.99997790950300141456),
    (3.125, 0.99999010326537475438),
    (3.25, 0.99999569722053632488),
    (3.375, 0.99999818471857255964),
    (3.5, 0.99999925690162765859),
    (3.625, 0.99999970485980748843),
    (3.75, 0.99999988627274343020),
    (3.875, 0.99999995748605591751),
    (4.0, 0.99999998458274209972),
    (4.125, 0.99999999457659920043),
    (4.25, 0.99999999814942586261),
    (4.375, 0.99999999938751670464),
    (4.75, 0.99999999998151495228),
    (5.0, 0.99999999999846254021),
    (5.25, 0.99999999999988689687),
    (5.5, 0.99999999999999264215),
    (5.75, 0.99999999999999957679),
];
