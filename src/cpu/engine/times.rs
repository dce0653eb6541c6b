//! An engine whose trajectories have intervals and saved times of their own.

use super::Engine;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::ends::Ends;
use crate::error::{Error, Result};
use crate::method::{Asked, own_times_fit};
use crate::problem::Times;

impl<R: Scalar> Engine<R> {
    /// Gives the solves that follow intervals and saved times of their trajectories' own, or takes them back.
    ///
    /// # Errors
    /// [`Error::Argument`] for a problem or options that take none.
    pub(crate) fn set_times(&mut self, times: Option<Times>) -> Result<()> {
        let problem = match &times {
            None => self.problem.clone(),
            Some(times) => own_times_fit(times, &self.problem, &self.options)?,
        };
        self.team.end_at(Ends::new(&problem, &self.options)?);
        let (span, shortest) = (problem.t1 - problem.t0, times.as_ref().map_or(f64::INFINITY, Times::shortest));
        self.controls.span = if shortest < span.abs() { shortest.copysign(span) } else { span };
        self.times = times;
        Ok(())
    }

    /// The trajectories' own times, if they have any.
    pub(crate) const fn times(&self) -> Option<&Times> {
        self.times.as_ref()
    }

    /// Whether no time passes.
    pub(crate) fn stands_still(&self) -> bool {
        self.times.as_ref().map_or_else(|| self.problem.stands_still(), Times::stand_still)
    }

    /// Checks that own times are those of a batch, and that what is asked for goes with them.
    ///
    /// # Errors
    /// [`Error::Argument`] for another batch, and for a drawn end.
    pub(super) fn check_times(&self, batch: usize, asked: &Asked) -> Result<()> {
        let Some(times) = &self.times else { return Ok(()) };
        times.check_batch(batch)?;
        if let Some(end) = asked.end {
            let remedy = "trajectories with times of their own end where these say: leave EndTime out";
            return Err(Error::argument("Regularizer::EndTime", end, remedy));
        }
        Ok(())
    }

    /// The shared clock's ends, and the longest time that passes while it advances by 1.
    pub(super) fn clock(&self) -> ([f64; 2], f64) {
        match &self.times {
            None => ([self.problem.t0, self.t1], 1.0),
            Some(times) if times.stand_still() => ([0.0, 0.0], 1.0),
            Some(times) => ([0.0, 1.0], times.longest()),
        }
    }
}
