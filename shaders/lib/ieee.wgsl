// Elementary functions with the ends of IEEE 754, for a user's equations: the formulas of `math::ieee`. WGSL's own have
// loose bounds, or none for large arguments, and may take infinity and NaN for any number.

fn is_infinite(x: f32) -> bool {
    return !is_finite(x) && !is_nan(x);
}

// By its bits: where denormal numbers count as zeros, `== 0.0` holds of them too.
fn is_zero(x: f32) -> bool {
    return (bitcast<u32>(x) << 1u) == 0u;
}

fn sign_bit(x: f32) -> u32 {
    return bitcast<u32>(x) & 0x80000000u;
}

// A device may round a denormal result to 0.
fn own_exp_full(x: f32) -> f32 {
    let p = reduced_exp(clamp(x, -104.0, 88.72283));
    // Near the lower end 2^n is no normal number, but 2^(n + 32) is, and the last product rounds to the denormal ones.
    let low = x < -87.0;
    let y = scale_by_power(p.x, p.y + select(0.0, 32.0, low)) * select(1.0, 2.3283064365386963e-10, low);
    return select(infinite_where(x > 88.72283, y), x, is_nan(x));
}

// A device may take a denormal x for 0.
fn own_ln(x: f32) -> f32 {
    let sqrt_half = 0x3f3504f3u;
    // A denormal number is 2^-149 times what its bits are as an integer, which is a normal number.
    let denormal = bitcast<u32>(x) < 0x00800000u;
    let c = select(x, f32(bitcast<u32>(x)), denormal);
    let bits = bitcast<i32>(bitcast<u32>(c) - sqrt_half);
    let e = f32(bits >> 23u) + select(0.0, -149.0, denormal);
    let f = bitcast<f32>((bitcast<u32>(bits) & 0x007fffffu) + sqrt_half) - 1.0;
    let high = fma(fma(fma(-0.076345034, f, 0.1276159), f, -0.13160184), f, 0.14201756);
    let q = fma(fma(fma(fma(high, f, -0.16623357), f, 0.20001227), f, -0.2500082), f, 0.3333333);
    let small = fma(-0.5 * f, f, fma(e, -2.1219444e-4, f * (f * f) * q));
    // Infinity is its own logarithm.
    let y = select(fma(e, 0.6933594, f + small), x, !is_finite(x));
    let end = bitcast<f32>(select(bitcast<u32>(y), 0xff800000u, is_zero(x)));
    // Greater than the bits of -0 are those of negative numbers.
    return nan_where(is_nan(x) || bitcast<u32>(x) > 0x80000000u, end);
}

// The sine of x + quarters pi / 2 for an x of no negative sign; 1e5 is as far as n times the first three parts of
// pi / 2 is exact, so that rounding twice in `fma` makes no difference.
fn quarter_turns(x: f32, quarters: u32) -> f32 {
    let c = select(0.0, x, x < 6.5e6);
    let n = round(c * 0.6366197723675814);
    let r = fma(-n, 7.54979e-8, fma(-n, 1.1920929e-6, fma(-n, 4.825592e-4, fma(-n, 1.5703125, c))));
    let t = r * r;
    let sin_ = fma(r * t, fma(fma(-1.950554e-4, t, 8.332095e-3), t, -0.16666654), r);
    let cos_ = fma(t * t, fma(fma(2.4412086e-5, t, -1.388713e-3), t, 0.04166664), fma(-0.5, t, 1.0));
    let quadrant = u32(n) + quarters;
    let y = select(cos_, sin_, (quadrant & 1u) == 0u);
    return nan_where(!is_finite(x), bitcast<f32>(bitcast<u32>(y) ^ ((quadrant & 2u) << 30u)));
}

fn own_sin(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(quarter_turns(abs(x), 0u)) ^ sign_bit(x));
}

fn own_cos(x: f32) -> f32 {
    return quarter_turns(abs(x), 1u);
}

// a / b within WGSL's 2.5 ulp, and at every end the quotient of IEEE 754. A device may take denormal numbers for 0.
fn own_divide(a: f32, b: f32) -> f32 {
    // WGSL promises nothing for divisors beyond 2^126.
    let unit = select(1.0, 0.25, abs(b) > 8.0e37);
    let q = (abs(a) * unit) / (abs(b) * unit);
    let beyond = is_infinite(a) || is_zero(b);
    let vanishes = is_zero(a) || is_infinite(b);
    let y = infinite_where(beyond, select(q, 0.0, vanishes));
    let signed = bitcast<f32>(bitcast<u32>(y) ^ sign_bit(a) ^ sign_bit(b));
    return nan_where(is_nan(a) || is_nan(b) || (beyond && vanishes), signed);
}

fn own_recip(x: f32) -> f32 {
    return own_divide(1.0, x);
}

// The square root: NaN of negative numbers; zeros and infinity are their own.
fn own_sqrt(x: f32) -> f32 {
    let y = select(sqrt(abs(x)), x, is_zero(x) || !is_finite(x));
    return nan_where(is_nan(x) || bitcast<u32>(x) > 0x80000000u, y);
}
