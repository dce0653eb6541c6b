//! What is printed for a run: operations of a program between its products, as WGSL functions of one trajectory.
//!
//! Where values have few rows, an invocation has a trajectory, and every row is a line. Where they have many, an invocation
//! has a row of each, and its lines are those of that row; sums over rows are loops of an invocation a trajectory. An operation
//! that the run alone needs is computed where it is used and stored nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::error::{Error, Result};
use crate::gpu::controls::Seat;
use crate::gpu::device::limits::ITERATIONS;
use crate::gpu::print;
use crate::problem::program::Program;
use crate::problem::program::operation::{Node, Operation, Source};

/// The most lines of one run: a compiler takes seconds for as many.
const MOST_LINES: usize = 4096;

/// The most rows of a literal whose numbers differ.
const MOST_NUMBERS: usize = 1024;

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) memory: Memory,
    /// Numbers of a trajectory that lie before it. Values lie one after the other, each as `[trajectory][row]`.
    pub(crate) first: usize,
    pub(crate) rows: usize,
}

impl Place {
    /// The same, as a backward schedule sees it.
    pub(crate) const fn kept(self) -> Self {
        let memory = match self.memory {
            Memory::Own(part) => Memory::Kept(part),
            other => other,
        };
        Self { memory, ..self }
    }
}

/// What a value lies in. A product never reads what it writes to, so that there are two of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The schedule's own values: of a forward schedule those of its stage's slot, of a backward one for a while.
    Own(usize),
    /// What the forward schedule has kept, for a backward one.
    Kept(usize),
    /// The stage, or the cotangent of its state.
    Result,
}

/// Whether a schedule takes a state to a stage, or a stage's cotangent back to that of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Forward,
    Back,
}

/// A dispatch of printed operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Invocations a trajectory.
    pub(crate) lanes: usize,
    /// The functions `run` and `rest` of `shaders/kernels/run.wgsl` or `run_vjp.wgsl`.
    pub(crate) text: String,
}

/// A value that a run stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) node: Node,
    pub(crate) place: Place,
}

/// A row of a value: one of them, or the invocation's, so many rows further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    At(usize),
    Own(usize),
}

impl Row {
    const fn shifted(self, by: usize) -> Self {
        match self {
            Self::At(row) => Self::At(row + by),
            Self::Own(shift) => Self::Own(shift + by),
        }
    }

    /// As WGSL counts rows.
    fn index(self) -> String {
        match self {
            Self::At(row) => format!("{row}u"),
            Self::Own(0) => "i".to_owned(),
            Self::Own(shift) => format!("i + {shift}u"),
        }
    }
}

macro_rules! line {
    ($text:expr, $($argument:tt)*) => {{
        // Writing to a string cannot fail.
        let _ = writeln!($text, $($argument)*);
    }};
}

/// Whether a sum over so many rows is a loop where rows are not told apart.
pub(crate) const fn is_loop(rows: usize) -> bool {
    rows > 8
}

/// Prints runs of a program.
#[derive(Clone, Copy)]
pub(crate) struct Printer<'a> {
    pub(crate) program: &'a Program,
    pub(crate) way: Way,
    /// Whether an invocation has a row of each value, not all of them.
    pub(crate) wide: bool,
    /// Where a value is that is not computed in the run.
    pub(crate) place: &'a dyn Fn(Node) -> Option<Place>,
    /// Where the field's controls are.
    pub(crate) seats: &'a [Seat],
}

