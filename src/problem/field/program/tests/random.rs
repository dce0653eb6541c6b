//! [`Case`]: random programs, written down as they come, with a point at which they are evaluated well away from kinks and poles.

use std::collections::HashMap;
use std::ops::Range;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::super::Program;
use super::super::emitter::Emitter;
use super::super::function::Function;
use super::super::interpret::interpret;
use super::super::operation::{Arithmetic, Block, Node, Number, Operation, Source};
use crate::problem::field::group::{Bound, Group, Initial};
use crate::problem::field::written::{ControlInput, Written};
use crate::problem::field::{Field, Form};
use crate::problem::{Control, Initialization, Problem};

/// Rows of each control.
const CONTROLS: [usize; 2] = [1, 3];

/// A random program and where it is evaluated.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// As it was drawn: nothing is folded, nothing is found again.
    pub(super) raw: Program,
    pub(super) theta: Vec<f64>,
    pub(super) state: Vec<f64>,
    pub(super) time: f64,
    pub(super) controls: [Vec<f64>; 2],
    /// What was drawn for its own use by a test.
    pub(super) extra: Vec<f64>,
    pub(super) frozen: Range<usize>,
}

/// What kinds of operations there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kinds {
    /// All that a program may have.
    All,
    /// Those of fields without controls.
    Autonomous,
}

impl Case {
    /// Programs of at most `operations`, beside inputs; the value has as many rows as the state.
    pub(super) fn any(operations: usize, kinds: Kinds) -> impl Strategy<Value = Self> {
        let drawn = (0u32..64, any::<[u16; 3]>(), proptest::collection::vec(-1.5f64..1.5, 5));
        let steps = proptest::collection::vec(drawn, 1..=operations);
        let numbers = proptest::collection::vec(-1.2f64..1.2, 400);
        (1usize..=5, steps, numbers).prop_map(move |(rows, steps, numbers)| {
            let mut draft = Draft::new(rows, &numbers);
            for (kind, places, literal) in &steps {
                draft.step(*kind, *places, literal, kinds);
            }
            draft.finish(numbers)
        })
    }

    /// The rows of a source.
    pub(super) fn input(&self, source: Source) -> Vec<f64> {
        match source {
            Source::State => self.state.clone(),
            Source::Time => vec![self.time],
            Source::Control(n) => self.controls[n].clone(),
            _ => unreachable!("a field has no {source:?}"),
        }
    }

    /// The program as the library would have it.
    pub(super) fn folded(&self) -> Program {
        let mut emitter = Emitter::default();
        let mut names: Vec<Node> = Vec::new();
        for (_, operation) in self.raw.operations() {
            names.push(emitter.emit(operation.renamed(|node| names[node.index()])));
        }
        let outputs: Vec<Node> = self.raw.outputs().iter().map(|node| names[node.index()]).collect();
        emitter.finish(&outputs).expect("what was drawn fits")
    }

    /// The field that it is, with a group for each of its layers and parameters, one after the other; and those parameters.
    pub(super) fn field(&self) -> (Field, Vec<f64>) {
        let mut program = self.folded();
        let mut groups: Vec<Group> = Vec::new();
        let mut theta: Vec<f64> = Vec::new();
        let mut places: HashMap<Range<usize>, usize> = HashMap::new();
        let mut place = |range: Range<usize>, initial: &dyn Fn(usize) -> Initial| {
            *places.entry(range.clone()).or_insert_with(|| {
                let (name, offset, count) = (format!("p{}", groups.len()), theta.len(), range.len());
                let frozen = range == self.frozen;
                groups.push(Group { name, offset, count, frozen, bound: Bound::None, initial: initial(offset) });
                theta.extend(&self.theta[range]);
                offset
            })
        };
        for operation in &mut program.operations {
            match operation {
                Operation::Parameter { offset, rows } => {
                    let range = *offset..*offset + *rows;
                    let numbers = self.theta[range.clone()].iter().copied().map(Number).collect();
                    *offset = place(range, &|_| Initial::Numbers(Vec::clone(&numbers)));
                }
                Operation::Dense { block, .. } => {
                    let drawn = |offset| Block { offset, ..*block };
                    let initialization = Initialization::HeUniform;
                    block.offset =
                        place(block.layer().range(), &|at| Initial::Drawn { blocks: vec![drawn(at)], initialization });
                }
                _ => {}
            }
        }
        let controls = self.renumber_controls(&mut program);
        let written = Written { inputs: self.state.len(), program, groups, controls };
        written.validate().expect("a field");
        (Field(Form::Written(Box::new(written))), theta)
    }

