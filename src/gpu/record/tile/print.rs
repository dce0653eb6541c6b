//! What is printed for a problem that is solved in tiles: its networks, and the method's sums, with every loop over stages
//! unrolled. The words are those of `shaders/lib/tile.wgsl`.

use std::fmt::Write;

use super::Tile;
use crate::gpu::device::limits::WORKGROUP;
use crate::gpu::kernel::literal;
use crate::gpu::wire::modes::Activation;
use crate::method::{NoiseScale, NoiseTableau, Tableau};
use crate::problem::{InputMap, Layer};

/// Bytes of a workgroup's memory: WebGPU's default maximum.
const MEMORY: usize = 16_384;

/// Numbers of the gradient that an invocation keeps in registers.
const MOST_ACCUMULATORS: usize = 64;

/// A network in tiles: its layers after an input map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TiledNetwork<'a> {
    pub(crate) layers: &'a [Layer],
    pub(crate) map: InputMap,
}

/// The constants and functions of a problem, for the kernel `tile_solve`.
#[derive(Debug)]
pub(crate) struct Printer<'a> {
    pub(crate) drift: TiledNetwork<'a>,
    pub(crate) tableau: &'static Tableau,
    /// What the method does with noise, and the diffusion.
    pub(crate) noise: Option<(&'static NoiseTableau, TiledNetwork<'a>)>,
    /// Wiener processes of a trajectory.
    pub(crate) channels: usize,
    pub(crate) tile: Tile,
}

macro_rules! line {
    ($text:expr, $($argument:tt)*) => {{
        // Writing to a string cannot fail.
        let _ = writeln!($text, $($argument)*);
    }};
}

