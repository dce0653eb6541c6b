//! [`Operation`]: one line of a [`Program`](super::Program), and how many rows it has.

use serde::{Deserialize, Serialize};

use super::function::Function;
use crate::problem::{Activation, Layer};

/// The place of a value in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Node(u32);

impl Node {
    pub(crate) fn new(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A number that equals itself by its bits, so that operations can be looked up.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Number(pub(crate) f64);

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Number {}

impl std::hash::Hash for Number {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// What comes into a program from outside, a row a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// The state.
    State,
    /// The time, one row.
    Time,
    /// The `n`-th control.
    Control(usize),
    /// A direction to differentiate along, as wide as the state.
    Direction,
    /// In a backward program: the cotangent of the program's values, one below the other.
    Cotangent,
    /// In a backward program: the `n`-th value that the forward program kept.
    Kept(usize),
}

/// A dense layer's block among the parameters: row-major `[inputs + time + 1][outputs]`, as [`Layer`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Block {
    pub(crate) offset: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) time: bool,
}

impl Block {
    pub(crate) const fn of(layer: &Layer) -> Self {
        Self { offset: layer.offset, inputs: layer.inputs, outputs: layer.outputs, time: layer.time }
    }

    /// As a layer without an activation.
    pub(crate) const fn layer(&self) -> Layer {
        let Self { offset, inputs, outputs, time } = *self;
        Layer { offset, inputs, outputs, time, activation: Activation::Identity }
    }
}

/// An operation of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    /// The smaller one.
    Min,
    /// The larger one.
    Max,
}

impl Arithmetic {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 6] = [Self::Add, Self::Sub, Self::Mul, Self::Div, Self::Min, Self::Max];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Min => "min",
            Self::Max => "max",
        }
    }

    /// Its value at two numbers.
    pub(crate) fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            // Of what is no number the smaller or larger one is none.
            Self::Min => {
                if b < a || b.is_nan() {
                    b
                } else {
                    a
                }
            }
            Self::Max => {
                if b > a || b.is_nan() {
                    b
                } else {
                    a
                }
            }
        }
    }
}

/// A value of a program, rows of one trajectory, from earlier ones.
///
/// The set is closed under differentiation: the derivatives of a program are programs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    Input {
        source: Source,
        rows: usize,
    },
    /// Numbers, a row each.
    Literal(Vec<Number>),
    /// Parameters, a row each, equal in all trajectories.
    Parameter {
        offset: usize,
        rows: usize,
    },
    /// `[x, t, 1] W`, or without `affine` the first part of it, `x W`.
    Dense {
        x: Node,
        block: Block,
        affine: bool,
    },
    /// The cotangent of `x` in a [`Operation::Dense`]: `W z_bar`.
    Transposed {
        z_bar: Node,
        block: Block,
    },
    /// `f(x)`, row by row.
    Map(Function, Node),
    /// `f'(x)`, row by row.
    Slope(Function, Node),
    /// `a op b`, row by row; one row goes with all rows of the other.
    Zip(Arithmetic, Node, Node),
    /// `count` rows from `first` on.
    Rows {
        x: Node,
        first: usize,
        count: usize,
    },
    /// One below the other.
    Stack(Vec<Node>),
    /// One row, `count` times.
    Repeat {
        x: Node,
        count: usize,
    },
    /// The sum of the rows.
    Sum(Node),
    /// The sum of the products of rows.
    Dot(Node, Node),
}

