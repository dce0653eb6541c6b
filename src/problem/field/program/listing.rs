//! A program as a person reads it: a line a value, `v3[16] = tanh(v2)`.

use std::fmt;

use super::Program;
use super::operation::{Operation, Source};

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (node, operation) in self.operations() {
            write!(f, "v{}[{}] = ", node.index(), self.rows(node))?;
            line(f, operation)?;
            writeln!(f)?;
        }
        write!(f, "return {}", list(self.outputs().iter().map(|output| format!("v{}", output.index()))))
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn line(f: &mut fmt::Formatter<'_>, operation: &Operation) -> fmt::Result {
    let name = operation.name();
    let operands = || list(operation.operands().map(|node| format!("v{}", node.index())));
    match operation {
        Operation::Input { source: Source::Control(n) | Source::Kept(n), .. } => write!(f, "{name} {n}"),
        Operation::Input { .. } => f.write_str(name),
        Operation::Literal(numbers) => f.write_str(&list(numbers.iter().map(|number| number.0.to_string()))),
        Operation::Parameter { offset, rows } => write!(f, "{name} {offset}..{}", offset + rows),
        Operation::Dense { block, .. } | Operation::Transposed { block, .. } => {
            let range = block.layer().range();
            let time = if block.time { ", time" } else { "" };
            write!(f, "{name}({}{time}) parameters {}..{}", operands(), range.start, range.end)
        }
        Operation::Rows { first, count, .. } => write!(f, "{}[{first}..{}]", operands(), first + count),
        Operation::Repeat { count, .. } => write!(f, "{name}({}, {count})", operands()),
        Operation::Zip(_, a, b) if !name.starts_with('m') => write!(f, "v{} {name} v{}", a.index(), b.index()),
        _ => write!(f, "{name}({})", operands()),
    }
}
