//! Training runs: one by one, the session that they share, and the folder they are kept in.

mod attempt;
pub(crate) mod checkpoint;
mod identity;
mod metrics;
mod outdir;
mod progress;
mod session;
mod training;

pub(crate) use outdir::{BENCH, CHECK, SWEEP};
pub(crate) use session::{Ending, Session};
