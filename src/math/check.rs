//! What is checked of numbers that a caller gives.

use super::Real;
use crate::error::{Error, Result};

/// Names the first number of a slice that is not finite.
pub(crate) fn check_finite<R: Real>(argument: &'static str, numbers: &[R]) -> Result<()> {
    // Block by block, so that a block is SIMD code; then the first bad number, if there is any.
    let fine = |block: &[R]| block.iter().fold(true, |fine, x| fine & x.is_finite());
    if numbers.chunks(1024).all(fine) {
        return Ok(());
    }
    match numbers.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Error::NonFinite { argument, index, value: numbers[index].to_string() }),
    }
}
