//! [`Emitter`]: writes programs, folding as it goes: what is known is not computed, and nothing is computed twice.

use std::collections::HashMap;

use super::Program;
use super::function::Function;
use super::operation::{Arithmetic, Block, Node, Number, Operation};
use crate::error::{Error, Result};
use crate::problem::MAX_ROWS;

/// Operations that a program may have. A longer one is a slip, or generated, and would not be compiled in a lifetime.
pub(crate) const MAX_OPERATIONS: usize = 1 << 13;

/// Rows that all values of a program may have together: more would fill the memory while they are written down.
pub(crate) const MAX_TOTAL_ROWS: usize = 1 << 24;

/// Writes a program. What does not fit is remembered, the first time, and refused in the end.
#[derive(Debug, Default)]
pub(crate) struct Emitter {
    operations: Vec<Operation>,
    rows: Vec<usize>,
    /// Rows of all values.
    total: usize,
    places: HashMap<Operation, Node>,
    refused: Option<Error>,
}

impl Program {
    /// An emitter that has emitted this program; its values keep their places.
    pub(crate) fn reopen(&self) -> Emitter {
        let mut emitter = Emitter::default();
        for operation in &self.operations {
            emitter.emit(operation.clone());
        }
        emitter
    }
}

impl Emitter {
    pub(crate) fn rows(&self, node: Node) -> usize {
        self.rows.get(node.index()).copied().unwrap_or(1)
    }

    pub(crate) fn operation(&self, node: Node) -> Option<&Operation> {
        self.operations.get(node.index())
    }

    /// Number of values so far.
    pub(crate) const fn len(&self) -> usize {
        self.operations.len()
    }

    /// Remembers that something was refused.
    pub(crate) fn refuse(&mut self, error: Error) {
        self.refused.get_or_insert(error);
    }

    /// What was refused first.
    pub(crate) const fn refused(&self) -> Option<&Error> {
        self.refused.as_ref()
    }

    /// The program with these values.
    ///
    /// # Errors
    /// What was refused.
    pub(crate) fn finish(self, outputs: &[Node]) -> Result<Program> {
        match self.refused {
            Some(error) => Err(error),
            None => Ok(Program { operations: self.operations, rows: self.rows, outputs: outputs.to_vec() }.pruned()),
        }
    }

    /// The value of an operation.
    pub(crate) fn emit(&mut self, operation: Operation) -> Node {
        if self.refused.is_some() {
            return Node::new(0);
        }
        match operation.rows(|node| self.rows(node)) {
            Ok(rows) if rows == 0 || rows > MAX_ROWS => {
                self.refuse_operation(&operation, format!("it would have {rows} rows: give it 1 to {MAX_ROWS}"))
            }
            Err(remedy) => self.refuse_operation(&operation, remedy),
            Ok(rows) => match self.folded(&operation, rows) {
                Folded::Node(node) => node,
                Folded::Operation(folded) => self.emit(folded),
                Folded::Nothing => self.place(operation, rows),
            },
        }
    }

    fn refuse_operation(&mut self, operation: &Operation, remedy: String) -> Node {
        let value = operation.described(|node| self.rows(node));
        self.refuse(Error::Argument { argument: "Field", value, remedy });
        Node::new(0)
    }

    fn place(&mut self, operation: Operation, rows: usize) -> Node {
        if let Some(node) = self.places.get(&operation) {
            return *node;
        }
        if self.operations.len() == MAX_OPERATIONS {
            let remedy =
                format!("a program has at most {MAX_OPERATIONS} operations: work on rows, not on single numbers");
            return self.refuse_operation(&operation, remedy);
        }
        if self.total + rows > MAX_TOTAL_ROWS {
            let remedy = format!("all values of a program have at most {MAX_TOTAL_ROWS} rows: make them narrower");
            return self.refuse_operation(&operation, remedy);
        }
        let node = Node::new(self.operations.len());
        self.places.insert(operation.clone(), node);
        self.operations.push(operation);
        self.rows.push(rows);
        self.total += rows;
        node
    }