impl Operation {
    /// The values that it is computed from.
    pub(crate) fn operands(&self) -> impl Iterator<Item = Node> + '_ {
        let (few, many): ([Option<Node>; 2], &[Node]) = match self {
            Self::Input { .. } | Self::Literal(_) | Self::Parameter { .. } => ([None; 2], &[]),
            Self::Dense { x, .. }
            | Self::Transposed { z_bar: x, .. }
            | Self::Map(_, x)
            | Self::Slope(_, x)
            | Self::Rows { x, .. }
            | Self::Repeat { x, .. }
            | Self::Sum(x) => ([Some(*x), None], &[]),
            Self::Zip(_, a, b) | Self::Dot(a, b) => ([Some(*a), Some(*b)], &[]),
            Self::Stack(parts) => ([None; 2], parts),
        };
        few.into_iter().flatten().chain(many.iter().copied())
    }

    /// Its name in listings and errors.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Input { source: Source::State, .. } => "state",
            Self::Input { source: Source::Time, .. } => "time",
            Self::Input { source: Source::Control(_), .. } => "control",
            Self::Input { source: Source::Direction, .. } => "direction",
            Self::Input { source: Source::Cotangent, .. } => "cotangent",
            Self::Input { source: Source::Kept(_), .. } => "kept",
            Self::Literal(_) => "literal",
            Self::Parameter { .. } => "parameters",
            Self::Dense { affine: true, .. } => "dense",
            Self::Dense { affine: false, .. } => "linear",
            Self::Transposed { .. } => "transposed",
            Self::Map(f, _) => f.name(),
            Self::Slope(f, _) => f.slope_name(),
            Self::Zip(op, ..) => op.name(),
            Self::Rows { .. } => "rows",
            Self::Stack(_) => "stack",
            Self::Repeat { .. } => "repeat",
            Self::Sum(_) => "sum",
            Self::Dot(..) => "dot",
        }
    }

    /// It and the rows of what it is applied to, for errors: `+ of 2 rows and 3 rows`.
    pub(crate) fn described(&self, of: impl Fn(Node) -> usize) -> String {
        /// A stack's parts may be many.
        const MANY: usize = 8;
        let mut parts: Vec<String> = self.operands().take(MANY).map(|node| counted(of(node), "row")).collect();
        if let Some(more) = self.operands().count().checked_sub(MANY).filter(|more| *more > 0) {
            parts.push(format!("{more} more"));
        }
        let name = self.name();
        match self {
            Self::Literal(numbers) => format!("{name} of {}", counted(numbers.len(), "number")),
            Self::Input { rows, .. } | Self::Parameter { rows, .. } => format!("{name} of {}", counted(*rows, "row")),
            Self::Rows { first, count, .. } => {
                format!("{name} {first}..{} of {}", first.saturating_add(*count), parts.join(" and "))
            }
            Self::Repeat { count, .. } => format!("{name} {} of {}", counted(*count, "time"), parts.join(" and ")),
            Self::Stack(_) if parts.is_empty() => format!("{name} of nothing"),
            _ => format!("{name} of {}", parts.join(" and ")),
        }
    }

    /// The same of other values.
    pub(crate) fn renamed(&self, name: impl Fn(Node) -> Node) -> Self {
        match self {
            Self::Input { .. } | Self::Literal(_) | Self::Parameter { .. } => self.clone(),
            Self::Dense { x, block, affine } => Self::Dense { x: name(*x), block: *block, affine: *affine },
            Self::Transposed { z_bar, block } => Self::Transposed { z_bar: name(*z_bar), block: *block },
            Self::Map(f, x) => Self::Map(*f, name(*x)),
            Self::Slope(f, x) => Self::Slope(*f, name(*x)),
            Self::Zip(op, a, b) => Self::Zip(*op, name(*a), name(*b)),
            Self::Rows { x, first, count } => Self::Rows { x: name(*x), first: *first, count: *count },
            Self::Stack(parts) => Self::Stack(parts.iter().map(|part| name(*part)).collect()),
            Self::Repeat { x, count } => Self::Repeat { x: name(*x), count: *count },
            Self::Sum(x) => Self::Sum(name(*x)),
            Self::Dot(a, b) => Self::Dot(name(*a), name(*b)),
        }
    }

    /// Its rows, where those of earlier values are known.
    ///
    /// # Errors
    /// What does not fit, as the remedy of an error.
    pub(crate) fn rows(&self, of: impl Fn(Node) -> usize) -> Result<usize, String> {
        match self {
            Self::Input { rows, .. } | Self::Parameter { rows, .. } => Ok(*rows),
            Self::Literal(numbers) => match numbers.iter().find(|number| !number.0.is_finite()) {
                Some(number) => Err(format!("{} is not finite: write numbers that are", number.0)),
                None => Ok(numbers.len()),
            },
            Self::Dense { x, block, .. } => wide(of(*x), block.inputs, block.outputs),
            Self::Transposed { z_bar, block } => wide(of(*z_bar), block.outputs, block.inputs),
            Self::Map(_, x) | Self::Slope(_, x) => Ok(of(*x)),
            Self::Zip(_, a, b) => match (of(*a), of(*b)) {
                (a, b) if a == b || b == 1 => Ok(a),
                (1, b) => Ok(b),
                (a, b) => Err(format!("{a} rows do not go with {b}: give both as many, or one of them a single row")),
            },
            Self::Rows { x, first, count } => match of(*x) {
                _ if *count == 0 => Err("these are no rows: take one at least".to_owned()),
                rows if first.saturating_add(*count) <= rows => Ok(*count),
                rows => Err(format!("the value has rows 0..{rows}: take of those")),
            },
            Self::Stack(parts) if parts.is_empty() => {
                Err("there is nothing to stack: give it a value at least".to_owned())
            }
            Self::Stack(parts) => Ok(parts.iter().fold(0, |sum: usize, part| sum.saturating_add(of(*part)))),
            Self::Repeat { x, count } => match of(*x) {
                1 => Ok(*count),
                _ => Err("a single row is repeated: take one, or stack the value on itself".to_owned()),
            },
            Self::Sum(_) => Ok(1),
            Self::Dot(a, b) => match (of(*a), of(*b)) {
                (a, b) if a == b => Ok(1),
                (a, b) => Err(format!("{a} rows do not go with {b}: give both as many")),
            },
        }
    }
}

/// The rows of a layer's value, if it is given as many rows as it has inputs.
fn wide(found: usize, expected: usize, rows: usize) -> Result<usize, String> {
    let wanted = || format!("the layer takes {}: give it a value as wide", counted(expected, "row"));
    if found == expected { Ok(rows) } else { Err(wanted()) }
}

/// `1 row`, `2 rows`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
