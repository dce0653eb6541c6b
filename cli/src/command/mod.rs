//! The subcommands.

mod bench;
mod check;
mod check_field;
mod deploy;
mod devices;
mod eval;
mod forecast;
mod hypersolve;
mod predict;
mod profile;
mod sweep;
mod train;
mod tune;
mod workload;

pub(crate) use bench::bench;
pub(crate) use check::check;
pub(crate) use check_field::check_field;
pub(crate) use deploy::deploy;
pub(crate) use devices::devices;
pub(crate) use eval::eval;
pub(crate) use forecast::forecast;
pub(crate) use hypersolve::hypersolve;
pub(crate) use predict::predict;
pub(crate) use profile::profile;
pub(crate) use sweep::sweep;
pub(crate) use train::train;
pub(crate) use tune::tune;
pub(crate) use workload::bench_workload;
