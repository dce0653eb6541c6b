// Activations with their derivatives.

const IDENTITY = 0u;
const TANH = 1u;
const RELU = 2u;
const SOFTPLUS = 3u;
const SIGMOID = 4u;
const SILU = 5u;
const GELU = 6u;

// 1 / (1 + e^-x), from e^-|x|, so that nothing overflows on either side.
fn sigmoid_pair(x: f32) -> vec2<f32> {
    let small = own_exp(-abs(x));
    let denominator = 1.0 + small;
    return vec2<f32>(select(1.0, small, x < 0.0) / denominator, small / (denominator * denominator));
}

// The value and the derivative.
fn activate(kind: u32, x: f32) -> vec2<f32> {
    switch kind {
        case TANH: {
            let a = own_tanh(x);
            return vec2<f32>(a, fma(-a, a, 1.0));
        }
        case RELU: {
            return select(select(vec2<f32>(0.0, 0.0), vec2<f32>(x, 1.0), x > 0.0), vec2<f32>(x, 0.0), is_nan(x));
        }
        case SOFTPLUS: {
            return vec2<f32>(select(0.0, x, x > 0.0) + own_ln_1p_unit(own_exp(-abs(x))), sigmoid_pair(x).x);
        }
        case SIGMOID: {
            return sigmoid_pair(x);
        }
        case SILU: {
            let s = sigmoid_pair(x);
            // On the far left the sigmoid stays at the smallest normal number; the clamp keeps its product as small.
            let inside = select(max(x, -104.0), x, is_nan(x));
            // On the far right its slope is 0, and infinity times that would be no number.
            return vec2<f32>(inside * s.x, fma(min(inside, 104.0), s.y, s.x));
        }
        case GELU: {
            let c = 1.5957691216057308;
            let inside = select(clamp(x, -20.0, 20.0), x, is_nan(x));
            let square = inside * inside;
            let s = sigmoid_pair(c * inside * fma(0.044715, square, 1.0));
            let du = c * fma(0.134145, square, 1.0);
            return vec2<f32>(select(x, inside, x < inside) * s.x, fma(inside * s.y, du, s.x));
        }
        default: {
            return vec2<f32>(x, 1.0);
        }
    }
}
