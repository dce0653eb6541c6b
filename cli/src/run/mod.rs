//! Training runs: one by one, the session that they share, and the folder they are kept in.

mod attempt;
mod best;
pub(crate) mod checkpoint;
mod half_way;
mod horizon;
mod identity;
mod metrics;
mod outdir;
mod progress;
mod session;
mod training;

pub(crate) use half_way::HalfWay;
pub(crate) use outdir::{BENCH, CHECK, SWEEP, TUNE};
pub(crate) use session::{Ending, Session};
