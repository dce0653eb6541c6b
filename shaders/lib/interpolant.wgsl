// The method's dense output: the weight of stage `j` at `theta` of a step, from the table INTERPOLANT.

fn interpolant_weight(j: u32, theta: f32) -> f32 {
    var table = INTERPOLANT;
    let p = table[j];
    return theta * fma(theta, fma(theta, fma(theta, p.w, p.z), p.y), p.x);
}
