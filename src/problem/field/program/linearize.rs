//! [`Linearized`]: a program with its vector-Jacobian product, which is a program too.
//!
//! The product is written by walking the program backwards once (reverse accumulation; A. Griewank, A. Walther,
//! Evaluating Derivatives, 2008, section 3.2): each value hands its cotangent on to its operands.

use std::ops::Range;

use super::Program;
use super::emitter::Emitter;
use super::function::Function;
use super::operation::{Arithmetic, Block, Node, Operation, Source};
use super::tangent::{second, takes_first, zeros};
use crate::error::{Error, Result};

/// A program, what it keeps, and the program that takes a cotangent back through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Linearized {
    /// The program. Its first outputs are its values, one of a field's; those after them are kept, in the order of
    /// [`Source::Kept`].
    pub(crate) forward: Program,
    /// How many of its outputs are values.
    pub(crate) values: usize,
    /// From [`Source::Cotangent`], that of the values one below the other, and the kept values.
    pub(crate) backward: Program,
    /// What the first outputs of the backward program are the cotangents of.
    pub(crate) inputs: Vec<Source>,
    /// What is added to the parameters' cotangent, from outputs of the backward program.
    pub(crate) gradients: Vec<Gradient>,
}

/// A part of the parameters' cotangent. Sums go over trajectories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gradient {
    /// `[x, t, 1]^T z_bar` to a block, or without `affine` `x^T z_bar` to its first rows: `x` is the `n`-th kept value,
    /// `z_bar` an output of the backward program.
    Block { block: Block, affine: bool, x: usize, z_bar: usize },
    /// An output of the backward program to parameters from `offset` on.
    Rows { offset: usize, bar: usize },
}

impl Linearized {
    /// The output of the backward program that is the state's cotangent; none where the field does not look at the state.
    pub(crate) fn state_output(&self) -> Option<usize> {
        self.inputs.iter().position(|source| *source == Source::State)
    }

    /// The outputs of the backward program that are cotangents of controls, with the controls' numbers.
    pub(crate) fn control_outputs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.inputs.iter().enumerate().filter_map(|(output, source)| match source {
            Source::Control(control) => Some((output, *control)),
            _ => None,
        })
    }
}

impl Program {
    /// The program with its vector-Jacobian product. Parameters in `frozen` have no gradient.
    ///
    /// # Errors
    /// [`Error::Argument`] when that makes too many operations.
    pub(crate) fn linearize(&self, frozen: &[Range<usize>]) -> Result<Linearized> {
        self.linearize_by(frozen, &|_| true)
    }

    /// As [`Program::linearize`], with the cotangents of the `wanted` controls alone.
    ///
    /// # Errors
    /// As [`Program::linearize`].
    pub(crate) fn linearize_by(&self, frozen: &[Range<usize>], wanted: &dyn Fn(usize) -> bool) -> Result<Linearized> {
        let mut walk = Walk::new(self, frozen, wanted);
        let rows = self.output_rows();
        let cotangent = walk.backward.emit(Operation::Input { source: Source::Cotangent, rows });
        let mut first = 0;
        for output in &self.outputs {
            let count = self.rows(*output);
            let bar = walk.backward.emit(Operation::Rows { x: cotangent, first, count });
            walk.hand(*output, bar);
            first += count;
        }
        for (node, operation) in self.operations().rev() {
            if let Some(bar) = walk.assembled(node) {
                walk.back(node, operation, bar);
            }
        }
        walk.finish()
    }
}

/// A part of a value's cotangent: of `count` rows from `first` on.
#[derive(Clone, Copy, Debug)]
struct Piece {
    first: usize,
    count: usize,
    bar: Node,
}

/// The way back.
struct Walk<'a> {
    program: &'a Program,
    frozen: &'a [Range<usize>],
    forward: Emitter,
    backward: Emitter,
    /// Whether a value depends on anything that has a cotangent.
    active: Vec<bool>,
    pieces: Vec<Vec<Piece>>,
    kept: Vec<Node>,
    inputs: Vec<(Source, Node)>,
    /// Parts of the gradient, with nodes of the backward program in place of outputs.
    gradients: Vec<(Gradient, Node)>,
}

impl<'a> Walk<'a> {
    fn new(program: &'a Program, frozen: &'a [Range<usize>], wanted: &dyn Fn(usize) -> bool) -> Self {
        let mut walk = Self {
            program,
            frozen,
            forward: program.reopen(),
            backward: Emitter::default(),
            active: Vec::with_capacity(program.len()),
            pieces: vec![Vec::new(); program.len()],
            kept: Vec::new(),
            inputs: Vec::new(),
            gradients: Vec::new(),
        };
        for (_, operation) in program.operations() {
            let active = match operation {
                Operation::Input { source: Source::Control(control), .. } => wanted(*control),
                Operation::Input { source, .. } => *source == Source::State,
                Operation::Parameter { offset, .. } => walk.learns(*offset),
                Operation::Dense { block, .. } | Operation::Transposed { block, .. } if walk.learns(block.offset) => {
                    true
                }
                _ => operation.operands().any(|operand| walk.active[operand.index()]),
            };
            walk.active.push(active);
        }
        walk
    }

