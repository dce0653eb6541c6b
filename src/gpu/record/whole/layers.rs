//! The functions of a network of one or two layers. Hidden units are worked on one at a time, and none is kept.

use std::fmt::Write;

use crate::gpu::wire::modes::Activation;
use crate::problem::{InputMap, Layer};

/// Writes a function.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    layers: &'a [Layer],
    map: InputMap,
    dim: usize,
    /// First of the parameters that have a gradient.
    first: usize,
    /// The argument that holds the number of hidden units.
    hidden: &'static str,
    text: String,
}

macro_rules! line {
    ($self:ident, $($argument:tt)*) => {{
        // Writing to a string cannot fail.
        let _ = writeln!($self.text, $($argument)*);
    }};
}

impl<'a> Writer<'a> {
    pub(super) fn new(layers: &'a [Layer], map: InputMap, first: usize, hidden: &'static str) -> Self {
        let dim = layers.first().map_or(0, |layer| layer.inputs);
        Self { layers, map, dim, first, hidden, text: String::new() }
    }

    /// The field's input from the state.
    fn map_input(&mut self) {
        let dim = self.dim;
        for d in 0..dim {
            match self.map {
                InputMap::Identity => line!(self, "    let x{d} = y[{d}];"),
                InputMap::Cube => line!(self, "    let x{d} = y[{d}] * y[{d}] * y[{d}];"),
            }
        }
    }

    /// A unit's input, `[x, t, 1] W`, in the order of the native engine's sum; `unit` indexes the layer's outputs.
    fn unit(&mut self, indent: &str, name: &str, layer: Layer, unit: &str) {
        let at = |row: usize| format!("weight({}u + {unit})", layer.offset + row * layer.outputs);
        line!(self, "{indent}var {name} = x0 * {};", at(0));
        for i in 1..layer.inputs {
            line!(self, "{indent}{name} = fma(x{i}, {}, {name});", at(i));
        }
        if layer.time {
            line!(self, "{indent}{name} = fma(t, {}, {name});", at(layer.inputs));
        }
        line!(self, "{indent}{name} += {};", at(layer.rows() - 1));
    }

    /// The number of hidden units comes from the job: a driver that knew it would unroll the loop in each of the stages,
    /// and compile for seconds.
    fn hidden_loop(&mut self) {
        line!(self, "    for (var j = 0u; j < job.args.{}; j++) {{", self.hidden);
    }

    /// The function `name(t, y)`.
    pub(super) fn field(mut self, name: &str) -> String {
        line!(self, "fn {name}(t: f32, y: State) -> State {{");
        self.map_input();
        match *self.layers {
            [layer] => {
                for o in 0..layer.outputs {
                    self.unit("    ", &format!("z{o}"), layer, &format!("{o}u"));
                }
            }
            [hidden, last] => {
                for o in 0..last.outputs {
                    line!(self, "    var z{o} = 0.0;");
                }
                self.hidden_loop();
                self.unit("        ", "z", hidden, "j");
                line!(self, "        let a = activate({}u, z).x;", Activation::from(hidden.activation) as u32);
                let (offset, outputs) = (last.offset, last.outputs);
                for o in 0..outputs {
                    line!(self, "        z{o} = fma(a, weight({}u + j * {outputs}u), z{o});", offset + o);
                }
                line!(self, "    }}");
                for o in 0..outputs {
                    let row = |row: usize| offset + row * outputs + o;
                    if last.time {
                        line!(self, "    z{o} = fma(t, weight({}u), z{o});", row(last.inputs));
                    }
                    line!(self, "    z{o} += weight({}u);", row(last.rows() - 1));
                }
            }
            _ => {}
        }
        let list: Vec<String> = (0..self.dim).map(|o| format!("z{o}")).collect();
        line!(self, "    return State({});\n}}\n", list.join(", "));
        self.text
    }

    /// The function `name(t, y, k_bar)`, which adds to `THETA_BAR` and returns the cotangent of the state.
    pub(super) fn field_vjp(mut self, name: &str) -> String {
        let (first, dim) = (self.first, self.dim);
        line!(self, "fn {name}(t: f32, y: State, k_bar: State) -> State {{");
        self.map_input();
        for d in 0..dim {
            line!(self, "    var x_bar{d} = 0.0;");
        }
        match *self.layers {
            [layer] => {
                for o in 0..layer.outputs {
                    line!(self, "    let z_bar{o} = k_bar[{o}];");
                    self.layer_vjp("    ", layer, &format!("z_bar{o}"), &format!("{o}u"), first);
                }
            }
            [hidden, last] => {
                let (outputs, at) = (last.outputs, last.offset - first);
                for o in 0..outputs {
                    if last.time {
                        line!(self, "    THETA_BAR[{}u] += t * k_bar[{o}];", at + last.inputs * outputs + o);
                    }
                    line!(self, "    THETA_BAR[{}u] += k_bar[{o}];", at + (last.rows() - 1) * outputs + o);
                }
                self.hidden_loop();
                self.unit("        ", "z", hidden, "j");
                line!(self, "        let a = activate({}u, z);", Activation::from(hidden.activation) as u32);
                line!(self, "        var a_bar = 0.0;");
                for o in 0..outputs {
                    line!(
                        self,
                        "        a_bar = fma(k_bar[{o}], weight({}u + j * {outputs}u), a_bar);",
                        last.offset + o
                    );
                    line!(self, "        THETA_BAR[{}u + j * {outputs}u] += a.x * k_bar[{o}];", at + o);
                }
                line!(self, "        let z_bar = a_bar * a.y;");
                self.layer_vjp("        ", hidden, "z_bar", "j", first);
                line!(self, "    }}");
            }
            _ => {}
        }
        let list: Vec<String> = (0..dim)
            .map(|d| match self.map {
                InputMap::Identity => format!("x_bar{d}"),
                InputMap::Cube => format!("x_bar{d} * 3.0 * y[{d}] * y[{d}]"),
            })
            .collect();
        line!(self, "    return State({});\n}}\n", list.join(", "));
        self.text
    }

    /// One unit's part in the gradient and in the input's cotangent.
    fn layer_vjp(&mut self, indent: &str, layer: Layer, z_bar: &str, unit: &str, first: usize) {
        let row = |row: usize| layer.offset + row * layer.outputs;
        for i in 0..layer.inputs {
            line!(self, "{indent}x_bar{i} = fma({z_bar}, weight({}u + {unit}), x_bar{i});", row(i));
            line!(self, "{indent}THETA_BAR[{}u + {unit}] += x{i} * {z_bar};", row(i) - first);
        }
        if layer.time {
            line!(self, "{indent}THETA_BAR[{}u + {unit}] += t * {z_bar};", row(layer.inputs) - first);
        }
        line!(self, "{indent}THETA_BAR[{}u + {unit}] += {z_bar};", row(layer.rows() - 1) - first);
    }
}
