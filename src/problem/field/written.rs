//! [`Written`]: a field that was written out, as it is kept in memory and in files.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::group::Group;
use super::layer::{MAX_ROWS, check_parameters};
use super::program::Program;
use super::program::operation::{Operation, Source};
use crate::error::{Error, Result};

/// A field that was written out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    /// Rows of the state, or input.
    pub(super) inputs: usize,
    pub(super) program: Program,
    pub(super) groups: Vec<Group>,
    pub(super) controls: Vec<ControlInput>,
}

/// A control that drives a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ControlInput {
    pub(crate) name: String,
    pub(crate) rows: usize,
}

fn refuse(value: impl ToString, remedy: impl Into<String>) -> Error {
    Error::argument("Field", value, remedy)
}

impl Written {
    /// Checks what a builder or a file may have got wrong: places of parameters, inputs and controls.
    pub(super) fn validate(&self) -> Result<()> {
        if !(1..=MAX_ROWS).contains(&self.inputs) {
            return Err(refuse(format!("{} inputs", self.inputs), format!("a field has 1 to {MAX_ROWS}")));
        }
        if self.program.outputs().len() != 1 {
            return Err(refuse(format!("{} values", self.program.outputs().len()), "a field has one"));
        }
        self.validate_names()?;
        let parameters = self.validate_groups()?;
        self.program.operations().try_for_each(|(_, operation)| self.validate_operation(operation, parameters))
    }

    fn validate_names(&self) -> Result<()> {
        let mut names = HashSet::new();
        if let Some(group) = self.groups.iter().find(|group| !names.insert(&group.name)) {
            return Err(refuse(format!("{:?}", group.name), "two groups of parameters have this name"));
        }
        names.clear();
        if let Some(control) = self.controls.iter().find(|control| !names.insert(&control.name)) {
            return Err(refuse(format!("{:?}", control.name), "two controls have this name"));
        }
        match self.controls.iter().find(|control| !(1..=MAX_ROWS).contains(&control.rows)) {
            Some(ControlInput { name, rows }) => {
                Err(refuse(format!("{name:?} of {rows} rows"), format!("a control has 1 to {MAX_ROWS}")))
            }
            None => Ok(()),
        }
    }

    /// The number of parameters, of groups that follow one another.
    fn validate_groups(&self) -> Result<usize> {
        let mut next = 0;
        for group in &self.groups {
            if group.offset != next || !group.initial.fits(group) {
                let (name, range) = (&group.name, group.range());
                let remedy = format!(
                    "the groups of parameters follow one another: this one starts at {next}, with a number or weight each"
                );
                return Err(refuse(format!("group {name:?} at {range:?}"), remedy));
            }
            next = group.range().end;
        }
        check_parameters("Field", format!("{next} parameters"), next)?;
        Ok(next)
    }

    fn validate_operation(&self, operation: &Operation, parameters: usize) -> Result<()> {
        let name = operation.name();
        let within =
            |place: std::ops::Range<usize>| match self.groups.iter().any(|group| contains(&group.range(), &place)) {
                true => Ok(()),
                false => {
                    let remedy = format!("they lie in no group of the {parameters} parameters");
                    Err(refuse(format!("{name} with parameters {place:?}"), remedy))
                }
            };
        let wide = |rows: usize, expected: usize| match rows == expected {
            true => Ok(()),
            false => Err(refuse(format!("{name} of {rows} rows"), format!("it has {expected}"))),
        };
        match operation {
            Operation::Input { source: Source::State, rows } => wide(*rows, self.inputs),
            Operation::Input { source: Source::Time, rows } => wide(*rows, 1),
            Operation::Input { source: Source::Control(n), rows } => match self.controls.get(*n) {
                Some(control) => wide(*rows, control.rows),
                None => Err(refuse(format!("control {n}"), format!("the field has {} of them", self.controls.len()))),
            },
            Operation::Input { .. } | Operation::Transposed { .. } => Err(refuse(
                name,
                "this belongs to derivatives: a field is made of state, time, controls and parameters",
            )),
            Operation::Parameter { offset, rows } => within(*offset..offset.saturating_add(*rows)),
            Operation::Dense { block, .. } => within(block.layer().range()),
            _ => Ok(()),
        }
    }
}

fn contains(outer: &std::ops::Range<usize>, inner: &std::ops::Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}
