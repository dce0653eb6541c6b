//! What is printed for a problem whose trajectories are solved whole, each in one invocation: the field, its
//! vector-Jacobian product and the method's sums, with every loop over features and stages unrolled.
//!
//! Small fields only, so that states live in registers: networks of at most two layers, whose hidden units need not be kept
//! ([`layers`]), and what was written out in not too many words ([`program`]). Others are computed layer by layer.

mod layers;
mod program;

use std::fmt::Write;

use crate::gpu::controls::Drive;
use crate::gpu::kernel::{
    Module, OF_CONTROLS, OF_NO_CONTROLS, OF_PROGRAMS, WHOLE_NOISY, WHOLE_OWN_TIMES, WHOLE_PLAIN, literal,
};
use crate::gpu::script::{NARROW, Script, Scripts};
use crate::method::{NoiseScale, NoiseTableau, Tableau};
use crate::problem::{InputMap, Layer};

/// The field, or the diffusion, as it is printed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Printed<'a> {
    /// One or two layers after an input map.
    Layers(&'a [Layer], InputMap),
    Program(&'a Scripts),
}

impl Printed<'_> {
    /// First of its parameters among the model's.
    fn first(&self) -> usize {
        match self {
            Self::Layers(layers, _) => layers.first().map_or(0, |layer| layer.offset),
            Self::Program(scripts) => scripts.first,
        }
    }
}

/// The constants and functions of a problem, for the kernels `ensemble_solve`, `lockstep_solve` and
/// `whole_adjoint`.
#[derive(Debug)]
pub(crate) struct Printer<'a> {
    drift: Printed<'a>,
    tableau: &'static Tableau,
    /// What the method does with noise, and the diffusion.
    noise: Option<(&'static NoiseTableau, Printed<'a>)>,
    /// Wiener processes of a trajectory: one a feature, or one that all features share.
    channels: usize,
    dim: usize,
    /// Parameters of drift and diffusion.
    parameters: usize,
    /// What drives them.
    drives: Vec<Drive>,
    /// Whether trajectories have times of their own.
    own_times: bool,
    text: String,
}

macro_rules! line {
    ($self:ident, $($argument:tt)*) => {{
        // Writing to a string cannot fail.
        let _ = writeln!($self.text, $($argument)*);
    }};
}

impl<'a> Printer<'a> {
    /// Of a problem with so many features and parameters.
    pub(crate) fn new(drift: Printed<'a>, dim: usize, parameters: usize, tableau: &'static Tableau) -> Self {
        Self {
            drift,
            tableau,
            noise: None,
            channels: dim,
            dim,
            parameters,
            drives: Vec::new(),
            own_times: false,
            text: String::new(),
        }
    }

    /// With a diffusion, whose parameters follow the field's, and so many Wiener processes; the method is a stochastic one.
    pub(crate) fn with_noise(self, diffusion: Printed<'a>, channels: usize) -> Self {
        Self { noise: self.tableau.noise.map(|noise| (noise, diffusion)), channels, ..self }
    }

    /// Of a problem that such controls drive.
    pub(crate) fn driven_by(self, drives: Vec<Drive>) -> Self {
        Self { drives, ..self }
    }

    /// Of trajectories that have times of their own, if `own_times`.
    pub(crate) fn of_own_times(self, own_times: bool) -> Self {
        Self { own_times, ..self }
    }

    /// What a solve needs.
    pub(crate) fn solve(mut self) -> String {
        self.constants();
        self.drift();
        if let Some((noise, diffusion)) = self.noise {
            self.field("noise", diffusion, "noise_hidden");
            self.take_noisy_stages(noise);
        } else {
            self.take_stages();
            self.stage_error();
            self.interpolate();
        }
        self.text
    }

    /// What a backward walk needs; `interior` if states are saved within steps.
    pub(crate) fn adjoint(mut self, interior: bool) -> String {
        self.constants();
        let length = if self.parameters == 0 { "1" } else { "PARAMETERS" };
        line!(self, "var<private> THETA_BAR: array<f32, {length}>;");
        self.drift();
        self.drift_vjp();
        if let Some((noise, diffusion)) = self.noise {
            self.field("noise", diffusion, "noise_hidden");
            self.field_vjp("noise_vjp", diffusion, "noise_hidden");
            line!(self, "fn clear_seeds() {{}}\n\nfn seed_stages(h: f32, share: f32, save_bar: State) {{}}\n");
            self.noisy_step_vjp(noise);
        } else {
            line!(self, "var<private> STATES: array<State, STAGES>;");
            line!(self, "var<private> SEEDS: array<State, STAGES>;\n");
            self.seeds();
            self.step_vjp(interior);
        }
        self.text
    }

