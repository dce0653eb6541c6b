//! [`Script`]: a program in the order in which it is printed for whole trajectories.
//!
//! A narrow value has a variable a row. A wide one, the hidden units of a network, is worked on in a loop, a unit at a time,
//! with everything else that is known of the unit by then; sums over units are collected in the same loop. Straight parts
//! and loops take turns, and are counted in levels: a level is a straight part and the loops after it.

use super::controls::Seat;
use crate::error::Result;
use crate::problem::Field;
use crate::problem::program::Program;
use crate::problem::program::linearize::{Gradient, Linearized};
use crate::problem::program::operation::{Block, Node, Operation, Source};
use crate::problem::program::tangent::zeros;

/// Rows of a value up to which each has a variable of its own.
pub(crate) const NARROW: usize = 8;

/// A field that was written out, as it is printed.
#[derive(Debug)]
pub(crate) struct Scripts {
    /// First of its parameters among the model's.
    pub(crate) first: usize,
    /// Its value.
    pub(crate) value: Script,
    /// Its vector-Jacobian product, and what that adds to the gradient.
    pub(crate) product: Script,
}

/// A program, and where each of its values is worked on.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) program: Program,
    /// The value that it is for; none that is zero everywhere.
    pub(crate) output: Option<Node>,
    pub(crate) additions: Vec<Addition>,
    /// Where its controls are.
    pub(crate) seats: Vec<Seat>,
    places: Vec<Place>,
    levels: Vec<usize>,
    /// Whether a value of a loop is written to an array, for the straight parts and loops after it.
    kept: Vec<bool>,
}

/// Where a value is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the straight part, with a variable a row.
    Rows,
    /// Likewise, but for a sum over units: that is collected in a loop of that width, a level before.
    Sum(usize),
    /// In a loop of its width.
    Loop,
    /// In the straight part, as an array.
    Array,
    /// Nowhere: each row is read where it comes from.
    Elsewhere,
}

/// What is added to the gradient, in the straight part of a level or in its loop of a width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addition {
    pub(crate) addend: Addend,
    pub(crate) level: usize,
    pub(crate) width: Option<usize>,
}

/// A part of the gradient; [`Gradient`] with the values themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addend {
    /// `x^T z_bar` to the first rows of a block.
    Block {
        block: Block,
        x: Node,
        z_bar: Node,
    },
    /// `[t, 1]^T z_bar` to the last ones.
    Affine {
        block: Block,
        z_bar: Node,
    },
    Rows {
        offset: usize,
        bar: Node,
    },
}

impl Scripts {
    /// Those of a field whose parameters begin at `first` of the model's, and whose controls are there.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a field whose derivative is too long.
    pub(crate) fn new(field: &Field, first: usize, seats: &[Seat]) -> Result<Self> {
        let linearized = field.program()?.linearize(&field.frozen())?;
        Ok(Self {
            first,
            value: Script::of_value(&linearized, seats)?,
            product: Script::of_product(&linearized, seats)?,
        })
    }
}

impl Script {
    fn of_value(linearized: &Linearized, seats: &[Seat]) -> Result<Self> {
        let output = linearized.forward.outputs()[0];
        let program = linearized.forward.reopen().finish(&[output])?;
        let output = program.outputs()[0];
        Ok(Self::new(program, Some(output), &[], seats))
    }

    /// Forward and backward in one: what is kept on the way is there on the way back.
    fn of_product(linearized: &Linearized, seats: &[Seat]) -> Result<Self> {
        let Linearized { forward, values, backward, inputs, gradients } = linearized;
        let mut emitter = forward.reopen();
        let mut nodes: Vec<Node> = Vec::with_capacity(backward.len());
        for (_, operation) in backward.operations() {
            nodes.push(match operation {
                Operation::Input { source: Source::Kept(n), .. } => forward.outputs()[values + n],
                _ => emitter.emit(operation.renamed(|node| nodes[node.index()])),
            });
        }
        let bars = backward.outputs().iter().enumerate().map(|(n, node)| match inputs.get(n) {
            // Nobody asks for the cotangent of a control.
            Some(Source::Control(_)) => zeros(&mut emitter, 1),
            _ => nodes[node.index()],
        });
        let bars: Vec<Node> = bars.collect();
        let kept = forward.outputs()[*values..].iter().copied();
        let outputs: Vec<Node> = bars.into_iter().chain(kept).collect();
        let program = emitter.finish(&outputs)?;
        let (bars, kept) = program.outputs().split_at(backward.outputs().len());
        let state = inputs.iter().position(|source| *source == Source::State).map(|at| bars[at]);
        let mut addends = Vec::new();
        for gradient in gradients {
            match *gradient {
                Gradient::Block { block, affine, x, z_bar } => {
                    let (x, z_bar) = (kept[x], bars[z_bar]);
                    addends.push(Addend::Block { block, x, z_bar });
                    addends.extend(affine.then_some(Addend::Affine { block, z_bar }));
                }
                Gradient::Rows { offset, bar } => addends.push(Addend::Rows { offset, bar: bars[bar] }),
            }
        }
        Ok(Self::new(program, state, &addends, seats))
    }