    /// Controls are numbered as they are first named.
    fn renumber_controls(&self, program: &mut Program) -> Vec<ControlInput> {
        let mut controls: Vec<(usize, ControlInput)> = Vec::new();
        for operation in &mut program.operations {
            if let Operation::Input { source: Source::Control(n), rows } = operation {
                let known = controls.iter().position(|(before, _)| before == n);
                let at = known.unwrap_or_else(|| {
                    controls.push((*n, ControlInput { name: format!("u{n}"), rows: *rows }));
                    controls.len() - 1
                });
                *n = at;
            }
        }
        controls.into_iter().map(|(_, control)| control).collect()
    }
}

/// A random problem, for an engine: about its initial state the field is tame.
pub(crate) struct Drawn {
    pub(crate) problem: Problem,
    pub(crate) theta: Vec<f64>,
    pub(crate) y0: Vec<f64>,
    /// Values of the controls, which are constant.
    pub(crate) controls: Vec<(String, Vec<f64>)>,
}

/// So many of them, the same ones each time, over an interval of length `span`.
pub(crate) fn drawn(count: usize, span: f64) -> Vec<Drawn> {
    let mut runner = TestRunner::deterministic();
    let mut one = || {
        let case = Case::any(12, Kinds::All).new_tree(&mut runner).expect("a case").current();
        let (field, theta) = case.field();
        let number = |name: &str| usize::from(name == "u1");
        let controls: Vec<_> =
            field.driven_by().map(|(name, _)| (name.to_owned(), case.controls[number(name)].clone())).collect();
        let problem = Problem::ode(field, case.time, case.time + span);
        let problem = controls.iter().fold(problem, |problem, (name, _)| problem.driven_by(Control::constant(name)));
        Drawn { problem, theta, y0: case.state, controls }
    };
    (0..count).map(|_| one()).collect()
}

struct Draft {
    case: Case,
    values: Vec<Vec<f64>>,
    blocks: Vec<Block>,
    parameters: Vec<(usize, usize)>,
}

impl Draft {
    fn new(rows: usize, numbers: &[f64]) -> Self {
        let case = Case {
            raw: Program { operations: Vec::new(), rows: Vec::new(), outputs: Vec::new() },
            theta: Vec::new(),
            state: numbers[..rows].to_vec(),
            time: numbers[5],
            controls: [numbers[6..7].to_vec(), numbers[7..10].to_vec()],
            extra: Vec::new(),
            frozen: 0..0,
        };
        let mut draft = Self { case, values: Vec::new(), blocks: Vec::new(), parameters: Vec::new() };
        draft.push(Operation::Input { source: Source::State, rows });
        draft
    }

    /// Writes an operation down as it is.
    fn push(&mut self, operation: Operation) -> Node {
        let raw = &mut self.case.raw;
        let rows = operation.rows(|node| raw.rows[node.index()]).expect("drawn to fit");
        let node = Node::new(raw.operations.len());
        raw.operations.push(operation);
        raw.rows.push(rows);
        raw.outputs = vec![node];
        let case = &self.case;
        let value = interpret(&case.raw, &case.theta, |source| case.input(source)).remove(0);
        self.values.push(value);
        node
    }

    /// The same, unless it lies near a kink or a pole or is large: then its sine or an operand's.
    fn push_tame(&mut self, operation: Operation) -> Node {
        let near = |node: Node, far: f64| self.values[node.index()].iter().any(|x| x.abs() < far);
        let operand = operation.operands().next();
        let wild =
            match &operation {
                Operation::Map(Function::Sqrt | Function::Ln, x)
                | Operation::Slope(Function::Sqrt | Function::Ln, x) => self.values[x.index()].iter().any(|x| *x < 0.2),
                Operation::Map(Function::Recip, x)
                | Operation::Slope(Function::Recip, x)
                | Operation::Zip(Arithmetic::Div, _, x) => near(*x, 0.2),
                Operation::Map(Function::Abs | Function::Relu, x)
                | Operation::Slope(Function::Abs | Function::Relu, x) => near(*x, 1e-3),
                Operation::Zip(Arithmetic::Min | Arithmetic::Max, a, b) => {
                    let (a, b) = (&self.values[a.index()], &self.values[b.index()]);
                    let at = |rows: &[f64], i: usize| rows[if rows.len() == 1 { 0 } else { i }];
                    (0..a.len().max(b.len())).any(|i| (at(a, i) - at(b, i)).abs() < 1e-3)
                }
                _ => false,
            };
        let operation = match operand {
            Some(x) if wild => Operation::Map(Function::Sin, x),
            _ => operation,
        };
        let node = self.push(operation);
        match self.values[node.index()].iter().any(|x| x.abs() > 4.0) {
            true => self.push(Operation::Map(Function::Sin, node)),
            false => node,
        }
    }

