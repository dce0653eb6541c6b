//! What can go wrong: [`Error`] for a call that cannot be carried out, [`Status`] for a trajectory that stopped.

use std::path::PathBuf;

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A call that cannot be carried out. Each message names the argument, its value and the remedy. The message is whole: no
/// variant has a [`source`](std::error::Error::source), which whoever prints a chain of errors would tell a second time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument's value is outside what the function accepts.
    #[error("{argument} = {value}: {remedy}")]
    Argument {
        /// The argument's name as the caller wrote it.
        argument: &'static str,
        /// The value that was refused.
        value: String,
        /// What to do instead.
        remedy: String,
    },
    /// A text of equations cannot be understood, or what it says does not fit; see [`Field::parse`](crate::Field::parse).
    #[error("line {line}, column {column}: {reason}\n{excerpt}")]
    Text {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1 in characters.
        column: usize,
        /// What is wrong, and what to write instead.
        reason: String,
        /// The line, with marks under what is wrong.
        excerpt: String,
    },
    /// A call that needs another one before it.
    #[error("{call} before {needs}: {remedy}")]
    Order {
        /// The call.
        call: &'static str,
        /// What has to come first.
        needs: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A slice has another length than the shapes of the problem ask for.
    #[error("{argument} holds {found} numbers, expected {expected} ({shape}): pass a slice of that shape")]
    Shape {
        /// The argument's name.
        argument: &'static str,
        /// The length that was passed.
        found: usize,
        /// The length that is needed.
        expected: usize,
        /// How the expected length is made up.
        shape: String,
    },
    /// A number that must be finite is not.
    #[error("{argument}[{index}] = {value} is not finite: clean the data, or drop that sample")]
    NonFinite {
        /// The argument's name.
        argument: &'static str,
        /// Position of the first such number.
        index: usize,
        /// The number, as printed.
        value: String,
    },
    /// The solve would need more memory than [`SolverOptions::memory_limit`](crate::SolverOptions::memory_limit) allows.
    #[error(
        "{needed} bytes are needed for {steps} steps of a batch of {batch}, memory_limit is {limit}: {}",
        memory_remedy(*steps, *largest_batch)
    )]
    Memory {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are allowed.
        limit: usize,
        /// Accepted steps that have to be kept; 0 where none is, or none was taken yet.
        steps: usize,
        /// Trajectories in the batch.
        batch: usize,
        /// The largest batch that fits; 0 if there is none.
        largest_batch: usize,
    },
    /// A request is beyond a limit of the device.
    #[error("{what} needs {needed}, and {name} of the device is {limit}: {remedy}")]
    Limit {
        /// What asks for too much.
        what: String,
        /// The limit, as `wgpu::Limits` names it, or what a shader can address.
        name: &'static str,
        /// How much is needed: bytes, or workgroups.
        needed: u64,
        /// How much there is.
        limit: u64,
        /// The largest batch that fits, if a smaller batch helps.
        largest_batch: Option<usize>,
        /// What to do.
        remedy: String,
    },
    /// The operating system has not so much memory.
    #[error(
        "the system refuses {bytes} bytes for {what}: use a smaller batch or model, and a memory_limit to be told before"
    )]
    OutOfMemory {
        /// What they are for.
        what: &'static str,
        /// Bytes that were asked for.
        bytes: usize,
    },
    /// Trajectories failed and the failure policy is to abort.
    #[error("{failed} of {batch} trajectories failed, the first one ({index}) with {status}: {}", status.remedy())]
    Trajectory {
        /// How many failed.
        failed: usize,
        /// Trajectories in the batch.
        batch: usize,
        /// Index of the first that failed.
        index: usize,
        /// Why it failed.
        status: Status,
    },
    /// Training broke: a gradient, what an update would make of the parameters, or what is to be saved, is not finite.
    #[error(
        "training step {step}: {what} at learning rate {learning_rate}: training diverged; lower the learning rate or warm \
         it up (Schedule::warmup), clip gradients (Optimizer::clip_norm), and go on from the last checkpoint"
    )]
    Diverged {
        /// The training step, counted from 1.
        step: u64,
        /// What is not finite.
        what: String,
        /// The learning rate at that step.
        learning_rate: f64,
    },
    /// A file could not be read or written.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        reason: std::io::Error,
    },
    /// A checkpoint file does not hold what it should.
    #[error("{}: {reason}: restore the file from a copy, or train anew", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No adapter is what was asked for.
    #[error(
        "{wanted}: there is no such adapter (found: {}); install a Vulkan driver (on Debian: mesa-vulkan-drivers), or \
         use the native engine",
        if found.is_empty() { "none" } else { found }
    )]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// Names of the adapters there are.
        found: String,
    },
    /// The device refused a request.
    #[error("the device refused: {reason}; try a smaller batch, another adapter, or the native engine")]
    Device {
        /// What it said.
        reason: String,
    },
    /// The device is gone: its driver was reset, or it was unplugged or destroyed.
    #[error("the device is lost ({reason}): open it again and resume from the last checkpoint")]
    DeviceLost {
        /// What the driver said.
        reason: String,
    },
    /// The worker threads could not be started.
    #[error("threads = {threads}: the operating system refused to start them ({reason}); ask for fewer")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// The reason given.
        reason: String,
    },
}