    fn new(program: Program, output: Option<Node>, addends: &[Addend], seats: &[Seat]) -> Self {
        let count = program.len();
        let (places, levels) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let (additions, kept) = (Vec::new(), vec![false; count]);
        let mut script = Self { program, output, additions, seats: seats.to_vec(), places, levels, kept };
        for index in 0..count {
            let node = Node::new(index);
            let operation = script.program.operation(node).clone();
            let (place, level) = script.placed(node, &operation);
            script.places.push(place);
            script.levels.push(level);
        }
        script.additions = addends.iter().map(|addend| script.added(*addend)).collect();
        script
    }

    fn rows(&self, node: Node) -> usize {
        self.program.rows(node)
    }

    pub(crate) fn is_wide(&self, node: Node) -> bool {
        self.rows(node) > NARROW
    }

    pub(crate) fn place(&self, node: Node) -> Place {
        self.places[node.index()]
    }

    pub(crate) fn is_kept(&self, node: Node) -> bool {
        self.kept[node.index()]
    }

    /// The level from whose straight part on any row of a value is there.
    fn any_row(&mut self, node: Node) -> usize {
        let level = self.levels[node.index()];
        if self.place(node) != Place::Loop {
            return level;
        }
        self.kept[node.index()] = true;
        level + 1
    }

    fn any_rows(&mut self, nodes: &[Node]) -> usize {
        nodes.iter().map(|node| self.any_row(*node)).max().unwrap_or(0)
    }

    /// The level from whose loops on a unit's rows of values are there.
    fn same_unit(&mut self, nodes: &[Node]) -> usize {
        let level = nodes.iter().map(|node| self.levels[node.index()]).max().unwrap_or(0);
        for node in nodes {
            if self.place(*node) == Place::Loop && self.levels[node.index()] < level {
                self.kept[node.index()] = true;
            }
        }
        level
    }

    fn placed(&mut self, node: Node, operation: &Operation) -> (Place, usize) {
        let wide = self.is_wide(node);
        let or_elsewhere = if wide { Place::Elsewhere } else { Place::Rows };
        match operation {
            Operation::Literal(numbers) if wide && numbers.iter().any(|x| *x != numbers[0]) => (Place::Array, 0),
            Operation::Input { .. } | Operation::Literal(_) | Operation::Parameter { .. } => (or_elsewhere, 0),
            Operation::Dense { x, .. } | Operation::Transposed { z_bar: x, .. } => match (self.is_wide(*x), wide) {
                (true, false) => self.collected(&[*x]),
                (_, true) => (Place::Loop, self.any_row(*x)),
                (false, false) => (Place::Rows, self.any_row(*x)),
            },
            Operation::Map(_, x) | Operation::Slope(_, x) => self.row_by_row(wide, &[*x]),
            Operation::Zip(_, a, b) => self.row_by_row(wide, &[*a, *b]),
            Operation::Sum(x) if self.is_wide(*x) => self.collected(&[*x]),
            Operation::Dot(a, b) if self.is_wide(*a) => self.collected(&[*a, *b]),
            Operation::Sum(x) => (Place::Rows, self.any_row(*x)),
            Operation::Dot(a, b) => (Place::Rows, self.any_rows(&[*a, *b])),
            Operation::Rows { x, .. } | Operation::Repeat { x, .. } => (or_elsewhere, self.any_row(*x)),
            Operation::Stack(parts) => (if wide { Place::Array } else { Place::Rows }, self.any_rows(parts)),
        }
    }

    fn row_by_row(&mut self, wide: bool, operands: &[Node]) -> (Place, usize) {
        if wide { (Place::Loop, self.same_unit(operands)) } else { (Place::Rows, self.any_rows(operands)) }
    }

