// Functions of programs with their slopes, and what programs do with two numbers; `src/gpu/print.rs` calls them. They are
// functions so that no compiler takes a quotient of literals for a constant, which may not be infinite.

fn map_neg(x: f32) -> f32 {
    return -x;
}

fn slope_neg(x: f32) -> f32 {
    return -1.0;
}

fn map_abs(x: f32) -> f32 {
    return abs(x);
}

fn slope_abs(x: f32) -> f32 {
    return select(sign(x), x, is_nan(x));
}

fn map_square(x: f32) -> f32 {
    return x * x;
}

fn slope_square(x: f32) -> f32 {
    return 2.0 * x;
}

fn map_cube(x: f32) -> f32 {
    return x * x * x;
}

fn slope_cube(x: f32) -> f32 {
    return 3.0 * x * x;
}

fn map_sqrt(x: f32) -> f32 {
    return own_sqrt(x);
}

fn slope_sqrt(x: f32) -> f32 {
    return own_divide(0.5, map_sqrt(x));
}

fn map_recip(x: f32) -> f32 {
    return own_divide(1.0, x);
}

fn slope_recip(x: f32) -> f32 {
    return own_divide(-1.0, x * x);
}

fn map_exp(x: f32) -> f32 {
    return own_exp_full(x);
}

fn slope_exp(x: f32) -> f32 {
    return map_exp(x);
}

fn map_ln(x: f32) -> f32 {
    return own_ln(x);
}

fn slope_ln(x: f32) -> f32 {
    return map_recip(x);
}

fn map_sin(x: f32) -> f32 {
    return own_sin(x);
}

fn slope_sin(x: f32) -> f32 {
    return map_cos(x);
}

fn map_cos(x: f32) -> f32 {
    return own_cos(x);
}

fn slope_cos(x: f32) -> f32 {
    return -map_sin(x);
}

fn map_tanh(x: f32) -> f32 {
    return activate(TANH, x).x;
}

fn slope_tanh(x: f32) -> f32 {
    return activate(TANH, x).y;
}

fn map_sigmoid(x: f32) -> f32 {
    return activate(SIGMOID, x).x;
}

fn slope_sigmoid(x: f32) -> f32 {
    return activate(SIGMOID, x).y;
}

fn map_softplus(x: f32) -> f32 {
    return activate(SOFTPLUS, x).x;
}

fn slope_softplus(x: f32) -> f32 {
    return activate(SOFTPLUS, x).y;
}

fn map_relu(x: f32) -> f32 {
    return activate(RELU, x).x;
}

fn slope_relu(x: f32) -> f32 {
    return activate(RELU, x).y;
}

fn map_silu(x: f32) -> f32 {
    return activate(SILU, x).x;
}

fn slope_silu(x: f32) -> f32 {
    return activate(SILU, x).y;
}

fn map_gelu(x: f32) -> f32 {
    return activate(GELU, x).x;
}

fn slope_gelu(x: f32) -> f32 {
    return activate(GELU, x).y;
}

// The first one where they are equal, or none is known.
// Of what is no number the smaller or larger one is none.
fn smaller(a: f32, b: f32) -> f32 {
    return select(select(a, b, b < a), b, is_nan(b));
}

fn larger(a: f32, b: f32) -> f32 {
    return select(select(a, b, b > a), b, is_nan(b));
}
