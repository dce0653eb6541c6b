//! What a tile is computed with: SIMD registers, products, and loops over slices and lanes. Nothing here knows a solve.

pub(crate) mod activation;
pub(crate) mod aligned;
pub(crate) mod dense;
pub(crate) mod dispatch;
pub(crate) mod interval;
pub(crate) mod lanes;
pub(crate) mod scalar;
