//! [`Names`]: what parameters, controls and shorthands are called, and how they are defined.

use std::collections::HashSet;

use super::call::Calls;
use super::words::{number, refusal};
use crate::error::{Error, Result};
use crate::problem::field::program::Program;
use crate::problem::field::program::function::Function;
use crate::problem::field::program::operation::{Node, Operation, Source};
use crate::problem::text::names::is_free;
use crate::problem::text::token::is_name;
use crate::problem::{Bound, Field, Group};

#[derive(Debug)]
pub(super) struct Names {
    groups: Vec<Group>,
    /// Names and rows.
    controls: Vec<(String, usize)>,
    /// Of each value that is a group's within its bound: the group.
    bounded: Vec<Option<usize>>,
    taken: HashSet<String>,
    shorthands: usize,
}

impl Names {
    /// Those of a field, which the text form has to be able to spell, and each of which something has to use.
    pub(super) fn new(field: &Field, program: &Program) -> Result<Self> {
        let groups = field.groups().into_owned();
        let controls: Vec<(String, usize)> = field.driven_by().map(|(name, rows)| (name.to_owned(), rows)).collect();
        let mut taken = HashSet::new();
        for name in groups.iter().map(|group| &group.name).chain(controls.iter().map(|(name, _)| name)) {
            if !is_name(name) || !is_free(name) {
                return Err(refusal(format!("{name:?}"), "this is no name there, or one that means something else"));
            }
            if !taken.insert(name.clone()) {
                return Err(refusal(format!("{name:?}"), "a control and a group of parameters have this name"));
            }
        }
        let mut names = Self { groups, controls, bounded: vec![None; program.len()], taken, shorthands: 0 };
        names.find_uses(program)?;
        Ok(names)
    }

    fn find_uses(&mut self, program: &Program) -> Result<()> {
        let mut used = HashSet::new();
        for (node, operation) in program.operations() {
            match operation {
                Operation::Input { source: Source::Control(n), .. } => drop(used.insert(self.controls[*n].0.as_str())),
                Operation::Dense { block, .. } => {
                    let at = self.groups.iter().find(|group| group.range().contains(&block.offset));
                    used.extend(at.map(|group| group.name.as_str()));
                }
                Operation::Parameter { offset, .. } => {
                    let at = self.groups.iter().find(|group| group.range().contains(offset));
                    used.extend(at.map(|group| group.name.as_str()));
                }
                Operation::Map(f, x) => {
                    if let Operation::Parameter { offset, rows } = program.operation(*x) {
                        self.bounded[node.index()] = self.groups.iter().position(|group| {
                            (group.offset, group.count, map_of(group.bound)) == (*offset, *rows, Some(*f))
                        });
                    }
                }
                _ => {}
            }
        }
        let all = self.groups.iter().map(|group| &group.name).chain(self.controls.iter().map(|(name, _)| name));
        match all.into_iter().find(|name| !used.contains(name.as_str())) {
            Some(name) => Err(refusal(format!("{name:?}"), "nothing uses it")),
            None => Ok(()),
        }
    }

    pub(super) fn control(&self, n: usize) -> String {
        self.controls[n].0.clone()
    }

    pub(super) fn group(&self, n: usize) -> &str {
        &self.groups[n].name
    }

    /// The group that a value is, within its bound.
    pub(super) fn bounded(&self, node: Node) -> Option<String> {
        self.bounded[node.index()].map(|group| self.groups[group].name.clone())
    }

    /// The name of parameters themselves, which are those of a whole group without a bound.
    pub(super) fn parameter(&self, offset: usize, rows: usize) -> Result<String> {
        let group = self.groups.iter().find(|group| (group.offset, group.count) == (offset, rows));
        match group.filter(|group| group.bound == Bound::None && group.layers().is_none()) {
            Some(group) => Ok(group.name.clone()),
            None => Err(refusal(
                format!("parameters {offset}..{}", offset + rows),
                "they are no group as a whole, or a network's, or without their bound",
            )),
        }
    }

    /// A name that there is not yet.
    pub(super) fn fresh(&mut self) -> String {
        self.shorthands += 1;
        let name = self.unused(&format!("v{}", self.shorthands));
        self.taken.insert(name.clone());
        name
    }

    /// The name, or with lines after it one that there is not yet.
    pub(super) fn unused(&self, name: &str) -> String {
        let mut name = name.to_owned();
        while self.taken.contains(&name) {
            name.push('_');
        }
        name
    }

    /// The lines that define parameters, networks and controls.
    pub(super) fn definitions(&self, calls: &Calls) -> Result<String> {
        let mut lines = String::new();
        for (n, group) in self.groups.iter().enumerate() {
            let frozen = if group.frozen { "frozen " } else { "" };
            let line = match calls.network(n, group)? {
                Some(network) => format!("network {} = {network}", group.name),
                None => parameter(group)?,
            };
            lines += &format!("{frozen}{line}\n");
        }
        for (name, rows) in &self.controls {
            let rows = if *rows == 1 { String::new() } else { format!("[{rows}]") };
            lines += &format!("control {name}{rows}\n");
        }
        Ok(lines)
    }
}

/// What a bound does to parameters.
const fn map_of(bound: Bound) -> Option<Function> {
    match bound {
        Bound::None => None,
        Bound::Exp => Some(Function::Exp),
        Bound::Softplus => Some(Function::Softplus),
    }
}

/// `positive parameter k[2] = 0.5`
fn parameter(group: &Group) -> Result<String> {
    let name = &group.name;
    let word = match group.bound {
        Bound::None => "",
        Bound::Exp => "positive ",
        Bound::Softplus => "softplus ",
    };
    let values: Vec<f64> = group.start().iter().map(|x| value(group, *x)).collect::<Result<_, Error>>()?;
    Ok(match &values[..] {
        [one] => format!("{word}parameter {name} = {}", number(*one)),
        [first, ..] if values.iter().all(|x| x.to_bits() == first.to_bits()) => {
            format!("{word}parameter {name}[{}] = {}", values.len(), number(*first))
        }
        _ => format!("{word}parameter {name} = [{}]", values.iter().map(|x| number(*x)).collect::<Vec<_>>().join(", ")),
    })
}

/// The value whose parameter is this one, to the bit: the shortest of those around it that have it.
fn value(group: &Group, parameter: f64) -> Result<f64> {
    const DIGITS: usize = 17;
    const TRIED: i64 = 64;
    let near = group.bound.value(parameter);
    let rounded = (0..DIGITS).filter_map(|digits| format!("{near:.digits$e}").parse().ok());
    let around = (-TRIED..=TRIED).map(|ulps| f64::from_bits(near.to_bits().wrapping_add_signed(ulps)));
    let exact = |x: &f64| x.is_finite() && group.bound.parameter(*x).to_bits() == parameter.to_bits();
    rounded.chain(around).find(exact).ok_or_else(|| {
        let what = format!("{:?} that starts with the parameter {parameter:?}", group.name);
        refusal(what, "no value within its bound has it")
    })
}
