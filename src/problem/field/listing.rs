//! A field as a person reads it: its parameters and controls by name, and its program.

use std::fmt;
use std::ops::Range;

use super::Field;
use super::group::{Bound, Group};
use super::program::linearize::{Gradient, Linearized};
use super::program::listing::{Names, sliced};
use super::program::operation::{Block, Source};
use super::written::ControlInput;
use crate::error::Result;

/// Names of a field's groups and controls.
struct Named<'a> {
    groups: &'a [Group],
    controls: &'a [ControlInput],
}

impl Names for Named<'_> {
    fn parameters(&self, Range { start, end }: Range<usize>) -> String {
        match self.groups.iter().find(|group| group.range().start <= start && end <= group.range().end) {
            Some(group) => sliced(&group.name, start - group.offset..end - group.offset, group.count),
            None => sliced("theta", start..end, usize::MAX),
        }
    }

    fn block(&self, block: &Block) -> String {
        let named = self.groups.iter().find_map(|group| {
            let layer = group.layers()?.position(|layer| layer.offset == block.offset)?;
            Some(format!("{} layer {}", group.name, layer + 1))
        });
        named.unwrap_or_else(|| self.parameters(block.layer().range()))
    }

    fn control(&self, n: usize) -> String {
        self.controls.get(n).map_or_else(|| format!("control{n}"), |control| control.name.clone())
    }
}

/// The listing of a field: rows and parameters, the groups and controls, then its program, a line a value.
///
/// ```
/// # fn main() -> fewsteps::Result<()> {
/// let decay = fewsteps::Field::build(2, |f| -f.positive("rate", &[0.5]) * f.state())?;
/// let listing = [
///     "from 2 rows to 2, with 1 parameter",
///     "  rate: parameter 0, as e^parameter",
///     "v1 = exp(rate)",
///     "v2 = neg(v1)",
///     "v4[2] = v2 * state",
///     "return v4",
/// ];
/// assert_eq!(decay.to_string(), listing.join("\n"));
/// # Ok(())
/// # }
/// ```
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.parameter_count();
        let (from, plural) = (self.inputs(), if count == 1 { "" } else { "s" });
        let rows = if from == 1 { "row" } else { "rows" };
        writeln!(f, "from {from} {rows} to {}, with {count} parameter{plural}", self.outputs())?;
        let (groups, controls) = (self.groups(), self.controls());
        for group in groups.iter() {
            writeln!(f, "  {}: {}", group.name, told(group))?;
        }
        for ControlInput { name, rows } in controls {
            writeln!(f, "  {name}: control of {rows} row{}", if *rows == 1 { "" } else { "s" })?;
        }
        match self.program() {
            Ok(program) => program.list(&Named { groups: &groups, controls }, f),
            Err(error) => write!(f, "no program: {error}"),
        }
    }
}

impl Field {
    /// The listing of the field's vector-Jacobian product: the program again with what it keeps, then the way back from
    /// `cotangent`, that of its value, to the cotangents of what comes in and the gradients of parameters.
    ///
    /// # Errors
    /// Those of [`Field::validate`], and [`Error::Argument`](crate::Error::Argument) for a field whose derivatives are too
    /// many operations.
    pub fn gradient_listing(&self) -> Result<String> {
        let linearized = self.program()?.linearize(&self.frozen())?;
        let names = Named { groups: &self.groups(), controls: self.controls() };
        Ok(Gradients { linearized: &linearized, names: &names }.to_string())
    }
}

/// A vector-Jacobian product with names.
struct Gradients<'a> {
    linearized: &'a Linearized,
    names: &'a Named<'a>,
}

impl fmt::Display for Gradients<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Linearized { forward, values, backward, inputs, gradients } = self.linearized;
        forward.list(self.names, f)?;
        writeln!(f, "\nwhere {values} is the value, and {} are kept", forward.outputs().len() - values)?;
        backward.list(self.names, f)?;
        for (output, source) in inputs.iter().enumerate() {
            let name = match source {
                Source::Control(n) => self.names.control(*n),
                Source::Time => "t".to_owned(),
                _ => "state".to_owned(),
            };
            write!(f, "\ncotangent of {name}: value {output} of these")?;
        }
        for gradient in gradients {
            match gradient {
                Gradient::Block { block, affine, x, z_bar } => {
                    let row = match (affine, block.time) {
                        (true, true) => format!("[kept{x}, t, 1]"),
                        (true, false) => format!("[kept{x}, 1]"),
                        (false, _) => format!("kept{x}"),
                    };
                    write!(f, "\ngradient of {}: {row} times value {z_bar}", self.names.block(block))?;
                }
                Gradient::Rows { offset, bar } => {
                    let rows = backward.rows(backward.outputs()[*bar]);
                    let name = self.names.parameters(*offset..offset + rows);
                    write!(f, "\ngradient of {name}: value {bar}")?;
                }
            }
        }
        Ok(())
    }
}

/// What is to be said of a group.
fn told(group: &Group) -> String {
    let Range { start, end } = group.range();
    let place = if group.count == 1 { format!("parameter {start}") } else { format!("parameters {start}..{end}") };
    let widths = group.layers().map_or(String::new(), |layers| {
        let arrows: String = layers
            .enumerate()
            .map(|(i, layer)| match i {
                0 => format!("{} -> {}", layer.inputs, layer.outputs),
                _ => format!(" -> {}", layer.outputs),
            })
            .collect();
        format!(", layers {arrows}")
    });
    let bound = match group.bound {
        Bound::None => "",
        Bound::Exp => ", as e^parameter",
        Bound::Softplus => ", as ln(1 + e^parameter)",
    };
    format!("{place}{widths}{bound}{}", if group.frozen { ", frozen" } else { "" })
}
