//! Room for a trainer's batches, and the plans that are recorded once it is there.

use std::sync::Arc;

use super::held::Rooms;
use super::plans::{BatchBuffers, EvaluationPlans, Schedule, TrainPlans, TrainRecorder};
use super::trainer::GpuTrainer;
use crate::error::{Error, Result};
use crate::gpu::{Held, PATHS, Purpose, Room, weighting};
use crate::method::Loss;

impl GpuTrainer {
    /// The buffers of the loaded batch.
    pub(super) fn rooms(&self) -> Result<&Rooms> {
        let held = self.held.as_ref().map(Held::buffers);
        held.ok_or(Error::Order { call: "a training step", needs: "its batch", remedy: "load a batch first" })
    }

    /// Makes room for a batch, of so many accepted steps at least; room that is there already is kept.
    pub(super) async fn reserve(&mut self, count: usize, purpose: Purpose, steps: usize) -> Result<()> {
        BatchBuffers::check(&self.engine.gpu, &self.parts, count)?;
        if self.state.config.loss == Loss::Moments && count > PATHS {
            let remedy = format!("a device compares the moments of at most {PATHS} paths: split the batch");
            return Err(Error::argument("batch", count, remedy));
        }
        if purpose.backward {
            self.check_weighting(count)?;
        }
        let weighed = self.parts.weighed;
        let fits = |batch: &BatchBuffers| batch.rows >= count && batch.weighed == weighed;
        let (engine, batch) = match self.engine.room(&mut self.held, count, purpose, steps)? {
            Room::Held(held) if fits(&held.buffers().batch) => {
                self.held = Some(held);
                return Ok(());
            }
            Room::Held(held) => (held.into_buffers().engine, None),
            Room::New(sizes) => {
                let batch = self.held.take().map(|held| held.into_buffers().batch);
                (self.engine.make(&sizes).await?, batch.filter(fits))
            }
        };
        let batch = match batch {
            Some(batch) => batch,
            None => BatchBuffers::new(&self.engine, &self.parts, count).await?,
        };
        self.held = Some(Held::new(Rooms { engine, batch }));
        Ok(())
    }

    /// Refuses more samples of one kind than are weighted in one dispatch.
    fn check_weighting(&self, count: usize) -> Result<()> {
        let elbo = &self.state.config.elbo;
        if elbo.importance && weighting(count, elbo.samples) > self.engine.iterations {
            let remedy = format!(
                "a device does not weight so many of a batch of {count} trajectories: split the batch, or draw fewer"
            );
            return Err(Error::argument("Elbo::samples", elbo.samples, remedy));
        }
        Ok(())
    }

    /// Gives a paused solve of so many trajectories room for more steps. Its batch stays where it is.
    pub(super) async fn grow(&mut self, rows: usize) -> Result<()> {
        let engine = self.engine.grown(&self.rooms()?.engine, rows).await?;
        self.held = self.held.take().map(|held| held.with(|rooms| Rooms { engine, ..rooms }));
        Ok(())
    }

    pub(super) fn recorder<'a>(&'a self, rows: usize, schedule: &'a Schedule) -> Result<TrainRecorder<'a>> {
        let Rooms { engine: buffers, batch } = self.rooms()?;
        Ok(TrainRecorder {
            config: &self.state.config,
            engine: &self.engine,
            parts: &self.parts,
            buffers,
            batch,
            rows,
            schedule,
        })
    }

    /// The plans of a training step, recorded the first time.
    pub(super) async fn training_plans(&mut self, count: usize) -> Result<Arc<TrainPlans>> {
        let known = self.held.as_ref().and_then(|held| held.plans.training.get(&count));
        if let Some(plans) = known {
            plans.solve.jobs.iter().chain([&plans.jobs]).for_each(|jobs| self.engine.tell(jobs));
            return Ok(Arc::clone(plans));
        }
        let plans = Arc::new(self.record_training(count, &self.parts.schedule).await?);
        if let Some(held) = &mut self.held {
            held.plans.training.insert(count, Arc::clone(&plans));
        }
        Ok(plans)
    }

    pub(super) async fn record_training(&self, count: usize, schedule: &Schedule) -> Result<TrainPlans> {
        let recorder = self.recorder(count, schedule)?;
        let solve = self.engine.record_solve(count, recorder.buffers, true).await?;
        self.engine.gpu.scoped(|| recorder.training(solve)).await
    }

    /// The plans of an evaluation, recorded the first time.
    pub(super) async fn evaluation_plans(&mut self, count: usize) -> Result<Arc<EvaluationPlans>> {
        let known = self.held.as_ref().and_then(|held| held.plans.evaluation.get(&count));
        if let Some(plans) = known {
            return Ok(Arc::clone(plans));
        }
        let recorder = self.recorder(count, &self.parts.schedule)?;
        let solve = self.engine.record_solve(count, recorder.buffers, false).await?;
        let plans = Arc::new(self.engine.gpu.scoped(|| recorder.evaluation(solve)).await?);
        if let Some(held) = &mut self.held {
            held.plans.evaluation.insert(count, Arc::clone(&plans));
        }
        Ok(plans)
    }
}
