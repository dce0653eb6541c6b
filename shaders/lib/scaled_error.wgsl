// The cotangent of a scaled error norm.

// Of the error `e`, of the step's start and of its end, from the norm's weight in the gradient.
fn scaled_error_vjp(e: f32, y: f32, y1: f32, weight: f32) -> vec3<f32> {
    let end_larger = abs(y1) > abs(y);
    let larger = select(y, y1, end_larger);
    let s = fma(job.rtol, abs(larger), job.atol);
    let r = e / s;
    let r_over_s = weight * r / s;
    let toward = -(r_over_s * r) * job.rtol * select(1.0, -1.0, larger < 0.0);
    return vec3<f32>(r_over_s, select(toward, 0.0, end_larger), select(0.0, toward, end_larger));
}
