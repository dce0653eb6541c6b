// Elementary functions with the formulas of `math::elementary`: drivers' own differ, and some are NaN far out.

const LOWEST_NORMAL = 1.1754943508222875e-38;

// By their bits, and as an order of integers: under fast math compilers take a comparison of a NaN with itself, and a
// test of the exponent alone, for true. No other file has such a test.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u;
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// x, or NaN; chosen among bits, because arithmetic need not know NaN.
fn nan_where(none: bool, x: f32) -> f32 {
    return bitcast<f32>(select(bitcast<u32>(x), 0x7fc00000u, none));
}

// x, or infinity; by its bits likewise.
fn infinite_where(beyond: bool, x: f32) -> f32 {
    return bitcast<f32>(select(bitcast<u32>(x), 0x7f800000u, beyond));
}

// y 2^n by adding to the exponent of a normal y.
fn scale_by_power(y: f32, n: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(y) + (bitcast<u32>(i32(n)) << 23u));
}

// e^r and n, where x = n ln 2 + r.
fn reduced_exp(x: f32) -> vec2<f32> {
    let n = round(x * 1.4426950408889634);
    let r = fma(-n, -2.1219444e-4, fma(-n, 0.6933594, x));
    let q = fma(fma(fma(fma(1.381454e-3, r, 8.368745e-3), r, 0.04166839), r, 0.1666652), r, 0.49999993);
    return vec2<f32>(fma(fma(r, q, 1.0), r, 1.0), n);
}

fn own_exp(x: f32) -> f32 {
    let p = reduced_exp(clamp(x, -87.33654, 88.72283));
    return select(scale_by_power(p.x, p.y), x, is_nan(x));
}

fn own_exp2(x: f32) -> f32 {
    let c = clamp(x, -126.0, 127.99999);
    let n = round(c);
    let r = c - n;
    let high = fma(fma(1.53533e-4, r, 1.3398952e-3), r, 9.618438e-3);
    let q = fma(fma(fma(high, r, 0.055503324), r, 0.24022648), r, 0.6931471805599453);
    return select(scale_by_power(fma(q, r, 1.0), n), x, is_nan(x));
}

fn own_log2(x: f32) -> f32 {
    let sqrt_half = 0x3f3504f3u;
    // `max` may drop a NaN; it is put back below. Infinity keeps its own bits and gives 128.
    let c = max(x, LOWEST_NORMAL);
    let bits = bitcast<i32>(bitcast<u32>(c) - sqrt_half);
    let e = f32(bits >> 23u);
    let f = bitcast<f32>((bitcast<u32>(bits) & 0x007fffffu) + sqrt_half) - 1.0;
    let high = fma(fma(fma(fma(0.12583718, f, -0.20727), f, 0.21571566), f, -0.2389448), f, 0.28791624);
    let q = fma(fma(fma(fma(high, f, -0.36070368), f, 0.48091064), f, -0.72134735), f, 0.442695);
    return select(e + fma(q, f, f), x, is_nan(x));
}

fn own_ln_1p_unit(x: f32) -> f32 {
    let high = fma(fma(fma(5.3648075e-3, x, -0.03006573), x, 0.07920444), x, -0.13753795);
    let q = fma(fma(fma(fma(high, x, 0.19153652), x, -0.24857163), x, 0.33321324), x, -0.49999648);
    return fma(x * x, q, x);
}

fn own_quartic(x: f32, low: vec4<f32>, top: f32) -> f32 {
    return fma(fma(fma(top, x, low.w), x, low.z), x * x, fma(low.y, x, low.x));
}

fn own_tanh(x: f32) -> f32 {
    let c = clamp(x, -8.300036, 8.300036);
    let t = c * c;
    let p = own_quartic(t, vec4<f32>(1.4690208, 0.19717342, 5.207149e-3, 3.1482894e-5), 2.1350344e-8);
    let q = own_quartic(t, vec4<f32>(1.4690208, 0.6868469, 0.03828687, 4.945365e-4), 1.211935e-6);
    return select(c * p / q, x, is_nan(x));
}
