//! [`Workspace`]: the bytes that a solve holds.

/// Bytes that a solve holds, told before anything is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Workspace {
    /// States, stages and saved states of the batch.
    pub states: usize,
    /// The tape of accepted states.
    pub tape: usize,
    /// Parameter gradients and packed weights.
    pub parameters: usize,
    /// What each thread needs to work in.
    pub rooms: usize,
}

impl Workspace {
    /// All of it; as its parts, `usize::MAX` where it would be more.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.states.saturating_add(self.tape).saturating_add(self.parameters).saturating_add(self.rooms)
    }
}
