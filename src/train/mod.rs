//! Training: a linear encoder and head around the equation, losses, regularizers, optimizers and checkpoints.

mod batches;
mod checkpoint;
mod config;
mod cpu;
mod deployed;
mod gpu;
mod loss;
mod model;
mod report;

pub use batches::{Batch, Batches};
pub use checkpoint::{CheckpointInfo, remove_temporaries, write_whole};
pub use config::{FailurePolicy, TrainerConfig};
pub use cpu::Trainer;
pub use deployed::Deployed;
#[cfg(test)]
pub(crate) use gpu::{ABORTED, INCOMPLETE, SKIPPED};
pub use gpu::{GpuData, GpuTrainer, SliceReport, TrainIo};
pub use loss::{Loss, Target};
pub use model::{NeuralDe, TensorLayout};
pub use report::{Evaluation, StepGradients, StepReport};
