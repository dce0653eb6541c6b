//! Derivatives of a program along a direction: the forward pass of differentiation.

use super::Program;
use super::emitter::Emitter;
use super::function::Function;
use super::operation::{Arithmetic, Block, Node, Number, Operation, Source};
use crate::error::{Error, Result};

impl Program {
    /// The program that gives the field and its derivatives in time along the solution `dy/dt = f(t, y)`, which are those
    /// of the solution itself: `y'`, `y''`, up to the `order`-th. Each one is the total derivative of the one before it,
    /// `d/dt g(t, y) = dg/dt + dg/dy f`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a field that is driven by controls, of whose rates a program knows nothing, and for one that
    /// makes too many operations.
    pub(crate) fn derivatives(&self, order: usize) -> Result<Self> {
        if self
            .operations()
            .any(|(_, operation)| matches!(operation, Operation::Input { source: Source::Control(_), .. }))
        {
            let remedy = "the derivatives of a driven field depend on the controls' rates: leave the controls out";
            return Err(Error::argument("Field", "derivatives in time", remedy));
        }
        let mut emitter = self.reopen();
        let field = self.outputs[0];
        let state = self
            .operations()
            .find(|(_, operation)| matches!(operation, Operation::Input { source: Source::State, .. }));
        if let Some((state, _)) = state
            && self.rows(state) != self.rows(field)
        {
            let value = format!("{} rows from {}", self.rows(field), self.rows(state));
            return Err(Error::argument(
                "Field",
                value,
                "only a vector field, as wide as the state, has derivatives in time",
            ));
        }
        let mut outputs = vec![field];
        for _ in 1..order.max(1) {
            let count = emitter.len();
            let one = emitter.literal(1.0);
            let tangents = along(&mut emitter, count, |_, source| match source {
                Source::State => Some(field),
                Source::Time => Some(one),
                _ => None,
            });
            let last = outputs[outputs.len() - 1];
            let next = tangents[last.index()].unwrap_or_else(|| zeros(&mut emitter, self.rows(field)));
            outputs.push(next);
        }
        emitter.finish(&outputs)
    }

    /// The program that gives the field and its Jacobian-vector product with [`Source::Direction`], at a fixed time.
    ///
    /// # Errors
    /// [`Error::Argument`] for a field that makes too many operations.
    pub(crate) fn jacobian_vector(&self, dim: usize) -> Result<Self> {
        let mut emitter = self.reopen();
        let count = emitter.len();
        let direction = emitter.emit(Operation::Input { source: Source::Direction, rows: dim });
        let tangents = along(&mut emitter, count, |_, source| (source == Source::State).then_some(direction));
        let field = self.outputs[0];
        let product = tangents[field.index()].unwrap_or_else(|| zeros(&mut emitter, self.rows(field)));
        emitter.finish(&[field, product])
    }
}

/// The derivatives of the first `count` values along those of the inputs; none where one is zero.
pub(crate) fn along(
    emitter: &mut Emitter,
    count: usize,
    mut input: impl FnMut(&mut Emitter, Source) -> Option<Node>,
) -> Vec<Option<Node>> {
    let mut tangents: Vec<Option<Node>> = Vec::with_capacity(count);
    // Of dense layers that see the time.
    let time = input(emitter, Source::Time);
    for index in 0..count {
        let Some(operation) = emitter.operation(Node::new(index)).cloned() else { break };
        let tangent = match operation {
            Operation::Input { source, .. } => input(emitter, source),
            _ => derivative(emitter, Node::new(index), &operation, &tangents, time),
        };
        tangents.push(tangent.filter(|tangent| !emitter.is(*tangent, 0.0)));
    }
    tangents
}

