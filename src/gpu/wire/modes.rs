//! Modes: what a kernel is asked for, and what a word may say, each variant with its number. The contract finds every one
//! of them among the constants of the shaders that are named after it.

use crate::error;
use crate::method::{self, NoiseScale};
use crate::problem;

/// A mode or a set of bits: the kernels that have it, and its constants as the shaders spell them.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) shaders: &'static [&'static str],
    pub(crate) numbers: &'static [(&'static str, u32)],
}

macro_rules! modes {
    ($($(#[$doc:meta])* $name:ident [$($shader:literal)*] {
        $($(#[$of:meta])* $variant:ident = $constant:ident = $number:literal,)*
    })*) => {
        $($(#[$doc])*
        #[allow(dead_code, reason = "some are the shaders' own to say")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub(crate) enum $name { $($(#[$of])* $variant = $number,)* }

        impl From<$name> for u32 {
            fn from(mode: $name) -> Self {
                mode as Self
            }
        }

        impl PartialEq<$name> for u32 {
            fn eq(&self, mode: &$name) -> bool {
                *self == *mode as Self
            }
        })*

        /// Every mode.
        #[cfg(test)]
        pub(crate) const MODES: &[Numbers] = &[$(Numbers {
            shaders: &[$($shader),*],
            numbers: &[$((stringify!($constant), $number)),*],
        }),*];
    };
}

macro_rules! bits {
    ($($(#[$doc:meta])* $name:ident [$($shader:literal)*] { $($(#[$of:meta])* $constant:ident = $number:literal,)* })*) => {
        $($(#[$doc])*
        pub(crate) mod $name { $($(#[$of])* pub(crate) const $constant: u32 = $number;)* })*

        /// Every set of bits.
        #[cfg(test)]
        pub(crate) const BITS: &[Numbers] = &[$(Numbers {
            shaders: &[$($shader),*],
            numbers: &[$((stringify!($constant), $number)),*],
        }),*];
    };
}

modes! {
    /// How a row or a clock stands; `error::Status`, and what is the device's own.
    RowStatus ["begin" "finish" "walk"] {
        Done = DONE = 0,
        Running = RUNNING = 1,
        MaxSteps = MAX_STEPS = 2,
        StepTooSmall = STEP_TOO_SMALL = 3,
        NonFinite = NON_FINITE = 4,
        /// The tape is full, and the host makes room.
        Paused = PAUSED = 5,
        /// The row's own interval is empty: it is done from the start.
        Stands = STANDS = 6,
    }
    /// What a cursor's row does: nothing is to be done, it takes the step, or it rests while others take theirs.
    Moving ["combine" "dense" "probe_cursor" "walk"] {
        Still = STILL = 0,
        Moves = MOVES = 1,
        Rests = RESTS = 2,
    }
    /// What the controller decides about.
    Control ["control_lockstep" "control_ensemble"] {
        Begin = BEGIN = 0,
        Change = CHANGE = 1,
        Attempt = ATTEMPT = 2,
        Resume = RESUME = 3,
        /// Where a solve by other kernels has come to.
        Aim = AIM = 4,
    }
    /// Whether a dispatch begins a solve of whole trajectories.
    SolveWhole ["lockstep_solve" "ensemble_solve"] {
        Start = START = 0,
        GoOn = GO_ON = 1,
    }
    /// What is summed over a row's features.
    Norm ["row_norm"] {
        StateAndSlope = STATE_AND_SLOPE = 0,
        ChangeOfSlope = CHANGE_OF_SLOPE = 1,
        Error = ERROR = 2,
        NotFinite = NOT_FINITE = 3,
        Stiffness = STIFFNESS = 4,
    }
    /// Which points are saved.
    Save ["save"] {
        WithinStep = WITHIN_STEP = 0,
        AtStart = AT_START = 1,
    }
    /// Where the walk's cursors are aimed.
    Walk ["walk"] {
        Begin = BEGIN = 0,
        Back = BACK = 1,
        Again = AGAIN = 2,
        At = AT = 3,
        Pass = PASS = 4,
    }
    /// What is added to the cotangent of the state at hand.
    BarUpdate ["bar_update"] {
        Clear = CLEAR = 0,
        Before = BEFORE = 1,
        Join = JOIN = 2,
        After = AFTER = 3,
    }
    /// Whose stage a cotangent is of.
    StageBar ["stage_bar"] {
        Drift = DRIFT = 0,
        Diffusion = DIFFUSION = 1,
    }
    /// What a diffusion stage is multiplied by: one of the step's integrals, or the root of its length.
    Scale ["stage_bar"] {
        Increment = SCALE_INCREMENT = 0,
        Mean = SCALE_MEAN = 2,
        Root = SCALE_ROOT = 4,
    }
    /// How the cotangent of a reversible method's second state moves.
    SecondBar ["second_bar"] {
        Clear = CLEAR = 0,
        Step = STEP = 1,
        FirstStep = FIRST_STEP = 2,
    }
    /// Whether increments are those of the path, or apart from it.
    Increments ["increments"] {
        Follow = FOLLOW = 0,
        Fresh = FRESH = 1,
    }
    /// Where a probe is aimed.
    ProbeAt ["probe_cursor" "probe_place"] {
        Unbiased = UNBIASED = 0,
        Biased = BIASED = 1,
        Again = AGAIN = 2,
    }
    /// What is random or constant in a measure at a point.
    Direction ["point_place"] {
        Nothing = UNDIRECTED = 0,
        Signs = SIGNS = 1,
        Chord = CHORD = 2,
    }
    /// What a measure's value is added up over: a random time; nothing yet, or a stage of a step, of all of them.
    PointSum ["point_value"] {
        Drawn = DRAWN = 0,
        Begin = BEGIN = 1,
        Stage = STAGE = 2,
    }
    /// Whether a cotangent is put where it is kept, or added to what is there.
    Store ["probe_store"] {
        Put = PUT = 0,
        Add = ADD = 1,
    }
    /// Which of the automatic initial step's two a probe is given.
    ProbeStep ["probe_step"] {
        Trial = TRIAL = 0,
        Step = STEP = 1,
    }
    /// What is measured of a probe.
    ProbeMeasure ["probe_value" "probe_bar" "step_weights"] {
        Error = ERROR = 0,
        Stiffness = STIFFNESS = 1,
        StepCount = STEP_COUNT = 2,
    }
    /// What is made of the measures of a solve's steps.
    Aggregate ["step_weights"] {
        Sum = SUM = 0,
        Mean = AVERAGE = 1,
        PublishedMean = PUBLISHED_AVERAGE = 2,
        Max = LARGEST = 3,
    }
    /// What saved states of trajectories that failed are set to.
    Settle ["settle"] {
        Zero = ZERO = 0,
        AfterFailure = AFTER_FAILURE = 1,
    }
    /// Whether there is something to learn, and learning it.
    Learn ["learn"] {
        Note = NOTE = 0,
        Learn = LEARN = 1,
    }
    /// What a batch is judged by.
    Loss ["loss"] {
        CrossEntropy = CROSS_ENTROPY = 0,
        Mse = MSE = 1,
        Mae = MAE = 2,
        Moments = MOMENTS = 3,
        NegativeLogLikelihood = SURPRISE = 4,
    }
    /// What a row's loss counts in the batch's.
    Counts ["loss"] {
        Equal = EQUAL = 0,
        Alone = ALONE = 1,
        Own = OWN = 2,
    }
    /// The recurrence of an optimizer.
    Rule ["update"] {
        Sgd = SGD = 0,
        Momentum = MOMENTUM = 1,
        Nesterov = NESTEROV = 2,
        Adam = ADAM = 3,
        AdamW = ADAMW = 4,
        AdaMax = ADAMAX = 5,
        AdaBelief = ADABELIEF = 6,
        RmsProp = RMSPROP = 7,
    }
    /// How gradients are clipped.
    Clip ["update"] {
        None = CLIP_NONE = 0,
        Norm = CLIP_NORM = 1,
        Value = CLIP_VALUE = 2,
    }
    /// Whether an update is looked at or made.
    Update ["update"] {
        Make = MAKE = 0,
        Look = LOOK = 1,
    }
    /// What became of a training step: `Outcome::skipped`.
    Verdict ["gradient_norm" "update" "learn"] {
        Updated = UPDATED = 0,
        Skipped = SKIPPED = 1,
        Aborted = ABORTED = 2,
        Incomplete = INCOMPLETE = 3,
        NotWanted = NOT_WANTED = 4,
        Cut = CUT = 5,
    }
    /// What a unit makes of its sum.
    Activation ["dense" "lockstep_solve" "ensemble_solve" "whole_adjoint"] {
        Identity = IDENTITY = 0,
        Tanh = TANH = 1,
        Relu = RELU = 2,
        Softplus = SOFTPLUS = 3,
        Sigmoid = SIGMOID = 4,
        Silu = SILU = 5,
        Gelu = GELU = 6,
    }
    /// How a control goes from knot to knot.
    Interpolation ["run"] {
        Hold = HOLD = 0,
        Linear = LINES = 1,
        Cubic = SPLINE = 2,
    }
}

bits! {
    /// What a job is told by bits.
    flag [] {
        KEEP = 1,
        END = 2,
        STATE = 4,
        CUBE = 8,
        FIRST = 16,
        FSAL = 32,
        TIME = 64,
        STAGE_OUT = 128,
        RECORD = 256,
        FIXED = 512,
        LINEAR = 1024,
        ALWAYS = 2048,
        NOISE = 4096,
        SECOND = 8192,
        BARE = 16384,
        TOGETHER = 32768,
        ERRORS = 65536,
        MEASURE = 131072,
    }
    /// What is known, or to be learnt.
    learnable ["begin" "next_step" "learn"] {
        FIRST_LENGTH = 1,
        IDEAL_STEPS = 2,
        COSTS = 4,
    }
    /// Coefficients that follow a budget.
    follower ["next_step"] {
        OF_STEPS = 1,
        OF_ALL_STEPS = 2,
        OF_MEASURES = 4,
    }
}

/// A status as the device writes it.
pub(crate) fn status(code: u32) -> error::Status {
    use error::Status;
    if code == RowStatus::Stands {
        return Status::Done;
    }
    let known = [Status::Done, Status::MaxSteps, Status::StepTooSmall, Status::NonFinite];
    // One that waits for room on the tape is on its way.
    known.into_iter().find(|status| *status as u32 == code).unwrap_or(Status::Running)
}

impl From<method::Loss> for Loss {
    fn from(loss: method::Loss) -> Self {
        match loss {
            method::Loss::CrossEntropy => Self::CrossEntropy,
            // Of squares too, with a factor.
            method::Loss::Mse | method::Loss::Gaussian { .. } => Self::Mse,
            method::Loss::Mae => Self::Mae,
            method::Loss::Moments => Self::Moments,
            method::Loss::NegativeLogLikelihood => Self::NegativeLogLikelihood,
        }
    }
}

impl From<method::Measure> for ProbeMeasure {
    fn from(measure: method::Measure) -> Self {
        match measure {
            method::Measure::Error => Self::Error,
            method::Measure::Stiffness => Self::Stiffness,
            method::Measure::StepCount => Self::StepCount,
        }
    }
}

impl From<method::PointMeasure> for Direction {
    fn from(measure: method::PointMeasure) -> Self {
        use method::PointMeasure;
        match measure {
            PointMeasure::SecondDerivative | PointMeasure::ThirdDerivative | PointMeasure::Kinetic => Self::Nothing,
            PointMeasure::Jacobian => Self::Signs,
            PointMeasure::Straightness => Self::Chord,
        }
    }
}

impl From<method::Aggregate> for Aggregate {
    fn from(aggregate: method::Aggregate) -> Self {
        match aggregate {
            method::Aggregate::Sum => Self::Sum,
            method::Aggregate::Mean => Self::Mean,
            method::Aggregate::PublishedMean => Self::PublishedMean,
            method::Aggregate::Max => Self::Max,
        }
    }
}

impl From<NoiseScale> for Scale {
    fn from(scale: NoiseScale) -> Self {
        match scale {
            NoiseScale::Increment => Self::Increment,
            NoiseScale::Mean => Self::Mean,
            NoiseScale::Root => Self::Root,
        }
    }
}

impl From<problem::Interpolation> for Interpolation {
    fn from(interpolation: problem::Interpolation) -> Self {
        match interpolation {
            problem::Interpolation::Hold => Self::Hold,
            problem::Interpolation::Linear => Self::Linear,
            problem::Interpolation::Cubic => Self::Cubic,
        }
    }
}

impl From<problem::Activation> for Activation {
    fn from(activation: problem::Activation) -> Self {
        match activation {
            problem::Activation::Identity => Self::Identity,
            problem::Activation::Tanh => Self::Tanh,
            problem::Activation::Relu => Self::Relu,
            problem::Activation::Softplus => Self::Softplus,
            problem::Activation::Sigmoid => Self::Sigmoid,
            problem::Activation::Silu => Self::Silu,
            problem::Activation::Gelu => Self::Gelu,
        }
    }
}