    /// Whether parameters have a gradient.
    fn learns(&self, offset: usize) -> bool {
        !self.frozen.iter().any(|range| range.contains(&offset))
    }

    fn rows(&self, node: Node) -> usize {
        self.program.rows(node)
    }

    /// A value of the forward program in the backward one.
    fn import(&mut self, node: Node) -> Node {
        match self.forward.operation(node) {
            Some(operation @ (Operation::Literal(_) | Operation::Parameter { .. })) => {
                let operation = operation.clone();
                self.backward.emit(operation)
            }
            _ => {
                let kept = self.keep(node);
                let rows = self.forward.rows(node);
                self.backward.emit(Operation::Input { source: Source::Kept(kept), rows })
            }
        }
    }

    /// The place of a value among the kept ones.
    fn keep(&mut self, node: Node) -> usize {
        self.kept.iter().position(|kept| *kept == node).unwrap_or_else(|| {
            self.kept.push(node);
            self.kept.len() - 1
        })
    }

    /// Hands a cotangent on to a value, where it matters.
    fn hand(&mut self, to: Node, bar: Node) {
        let count = self.rows(to);
        self.hand_rows(to, 0, count, bar);
    }

    fn hand_rows(&mut self, to: Node, first: usize, count: usize, bar: Node) {
        if self.active[to.index()] {
            self.pieces[to.index()].push(Piece { first, count, bar });
        }
    }

    /// Hands a cotangent on to an operand that may be a single row that went with many.
    fn hand_spread(&mut self, to: Node, bar: Node) {
        let single = self.rows(to) == 1 && self.backward.rows(bar) > 1;
        let bar = if single { self.backward.emit(Operation::Sum(bar)) } else { bar };
        self.hand(to, bar);
    }