    /// The function `field`, which gives slopes by the clock.
    fn drift(&mut self) {
        if !self.own_times {
            return self.field("field", self.drift, "hidden");
        }
        self.field("field_in_time", self.drift, "hidden");
        line!(self, "fn field(t: f32, y: State) -> State {{\n    return state_by_clock(field_in_time(t, y));\n}}\n");
    }

    /// Its vector-Jacobian product `field_vjp`.
    fn drift_vjp(&mut self) {
        if !self.own_times {
            return self.field_vjp("field_vjp", self.drift, "hidden");
        }
        self.field_vjp("field_in_time_vjp", self.drift, "hidden");
        line!(self, "fn field_vjp(t: f32, y: State, k_bar: State) -> State {{");
        line!(self, "    return field_in_time_vjp(t, y, state_by_clock(k_bar));\n}}\n");
    }

    /// The function `name(t, y)`; `hidden` is the argument that holds the number of hidden units.
    fn field(&mut self, name: &str, of: Printed<'_>, hidden: &'static str) {
        match of {
            Printed::Layers(layers, map) => {
                self.text += &layers::Writer::new(layers, map, self.drift.first(), hidden).field(name);
            }
            Printed::Program(scripts) => {
                line!(self, "fn {name}(t: f32, y: State) -> State {{");
                self.body(&scripts.value, scripts.first, hidden);
            }
        }
    }

    /// The function `name(t, y, k_bar)`, which adds to `THETA_BAR` and returns the cotangent of the state.
    fn field_vjp(&mut self, name: &str, of: Printed<'_>, hidden: &'static str) {
        match of {
            Printed::Layers(layers, map) => {
                self.text += &layers::Writer::new(layers, map, self.drift.first(), hidden).field_vjp(name);
            }
            Printed::Program(scripts) => {
                line!(self, "fn {name}(t: f32, y: State, k_bar: State) -> State {{");
                self.body(&scripts.product, scripts.first, hidden);
            }
        }
    }

    fn body(&mut self, script: &Script, first: usize, hidden: &'static str) {
        let (lines, rows) = program::Writer::new(script, first, first - self.drift.first(), hidden).write();
        line!(self, "{lines}    return State({});\n}}\n", rows.join(", "));
    }

    fn declare(&mut self, modules: &[Module]) {
        for module in modules {
            line!(self, "// {}\n{}", module.name, module.source);
        }
    }

    fn constants(&mut self) {
        self.declare(if self.noise.is_some() { WHOLE_NOISY } else { WHOLE_PLAIN });
        if self.own_times {
            self.declare(WHOLE_OWN_TIMES);
        }
        let written = |printed| matches!(printed, Printed::Program(_));
        if written(self.drift) || self.noise.is_some_and(|(_, diffusion)| written(diffusion)) {
            self.declare(OF_PROGRAMS);
        }
        self.moment();
        let (dim, first, all) = (self.dim, self.drift.first(), self.parameters);
        line!(self, "const DIM = {dim}u;\nconst FIELD = {first}u;\nconst PARAMETERS = {all}u;");
        line!(self, "alias State = array<f32, {dim}>;\nvar<private> K: array<State, STAGES>;\n");
        if let Some((noise, ..)) = self.noise {
            line!(self, "var<private> G: array<State, {}>;", noise.stages());
            let channels = self.channels;
            line!(self, "const CHANNELS = {channels}u;\nvar<private> INTEGRALS: array<vec4<f32>, {channels}>;\n");
        }
    }

