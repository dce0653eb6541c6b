//! [`FieldBuilder`] and [`Value`]: fields written as ordinary arithmetic.

use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Range, Sub};
use std::rc::Rc;

use super::group::{Bound, Group, Initial};
use super::layer::{Activation, Layer, MAX_ROWS};
use super::mlp::Mlp;
use super::program::emitter::Emitter;
use super::program::function::Function;
use super::program::operation::{Arithmetic, Block, Node, Number, Operation, Source};
use super::written::{ControlInput, Written};
use crate::error::{Error, Result};

/// What a field is written with; see [`Field::build`](super::Field::build).
///
/// What does not fit is refused when the field is built, with the operation and its rows; values made after it mean nothing.
#[derive(Debug)]
pub struct FieldBuilder {
    draft: Rc<RefCell<Draft>>,
    inputs: usize,
}

/// What is written so far.
#[derive(Debug, Default)]
struct Draft {
    emitter: Emitter,
    groups: Vec<Group>,
    controls: Vec<ControlInput>,
    parameters: usize,
}

/// A value of a field that is being written: some rows of numbers a trajectory. It is a handle, cheap to clone.
///
/// Operators and functions work row by row. A single row, or a plain number, goes with all rows of another value.
#[derive(Clone, Debug)]
pub struct Value {
    draft: Rc<RefCell<Draft>>,
    node: Node,
}

/// A network of a field that is being written.
#[derive(Debug)]
pub(in crate::problem) struct Network {
    mlp: Mlp,
    blocks: Vec<Block>,
}

impl Network {
    /// Rows that it takes.
    pub(in crate::problem) fn inputs(&self) -> usize {
        self.mlp.sizes().first().copied().unwrap_or(0)
    }
}

/// The place of a value among those of the field that is being built, which it has to be of.
fn taken(draft: &Rc<RefCell<Draft>>, value: &Value) -> Node {
    if !Rc::ptr_eq(draft, &value.draft) {
        let remedy = "use values of the field that is being built";
        draft.borrow_mut().emitter.refuse(Error::argument("Field", "value of another field", remedy));
    }
    value.node
}

impl FieldBuilder {
    /// Rows that a value may have.
    pub(in crate::problem) const MAX_ROWS: usize = MAX_ROWS;

    pub(super) fn new(inputs: usize) -> Self {
        Self { draft: Rc::new(RefCell::new(Draft::default())), inputs }
    }

    /// The field with the value `output`.
    pub(super) fn finish(self, output: &Value) -> Result<Written> {
        let node = self.taken(output);
        let draft = self.draft.take();
        let program = draft.emitter.finish(&[node])?;
        let written = Written { inputs: self.inputs, program, groups: draft.groups, controls: draft.controls };
        written.validate()?;
        Ok(written)
    }

    fn emit(&self, operation: Operation) -> Value {
        let node = self.draft.borrow_mut().emitter.emit(operation);
        Value { draft: Rc::clone(&self.draft), node }
    }

    /// The place of a value, which has to be of this field.
    pub(super) fn taken(&self, value: &Value) -> Node {
        taken(&self.draft, value)
    }

    /// Refuses the field for an error.
    pub(super) fn refuse_by(&self, error: Error) {
        self.draft.borrow_mut().emitter.refuse(error);
    }

    /// The value that is written so.
    pub(super) fn written(&self, write: impl FnOnce(&mut Emitter) -> Node) -> Value {
        let node = write(&mut self.draft.borrow_mut().emitter);
        Value { draft: Rc::clone(&self.draft), node }
    }

    fn refuse(&self, value: impl std::fmt::Debug, remedy: impl Into<String>) {
        self.draft.borrow_mut().emitter.refuse(Error::argument("Field", format!("{value:?}"), remedy));
    }

    /// Whether so many numbers are few enough to be copied.
    fn few(&self, what: impl std::fmt::Debug, numbers: &[f64]) -> bool {
        let few = numbers.len() <= MAX_ROWS;
        if !few {
            self.refuse(what, format!("it has {} rows: give it 1 to {MAX_ROWS}", numbers.len()));
        }
        few
    }

