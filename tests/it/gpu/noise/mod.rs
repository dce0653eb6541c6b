//! Problems with noise on the device.

mod gradients;
mod solve;
mod training;
