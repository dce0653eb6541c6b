//! [`Held`]: buffers, and the plans that bind them.

use std::collections::HashMap;
use std::sync::Arc;

use super::buffers::Buffers;
use super::plan::SolvePlans;

/// Buffers, and the plans that bind them. Other buffers are another `Held`, which has no plans yet: so no plan outlives what
/// it binds, and none keeps buffers alive that were given up.
#[derive(Debug)]
pub(crate) struct Held<B, P> {
    buffers: B,
    pub(crate) plans: P,
}

impl<B, P: Default> Held<B, P> {
    pub(crate) fn new(buffers: B) -> Self {
        Self { buffers, plans: P::default() }
    }

    pub(crate) const fn buffers(&self) -> &B {
        &self.buffers
    }

    /// The buffers, without the plans.
    pub(crate) fn into_buffers(self) -> B {
        self.buffers
    }

    /// With others, some of which may be the same.
    pub(crate) fn with(self, change: impl FnOnce(B) -> B) -> Self {
        Self::new(change(self.buffers))
    }
}

impl<B: AsRef<Buffers>, P> AsRef<Buffers> for Held<B, P> {
    fn as_ref(&self) -> &Buffers {
        self.buffers.as_ref()
    }
}

/// What a solver holds: the plans of solves, by rows and by whether a backward pass follows.
pub(crate) type Solves = Held<Buffers, HashMap<(usize, bool), Arc<SolvePlans>>>;