    /// The state, a row a feature; of an encoder or a head, its input.
    #[must_use]
    pub fn state(&self) -> Value {
        self.emit(Operation::Input { source: Source::State, rows: self.inputs })
    }

    /// The time, one row.
    #[must_use]
    pub fn time(&self) -> Value {
        self.emit(Operation::Input { source: Source::Time, rows: 1 })
    }

    /// A control `u(t)` of one row, by name.
    #[must_use]
    pub fn control(&self, name: &str) -> Value {
        self.controls(name, 1)
    }

    /// A control `u(t)` of several rows, by name. The same name is the same control.
    #[must_use]
    pub fn controls(&self, name: &str, rows: usize) -> Value {
        let place = self.control_place(name, rows);
        self.emit(Operation::Input { source: Source::Control(place), rows })
    }

    /// The place of a control among those of the field.
    pub(super) fn control_place(&self, name: &str, rows: usize) -> usize {
        let place = {
            let controls = &mut self.draft.borrow_mut().controls;
            let found = controls.iter().position(|control| control.name == name);
            found.unwrap_or_else(|| {
                controls.push(ControlInput { name: name.to_owned(), rows });
                controls.len() - 1
            })
        };
        let before = self.draft.borrow().controls[place].rows;
        if before != rows {
            self.refuse(name, format!("the control has {before} rows, not {rows}"));
        }
        place
    }

    /// Numbers that stay as they are, a row each.
    #[must_use]
    pub fn literal(&self, numbers: &[f64]) -> Value {
        let numbers = if self.few("literal", numbers) { numbers } else { &[] };
        self.emit(Operation::Literal(numbers.iter().copied().map(Number).collect()))
    }

    /// A group of parameters, a row each, that starts as `initial`.
    #[must_use]
    pub fn parameters(&self, name: &str, initial: &[f64]) -> Value {
        self.bounded_parameters(name, initial, Bound::None)
    }

    /// A group of parameters whose values are positive and start as `initial`: the values are `e^parameter`.
    #[must_use]
    pub fn positive(&self, name: &str, initial: &[f64]) -> Value {
        self.bounded_parameters(name, initial, Bound::Exp)
    }

    /// A group of parameters whose values start as `initial` and stay within a bound.
    #[must_use]
    pub fn bounded_parameters(&self, name: &str, initial: &[f64], bound: Bound) -> Value {
        let initial = if self.few(name, initial) { initial } else { &[] };
        let numbers: Vec<Number> = initial.iter().map(|value| Number(bound.parameter(*value))).collect();
        if let Some(at) = numbers.iter().position(|number| !number.0.is_finite()) {
            self.refuse(name, format!("{} is outside of the bound {bound:?}, or not finite", initial[at]));
        }
        let rows = initial.len();
        let offset = self.group(name, rows, bound, Initial::Numbers(numbers));
        let parameters = self.emit(Operation::Parameter { offset, rows });
        match bound {
            Bound::None => parameters,
            Bound::Exp => parameters.exp(),
            Bound::Softplus => parameters.softplus(),
        }
    }

    /// Adds a group, and returns its first parameter.
    fn group(&self, name: &str, count: usize, bound: Bound, initial: Initial) -> usize {
        self.add_group(|offset| Group { name: name.to_owned(), offset, count, frozen: false, bound, initial })
    }

    /// The same of a group that is made where its first parameter is known.
    pub(super) fn add_group(&self, group: impl FnOnce(usize) -> Group) -> usize {
        let offset = self.draft.borrow().parameters;
        let group = group(offset);
        if self.draft.borrow().groups.iter().any(|other| other.name == group.name) {
            self.refuse(&group.name, "two groups of parameters have this name: give each its own");
        }
        let mut draft = self.draft.borrow_mut();
        draft.parameters = offset.saturating_add(group.count);
        draft.groups.push(group);
        offset
    }

