// Time as an integer: 2^63 ticks are the interval, so sums are exact and the end is met exactly.

const END_TICKS = vec2<u32>(0x80000000u, 0u);

fn ticks_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.y + b.y;
    return vec2<u32>(a.x + b.x + select(0u, 1u, low < a.y), low);
}

fn ticks_sub(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(a.x - b.x - select(0u, 1u, a.y < b.y), a.y - b.y);
}

fn ticks_less(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x < b.x || (a.x == b.x && a.y < b.y);
}

fn ticks_equal(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x == b.x && a.y == b.y;
}

// The share of the interval: one rounding.
fn ticks_to_share(a: vec2<u32>) -> f32 {
    return fma(f32(a.y), 1.0842021724855044e-19, f32(a.x) * 4.656612873077393e-10);
}

// Exact for shares in [0, 2) of at least 2^-39.
fn share_to_ticks(share: f32) -> vec2<u32> {
    let x = share * 2147483648.0;
    let high = floor(x);
    return vec2<u32>(u32(high), u32((x - high) * 4294967296.0));
}

// Time of the node `c` of a step, in units of time; exactly that of the step's end for c = 1.
fn node_time(t: vec2<u32>, d: vec2<u32>, c: f32, t0: f32, span: f32) -> f32 {
    if c == 1.0 {
        return fma(ticks_to_share(ticks_add(t, d)), span, t0);
    }
    return fma(fma(ticks_to_share(d), c, ticks_to_share(t)), span, t0);
}

// Ticks of the path of a stochastic solve with adaptive steps: 2^30 are the interval, so each is 2^33 of the clock's.
fn path_tick(t: vec2<u32>) -> u32 {
    return t.x >> 1u;
}

// Length of a step of wanted length from `t`, shortened so that it ends on a tick of the path of which it holds 16 to 32;
// then a query ends five levels below its size: `problem::Brownian::end_of_step`.
fn to_path_tick(t: vec2<u32>, wanted: vec2<u32>) -> vec2<u32> {
    let ticks = path_tick(wanted);
    var grain = 1u;
    if ticks >= 32u {
        grain = 1u << (firstLeadingBit(ticks) - 4u);
    }
    let end = (path_tick(t) + ticks) & ~(grain - 1u);
    return vec2<u32>((end << 1u) - t.x, 0u);
}

// The same, for a step that may end beyond the interval, and then ends with it.
fn within_path(t: vec2<u32>, wanted: vec2<u32>) -> vec2<u32> {
    let rest = ticks_sub(END_TICKS, t);
    if !ticks_less(wanted, rest) {
        return rest;
    }
    return to_path_tick(t, wanted);
}
