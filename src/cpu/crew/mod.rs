//! Threads, and what each of them works on.

pub(crate) mod cpu;
pub(crate) mod workers;