    pub(crate) fn literal(&mut self, x: f64) -> Node {
        self.emit(Operation::Literal(vec![Number(x)]))
    }

    pub(crate) fn map(&mut self, f: Function, x: Node) -> Node {
        self.emit(Operation::Map(f, x))
    }

    pub(crate) fn zip(&mut self, op: Arithmetic, a: Node, b: Node) -> Node {
        self.emit(Operation::Zip(op, a, b))
    }

    pub(crate) fn mul(&mut self, a: Node, b: Node) -> Node {
        self.zip(Arithmetic::Mul, a, b)
    }

    pub(crate) fn add(&mut self, a: Node, b: Node) -> Node {
        self.zip(Arithmetic::Add, a, b)
    }

    pub(crate) fn sub(&mut self, a: Node, b: Node) -> Node {
        self.zip(Arithmetic::Sub, a, b)
    }

    /// The numbers that a value is known to be.
    pub(crate) fn known(&self, node: Node) -> Option<&[Number]> {
        match self.operation(node)? {
            Operation::Literal(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// Whether all rows of a value are known to be `x`.
    pub(crate) fn is(&self, node: Node, x: f64) -> bool {
        self.known(node).is_some_and(|numbers| numbers.iter().all(|number| number.0 == x))
    }

    /// What an operation comes to, if it need not be computed as it stands. Every rule keeps the value to the bit, but for
    /// the sign of a zero.
    fn folded(&self, operation: &Operation, rows: usize) -> Folded {
        if let Some(literal) = self.evaluated(operation, rows) {
            return Folded::Operation(literal);
        }
        let whole = |node: Node| if self.rows(node) == rows { Folded::Node(node) } else { Folded::Nothing };
        match operation {
            Operation::Zip(Arithmetic::Add, a, b) if self.is(*a, 0.0) => whole(*b),
            Operation::Zip(Arithmetic::Add | Arithmetic::Sub, a, b) if self.is(*b, 0.0) => whole(*a),
            Operation::Zip(Arithmetic::Mul, a, b) if self.is(*a, 1.0) => whole(*b),
            Operation::Zip(Arithmetic::Mul | Arithmetic::Div, a, b) if self.is(*b, 1.0) => whole(*a),
            Operation::Map(Function::Neg, x) => match self.operation(*x) {
                Some(Operation::Map(Function::Neg, x)) => Folded::Node(*x),
                _ => Folded::Nothing,
            },
            Operation::Slope(f, x) => self.slope(*f, *x),
            Operation::Repeat { x, count: 1 } | Operation::Sum(x) if self.rows(*x) == 1 => Folded::Node(*x),
            Operation::Dot(a, b) if self.rows(*a) == 1 => Folded::Operation(Operation::Zip(Arithmetic::Mul, *a, *b)),
            Operation::Rows { x, first, count } => self.sliced(*x, *first, *count),
            Operation::Stack(parts) => self.stacked(parts),
            Operation::Dense { x, block, affine: false } => self.selected(*x, block),
            _ => Folded::Nothing,
        }
    }

    /// A unit vector takes its row of a block, and zeros take nothing: parameters are finite.
    fn selected(&self, x: Node, block: &Block) -> Folded {
        let Some(numbers) = self.known(x) else { return Folded::Nothing };
        let mut others = numbers.iter().enumerate().filter(|(_, number)| number.0 != 0.0);
        match (others.next(), others.next()) {
            (None, _) => Folded::Operation(Operation::Literal(vec![Number(0.0); block.outputs])),
            (Some((row, Number(1.0))), None) => {
                let offset = block.offset + row * block.outputs;
                Folded::Operation(Operation::Parameter { offset, rows: block.outputs })
            }
            _ => Folded::Nothing,
        }
    }

    /// A slope that is a function itself.
    fn slope(&self, f: Function, x: Node) -> Folded {
        match f {
            Function::Exp => Folded::Operation(Operation::Map(Function::Exp, x)),
            Function::Sin => Folded::Operation(Operation::Map(Function::Cos, x)),
            Function::Ln => Folded::Operation(Operation::Map(Function::Recip, x)),
            Function::Neg => Folded::Operation(Operation::Literal(vec![Number(-1.0); self.rows(x)])),
            _ => Folded::Nothing,
        }
    }

    fn sliced(&self, x: Node, first: usize, count: usize) -> Folded {
        if count == self.rows(x) {
            return Folded::Node(x);
        }
        match self.operation(x) {
            Some(Operation::Rows { x, first: before, .. }) => {
                Folded::Operation(Operation::Rows { x: *x, first: before + first, count })
            }
            Some(Operation::Repeat { x, .. }) => Folded::Operation(Operation::Repeat { x: *x, count }),
            Some(Operation::Stack(parts)) => {
                let mut start = 0;
                for part in parts {
                    let rows = self.rows(*part);
                    if start <= first && first + count <= start + rows {
                        return Folded::Operation(Operation::Rows { x: *part, first: first - start, count });
                    }
                    start += rows;
                }
                Folded::Nothing
            }
            _ => Folded::Nothing,
        }
    }

    /// Parts that are rows of one value, one after the other, are a slice of it; stacks within stacks are one.
    fn stacked(&self, parts: &[Node]) -> Folded {
        if let [part] = parts {
            return Folded::Node(*part);
        }
        if parts.iter().any(|part| matches!(self.operation(*part), Some(Operation::Stack(_)))) {
            let flat = parts.iter().flat_map(|part| match self.operation(*part) {
                Some(Operation::Stack(inner)) => inner.clone(),
                _ => vec![*part],
            });
            return Folded::Operation(Operation::Stack(flat.collect()));
        }
        let slice = |part: &Node| match self.operation(*part) {
            Some(Operation::Rows { x, first, count }) => Some((*x, *first, *count)),
            _ => None,
        };
        let Some((x, first, _)) = slice(&parts[0]) else { return Folded::Nothing };
        let mut next = first;
        for part in parts {
            match slice(part) {
                Some((of, at, count)) if of == x && at == next => next += count,
                _ => return Folded::Nothing,
            }
        }
        Folded::Operation(Operation::Rows { x, first, count: next - first })
    }

    /// The literal that an operation on literals comes to, if it is finite.
    fn evaluated(&self, operation: &Operation, rows: usize) -> Option<Operation> {
        let numbers = |node: &Node| self.known(*node);
        let at = |numbers: &[Number], row: usize| numbers[if numbers.len() == 1 { 0 } else { row }].0;
        let values: Vec<f64> = match operation {
            Operation::Map(f, x) => numbers(x)?.iter().map(|x| f.definition(x.0).0).collect(),
            Operation::Slope(f, x) => numbers(x)?.iter().map(|x| f.definition(x.0).1).collect(),
            Operation::Zip(op, a, b) => {
                let (a, b) = (numbers(a)?, numbers(b)?);
                (0..rows).map(|row| op.apply(at(a, row), at(b, row))).collect()
            }
            Operation::Rows { x, first, count } => numbers(x)?[*first..first + count].iter().map(|x| x.0).collect(),
            Operation::Repeat { x, count } => vec![numbers(x)?[0].0; *count],
            Operation::Sum(x) => vec![numbers(x)?.iter().map(|x| x.0).sum()],
            Operation::Dot(a, b) => vec![numbers(a)?.iter().zip(numbers(b)?).map(|(a, b)| a.0 * b.0).sum()],
            Operation::Stack(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(numbers(part)?.iter().map(|x| x.0));
                }
                all
            }
            _ => return None,
        };
        let finite = values.iter().all(|x| x.is_finite());
        finite.then(|| Operation::Literal(values.into_iter().map(Number).collect()))
    }
}

/// What an operation comes to.
enum Folded {
    /// A value that is there.
    Node(Node),
    /// Another operation.
    Operation(Operation),
    /// It stays.
    Nothing,
}
