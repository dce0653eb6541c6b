//! [`Controls`]: the values of a problem's controls, and what drives its solves.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cpu::field::drive::{Drive, Signal};
use crate::cpu::kernel::scalar::Scalar;
use crate::error::{Error, Result};
use crate::math::check_finite;
use crate::problem::Problem;

/// The values of a problem's controls, until others are set.
#[derive(Debug)]
pub(crate) struct Controls<R> {
    /// In the problem's order.
    values: Vec<Option<Arc<Signal<R>>>>,
    /// Signed length of the interval, the shortest where there are several.
    pub(super) span: f64,
    /// Solves with controls so far, and what drives the last one.
    solves: u64,
    last: Option<Drive<R>>,
}

impl<R: Scalar> Controls<R> {
    pub(super) fn new(problem: &Problem) -> Self {
        let values = problem.controls.iter().map(|_| None).collect();
        Self { values, span: problem.t1 - problem.t0, solves: 0, last: None }
    }

    /// Sets the values of a control for the solves that follow: `[T][rows]` for all trajectories, or for each.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that the problem has not, [`Error::Shape`] for values of another length,
    /// [`Error::NonFinite`] for values that are not finite.
    pub(super) fn set(&mut self, problem: &Problem, name: &str, values: &[R]) -> Result<()> {
        let (place, rows) = problem.control(name)?;
        let control = &problem.controls[place];
        control.trajectories(rows, values.len())?;
        check_finite("values", values)?;
        self.values[place] = Some(Arc::new(Signal::new(control, rows, values)));
        Ok(())
    }

    /// Takes over the values of controls that are the same in another problem.
    pub(super) fn follow(&mut self, problem: &Problem, other: &Self, of: &Problem) {
        for [here, there] in problem.shared_controls(of) {
            self.values[here].clone_from(&other.values[there]);
        }
    }

    /// What drives the solves that follow, of a batch of that size whose first trajectory has that number; none where there
    /// are no controls. Errors say that the `call` needs another one first.
    ///
    /// # Errors
    /// [`Error::Order`] where a control has no values, [`Error::Argument`] for those of another batch.
    pub(super) fn drive(
        &mut self,
        (batch, first): (usize, u32),
        [call, needs]: [&'static str; 2],
    ) -> Result<Option<&Drive<R>>> {
        if self.values.is_empty() {
            return Ok(None);
        }
        let mut signals = Vec::with_capacity(self.values.len());
        for signal in &self.values {
            let remedy = "give every control of the problem its values first";
            let signal = signal.as_ref().ok_or(Error::Order { call, needs, remedy })?;
            signal.check_batch(batch)?;
            signals.push(Arc::clone(signal));
        }
        self.solves += 1;
        Ok(Some(self.last.insert(Drive { signals, first, span: self.span, solve: self.solves })))
    }

    /// Numbers in the cotangents that solves with the values of now are asked for: of controls that trajectories share, and
    /// of a trajectory's own. One that has no values yet counts as its own.
    pub(super) fn numbers(&self, problem: &Problem) -> [usize; 2] {
        let mut numbers = [0, 0];
        for (control, signal) in problem.controls.iter().zip(&self.values) {
            if control.gradient
                && let Ok((_, rows)) = problem.control(&control.name)
            {
                let own = !signal.as_ref().is_some_and(|signal| signal.is_shared());
                numbers[usize::from(own)] += control.times.len() * rows;
            }
        }
        numbers
    }

    /// Numbers that a backward pass of the last solve adds to the parameters' gradient: the cotangents of controls that
    /// trajectories share.
    pub(crate) fn shared(&self) -> usize {
        self.last.as_ref().map_or(0, |drive| drive.lengths()[0])
    }

    /// The cotangents of the last solve's controls by their names, each like its values: from those that trajectories share,
    /// and from so many numbers from a place on of each trajectory's own.
    pub(super) fn bars(&self, shared: &[R], own: impl Fn(usize, usize) -> Vec<R>) -> BTreeMap<String, Vec<R>> {
        let Some(drive) = &self.last else { return BTreeMap::new() };
        let asked = drive.signals.iter().enumerate().filter(|(_, signal)| signal.is_asked());
        let bar = |(number, signal): (usize, &Arc<Signal<R>>)| {
            let (first, one) = (drive.offset(number), signal.one());
            let bar = if signal.is_shared() { shared[first..first + one].to_vec() } else { own(first, one) };
            (signal.name().to_owned(), bar)
        };
        asked.map(bar).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.values.iter().flatten().map(|signal| signal.bytes()).sum()
    }
}
