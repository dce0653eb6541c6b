// The weights of a sum of a step's stages. A kernel that uses it has it among its arguments as `sum`.

struct Sum {
    drift: array<vec4<f32>, 3>,     // Of the drift's stages, times h.
    noise: array<vec4<f32>, 5>,     // Of the diffusion's by dW, by chi1 to chi3 and by the root of h.
    drift_count: u32,
    noise_count: u32,
    diffusion: u32,                 // Where the diffusion's stages begin.
    pad: u32,
}
