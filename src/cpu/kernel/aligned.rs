//! [`Aligned`]: rows of a tile that begin where a cache line does.

use std::ops::{Deref, DerefMut};

use super::scalar::Scalar;

/// Bytes of a cache line, and of the widest vectors.
const LINE: usize = 64;

/// A fixed number of scalars, the first at a multiple of 64 bytes, so that no vector of a row lies across two cache lines (2 to 6 % of a solve of small fields).
/// A large `Vec` never begins there: allocators put 16 bytes of their own before it.
#[derive(Debug)]
pub(crate) struct Aligned<R> {
    numbers: Vec<R>,
    start: usize,
    len: usize,
}

impl<R: Scalar> Aligned<R> {
    pub(crate) fn zeros(len: usize) -> Self {
        let spare = LINE / size_of::<R>();
        let numbers = vec![R::ZERO; len + spare];
        // The allocation is never grown, and so stays where it is. Where alignment cannot be told it is left out.
        let start = numbers.as_ptr().align_offset(LINE).min(spare);
        Self { numbers, start, len }
    }
}

impl<R> Aligned<R> {
    pub(crate) fn as_slice(&self) -> &[R] {
        self
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [R] {
        self
    }
}

impl<R> Deref for Aligned<R> {
    type Target = [R];

    fn deref(&self) -> &[R] {
        &self.numbers[self.start..][..self.len]
    }
}

impl<R> DerefMut for Aligned<R> {
    fn deref_mut(&mut self) -> &mut [R] {
        &mut self.numbers[self.start..][..self.len]
    }
}
