//! A program as a person reads it, a line a value: `v3[16] = tanh(v2)` has 16 rows, `v4 = v3[0] * 2` one.
//!
//! Inputs, parameters, numbers and rows of values stand where they are used.

use std::fmt;
use std::ops::Range;

use super::Program;
use super::operation::{Block, Node, Number, Operation, Source};

/// What parameters and controls are called.
pub(crate) trait Names {
    /// Parameters, as `rates[1..3]`.
    fn parameters(&self, range: Range<usize>) -> String {
        sliced("theta", range, usize::MAX)
    }

    /// A dense layer.
    fn block(&self, block: &Block) -> String {
        self.parameters(block.layer().range())
    }

    /// A control.
    fn control(&self, n: usize) -> String {
        format!("control{n}")
    }
}

/// By their places.
#[derive(Clone, Copy, Debug)]
struct Places;

impl Names for Places {}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list(&Places, f)
    }
}

/// Rows of something that has `of` of them: `x` for all, `x[2]` for one.
pub(crate) fn sliced(name: &str, Range { start, end }: Range<usize>, of: usize) -> String {
    match end.saturating_sub(start) {
        count if count == of => name.to_owned(),
        1 => format!("{name}[{start}]"),
        _ => format!("{name}[{start}..{end}]"),
    }
}

impl Program {
    /// Writes the lines, with names.
    pub(crate) fn list(&self, names: &dyn Names, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (node, operation) in self.operations() {
            if let Some(line) = self.line(names, operation) {
                let rows = if self.rows(node) == 1 { String::new() } else { format!("[{}]", self.rows(node)) };
                writeln!(f, "v{}{rows} = {line}", node.index())?;
            }
        }
        write!(f, "return {}", self.all(names, self.outputs()))
    }

    /// What stands for a value where it is used.
    fn used(&self, names: &dyn Names, node: Node) -> String {
        match self.operation(node) {
            Operation::Input { source: Source::Time, .. } => "t".to_owned(),
            Operation::Input { source: Source::Control(n), .. } => names.control(*n),
            Operation::Input { source: Source::Kept(n), .. } => format!("kept{n}"),
            operation @ Operation::Input { .. } => operation.name().to_owned(),
            Operation::Parameter { offset, rows } => names.parameters(*offset..offset.saturating_add(*rows)),
            Operation::Literal(numbers) => literal(numbers),
            Operation::Rows { x, first, count } => sliced(&self.used(names, *x), *first..first + count, self.rows(*x)),
            _ => format!("v{}", node.index()),
        }
    }

    fn all(&self, names: &dyn Names, nodes: &[Node]) -> String {
        nodes.iter().map(|node| self.used(names, *node)).collect::<Vec<_>>().join(", ")
    }

    /// What a value is computed by; none of what stands where it is used.
    fn line(&self, names: &dyn Names, operation: &Operation) -> Option<String> {
        let name = operation.name();
        let used = |node: &Node| self.used(names, *node);
        let operands: Vec<Node> = operation.operands().collect();
        Some(match operation {
            Operation::Input { .. } | Operation::Parameter { .. } | Operation::Literal(_) | Operation::Rows { .. } => {
                return None;
            }
            Operation::Dense { x, block, affine } => {
                let time = if *affine && block.time { ", t" } else { "" };
                format!("{name}({}{time}; {})", used(x), names.block(block))
            }
            Operation::Transposed { z_bar, block } => format!("{name}({}; {})", used(z_bar), names.block(block)),
            Operation::Repeat { x, count } => format!("{name}({}, {count})", used(x)),
            Operation::Zip(_, a, b) if !name.starts_with(char::is_alphabetic) => {
                format!("{} {name} {}", used(a), used(b))
            }
            _ => format!("{name}({})", self.all(names, &operands)),
        })
    }
}

/// A number, or some in brackets.
fn literal(numbers: &[Number]) -> String {
    /// More are not read.
    const MANY: usize = 8;
    let number = |number: &Number| match number.0.abs() {
        x if x == 0.0 || (1e-4..1e15).contains(&x) => number.0.to_string(),
        _ => format!("{:e}", number.0),
    };
    match numbers {
        [one] => number(one),
        [first, ..] if numbers.iter().all(|x| x == first) => format!("[{}; {}]", number(first), numbers.len()),
        _ => {
            let shown = numbers.iter().take(MANY).map(number).collect::<Vec<_>>().join(", ");
            match numbers.len().saturating_sub(MANY) {
                0 => format!("[{shown}]"),
                more => format!("[{shown}, {more} more]"),
            }
        }
    }
}
