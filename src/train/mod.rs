//! Training: an encoder and a head around the equation, losses, regularizers, optimizers and checkpoints.

mod batches;
#[cfg(not(target_arch = "wasm32"))]
mod blocking;
mod checkpoint;
mod config;
mod cpu;
mod curriculum;
mod deployed;
mod drawing;
mod flow;
mod gpu;
mod hypersolver;
mod learner;
mod model;
pub mod models;
mod optimizer;
mod report;
mod shooting;
mod state;
mod state_map;
mod stopping;
mod times;

pub use batches::{Batch, Batches};
#[cfg(not(target_arch = "wasm32"))]
pub use blocking::Blocking;
pub use checkpoint::CheckpointInfo;
pub use config::{FailurePolicy, TrainerConfig};
pub use cpu::Trainer;
pub use curriculum::Curriculum;
pub use deployed::Deployed;
pub use gpu::{GpuData, GpuTrainer, SliceReport, TrainIo};
pub use hypersolver::{HyperReport, HyperTraining, Hypersolver};
pub use learner::{Backend, Learner};
pub use model::{NeuralDe, TensorLayout};
pub use optimizer::{Clip, Optimizer, OptimizerState, Rule, Update};
pub use report::{Evaluation, StepGradients, StepReport};
pub use shooting::{Segment, SegmentBatch, Segments, Series, Shooting};
pub use state_map::StateMap;
pub use stopping::{Best, EarlyStopping, Verdict};
pub use times::StepTimes;
