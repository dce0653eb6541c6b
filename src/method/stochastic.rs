//! Stochastic Runge-Kutta methods for diagonal and scalar noise. `tests/it/sde/tableau.rs` proves the coefficients by
//! Rößler's conditions.

use super::{NoiseScale, NoiseTableau, Tableau};
use crate::problem::Calculus;

const NONE: [&[f64]; 4] = [&[], &[], &[], &[]];

/// A drift's tableau, without an interpolant of its own: states between steps lie on the chord.
const fn drift(
    name: &'static str,
    order: usize,
    c: &'static [f64],
    a: &'static [&'static [f64]],
    b: &'static [f64],
    b_error: Option<&'static [f64]>,
    noise: &'static NoiseTableau,
) -> Tableau {
    Tableau {
        name,
        order,
        embedded_order: 0,
        c,
        a,
        b,
        b_error,
        interpolant: &[],
        interpolant_order: 1,
        stability_size: None,
        noise: Some(noise),
    }
}

// G. Maruyama 1955.
pub(super) static EULER_MARUYAMA: Tableau =
    drift("euler-maruyama", 1, &[0.0], &[&[]], &[1.0], None, &EULER_MARUYAMA_NOISE);

static EULER_MARUYAMA_NOISE: NoiseTableau = NoiseTableau {
    calculus: Calculus::Ito,
    strong_order: 0.5,
    weak_order: 1.0,
    error_power: 1.0,
    c: &[0.0],
    drift_b: &[&[]],
    drift_scale: NoiseScale::Root,
    a: &[&[]],
    b: &[&[]],
    scale: NoiseScale::Root,
    weights: [&[1.0], &[], &[], &[]],
    error: NONE,
    reversible: false,
};

// G. N. Milstein 1974, with the derivative of g along itself as a difference (Kloeden & Platen 1992, 11.1.3): it needs
// no second derivatives in a gradient.
pub(super) static MILSTEIN: Tableau = drift("milstein", 1, &[0.0], &[&[]], &[1.0], None, &MILSTEIN_NOISE);

static MILSTEIN_NOISE: NoiseTableau = NoiseTableau {
    strong_order: 1.0,
    c: &[0.0, 1.0],
    drift_b: &[&[]],
    a: &[&[], &[1.0]],
    b: &[&[], &[1.0]],
    weights: [&[1.0, 0.0], &[-1.0, 1.0], &[], &[]],
    ..EULER_MARUYAMA_NOISE
};

// The trapezoidal rule with an Euler predictor (W. Rümelin 1982); the predictor is the embedded solution, so that the
// estimate holds the difference between the two calculi, of order h, too.
pub(super) static HEUN: Tableau =
    drift("heun-stratonovich", 2, &[0.0, 1.0], &[&[], &[1.0]], &[0.5, 0.5], Some(&[-0.5, 0.5]), &HEUN_NOISE);

static HEUN_NOISE: NoiseTableau = NoiseTableau {
    calculus: Calculus::Stratonovich,
    strong_order: 1.0,
    weak_order: 1.0,
    error_power: 1.0,
    c: &[0.0, 1.0],
    drift_b: &[&[], &[1.0]],
    drift_scale: NoiseScale::Increment,
    a: &[&[], &[1.0]],
    b: &[&[], &[1.0]],
    scale: NoiseScale::Increment,
    weights: [&[0.5, 0.5], &[], &[], &[]],
    error: [&[-0.5, 0.5], &[], &[], &[]],
    reversible: false,
};

// P. Kidger, J. Foster, X. Li, T. Lyons, NeurIPS 2021: with a second state z, z0 = y0,
// z+ = 2 y - z + f(z) h + g(z) dW and y+ = y + (f(z) + f(z+)) h / 2 + (g(z) + g(z+)) dW / 2. They prove strong order
// 1/2 for noise in general; the regressions of tests/it/sde/order.rs and scalar.rs find 1 for diagonal and for scalar noise.
// There, y - z is a sum of g' g (dW^2 - h) / 2 with alternating signs, of size sqrt h; of first order in it, what it does to
// g(z) and to g(z+) cancels in the mean of the two.
pub(super) static REVERSIBLE_HEUN: Tableau =
    drift("reversible-heun", 2, &[0.0, 1.0], &[&[], &[1.0]], &[0.5, 0.5], Some(&[-0.5, 0.5]), &REVERSIBLE_HEUN_NOISE);

static REVERSIBLE_HEUN_NOISE: NoiseTableau = NoiseTableau { reversible: true, ..HEUN_NOISE };

