//! [`Recent`]: what the last solves took, by which it is foreseen what the next one takes.

/// How many solves are remembered.
const REMEMBERED: usize = 8;

/// Counts of the last solves.
///
/// As much is recorded ahead as the largest of them says. What is recorded and not needed does nothing, but each of its dispatches
/// is launched; what is needed and not recorded costs a round trip to the host, which is dearer. So a count that alternates is
/// recorded at its larger value, and one that fell is followed after some solves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent {
    counts: [usize; REMEMBERED],
    /// Which of them is the oldest; none where nothing is known yet.
    oldest: Option<usize>,
}

impl Recent {
    /// Nothing is known yet; `first` is foreseen.
    pub(crate) const fn foreseeing(first: usize) -> Self {
        Self { counts: [first; REMEMBERED], oldest: None }
    }

    /// Takes note of what a solve took.
    pub(crate) fn note(&mut self, count: usize) {
        match &mut self.oldest {
            Some(oldest) => {
                self.counts[*oldest] = count;
                *oldest = (*oldest + 1) % REMEMBERED;
            }
            None => *self = Self { counts: [count; REMEMBERED], oldest: Some(0) },
        }
    }

    /// What the next one will hardly exceed.
    pub(crate) fn foreseen(&self) -> usize {
        self.counts.iter().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_the_last_eight_is_foreseen() {
        let mut recent = Recent::foreseeing(8);
        assert_eq!(recent.foreseen(), 8, "before any");
        recent.note(3);
        assert_eq!(recent.foreseen(), 3, "the first one tells more");
        recent.note(5);
        for _ in 0..7 {
            recent.note(4);
            assert_eq!(recent.foreseen(), 5, "one of the last eight");
        }
        recent.note(4);
        assert_eq!(recent.foreseen(), 4, "it is forgotten");
    }
}
