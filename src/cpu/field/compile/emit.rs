//! What is done for each operation.

use super::{Asked, Compiler, Home, Sink};
use crate::cpu::field::code::{Instruction, Place, Step};
use crate::cpu::field::rows::{Code as LineCode, Line, Operand, Room};
use crate::problem::Activation;
use crate::problem::program::function::Function;
use crate::problem::program::linearize::Gradient;
use crate::problem::program::operation::{Arithmetic, Node, Operation, Source};

impl Compiler<'_> {
    pub(super) fn emit_all(&mut self) {
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
            for sink in self.sinks.get(&node).cloned().unwrap_or_default() {
                self.add(node, sink);
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

    pub(super) fn release(&mut self, node: Node) {
        if self.pinned[node.index()] || self.homes[node.index()] != Home::Own {
            return;
        }
        if let Some(at) = self.rows_at[node.index()] {
            self.free.push(at..at + self.rows(node));
        }
    }

    pub(super) fn emit(&mut self, node: Node, operation: &Operation) {
        let (rows, extra) = (self.rows(node), !self.main[node.index()]);
        match operation {
            Operation::Input { .. }
            | Operation::Literal(_)
            | Operation::Parameter { .. }
            | Operation::Rows { .. }
            | Operation::Repeat { .. } => {}
            Operation::Dense { x, block, affine } => {
                let place = if *affine { self.extended_by(*x, block.time) } else { self.stored(*x) };
                self.inputs.insert((*x, affine.then_some(block.time)), place.at);
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
                None if *f == Function::Cube && self.is_state(*x) && self.homes[node.index()] == Home::Own => {
                    let target = self.target(node);
                    self.push(Step::Cube { rows, target }, extra);
                }
                None => {
                    let (x, target) = (self.operand(*x), self.target(node));
                    self.line(LineCode::Map(*f), rows, [x; 2], target, extra);
                }
            },
            Operation::Slope(..) if self.is_slope_of_cube(node) => {}
            // With its activation, if that is here before it.
            Operation::Slope(f, x) => {
                let map = Operation::Map(*f, *x);
                let mut before = self.program.operations().take(node.index());
                if f.activation().is_none() || !before.any(|(_, operation)| *operation == map) {
                    let (x, target) = (self.operand(*x), self.target(node));
                    self.line(LineCode::Slope(*f), rows, [x; 2], target, extra);
                }
            }
            Operation::Zip(op, a, b) => self.zip(node, *op, *a, *b),
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

    /// An operation of two values, of which a single row goes with all rows of the other.
    fn zip(&mut self, node: Node, op: Arithmetic, a: Node, b: Node) {
        let rows = self.rows(node);
        if self.is_slope_of_cube(b) {
            let place = self.target(node);
            return self.push(Step::CubeBar { rows, place }, !self.main[node.index()]);
        }
        let mut operands = [a, b].map(|node| self.operand(node));
        for (operand, node) in operands.iter_mut().zip([a, b]) {
            operand.many &= self.rows(node) == rows;
        }
        let (target, extra) = (self.target(node), !self.main[node.index()]);
        let [_, kept] = operands;
        if op == Arithmetic::Mul
            && self.homes[a.index()] == Home::Inside(node, 0)
            && kept.room == Room::Kept
            && kept.many
        {
            return self.push(Step::Multiply { rows, place: target, kept: kept.at }, extra);
        }
        self.line(LineCode::Zip(op), rows, operands, target, extra);
    }

    fn is_state(&self, x: Node) -> bool {
        matches!(self.program.operation(x), Operation::Input { source: Source::State, .. })
    }

    /// Whether this is the slope of the state's cube, and all it is for is to be multiplied into a product, in place.
    fn is_slope_of_cube(&self, slope: Node) -> bool {
        let Operation::Slope(Function::Cube, x) = self.program.operation(slope) else { return false };
        let [Some(user)] = self.uses[slope.index()][..] else { return false };
        let (user, kept) = (Node::new(user), self.program.operation(*x));
        let Operation::Zip(Arithmetic::Mul, bar, other) = self.program.operation(user) else { return false };
        let Asked::Product { forward, .. } = self.asked else { return false };
        *other == slope
            && self.homes[bar.index()] == Home::Inside(user, 0)
            && matches!(kept, Operation::Input { source: Source::Kept(kept), rows } if forward.kept[*kept] == 0 && *rows == self.rows(user))
    }

    /// An activation, in place, with its slope if that is wanted.
    pub(super) fn activate(&mut self, node: Node, activation: Activation, f: Function, x: Node) {
        let (rows, extra) = (self.rows(node), !self.main[node.index()]);
        let place = self.target(node);
        if self.homes[x.index()] != Home::Inside(node, 0) {
            self.copy(x, place, extra);
        }
        let slope = self.slopes.get(&(f, x)).copied().filter(|slope| slope.index() > node.index());
        let slope_place = slope.map(|slope| self.target(slope));
        let step = match (slope, slope_place) {
            (Some(slope), Some(Place { room: Room::Scratch, at })) if self.main[slope.index()] => {
                Step::ActivateBoth { activation, rows, place, slope: at }
            }
            (_, slope) => Step::Activate { activation, rows, place, slope: slope.map(|slope| slope.at) },
        };
        self.push(step, extra);
    }

    /// Adds a part of the parameters' cotangent, or of a control's, once its value is there.
    pub(super) fn add(&mut self, node: Node, sink: Sink) {
        let Asked::Product { inputs, kept, .. } = self.asked else { return };
        let bar = self.stored(node);
        let step = match sink {
            Sink::Gradient(Gradient::Block { block, affine, x, .. }) => {
                let weights = self.blocks.number(block, false);
                let x = inputs[&(kept[x], affine.then_some(block.time))];
                Step::AddBlock { weights, affine, x, z_bar: bar }
            }
            Sink::Gradient(Gradient::Rows { offset, .. }) => Step::AddRows { offset, rows: self.rows(node), bar },
            Sink::Control { control, .. } => Step::AddControl { control, rows: self.rows(node), bar },
        };
        self.push(step, false);
    }

    pub(super) fn copy(&mut self, node: Node, target: Place, extra: bool) {
        let operand = self.operand(node);
        self.line(LineCode::Copy, self.rows(node), [operand; 2], target, extra);
    }

    pub(super) fn line(&mut self, code: LineCode, rows: usize, operands: [Operand; 2], target: Place, extra: bool) {
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

    pub(super) fn push(&mut self, step: Step, extra: bool) {
        self.code.instructions.push(Instruction { step, extra });
    }
}
