//! Fields that carry the log-density of what they move.

use super::layer::MAX_ROWS;
use super::{Field, Flow, Form, Trace};
use crate::error::{Error, Result};

impl Flow {
    pub(super) fn rows(&self) -> usize {
        self.trace.rows(self.field.inputs())
    }

    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |remedy: String| Err(Error::argument("Field", self.field.widths(), remedy));
        self.field.validate()?;
        if self.field.trace().is_some() {
            return refuse("it has a log-density already: give it one once".to_owned());
        }
        if self.field.inputs() != self.field.outputs() {
            return refuse("only a vector field, as wide as the state, moves a density".to_owned());
        }
        if self.rows() > MAX_ROWS {
            return refuse(format!(
                "with the log-density its state has more than {MAX_ROWS} rows: take fewer features"
            ));
        }
        self.field.program()?.with_log_density(self.trace).map(|_| ())
    }
}

impl Field {
    /// The vector field `(f, -tr df/dy)`, of which one more row is the logarithm of the density that the flow carries along:
    /// `d log p(t, y(t)) / dt = -tr df/dy` (R. T. Q. Chen, Y. Rubanova, J. Bettencourt, D. Duvenaud, Neural ordinary
    /// differential equations, 2018). Where that row starts as 0 it ends as the difference of the logarithms.
    ///
    /// A state is a point's features, then that row, then with [`Trace::Hutchinson`] as many random signs as features, which
    /// do not move. Parameters are those of the field.
    ///
    /// ```
    /// use fewsteps::{Field, Trace};
    /// # fn main() -> fewsteps::Result<()> {
    /// // Every feature shrinks at its own rate: the density grows at their sum.
    /// let field = Field::build(2, |f| f.literal(&[-1.0, -2.0]) * f.state())?.with_log_density(Trace::Exact)?;
    /// assert_eq!((field.features(), field.inputs()), (2, 3));
    /// assert_eq!(field.evaluate(&[], 0.0, &[1.0, 1.0, 0.0], &[])?, [-1.0, -2.0, 3.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for a field that is not as wide as its state or has a log-density already, and for one whose trace
    /// takes too many operations.
    pub fn with_log_density(self, trace: Trace) -> Result<Self> {
        let flow = Flow { field: self, trace };
        flow.validate()?;
        Ok(Self(Form::Flow(Box::new(flow))))
    }

    /// The field alone, if it is one that [`Field::with_log_density`] made, and otherwise itself.
    #[must_use]
    pub const fn without_log_density(&self) -> &Self {
        match &self.0 {
            Form::Flow(flow) => &flow.field,
            _ => self,
        }
    }

    /// How the trace is computed, if the field has a log-density.
    #[must_use]
    pub const fn trace(&self) -> Option<Trace> {
        match &self.0 {
            Form::Flow(flow) => Some(flow.trace),
            _ => None,
        }
    }

    /// Features of a point: rows of the state, without the log-density and what belongs to that.
    #[must_use]
    pub fn features(&self) -> usize {
        self.without_log_density().inputs()
    }
}