    /// The sum of what a value was handed; none where that is nothing.
    fn assembled(&mut self, node: Node) -> Option<Node> {
        let pieces = std::mem::take(&mut self.pieces[node.index()]);
        if pieces.is_empty() {
            return None;
        }
        let mut cuts: Vec<usize> = pieces.iter().flat_map(|piece| [piece.first, piece.first + piece.count]).collect();
        cuts.extend([0, self.rows(node)]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut parts = Vec::with_capacity(cuts.len());
        for cut in cuts.windows(2) {
            let (first, count) = (cut[0], cut[1] - cut[0]);
            let mut sum: Option<Node> = None;
            for piece in pieces.iter().filter(|piece| piece.first <= first && first < piece.first + piece.count) {
                let bar = self.backward.emit(Operation::Rows { x: piece.bar, first: first - piece.first, count });
                sum = Some(sum.map_or(bar, |sum| self.backward.add(sum, bar)));
            }
            parts.push(sum.unwrap_or_else(|| zeros(&mut self.backward, count)));
        }
        Some(self.backward.emit(Operation::Stack(parts)))
    }

    /// Hands the cotangent of one value on to its operands.
    fn back(&mut self, node: Node, operation: &Operation, bar: Node) {
        match operation {
            Operation::Input { source, .. } => self.inputs.push((*source, bar)),
            Operation::Literal(_) => {}
            Operation::Parameter { offset, .. } => {
                self.gradients.push((Gradient::Rows { offset: *offset, bar: 0 }, bar));
            }
            Operation::Dense { x, block, affine } => self.back_dense(*x, *block, *affine, bar),
            Operation::Transposed { z_bar, block } => {
                // Linear, and its transpose is the layer. Of its block's gradient `x` would be `bar` and `z_bar` be kept, the
                // other way round than in a layer's: no program that is linearized has one with parameters to learn.
                if self.learns(block.offset) {
                    let remedy = "a backward program has no gradient of parameters: freeze the block";
                    self.backward.refuse(Error::argument("Field", operation.name(), remedy));
                }
                let bar = self.backward.emit(Operation::Dense { x: bar, block: *block, affine: false });
                self.hand(*z_bar, bar);
            }
            Operation::Map(f, x) => self.back_map(node, *f, *x, bar),
            Operation::Slope(f, x) => {
                if self.active[x.index()]
                    && let Some(second) = second(&mut self.forward, *f, *x)
                {
                    let second = self.import(second);
                    let bar = self.backward.mul(bar, second);
                    self.hand(*x, bar);
                }
            }
            Operation::Zip(op, a, b) => self.back_zip(node, *op, *a, *b, bar),
            Operation::Rows { x, first, count } => self.hand_rows(*x, *first, *count, bar),
            Operation::Stack(parts) => {
                let mut first = 0;
                for part in parts {
                    let count = self.rows(*part);
                    let piece = self.backward.emit(Operation::Rows { x: bar, first, count });
                    self.hand(*part, piece);
                    first += count;
                }
            }
            Operation::Repeat { x, .. } => {
                let bar = self.backward.emit(Operation::Sum(bar));
                self.hand(*x, bar);
            }
            Operation::Sum(x) => {
                let count = self.rows(*x);
                let bar = self.backward.emit(Operation::Repeat { x: bar, count });
                self.hand(*x, bar);
            }
            Operation::Dot(a, b) => {
                for (to, other) in [(*a, *b), (*b, *a)] {
                    if !self.active[to.index()] {
                        continue;
                    }
                    let other = self.import(other);
                    let bar = self.backward.mul(bar, other);
                    self.hand(to, bar);
                }
            }
        }
    }

    fn back_dense(&mut self, x: Node, block: Block, affine: bool, z_bar: Node) {
        if self.learns(block.offset) {
            let x = self.keep(x);
            self.gradients.push((Gradient::Block { block, affine, x, z_bar: 0 }, z_bar));
        }
        if self.active[x.index()] {
            let bar = self.backward.emit(Operation::Transposed { z_bar, block });
            self.hand(x, bar);
        }
    }

    fn back_map(&mut self, y: Node, f: Function, x: Node, bar: Node) {
        let bar = match f {
            Function::Neg => self.backward.map(Function::Neg, bar),
            // Slopes that cost less than their room are computed on the way back.
            Function::Abs | Function::Square | Function::Cube => {
                let x = self.import(x);
                let slope = self.backward.emit(Operation::Slope(f, x));
                self.backward.mul(bar, slope)
            }
            // `(1/x)' = -(1/x)^2`
            Function::Recip => {
                let y = self.import(y);
                let square = self.backward.map(Function::Square, y);
                let bar = self.backward.mul(bar, square);
                self.backward.map(Function::Neg, bar)
            }
            _ => {
                let slope = self.forward.emit(Operation::Slope(f, x));
                let slope = self.import(slope);
                self.backward.mul(bar, slope)
            }
        };
        self.hand(x, bar);
    }

    fn back_zip(&mut self, value: Node, op: Arithmetic, a: Node, b: Node, bar: Node) {
        let [to_a, to_b] = [a, b].map(|operand| self.active[operand.index()]);
        match op {
            Arithmetic::Add => {
                self.hand_spread(a, bar);
                self.hand_spread(b, bar);
            }
            Arithmetic::Sub => {
                self.hand_spread(a, bar);
                if to_b {
                    let bar = self.backward.map(Function::Neg, bar);
                    self.hand_spread(b, bar);
                }
            }
            Arithmetic::Mul => {
                for (to, other) in [(a, b), (b, a)] {
                    if !self.active[to.index()] {
                        continue;
                    }
                    let other = self.import(other);
                    let single = self.rows(to) == 1 && self.backward.rows(bar) == self.backward.rows(other);
                    let bar = match single {
                        true => self.backward.emit(Operation::Dot(bar, other)),
                        false => self.backward.mul(bar, other),
                    };
                    self.hand_spread(to, bar);
                }
            }
            Arithmetic::Div => {
                let b_value = self.import(b);
                let a_bar = self.backward.zip(Arithmetic::Div, bar, b_value);
                self.hand_spread(a, a_bar);
                if to_b {
                    let value = self.import(value);
                    let bar = self.backward.mul(a_bar, value);
                    let bar = self.backward.map(Function::Neg, bar);
                    self.hand_spread(b, bar);
                }
            }
            Arithmetic::Min | Arithmetic::Max => {
                let takes = takes_first(&mut self.forward, op, a, b);
                let takes = self.import(takes);
                if to_a {
                    let bar = self.backward.mul(bar, takes);
                    self.hand_spread(a, bar);
                }
                if to_b {
                    let one = self.backward.literal(1.0);
                    let other = self.backward.sub(one, takes);
                    let bar = self.backward.mul(bar, other);
                    self.hand_spread(b, bar);
                }
            }
        }
    }

    fn finish(self) -> Result<Linearized> {
        let Self { program, forward, backward, kept, inputs, gradients, .. } = self;
        let outputs: Vec<Node> = program.outputs.iter().copied().chain(kept).collect();
        let mut bars: Vec<Node> = inputs.iter().map(|(_, bar)| *bar).collect();
        let mut parts = Vec::with_capacity(gradients.len());
        for (gradient, bar) in gradients {
            let place = bars.len();
            bars.push(bar);
            parts.push(match gradient {
                Gradient::Block { block, affine, x, .. } => Gradient::Block { block, affine, x, z_bar: place },
                Gradient::Rows { offset, .. } => Gradient::Rows { offset, bar: place },
            });
        }
        Ok(Linearized {
            forward: forward.finish(&outputs)?,
            values: program.outputs.len(),
            backward: backward.finish(&bars)?,
            inputs: inputs.into_iter().map(|(source, _)| source).collect(),
            gradients: parts,
        })
    }
}