impl Error {
    pub(crate) fn argument(argument: &'static str, value: impl ToString, remedy: impl Into<String>) -> Self {
        Self::Argument { argument, value: value.to_string(), remedy: remedy.into() }
    }

    /// The message without the argument's name, for one that names it otherwise.
    pub(crate) fn unnamed(&self) -> String {
        match self {
            Self::Argument { value, remedy, .. } => format!("{value}: {remedy}"),
            other => other.to_string(),
        }
    }

    pub(crate) fn check_len(
        argument: &'static str,
        found: usize,
        expected: usize,
        shape: impl FnOnce() -> String,
    ) -> Result<()> {
        if found == expected { Ok(()) } else { Err(Self::Shape { argument, found, expected, shape: shape() }) }
    }

    /// The rows of a batch of `found` numbers, `[B][width]`, of which there is one at least.
    pub(crate) fn check_rows(argument: &'static str, found: usize, width: usize) -> Result<usize> {
        if found > 0 && found.is_multiple_of(width) {
            return Ok(found / width);
        }
        let expected = found.div_ceil(width).max(1) * width;
        Err(Self::Shape { argument, found, expected, shape: format!("[B][{width}], B > 0") })
    }

    /// Gradients before a solve, on either engine.
    pub(crate) const fn unsolved() -> Self {
        Self::Order { call: "gradients", needs: "solve", remedy: "call solve first; predict keeps no tape" }
    }
}

/// What helps where memory is short.
fn memory_remedy(steps: usize, largest_batch: usize) -> String {
    let batch = if largest_batch > 0 { format!("use a batch of at most {largest_batch}, ") } else { String::new() };
    let checkpoints = if steps > 0 { "keep fewer states (Checkpoints::Stride), " } else { "" };
    format!("{batch}{checkpoints}or allow more")
}

/// What helps where a limit of the device is in the way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cure {
    /// A batch of at most so many trajectories.
    Batch(usize),
    /// Something else.
    Other(&'static str),
}

impl Error {
    /// A request of `needed` beyond the limit called `name`. A device may be opened with more of what its adapter has, if
    /// it is a limit of the device.
    pub(crate) fn limit(what: String, name: &'static str, needed: u64, limit: u64, cure: Cure) -> Self {
        let (largest_batch, own) = match cure {
            Cure::Batch(0) => (Some(0), "use a smaller model, not even one trajectory fits".into()),
            Cure::Batch(batch) => (Some(batch), format!("use a batch of at most {batch}")),
            Cure::Other(remedy) => (None, remedy.into()),
        };
        let open = "open the device with Gpu::wanted_limits where the adapter has more, or ";
        let remedy = if name.starts_with("max_") { format!("{open}{own}") } else { own };
        Self::Limit { what, name, needed, limit, largest_batch, remedy }
    }
}

/// How a trajectory ended. The first failure wins and is never overwritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[repr(u32)]
#[non_exhaustive]
pub enum Status {
    /// The end of the interval was reached.
    #[default]
    Done = 0,
    /// Still on its way.
    Running = 1,
    /// The bound on attempted steps was reached first.
    MaxSteps = 2,
    /// The step size fell under the resolution of time.
    StepTooSmall = 3,
    /// The state or its derivative became infinite or NaN.
    NonFinite = 4,
    /// Going back does not lead to where the solve came from: the two states of
    /// [`Adjoint::Reversible`](crate::Adjoint::Reversible) came apart, it took more steps than rounding lets it undo, or
    /// [`Adjoint::Backsolve`](crate::Adjoint::Backsolve) drifted away.
    Irreversible = 5,
}

impl Status {
    /// What a user can do about this ending.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Done | Self::Running => "nothing to do",
            Self::MaxSteps => {
                "raise max_steps, loosen the tolerances, or regularize the dynamics; where training came to it, lower the \
                 learning rate"
            }
            Self::StepTooSmall => {
                "loosen the tolerances, or solve at f64; the dynamics may be discontinuous or stiff; where training came to \
                 it, lower the learning rate"
            }
            Self::NonFinite => {
                "check the initial state and the weights for infinities; lower the learning rate or clip gradients"
            }
            Self::Irreversible => {
                "use Adjoint::Discrete: the dynamics contract too fast, or take too many steps, to be undone"
            }
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Running => "running",
            Self::MaxSteps => "max-steps",
            Self::StepTooSmall => "step-too-small",
            Self::NonFinite => "non-finite",
            Self::Irreversible => "irreversible",
        })
    }
}