    /// The function `moment`, which gives a node's time and fills in what the controls are then, and `take_row`, which does so
    /// with those that are constant.
    fn moment(&mut self) {
        if self.drives.is_empty() {
            return self.declare(OF_NO_CONTROLS);
        }
        self.declare(OF_CONTROLS);
        let count: usize = self.drives.iter().map(|drive| drive.rows).sum();
        line!(self, "var<private> ROW: u32;\nvar<private> U: array<f32, {count}>;\n");
        line!(self, "fn take_row(row: u32) {{\n    ROW = row;\n    take_interval(row);");
        line!(self, "    let now = Moment();");
        self.fill(true);
        line!(self, "}}\n\nfn moment(t: vec2<u32>, d: vec2<u32>, c: f32) -> f32 {{");
        line!(self, "    let now = moment_of(t, d, c);");
        self.fill(false);
        line!(self, "    let interval = row_interval();");
        line!(self, "    return node_time(t, d, c, interval.x, interval.y);\n}}\n");
    }

    /// Fills in what the constant controls are, or the others.
    fn fill(&mut self, constant: bool) {
        let mut first = 0;
        for (number, Drive { rows, is_constant }) in self.drives.clone().into_iter().enumerate() {
            if is_constant == constant {
                line!(self, "    let piece{number} = piece_at({number}u, now);");
                let row = |row: &str| format!("control_row({number}u, piece{number}, {row}, ROW)");
                if rows > NARROW {
                    line!(self, "    for (var i = 0u; i < {rows}u; i++) {{");
                    line!(self, "        U[{first}u + i] = {};\n    }}", row("i"));
                } else {
                    for i in 0..rows {
                        line!(self, "    U[{}] = {};", first + i, row(&format!("{i}u")));
                    }
                }
            }
            first += rows;
        }
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
            line!(self, "    K[{i}] = field(moment(cursor.t, cursor.d, {node}), g{i});");
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
            self.combination(Some("y"), "cursor.h", drift, d) + &Self::noise_sum(noise, &self.factor(scale, d), d)
        };
        format!("State({})", (0..self.dim).map(at).collect::<Vec<_>>().join(", "))
    }

    /// What all stages add up to at the step's end, or in its error.
    fn noisy_end(&self, base: Option<&str>, h: &str, drift: &[f64], noise: &[&[f64]; 4]) -> String {
        let at = |d: usize| {
            let sums = ["x", "y", "z", "w"].iter().zip(noise);
            let noise: String = sums
                .map(|(part, weights)| Self::noise_sum(weights, &format!("{}.{part}", self.integrals(d)), d))
                .collect();
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
                let time = format!("moment(cursor.t, cursor.d, {})", literal(node));
                line!(self, "    {stages}[{i}] = {name}({time}, {state});");
            }
        }
        let end = self.noisy_end(Some("y"), "cursor.h", b, &noise.weights);
        line!(self, "    return {end};\n}}\n");
        let error = self.noisy_end(None, "h", b_error.unwrap_or(&[]), &noise.error);
        line!(self, "fn stage_error(h: f32) -> State {{\n    return {error};\n}}\n");
    }

    fn stage_error(&mut self) {
        let weights = self.tableau.b_error.unwrap_or(&[]);
        let list: Vec<String> = (0..self.dim)
            .map(|d| {
                // Of differences, so that rounded weights leave nothing of a constant.
                let mut sum = "0.0".to_owned();
                for (j, weight) in weights.iter().enumerate().skip(1).filter(|(_, w)| **w != 0.0) {
                    sum = format!("fma({}, K[{j}][{d}] - K[0][{d}], {sum})", literal(*weight));
                }
                format!("h * ({sum})")
            })
            .collect();
        let error = format!("State({})", list.join(", "));
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

    /// From the cotangent of a step's end to that of its start, as `cpu::step` does.
    fn step_vjp(&mut self, interior: bool) {
        let Tableau { a, b, c, .. } = self.tableau;
        let (stages, fsal, dim) = (self.tableau.stages(), self.tableau.fsal(), self.dim);
        let count = if fsal { stages - 1 } else { stages };
        let taken = if fsal && !interior { stages - 1 } else { stages };
        line!(self, "fn step_vjp(cursor: Cursor, y: State, end_bar: State) -> State {{\n    var bar = end_bar;");
        for i in 0..taken {
            let state = self.combined_state(Some("y"), "cursor.h", a[i]);
            let node = literal(c[i]);
            line!(self, "    STATES[{i}] = {state};");
            if i + 1 < stages {
                line!(self, "    K[{i}] = field(moment(cursor.t, cursor.d, {node}), STATES[{i}]);");
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
            line!(self, "    let state_bar{i} = field_vjp(moment(cursor.t, cursor.d, {node}), STATES[{i}], k_bar{i});");
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

    /// The same with noise, as [`Recorder::noisy_step_vjp`](super::Recorder::noisy_step_vjp) does layer by layer.
    fn noisy_step_vjp(&mut self, noise: &NoiseTableau) {
        let Tableau { a, b, c, .. } = self.tableau;
        let (drifts, diffusions) = (self.tableau.stages(), noise.stages());
        let time = |node: f64| format!("moment(cursor.t, cursor.d, {})", literal(node));
        line!(self, "fn step_vjp(cursor: Cursor, y: State, end_bar: State) -> State {{\n    var bar = end_bar;");
        line!(self, "    let root = sqrt(cursor.h);");
        for i in 0..drifts.max(diffusions) {
            if i < drifts {
                let state = self.noisy_state(a[i], noise.drift_b[i], noise.drift_scale);
                line!(self, "    let f_state{i} = {state};\n    K[{i}] = field({}, f_state{i});", time(c[i]));
            }
            if i < diffusions {
                let state = self.noisy_state(noise.a[i], noise.b[i], noise.scale);
                line!(self, "    let g_state{i} = {state};\n    G[{i}] = noise({}, g_state{i});", time(noise.c[i]));
            }
        }
        for i in (0..drifts.max(diffusions)).rev() {
            if i < drifts {
                let bars: Vec<String> = (0..self.dim)
                    .map(|d| {
                        let end = format!("{} * bar[{d}]", literal(b[i]));
                        format!("cursor.h * ({end}{}{})", later("f", a, i, d), later("g", noise.a, i, d))
                    })
                    .collect();
                let bars = bars.join(", ");
                line!(self, "    let f_bar{i} = field_vjp({}, f_state{i}, State({bars}));", time(c[i]));
            }
            if i < diffusions {
                let bars: Vec<String> = (0..self.dim)
                    .map(|d| {
                        let weights = noise.weights.map(|row| literal(row.get(i).copied().unwrap_or(0.0))).join(", ");
                        let end = format!("dot(vec4<f32>({weights}), {}) * bar[{d}]", self.integrals(d));
                        let scaled = |scale, sum: String| {
                            if sum.is_empty() { sum } else { format!(" + {} * (0.0{sum})", self.factor(scale, d)) }
                        };
                        let drift = scaled(noise.drift_scale, later("f", noise.drift_b, i, d));
                        end + &drift + &scaled(noise.scale, later("g", noise.b, i, d))
                    })
                    .collect();
                let bars = bars.join(", ");
                line!(self, "    let g_bar{i} = noise_vjp({}, g_state{i}, State({bars}));", time(noise.c[i]));
            }
        }
        for (name, count) in [("f", drifts), ("g", diffusions)] {
            for (i, d) in (0..count).flat_map(|i| (0..self.dim).map(move |d| (i, d))) {
                line!(self, "    bar[{d}] += {name}_bar{i}[{d}];");
            }
        }
        line!(self, "    return bar;\n}}\n");
    }

    /// The iterated integrals of feature `d`'s process.
    fn integrals(&self, d: usize) -> String {
        format!("INTEGRALS[{}]", if self.channels == 1 { 0 } else { d })
    }

    /// What a scale is at feature `d`.
    fn factor(&self, scale: NoiseScale, d: usize) -> String {
        match scale {
            NoiseScale::Increment => self.integrals(d) + ".x",
            NoiseScale::Mean => self.integrals(d) + ".z",
            NoiseScale::Root => "root".to_owned(),
        }
    }
}

/// Cotangents of the states that stage `i` went into with `rows` of weights.
fn later(name: &str, rows: &[&[f64]], i: usize, d: usize) -> String {
    let entry = |(k, row): (usize, &&[f64])| {
        let weight = row.get(i).copied().filter(|weight| *weight != 0.0)?;
        Some(format!(" + {} * {name}_bar{k}[{d}]", literal(weight)))
    };
    rows.iter().enumerate().filter_map(entry).collect()
}
