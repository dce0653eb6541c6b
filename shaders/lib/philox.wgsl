// Philox4x32-10 (Salmon et al., SC 2011), the twin of `math::philox4x32`: the same integers on every device.

// The high and the low word of a product.
fn wide_product(a: u32, b: u32) -> vec2<u32> {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 16u);
    let other = a0 * b1 + (middle & 0xffffu);
    return vec2<u32>(a1 * b1 + (middle >> 16u) + (other >> 16u), (other << 16u) | (low & 0xffffu));
}

fn philox_round(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    let p = wide_product(counter.x, 0xd2511f53u);
    let q = wide_product(counter.z, 0xcd9e8d57u);
    return vec4<u32>(q.x ^ counter.y ^ key.x, q.y, p.x ^ counter.w ^ key.y, p.y);
}

// Two rounds with keys one and two bumps further.
fn philox_rounds(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    return philox_round(philox_round(counter, key), key + vec2<u32>(0x9e3779b9u, 0xbb67ae85u));
}

// Ten rounds, written out: a solve draws too often for loops to be spent on them.
fn philox4x32(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    let bumps = vec2<u32>(0x3c6ef372u, 0x76cf5d0au);
    var x = philox_rounds(counter, key);
    x = philox_rounds(x, key + bumps);
    x = philox_rounds(x, key + 2u * bumps);
    x = philox_rounds(x, key + 3u * bumps);
    return philox_rounds(x, key + 4u * bumps);
}
