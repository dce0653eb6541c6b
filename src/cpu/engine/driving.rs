//! An engine whose solves are driven by controls.

use std::collections::BTreeMap;

use super::Engine;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::scatter;
use crate::cpu::kernel::scalar::Scalar;
use crate::error::Result;

impl<R: Scalar> Engine<R> {
    /// See [`Controls::set`](super::controls::Controls::set).
    pub(crate) fn set_control(&mut self, name: &str, values: &[R]) -> Result<()> {
        self.controls.set(&self.problem, name, values)
    }

    /// Takes over the values that another engine was given of controls that are the same.
    pub(crate) fn follow_controls(&mut self, other: &Self) {
        self.controls.follow(&self.problem, &other.controls, &other.problem);
    }

    /// Drives the solves that follow, of a batch of that size; see [`Controls::drive`](super::controls::Controls::drive).
    pub(crate) fn drive(&mut self, batch: usize, calls: [&'static str; 2]) -> Result<()> {
        let first = self.paths().first;
        if let Some(drive) = self.controls.drive((batch, first), calls)? {
            self.team.drive(drive);
        }
        Ok(())
    }

    /// The cotangents that the last backward pass has left, by the controls' names, each like its values; `shared` are those
    /// that trajectories share.
    pub(crate) fn control_bars(&self, shared: &[R]) -> BTreeMap<String, Vec<R>> {
        self.controls.bars(shared, |first, one| {
            let mut bars = vec![R::ZERO; self.batch() * one];
            for tile in self.tiles() {
                let own = &tile.controls_bar[first * LANES..][..one * LANES];
                scatter(own, &mut bars[tile.index * LANES * one..][..tile.used * one], one);
            }
            bars
        })
    }
}
