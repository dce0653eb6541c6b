//! Data sets: read or generated, and what tells them apart.

mod columns;
mod density;
mod digest;
mod digits;
mod file;
mod idx;
mod samples;
mod series;
mod set;
mod sheet;
mod source;
mod spiral;
mod spiral_sde;
mod table;

pub(crate) use columns::Column;
pub(crate) use density::{checkerboard, gaussians, moons};
pub(crate) use digest::{DataIdentity, digest};
pub(crate) use digits::digits;
pub(crate) use idx::IdxFiles;
pub(crate) use samples::{BatchBuffer, Rows, Samples, Wanted};
pub(crate) use series::Series;
pub(crate) use set::{Data, Own};
pub(crate) use sheet::Sheet;
pub(crate) use source::Source;
pub(crate) use spiral::{END as SPIRAL_END, SAVE_TIMES as SPIRAL_TIMES, spiral};
pub(crate) use spiral_sde::{spiral_sde, times as spiral_sde_times};
pub(crate) use table::{Output, Table};
