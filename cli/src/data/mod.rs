//! Data sets: read or generated, and what tells them apart.

mod columns;
mod digest;
mod digits;
mod file;
mod idx;
mod own;
mod samples;
mod series;
mod sheet;
mod spiral;
mod spiral_sde;
mod table;

pub(crate) use columns::Column;
pub(crate) use digest::{DataIdentity, digest};
pub(crate) use digits::digits;
pub(crate) use idx::IdxFiles;
pub(crate) use own::{Own, Source};
pub(crate) use samples::{BatchBuffer, Data, Rows, Samples, Wanted};
pub(crate) use series::{Series, series};
pub(crate) use sheet::Sheet;
pub(crate) use spiral::{END as SPIRAL_END, SAVE_TIMES as SPIRAL_TIMES, spiral};
pub(crate) use spiral_sde::{spiral_sde, times as spiral_sde_times};
pub(crate) use table::{Output, Table, csv};