    /// Takes the gradient from a group of parameters: it stays as it is.
    pub fn freeze(&self, name: &str) {
        let known = {
            let groups = &mut self.draft.borrow_mut().groups;
            let group = groups.iter_mut().find(|group| group.name == name);
            group.map(|group| group.frozen = true).is_some()
        };
        if !known {
            self.refuse(name, "there is no group of parameters of this name to freeze");
        }
    }

    /// A network applied to a value; its weights are a group of parameters.
    #[must_use]
    pub fn mlp(&self, name: &str, mlp: &Mlp, x: &Value) -> Value {
        self.applied(&self.network(name, mlp), x)
    }

    /// A network whose weights are a group of parameters.
    pub(in crate::problem) fn network(&self, name: &str, mlp: &Mlp) -> Network {
        if let Err(error) = mlp.validate() {
            self.draft.borrow_mut().emitter.refuse(error);
            return Network { mlp: mlp.clone(), blocks: Vec::new() };
        }
        let offset = self.draft.borrow().parameters;
        let placed = |layer: &Layer| Block { offset: offset + layer.offset, ..Block::of(layer) };
        let blocks: Vec<Block> = mlp.layers().map(|layer| placed(&layer)).collect();
        let initial = Initial::Drawn { blocks: blocks.clone(), initialization: mlp.drawn() };
        self.group(name, mlp.parameter_count(), Bound::None, initial);
        Network { mlp: mlp.clone(), blocks }
    }

    /// A network applied to a value, as often as one likes.
    pub(in crate::problem) fn applied(&self, network: &Network, x: &Value) -> Value {
        let x = self.taken(x);
        let node = network.mlp.emit(&mut self.draft.borrow_mut().emitter, &network.blocks, x);
        Value { draft: Rc::clone(&self.draft), node }
    }

    /// What was refused first.
    pub(in crate::problem) fn refusal(&self) -> Option<String> {
        self.draft.borrow().emitter.refused().map(Error::unnamed)
    }

    /// The numbers that a value is known to be.
    pub(in crate::problem) fn numbers(&self, value: &Value) -> Option<Vec<f64>> {
        let node = self.taken(value);
        self.draft.borrow().emitter.known(node).map(|numbers| numbers.iter().map(|number| number.0).collect())
    }

    /// Values one below the other.
    #[must_use]
    pub fn stack(&self, values: impl IntoIterator<Item = Value>) -> Value {
        let parts = values.into_iter().map(|value| self.taken(&value)).collect();
        self.emit(Operation::Stack(parts))
    }
}

macro_rules! functions {
    ($($name:ident $function:ident $what:literal;)*) => {
        $(
            #[doc = concat!($what, ", row by row.")]
            #[must_use]
            pub fn $name(&self) -> Self {
                self.map(Function::$function)
            }
        )*
    };
}

impl Value {
    fn emit(&self, operation: Operation) -> Self {
        let node = self.draft.borrow_mut().emitter.emit(operation);
        Self { draft: Rc::clone(&self.draft), node }
    }

    /// An operation with another value, row by row.
    pub(in crate::problem) fn zip(&self, op: Arithmetic, other: &Self) -> Self {
        let other = taken(&self.draft, other);
        self.emit(Operation::Zip(op, self.node, other))
    }

    /// A function of it, row by row.
    pub(in crate::problem) fn map(&self, f: Function) -> Self {
        self.emit(Operation::Map(f, self.node))
    }

    fn number(&self, x: f64) -> Self {
        self.emit(Operation::Literal(vec![Number(x)]))
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.draft.borrow().emitter.rows(self.node)
    }

    /// One of the rows, counted from 0.
    #[must_use]
    pub fn row(&self, row: usize) -> Self {
        self.emit(Operation::Rows { x: self.node, first: row, count: 1 })
    }

    /// Some of the rows, counted from 0.
    #[must_use]
    pub fn slice(&self, rows: Range<usize>) -> Self {
        let count = rows.end.saturating_sub(rows.start);
        self.emit(Operation::Rows { x: self.node, first: rows.start, count })
    }