/// The derivative of one value, from those of its operands.
fn derivative(
    e: &mut Emitter,
    node: Node,
    operation: &Operation,
    tangents: &[Option<Node>],
    time: Option<Node>,
) -> Option<Node> {
    let of = |x: &Node| tangents[x.index()];
    let rows = e.rows(node);
    Some(match operation {
        Operation::Input { .. } | Operation::Literal(_) | Operation::Parameter { .. } => return None,
        Operation::Dense { x, block, affine } => dense(e, of(x), block, time.filter(|_| *affine && block.time))?,
        Operation::Transposed { z_bar, block } => {
            let z_bar = of(z_bar)?;
            e.emit(Operation::Transposed { z_bar, block: *block })
        }
        Operation::Map(f, x) => {
            let dx = of(x)?;
            let slope = e.emit(Operation::Slope(*f, *x));
            e.mul(slope, dx)
        }
        Operation::Slope(f, x) => {
            let dx = of(x)?;
            let second = second(e, *f, *x)?;
            e.mul(second, dx)
        }
        Operation::Zip(op, a, b) => zip(e, node, *op, (*a, of(a)), (*b, of(b)))?,
        Operation::Rows { x, first, count } => {
            let x = of(x)?;
            e.emit(Operation::Rows { x, first: *first, count: *count })
        }
        Operation::Stack(parts) => {
            if parts.iter().all(|part| of(part).is_none()) {
                return None;
            }
            let mut tangents = Vec::with_capacity(parts.len());
            for part in parts {
                let rows = e.rows(*part);
                tangents.push(of(part).unwrap_or_else(|| zeros(e, rows)));
            }
            e.emit(Operation::Stack(tangents))
        }
        Operation::Repeat { x, .. } => {
            let x = of(x)?;
            e.emit(Operation::Repeat { x, count: rows })
        }
        Operation::Sum(x) => {
            let x = of(x)?;
            e.emit(Operation::Sum(x))
        }
        Operation::Dot(a, b) => {
            let left = of(a).map(|da| e.emit(Operation::Dot(da, *b)));
            let right = of(b).map(|db| e.emit(Operation::Dot(*a, db)));
            sum(e, left, right)?
        }
    })
}

/// So many zeros.
pub(crate) fn zeros(e: &mut Emitter, rows: usize) -> Node {
    e.emit(Operation::Literal(vec![Number(0.0); rows]))
}

fn sum(e: &mut Emitter, a: Option<Node>, b: Option<Node>) -> Option<Node> {
    match (a, b) {
        (Some(a), Some(b)) => Some(e.add(a, b)),
        (a, b) => a.or(b),
    }
}

/// The same block on the derivative of `x`, and the time's row times that of the time; the bias has none.
fn dense(e: &mut Emitter, dx: Option<Node>, block: &Block, dt: Option<Node>) -> Option<Node> {
    let product = dx.map(|x| e.emit(Operation::Dense { x, block: *block, affine: false }));
    let time = dt.map(|dt| {
        let Block { offset, inputs, outputs, .. } = *block;
        let row = e.emit(Operation::Parameter { offset: offset + inputs * outputs, rows: outputs });
        e.mul(row, dt)
    });
    sum(e, product, time)
}

/// The derivative of `a op b`.
fn zip(
    e: &mut Emitter,
    value: Node,
    op: Arithmetic,
    (a, da): (Node, Option<Node>),
    (b, db): (Node, Option<Node>),
) -> Option<Node> {
    if da.is_none() && db.is_none() {
        return None;
    }
    // A row that goes with many has a derivative of one row, which goes with all of the other's.
    let spread = |e: &mut Emitter, x: Node| {
        let rows = e.rows(value);
        if e.rows(x) == rows { x } else { e.emit(Operation::Repeat { x, count: rows }) }
    };
    match op {
        Arithmetic::Add | Arithmetic::Sub => match (da, db) {
            (Some(a), Some(b)) => Some(e.zip(op, a, b)),
            (Some(a), None) => Some(spread(e, a)),
            (None, Some(b)) => {
                let b = if op == Arithmetic::Sub { e.map(Function::Neg, b) } else { b };
                Some(spread(e, b))
            }
            (None, None) => None,
        },
        Arithmetic::Mul => {
            let left = da.map(|da| e.mul(da, b));
            let right = db.map(|db| e.mul(a, db));
            sum(e, left, right)
        }
        Arithmetic::Div => {
            // `(da - q db) / b`
            let right = db.map(|db| e.mul(value, db));
            let top = match (da, right) {
                (Some(da), Some(right)) => e.sub(da, right),
                (Some(da), None) => da,
                (None, right) => e.map(Function::Neg, right?),
            };
            Some(e.zip(Arithmetic::Div, top, b))
        }
        Arithmetic::Min | Arithmetic::Max => {
            let takes = takes_first(e, op, a, b);
            let one = e.literal(1.0);
            let other = e.sub(one, takes);
            let left = da.map(|da| e.mul(takes, da));
            let right = db.map(|db| e.mul(other, db));
            sum(e, left, right)
        }
    }
}

