// Iterated integrals of diagonal noise over a step, from what its path does.

// Over a step of length `h`: dW, then `chi1` to `chi3` of `method::noise_tableau`.
fn noise_integrals(increment: vec2<f32>, h: f32) -> vec4<f32> {
    let w = increment.x;
    let chi1 = (w * w - h) / (2.0 * sqrt(h));
    let chi3 = (w * w * w - 3.0 * w * h) / (6.0 * h);
    return vec4<f32>(w, chi1, fma(0.5, w, increment.y), chi3);
}
