// What changes from one training step to the next; the twin of `gpu::wire::records::Params`. The host writes entries ahead, and
// the device takes the one of the step that it is at.

struct Params {
    step: vec2<u32>,              // The training step, low word first, and
    seed: vec2<u32>,              // the seed, of random draws.
    update: u32,                  // The optimizer update that `rates` belong to: not the step, where some are skipped.
    coefficient: f32,             // Of the penalty.
    share: f32,                   // Length of a penalised step where it is known from earlier ones, or 0.
    global: f32,                  // Coefficient of the penalty of all accepted steps.
    paths: vec4<u32>,             // Seed of the noise, low word first, and number of the first trajectory.
    rates: vec4<f32>,             // Learning rate, 1 / sqrt(1 - beta2^t), what weight decay leaves.
    draws: array<vec2<u32>, 64>,  // Per probe: its time in ticks, or for biased ones its place among the steps.
    times: array<vec2<u32>, 64>,  // Random times at which states are saved, in ticks and in their order.
    order: array<u32, 64>,        // Per draw of such a time, which of them it is.
    measures: array<f32, 7>,      // Coefficients of measures at such times, by their number; there are five.
    divergence: f32,              // Weight of the divergence of what initial states are drawn from.
}
