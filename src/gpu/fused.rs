//! What is printed for a problem whose trajectories are solved whole, each in one invocation: the field, its
//! vector-Jacobian product and the method's sums, with every loop over features and stages unrolled.
//!
//! Small fields only: at most two layers, so that hidden units need not be kept, and few features, so that a state lives
//! in registers. Others are solved as matrix products.

use std::fmt::Write;

use super::engine::activation;
use super::kernel::{Module, WHOLE_NOISY, WHOLE_PLAIN, literal};
use crate::spec::{InputMap, Layer, NoiseScale, NoiseTableau, Tableau};

/// The most features of a state that is kept in registers.
const WIDEST_STATE: usize = 4;

/// The most parameters whose gradient an invocation keeps to itself.
const MOST_PARAMETERS: usize = 1024;

/// Whether a field is small enough to be solved whole.
pub(crate) fn is_small(layers: &[Layer]) -> bool {
    let dim = layers.first().map_or(0, |l| l.inputs);
    layers.len() <= 2 && dim <= WIDEST_STATE && (layers.len() == 1 || hidden_units(layers) <= 512)
}

/// What the job of a kernel with such a field says in `inputs`, or of a diffusion in `outputs`: the number of hidden units.
pub(crate) fn hidden_units(layers: &[Layer]) -> usize {
    layers.first().map_or(0, |l| l.outputs)
}

/// Whether its gradient is small enough too.
pub(crate) fn has_small_gradient(layers: &[Layer]) -> bool {
    is_small(layers) && layers.iter().map(Layer::parameter_count).sum::<usize>() <= MOST_PARAMETERS
}

/// The constants and functions of a problem, for the kernels `ensemble_solve`, `lockstep_solve` and
/// `whole_adjoint`.
#[derive(Debug)]
pub(crate) struct Printer<'a> {
    layers: &'a [Layer],
    map: InputMap,
    tableau: &'static Tableau,
    dim: usize,
    /// The job's member that holds the number of hidden units.
    hidden: &'static str,
    text: String,
}

macro_rules! line {
    ($self:ident, $($argument:tt)*) => {{
        // Writing to a string cannot fail.
        let _ = writeln!($self.text, $($argument)*);
    }};
}

impl<'a> Printer<'a> {
    pub(crate) fn new(layers: &'a [Layer], map: InputMap, tableau: &'static Tableau) -> Self {
        let dim = layers.first().map_or(0, |l| l.inputs);
        Self { layers, map, tableau, dim, hidden: "inputs", text: String::new() }
    }

    /// What a solve needs.
    pub(crate) fn solve(mut self) -> String {
        self.library(WHOLE_PLAIN);
        self.constants();
        self.field("field");
        self.take_stages();
        self.stage_error();
        self.interpolate();
        self.text
    }

    /// What a solve with noise needs: the field is the drift.
    pub(crate) fn noisy_solve(mut self, noise: &NoiseTableau, layers: &'a [Layer], map: InputMap) -> String {
        self.library(WHOLE_NOISY);
        self.constants();
        line!(self, "var<private> G: array<State, {}>;", noise.stages());
        line!(self, "var<private> INTEGRALS: array<vec4<f32>, {}>;\n", self.dim);
        self.field("field");
        (self.layers, self.map, self.hidden) = (layers, map, "outputs");
        self.field("noise");
        self.take_noisy_stages(noise);
        self.text
    }

    fn library(&mut self, modules: &[Module]) {
        for module in modules {
            line!(self, "// {}\n{}", module.name, module.source);
        }
    }

    /// What a backward walk needs; `interior` if states are saved within steps.
    pub(crate) fn adjoint(mut self, interior: bool) -> String {
        self.constants();
        line!(self, "var<private> THETA_BAR: array<f32, PARAMETERS>;");
        line!(self, "var<private> G: array<State, STAGES>;");
        line!(self, "var<private> SEEDS: array<State, STAGES>;\n");
        self.field("field");
        self.field_vjp();
        self.seeds();
        self.step_vjp(interior);
        self.text
    }

    fn constants(&mut self) {
        let dim = self.dim;
        let first = self.layers.first().map_or(0, |l| l.offset);
        let parameters: usize = self.layers.iter().map(Layer::parameter_count).sum();
        line!(self, "const DIM = {dim}u;\nconst FIELD = {first}u;\nconst PARAMETERS = {parameters}u;");
        line!(self, "alias State = array<f32, {dim}>;\nvar<private> K: array<State, STAGES>;\n");
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
        line!(self, "    for (var j = 0u; j < job.{}; j++) {{", self.hidden);
    }

    fn field(&mut self, name: &str) {
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
                line!(self, "        let a = activate({}u, z).x;", activation(hidden.activation));
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
    }

