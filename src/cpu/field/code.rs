//! [`Code`]: a program as the native engine runs it on a tile.

use std::ops::Range;

use super::rows::{Line, Room};
use crate::problem::Activation;
use crate::problem::program::operation::{Block, Number};

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
    /// A product with rows that were kept, in place: a cotangent with an activation's slope.
    Multiply { rows: usize, place: Place, kept: usize },
    /// `x^3` of the state: what networks of the spirals begin with, and too short for the loop over lines.
    Cube { rows: usize, target: Place },
    /// `bar *= 3 x^2`, with the state that was kept.
    CubeBar { rows: usize, place: Place },
    /// In place, with the slope where it is wanted.
    Activate { activation: Activation, rows: usize, place: Place, slope: Option<usize> },
    /// The slope is wanted by the main values too.
    ActivateBoth { activation: Activation, rows: usize, place: Place, slope: usize },
    /// Adds to the parameters' cotangent: of a block, `x` is where the forward pass left it.
    AddBlock { weights: usize, affine: bool, x: usize, z_bar: Place },
    /// Adds to that of parameters from `offset` on.
    AddRows { offset: usize, rows: usize, bar: Place },
    /// Adds to that of a control's values.
    AddControl { control: usize, rows: usize, bar: Place },
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
    /// The first row of the direction, of a measure.
    pub(crate) direction: Option<usize>,
    /// Numbers that are the same in all lanes: literals, and then parameters from their offsets on.
    pub(crate) literals: Vec<Number>,
    pub(crate) parameters: Vec<Range<usize>>,
    /// Where the values that the forward pass keeps are.
    pub(crate) kept: Vec<usize>,
}

/// The blocks that products are made with; those of forward and backward passes are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    pub(crate) blocks: Vec<Block>,
    /// Whether the product without time and bias is wanted too.
    pub(crate) linear: Vec<bool>,
}

impl Blocks {
    pub(super) fn number(&mut self, block: Block, linear: bool) -> usize {
        let at = self.blocks.iter().position(|known| *known == block).unwrap_or_else(|| {
            self.blocks.push(block);
            self.linear.push(false);
            self.blocks.len() - 1
        });
        self.linear[at] |= linear;
        at
    }
}
