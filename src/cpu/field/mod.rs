//! Fields on a tile: programs compiled once, and run.

pub(crate) mod code;
pub(crate) mod compile;
pub(crate) mod drive;
pub(crate) mod evaluate;
pub(crate) mod knots;
pub(crate) mod layer;
pub(crate) mod map;
pub(crate) mod rows;
#[cfg(test)]
mod tests;
