//! [`Saves`]: when the states of a tile's lanes are saved, and in which slots.

use std::ops::Range;

use super::clock::Clock;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{Lanes, copy_lane, select};
use crate::cpu::kernel::scalar::Scalar;
use crate::problem::{Times, within};

/// A time of the shared clock at which the solve stores the state, and the slot that it goes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SavePoint {
    pub(crate) t: f64,
    pub(crate) slot: usize,
}

/// When states are saved: at points that all trajectories share, and at each one's own times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saves<'a> {
    pub(crate) points: &'a [SavePoint],
    /// In slots from 0 on; and the number of the first trajectory, whose row is the first.
    pub(crate) own: Option<(&'a Times, u32)>,
}

/// Up to one state of each lane that is saved.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) t: Lanes<f64>,
    /// Lanes that have one.
    pub(crate) here: [bool; LANES],
    slots: Slots,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack for the length of a call")]
enum Slots {
    Shared(usize),
    Own(Lanes<usize>),
}

impl Saves<'_> {
    /// What is saved of these lanes in a step, its start excluded.
    pub(crate) fn within<R: Scalar>(
        &self,
        interval: &Interval<R>,
        lanes: &[bool; LANES],
        (clock, trajectories): (&Clock<R>, &Lanes<u32>),
        mut found: impl FnMut(&Saved),
    ) {
        // A look at all lanes for one or two points is no dearer than the hull.
        let everywhere = clock.scaled || self.points.len() < 3;
        let [first, last] = if everywhere { [f64::NEG_INFINITY, f64::INFINITY] } else { interval.hull() };
        for point in self.points.iter().filter(|point| (first..=last).contains(&point.t)) {
            let t = clock.times(point.t);
            let here: [bool; LANES] = std::array::from_fn(|l| lanes[l] & within(t[l], interval.t0[l], interval.t1[l]));
            if here.contains(&true) {
                found(&Saved { t, here, slots: Slots::Shared(point.slot) });
            }
        }
        self.each_own(lanes, trajectories, found, |l, saved| {
            let (t0, t1) = (interval.t0[l], interval.t1[l]);
            let passed = |end: f64| saved.partition_point(|t| if t0 < t1 { *t <= end } else { *t >= end });
            passed(t0)..passed(t1)
        });
    }

    /// What is saved of these lanes where they start.
    pub(crate) fn initial<R: Scalar>(
        &self,
        lanes: &[bool; LANES],
        (clock, trajectories): (&Clock<R>, &Lanes<u32>),
        mut found: impl FnMut(&Saved),
    ) {
        let start = clock.ends[0];
        for point in self.points {
            let t = clock.times(point.t);
            let here: [bool; LANES] = std::array::from_fn(|l| lanes[l] & (t[l] == start[l]));
            if here.contains(&true) {
                found(&Saved { t, here, slots: Slots::Shared(point.slot) });
            }
        }
        self.each_own(lanes, trajectories, found, |l, saved| 0..saved.partition_point(|t| *t == start[l]));
    }

    /// The lanes' own times in the range of each that `of` finds, side by side.
    fn each_own(
        &self,
        lanes: &[bool; LANES],
        trajectories: &Lanes<u32>,
        mut found: impl FnMut(&Saved),
        of: impl Fn(usize, &[f64]) -> Range<usize>,
    ) {
        let Some((times, first)) = self.own else { return };
        let row = |l: usize| times.saved(trajectories[l].wrapping_sub(first) as usize);
        let ranges: Lanes<Range<usize>> = std::array::from_fn(|l| if lanes[l] { of(l, row(l)) } else { 0..0 });
        for n in 0..ranges.iter().map(ExactSizeIterator::len).max().unwrap_or(0) {
            let here = std::array::from_fn(|l| n < ranges[l].len());
            let slots = std::array::from_fn(|l| ranges[l].start + n);
            let t = std::array::from_fn(|l| if here[l] { row(l)[slots[l]] } else { 0.0 });
            found(&Saved { t, here, slots: Slots::Own(slots) });
        }
    }
}

impl Saved {
    /// Puts the lanes of `states` for which `mask` holds into their slots.
    pub(crate) fn store<R: Scalar>(&self, saves: &mut [R], mask: &[bool; LANES], states: &[R]) {
        let n = states.len();
        match &self.slots {
            Slots::Shared(slot) => select(&mut saves[slot * n..][..n], mask, states),
            Slots::Own(slots) => {
                for l in (0..LANES).filter(|&l| mask[l]) {
                    copy_lane(&mut saves[slots[l] * n..][..n], l, states, l);
                }
            }
        }
    }

    /// The `n` numbers of the lanes' slots; in `room` where slots differ, 0 in lanes that have none.
    pub(crate) fn load<'a, R: Scalar>(&self, saves: &'a [R], n: usize, room: &'a mut Vec<R>) -> &'a [R] {
        match &self.slots {
            Slots::Shared(slot) => &saves[slot * n..][..n],
            Slots::Own(slots) => {
                room.clear();
                room.resize(n, R::ZERO);
                for l in (0..LANES).filter(|&l| self.here[l]) {
                    copy_lane(room, l, &saves[slots[l] * n..][..n], l);
                }
                room
            }
        }
    }
}
