// Errors in units of the tolerances, and the cotangent of their norm. `atol_of` is printed before the kernel.

// The largest number of whose square there are as many as one in a sum without overflow, and some to spare.
const LARGEST_SQUARE_ROOT = 9.2e18;

// Any larger one says the same, and the sum of the squares of all, in lockstep those of the whole batch, would overflow. A
// scaled slope has a unit, so that it is no smaller than it must be.
fn largest_scaled() -> f32 {
    return LARGEST_SQUARE_ROOT * inverseSqrt(f32(job.dim) * select(f32(job.rows), 1.0, job.per_row == 1u));
}

// The finite `e` of a feature in units of the tolerances at `y` and `y1`.
fn scaled(feature: u32, e: f32, y: f32, y1: f32) -> f32 {
    let s = fma(job.rtol, max(abs(y), abs(y1)), atol_of(feature));
    // Before the quotient, which might overflow; what is not finite stays so.
    let largest = largest_scaled();
    return select(e / s, largest, is_finite(e) && abs(e) > largest * s);
}

// Of a feature's error `e`, of the step's start and of its end, from the norm's weight in the gradient.
fn scaled_error_vjp(feature: u32, e: f32, y: f32, y1: f32, weight: f32) -> vec3<f32> {
    let end_larger = abs(y1) > abs(y);
    let larger = select(y, y1, end_larger);
    let s = fma(job.rtol, abs(larger), atol_of(feature));
    // Where the norm does not follow the error, it has no slope.
    let r = select(e / s, 0.0, abs(e) > largest_scaled() * s);
    let r_over_s = weight * r / s;
    let toward = -(r_over_s * r) * job.rtol * select(1.0, -1.0, larger < 0.0);
    return vec3<f32>(r_over_s, select(toward, 0.0, end_larger), select(0.0, toward, end_larger));
}
