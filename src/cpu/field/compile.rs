//! [`Code`]: a program as the native engine runs it on a tile, with a place for every value.
//!
//! Values share room where their lives do not overlap. A value is computed where it is needed, if it is needed there
//! alone: the parts of a stack in the stack, the input of an activation where its output will be, the field's value in the
//! caller's array. So a network costs its products, its activations in place, and nothing else.

use std::collections::HashMap;
use std::ops::Range;

use super::rows::{Code as LineCode, Line, Operand, Room};
use crate::problem::Activation;
use crate::problem::program::Program;
use crate::problem::program::function::Function;
use crate::problem::program::linearize::Gradient;
use crate::problem::program::operation::{Block, Node, Number, Operation, Source};

/// Rows in a room, from `at` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) room: Room,
    pub(crate) at: usize,
}

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Lines, one after the other.
    Lines(Range<usize>),
    /// `[x, t, 1] W`, or `x W`; of weights by number.
    Product { weights: usize, affine: bool, x: Place, target: Place },
    /// `W z_bar`
    Transposed { weights: usize, z_bar: Place, target: Place },
    /// In place, with the slope where it is wanted.
    Activate { activation: Activation, rows: usize, place: Place, slope: Option<usize> },
    /// The slope is wanted by the main values too.
    ActivateBoth { activation: Activation, rows: usize, place: Place, slope: usize },
    /// Adds to the parameters' cotangent: of a block, `x` is where the forward pass left it.
    AddBlock { weights: usize, affine: bool, x: usize, z_bar: Place },
    /// Adds to that of parameters from `offset` on.
    AddRows { offset: usize, rows: usize, bar: Place },
}

/// A step, and whether it can be left out where only the main values are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) step: Step,
    pub(crate) extra: bool,
}

/// A program on a tile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) lines: Vec<Line>,
    /// Rows of the scratch room.
    pub(crate) rows: usize,
    /// Rows of it that hold the time, and ones.
    pub(crate) times: Vec<usize>,
    pub(crate) ones: Vec<usize>,
    /// The first rows of the controls in it.
    pub(crate) controls: Vec<usize>,
    /// Numbers that are the same in all lanes: literals, and then parameters from their offsets on.
    pub(crate) literals: Vec<Number>,
    pub(crate) parameters: Vec<Range<usize>>,
    /// Where the values that the forward pass keeps are.
    pub(crate) kept: Vec<usize>,
    /// Where dense layers find their inputs: by the value and whether a row of the time follows.
    pub(crate) inputs: HashMap<(Node, Option<bool>), usize>,
}

/// The blocks that products are made with; those of forward and backward passes are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    pub(crate) blocks: Vec<Block>,
    /// Whether the product without time and bias is wanted too.
    pub(crate) linear: Vec<bool>,
}

impl Blocks {
    fn number(&mut self, block: Block, linear: bool) -> usize {
        let at = self.blocks.iter().position(|known| *known == block).unwrap_or_else(|| {
            self.blocks.push(block);
            self.linear.push(false);
            self.blocks.len() - 1
        });
        self.linear[at] |= linear;
        at
    }
}

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
    /// Its vector-Jacobian product: the state's cotangent, if there is one, is output `state`; gradients name theirs.
    /// Kept values are where the forward code left them.
    Product { forward: &'a Code, kept: &'a [Node], state: Option<usize>, gradients: &'a [Gradient] },
}

