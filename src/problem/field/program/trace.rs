//! A vector field with the rate of its log-density: the instantaneous change of variables.

use super::Program;
use super::emitter::Emitter;
use super::function::Function;
use super::operation::{Node, Number, Operation, Source};
use super::tangent::{along, zeros};
use crate::error::Result;
use crate::problem::Trace;

impl Program {
    /// The program of `(f, -tr df/dy)`, and zeros for what else the state has: on states of [`Trace::rows`] rows, whose first
    /// ones are those of this field.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a field whose trace takes too many operations.
    pub(crate) fn with_log_density(&self, trace: Trace) -> Result<Self> {
        let features = self.output_rows();
        let rows = trace.rows(features);
        let mut e = Emitter::default();
        let state = e.emit(Operation::Input { source: Source::State, rows });
        let mut places: Vec<Node> = Vec::with_capacity(self.len());
        for (_, operation) in self.operations() {
            places.push(e.emit(match operation {
                Operation::Input { source: Source::State, rows } => {
                    Operation::Rows { x: state, first: 0, count: *rows }
                }
                operation => operation.renamed(|node| places[node.index()]),
            }));
        }
        let field = places[self.outputs[0].index()];
        let count = e.len();
        let trace_of = match trace {
            Trace::Exact => exact(&mut e, (field, count), features),
            Trace::Hutchinson => estimated(&mut e, (field, count), (state, features)),
        };
        let change = match trace_of {
            Some(trace) => e.map(Function::Neg, trace),
            None => e.literal(0.0),
        };
        let mut parts = vec![field, change];
        if rows > features + 1 {
            parts.push(zeros(&mut e, rows - features - 1));
        }
        let output = e.emit(Operation::Stack(parts));
        e.finish(&[output])
    }
}

/// The derivative of the field, one of the first `count` values, along a direction of the whole state; none where it is zero.
fn slope(e: &mut Emitter, (field, count): (Node, usize), direction: Node) -> Option<Node> {
    let tangents = along(e, count, |_, source| (source == Source::State).then_some(direction));
    tangents.get(field.index()).copied().flatten()
}

/// The sum of the Jacobian's diagonal, from a derivative along each feature.
fn exact(e: &mut Emitter, field: (Node, usize), features: usize) -> Option<Node> {
    let mut sum: Option<Node> = None;
    for feature in 0..features {
        let mut unit = vec![Number(0.0); Trace::Exact.rows(features)];
        unit[feature] = Number(1.0);
        let unit = e.emit(Operation::Literal(unit));
        if let Some(column) = slope(e, field, unit) {
            let entry = e.emit(Operation::Rows { x: column, first: feature, count: 1 });
            sum = Some(sum.map_or(entry, |sum| e.add(sum, entry)));
        }
    }
    sum
}

/// `s . (df/dy s)` with the signs `s` in the state's last rows, whose mean over all signs is the trace (M. F. Hutchinson, 1989).
fn estimated(e: &mut Emitter, field: (Node, usize), (state, features): (Node, usize)) -> Option<Node> {
    let signs = e.emit(Operation::Rows { x: state, first: features + 1, count: features });
    let nothing = zeros(e, features + 1);
    let direction = e.emit(Operation::Stack(vec![signs, nothing]));
    let along_signs = slope(e, field, direction)?;
    Some(e.emit(Operation::Dot(signs, along_signs)))
}
