//! A model, its solver and its training as a file, which is read and printed.

mod file;
mod fill;
mod print;
mod read;
mod recurrent;
mod schedule;

pub(crate) use file::ModelFile;
pub(crate) use print::text;
