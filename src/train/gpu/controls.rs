//! A trainer's controls on a device.

use super::trainer::GpuTrainer;
use crate::error::{Error, Result};
use crate::gpu::Purpose;

impl GpuTrainer {
    /// Sets the values of a control at its knots, for the batches after this one, as
    /// [`Trainer::set_control`](crate::Trainer::set_control): `[T][rows]` for all trajectories alike, or `[B][T][rows]` for each
    /// its own, which belong to the samples of a batch. They go to the device once, with the next batch.
    ///
    /// Where steps are prepared for recording, it writes to the queue at once: those that are submitted from then on have the
    /// values, whenever they were recorded.
    ///
    /// ```no_run
    /// use fewsteps::{Batch, Control, Field, Gpu, GpuTrainer, Loss, NeuralDe, Pick, Problem, SolverOptions, Target};
    /// use fewsteps::TrainerConfig;
    /// # fn main() -> fewsteps::Result<()> {
    /// let field = Field::build(1, |f| f.control("dose") - f.positive("rate", &[0.2]) * f.state())?;
    /// let problem = Problem::ode(field, 0.0, 2.0).driven_by(Control::constant("dose"));
    /// let model = NeuralDe::new(problem, SolverOptions::default());
    /// let gpu = Gpu::open(&Pick::Any)?;
    /// let mut trainer = GpuTrainer::new(&gpu, TrainerConfig::new(model, Loss::Mse))?;
    /// trainer.set_control("dose", &[0.5, 1.0])?; // one for each trajectory of the batch
    /// let batch = Batch { inputs: &[0.0, 0.0], target: Target::States(&[0.538, 1.076]) };
    /// let report = gpu.block_on(trainer.step(&batch))?;
    /// # assert!(report.loss.is_finite());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that the model's problem has not, [`Error::Shape`] for values of another length,
    /// [`Error::NonFinite`] for values that are not finite.
    pub fn set_control(&mut self, name: &str, values: &[f32]) -> Result<()> {
        self.controls.set(&self.engine.problem, name, values)?;
        // Recorded steps have nobody to bring them.
        if let Some(rows) = self.held.as_ref().and_then(|held| Some(held.plans.slice.as_ref()?.plans.rows))
            && self.controls.check(&self.engine.problem, rows).is_ok()
            && self.engine.has_room_for(&self.controls)?
        {
            self.engine.drive(&mut self.controls, rows)?;
        }
        Ok(())
    }

    /// Checks that the device has the controls' values, and for so many trajectories.
    ///
    /// # Errors
    /// [`Error::Order`] where it has others, [`Error::Argument`] for values of another batch.
    pub(super) fn check_driven(&self, rows: usize) -> Result<()> {
        self.controls.check(&self.engine.problem, rows)?;
        if self.controls.news && !self.engine.problem.controls.is_empty() {
            let remedy = "these values of controls need more room than the device has: call prepare";
            return Err(Error::Order { call: "record", needs: "prepare", remedy });
        }
        Ok(())
    }

    /// Has the solve to come, of so many trajectories, end where its step does, or if it is none where the problem does; and its
    /// controls drive it there.
    ///
    /// # Errors
    /// As [`Engine::drive`](crate::gpu::Engine::drive).
    pub(super) fn aim(&mut self, count: usize, purpose: Purpose) -> Result<()> {
        let drawn = if purpose.backward { self.state.end_at(self.state.steps) } else { None };
        let buffers = self.held.as_ref().map(AsRef::as_ref);
        // Knots lie at shares of the interval.
        self.controls.news |= self.engine.end_at(drawn.unwrap_or(self.engine.given.0), buffers);
        if self.engine.drive(&mut self.controls, count)? {
            // What was recorded binds other knots.
            self.held = self.held.take().map(|held| held.with(|rooms| rooms));
        }
        Ok(())
    }

    /// Takes over the values of another trainer's controls that this one's model has too.
    pub(in crate::train) fn follow_controls(&mut self, other: &Self) {
        self.controls.follow(&self.engine.problem, &other.controls, &other.engine.problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Gpu;
    use crate::method::{EndTime, Loss, SolverOptions};
    use crate::problem::{Control, Field, Interpolation, Problem};
    use crate::train::{NeuralDe, TrainerConfig};

    fn trainer() -> GpuTrainer {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let gpu = Gpu::from_wgpu(&device, &queue).expect("WebGPU's limits");
        let field = Field::build(1, |f| f.control("u") - f.state()).expect("a field");
        let knots = Control::new("u", Interpolation::Linear, [0.0, 0.5, 2.0]);
        let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0).driven_by(knots), SolverOptions::default());
        let config = TrainerConfig::new(model, Loss::Mse).regularizer(EndTime::within(0.5));
        GpuTrainer::new(&gpu, config).expect("a driven model")
    }

    #[test]
    fn values_go_to_the_device_once() {
        let mut trainer = trainer();
        trainer.set_control("u", &[1.0, 2.0, 3.0]).expect("values");
        assert!(trainer.controls.news, "nobody needed them yet");
        for rows in [3, 5, 2] {
            trainer.aim(rows, Purpose::FORWARD).expect("the same for all");
            assert!(!trainer.controls.news, "{rows} trajectories");
        }
        // Another end has the knots at other shares of the interval, and goes there again.
        trainer.engine.knots =
            trainer.engine.gpu.scoped_now(|| crate::gpu::create(&trainer.engine.gpu, "less", 4, false)).expect("room");
        let less = trainer.engine.knots.clone();
        trainer.aim(3, Purpose::FORWARD).expect("the same end");
        assert_eq!(trainer.engine.knots, less, "nothing is sent");
        trainer.aim(3, trainer.purpose()).expect("an end that is drawn");
        assert_ne!(trainer.engine.knots, less, "they are sent");
    }

    #[test]
    fn room_for_values_is_kept() {
        let mut trainer = trainer();
        let mut knots = Vec::new();
        for rows in [4, 2, 1, 4, 7] {
            trainer.set_control("u", &vec![0.5; 3 * rows]).expect("values");
            trainer.aim(rows, Purpose::FORWARD).expect("as many");
            knots.push(trainer.engine.knots.clone());
        }
        assert!(knots[..4].iter().all(|buffer| *buffer == knots[0]), "evaluations of fewer record nothing again");
        assert_ne!(knots[4], knots[0], "more need more");
        assert!(trainer.aim(6, Purpose::FORWARD).is_err(), "those of another batch");
    }
}