/// 1 where the minimum or maximum is `a` and not `b`, 0 elsewhere: the slope of `max(x, 0)` at their difference.
pub(crate) fn takes_first(e: &mut Emitter, op: Arithmetic, a: Node, b: Node) -> Node {
    let ahead = if op == Arithmetic::Max { e.sub(a, b) } else { e.sub(b, a) };
    e.emit(Operation::Slope(Function::Relu, ahead))
}

/// The second derivative of a function, in terms of itself and its slope; none where it is zero everywhere.
pub(crate) fn second(e: &mut Emitter, f: Function, x: Node) -> Option<Node> {
    let slope = |e: &mut Emitter| e.emit(Operation::Slope(f, x));
    let times = |e: &mut Emitter, factor: f64, y: Node| {
        let factor = e.literal(factor);
        e.mul(factor, y)
    };
    Some(match f {
        Function::Neg | Function::Abs | Function::Relu => return None,
        Function::Square => {
            let two = vec![Number(2.0); e.rows(x)];
            e.emit(Operation::Literal(two))
        }
        Function::Cube => times(e, 6.0, x),
        // `(x^1/2)'' = -1/2 (x^1/2)' / x`
        Function::Sqrt => {
            let slope = slope(e);
            let half = times(e, -0.5, slope);
            e.zip(Arithmetic::Div, half, x)
        }
        Function::Recip => {
            let y = e.map(Function::Recip, x);
            let cube = e.map(Function::Cube, y);
            times(e, 2.0, cube)
        }
        Function::Exp => e.map(Function::Exp, x),
        Function::Ln => {
            let y = e.map(Function::Recip, x);
            let square = e.map(Function::Square, y);
            e.map(Function::Neg, square)
        }
        Function::Sin | Function::Cos => {
            let y = e.map(f, x);
            e.map(Function::Neg, y)
        }
        Function::Tanh => {
            let (y, slope) = (e.map(f, x), slope(e));
            let product = e.mul(y, slope);
            times(e, -2.0, product)
        }
        Function::Sigmoid => sigmoid_second(e, x),
        Function::Softplus => e.emit(Operation::Slope(Function::Sigmoid, x)),
        Function::Silu => {
            // `(x s)'' = 2 s' + x s''`
            let slope = e.emit(Operation::Slope(Function::Sigmoid, x));
            let (twice, second) = (times(e, 2.0, slope), sigmoid_second(e, x));
            let product = e.mul(x, second);
            e.add(twice, product)
        }
        Function::Gelu => gelu_second(e, x),
    })
}

/// `s'' = s' (1 - 2 s)`
fn sigmoid_second(e: &mut Emitter, x: Node) -> Node {
    let (s, slope) = (e.map(Function::Sigmoid, x), e.emit(Operation::Slope(Function::Sigmoid, x)));
    let (one, two) = (e.literal(1.0), e.literal(2.0));
    let twice = e.mul(two, s);
    let rest = e.sub(one, twice);
    e.mul(slope, rest)
}

/// Of `x s(u)` with `u = c (x + k x^3)`: `2 s' u' + x (s'' u'^2 + s' u'')`.
fn gelu_second(e: &mut Emitter, x: Node) -> Node {
    let (c, k) = (2.0 * (2.0 / std::f64::consts::PI).sqrt(), 0.044_715);
    // Beyond 20 the sigmoid is at its limit; the clamp keeps the powers finite.
    let (low, high) = (e.literal(-20.0), e.literal(20.0));
    let inside = e.zip(Arithmetic::Min, x, high);
    let x = e.zip(Arithmetic::Max, inside, low);
    let times = |e: &mut Emitter, factor: f64, y: Node| {
        let factor = e.literal(factor);
        e.mul(factor, y)
    };
    let (square, cube) = (e.map(Function::Square, x), e.map(Function::Cube, x));
    let (linear, cubic) = (times(e, c, x), times(e, c * k, cube));
    let u = e.add(linear, cubic);
    let (c, quadratic) = (e.literal(c), times(e, 3.0 * c * k, square));
    let (du, ddu) = (e.add(c, quadratic), times(e, 6.0 * (2.0 * (2.0 / std::f64::consts::PI).sqrt()) * k, x));
    let (slope, second) = (e.emit(Operation::Slope(Function::Sigmoid, u)), sigmoid_second(e, u));
    let product = e.mul(slope, du);
    let first = times(e, 2.0, product);
    let du_square = e.map(Function::Square, du);
    let (bent, straight) = (e.mul(second, du_square), e.mul(slope, ddu));
    let sum = e.add(bent, straight);
    let rest = e.mul(x, sum);
    e.add(first, rest)
}