    /// A value with `rows` rows made of another.
    fn fitted(&mut self, x: Node, rows: usize) -> Node {
        let found = self.case.raw.rows[x.index()];
        if found == rows {
            return x;
        }
        if found > rows {
            return self.push(Operation::Rows { x, first: found - rows, count: rows });
        }
        let single = self.push(Operation::Rows { x, first: 0, count: 1 });
        self.push(Operation::Repeat { x: single, count: rows })
    }

    fn allocate(&mut self, count: usize) -> usize {
        let offset = self.case.theta.len();
        // Fixed and irregular: a layer's values stay of order one.
        self.case.theta.extend((0..count).map(|i| ((offset + i) as f64 * 1.7 + 0.3).sin() * 0.8));
        offset
    }

    fn step(&mut self, kind: u32, [a, b, c]: [u16; 3], literal: &[f64], kinds: Kinds) {
        let count = self.values.len();
        let (x, y) = (Node::new(a as usize % count), Node::new(b as usize % count));
        let c = c as usize;
        let rows = self.case.raw.rows[x.index()];
        let operation = match kind {
            0..16 => Operation::Map(Function::ALL[kind as usize], x),
            16..22 if kinds == Kinds::All => Operation::Slope(Function::ALL[c % 16], x),
            16..22 => Operation::Map(Function::ALL[c % 16], x),
            22..34 => {
                let y = if self.case.raw.rows[y.index()] == 1 || rows == 1 { y } else { self.fitted(y, rows) };
                Operation::Zip(Arithmetic::ALL[c % 6], x, y)
            }
            34..39 => self.dense(x, rows, c),
            39..42 => self.parameter(rows, c),
            42..45 => {
                let numbers = literal[..rows].iter().enumerate();
                // Numbers that rules look for, too.
                let known = [0.0, 1.0, -1.0, 2.0];
                let number = |(i, x): (usize, &f64)| {
                    Number(if c.is_multiple_of(2) { known[(c / 2 + i * (c % 3)) % 4] } else { *x })
                };
                Operation::Literal(numbers.map(number).collect())
            }
            45..47 => Operation::Input { source: Source::Time, rows: 1 },
            47..50 if kinds == Kinds::All => Operation::Input { source: Source::Control(c % 2), rows: CONTROLS[c % 2] },
            47..54 => {
                let first = c % rows;
                Operation::Rows { x, first, count: 1 + (c / 8) % (rows - first) }
            }
            54..58 => self.stack(x, y, c),
            58..60 => {
                let x = self.fitted(x, 1);
                Operation::Repeat { x, count: 1 + c % 5 }
            }
            60..62 => Operation::Sum(x),
            _ => {
                let y = self.fitted(y, rows);
                Operation::Dot(x, y)
            }
        };
        self.push_tame(operation);
    }

    fn dense(&mut self, x: Node, inputs: usize, c: usize) -> Operation {
        let again = self.blocks.iter().find(|block| block.inputs == inputs && c.is_multiple_of(3)).copied();
        let block = again.unwrap_or_else(|| {
            let block = Block { offset: 0, inputs, outputs: 1 + c % 5, time: c.is_multiple_of(2) };
            Block { offset: self.allocate(block.layer().parameter_count()), ..block }
        });
        self.blocks.push(block);
        Operation::Dense { x, block, affine: !c.is_multiple_of(5) }
    }

    fn parameter(&mut self, rows: usize, c: usize) -> Operation {
        let again = self.parameters.iter().find(|(_, before)| *before == rows && c.is_multiple_of(3)).copied();
        let (offset, rows) = again.unwrap_or_else(|| (self.allocate(rows), rows));
        self.parameters.push((offset, rows));
        Operation::Parameter { offset, rows }
    }

    /// Stacks of five rows at most.
    fn stack(&mut self, x: Node, y: Node, c: usize) -> Operation {
        let x = match self.case.raw.rows[x.index()] {
            rows if rows > 3 => self.fitted(x, 3),
            _ => x,
        };
        let rest = (5 - self.case.raw.rows[x.index()]).min(1 + c % 2);
        let y = self.fitted(y, rest);
        Operation::Stack(if c.is_multiple_of(7) { vec![x] } else { vec![x, y] })
    }

    fn finish(mut self, numbers: Vec<f64>) -> Case {
        // All that was drawn matters, in values of the state's rows.
        let last = Node::new(self.values.len() - 1);
        let middle = Node::new(self.values.len() / 2);
        let rows = self.case.state.len();
        let (last, middle) = (self.fitted(last, rows), self.fitted(middle, rows));
        self.push(Operation::Zip(Arithmetic::Add, last, middle));
        let groups: Vec<Range<usize>> = self.blocks.iter().map(|block| block.layer().range()).collect();
        // None at times.
        let frozen = groups.get(numbers[11].to_bits() as usize % 3).cloned().unwrap_or(0..0);
        Case { extra: numbers, frozen, ..self.case }
    }
}
