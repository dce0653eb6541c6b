//! The functions of a field that was written out: a program's [`Script`] as text.
//!
//! A value is named after its place in the program: `v3_0` is the first row of value 3, `v3` what it is at the unit of a
//! loop, and `v3[j]` the same where it is kept.

use std::fmt::{self, Write};

use crate::gpu::print;
use crate::gpu::script::{Addend, Place, Script};
use crate::problem::program::operation::{Block, Node, Operation, Source};

/// A row of a value: by its number, or so many after that of a loop's unit.
#[derive(Clone, Copy, Debug)]
enum At {
    Row(usize),
    Unit(&'static str, usize),
}

/// The unit of a loop, and of one within it.
const UNIT: At = At::Unit("j", 0);
const INNER: At = At::Unit("i", 0);

impl At {
    const fn plus(self, rows: usize) -> Self {
        match self {
            Self::Row(row) => Self::Row(row + rows),
            Self::Unit(name, before) => Self::Unit(name, before + rows),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(row) => write!(f, "{row}u"),
            Self::Unit(name, 0) => f.write_str(name),
            Self::Unit(name, before) => write!(f, "{before}u + {name}"),
        }
    }
}

/// Where an element of a block lies, from `base` on.
fn element(base: usize, block: &Block, row: At, column: At) -> String {
    let mut known = base + block.offset;
    let mut units = String::new();
    for (at, stride) in [(row, block.outputs), (column, 1)] {
        known += stride
            * match at {
                At::Row(row) => row,
                At::Unit(_, before) => before,
            };
        if let At::Unit(name, _) = at {
            units += &if stride == 1 { format!(" + {name}") } else { format!(" + {name} * {stride}u") };
        }
    }
    format!("{known}u{units}")
}

/// Writes the body of a function.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    script: &'a Script,
    /// First of the field's parameters among the model's weights, and in the gradient.
    first: usize,
    bar: usize,
    /// The argument that holds 1, and that widths of loops are multiplied by: a driver that knew them would unroll the loops in
    /// each of the stages, and compile for seconds.
    once: &'static str,
    /// Expressions of the rows of narrow values.
    rows: Vec<Vec<String>>,
    indent: usize,
    text: String,
}

macro_rules! line {
    ($self:ident, $($argument:tt)*) => {{
        // Writing to a string cannot fail.
        let _ = write!($self.text, "{:1$}", "", $self.indent);
        let _ = writeln!($self.text, $($argument)*);
    }};
}

impl<'a> Writer<'a> {
    pub(super) fn new(script: &'a Script, first: usize, bar: usize, once: &'static str) -> Self {
        let rows = vec![Vec::new(); script.program.len()];
        Self { script, first, bar, once, rows, indent: 4, text: String::new() }
    }

    /// The lines, and the rows of the output.
    pub(super) fn write(mut self) -> (String, Vec<String>) {
        let script = self.script;
        for line in script.program.to_string().lines() {
            line!(self, "// {line}");
        }
        for level in 0..script.level_count() {
            for (node, operation) in script.values(level) {
                self.straight(node, operation);
            }
            self.add(level, None);
            self.declare(level);
            for width in script.widths(level) {
                self.units("j", width, |writer| writer.unit(level, width));
            }
        }
        let rows = script.output.map_or(Vec::new(), |output| self.rows[output.index()].clone());
        (self.text, rows)
    }

    fn rows_of(&self, node: Node) -> usize {
        self.script.program.rows(node)
    }

    fn is_wide(&self, node: Node) -> bool {
        self.script.is_wide(node)
    }

    fn weight(&self, block: &Block, row: At, column: At) -> String {
        format!("weight({})", element(self.first, block, row, column))
    }

