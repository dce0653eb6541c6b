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

// Whether `p` lies in the step, its start excluded and its end included.
fn covers(t: vec2<u32>, d: vec2<u32>, p: vec2<u32>) -> bool {
    return ticks_less(t, p) && !ticks_less(ticks_add(t, d), p);
}
