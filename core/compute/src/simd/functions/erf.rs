//! The error function.

use super::expm1::moderate_expm1;
use crate::Element;

/// The error function `2/√π ∫₀ˣ e^(−t²) dt`, never beyond −1 and 1.
#[inline(always)]
pub fn erf<E: Element>(x: E) -> E {
    // From 5.95 on it is 1, and from 3.95 on in f32. NaN passes.
    let (size, bound) = (x.abs(), E::either(3.95, 5.95));
    let size = if size > bound { bound } else { size };
    // erf x = 1 − e^(ln erfc x), and −ln erfc x is smooth: near 0 little more than x, and then close to a parabola.
    let exponent = size + size * size.polynomial(&SINGLE, &DOUBLE);
    (-moderate_expm1(-exponent)).copysign(x)
}

// −ln(erfc x) / x − 1 from 0 to the bound, with the least relative error of erf x, from docs/coefficients.py.
const SINGLE: [f32; 9] = [
    0.128_379_17,
    0.636_619_4,
    0.102_777_83,
    -0.019_153_064,
    -0.000_160_394_61,
    0.001_667_025_6,
    -0.000_632_835_6,
    0.000_117_640_87,
    -9.256_213e-6,
];
const DOUBLE: [f64; 24] = [
    0.128_379_167_095_512_56,
    0.636_619_772_367_590_9,
    0.102_772_603_301_315_35,
    -0.019_128_446_993_092_605,
    -0.000_209_194_853_949_452_68,
    0.001_696_207_670_067_007_7,
    -0.000_590_132_431_128_885_7,
    2.590_450_299_633_44e-5,
    6.442_046_438_129_608e-5,
    -2.957_565_406_541_652e-5,
    3.169_652_835_341_691e-6,
    3.132_983_643_847_967e-6,
    -2.037_208_140_746_512_6e-6,
    5.706_468_920_206_755e-7,
    -1.171_658_627_183_944e-8,
    -6.572_971_894_316_21e-8,
    3.458_347_744_812_849_4e-8,
    -1.077_296_521_131_031_9e-8,
    2.360_431_138_145_531_8e-9,
    -3.760_573_791_949_920_7e-10,
    4.301_619_915_068_383_5e-11,
    -3.364_211_842_868_300_5e-12,
    1.614_800_398_610_344_7e-13,
    -3.592_027_707_445_412_5e-15,
];
