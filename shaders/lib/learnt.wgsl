// What solves have taught those that follow; the twin of `method::Learnt`, and what the last training step's solve has to teach
// until its update is made.

struct LearntState {
    known: u32,         // FIRST_LENGTH, IDEAL_STEPS: which of the next two there are.
    first: f32,
    ideal: f32,
    steps: u32,         // The budget's state, from here ...
    coefficient: f32,
    mean_nfe: f32,
    offset: f32,
    unreachable: u32,
    best: vec2<f32>,
    mark: vec2<f32>,    // ... to here.
    seen: u32,          // FIRST_LENGTH, IDEAL_STEPS, COSTS: which of the next four are to be learnt.
    wish: f32,
    measure: f32,
    nfe: f32,
    evaluations: f32,   // Of ideal steps.
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

const FIRST_LENGTH = 1u;
const IDEAL_STEPS = 2u;
const COSTS = 4u;

// The first step is somewhat shorter than what earlier ones wished for.
const CAUTION = 0.9;

// Length of an ideal probe in steps of an ideal controller.
const PROBE = 0.7;
