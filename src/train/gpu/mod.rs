//! The trainer of the wgpu engine.

mod apply;
mod controls;
mod data;
mod drawn;
mod embed;
mod encoder;
mod evaluate;
mod frozen;
mod held;
mod latent;
mod loss;
mod map;
mod numbers;
mod plans;
mod reconfigure;
mod room;
mod save;
mod series;
mod shares;
mod step;
mod times;
mod trainer;

pub use data::GpuData;
pub use embed::{SliceReport, TrainIo};
pub use trainer::GpuTrainer;
