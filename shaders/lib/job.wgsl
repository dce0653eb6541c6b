// What one dispatch has to do, as the host prints it once per plan: what every kernel is told, then the arguments of this
// one, which its file declares; the twins are in `gpu::wire`.

struct Job {
    rows: u32,                  // Trajectories.
    dim: u32,                   // Features of a state.
    per_row: u32,               // 1 where each row has its own clock and cursor, 0 where all share the first.
    flags: u32,
    stages: u32,                // Of the network at hand.
    mode: u32,
    t0: f32,
    span: f32,                  // Signed length of the interval.
    atol: f32,
    rtol: f32,
    fixed_ticks: vec2<u32>,     // Of a step of equal length.
    args: Args,
}

@group(0) @binding(0) var<uniform> job: Job;

const KEEP = 1u;        // Rows at rest write zeros, and derivatives are kept.
const END = 2u;         // The combination is the step's end and goes to the tape.
const STATE = 4u;       // The combination is the field's input.
const CUBE = 8u;        // The field sees y^3.
const FIRST = 16u;      // Only where the first stage is not known yet.
const FSAL = 32u;
const TIME = 64u;       // The layer sees the time.
const STAGE_OUT = 128u; // The layer's output is a stage.
const RECORD = 256u;    // Accepted steps go to the table.
const FIXED = 512u;     // Steps of equal length, always accepted.
const LINEAR = 1024u;   // No activation, and no derivative to multiply with.
const ALWAYS = 2048u;   // No cursor decides whether the rows take part.
const NOISE = 4096u;    // Steps end on ticks of the path, and states within them lie on the chord.
const SECOND = 8192u;   // A second state is carried along.
const BARE = 16384u;    // The layer's product alone, without time and bias.
const TOGETHER = 32768u; // Derivatives are kept where the layer's output is.
const MEASURE = 131072u; // What is evaluated is a measure of the solution, not its slope: those that rest have no part in it.
const ERRORS = 65536u;  // What is known of accepted steps' errors goes to the table too, after all steps.

fn has(flag: u32) -> bool {
    return (job.flags & flag) != 0u;
}
