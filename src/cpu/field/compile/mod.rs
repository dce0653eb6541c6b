//! [`compile`]: from a program to the code that the native engine runs, with a place for every value.
//!
//! Values share room where their lives do not overlap. A value is computed where it is needed, if it is needed there
//! alone: the parts of a stack in the stack, the input of an activation where its output will be, the field's value in the
//! caller's array. So a network costs its products, its activations in place, and nothing else.

mod emit;
mod homes;

use std::collections::HashMap;
use std::ops::Range;

use super::code::{Blocks, Code, Place};
use super::rows::{Operand, Room};
use crate::problem::program::Program;
use crate::problem::program::function::Function;
use crate::problem::program::linearize::Gradient;
use crate::problem::program::operation::{Node, Operation, Source};

/// Where a value is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// In rows of its own.
    Own,
    /// In those of another value.
    Inside(Node, usize),
    /// In the caller's array.
    Output,
    /// Nowhere: it is rows of other values, numbers, or comes from outside.
    View,
}

/// What the values of a program are asked for.
pub(crate) enum Asked<'a> {
    /// A field: the first output is its value, those after it are kept.
    Field { dim: usize },
    /// Its vector-Jacobian product: the state's cotangent, if there is one, is output `state`; sinks name theirs.
    /// Kept values are where the forward code left them.
    Product { forward: &'a Code, inputs: &'a Inputs, kept: &'a [Node], state: Option<usize>, sinks: &'a [Sink] },
}

/// What takes a cotangent that is not the state's: a gradient of parameters, or a control, of an output by number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sink {
    Gradient(Gradient),
    Control { output: usize, control: usize },
}

impl Sink {
    const fn output(self) -> usize {
        match self {
            Self::Gradient(Gradient::Block { z_bar: output, .. } | Gradient::Rows { bar: output, .. })
            | Self::Control { output, .. } => output,
        }
    }
}

/// Where the forward pass's dense layers find their inputs: by the value and whether a row of the time follows.
pub(crate) type Inputs = HashMap<(Node, Option<bool>), usize>;

/// Compiles a program; also where its dense layers find their inputs.
pub(crate) fn compile(program: &Program, asked: &Asked<'_>, blocks: &mut Blocks) -> (Code, Inputs) {
    let mut compiler = Compiler::new(program, asked, blocks);
    compiler.find_homes();
    compiler.find_lives();
    compiler.emit_all();
    compiler.finish()
}

struct Compiler<'a> {
    program: &'a Program,
    asked: &'a Asked<'a>,
    blocks: &'a mut Blocks,
    code: Code,
    /// What uses each value: users by place, `None` for an output.
    uses: Vec<Vec<Option<usize>>>,
    homes: Vec<Home>,
    /// Whether a dense layer with the time's row, or without, extends the value's rows.
    extended: Vec<Option<bool>>,
    /// Whether a value is needed for the main values.
    main: Vec<bool>,
    /// Values whose room is never given to others.
    pinned: Vec<bool>,
    /// The place after which a value's room is free.
    last: Vec<usize>,
    rows_at: Vec<Option<usize>>,
    free: Vec<Range<usize>>,
    slopes: HashMap<(Function, Node), Node>,
    scalars: HashMap<Node, usize>,
    /// Copies that were made of values, by the row that follows them.
    copies: HashMap<(Node, Option<bool>), usize>,
    sinks: HashMap<Node, Vec<Sink>>,
    inputs: Inputs,
}

impl<'a> Compiler<'a> {
    fn new(program: &'a Program, asked: &'a Asked<'a>, blocks: &'a mut Blocks) -> Self {
        let n = program.len();
        let mut uses = vec![Vec::new(); n];
        let mut slopes = HashMap::new();
        for (node, operation) in program.operations() {
            for operand in operation.operands() {
                uses[operand.index()].push(Some(node.index()));
            }
            if let Operation::Slope(f, x) = operation {
                slopes.insert((*f, *x), node);
            }
        }
        for output in program.outputs() {
            uses[output.index()].push(None);
        }
        let code = Code { rows: if let Asked::Field { dim } = asked { *dim } else { 0 }, ..Code::default() };
        let mut compiler = Self {
            program,
            asked,
            blocks,
            code,
            uses,
            homes: vec![Home::Own; n],
            extended: vec![None; n],
            main: vec![false; n],
            pinned: vec![false; n],
            last: vec![0; n],
            rows_at: vec![None; n],
            free: Vec::new(),
            slopes,
            scalars: HashMap::new(),
            copies: HashMap::new(),
            sinks: HashMap::new(),
            inputs: Inputs::new(),
        };
        if let Asked::Product { sinks, .. } = asked {
            for sink in *sinks {
                compiler.sinks.entry(program.outputs()[sink.output()]).or_default().push(*sink);
            }
        }
        compiler
    }

    fn rows(&self, node: Node) -> usize {
        self.program.rows(node)
    }

    /// The output that goes to the caller's array.
    fn output(&self) -> Option<Node> {
        match self.asked {
            Asked::Field { .. } => self.program.outputs().first().copied(),
            Asked::Product { state, .. } => state.map(|state| self.program.outputs()[state]),
        }
    }

    /// Room for so many rows, for good or until it is given back.
    fn allocate(&mut self, rows: usize, pinned: bool) -> usize {
        let found = if pinned { None } else { self.free.iter().position(|range| range.len() >= rows) };
        if let Some(found) = found {
            let at = self.free[found].start;
            self.free[found].start += rows;
            if self.free[found].is_empty() {
                self.free.swap_remove(found);
            }
            return at;
        }
        let at = self.code.rows;
        self.code.rows += rows;
        at
    }