    /// A row of a value. A narrow value in a loop is a single row, which goes with all units.
    fn row(&self, node: Node, at: At) -> String {
        let (script, name) = (self.script, node.index());
        match script.place(node) {
            Place::Rows | Place::Sum(_) => {
                let row = if let (At::Row(row), true) = (at, self.rows_of(node) > 1) { row } else { 0 };
                self.rows[name][row].clone()
            }
            Place::Loop if !script.is_kept(node) => format!("v{name}"),
            Place::Loop | Place::Array => format!("v{name}[{at}]"),
            Place::Elsewhere => match script.program.operation(node) {
                Operation::Literal(numbers) => print::number(numbers[0]),
                Operation::Parameter { offset, .. } => format!("weight({})", at.plus(self.first + offset)),
                Operation::Rows { x, first, .. } => self.row(*x, at.plus(*first)),
                Operation::Repeat { x, .. } => self.row(*x, At::Row(0)),
                Operation::Input { source, .. } => self.input(*source, at),
                _ => String::new(),
            },
        }
    }

    /// A loop over the units of a width.
    fn units(&mut self, unit: &str, width: usize, body: impl FnOnce(&mut Self)) {
        line!(self, "for (var {unit} = 0u; {unit} < {width}u * job.args.{}; {unit}++) {{", self.once);
        self.indent += 4;
        body(self);
        self.indent -= 4;
        line!(self, "}}");
    }

    /// What is written to in the loops of a level: sums, and what is kept.
    fn declare(&mut self, level: usize) {
        let script = self.script;
        for (node, _) in script.values(level + 1) {
            if let Place::Sum(_) = script.place(node) {
                for row in 0..self.rows_of(node) {
                    line!(self, "var v{}_{row} = 0.0;", node.index());
                }
            }
        }
        for (node, _) in script.values(level) {
            if script.is_kept(node) {
                line!(self, "var v{}: array<f32, {}>;", node.index(), self.rows_of(node));
            }
        }
    }

    /// A value of the straight part.
    fn straight(&mut self, node: Node, operation: &Operation) {
        match self.script.place(node) {
            Place::Loop | Place::Elsewhere => {}
            Place::Array => self.array(node, operation),
            Place::Sum(_) => {
                let names: Vec<String> = (0..self.rows_of(node)).map(|o| format!("v{}_{o}", node.index())).collect();
                if let Operation::Dense { block, affine: true, .. } = operation {
                    for (column, name) in names.iter().enumerate() {
                        self.affine(name, block, At::Row(column));
                    }
                }
                self.rows[node.index()] = names;
            }
            Place::Rows => {
                self.rows[node.index()] =
                    (0..self.rows_of(node)).map(|row| self.narrow(node, operation, row)).collect();
            }
        }
    }

    /// A row of a narrow value of narrow ones; what it is called.
    fn narrow(&mut self, node: Node, operation: &Operation, row: usize) -> String {
        let at = At::Row(row);
        let name = format!("v{}_{row}", node.index());
        let value = match operation {
            Operation::Input { source, .. } => return self.input(*source, at),
            Operation::Literal(numbers) => return print::number(numbers[row]),
            Operation::Rows { x, first, .. } => return self.row(*x, at.plus(*first)),
            Operation::Repeat { x, .. } => return self.row(*x, At::Row(0)),
            Operation::Stack(parts) => {
                let (part, at) = self.part(parts, row);
                return self.row(part, at);
            }
            Operation::Dense { .. } | Operation::Transposed { .. } => {
                self.product(&name, operation, at);
                return name;
            }
            Operation::Parameter { offset, .. } => format!("weight({})", at.plus(self.first + offset)),
            Operation::Sum(x) => self.each(*x).into_iter().map(|at| self.row(*x, at)).collect::<Vec<_>>().join(" + "),
            Operation::Dot(a, b) => {
                let products = self.each(*a).into_iter().map(|at| [self.row(*a, at), self.row(*b, at)]);
                products.fold(String::new(), |sum, [a, b]| match sum.is_empty() {
                    true => format!("{a} * {b}"),
                    false => format!("fma({a}, {b}, {sum})"),
                })
            }
            Operation::Map(..) | Operation::Slope(..) | Operation::Zip(..) => self.applied(operation, at),
        };
        line!(self, "let {name} = {value};");
        name
    }