    functions! {
        abs Abs "`|x|`, with slope 0 at 0";
        square Square "`x^2`";
        cube Cube "`x^3`";
        sqrt Sqrt "The square root";
        recip Recip "`1 / x`";
        exp Exp "`e^x`";
        ln Ln "The natural logarithm";
        sin Sin "The sine";
        cos Cos "The cosine";
        tanh Tanh "The hyperbolic tangent";
        sigmoid Sigmoid "`1 / (1 + e^-x)`";
        softplus Softplus "`ln(1 + e^x)`";
        relu Relu "`max(x, 0)`, with slope 0 at 0";
        silu Silu "`x sigmoid(x)`";
        gelu Gelu "The Gaussian error linear unit, in its tanh form";
    }

    /// An activation, row by row.
    #[must_use]
    pub fn activated(&self, activation: Activation) -> Self {
        Function::of(activation).map_or_else(|| self.clone(), |f| self.emit(Operation::Map(f, self.node)))
    }

    /// 1 where it is larger than 0, else 0, row by row, with slope 0: what masks are made of. A field with it has no text form.
    #[must_use]
    pub fn is_positive(&self) -> Self {
        self.emit(Operation::Slope(Function::Relu, self.node))
    }

    /// The smaller value, row by row; where they are equal its cotangent goes to `other`.
    #[must_use]
    pub fn min(&self, other: &Self) -> Self {
        self.zip(Arithmetic::Min, other)
    }

    /// The larger value, row by row; where they are equal its cotangent goes to `other`.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        self.zip(Arithmetic::Max, other)
    }

    /// The sum of the rows.
    #[must_use]
    pub fn sum(&self) -> Self {
        self.emit(Operation::Sum(self.node))
    }

    /// The mean of the rows.
    #[must_use]
    pub fn mean(&self) -> Self {
        self.sum() * (1.0 / self.rows() as f64)
    }

    /// The sum of the products of rows.
    #[must_use]
    pub fn dot(&self, other: &Self) -> Self {
        let other = taken(&self.draft, other);
        self.emit(Operation::Dot(self.node, other))
    }

    /// A single row, `count` times.
    #[must_use]
    pub fn repeat(&self, count: usize) -> Self {
        self.emit(Operation::Repeat { x: self.node, count })
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident $op:ident;)*) => {
        $(
            impl $trait<&Value> for &Value {
                type Output = Value;
                fn $method(self, other: &Value) -> Value {
                    self.zip(Arithmetic::$op, other)
                }
            }
            impl $trait<Value> for Value {
                type Output = Value;
                fn $method(self, other: Value) -> Value {
                    (&self).$method(&other)
                }
            }
            impl $trait<&Value> for Value {
                type Output = Value;
                fn $method(self, other: &Value) -> Value {
                    (&self).$method(other)
                }
            }
            impl $trait<Value> for &Value {
                type Output = Value;
                fn $method(self, other: Value) -> Value {
                    self.$method(&other)
                }
            }
            impl $trait<f64> for &Value {
                type Output = Value;
                fn $method(self, other: f64) -> Value {
                    self.$method(&self.number(other))
                }
            }
            impl $trait<f64> for Value {
                type Output = Value;
                fn $method(self, other: f64) -> Value {
                    (&self).$method(other)
                }
            }
            impl $trait<&Value> for f64 {
                type Output = Value;
                fn $method(self, other: &Value) -> Value {
                    (&other.number(self)).$method(other)
                }
            }
            impl $trait<Value> for f64 {
                type Output = Value;
                fn $method(self, other: Value) -> Value {
                    self.$method(&other)
                }
            }
        )*
    };
}

operators! {
    Add add Add;
    Sub sub Sub;
    Mul mul Mul;
    Div div Div;
}

impl Neg for &Value {
    type Output = Value;
    fn neg(self) -> Value {
        self.emit(Operation::Map(Function::Neg, self.node))
    }
}

impl Neg for Value {
    type Output = Self;
    fn neg(self) -> Self {
        -&self
    }
}