    /// Rows that follow a value for a dense layer: one of the time or none, and one of ones.
    fn extend(&mut self, at: usize, time: bool) {
        if time {
            self.code.times.push(at);
        }
        self.code.ones.push(at + usize::from(time));
    }

    /// Where a computed value goes.
    fn target(&mut self, node: Node) -> Place {
        match self.homes[node.index()] {
            Home::Output => Place { room: Room::Output, at: 0 },
            Home::Inside(owner, offset) => {
                let place = self.target(owner);
                Place { at: place.at + offset, ..place }
            }
            Home::Own | Home::View => {
                if self.rows_at[node.index()].is_none() {
                    let (rows, extension) = (self.rows(node), self.extended[node.index()]);
                    let all = rows + extension.map_or(0, |time| usize::from(time) + 1);
                    let at = self.allocate(all, self.pinned[node.index()]);
                    if let Some(time) = extension {
                        self.extend(at + rows, time);
                    }
                    self.rows_at[node.index()] = Some(at);
                }
                Place { room: Room::Scratch, at: self.rows_at[node.index()].unwrap_or(0) }
            }
        }
    }

    /// A value as an operand.
    fn operand(&mut self, node: Node) -> Operand {
        let many = self.rows(node) > 1;
        let of = |place: Place| Operand { room: place.room, at: place.at, many };
        match self.program.operation(node) {
            Operation::Input { source, rows } => of(self.input(node, *source, *rows)),
            Operation::Literal(numbers) => {
                let at = *self.scalars.entry(node).or_insert_with(|| {
                    self.code.literals.extend_from_slice(numbers);
                    self.code.literals.len() - numbers.len()
                });
                Operand { room: Room::Scalars, at, many }
            }
            // Parameters follow the literals, whose number is known in the end.
            Operation::Parameter { offset, rows } => {
                let at = *self.scalars.entry(node).or_insert_with(|| {
                    let before: usize = self.code.parameters.iter().map(Range::len).sum();
                    self.code.parameters.push(*offset..offset + rows);
                    PARAMETERS + before
                });
                Operand { room: Room::Scalars, at, many }
            }
            Operation::Rows { x, first, .. } => {
                let x = self.operand(*x);
                Operand { at: if x.many { x.at + first } else { x.at }, many: x.many && many, ..x }
            }
            Operation::Repeat { x, .. } => Operand { many: false, ..self.operand(*x) },
            _ => of(self.target(node)),
        }
    }

    /// Where something from outside is.
    fn input(&mut self, node: Node, source: Source, rows: usize) -> Place {
        match (source, self.asked) {
            (Source::State, _) => Place { room: Room::Scratch, at: 0 },
            (Source::Cotangent, _) => Place { room: Room::Bar, at: 0 },
            (Source::Kept(kept), Asked::Product { forward, .. }) => Place { room: Room::Kept, at: forward.kept[kept] },
            _ => {
                let place = match self.rows_at[node.index()] {
                    Some(at) => at,
                    None => {
                        let extension = self.extended[node.index()];
                        let at = self.allocate(rows + extension.map_or(0, |time| usize::from(time) + 1), true);
                        if let Some(time) = extension {
                            self.extend(at + rows, time);
                        }
                        match source {
                            Source::Time => self.code.times.push(at),
                            Source::Control(control) => {
                                let controls = &mut self.code.controls;
                                controls.resize(controls.len().max(control + 1), usize::MAX);
                                controls[control] = at;
                            }
                            Source::Direction => self.code.direction = Some(at),
                            _ => {}
                        }
                        self.rows_at[node.index()] = Some(at);
                        at
                    }
                };
                Place { room: Room::Scratch, at: place }
            }
        }
    }

    /// A value in rows of a room, one after the other; a copy where it is not.
    fn stored(&mut self, node: Node) -> Place {
        let operand = self.operand(node);
        if operand.room == Room::Scalars || (self.rows(node) > 1 && !operand.many) {
            return self.copied(node, None);
        }
        Place { room: operand.room, at: operand.at }
    }

    /// A value with the rows that a dense layer puts after it.
    fn extended_by(&mut self, node: Node, time: bool) -> Place {
        let operand = self.operand(node);
        let is_own =
            self.homes[node.index()] == Home::Own || matches!(self.program.operation(node), Operation::Input { .. });
        if is_own && operand.room == Room::Scratch && self.extended[node.index()] == Some(time) {
            Place { room: operand.room, at: operand.at }
        } else {
            self.copied(node, Some(time))
        }
    }

    fn copied(&mut self, node: Node, extension: Option<bool>) -> Place {
        if let Some(at) = self.copies.get(&(node, extension)) {
            return Place { room: Room::Scratch, at: *at };
        }
        let rows = self.rows(node);
        let at = self.allocate(rows + extension.map_or(0, |time| usize::from(time) + 1), true);
        if let Some(time) = extension {
            self.extend(at + rows, time);
        }
        self.copies.insert((node, extension), at);
        let target = Place { room: Room::Scratch, at };
        self.copy(node, target, !self.main[node.index()]);
        target
    }

    /// Parameters are put after the literals.
    fn finish(self) -> (Code, Inputs) {
        let mut code = self.code;
        let literals = code.literals.len();
        for operand in code.lines.iter_mut().flat_map(|line| &mut line.operands) {
            if operand.room == Room::Scalars && operand.at >= PARAMETERS {
                operand.at = operand.at - PARAMETERS + literals;
            }
        }
        (code, self.inputs)
    }
}

/// A mark of scalars that are parameters while code is written: more than there are literals.
const PARAMETERS: usize = 1 << (usize::BITS - 1);