    /// The part of a stack that a row of it is in, and which one that is there.
    fn part(&self, parts: &[Node], row: usize) -> (Node, At) {
        let mut before = 0;
        for part in parts {
            let rows = self.rows_of(*part);
            if row < before + rows {
                return (*part, At::Row(row - before));
            }
            before += rows;
        }
        (parts[0], At::Row(0))
    }

    /// An operation row by row, at a row.
    fn applied(&self, operation: &Operation, at: At) -> String {
        match operation {
            Operation::Map(f, x) => print::map(*f, &self.row(*x, at)),
            Operation::Slope(f, x) => print::slope(*f, &self.row(*x, at)),
            Operation::Zip(op, a, b) => print::zip(*op, &self.row(*a, at), &self.row(*b, at)),
            _ => String::new(),
        }
    }

    /// A row of a layer, or of its transpose: a sum in the order of the native engine's.
    fn product(&mut self, name: &str, operation: &Operation, at: At) {
        let (x, block, transposed) = match operation {
            Operation::Dense { x, block, .. } => (*x, block, false),
            Operation::Transposed { z_bar, block } => (*z_bar, block, true),
            _ => return,
        };
        let weight = |writer: &Self, of: At| match transposed {
            true => writer.weight(block, at, of),
            false => writer.weight(block, of, at),
        };
        if self.is_wide(x) {
            line!(self, "var {name} = 0.0;");
            let width = self.rows_of(x);
            self.units("i", width, |writer| {
                let (x, weight) = (writer.row(x, INNER), weight(writer, INNER));
                line!(writer, "{name} = fma({x}, {weight}, {name});");
            });
        } else {
            for of in self.each(x) {
                let (x, weight) = (self.row(x, of), weight(self, of));
                match of {
                    At::Row(0) => line!(self, "var {name} = {x} * {weight};"),
                    _ => line!(self, "{name} = fma({x}, {weight}, {name});"),
                }
            }
        }
        if let Operation::Dense { affine: true, .. } = operation {
            self.affine(name, block, at);
        }
    }

    /// What time and bias add to a layer's output.
    fn affine(&mut self, name: &str, block: &Block, column: At) {
        if block.time {
            let weight = self.weight(block, At::Row(block.inputs), column);
            line!(self, "{name} = fma(t, {weight}, {name});");
        }
        let bias = self.weight(block, At::Row(block.layer().rows() - 1), column);
        line!(self, "{name} += {bias};");
    }

    /// A wide value of the straight part.
    fn array(&mut self, node: Node, operation: &Operation) {
        let (name, rows) = (node.index(), self.rows_of(node));
        match operation {
            Operation::Literal(numbers) => {
                let numbers: Vec<String> = numbers.iter().copied().map(print::number).collect();
                line!(self, "var v{name} = array<f32, {rows}>({});", numbers.join(", "));
            }
            Operation::Stack(parts) => {
                line!(self, "var v{name}: array<f32, {rows}>;");
                let mut before = 0;
                for part in parts {
                    let count = self.rows_of(*part);
                    if self.is_wide(*part) {
                        let to = INNER.plus(before);
                        self.units("i", count, |writer| {
                            let from = writer.row(*part, INNER);
                            line!(writer, "v{name}[{to}] = {from};");
                        });
                    } else {
                        for at in self.each(*part) {
                            let from = self.row(*part, at);
                            line!(self, "v{name}[{}] = {from};", at.plus(before));
                        }
                    }
                    before += count;
                }
            }
            _ => {}
        }
    }

    /// What is done at a unit of a loop.
    fn unit(&mut self, level: usize, width: usize) {
        let script = self.script;
        for (node, operation) in script.values(level) {
            if script.place(node) == Place::Loop && self.rows_of(node) == width {
                self.wide(node, operation);
            }
        }
        for (node, operation) in script.values(level + 1) {
            if script.place(node) == Place::Sum(width) {
                self.collect(node, operation);
            }
        }
        self.add(level, Some(width));
    }