    /// A sum over the units of wide values.
    fn collected(&mut self, operands: &[Node]) -> (Place, usize) {
        (Place::Sum(self.rows(operands[0])), self.same_unit(operands) + 1)
    }

    fn added(&mut self, addend: Addend) -> Addition {
        let (level, width) = match addend {
            Addend::Block { x, z_bar, .. } => match [x, z_bar].map(|node| self.is_wide(node)) {
                [false, false] => (self.any_rows(&[x, z_bar]), None),
                [true, false] => (self.same_unit(&[x, z_bar]), Some(self.rows(x))),
                [false, true] => (self.same_unit(&[z_bar, x]), Some(self.rows(z_bar))),
                [true, true] => {
                    // Any unit of the one with each of the other.
                    let level = self.any_row(x).max(self.levels[z_bar.index()]);
                    self.kept[z_bar.index()] |= self.place(z_bar) == Place::Loop && self.levels[z_bar.index()] < level;
                    (level, Some(self.rows(z_bar)))
                }
            },
            Addend::Affine { z_bar: bar, .. } | Addend::Rows { bar, .. } => {
                (self.same_unit(&[bar]), self.is_wide(bar).then(|| self.rows(bar)))
            }
        };
        Addition { addend, level, width }
    }

    /// Levels, one at least.
    pub(crate) fn level_count(&self) -> usize {
        let additions = self.additions.iter().map(|addition| addition.level);
        1 + self.levels.iter().copied().chain(additions).max().unwrap_or(0)
    }

    /// The values of a level, sums among them that are complete there.
    pub(crate) fn values(&self, level: usize) -> impl Iterator<Item = (Node, &Operation)> {
        self.program.operations().filter(move |(node, _)| self.levels[node.index()] == level)
    }

    /// Widths of the loops of a level.
    pub(crate) fn widths(&self, level: usize) -> Vec<usize> {
        let values = self.values(level).filter(|(node, _)| self.place(*node) == Place::Loop);
        let values = values.map(|(node, _)| self.rows(node));
        let sums = self.values(level + 1).filter_map(|(node, _)| match self.place(node) {
            Place::Sum(width) => Some(width),
            _ => None,
        });
        let additions = self.additions.iter().filter(|addition| addition.level == level);
        let mut widths: Vec<usize> = values.chain(sums).chain(additions.filter_map(|a| a.width)).collect();
        widths.sort_unstable();
        widths.dedup();
        widths
    }

    /// Iterations of all its loops.
    pub(crate) fn iterations(&self) -> usize {
        let loops: usize = (0..self.level_count()).flat_map(|level| self.widths(level)).sum();
        let within = |(node, operation): (Node, &Operation)| match operation {
            Operation::Dense { x, .. } | Operation::Transposed { z_bar: x, .. }
                if self.place(node) == Place::Loop && self.is_wide(*x) =>
            {
                self.rows(node).saturating_mul(self.rows(*x))
            }
            Operation::Stack(_) if self.is_wide(node) => self.rows(node),
            _ => 0,
        };
        let within: usize = self.program.operations().map(within).fold(0, usize::saturating_add);
        let additions = self.additions.iter().map(|addition| match addition.addend {
            Addend::Block { x, z_bar, .. } if self.is_wide(x) && self.is_wide(z_bar) => {
                self.rows(x).saturating_mul(self.rows(z_bar))
            }
            _ => 0,
        });
        additions.fold(loops.saturating_add(within), usize::saturating_add)
    }

    /// Statements of its text, more or less.
    pub(crate) fn statements(&self) -> usize {
        let narrow = |node: Node| if self.is_wide(node) { 1 } else { self.rows(node) };
        let values = self.program.operations().map(|(node, operation)| match operation {
            Operation::Dense { x, .. } | Operation::Transposed { z_bar: x, .. } => (narrow(*x) + 2) * narrow(node),
            _ => narrow(node),
        });
        let additions = self.additions.iter().map(|addition| match addition.addend {
            Addend::Block { x, z_bar, .. } => narrow(x) * narrow(z_bar),
            Addend::Affine { z_bar: bar, .. } | Addend::Rows { bar, .. } => 2 * narrow(bar),
        });
        values.chain(additions).sum()
    }

    /// Numbers in arrays.
    pub(crate) fn numbers(&self) -> usize {
        let in_array = |node: &Node| self.is_kept(*node) || self.place(*node) == Place::Array;
        self.program.operations().map(|(node, _)| node).filter(in_array).map(|node| self.rows(node)).sum()
    }
}
