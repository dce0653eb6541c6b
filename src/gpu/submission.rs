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

#[cfg(test)]
mod tests {
    use super::super::adapter::gpu;
    use super::cuts;
    use crate::method::Recurrent;
    use crate::problem::{Mlp, Problem};
    use crate::{Batch, Cpu, GpuTrainer, Loss, NeuralDe, SolverOptions, StepControl, Target, Trainer, TrainerConfig};

    /// A plan of more dispatches than a submission holds is cut within, and loses none of them.
    #[test]
    fn a_long_series_goes_into_several_submissions() {
        let Some(gpu) = gpu() else { return };
        let encoder = Recurrent::gru(160, 1, 4).expect("a cell").out(Mlp::new([4, 2]));
        let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 2 });
        let model = NeuralDe::new(Problem::ode(Mlp::new([2, 3, 2]), 0.0, 1.0), options).encoder(encoder);
        let config = || TrainerConfig::new(model.clone(), Loss::Mse);
        let inputs: Vec<f32> = (0..5 * 160).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        let wide: Vec<f64> = inputs.iter().copied().map(f64::from).collect();
        let mut native = Trainer::<f64>::new(&Cpu::new().expect("threads"), config()).expect("a trainer");
        let batch = Batch { inputs: &wide, target: Target::States(&[0.25; 10]) };
        let truth = native.gradients(&batch).expect("a gradient").gradient;
        let gradient = |share: f64| {
            let mut trainer = GpuTrainer::new(&gpu, config()).expect("a trainer");
            trainer.set_submission(share);
            let before = cuts();
            let batch = Batch { inputs: &inputs, target: Target::States(&[0.25; 10]) };
            let found = gpu.block_on(trainer.gradients(&batch)).expect("a gradient").gradient;
            (found.iter().map(|g| f64::from(*g)).collect::<Vec<_>>(), cuts() - before)
        };
        let (found, often) = gradient(1.0);
        let (at_once, never) = gradient(1e9);
        assert!(often > 1 && never == 0, "cut {often} times, and {never}");
        assert_eq!(found, at_once, "where it is cut changes nothing");
        let largest = truth.iter().fold(0.0, |most: f64, g| most.max(g.abs()));
        let apart = found.iter().zip(&truth).map(|(g, t)| (g - t).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-4 * largest, "{apart} of {largest}");
    }
}