    /// Adds to `THETA_BAR`, and returns the cotangent of the state.
    fn field_vjp(&mut self) {
        let first = self.layers.first().map_or(0, |l| l.offset);
        let dim = self.dim;
        line!(self, "fn field_vjp(t: f32, y: State, k_bar: State) -> State {{");
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
                line!(self, "        let a = activate({}u, z);", activation(hidden.activation));
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

    /// `y[d] + h sum weights_j K[j][d]`, or without `y` the sum times `h` alone.
    fn combination(&self, base: Option<&str>, h: &str, weights: &[f64], d: usize) -> String {
        let mut sum = String::new();
        for (j, weight) in weights.iter().enumerate().filter(|(_, w)| **w != 0.0) {
            let weight = literal(*weight);
            sum = if sum.is_empty() {
                format!("{weight} * K[{j}][{d}]")
            } else {
                format!("fma({weight}, K[{j}][{d}], {sum})")
            };
        }
        match (base, sum.is_empty()) {
            (Some(base), true) => format!("{base}[{d}]"),
            (None, true) => "0.0".to_owned(),
            (Some(base), false) => format!("fma({h}, {sum}, {base}[{d}])"),
            (None, false) => format!("{h} * ({sum})"),
        }
    }

    fn combined_state(&self, base: Option<&str>, h: &str, weights: &[f64]) -> String {
        let list: Vec<String> = (0..self.dim).map(|d| self.combination(base, h, weights, d)).collect();
        format!("State({})", list.join(", "))
    }

    /// The stages after the first, and the step's end.
    fn take_stages(&mut self) {
        let Tableau { a, b, c, .. } = self.tableau;
        let stages = self.tableau.stages();
        line!(self, "fn take_stages(cursor: Cursor, y: State) -> State {{");
        for i in 1..stages {
            let state = self.combined_state(Some("y"), "cursor.h", a[i]);
            line!(self, "    let g{i} = {state};");
            let node = literal(c[i]);
            line!(self, "    K[{i}] = field(node_time(cursor.t, cursor.d, {node}, job.t0, job.span), g{i});");
        }
        if self.tableau.fsal() {
            line!(self, "    return g{};\n}}\n", stages - 1);
        } else {
            let end = self.combined_state(Some("y"), "cursor.h", b);
            line!(self, "    return {end};\n}}\n");
        }
    }

    /// A sum of diffusion stages: their weights times `factor` at feature `d`.
    fn noise_sum(weights: &[f64], factor: &str, d: usize) -> String {
        let mut sum = String::new();
        for (j, weight) in weights.iter().enumerate().filter(|(_, w)| **w != 0.0) {
            let term = format!("{} * G[{j}][{d}]", literal(*weight));
            sum = if sum.is_empty() { term } else { format!("{sum} + {term}") };
        }
        if sum.is_empty() { String::new() } else { format!(" + {factor} * ({sum})") }
    }

    /// The state of a stage of either network.
    fn noisy_state(&self, drift: &[f64], noise: &[f64], scale: NoiseScale) -> String {
        let at = |d: usize| {
            let factor = match scale {
                NoiseScale::Increment => format!("INTEGRALS[{d}].x"),
                NoiseScale::Mean => format!("INTEGRALS[{d}].z"),
                NoiseScale::Root => "root".to_owned(),
            };
            self.combination(Some("y"), "cursor.h", drift, d) + &Self::noise_sum(noise, &factor, d)
        };
        format!("State({})", (0..self.dim).map(at).collect::<Vec<_>>().join(", "))
    }

    /// What all stages add up to at the step's end, or in its error.
    fn noisy_end(&self, base: Option<&str>, h: &str, drift: &[f64], noise: &[&[f64]; 4]) -> String {
        let at = |d: usize| {
            let sums = ["x", "y", "z", "w"].iter().zip(noise);
            let noise: String =
                sums.map(|(part, weights)| Self::noise_sum(weights, &format!("INTEGRALS[{d}].{part}"), d)).collect();
            self.combination(base, h, drift, d) + &noise
        };
        format!("State({})", (0..self.dim).map(at).collect::<Vec<_>>().join(", "))
    }

    /// The stages after the first of both networks, the step's end, and its error.
    fn take_noisy_stages(&mut self, noise: &NoiseTableau) {
        let Tableau { a, b, c, b_error, .. } = self.tableau;
        line!(self, "fn take_stages(cursor: Cursor, y: State) -> State {{");
        line!(self, "    let root = sqrt(cursor.h);");
        for i in 1..self.tableau.stages().max(noise.stages()) {
            let drift = a.get(i).map(|a| (c[i], self.noisy_state(a, noise.drift_b[i], noise.drift_scale)));
            let diffusion = noise.a.get(i).map(|a| (noise.c[i], self.noisy_state(a, noise.b[i], noise.scale)));
            let stages = [("K", "field", drift), ("G", "noise", diffusion)];
            for (stages, name, (node, state)) in stages.into_iter().filter_map(|(s, n, stage)| Some((s, n, stage?))) {
                let time = format!("node_time(cursor.t, cursor.d, {}, job.t0, job.span)", literal(node));
                line!(self, "    {stages}[{i}] = {name}({time}, {state});");
            }
        }
        let end = self.noisy_end(Some("y"), "cursor.h", b, &noise.weights);
        line!(self, "    return {end};\n}}\n");
        let error = self.noisy_end(None, "h", b_error.unwrap_or(&[]), &noise.error);
        line!(self, "fn stage_error(h: f32) -> State {{\n    return {error};\n}}\n");
    }

    fn stage_error(&mut self) {
        let error = self.combined_state(None, "h", self.tableau.b_error.unwrap_or(&[]));
        line!(self, "fn stage_error(h: f32) -> State {{\n    return {error};\n}}\n");
    }

    fn interpolate(&mut self) {
        line!(self, "fn interpolate(h: f32, y: State, y1: State, share: f32) -> State {{");
        line!(self, "    var sum: State;");
        for j in 0..self.tableau.stages() {
            line!(self, "    let w{j} = interpolant_weight({j}u, share);");
            for d in 0..self.dim {
                line!(self, "    sum[{d}] = fma(w{j}, K[{j}][{d}], sum[{d}]);");
            }
        }
        let list: Vec<String> = (0..self.dim).map(|d| format!("fma(h, sum[{d}], y[{d}])")).collect();
        line!(self, "    return State({});\n}}\n", list.join(", "));
    }

    /// Cotangents that states saved within a step give to its stages.
    fn seeds(&mut self) {
        line!(self, "fn clear_seeds() {{");
        for j in 0..self.tableau.stages() {
            line!(self, "    SEEDS[{j}] = State();");
        }
        line!(self, "}}\n\nfn seed_stages(h: f32, share: f32, save_bar: State) {{");
        for j in 0..self.tableau.stages() {
            line!(self, "    let w{j} = h * interpolant_weight({j}u, share);");
            for d in 0..self.dim {
                line!(self, "    SEEDS[{j}][{d}] = fma(w{j}, save_bar[{d}], SEEDS[{j}][{d}]);");
            }
        }
        line!(self, "}}\n");
    }

    /// From the cotangent of a step's end to that of its start, as `cpu::step::Stepper::step_vjp` does.
    fn step_vjp(&mut self, interior: bool) {
        let Tableau { a, b, c, .. } = self.tableau;
        let (stages, fsal, dim) = (self.tableau.stages(), self.tableau.fsal(), self.dim);
        let count = if fsal { stages - 1 } else { stages };
        let taken = if fsal && !interior { stages - 1 } else { stages };
        line!(self, "fn step_vjp(cursor: Cursor, y: State, end_bar: State) -> State {{\n    var bar = end_bar;");
        for i in 0..taken {
            let state = self.combined_state(Some("y"), "cursor.h", a[i]);
            let node = literal(c[i]);
            line!(self, "    G[{i}] = {state};");
            if i + 1 < stages {
                line!(self, "    K[{i}] = field(node_time(cursor.t, cursor.d, {node}, job.t0, job.span), G[{i}]);");
            }
        }
        for i in (0..taken).rev() {
            let list: Vec<String> = (0..dim)
                .map(|d| {
                    let mut sum = format!("{} * bar[{d}]", literal(b[i]));
                    for j in (i + 1..count).filter(|j| a[*j][i] != 0.0) {
                        sum = format!("fma({}, state_bar{j}[{d}], {sum})", literal(a[j][i]));
                    }
                    format!("fma(cursor.h, {sum}, SEEDS[{i}][{d}])")
                })
                .collect();
            let node = literal(c[i]);
            line!(self, "    let k_bar{i} = State({});", list.join(", "));
            line!(
                self,
                "    let state_bar{i} = field_vjp(node_time(cursor.t, cursor.d, {node}, job.t0, job.span), G[{i}], k_bar{i});"
            );
            if fsal && i + 1 == stages {
                for d in 0..dim {
                    line!(self, "    bar[{d}] += state_bar{i}[{d}];");
                }
            }
        }
        for i in 0..count {
            for d in 0..dim {
                line!(self, "    bar[{d}] += state_bar{i}[{d}];");
            }
        }
        line!(self, "    return bar;\n}}\n");
    }
}
