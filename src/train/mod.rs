//! Training: a linear encoder and head around the ODE, losses, regularizers, optimizers and checkpoints.

mod batches;
mod checkpoint;
mod deployed;
mod gpu;
mod gpu_plans;
mod loss;
mod model;
mod trainer;

pub use batches::Batches;
pub use checkpoint::{CheckpointInfo, remove_temporaries, write_whole};
pub use deployed::Deployed;
#[cfg(test)]
pub(crate) use gpu::{ABORTED, INCOMPLETE, SKIPPED};
pub use gpu::{GpuData, GpuTrainer, SliceReport, TrainIo};
pub use loss::{Loss, Target};
pub use model::{NeuralDe, TensorLayout};
pub use trainer::{Batch, Evaluation, FailurePolicy, StepGradients, StepReport, Trainer, TrainerConfig};
