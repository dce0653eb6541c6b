//! [`Submissions`]: a training step in submissions of bounded time. A system takes a device that is busy for two seconds for
//! one that hangs, and resets it.

use super::engine::Engine;
use super::plan::Plan;

/// Dispatches that a submission may hold; each costs some 0.25 ms at most, whatever it does.
const DISPATCHES: f64 = 2048.0;

/// Records plans one after the other, and submits what there is before it is too much. Where the commands are cut changes
/// nothing about them.
#[derive(Debug)]
pub(crate) struct Submissions<'a> {
    engine: &'a Engine,
    encoder: &'a mut wgpu::CommandEncoder,
    pass: Option<wgpu::ComputePass<'static>>,
    /// The share of a submission that the encoder holds.
    spent: f64,
    cuts: bool,
}

impl<'a> Submissions<'a> {
    /// Into an encoder of the engine's own.
    pub(crate) const fn new(engine: &'a Engine, encoder: &'a mut wgpu::CommandEncoder) -> Self {
        Self { engine, encoder, pass: None, spent: 0.0, cuts: true }
    }

    /// Into an application's encoder, all at once.
    pub(crate) const fn uncut(engine: &'a Engine, encoder: &'a mut wgpu::CommandEncoder) -> Self {
        Self { engine, encoder, pass: None, spent: 0.0, cuts: false }
    }

    /// The encoder, between passes.
    pub(crate) fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        self.encoder
    }

    /// Records a plan `times` over, each of so many multiply-adds. A plan of more dispatches than a submission holds, or more
    /// work, goes into several.
    pub(crate) fn record(&mut self, plan: &Plan, times: usize, work: f64) {
        let cost = plan.len() as f64 / DISPATCHES + work / self.engine.budget();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "there are no more than dispatches"
        )]
        let pieces = (cost.ceil() as usize).clamp(1, plan.len().max(1));
        let cost = cost / pieces as f64 / self.engine.submission;
        for piece in (0..times).flat_map(|_| plan.pieces(pieces)) {
            if self.cuts && self.spent > 0.0 && self.spent + cost > 1.0 {
                self.submit();
            }
            self.spent += cost;
            let pass = self.pass.get_or_insert_with(|| {
                let descriptor = wgpu::ComputePassDescriptor { label: Some("training step"), timestamp_writes: None };
                self.encoder.begin_compute_pass(&descriptor).forget_lifetime()
            });
            plan.encode_part(piece, pass);
        }
    }

    fn submit(&mut self) {
        self.pass = None;
        let full = std::mem::replace(self.encoder, self.engine.encoder());
        self.engine.gpu.queue.submit([full.finish()]);
        self.spent = 0.0;
        #[cfg(test)]
        CUTS.with(|cuts| cuts.set(cuts.get() + 1));
    }
}

#[cfg(test)]
thread_local! {
    static CUTS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Times that this thread has cut a step.
#[cfg(test)]
pub(crate) fn cuts() -> usize {
    CUTS.with(std::cell::Cell::get)
}
