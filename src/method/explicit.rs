//! Explicit Runge-Kutta methods for ordinary differential equations.
//!
//! Each coefficient stands here once, as `f64`. `tests/it/ode/tableau.rs` proves them: rooted-tree order conditions of `b`, of the embedded
//! weights and of the interpolant at every θ.

use super::Tableau;

pub(super) static EULER: Tableau = Tableau {
    name: "euler",
    order: 1,
    embedded_order: 1,
    c: &[0.0],
    a: &[&[]],
    b: &[1.0],
    b_error: None,
    interpolant: &[[1.0, 0.0, 0.0, 0.0]],
    interpolant_order: 1,
    stability_size: None,
    noise: None,
};

// Runge 1895. The interpolant is the parabola through y with slope k1 at 0 and k2 at 1/2, which ends in y+.
pub(super) static MIDPOINT: Tableau = Tableau {
    name: "midpoint",
    order: 2,
    embedded_order: 2,
    c: &[0.0, 0.5],
    a: &[&[], &[0.5]],
    b: &[0.0, 1.0],
    b_error: None,
    interpolant: &[[1.0, -1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
    interpolant_order: 2,
    stability_size: None,
    noise: None,
};

// Heun 1900. The interpolant is the parabola through y with slopes k1 at 0 and y+ at 1: no further evaluation.
pub(super) static HEUN: Tableau = Tableau {
    name: "heun",
    order: 2,
    embedded_order: 1,
    c: &[0.0, 1.0],
    a: &[&[], &[1.0]],
    b: &[0.5, 0.5],
    b_error: Some(&[-0.5, 0.5]),
    interpolant: &[[1.0, -0.5, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0]],
    interpolant_order: 2,
    stability_size: None,
    noise: None,
};

// Bogacki & Shampine, Appl. Math. Lett. 2 (1989). The interpolant is the cubic Hermite polynomial.
pub(super) static BOSH3: Tableau = Tableau {
    name: "bosh3",
    order: 3,
    embedded_order: 2,
    c: &[0.0, 0.5, 0.75, 1.0],
    a: &[&[], &[0.5], &[0.0, 0.75], &[2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0]],
    b: &[2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0, 0.0],
    b_error: Some(&[-5.0 / 72.0, 1.0 / 12.0, 1.0 / 9.0, -1.0 / 8.0]),
    interpolant: &[
        hermite(2.0 / 9.0, 1.0, 0.0),
        hermite(1.0 / 3.0, 0.0, 0.0),
        hermite(4.0 / 9.0, 0.0, 0.0),
        hermite(0.0, 0.0, 1.0),
    ],
    interpolant_order: 3,
    stability_size: None,
    noise: None,
};

// Kutta 1901. The interpolant is the third-order one of Hairer, Nørsett & Wanner, II.6.
pub(super) static RK4: Tableau = Tableau {
    name: "rk4",
    order: 4,
    embedded_order: 4,
    c: &[0.0, 0.5, 0.5, 1.0],
    a: &[&[], &[0.5], &[0.0, 0.5], &[0.0, 0.0, 1.0]],
    b: &[1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0],
    b_error: None,
    interpolant: &[
        [1.0, -1.5, 2.0 / 3.0, 0.0],
        [0.0, 1.0, -2.0 / 3.0, 0.0],
        [0.0, 1.0, -2.0 / 3.0, 0.0],
        [0.0, -0.5, 2.0 / 3.0, 0.0],
    ],
    interpolant_order: 3,
    stability_size: None,
    noise: None,
};

// Dormand & Prince, J. Comput. Appl. Math. 6 (1980); interpolant of Hairer, Nørsett & Wanner, II.6 (DOPRI5).
pub(super) static DOPRI5: Tableau = Tableau {
    name: "dopri5",
    order: 5,
    embedded_order: 4,
    c: &[0.0, 0.2, 0.3, 0.8, 8.0 / 9.0, 1.0, 1.0],
    a: &[
        &[],
        &[0.2],
        &[3.0 / 40.0, 9.0 / 40.0],
        &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
        &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
        &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
        &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
    ],
    b: &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0, 0.0],
    b_error: Some(&[
        71.0 / 57600.0,
        0.0,
        -71.0 / 16695.0,
        71.0 / 1920.0,
        -17253.0 / 339_200.0,
        22.0 / 525.0,
        -1.0 / 40.0,
    ]),
    interpolant: &[
        dopri5_dense(35.0 / 384.0, -12_715_105_075.0 / 11_282_082_432.0, 1.0, 0.0),
        dopri5_dense(0.0, 0.0, 0.0, 0.0),
        dopri5_dense(500.0 / 1113.0, 87_487_479_700.0 / 32_700_410_799.0, 0.0, 0.0),
        dopri5_dense(125.0 / 192.0, -10_690_763_975.0 / 1_880_347_072.0, 0.0, 0.0),
        dopri5_dense(-2187.0 / 6784.0, 701_980_252_875.0 / 199_316_789_632.0, 0.0, 0.0),
        dopri5_dense(11.0 / 84.0, -1_453_857_185.0 / 822_651_844.0, 0.0, 0.0),
        dopri5_dense(0.0, 69_997_945.0 / 29_380_423.0, 0.0, 1.0),
    ],
    interpolant_order: 4,
    stability_size: Some(3.3066),
    noise: None,
};

// Tsitouras, Comput. Math. Appl. 62 (2011), coefficients and free fourth-order interpolant.
pub(super) static TSIT5: Tableau = Tableau {
    name: "tsit5",
    order: 5,
    embedded_order: 4,
    c: &[0.0, 0.161, 0.327, 0.9, 0.980_025_540_904_509_7, 1.0, 1.0],
    a: &[
        &[],
        &[0.161],
        &[-0.008_480_655_492_356_989, 0.335_480_655_492_357],
        &[2.897_153_057_105_493_5, -6.359_448_489_975_075, 4.362_295_432_869_581_5],
        &[5.325_864_828_439_257, -11.748_883_564_062_828, 7.495_539_342_889_836_5, -0.092_495_066_361_755_25],
        &[
            5.861_455_442_946_42,
            -12.920_969_317_847_11,
            8.159_367_898_576_159,
            -0.071_584_973_281_401,
            -0.028_269_050_394_068_383,
        ],
        &[
            0.096_460_766_818_065_23,
            0.01,
            0.479_889_650_414_499_6,
            1.379_008_574_103_742,
            -3.290_069_515_436_081,
            2.324_710_524_099_774,
        ],
    ],
    b: &[
        0.096_460_766_818_065_23,
        0.01,
        0.479_889_650_414_499_6,
        1.379_008_574_103_742,
        -3.290_069_515_436_081,
        2.324_710_524_099_774,
        0.0,
    ],
    b_error: Some(&[
        -0.001_780_011_052_225_777,
        -0.000_816_434_459_656_746_9,
        0.007_880_878_010_261_995,
        -0.144_711_007_173_262_9,
        0.582_357_165_452_555_2,
        -0.458_082_105_929_186_97,
        1.0 / 66.0,
    ]),
    interpolant: &[
        [1.0, -2.763_706_197_274_826, 2.913_255_461_821_912_6, -1.053_088_497_729_021_6],
        [0.0, 0.131_7, -0.223_4, 0.101_7],
        [0.0, 3.930_296_236_894_751_6, -5.941_033_872_131_505, 2.490_627_285_651_253],
        [0.0, -12.411_077_166_933_676, 30.338_188_630_282_32, -16.548_102_889_244_902],
        [0.0, 37.509_313_416_511_04, -88.178_904_894_766_4, 47.379_521_962_819_28],
        [0.0, -27.896_526_289_197_286, 65.091_894_674_793_66, -34.870_657_861_496_61],
        [0.0, 1.5, -4.0, 2.5],
    ],
    interpolant_order: 4,
    stability_size: Some(3.5068),
    noise: None,
};

/// Cubic Hermite weights of a stage with weight `b`: its share of the end value, of the first and of the last slope.
const fn hermite(b: f64, first: f64, last: f64) -> [f64; 4] {
    [first, 3.0 * b - 2.0 * first - last, -2.0 * b + first + last, 0.0]
}

/// Expands Hairer's nested form `θ(b + (1-θ)(p + θ(q + (1-θ) d)))`, `p = first - b`, `q = 2b - first - last`.
const fn dopri5_dense(b: f64, d: f64, first: f64, last: f64) -> [f64; 4] {
    let p = first - b;
    let q = 2.0 * b - first - last;
    [b + p, -p + q + d, -q - 2.0 * d, d]
}