/// Compiles a program.
pub(crate) fn compile(program: &Program, asked: &Asked<'_>, blocks: &mut Blocks) -> Code {
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
    gradients: HashMap<Node, Vec<Gradient>>,
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
            gradients: HashMap::new(),
        };
        if let Asked::Product { gradients, .. } = asked {
            for gradient in *gradients {
                let (Gradient::Block { z_bar: output, .. } | Gradient::Rows { bar: output, .. }) = gradient;
                compiler.gradients.entry(program.outputs()[*output]).or_default().push(*gradient);
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

    /// Marks what the main values need: a field's value, or the gradients.
    fn find_main(&mut self) {
        match self.asked {
            Asked::Field { .. } => self.main[self.program.outputs()[0].index()] = true,
            Asked::Product { .. } => {
                for node in self.gradients.keys() {
                    self.main[node.index()] = true;
                }
            }
        }
        for (node, operation) in self.program.operations().rev() {
            if self.main[node.index()] {
                for operand in operation.operands() {
                    self.main[operand.index()] = true;
                }
            }
        }
    }

    fn find_homes(&mut self) {
        self.find_main();
        for (node, operation) in self.program.operations() {
            let is_view = matches!(
                operation,
                Operation::Input { .. }
                    | Operation::Literal(_)
                    | Operation::Parameter { .. }
                    | Operation::Rows { .. }
                    | Operation::Repeat { .. }
            );
            if is_view {
                self.homes[node.index()] = Home::View;
            }
            if let Operation::Dense { x, block, affine: true } = operation {
                let extension = &mut self.extended[x.index()];
                // Another layer's extension is that of a copy.
                extension.get_or_insert(block.time);
            }
        }
        for (node, operation) in self.program.operations() {
            match operation {
                Operation::Stack(parts) => {
                    let mut first = 0;
                    for part in parts {
                        if self.is_used_once(*part) && self.homes[part.index()] == Home::Own {
                            self.homes[part.index()] = Home::Inside(node, first);
                        }
                        first += self.rows(*part);
                    }
                }
                Operation::Map(f, x) if f.activation().is_some() && self.is_product(*x) => {
                    let slope = self.slopes.get(&(*f, *x)).map(|slope| Some(slope.index()));
                    let alone = |user: &Option<usize>| *user == Some(node.index()) || slope == Some(*user);
                    if self.uses[x.index()].iter().all(alone) {
                        self.homes[x.index()] = Home::Inside(node, 0);
                    }
                }
                Operation::Zip(_, x, _)
                    if self.is_product(*x) && self.is_used_once(*x) && self.rows(*x) == self.rows(node) =>
                {
                    self.homes[x.index()] = Home::Inside(node, 0);
                }
                _ => {}
            }
        }
        if let Some(output) = self.output()
            && self.homes[output.index()] == Home::Own
            && self.is_used_once(output)
            && !self.gradients.contains_key(&output)
        {
            self.homes[output.index()] = Home::Output;
        }
    }

    fn is_used_once(&self, node: Node) -> bool {
        self.uses[node.index()].len() == 1
    }

    fn is_product(&self, node: Node) -> bool {
        matches!(self.program.operation(node), Operation::Dense { .. } | Operation::Transposed { .. })
    }

    /// The value in whose rows a computed value or a view lies; none if that is not in the scratch room by an own value.
    fn root(&self, node: Node) -> Node {
        match (self.homes[node.index()], self.program.operation(node)) {
            (Home::Inside(owner, _), _) => self.root(owner),
            (Home::View, Operation::Rows { x, .. } | Operation::Repeat { x, .. }) => self.root(*x),
            _ => node,
        }
    }

    /// How long the rooms are needed. A value that is kept, or that a dense layer extends, is never in another's way.
    fn find_lives(&mut self) {
        let n = self.program.len();
        for index in 0..n {
            let root = self.root(Node::new(index));
            let users = self.uses[index].iter().map(|user| user.unwrap_or(n)).max().unwrap_or(index);
            self.last[root.index()] = self.last[root.index()].max(users).max(index);
            self.pinned[root.index()] |= self.extended[index].is_some();
        }
        // A value inside another one is there before that is computed.
        if matches!(self.asked, Asked::Field { .. }) {
            for output in &self.program.outputs()[1..] {
                let root = self.root(*output);
                self.pinned[root.index()] = true;
            }
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

    fn copy(&mut self, node: Node, target: Place, extra: bool) {
        let operand = self.operand(node);
        self.line(LineCode::Copy, self.rows(node), [operand; 2], target, extra);
    }

    fn line(&mut self, code: LineCode, rows: usize, operands: [Operand; 2], target: Place, extra: bool) {
        let at = self.code.lines.len();
        self.code.lines.push(Line { code, rows, operands, target: (target.room, target.at) });
        if let Some(Instruction { step: Step::Lines(range), extra: before }) = self.code.instructions.last_mut()
            && *before == extra
        {
            range.end = at + 1;
            return;
        }
        self.push(Step::Lines(at..at + 1), extra);
    }

    fn push(&mut self, step: Step, extra: bool) {
        self.code.instructions.push(Instruction { step, extra });
    }

    fn emit_all(&mut self) {
        if let Asked::Field { dim } = self.asked {
            // The state is at the start, and its extension after it, whether the field looks at it or not.
            let state = Operation::Input { source: Source::State, rows: *dim };
            let node = self.program.operations().find(|(_, operation)| **operation == state).map(|(node, _)| node);
            if let Some(time) = node.and_then(|node| self.extended[node.index()]) {
                self.code.rows += usize::from(time) + 1;
                self.extend(*dim, time);
            }
        }
        let mut ends: Vec<Vec<usize>> = vec![Vec::new(); self.program.len() + 1];
        for (root, last) in self.last.iter().enumerate() {
            ends[*last].push(root);
        }
        for (node, operation) in self.program.operations() {
            self.emit(node, operation);
            for gradient in self.gradients.get(&node).cloned().unwrap_or_default() {
                self.add(node, gradient);
            }
            for root in std::mem::take(&mut ends[node.index()]) {
                self.release(Node::new(root));
            }
        }
        if let Some(output) = self.output()
            && self.homes[output.index()] != Home::Output
        {
            let extra = matches!(self.asked, Asked::Product { .. });
            self.copy(output, Place { room: Room::Output, at: 0 }, extra);
        }
        if matches!(self.asked, Asked::Field { .. }) {
            for output in &self.program.outputs()[1..] {
                let place = self.stored(*output);
                self.code.kept.push(place.at);
            }
        }
    }

    fn release(&mut self, node: Node) {
        if self.pinned[node.index()] || self.homes[node.index()] != Home::Own {
            return;
        }
        if let Some(at) = self.rows_at[node.index()] {
            self.free.push(at..at + self.rows(node));
        }
    }

    fn emit(&mut self, node: Node, operation: &Operation) {
        let (rows, extra) = (self.rows(node), !self.main[node.index()]);
        match operation {
            Operation::Input { .. }
            | Operation::Literal(_)
            | Operation::Parameter { .. }
            | Operation::Rows { .. }
            | Operation::Repeat { .. } => {}
            Operation::Dense { x, block, affine } => {
                let place = if *affine { self.extended_by(*x, block.time) } else { self.stored(*x) };
                self.code.inputs.insert((*x, affine.then_some(block.time)), place.at);
                let weights = self.blocks.number(*block, !affine);
                let target = self.target(node);
                self.push(Step::Product { weights, affine: *affine, x: place, target }, extra);
            }
            Operation::Transposed { z_bar, block } => {
                let z_bar = self.stored(*z_bar);
                let weights = self.blocks.number(*block, false);
                let target = self.target(node);
                self.push(Step::Transposed { weights, z_bar, target }, extra);
            }
            Operation::Map(f, x) => match f.activation() {
                Some(activation) => self.activate(node, activation, *f, *x),
                None => {
                    let (x, target) = (self.operand(*x), self.target(node));
                    self.line(LineCode::Map(*f), rows, [x; 2], target, extra);
                }
            },
            // With its activation, if that is here.
            Operation::Slope(f, x) => {
                let map = Operation::Map(*f, *x);
                if f.activation().is_none() || !self.program.operations().any(|(_, operation)| *operation == map) {
                    let (x, target) = (self.operand(*x), self.target(node));
                    self.line(LineCode::Slope(*f), rows, [x; 2], target, extra);
                }
            }
            Operation::Zip(op, a, b) => {
                let mut operands = [self.operand(*a), self.operand(*b)];
                for (operand, node) in operands.iter_mut().zip([a, b]) {
                    operand.many &= self.rows(*node) == rows;
                }
                let target = self.target(node);
                self.line(LineCode::Zip(*op), rows, operands, target, extra);
            }
            Operation::Stack(parts) => {
                let target = self.target(node);
                let mut first = 0;
                for part in parts {
                    if self.homes[part.index()] != Home::Inside(node, first) {
                        self.copy(*part, Place { at: target.at + first, ..target }, extra);
                    }
                    first += self.rows(*part);
                }
            }
            Operation::Sum(x) => {
                let (count, x, target) = (self.rows(*x), self.operand(*x), self.target(node));
                self.line(LineCode::Sum, count, [x; 2], target, extra);
            }
            Operation::Dot(a, b) => {
                let count = self.rows(*a);
                let (a, b, target) = (self.operand(*a), self.operand(*b), self.target(node));
                self.line(LineCode::Dot, count, [a, b], target, extra);
            }
        }
    }

    /// An activation, in place, with its slope if that is wanted.
    fn activate(&mut self, node: Node, activation: Activation, f: Function, x: Node) {
        let (rows, extra) = (self.rows(node), !self.main[node.index()]);
        let place = self.target(node);
        if self.homes[x.index()] != Home::Inside(node, 0) {
            self.copy(x, place, extra);
        }
        let slope = self.slopes.get(&(f, x)).copied();
        let slope_place = slope.map(|slope| self.target(slope));
        let step = match (slope, slope_place) {
            (Some(slope), Some(Place { room: Room::Scratch, at })) if self.main[slope.index()] => {
                Step::ActivateBoth { activation, rows, place, slope: at }
            }
            (_, slope) => Step::Activate { activation, rows, place, slope: slope.map(|slope| slope.at) },
        };
        self.push(step, extra);
    }

    /// Adds a part of the parameters' cotangent, once its value is there.
    fn add(&mut self, node: Node, gradient: Gradient) {
        let Asked::Product { forward, kept, .. } = self.asked else { return };
        let bar = self.stored(node);
        let step = match gradient {
            Gradient::Block { block, affine, x, .. } => {
                let weights = self.blocks.number(block, false);
                let x = forward.inputs[&(kept[x], affine.then_some(block.time))];
                Step::AddBlock { weights, affine, x, z_bar: bar }
            }
            Gradient::Rows { offset, .. } => Step::AddRows { offset, rows: self.rows(node), bar },
        };
        self.push(step, false);
    }

    /// Parameters are put after the literals.
    fn finish(self) -> Code {
        let mut code = self.code;
        let literals = code.literals.len();
        for operand in code.lines.iter_mut().flat_map(|line| &mut line.operands) {
            if operand.room == Room::Scalars && operand.at >= PARAMETERS {
                operand.at = operand.at - PARAMETERS + literals;
            }
        }
        code
    }
}

/// A mark of scalars that are parameters while code is written: more than there are literals.
const PARAMETERS: usize = 1 << 40;
