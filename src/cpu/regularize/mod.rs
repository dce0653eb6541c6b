//! What regularizers add to a backward pass: steps of their own, and a [`StepHook`](crate::cpu::adjoint::hook::StepHook) on
//! the walk.

pub(crate) mod local;
