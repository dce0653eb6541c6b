//! [`Subfield`]: a field within the field that is being written.

use super::Field;
use super::build::{FieldBuilder, Value};
use super::group::{Group, Initial};
use super::program::Program;
use super::program::emitter::Emitter;
use super::program::operation::{Arithmetic, Block, Node, Operation, Source};
use crate::error::{Error, Result};

/// A field within the one that is being written, with parameters of its own; see [`FieldBuilder::subfield`].
#[derive(Clone, Debug)]
pub struct Subfield {
    program: Program,
    inputs: usize,
    /// Its first parameter in the field around it.
    offset: usize,
    /// Places of its controls there.
    controls: Vec<usize>,
}

impl FieldBuilder {
    /// A field within this one, which may be taken at any state and time, as often as one likes. Its groups of parameters
    /// are called `name` and a dot before their own name, that of a network alone `name`; its controls are those of the same
    /// names.
    ///
    /// ```
    /// use fewsteps::{Field, Mlp, TimeInput};
    ///
    /// # fn main() -> fewsteps::Result<()> {
    /// // One step of the midpoint rule, as a field.
    /// let inner: Field = Mlp::new([2, 8, 2]).time_input(TimeInput::First).into();
    /// let h = 0.25;
    /// let midpoint = Field::build(2, |f| {
    ///     let (y, t, inner) = (f.state(), f.time(), f.subfield("inner", &inner));
    ///     let half = &y + 0.5 * h * inner.at(f, &y, &t);
    ///     inner.at(f, &half, &(t + 0.5 * h))
    /// })?;
    /// assert_eq!(midpoint.parameter_count(), inner.parameter_count());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn subfield(&self, name: &str, field: &Field) -> Subfield {
        let is_network = field.mlp().is_some();
        self.placed(field, |own| if is_network { name.to_owned() } else { format!("{name}.{own}") })
    }

    /// The same of a field that is all of this one's parameters, whose groups keep their names.
    pub(crate) fn embedded(&self, field: &Field) -> Subfield {
        self.placed(field, str::to_owned)
    }

    fn placed(&self, field: &Field, name: impl Fn(&str) -> String) -> Subfield {
        self.try_placed(field, name).unwrap_or_else(|error| {
            self.refuse_by(error);
            Subfield { program: Program::default(), inputs: 0, offset: 0, controls: Vec::new() }
        })
    }

    fn try_placed(&self, field: &Field, name: impl Fn(&str) -> String) -> Result<Subfield> {
        let program = field.program()?.into_owned();
        let groups = field.groups();
        let mut offset = None;
        for group in groups.iter() {
            let first = self.add_group(|first| group.moved(name(&group.name), first));
            offset.get_or_insert(first);
        }
        let controls = field.controls().iter().map(|control| self.control_place(&control.name, control.rows)).collect();
        Ok(Subfield { program, inputs: field.inputs(), offset: offset.unwrap_or(0), controls })
    }
}

impl Group {
    /// The same with another name and first parameter.
    fn moved(&self, name: String, offset: usize) -> Self {
        let initial = match &self.initial {
            Initial::Numbers(numbers) => Initial::Numbers(numbers.clone()),
            Initial::Drawn { blocks, initialization } => {
                let moved = |block: &Block| Block { offset: block.offset - self.offset + offset, ..*block };
                Initial::Drawn { blocks: blocks.iter().map(moved).collect(), initialization: *initialization }
            }
        };
        Self { name, offset, initial, ..self.clone() }
    }
}

impl Subfield {
    /// Its value at a state and a time, one row.
    #[must_use]
    pub fn at(&self, builder: &FieldBuilder, state: &Value, time: &Value) -> Value {
        let [state, time] = [state, time].map(|value| builder.taken(value));
        builder.written(|emitter| self.write(emitter, state, time))
    }

    fn write(&self, e: &mut Emitter, state: Node, time: Node) -> Node {
        if e.refused().is_none() && (e.rows(state), e.rows(time)) != (self.inputs, 1) {
            let value = format!("subfield of {} rows at time of {}", e.rows(state), e.rows(time));
            let remedy = format!("it takes a state of {} rows, and a time of one", self.inputs);
            e.refuse(Error::argument("Field", value, remedy));
        }
        let now = e.emit(Operation::Input { source: Source::Time, rows: 1 });
        let mut places: Vec<Node> = Vec::with_capacity(self.program.len());
        for (_, operation) in self.program.operations() {
            let place = match operation.renamed(|node| places[node.index()]) {
                Operation::Input { source: Source::State, .. } => state,
                Operation::Input { source: Source::Time, .. } => time,
                Operation::Input { source: Source::Control(n), rows } => {
                    e.emit(Operation::Input { source: Source::Control(self.controls[n]), rows })
                }
                Operation::Parameter { offset, rows } => {
                    e.emit(Operation::Parameter { offset: offset + self.offset, rows })
                }
                Operation::Dense { x, block, affine } => {
                    let block = self.block(&block);
                    let z = e.emit(Operation::Dense { x, block, affine });
                    if affine && block.time { later(e, z, &block, [now, time]) } else { z }
                }
                Operation::Transposed { z_bar, block } => {
                    e.emit(Operation::Transposed { z_bar, block: self.block(&block) })
                }
                other => e.emit(other),
            };
            places.push(place);
        }
        self.program.outputs().first().map_or(state, |output| places[output.index()])
    }