impl Printer<'_> {
    /// What a solve needs.
    pub(crate) fn solve(&self) -> String {
        let mut text = self.constants(2 * self.tile.widest * self.tile.quads);
        field(&mut text, "field", self.drift);
        if let Some((_, diffusion)) = self.noise {
            field(&mut text, "noise", diffusion);
        }
        self.take_stages(&mut text);
        text
    }

    /// The same for the way back, if it fits: all invocations of a full workgroup share the gradient, and there is room for
    /// more in its memory.
    pub(crate) fn back(mut self) -> Option<Self> {
        self.tile.lanes = WORKGROUP;
        while self.tile.quads > 1 && self.bytes_back() > MEMORY {
            self.tile.quads /= 2;
        }
        (self.bytes_back() <= MEMORY && self.accumulators() <= MOST_ACCUMULATORS).then_some(self)
    }

    /// What a backward walk needs.
    pub(crate) fn adjoint(&self) -> String {
        let mut text = self.constants(self.length_back());
        line!(text, "var<private> THETA_BAR: array<f32, {}>;\n", self.accumulators());
        field(&mut text, "field", self.drift);
        let mut first = self.field_vjp(&mut text, "field_vjp", self.drift, 0);
        if let Some((_, diffusion)) = self.noise {
            field(&mut text, "noise", diffusion);
            first = self.field_vjp(&mut text, "noise_vjp", diffusion, first);
        }
        debug_assert_eq!(first, self.accumulators(), "each has its own");
        self.step_vjp(&mut text);
        self.store_gradient(&mut text);
        text
    }

    fn networks(&self) -> impl Iterator<Item = TiledNetwork<'_>> {
        [self.drift].into_iter().chain(self.noise.map(|(_, diffusion)| diffusion))
    }

    /// Numbers of a quadruple in workgroup memory on the way back: inputs of all of a network's layers, and a cotangent.
    fn length_back(&self) -> usize {
        let inputs = |of: TiledNetwork<'_>| of.layers.iter().map(|layer| layer.inputs).sum::<usize>();
        let most = self.networks().map(inputs).max().unwrap_or(0) + self.tile.widest;
        self.tile.quads * most.max(2 * self.tile.widest)
    }

    /// Bytes of workgroup memory on the way back.
    fn bytes_back(&self) -> usize {
        16 * self.length_back() + 32 * self.tile.quads * self.noise.map_or(0, |_| self.channels)
    }

    /// Numbers of the gradient that an invocation keeps.
    fn accumulators(&self) -> usize {
        let of_layer = |layer: &Layer| layer.parameter_count().div_ceil(self.tile.lanes);
        self.networks().flat_map(|of| of.layers).map(of_layer).sum()
    }

    fn constants(&self, length: usize) -> String {
        let Tile { dim, quads, widest, lanes } = self.tile;
        let mut text = format!("const DIM = {dim}u;\nconst QUADS = {quads}u;\n");
        line!(text, "const WIDEST = {widest}u;\nconst LANES = {lanes}u;\nconst LENGTH = {length}u;\n");
        line!(text, "var<private> K: array<vec4<f32>, STAGES>;");
        if let Some((noise, _)) = self.noise {
            line!(text, "const CHANNELS = {}u;", self.channels);
            line!(text, "var<private> G: array<vec4<f32>, {}>;", noise.stages());
        }
        text.push('\n');
        text
    }

    /// The stages of a step, and its end; before the first, what a method that reuses its last stage begins with.
    fn take_stages(&self, text: &mut String) {
        let Tableau { a, b, c, .. } = self.tableau;
        let (stages, fsal) = (self.tableau.stages(), self.tableau.fsal());
        line!(text, "fn begin_steps(cursor: Cursor, lane: u32, y: vec4<f32>) {{");
        if fsal {
            line!(text, "    K[{}] = field(lane, {}, y);", stages - 1, time(0.0));
        }
        line!(text, "}}\n");
        line!(text, "fn take_stages(cursor: Cursor, group: u32, lane: u32, y: vec4<f32>) -> vec4<f32> {{");
        line!(text, "    draw(cursor, group, lane);\n    let root = sqrt(cursor.h);");
        let diffusions = self.noise.map_or(0, |(noise, _)| noise.stages());
        for i in 0..stages.max(diffusions) {
            if i == 0 && fsal {
                line!(text, "    K[0] = K[{}];", stages - 1);
                continue;
            }
            if i < stages {
                let noise = self.noise.map(|(noise, _)| (noise.drift_b[i], noise.drift_scale));
                line!(text, "    let f_state{i} = {};", self.state(a[i], noise));
                line!(text, "    K[{i}] = field(lane, {}, f_state{i});", time(c[i]));
            }
            if let Some((noise, _)) = self.noise.filter(|(noise, _)| i < noise.stages()) {
                line!(text, "    let g_state{i} = {};", self.state(noise.a[i], Some((noise.b[i], noise.scale))));
                line!(text, "    G[{i}] = noise(lane, {}, g_state{i});", time(noise.c[i]));
            }
        }
        if fsal {
            line!(text, "    return f_state{};\n}}\n", stages - 1);
        } else {
            line!(text, "    return {};\n}}\n", self.end(b));
        }
    }

    /// The function `name(lane, t, y, k_bar)`, which adds to `THETA_BAR` from `first` on and returns the cotangent of the state.
    /// Where its own accumulators end.
    fn field_vjp(&self, text: &mut String, name: &str, of: TiledNetwork<'_>, mut first: usize) -> usize {
        let (layers, lanes) = (of.layers, self.tile.lanes);
        line!(text, "fn {name}(lane: u32, t: f32, y: vec4<f32>, k_bar: vec4<f32>) -> vec4<f32> {{");
        match of.map {
            InputMap::Identity => line!(text, "    let x0 = y;"),
            InputMap::Cube => line!(text, "    let x0 = y * y * y;"),
        }
        let mut places = Vec::new();
        let mut at = 0;
        line!(text, "    workgroupBarrier();");
        for (l, layer) in layers.iter().enumerate() {
            let Layer { inputs, outputs, offset, time, .. } = *layer;
            places.push(at * self.tile.quads);
            let here = at * self.tile.quads;
            at += inputs;
            line!(text, "    if lane < {inputs}u * QUADS {{\n        sh_tile[{here}u + lane] = x{l};\n    }}");
            if l + 1 == layers.len() {
                break;
            }
            let kind = Activation::from(layer.activation) as u32;
            line!(text, "    workgroupBarrier();\n    var x{0}: vec4<f32>;\n    var slope{0}: vec4<f32>;", l + 1);
            line!(text, "    if lane < {outputs}u * QUADS {{");
            line!(text, "        let z = unit({here}u, lane, {inputs}u, {outputs}u, {offset}u, {time}, t);");
            line!(text, "        let a = activated({kind}u, z);");
            line!(text, "        x{0} = a.value;\n        slope{0} = a.slope;\n    }}", l + 1);
        }
        let z_bar = at * self.tile.quads;
        line!(text, "    var z_bar = k_bar;");
        for (l, layer) in layers.iter().enumerate().rev() {
            let Layer { inputs, outputs, offset, time, .. } = *layer;
            line!(text, "    if lane < {outputs}u * QUADS {{\n        sh_tile[{z_bar}u + lane] = z_bar;\n    }}");
            line!(text, "    workgroupBarrier();");
            let count = layer.parameter_count();
            for m in 0..count.div_ceil(lanes) {
                let entry = format!("min({}u + lane, {}u)", m * lanes, count - 1);
                let x = places[l];
                line!(
                    text,
                    "    THETA_BAR[{first}] += layer_gradient({entry}, {inputs}u, {outputs}u, {time}, t, {x}u, {z_bar}u);"
                );
                first += 1;
            }
            line!(text, "    if lane < {inputs}u * QUADS {{");
            line!(text, "        z_bar = input_bar(lane, {inputs}u, {outputs}u, {offset}u, {z_bar}u);");
            if l > 0 {
                line!(text, "        z_bar *= slope{l};");
            }
            line!(text, "    }}\n    workgroupBarrier();");
        }
        match of.map {
            InputMap::Identity => line!(text, "    return z_bar;\n}}\n"),
            InputMap::Cube => line!(text, "    return z_bar * (3.0 * (y * y));\n}}\n"),
        }
        first
    }

    /// Writes an invocation's part of the gradient where the tile's is.
    fn store_gradient(&self, text: &mut String) {
        let total: usize = self.networks().flat_map(|of| of.layers).map(Layer::parameter_count).sum();
        let lanes = self.tile.lanes;
        line!(text, "fn store_gradient(tile: u32, lane: u32) {{\n    let first = tile * {total}u;");
        let (mut accumulator, mut at) = (0, 0);
        for of in self.networks() {
            // As the vector-Jacobian product takes them: the last layer first.
            let starts: Vec<usize> = of
                .layers
                .iter()
                .scan(at, |at, layer| Some(std::mem::replace(at, *at + layer.parameter_count())))
                .collect();
            for (layer, start) in of.layers.iter().zip(&starts).rev() {
                let count = layer.parameter_count();
                for m in 0..count.div_ceil(lanes) {
                    line!(text, "    if {}u + lane < {count}u {{", m * lanes);
                    line!(
                        text,
                        "        sums[first + {}u + lane] = THETA_BAR[{accumulator}];\n    }}",
                        start + m * lanes
                    );
                    accumulator += 1;
                }
                at += count;
            }
        }
        line!(text, "}}\n");
    }

    /// From the cotangent of a step's end to that of its start.
    fn step_vjp(&self, text: &mut String) {
        let Tableau { a, b, c, .. } = self.tableau;
        let (stages, fsal) = (self.tableau.stages(), self.tableau.fsal());
        let count = if fsal { stages - 1 } else { stages };
        let noise = self.noise.map(|(noise, _)| noise);
        let diffusions = noise.map_or(0, NoiseTableau::stages);
        line!(
            text,
            "fn step_vjp(cursor: Cursor, covered: Covered, group: u32, lane: u32, y: vec4<f32>, end_bar: vec4<f32>) -> vec4<f32> {{"
        );
        line!(text, "    var bar = end_bar;\n    workgroupBarrier();\n    draw(cursor, group, lane);");
        line!(text, "    let root = sqrt(cursor.h);");
        for i in 0..stages.max(diffusions) {
            if i < stages {
                let scaled = noise.map(|noise| (noise.drift_b[i], noise.drift_scale));
                line!(text, "    let f_state{i} = {};", self.state(a[i], scaled));
            }
            if let Some(noise) = noise.filter(|noise| i < noise.stages()) {
                line!(text, "    let g_state{i} = {};", self.state(noise.a[i], Some((noise.b[i], noise.scale))));
            }
            // Nothing depends on the last ones, which are kept for their own sake alone.
            if i < stages && uses(a, i).chain(noise.into_iter().flat_map(|n| uses(n.a, i))).next().is_some() {
                line!(text, "    K[{i}] = field(lane, {}, f_state{i});", time(c[i]));
            }
            if let Some(noise) = noise.filter(|noise| i < noise.stages())
                && uses(noise.b, i).chain(uses(noise.drift_b, i)).next().is_some()
            {
                line!(text, "    G[{i}] = noise(lane, {}, g_state{i});", time(noise.c[i]));
            }
        }
        let later = |name: &str, rows: &[&[f64]], i: usize, below: usize| -> String {
            let rows = rows.iter().enumerate().take(below);
            let terms = rows.filter_map(|(k, row)| Some((k, row.get(i).copied().filter(|w| *w != 0.0)?)));
            terms.map(|(k, w)| format!(" + {} * {name}_bar{k}", literal(w))).collect()
        };
        for i in (0..stages.max(diffusions)).rev() {
            if i < stages {
                let mut sum = format!("{} * bar", literal(b[i]));
                sum += &later("f", a, i, count);
                if let Some(noise) = noise {
                    sum += &later("g", noise.a, i, diffusions);
                } else {
                    sum += &format!(" + stage_seed(cursor, covered, {i}u)");
                }
                line!(text, "    let f_bar{i} = field_vjp(lane, {}, f_state{i}, cursor.h * ({sum}));", time(c[i]));
                if fsal && i + 1 == stages {
                    line!(text, "    bar += f_bar{i};");
                }
            }
            if let Some(noise) = noise.filter(|noise| i < noise.stages()) {
                let mut sum = "vec4<f32>()".to_owned();
                for (of, row) in noise.weights.iter().enumerate() {
                    if let Some(w) = row.get(i).filter(|w| **w != 0.0) {
                        sum += &format!(" + {} * INTEGRALS[{of}] * bar", literal(*w));
                    }
                }
                for (name, rows, scale) in [("f", noise.drift_b, noise.drift_scale), ("g", noise.b, noise.scale)] {
                    let terms = later(name, rows, i, usize::MAX);
                    if !terms.is_empty() {
                        sum += &format!(" + {} * (0.0{terms})", factor(scale));
                    }
                }
                line!(text, "    let g_bar{i} = noise_vjp(lane, {}, g_state{i}, {sum});", time(noise.c[i]));
            }
        }
        for i in 0..count {
            line!(text, "    bar += f_bar{i};");
        }
        for i in 0..diffusions {
            line!(text, "    bar += g_bar{i};");
        }
        line!(text, "    return bar;\n}}\n");
    }

    /// A sum of the drift's stages.
    fn drift_sum(weights: &[f64]) -> String {
        let mut sum = "vec4<f32>()".to_owned();
        for (j, weight) in weights.iter().enumerate().filter(|(_, w)| **w != 0.0) {
            sum = format!("fma(vec4<f32>({}), K[{j}], {sum})", literal(*weight));
        }
        sum
    }

    /// The state of a stage, of the drift's weights and the diffusion's with their scale.
    fn state(&self, drift: &[f64], noise: Option<(&[f64], NoiseScale)>) -> String {
        let Some((weights, scale)) = noise else {
            return format!("fma(vec4<f32>(cursor.h), {}, y)", Self::drift_sum(drift));
        };
        let scaled = |weight: &f64| format!("{} * {}", literal(*weight), factor(scale));
        self.noisy(drift, weights.iter().map(|w| (*w != 0.0).then(|| scaled(w))))
    }

    /// The step's end.
    fn end(&self, b: &[f64]) -> String {
        let Some((noise, _)) = self.noise else {
            return format!("fma(vec4<f32>(cursor.h), {}, y)", Self::drift_sum(b));
        };
        let weight = |j: usize| {
            let terms: Vec<String> = noise
                .weights
                .iter()
                .enumerate()
                .filter_map(|(of, row)| row.get(j).filter(|w| **w != 0.0).map(|w| (of, *w)))
                .map(|(of, w)| format!("{} * INTEGRALS[{of}]", literal(w)))
                .collect();
            (!terms.is_empty()).then(|| terms.join(" + "))
        };
        self.noisy(b, (0..noise.stages()).map(weight))
    }

    fn noisy(&self, drift: &[f64], weights: impl Iterator<Item = Option<String>>) -> String {
        let mut sum = format!("cursor.h * {}", Self::drift_sum(drift));
        for (j, weight) in weights.enumerate() {
            if let Some(weight) = weight {
                sum = format!("fma({weight}, G[{j}], {sum})");
            }
        }
        format!("y + ({sum})")
    }
}

