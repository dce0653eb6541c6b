//! [`Field::to_text`]: a field as a text of equations that says it again.
//!
//! An operation that one other uses stands where it is used, if it is computed right before it there too; others have names.
//! So the operations come back in their order, but for inputs, parameters, numbers and rows of values.

mod call;
mod names;
mod state;
mod words;

use std::fmt::Write;

use super::MAX_TEXT;
use crate::error::Result;
use crate::problem::Field;
use crate::problem::field::program::Program;
use crate::problem::field::program::function::Function;
use crate::problem::field::program::operation::{Arithmetic, Node, Number, Operation, Source};
use call::Calls;
use names::Names;
use state::States;
use words::{number, refusal};

/// How deep expressions nest, and letters of one that stands within another. Longer ones have names.
const MAX_DEPTH: usize = 12;
const MAX_LETTERS: usize = 80;

/// Literals of one number in more rows than this are repeated.
const FEW: usize = 4;

impl Field {
    /// The field as a text that [`Field::parse`] understands: the same parameters, controls and operations. The names of
    /// states and shorthands are no part of a field, and are new ones.
    ///
    /// ```
    /// use fewsteps::Field;
    ///
    /// # fn main() -> fewsteps::Result<()> {
    /// let field = Field::parse("prey' = a*prey - prey*foxes; foxes' = prey*foxes - foxes; positive parameter a = 1.1")?;
    /// let text = field.to_text()?;
    /// assert_eq!(text.lines().last(), Some("y1' = v2 - y1"));
    /// assert_eq!(Field::parse(&text)?, field);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) naming what the text form does not have: names that it cannot spell, parameters or controls that
    /// nothing uses, parts of networks; and those of [`Field::validate`].
    pub fn to_text(&self) -> Result<String> {
        self.validate()?;
        let program = self.program()?;
        let text = Printer::new(self, &program)?.text()?;
        match text.len() {
            bytes if bytes > MAX_TEXT => Err(refusal(format!("a text of {bytes} bytes"), "it is too long to be read")),
            _ => Ok(text),
        }
    }
}

/// How strongly an expression holds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Sum,
    Product,
    Sign,
    Atom,
}

/// An expression.
#[derive(Clone, Debug)]
struct Expression {
    text: String,
    level: Level,
}

impl Expression {
    fn atom(text: impl Into<String>) -> Self {
        Self { text: text.into(), level: Level::Atom }
    }

    /// In brackets, if it does not hold together as strongly as its place wants.
    fn within(&self, level: Level) -> String {
        if self.level < level { format!("({})", self.text) } else { self.text.clone() }
    }
}

struct Printer<'a> {
    program: &'a Program,
    names: Names,
    calls: Calls,
    states: States,
    /// What is written down, in its order: all that is no input, parameter, number or rows of something.
    computed: Vec<Node>,
    /// Of values that were written: their expression, or the name of it.
    told: Vec<Option<Expression>>,
    text: String,
}

macro_rules! line {
    ($self:ident, $($argument:tt)*) => {{
        // Writing to a string cannot fail.
        let _ = writeln!($self.text, $($argument)*);
    }};
}

impl<'a> Printer<'a> {
    fn new(field: &Field, program: &'a Program) -> Result<Self> {
        let names = Names::new(field, program)?;
        let calls = Calls::new(field, program)?;
        let states = States::new(field, program, &names);
        let is_computed = |(node, operation): &(Node, &Operation)| {
            let stands = matches!(
                operation,
                Operation::Input { .. } | Operation::Parameter { .. } | Operation::Literal(_) | Operation::Rows { .. }
            );
            !stands && !calls.is_part(*node) && names.bounded(*node).is_none()
        };
        let computed = program.operations().filter(is_computed).map(|(node, _)| node).collect();
        Ok(Self { program, names, calls, states, computed, told: vec![None; program.len()], text: String::new() })
    }

    /// Definitions, shorthands in the order in which they are computed, and equations.
    fn text(mut self) -> Result<String> {
        line!(self, "{}", self.states.definition());
        let definitions = self.names.definitions(&self.calls)?;
        self.text += &definitions;
        let output = self.program.outputs()[0];
        let parts = self.states.parts(self.program, output);
        // The equations are the stack.
        if parts.len() > 1 {
            self.computed.retain(|node| *node != output);
        }
        let stands = self.standing(&parts);
        for node in self.computed.clone() {
            let expression = self.expression(node)?;
            let told = match stands[node.index()] {
                true => expression,
                false => {
                    let name = self.names.fresh();
                    line!(self, "let {name} = {}", expression.text);
                    Expression::atom(name)
                }
            };
            self.told[node.index()] = Some(told);
        }
        let values: Vec<Expression> = parts.iter().map(|part| self.used(*part)).collect::<Result<_>>()?;
        for (name, value) in self.states.equations().zip(values) {
            line!(self, "{name} = {}", value.text);
        }
        Ok(self.text)
    }

