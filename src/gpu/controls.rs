//! [`Controls`]: what drives a problem on a device, as it was given; `knots.rs` lays it out there.

use crate::error::{Error, Result};
use crate::math::check_finite;
use crate::problem::{Control, Field, Problem};

/// Where a control of a field is among those of its problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) number: usize,
    /// Rows of the controls before it.
    pub(crate) first: usize,
}

/// Where the controls of a field are, in its own order.
///
/// # Errors
/// [`Error::Argument`] for one that the problem has not.
pub(crate) fn seats(problem: &Problem, field: &Field) -> Result<Vec<Seat>> {
    let drives = drives(problem)?;
    let seat = |name: &str| {
        let (number, _) = problem.control(name)?;
        Ok(Seat { number, first: drives[..number].iter().map(|drive| drive.rows).sum() })
    };
    field.driven_by().map(|(name, _)| seat(name)).collect()
}

/// A control, as far as what is printed depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drive {
    pub(crate) rows: usize,
    /// Whether time does not change it.
    pub(crate) is_constant: bool,
}

/// The controls of a problem.
///
/// # Errors
/// [`Error::Argument`] for one that nothing in the problem reads.
pub(crate) fn drives(problem: &Problem) -> Result<Vec<Drive>> {
    let drive = |control: &Control| {
        let (_, rows) = problem.control(&control.name)?;
        Ok(Drive { rows, is_constant: control.times.len() == 1 })
    };
    problem.controls.iter().map(drive).collect()
}

/// The values of a problem's controls at their knots, as they were given.
#[derive(Clone, Debug)]
pub(crate) struct Controls {
    values: Vec<Option<Vec<f32>>>,
    /// The call that needs the values, and the one that gives them.
    calls: [&'static str; 2],
    /// Whether the device has others.
    pub(crate) news: bool,
}

impl Controls {
    /// Those of a problem, none of which has values. Errors say that the first of the calls needs the second one before.
    pub(crate) fn new(problem: &Problem, calls: [&'static str; 2]) -> Self {
        Self { values: vec![None; problem.controls.len()], calls, news: true }
    }

    /// Sets one of them.
    ///
    /// # Errors
    /// [`Error::Argument`], [`Error::Shape`] and [`Error::NonFinite`] for what does not fit; it keeps its values then.
    pub(crate) fn set(&mut self, problem: &Problem, name: &str, values: &[f32]) -> Result<()> {
        let (number, rows) = problem.control(name)?;
        problem.controls[number].trajectories(rows, values.len())?;
        check_finite("values", values)?;
        self.values[number] = Some(values.to_vec());
        self.news = true;
        Ok(())
    }

    /// Takes over the values of controls that are the same in another problem.
    pub(crate) fn follow(&mut self, problem: &Problem, other: &Self, of: &Problem) {
        for [here, there] in problem.shared_controls(of) {
            self.values[here].clone_from(&other.values[there]);
        }
        self.news = true;
    }

    /// Checks that all have values, for a batch of that size.
    ///
    /// # Errors
    /// [`Error::Order`] for a control without values, [`Error::Argument`] for values of another batch.
    pub(crate) fn check(&self, problem: &Problem, batch: usize) -> Result<()> {
        self.all(problem).try_for_each(|control| {
            let (control, _, _, trajectories) = control?;
            control.check_batch(trajectories, batch)
        })
    }

    /// The same for a device that has none yet.
    pub(crate) fn anew(&self) -> Self {
        Self { news: true, ..self.clone() }
    }

    /// Each with its rows, its values and the trajectories that they are for.
    pub(crate) fn all<'a>(
        &'a self,
        problem: &'a Problem,
    ) -> impl Iterator<Item = Result<(&'a Control, usize, &'a [f32], usize)>> + 'a {
        problem.controls.iter().zip(&self.values).map(|(control, values)| {
            let remedy = "give every control of the problem its values first";
            let order = || Error::Order { call: self.calls[0], needs: self.calls[1], remedy };
            let values = values.as_deref().ok_or_else(order)?;
            let (_, rows) = problem.control(&control.name)?;
            Ok((control, rows, values, control.trajectories(rows, values.len())?))
        })
    }
}
