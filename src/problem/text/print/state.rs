//! [`States`]: the states of a vector field, or what comes into a map and what it gives.

use super::names::Names;
use crate::problem::Field;
use crate::problem::field::program::Program;
use crate::problem::field::program::operation::{Node, Operation};

#[derive(Debug)]
pub(super) struct States {
    /// Names, and the first row and the rows of each.
    named: Vec<(String, usize, usize)>,
    /// What a map's value is called; of a vector field, nothing.
    output: Option<String>,
}

impl States {
    /// A state for each part of the value, if that is a stack; one otherwise.
    pub(super) fn new(field: &Field, program: &Program, names: &Names) -> Self {
        let dim = field.inputs();
        if field.outputs() != dim {
            let named = vec![(names.unused("x"), 0, dim)];
            return Self { named, output: Some(names.unused("z")) };
        }
        let mut parts = vec![(0, dim)];
        if let Operation::Stack(values) = program.operation(program.outputs()[0]) {
            let mut first = 0;
            let part = |value: &Node| {
                let (start, rows) = (first, program.rows(*value));
                first += rows;
                (start, rows)
            };
            parts = values.iter().map(part).collect();
        }
        let name = |n: usize| if parts.len() == 1 { names.unused("y") } else { names.unused(&format!("y{n}")) };
        Self {
            named: parts.iter().enumerate().map(|(n, (first, rows))| (name(n), *first, *rows)).collect(),
            output: None,
        }
    }

    /// `state y0, y1[3]`
    pub(super) fn definition(&self) -> String {
        let rows = |rows: usize| if rows == 1 { String::new() } else { format!("[{rows}]") };
        let names: Vec<String> = self.named.iter().map(|(name, _, count)| name.clone() + &rows(*count)).collect();
        let word = if self.output.is_some() { "input" } else { "state" };
        format!("{word} {}", names.join(", "))
    }

    /// What stands before `=` in the equations.
    pub(super) fn equations(&self) -> impl Iterator<Item = String> {
        let of_map = self.output.iter().map(|name| format!("output {name}"));
        let states = self.named.iter().filter(|_| self.output.is_none()).map(|(name, ..)| format!("{name}'"));
        of_map.chain(states).collect::<Vec<_>>().into_iter()
    }

    /// The values that the equations are of.
    pub(super) fn parts(&self, program: &Program, output: Node) -> Vec<Node> {
        match program.operation(output) {
            Operation::Stack(parts) if self.named.len() > 1 => parts.clone(),
            _ => vec![output],
        }
    }

    /// Rows of the state, or of several one below the other.
    pub(super) fn rows(&self, first: usize, count: usize) -> String {
        let end = first + count;
        let pieces = self.named.iter().filter(|(_, from, rows)| first < from + rows && *from < end);
        let piece = |(name, from, rows): &(String, usize, usize)| {
            let (start, end) = (first.saturating_sub(*from), (end - from).min(*rows));
            match end - start {
                count if count == *rows => name.clone(),
                1 => format!("{name}[{start}]"),
                _ => format!("{name}[{start}..{end}]"),
            }
        };
        let pieces: Vec<String> = pieces.map(piece).collect();
        match &pieces[..] {
            [one] => one.clone(),
            _ => format!("[{}]", pieces.join(", ")),
        }
    }
}