    /// Which values stand within the expression that uses them: those that one alone uses, and that are computed right before
    /// what comes after them there. `last` are the values of the equations.
    fn standing(&self, last: &[Node]) -> Vec<bool> {
        let count = self.program.len();
        // How often a value is used; of what rows are taken, that has a name.
        let mut uses = vec![0; count];
        let users = self.program.operations().filter(|(node, _)| !self.calls.is_part(*node));
        for (node, operation) in users {
            let weight = if matches!(operation, Operation::Rows { .. }) { 2 } else { 1 };
            self.calls.operands(node, operation).into_iter().for_each(|operand| uses[operand.index()] += weight);
        }
        if let [output] = last {
            uses[output.index()] += 1;
        }
        let mut stands = vec![false; count];
        // Of each expression: the place at which its first part is computed, how deep it nests, and its letters, roughly.
        let mut sizes = vec![(0, 0, 0); count];
        for place in 0..=self.computed.len() {
            let node = self.computed.get(place);
            let operands = node.map_or(last.to_vec(), |node| self.calls.operands(*node, self.program.operation(*node)));
            let (mut start, mut depth, mut letters) = (place, 0, 8);
            for operand in operands.iter().rev() {
                let (first, nests, length) = sizes[operand.index()];
                let fits = uses[operand.index()] == 1 && nests < MAX_DEPTH && length < MAX_LETTERS;
                if fits && start > 0 && self.computed[start - 1] == *operand {
                    stands[operand.index()] = true;
                    (start, depth) = (first, depth.max(nests));
                    letters += length;
                } else {
                    letters += 4;
                }
            }
            if let Some(node) = node {
                sizes[node.index()] = (start, depth + 1, letters);
            }
        }
        stands
    }

    /// A value where it is used.
    fn used(&self, node: Node) -> Result<Expression> {
        if let Some(name) = self.names.bounded(node) {
            return Ok(Expression::atom(name));
        }
        match self.program.operation(node) {
            Operation::Input { source: Source::Time, .. } => Ok(Expression::atom("t")),
            Operation::Input { source: Source::State, rows } => Ok(Expression::atom(self.states.rows(0, *rows))),
            Operation::Input { source: Source::Control(n), .. } => Ok(Expression::atom(self.names.control(*n))),
            Operation::Parameter { offset, rows } => self.names.parameter(*offset, *rows).map(Expression::atom),
            Operation::Literal(numbers) => Ok(literal(numbers)),
            Operation::Rows { x, first, count } => {
                if matches!(self.program.operation(*x), Operation::Input { source: Source::State, .. }) {
                    return Ok(Expression::atom(self.states.rows(*first, *count)));
                }
                let x = self.used(*x)?.within(Level::Atom);
                let rows = if *count == 1 { first.to_string() } else { format!("{first}..{}", first + count) };
                Ok(Expression::atom(format!("{x}[{rows}]")))
            }
            operation => self.told[node.index()].clone().ok_or_else(|| refusal(operation.name(), "it has no value")),
        }
    }

    /// What computes a value.
    fn expression(&self, node: Node) -> Result<Expression> {
        let operation = self.program.operation(node);
        let operands = self.calls.operands(node, operation);
        let operands: Vec<Expression> = operands.iter().map(|x| self.used(*x)).collect::<Result<_>>()?;
        let list = || operands.iter().map(|x| x.text.as_str()).collect::<Vec<_>>().join(", ");
        let call = |name: &str| (format!("{name}({})", list()), Level::Atom);
        let (text, level) = match operation {
            Operation::Dense { .. } => call(self.names.group(self.calls.group(node)?)),
            Operation::Map(Function::Neg, _) => (format!("-{}", operands[0].within(Level::Sign)), Level::Sign),
            Operation::Map(f, _) => call(f.name()),
            Operation::Zip(op @ (Arithmetic::Min | Arithmetic::Max), ..) => call(op.name()),
            Operation::Zip(op, ..) => {
                let (level, right, gap) = match op {
                    Arithmetic::Add | Arithmetic::Sub => (Level::Sum, Level::Product, " "),
                    _ => (Level::Product, Level::Sign, ""),
                };
                let [a, b] = [operands[0].within(level), operands[1].within(right)];
                (format!("{a}{gap}{}{gap}{b}", op.name()), level)
            }
            Operation::Stack(_) => (format!("[{}]", list()), Level::Atom),
            Operation::Repeat { count, .. } => (format!("repeat({}, {count})", list()), Level::Atom),
            Operation::Sum(_) | Operation::Dot(..) => call(operation.name()),
            other => return Err(refusal(other.name(), "it is an operation of derivatives")),
        };
        Ok(Expression { text, level })
    }
}

/// Numbers, a row each.
fn literal(numbers: &[Number]) -> Expression {
    match numbers {
        [one] => {
            let text = number(one.0);
            let level = if text.starts_with('-') { Level::Sign } else { Level::Atom };
            Expression { text, level }
        }
        [first, ..] if numbers.len() > FEW && numbers.iter().all(|x| x == first) => {
            Expression::atom(format!("repeat({}, {})", number(first.0), numbers.len()))
        }
        _ => {
            let all: Vec<String> = numbers.iter().map(|x| number(x.0)).collect();
            Expression::atom(format!("[{}]", all.join(", ")))
        }
    }
}
