//! Threads, and what each of them works on.

pub(crate) mod cpu;
pub(crate) mod equation_room;
pub(crate) mod measure_bars;
pub(crate) mod reduction;
pub(crate) mod run;
pub(crate) mod shard;
pub(crate) mod task;
pub(crate) mod walk_room;
pub(crate) mod workers;
