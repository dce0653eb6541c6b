//! Data sets: read or generated, and what tells them apart.

mod digest;
mod digits;
mod file;
mod idx;
mod samples;
mod spiral;
mod spiral_sde;

pub(crate) use digest::{DataIdentity, digest};
pub(crate) use digits::digits;
pub(crate) use idx::IdxFiles;
#[cfg(test)]
pub(crate) use samples::Trajectories;
pub(crate) use samples::{BatchBuffer, Data, Samples};
pub(crate) use spiral::{END as SPIRAL_END, SAVE_TIMES as SPIRAL_TIMES, spiral};
pub(crate) use spiral_sde::{spiral_sde, times as spiral_sde_times};