    /// A value at a unit.
    fn wide(&mut self, node: Node, operation: &Operation) {
        let (name, kept) = (node.index(), self.script.is_kept(node));
        if let Operation::Dense { .. } | Operation::Transposed { .. } = operation {
            let sum = if kept { format!("sum{name}") } else { format!("v{name}") };
            self.product(&sum, operation, UNIT);
            if kept {
                line!(self, "v{name}[j] = {sum};");
            }
            return;
        }
        let value = self.applied(operation, UNIT);
        match kept {
            true => line!(self, "v{name}[j] = {value};"),
            false => line!(self, "let v{name} = {value};"),
        }
    }

    /// A unit's part in a sum over units.
    fn collect(&mut self, node: Node, operation: &Operation) {
        for row in 0..self.rows_of(node) {
            let name = format!("v{}_{row}", node.index());
            let (a, b) = match operation {
                Operation::Sum(x) => {
                    let x = self.row(*x, UNIT);
                    line!(self, "{name} += {x};");
                    continue;
                }
                Operation::Dot(a, b) => (self.row(*a, UNIT), self.row(*b, UNIT)),
                Operation::Dense { x, block, .. } => (self.row(*x, UNIT), self.weight(block, UNIT, At::Row(row))),
                Operation::Transposed { z_bar, block } => {
                    (self.row(*z_bar, UNIT), self.weight(block, At::Row(row), UNIT))
                }
                _ => continue,
            };
            line!(self, "{name} = fma({a}, {b}, {name});");
        }
    }

    /// What the gradient gets in the straight part of a level, or in its loop of a width.
    fn add(&mut self, level: usize, width: Option<usize>) {
        let script = self.script;
        for addition in script.additions.iter().filter(|addition| (addition.level, addition.width) == (level, width)) {
            match addition.addend {
                Addend::Block { block, x, z_bar } if self.is_wide(x) && self.is_wide(z_bar) => {
                    self.units("i", self.rows_of(x), |writer| writer.add_outer(&block, (x, INNER), (z_bar, UNIT)));
                }
                Addend::Block { block, x, z_bar } => {
                    for row in self.each(x) {
                        for column in self.each(z_bar) {
                            self.add_outer(&block, (x, row), (z_bar, column));
                        }
                    }
                }
                Addend::Affine { block, z_bar } => {
                    for column in self.each(z_bar) {
                        let z_bar = self.row(z_bar, column);
                        if block.time {
                            let time = element(self.bar, &block, At::Row(block.inputs), column);
                            line!(self, "THETA_BAR[{time}] += t * {z_bar};");
                        }
                        let bias = element(self.bar, &block, At::Row(block.layer().rows() - 1), column);
                        line!(self, "THETA_BAR[{bias}] += {z_bar};");
                    }
                }
                Addend::Rows { offset, bar } => {
                    for at in self.each(bar) {
                        let (place, row) = (at.plus(self.bar + offset), self.row(bar, at));
                        line!(self, "THETA_BAR[{place}] += {row};");
                    }
                }
            }
        }
    }

    /// An element of the outer product that is a block's gradient.
    fn add_outer(&mut self, block: &Block, (x, row): (Node, At), (z_bar, column): (Node, At)) {
        let (place, x, z_bar) = (element(self.bar, block, row, column), self.row(x, row), self.row(z_bar, column));
        line!(self, "THETA_BAR[{place}] += {x} * {z_bar};");
    }

    /// The rows of a value where it is worked on: all of a narrow one, the unit's of a wide one.
    fn each(&self, node: Node) -> Vec<At> {
        if self.is_wide(node) { vec![UNIT] } else { (0..self.rows_of(node)).map(At::Row).collect() }
    }

    /// A row of what comes from outside.
    fn input(&self, source: Source, at: At) -> String {
        let row = match at {
            At::Row(row) => row.to_string(),
            At::Unit(..) => at.to_string(),
        };
        match source {
            Source::State => format!("y[{row}]"),
            Source::Cotangent => format!("k_bar[{row}]"),
            Source::Time => "t".to_owned(),
            Source::Control(n) => match at.plus(self.script.seats.get(n).map_or(0, |seat| seat.first)) {
                At::Row(row) => format!("U[{row}]"),
                at => format!("U[{at}]"),
            },
            Source::Kept(_) | Source::Direction => String::new(),
        }
    }
}
