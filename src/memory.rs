//! Memory is told before it is taken: sizes are multiplied without wrapping, compared with limits, and the system is
//! asked for what is about to be held, so that a refusal is an error and not the end of the process.

use std::ops::{Add, Mul};

use crate::error::{Error, Result};
use crate::math::Real;

/// A number of bytes, or of numbers, that stays at the largest one instead of wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) usize);

impl From<usize> for Size {
    fn from(size: usize) -> Self {
        Self(size)
    }
}

impl<T: Into<Self>> Add<T> for Size {
    type Output = Self;

    fn add(self, other: T) -> Self {
        Self(self.0.saturating_add(other.into().0))
    }
}

impl<T: Into<Self>> Mul<T> for Size {
    type Output = Self;

    fn mul(self, other: T) -> Self {
        Self(self.0.saturating_mul(other.into().0))
    }
}

impl Mul<Size> for usize {
    type Output = Size;

    fn mul(self, other: Size) -> Size {
        Size(self) * other
    }
}

impl std::iter::Sum for Size {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self(0), Self::add)
    }
}

impl Size {
    pub(crate) fn bytes<T>(self) -> Self {
        self * size_of::<T>()
    }
}

/// Asks the system for so many bytes at once, and gives them back: it then refuses here, and not where they are taken
/// piece by piece.
pub(crate) fn ask(what: &'static str, bytes: Size) -> Result<()> {
    let refused = |_| Error::OutOfMemory { what, bytes: bytes.0 };
    let mut room = Vec::<u8>::new();
    room.try_reserve_exact(bytes.0).map_err(refused)?;
    // Room that nobody uses need not be asked for, a compiler may think.
    std::hint::black_box(&mut room);
    Ok(())
}

/// So many zeros.
pub(crate) fn zeros<R: Real>(what: &'static str, count: usize) -> Result<Vec<R>> {
    let mut zeros = Vec::new();
    let refused = |_| Error::OutOfMemory { what, bytes: Size(count).bytes::<R>().0 };
    zeros.try_reserve_exact(count).map_err(refused)?;
    zeros.resize(count, R::ZERO);
    Ok(zeros)
}

/// The largest number in `0..=most` for which `fits` holds; it holds for all smaller ones.
pub(crate) fn largest(most: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_do_not_wrap() {
        assert_eq!(2 * Size(3) * 5 + 1, Size(31));
        assert_eq!(Size(usize::MAX / 2) * 3 + 1, Size(usize::MAX), "products stay at the largest number");
        assert_eq!([Size(usize::MAX), Size(7)].into_iter().sum::<Size>(), Size(usize::MAX), "and sums do");
    }

    #[test]
    fn what_the_system_does_not_have_is_an_error() {
        // No machine has 2^62 bytes, and none addresses 2^64.
        for bytes in [1 << 62, usize::MAX] {
            let error = ask("a test", Size(bytes)).expect_err("more than there is");
            assert!(matches!(error, Error::OutOfMemory { bytes: told, .. } if told == bytes), "{error}");
            let error = zeros::<f64>("a test", bytes / 8).expect_err("more than there is");
            assert!(error.to_string().contains("a test"), "{error}");
        }
        assert_eq!(zeros::<f32>("a test", 3).expect("12 bytes"), [0.0; 3]);
    }

    #[test]
    fn the_largest_that_fits_is_found() {
        for most in 0..20 {
            for bound in 0..25 {
                assert_eq!(largest(most, |n| n <= bound), most.min(bound), "up to {bound} of {most}");
            }
        }
    }
}
