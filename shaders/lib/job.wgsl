// What one dispatch has to do, as the host prints it once per plan; the twin of `gpu::job::Job`.

struct Job {
    rows: u32,          // Trajectories.
    dim: u32,           // Features of a state.
    per_row: u32,       // 1 where each row has its own clock and cursor, 0 where all share the first.
    mode: u32,
    stage: u32,
    stages: u32,
    points: u32,        // Save points.
    stride: u32,        // Accepted steps from one kept state to the next.
    inputs: u32,
    outputs: u32,
    theta: u32,         // First parameter of the layer.
    flags: u32,
    source: u32,        // Offsets, in elements.
    target_: u32,
    target2: u32,
    activation: u32,
    t0: f32,
    span: f32,          // Signed length of the interval.
    node: f32,          // The stage's `c`.
    atol: f32,
    rtol: f32,
    scale: f32,
    extra: f32,
    power: f32,         // 1 over the method's error power.
    a: array<vec4<f32>, 3>,
    b: array<vec4<f32>, 3>,
    u: vec4<u32>,
    v: vec4<f32>,
    w: vec4<f32>,
    x: vec4<u32>,
}

@group(0) @binding(0) var<uniform> job: Job;

const KEEP = 1u;        // Rows at rest write zeros, and derivatives are kept.
const END = 2u;         // The combination is the step's end and goes to the tape.
const STATE = 4u;       // The combination is the field's input.
const CUBE = 8u;        // The field sees y^3.
const FIRST = 16u;      // Only where the first stage is not known yet.
const FSAL = 32u;
const TIME = 64u;       // The layer sees the time.
const STAGE_OUT = 128u; // The layer's output is stage `job.stage`.
const RECORD = 256u;    // Accepted steps go to the table.
const FIXED = 512u;     // Steps of equal length, always accepted.
const LINEAR = 1024u;   // No activation, and no derivative to multiply with.
const ALWAYS = 2048u;   // No cursor decides whether the rows take part.
const NOISE = 4096u;    // Steps end on ticks of the path, and states within them lie on the chord.
const SECOND = 8192u;   // A second state is carried along.

fn has(flag: u32) -> bool {
    return (job.flags & flag) != 0u;
}