// A. Rößler 2010, table 6.3. Its third drift stage lies at the start, so that f_3 = f_1: written with two drift stages.
// The estimate's drift part is h (f_1 + f_2) / 6 (C. Rackauckas, Q. Nie, DCDS-B 22(7), 2017).
pub(super) static SRIW1: Tableau = drift(
    "sriw1",
    2,
    &[0.0, 0.75],
    &[&[], &[0.75]],
    &[1.0 / 3.0, 2.0 / 3.0],
    Some(&[1.0 / 6.0, 1.0 / 6.0]),
    &SRIW1_NOISE,
);

static SRIW1_NOISE: NoiseTableau = NoiseTableau {
    calculus: Calculus::Ito,
    strong_order: 1.5,
    weak_order: 2.0,
    error_power: 1.5,
    c: &[0.0, 0.25, 1.0, 0.25],
    drift_b: &[&[], &[1.5]],
    drift_scale: NoiseScale::Mean,
    a: &[&[], &[0.25], &[1.0], &[0.25]],
    b: &[&[], &[0.5], &[-1.0], &[-5.0, 3.0, 0.5]],
    scale: NoiseScale::Root,
    weights: [
        &[-1.0, 4.0 / 3.0, 2.0 / 3.0, 0.0],
        &[-1.0, 4.0 / 3.0, -1.0 / 3.0, 0.0],
        &[2.0, -4.0 / 3.0, -2.0 / 3.0, 0.0],
        &[-2.0, 5.0 / 3.0, -2.0 / 3.0, 1.0],
    ],
    error: [&[], &[], &[2.0, -4.0 / 3.0, -2.0 / 3.0, 0.0], &[-2.0, 5.0 / 3.0, -2.0 / 3.0, 1.0]],
    reversible: false,
};

// C. Rackauckas, Q. Nie, Stability-optimized high order methods and stiffness detection for pathwise stiff stochastic
// differential equations, 2018; digits as in `StochasticDiffEq.jl`. The estimate's drift part is h sum f_i.
// Weak order 2 is claimed for it; the second moment of geometric Brownian motion, summed exactly over a step's normal
// numbers, converges with 3/2.
pub(super) static SOSRI: Tableau = drift(
    "sosri",
    2,
    &[0.0, -0.041_992_244_213_164_68, 0.789_840_546_617_033_3, 3.750_401_017_156_282_3],
    &[
        &[],
        &[-0.041_992_244_213_164_68],
        &[2.842_612_915_017_106, -2.052_772_368_400_072_7],
        &[4.338_237_071_435_815, -2.889_593_613_743_979_3, 2.301_757_559_464_446_6],
    ],
    &[1.140_099_274_172_029, -0.640_133_425_574_345_6, 0.473_629_653_277_255_9, 0.026_404_498_125_060_714],
    Some(&[1.0, 1.0, 1.0, 1.0]),
    &SOSRI_NOISE,
);

static SOSRI_NOISE: NoiseTableau = NoiseTableau {
    calculus: Calculus::Ito,
    strong_order: 1.5,
    weak_order: 1.5,
    error_power: 1.5,
    c: &[0.0, 0.262_042_820_913_304_66, 0.058_798_752_320_017_66, 0.758_661_169_101_175],
    drift_b: &[
        &[],
        &[-0.216_410_935_496_125_28],
        &[1.533_635_286_367_957_2, 0.260_662_234_926_470_56],
        &[-1.053_603_755_817_915_9, 1.701_528_472_108_947_2, -0.207_256_857_841_800_17],
    ],
    drift_scale: NoiseScale::Mean,
    a: &[
        &[],
        &[0.262_042_820_913_304_66],
        &[0.209_036_463_835_053_75, -0.150_237_711_515_036_1],
        &[0.058_365_953_127_469_99, 0.614_944_039_633_237_3, 0.085_351_176_340_467_72],
    ],
    b: &[
        &[],
        &[-0.511_901_182_762_165_7],
        &[2.677_673_398_667_13, -4.939_503_132_225_099_5],
        &[0.155_809_562_382_992_15, 3.236_155_100_662_467_4, -1.422_311_828_335_594_9],
    ],
    scale: NoiseScale::Root,
    weights: [
        &[-1.845_346_456_510_443_2, 2.688_764_531_100_726, -0.252_386_650_107_132_3, 0.408_968_575_516_849_56],
        &[0.496_965_814_158_947_8, -0.577_120_286_975_359_2, -0.129_197_024_703_222_17, 0.209_351_497_519_633_6],
        SOSRI_BETA3,
        SOSRI_BETA4,
    ],
    error: [&[], &[], SOSRI_BETA3, SOSRI_BETA4],
    reversible: false,
};

const SOSRI_BETA3: &[f64] =
    &[2.845_346_456_510_442_5, -2.688_764_531_100_725, 0.252_386_650_107_132_2, -0.408_968_575_516_849_45];
const SOSRI_BETA4: &[f64] =
    &[0.115_226_638_754_434_33, -0.578_770_861_477_38, 0.285_785_102_816_388_6, 0.177_759_119_906_557_04];
