// What a solve or a training step leaves for the host: the only thing that is read back each step.

struct Outcome {
    unfinished: u32,      // Clocks still on their way.
    paused: u32,          // Those of them that wait for room on the tape.
    solved: u32,
    moved: u32,           // Those of them that had somewhere to go, and
    penalised: u32,       // those of these with a penalty.
    failed: u32,
    first_failed: u32,
    first_status: u32,
    nfe: u32,             // Of the costliest clock, like the next two.
    accepted: u32,
    rejected: u32,
    most_accepted: u32,
    remaining: u32,       // Steps that the backward walk still has to go.
    loss: f32,
    correct: u32,
    penalty: f32,
    gradient_norm: f32,
    skipped: u32,
    updates: u32,         // Optimizer updates made so far.
    steps: u32,           // Training steps made so far.
    cut: u32,             // Rows of which a dispatch left something undone: an adapter stopped its loops.
    ideal: f32,           // Steps of an ideal controller, of the costliest clock; of no meaning with fixed steps.
    wish: f32,            // The first step that the solve would have begun with, as a share of the interval, or 0.
    coefficient: f32,     // Where a budget has moved the first coefficient that follows it, at this training step.
    unreachable: u32,     // Whether that budget is beyond reach.
    global: f32,          // The penalty of all accepted steps.
    points: array<f32, 5>, // Those of measures at random times, by their number.
    divergence: f32,      // Of what initial states were drawn from, before its weight.
}