    const fn block(&self, block: &Block) -> Block {
        Block { offset: block.offset + self.offset, ..*block }
    }
}

/// A layer's value at another time than the one that it sees: `[x, t', 1] W = [x, t, 1] W + (t' - t) W_t`.
fn later(e: &mut Emitter, z: Node, block: &Block, [now, time]: [Node; 2]) -> Node {
    if now == time {
        return z;
    }
    let row = Operation::Parameter { offset: block.offset + block.inputs * block.outputs, rows: block.outputs };
    let row = e.emit(row);
    let later = e.zip(Arithmetic::Sub, time, now);
    let shift = e.mul(later, row);
    e.add(z, shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Mlp, TimeInput};

    #[test]
    fn a_subfield_is_the_field_at_any_state_and_time() {
        let network: Field = Mlp::new([2, 5, 2]).time_input(TimeInput::Every).into();
        let written = Field::build(2, |f| {
            let (y, rate) = (f.state(), f.positive("rate", &[0.7]));
            let network = f.mlp("net", &Mlp::new([2, 3, 2]), &y);
            rate * network + f.controls("push", 2) * f.time().sin()
        })
        .expect("a field");
        for inner in [network, written] {
            let around = Field::build(2, |f| {
                let before = f.parameters("before", &[0.25]);
                let inner = f.subfield("inner", &inner);
                let (y, t) = (f.state(), f.time());
                let now = inner.at(f, &y, &t);
                let later = inner.at(f, &(0.5 * &y + &now), &(2.0 * t + before));
                now + 3.0 * later
            })
            .expect("a field");
            let n = inner.parameter_count();
            assert_eq!(around.parameter_count(), n + 1, "one set of parameters");
            let theta = [&[0.25][..], &inner.initialize::<f64>(3)].concat();
            assert!(around.initialize::<f64>(3)[1..].iter().any(|x| *x != 0.0), "weights are drawn");
            let names: Vec<String> = around.groups().iter().map(|group| group.name.clone()).collect();
            assert!(names[1..].iter().all(|name| name.starts_with("inner")), "{names:?}");
            let (y, t) = ([0.4, -1.1], 0.3);
            let controls: &[f64] = if inner.driven_by().len() == 0 { &[] } else { &[0.2, -0.6] };
            let at = |t, y: &[f64]| inner.evaluate(&theta[1..], t, y, controls).expect("a value");
            let now = at(t, &y);
            let there: Vec<f64> = y.iter().zip(&now).map(|(y, f)| 0.5 * y + f).collect();
            let later = at(2.0 * t + 0.25, &there);
            let found = around.evaluate(&theta, t, &y, controls).expect("a value");
            for row in 0..2 {
                let right = now[row] + 3.0 * later[row];
                assert!((found[row] - right).abs() < 1e-13, "row {row}: {} not {right}", found[row]);
            }
            let check = around.check_gradient(&theta, t, &y, controls, 5).expect("derivatives");
            assert!(check.worst() < 1e-6, "{check:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let inner: Field = Mlp::new([2, 2]).into();
        let wide = Field::build(3, |f| f.subfield("inner", &inner).at(f, &f.state(), &f.time()));
        assert!(wide.expect_err("three rows").to_string().contains("state of 2 rows"));
        let twice = Field::build(2, |f| {
            let (a, b) = (f.subfield("inner", &inner), f.subfield("inner", &inner));
            a.at(f, &f.state(), &f.time()) + b.at(f, &f.state(), &f.time())
        });
        assert!(twice.expect_err("one name").to_string().contains("two groups"));
        let bad: Field = Mlp::new([2]).into();
        let error = Field::build(2, |f| f.subfield("inner", &bad).at(f, &f.state(), &f.time()));
        assert!(error.expect_err("one width").to_string().contains("Mlp::sizes"));
    }
}