impl Printer<'_> {
    /// The dispatches that compute and store `targets`.
    ///
    /// # Errors
    /// [`Error::Argument`] for more than a compiler takes, or an invocation's loops run.
    pub(crate) fn print(&self, targets: &[Target]) -> Result<Vec<Run>> {
        let looped = |target: &&Target| self.wide && self.loop_rows(target.node).is_some();
        let (sums, rest): (Vec<_>, Vec<_>) = targets.iter().partition(looped);
        let mut runs = Vec::new();
        if !rest.is_empty() {
            runs.push(if self.wide { self.lanes(&rest)? } else { self.rows(&rest)? });
        }
        if !sums.is_empty() {
            runs.push(self.sums(&sums)?);
        }
        Ok(runs)
    }

    /// Rows that a sum has a loop over.
    fn loop_rows(&self, node: Node) -> Option<usize> {
        let summed = match self.program.operation(node) {
            Operation::Sum(x) | Operation::Dot(x, _) => self.program.rows(*x),
            _ => return None,
        };
        ((self.place)(node).is_none() && is_loop(summed)).then_some(summed)
    }

    /// An invocation a trajectory, a line a row.
    fn rows(&self, targets: &[&Target]) -> Result<Run> {
        let all = |target: &&Target| (0..target.place.rows).map(|row| (target.node, Row::At(row))).collect::<Vec<_>>();
        let block = self.block("    ", targets.iter().flat_map(all).collect())?;
        let mut text = block.text.clone();
        let mut rest = self.begin_rest();
        for target in targets {
            for row in 0..target.place.rows {
                let to = self.address(target.place, Row::At(row));
                line!(text, "    {to} = {};", self.stored(&to, &block.names[&(target.node, Row::At(row))]));
                line!(rest, "    {to} = 0.0;");
            }
        }
        Ok(self.run(1, &block.controls, &text, &rest))
    }

    /// An invocation a row of every value.
    fn lanes(&self, targets: &[&Target]) -> Result<Run> {
        // What is stored where, by how many rows it has; a stack is stored a part at a time.
        let mut stores: BTreeMap<usize, Vec<(Node, String)>> = BTreeMap::new();
        for target in targets {
            let mut first = 0;
            for part in self.parts(target.node) {
                let rows = self.program.rows(part);
                stores.entry(rows).or_default().push((part, self.address(target.place, Row::Own(first))));
                first += rows;
            }
        }
        let (mut text, mut rest, mut controls) = (String::new(), self.begin_rest(), BTreeSet::new());
        for (rows, stores) in &stores {
            for text in [&mut text, &mut rest] {
                line!(text, "    if lane < {rows}u {{\n        let i = lane;");
            }
            let own = |node: Node| (node, self.row(node, Row::Own(0)));
            let block = self.block("        ", stores.iter().map(|(node, _)| own(*node)).collect())?;
            text += &block.text;
            controls.extend(&block.controls);
            for (node, to) in stores {
                line!(text, "        {to} = {};", self.stored(to, &block.names[&own(*node)]));
                line!(rest, "        {to} = 0.0;");
            }
            text += "    }\n";
            rest += "    }\n";
        }
        let lanes = stores.keys().next_back().copied().unwrap_or(1);
        Ok(self.run(lanes, &controls, &text, &rest))
    }

    /// Sums over rows, an invocation a trajectory: a loop for all over as many.
    fn sums(&self, targets: &[&Target]) -> Result<Run> {
        let mut loops: BTreeMap<usize, Vec<&Target>> = BTreeMap::new();
        for target in targets {
            loops.entry(self.loop_rows(target.node).unwrap_or(1)).or_default().push(target);
        }
        let iterations: usize = loops.keys().sum();
        if iterations > ITERATIONS {
            let remedy = format!("a device sums over at most {ITERATIONS} rows at once: use Solver");
            return Err(Error::argument("Field", format!("sums over {iterations} rows"), remedy));
        }
        let (mut text, mut rest, mut controls) = (String::new(), self.begin_rest(), BTreeSet::new());
        for (rows, targets) in &loops {
            let mut needs = BTreeSet::new();
            for target in targets {
                line!(text, "    var sum{} = 0.0;", target.node.index());
                needs.extend(self.operands(target.node, Row::Own(0)));
            }
            let block = self.block("        ", needs)?;
            controls.extend(&block.controls);
            line!(text, "    for (var i = 0u; i < {rows}u; i++) {{");
            text += &block.text;
            for target in targets {
                let factors: Vec<&str> =
                    self.operands(target.node, Row::Own(0)).iter().map(|need| block.names[need].as_str()).collect();
                line!(text, "        sum{} += {};", target.node.index(), factors.join(" * "));
            }
            text += "    }\n";
            for target in targets {
                let to = self.address(target.place, Row::At(0));
                line!(text, "    {to} = {};", self.stored(&to, &format!("sum{}", target.node.index())));
                line!(rest, "    {to} = 0.0;");
            }
        }
        Ok(self.run(1, &controls, &text, &rest))
    }

    /// A run of such bodies, the first of which reads controls.
    fn run(&self, lanes: usize, controls: &BTreeSet<usize>, text: &str, rest: &str) -> Run {
        let begin = self.begin(controls);
        Run { lanes, text: format!("{begin}{text}}}\n\n{rest}}}\n\nconst LANES = {lanes}u;\n") }
    }

    fn begin(&self, controls: &BTreeSet<usize>) -> String {
        if self.way == Way::Back {
            return "fn run(row: u32, lane: u32, to: u32) {\n".to_owned();
        }
        let mut text = "fn run(row: u32, lane: u32, to: u32, cursor: Cursor) {\n".to_owned();
        line!(text, "    let interval = interval_of(row);");
        line!(text, "    let t = node_time(cursor.t, cursor.d, job.args.node, interval.x, interval.y);");
        if !controls.is_empty() {
            line!(text, "    let now = moment_of(cursor.t, cursor.d, job.args.node);");
        }
        for control in controls {
            line!(text, "    let piece{control} = piece_at({control}u, now);");
        }
        text
    }

    /// What is stored of a trajectory at rest.
    fn begin_rest(&self) -> String {
        "fn rest(row: u32, lane: u32, to: u32) {\n".to_owned()
    }

    /// The values that a value's rows are stored from.
    fn parts(&self, node: Node) -> Vec<Node> {
        match self.program.operation(node) {
            Operation::Stack(parts) if (self.place)(node).is_none() => parts.clone(),
            _ => vec![node],
        }
    }

    /// A row, where a value has it: of a single one all take the first.
    fn row(&self, node: Node, row: Row) -> Row {
        if self.program.rows(node) == 1 { Row::At(0) } else { row }
    }

    /// Where a row of a value is in memory.
    fn address(&self, place: Place, row: Row) -> String {
        let Place { memory, first, rows } = place;
        let index = row.index();
        let (name, base) = match memory {
            Memory::Result => return format!("result[to + {index}]"),
            Memory::Own(n) => (format!("own{n}"), (self.way == Way::Forward).then(|| format!("job.args.own{n} + "))),
            Memory::Kept(n) => (format!("kept{n}"), Some(format!("job.args.kept{n} + "))),
        };
        format!("{name}[{}{first}u * job.rows + {rows}u * row + {index}]", base.unwrap_or_default())
    }

    /// A value as it is stored at an address: what a field gives is a slope by the clock.
    fn stored(&self, to: &str, value: &str) -> String {
        if self.way == Way::Forward && to.starts_with("result[") {
            format!("by_clock(row, {value})")
        } else {
            value.to_owned()
        }
    }

    /// The rows of other values that a row of a value is computed from.
    fn operands(&self, node: Node, row: Row) -> Vec<(Node, Row)> {
        if (self.place)(node).is_some() {
            return Vec::new();
        }
        let at = |x: &Node, row: Row| (*x, self.row(*x, row));
        // A sum's rows are told apart, or are those of its loop.
        let summed = |x: &Node| match row {
            Row::Own(_) => vec![row],
            Row::At(_) => (0..self.program.rows(*x)).map(Row::At).collect(),
        };
        match self.program.operation(node) {
            Operation::Map(_, x) | Operation::Slope(_, x) => vec![at(x, row)],
            Operation::Zip(_, a, b) => vec![at(a, row), at(b, row)],
            Operation::Rows { x, first, .. } => vec![at(x, row.shifted(*first))],
            Operation::Repeat { x, .. } => vec![(*x, Row::At(0))],
            Operation::Sum(x) => summed(x).into_iter().map(|row| (*x, row)).collect(),
            Operation::Dot(a, b) => summed(a).into_iter().flat_map(|row| [(*a, row), (*b, row)]).collect(),
            Operation::Stack(parts) => {
                let Row::At(mut row) = row else { return Vec::new() };
                for part in parts {
                    let rows = self.program.rows(*part);
                    if row < rows {
                        return vec![(*part, Row::At(row))];
                    }
                    row -= rows;
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// The lines that compute such rows of values, operands before what is computed from them.
    fn block(&self, indent: &str, wanted: BTreeSet<(Node, Row)>) -> Result<Block> {
        let mut needed = wanted.clone();
        let mut open: Vec<(Node, Row)> = wanted.into_iter().collect();
        while let Some((node, row)) = open.pop() {
            open.extend(self.operands(node, row).into_iter().filter(|need| needed.insert(*need)));
            if needed.len() > MOST_LINES {
                let remedy = format!(
                    "a device computes at most {MOST_LINES} numbers between two layers: work on rows that are more \
                     than 31, or use Solver"
                );
                return Err(Error::argument("Field", format!("{} numbers", needed.len()), remedy));
            }
        }
        let mut block = Block::default();
        for (node, row) in needed {
            let text = self.expression(&mut block, indent, (node, row))?;
            let name = match row {
                Row::At(row) => format!("v{}_{row}", node.index()),
                Row::Own(shift) => format!("v{}_i{shift}", node.index()),
            };
            line!(block.text, "{indent}let {name} = {text};");
            block.names.insert((node, row), name);
        }
        Ok(block)
    }

    /// A row of a value, from those that are there.
    fn expression(&self, block: &mut Block, indent: &str, (node, row): (Node, Row)) -> Result<String> {
        if let Some(place) = (self.place)(node) {
            return Ok(self.address(place, row));
        }
        let operands = self.operands(node, row);
        let names: Vec<&str> = operands.iter().filter_map(|need| block.names.get(need)).map(String::as_str).collect();
        Ok(match (self.program.operation(node), &names[..]) {
            (Operation::Input { source: Source::Time, .. }, _) => "t".to_owned(),
            (Operation::Input { source: Source::Control(n), .. }, _) if *n < self.seats.len() => {
                let number = self.seats[*n].number;
                block.controls.insert(number);
                format!("control_row({number}u, piece{number}, {}, row)", row.index())
            }
            (Operation::Literal(numbers), _) => match row {
                Row::At(row) => print::number(numbers[row]),
                _ if numbers.iter().all(|number| *number == numbers[0]) => print::number(numbers[0]),
                Row::Own(_) if numbers.len() > MOST_NUMBERS => {
                    let remedy = format!("a device takes literals of at most {MOST_NUMBERS} different numbers");
                    return Err(Error::argument("Field", format!("a literal of {} rows", numbers.len()), remedy));
                }
                Row::Own(_) => {
                    let (name, count) = (format!("numbers{}", node.index()), numbers.len());
                    if block.tables.insert(node) {
                        let numbers: Vec<String> = numbers.iter().map(|number| print::number(*number)).collect();
                        let numbers = numbers.join(", ");
                        line!(block.text, "{indent}var {name} = array<f32, {count}>({numbers});");
                    }
                    format!("{name}[{}]", row.index())
                }
            },
            (Operation::Parameter { offset, .. }, _) => format!("weight(job.args.theta + {offset}u + {})", row.index()),
            (Operation::Map(f, _), [x]) => print::map(*f, x),
            (Operation::Slope(f, _), [x]) => print::slope(*f, x),
            (Operation::Zip(op, ..), [a, b]) => print::zip(*op, a, b),
            (Operation::Dot(..), pairs) => {
                let products: Vec<String> = pairs.chunks(2).map(|pair| pair.join(" * ")).collect();
                products.join(" + ")
            }
            (Operation::Sum(_), rows) => rows.join(" + "),
            (_, [x]) => (*x).to_owned(),
            (operation, _) => {
                let remedy = "a device does not compute it: use Solver";
                return Err(Error::argument("Field", operation.name(), remedy));
            }
        })
    }
}

/// Lines, and the names of what they compute.
#[derive(Debug, Default)]
struct Block {
    text: String,
    names: BTreeMap<(Node, Row), String>,
    tables: BTreeSet<Node>,
    /// Controls that they read.
    controls: BTreeSet<usize>,
}