/// The states that stage `i` goes into.
fn uses<'a>(rows: &'a [&'a [f64]], i: usize) -> impl Iterator<Item = usize> + 'a {
    let entry = move |(k, row): (usize, &&[f64])| row.get(i).filter(|weight| **weight != 0.0).map(|_| k);
    rows.iter().enumerate().filter_map(entry)
}

/// The time of a node of a step.
fn time(node: f64) -> String {
    format!("node_time(cursor.t, cursor.d, {}, job.t0, job.span)", literal(node))
}

/// What a scale is.
fn factor(scale: NoiseScale) -> &'static str {
    match scale {
        NoiseScale::Increment => "INTEGRALS[0]",
        NoiseScale::Mean => "INTEGRALS[2]",
        NoiseScale::Root => "vec4<f32>(root)",
    }
}

/// The function `name(lane, t, y)`: a network's output at each invocation's feature.
fn field(text: &mut String, name: &str, of: TiledNetwork<'_>) {
    line!(text, "fn {name}(lane: u32, t: f32, y: vec4<f32>) -> vec4<f32> {{");
    match of.map {
        InputMap::Identity => line!(text, "    var x = y;"),
        InputMap::Cube => line!(text, "    var x = y * y * y;"),
    }
    for (l, layer) in of.layers.iter().enumerate() {
        let Layer { inputs, outputs, offset, time, .. } = *layer;
        line!(text, "    share(lane, {inputs}u * QUADS, x);");
        line!(text, "    if lane < {outputs}u * QUADS {{");
        line!(text, "        x = unit(SHARED, lane, {inputs}u, {outputs}u, {offset}u, {time}, t);");
        if l + 1 < of.layers.len() {
            line!(text, "        x = activated({}u, x).value;", Activation::from(layer.activation) as u32);
        }
        line!(text, "    }}");
    }
    line!(text, "    return x;\n}}\n");
}
