//! The backward pass: the [`Walk`](walk::Walk) over the accepted steps, and where it has their states from.

pub(crate) mod backsolve;
pub(crate) mod hook;
pub(crate) mod rewind;
pub(crate) mod track;
pub(crate) mod walk;
