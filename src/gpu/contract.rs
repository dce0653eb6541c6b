//! What shaders and host have agreed on, read back from the shaders by reflection. Needs no device, but for the last
//! test, which records on one that computes nothing. It is one long file: a test a kind of agreement, over one reading of the
//! modules.

use std::collections::{BTreeMap, BTreeSet};

use wgpu::naga::{
    AddressSpace, Block, Expression, Function, Handle, Literal, Module, ShaderStage, Statement, StorageAccess, Type,
    TypeInner, proc::Layouter, valid,
};

use super::Gpu;
use super::buffers::BEFORE_POINTS;
use super::controls::{drives, seats};
use super::device::limits::MAX_STORAGE_BUFFERS;
use super::driven;
use super::fields;
use super::iterations::SAVES;
use super::kernel::{ALL, Access, MODULES, Shader, Storage, Variant, absolute_tolerances, prelude, product_grid};
use super::knots::{HEAD, KNOT};
use super::programs;
use super::record::tile::{self, Tile, TiledNetwork};
use super::record::whole::{Printed, Printer};
use super::script::Scripts;
use super::wire::modes::{BITS, MODES, RowStatus, status};
use super::wire::{Layout as Twin, args, head, job, records};
use crate::cpu::{PATIENCE, RESOLVED, largest_square_root};
use crate::error::Status;
use crate::method::STIFFNESS_EPSILON;
use crate::method::{BUDGET_NUMBERS, BUDGET_WARMUP as WARMUP, BUDGET_WINDOW as WINDOW, LEARNT_NUMBERS, Method};
use crate::problem::{Activation, Field, InputMap, Mlp, TimeInput};

/// Every kernel under every method's prelude, parsed; those that measure errors with one absolute tolerance and with
/// several.
fn shaders() -> Vec<(&'static Shader, Method, Variant, Module)> {
    let pairs = Method::all().flat_map(|method| ALL.iter().map(move |kernel| (*kernel, method)));
    pairs
        .flat_map(|(kernel, method)| variants(kernel, method).into_iter().map(move |variant| (kernel, method, variant)))
        .flat_map(|(kernel, method, variant)| {
            printed(kernel, method, variant).into_iter().map(move |text| (kernel, method, variant, text))
        })
        .flat_map(|(kernel, method, variant, text)| {
            let atol = if kernel.measures_errors() {
                [None, Some(2)].map(absolute_tolerances).to_vec()
            } else {
                vec![String::new()]
            };
            atol.into_iter().map(move |atol| (kernel, method, variant, atol + &text))
        })
        .map(|(kernel, method, variant, text)| {
            let text = kernel.compose(&format!("{}{text}", prelude(method.tableau(), Storage::Single)), variant);
            let parsed = wgpu::naga::front::wgsl::parse_str(&text);
            (kernel, method, variant, parsed.unwrap_or_else(|e| panic!("{}: {}", kernel.name, e.emit_to_string(&text))))
        })
        .collect()
}

/// Which texts there are of a kernel. What differs with times of trajectories' own does not depend on the method.
fn variants(kernel: &Shader, method: Method) -> Vec<Variant> {
    match method {
        _ if method.tableau().noise.is_some() => vec![Variant::Noisy],
        Method::Tsit5 if kernel.knows_own_times() => vec![Variant::Plain, Variant::OwnTimes],
        _ => vec![Variant::Plain],
    }
}

/// What is put before a kernel besides the method's prelude: the functions of a field.
fn printed(kernel: &Shader, method: Method, variant: Variant) -> Vec<String> {
    let whole = |adjoint: bool| {
        let networks = [
            Mlp::new([3, 3]).time_input(TimeInput::Every),
            Mlp::new([2, 5, 2]).input_map(InputMap::Cube).time_input(TimeInput::First),
        ];
        let networks = networks.map(Field::from).into_iter();
        // What was written out has other functions, which no method changes.
        let written = programs::zoo().into_iter().map(|(_, field)| field).chain([driven::pendulum(), driven::units()]);
        let written = written.filter(|_| matches!(method, Method::Tsit5 | Method::Milstein));
        networks.chain(written).flat_map(|field| whole_text(&field, method, variant, adjoint)).collect()
    };
    match kernel.name {
        // A second state is not carried along there.
        "ensemble_solve" | "lockstep_solve" | "whole_adjoint" if method == Method::ReversibleHeun => Vec::new(),
        "ensemble_solve" | "lockstep_solve" => whole(false),
        "whole_adjoint" => whole(true),
        // What is printed for them does not depend on the method.
        "run" | "run_vjp" if method != Method::Tsit5 => Vec::new(),
        "run" => runs(0),
        "run_vjp" => runs(1),
        "tile_solve" => tiles(method, false),
        "tile_adjoint" => tiles(method, true),
        _ => vec![String::new()],
    }
}

/// What is printed for networks in tiles, of the smallest and of the largest that fill a workgroup.
fn tiles(method: Method, adjoint: bool) -> Vec<String> {
    let network = |width: usize, hidden: usize| {
        let mlp = Mlp::new([width, hidden, width]).time_input(TimeInput::Every).input_map(InputMap::Cube);
        Field::from(mlp).layers_from(0)
    };
    let (tableau, texts) = (method.tableau(), [(5, 7, 1000), (64, 64, 1 << 20), (256, 256, 9)]);
    let text = |(dim, hidden, rows): (usize, usize, usize)| {
        let layers = network(dim, hidden);
        let drift = TiledNetwork { layers: &layers, map: InputMap::Cube };
        let tile = Tile::new(dim, dim.max(hidden), rows, 128).expect("a tile");
        let printer =
            tile::Printer { drift, tableau, noise: tableau.noise.map(|noise| (noise, drift)), channels: dim, tile };
        if adjoint { printer.back().map(|printer| printer.adjoint()) } else { Some(printer.solve()) }
    };
    // A second state is not carried along there.
    texts.into_iter().filter(|_| tableau.noise.is_none_or(|noise| !noise.reversible)).filter_map(text).collect()
}

/// What is printed for the runs of fields that were written out, on their way back or not.
fn runs(back: usize) -> Vec<String> {
    let texts =
        |field| fields::schedules(&field).texts()[back].iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let driven = [driven::pendulum(), driven::products(6), driven::products(40)];
    let measures = [fields::gated(5), fields::residual(40)].map(|field| fields::measures(&field));
    let measured = measures.iter().flatten().flat_map(|schedules| schedules.texts()[back].clone());
    let measured: Vec<String> = measured.map(str::to_owned).collect();
    fields::written().into_iter().chain(driven).flat_map(texts).chain(measured).collect()
}

/// What is printed for a field, and for the same field as a diffusion where the method is a stochastic one.
pub(super) fn whole_text(field: &Field, method: Method, variant: Variant, adjoint: bool) -> Vec<String> {
    let (tableau, layers, problem) = (method.tableau(), field.layers_from(0), fields::problem(field));
    let (seats, drives) = (seats(&problem, field).expect("controls"), drives(&problem).expect("controls"));
    let scripts = field.plain_mlp().is_none().then(|| Scripts::new(field, 0, &seats).expect("a field"));
    let printed = scripts.as_ref().map_or(Printed::Layers(&layers, field.input_map()), Printed::Program);
    let noisy = tableau.noise.is_some();
    let parameters = if noisy { 2 } else { 1 } * field.parameter_count();
    // A process for each feature, or one for all.
    let channels = if noisy { vec![field.inputs(), 1] } else { vec![0] };
    let text = |channels: usize| {
        let printer = || {
            let printer = Printer::new(printed, field.inputs(), parameters, tableau).driven_by(drives.clone());
            let printer = printer.of_own_times(variant == Variant::OwnTimes);
            if noisy { printer.with_noise(printed, channels) } else { printer }
        };
        if adjoint { vec![printer().adjoint(true), printer().adjoint(false)] } else { vec![printer().solve()] }
    };
    channels.into_iter().flat_map(text).collect()
}

/// Fails with all that was found, not with the first.
fn none(failures: &[String]) {
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn layouter(module: &Module) -> Layouter {
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).expect("types with a layout");
    layouter
}

#[test]
fn every_kernel_is_valid_with_nothing_beyond_webgpu() {
    let mut failures = Vec::new();
    for (kernel, method, variant, module) in shaders() {
        let mut validator = valid::Validator::new(valid::ValidationFlags::all(), valid::Capabilities::empty());
        if let Err(error) = validator.validate(&module) {
            failures.push(format!("{} under {method}, {variant:?}: {error:?}", kernel.name));
        }
        let stages: Vec<_> = module.entry_points.iter().map(|e| (e.name.as_str(), e.stage)).collect();
        if stages != [("main", ShaderStage::Compute)] {
            failures.push(format!("{}: entry points {stages:?}", kernel.name));
        }
    }
    none(&failures);
}

/// Where a function's statements store to.
fn stores(block: &Block) -> Vec<Handle<Expression>> {
    let nested = |statement: &Statement| match statement {
        Statement::Store { pointer, .. } => vec![*pointer],
        Statement::Block(block) => stores(block),
        Statement::If { accept, reject, .. } => [stores(accept), stores(reject)].concat(),
        Statement::Switch { cases, .. } => cases.iter().flat_map(|case| stores(&case.body)).collect(),
        Statement::Loop { body, continuing, .. } => [stores(body), stores(continuing)].concat(),
        _ => Vec::new(),
    };
    block.iter().flat_map(nested).collect()
}

/// Whether a function assigns to a vector's component that it finds by an index.
fn assigns_by_index(module: &Module, function: &Function, info: &valid::FunctionInfo) -> bool {
    let is_vector = |pointer: Handle<Expression>| match *info[pointer].ty.inner_with(&module.types) {
        TypeInner::Pointer { base, .. } => matches!(module.types[base].inner, TypeInner::Vector { .. }),
        TypeInner::ValuePointer { size, .. } => size.is_some(),
        _ => false,
    };
    stores(&function.body)
        .into_iter()
        .any(|pointer| matches!(function.expressions[pointer], Expression::Access { base, .. } if is_vector(base)))
}

/// DirectX 12's older compiler unrolls a loop for that, or fails.
#[test]
fn no_shader_assigns_to_a_vector_by_an_index() {
    let assigns = |module: &Module| {
        let mut validator = valid::Validator::new(valid::ValidationFlags::all(), valid::Capabilities::empty());
        let info = validator.validate(module).expect("a valid kernel");
        module.functions.iter().any(|(handle, f)| assigns_by_index(module, f, &info[handle]))
            || assigns_by_index(module, &module.entry_points[0].function, info.get_entry_point(0))
    };
    let known = "@compute @workgroup_size(1) fn main() {
        var v = vec4<f32>();
        for (var i = 0u; i < 4u; i++) { if i > 1u { v[i] = 1.0; } }
    }";
    assert!(assigns(&wgpu::naga::front::wgsl::parse_str(known).expect("a shader")), "it is found where it is");
    let found: BTreeSet<&str> = shaders().iter().filter(|(.., m)| assigns(m)).map(|(kernel, ..)| kernel.name).collect();
    assert!(found.is_empty(), "{found:?}");
}

/// `x != x` and tests of the exponent alone are folded away under fast math.
#[test]
fn numbers_are_found_finite_in_one_place() {
    let kernels = ALL.iter().map(|k| (k.name, k.source));
    for (name, source) in kernels.chain(MODULES.iter().map(|m| (m.name, m.source))) {
        let code: String = source.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
        let words: Vec<&str> = code.split_whitespace().collect();
        let itself = words.windows(3).find(|w| w[0] == w[2] && ["==", "!=", "<", ">"].contains(&w[1]));
        assert!(itself.is_none(), "{name}: {itself:?}");
        let bits = code.to_lowercase().matches("0x7f8").count();
        assert_eq!(bits, if name == "elementary" { 3 } else { 0 }, "{name} looks at exponents");
    }
    let elementary = MODULES.iter().find(|m| m.name == "elementary").expect("a library file").source;
    assert!(elementary.contains("(bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u"), "an order of integers");
}

/// A fold by halves is written in one file, and so are an invocation's index, and the row and cursor of a state's number.
#[test]
fn preambles_are_written_once() {
    let sources = || ALL.iter().map(|k| (k.name, k.source)).chain(MODULES.iter().map(|m| (m.name, m.source)));
    let having = |text: &str| sources().filter(|(_, source)| source.contains(text)).map(|(name, _)| name).collect();
    let halves: Vec<&str> = having("/= 2u");
    assert_eq!(halves, ["fold"]);
    let indices: Vec<&str> = having("* GROUP + lane");
    assert_eq!(indices, ["whole_adjoint", "each"], "one takes several rows an invocation");
    let numbers: Vec<&str> = having("cursors[row * job.per_row]");
    assert_eq!(
        numbers,
        [
            "dense",
            "dense_stage",
            "dense_vjp_stage",
            "dense_vjp_weights",
            "increments",
            "point_value",
            "probe_value",
            "each_lane",
            "each_number",
            "row_sums",
        ]
    );
}

#[test]
fn bindings_are_those_of_the_table() {
    let (mut failures, mut tolerances) = (Vec::new(), 0);
    for (kernel, method, variant, module) in shaders() {
        let read = AddressSpace::Storage { access: StorageAccess::LOAD };
        let write = AddressSpace::Storage { access: StorageAccess::LOAD | StorageAccess::STORE };
        let wanted: BTreeMap<(u32, u32), AddressSpace> = kernel
            .bindings(variant)
            .into_iter()
            .map(|(binding, access)| ((0, binding), if access == Access::Read { read } else { write }))
            .chain([((0, 0), AddressSpace::Uniform)])
            .collect();
        let bound: Vec<_> = module
            .global_variables
            .iter()
            .filter_map(|(_, v)| Some(((v.binding?.group, v.binding?.binding), v.space)))
            .collect();
        let mut found: BTreeMap<(u32, u32), AddressSpace> = bound.iter().copied().collect();
        let atol = found.remove(&(0, MAX_STORAGE_BUFFERS + 1));
        if atol.is_some_and(|space| space != AddressSpace::Uniform || !kernel.measures_errors()) {
            failures.push(format!("{} binds {atol:?} where the features' tolerances are", kernel.name));
        }
        tolerances += usize::from(atol.is_some());
        if found != wanted {
            failures.push(format!(
                "{} under {method}, {variant:?}: binds {found:?}, the table says {wanted:?}",
                kernel.name
            ));
        }
        if found.len() + usize::from(atol.is_some()) != bound.len() {
            failures.push(format!("{}: two variables share a binding", kernel.name));
        }
        if wanted.len() - 1 > MAX_STORAGE_BUFFERS as usize {
            failures.push(format!("{}: {} storage buffers", kernel.name, wanted.len() - 1));
        }
    }
    assert!(tolerances > 0, "some kernel was printed with the features' own");
    none(&failures);
}

#[test]
fn workgroups_fit_into_the_default_limits() {
    let limits = wgpu::Limits::default();
    let mut failures = Vec::new();
    for (kernel, .., module) in shaders() {
        let layouter = layouter(&module);
        let shared = module.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|(_, v)| layouter[v.ty].size.next_multiple_of(16)).sum();
        if bytes > limits.max_compute_workgroup_storage_size {
            failures.push(format!("{}: {bytes} bytes of workgroup memory", kernel.name));
        }
        let size = module.entry_points[0].workgroup_size;
        let invocations: u32 = size.iter().product();
        if invocations > limits.max_compute_invocations_per_workgroup {
            failures.push(format!("{}: {invocations} invocations", kernel.name));
        }
        let constants = constants(&module);
        // Loops and reductions stride by these.
        for name in ["WIDE", "GROUP"] {
            // A tile's workgroup is as large as its units want.
            let tiled = name == "GROUP" && constants.contains_key("QUADS");
            if let Some(&stride) = constants.get(name).filter(|_| !tiled)
                && stride != f64::from(size[0])
            {
                failures.push(format!("{}: {name} = {stride} in groups of {size:?}", kernel.name));
            }
        }
        // One group of 64 to a tile, or four: the override SPLIT.
        if constants.contains_key("TILE") && (constants["TILE"] != 32.0 || size[0] != 64 || 4 * size[0] > 256) {
            failures.push(format!("{}: a tile of {} by {size:?}", kernel.name, constants["TILE"]));
        }
    }
    assert_eq!(
        product_grid(33, 65, 2),
        [3, 2, 2],
        "a workgroup for each tile of 32 columns and 32 rows, and each part"
    );
    none(&failures);
}

/// A struct's members and their offsets, its size last.
type Layout = Vec<(String, usize)>;

fn layout_of(module: &Module, name: &str) -> Option<Layout> {
    let (_, Type { inner: TypeInner::Struct { members, span }, .. }) =
        module.types.iter().find(|(_, t)| t.name.as_deref() == Some(name))?
    else {
        return None;
    };
    // A name that WGSL reserves has an underscore after it.
    let named = |m: &wgpu::naga::StructMember| m.name.as_deref().unwrap_or("").trim_end_matches('_').to_owned();
    let members = members.iter().map(|m| (named(m), m.offset as usize));
    Some(members.chain([("its size".to_owned(), *span as usize)]).collect())
}

/// As reflection has it.
fn layout(twin: &Twin) -> Layout {
    let members = twin.members.iter().map(|(name, offset)| ((*name).to_owned(), *offset));
    members.chain([("its size".to_owned(), twin.size)]).collect()
}

#[test]
fn structs_lie_in_memory_as_their_twins_do() {
    let twins: Vec<(&str, Layout)> =
        records::LAYOUTS.iter().chain(args::parts::LAYOUTS).map(|twin| (twin.name, layout(twin))).collect();
    let (mut failures, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (kernel, .., module) in shaders() {
        for (name, wanted) in &twins {
            let Some(found) = layout_of(&module, name) else { continue };
            seen.insert(*name);
            if found != *wanted {
                failures.insert(format!("{} in {}: {found:?}\nthe host: {wanted:?}", name, kernel.name));
            }
        }
    }
    assert_eq!(seen.len(), twins.len(), "every twin was met: {seen:?}");
    none(&failures.into_iter().collect::<Vec<_>>());
}

/// Every kernel is told what its host type says, and that fits into a job.
#[test]
fn jobs_are_a_head_and_the_kernel_s_own_arguments() {
    let [head] = head::LAYOUTS else { panic!("one head") };
    let mut failures = BTreeSet::new();
    let mut met = BTreeSet::new();
    for (kernel, method, _, module) in shaders() {
        let mut told = layout_of(&module, "Job").expect("a job");
        let (_, size) = told.pop().expect("its size");
        let (last, at) = told.pop().expect("its arguments");
        told.push(("its size".to_owned(), at));
        if last != "args" || told != layout(head) || size as u64 > job::Job::SIZE {
            failures.insert(format!("{}: {told:?}, {last} at {at} of {size}", kernel.name));
        }
        let (_, Type { inner: TypeInner::Struct { members, .. }, .. }) =
            module.types.iter().find(|(_, t)| t.name.as_deref() == Some("Job")).expect("a job")
        else {
            panic!("a struct")
        };
        let named = members.last().and_then(|args| module.types[args.ty].name.as_deref());
        let twin = args::LAYOUTS.iter().find(|twin| twin.name == kernel.args).expect("arguments");
        met.insert(twin.name);
        // The device rounds its size up to that of a row.
        let wanted: Layout = layout(twin).into_iter().take(twin.members.len()).collect();
        let found = layout_of(&module, kernel.args).map(|found| found[..found.len() - 1].to_vec());
        if named != Some(kernel.args) || found.as_ref() != Some(&wanted) {
            failures
                .insert(format!("{} under {method} is told {named:?}: {found:?}, the host {wanted:?}", kernel.name));
        }
    }
    assert_eq!(met.len(), args::LAYOUTS.len(), "no kernel is told some: {met:?}");
    none(&failures.into_iter().collect::<Vec<_>>());
}

/// The module's named numbers.
fn constants(module: &Module) -> BTreeMap<String, f64> {
    let number = |c: &wgpu::naga::Constant| match module.global_expressions[c.init] {
        Expression::Literal(Literal::U32(x)) => Some(f64::from(x)),
        Expression::Literal(Literal::I32(x)) => Some(f64::from(x)),
        Expression::Literal(Literal::F32(x)) => Some(f64::from(x)),
        _ => None,
    };
    module.constants.iter().filter_map(|(_, c)| Some((c.name.clone()?, number(c)?))).collect()
}

/// Numbers of the shaders' own: sizes of workgroups and tiles, what one invocation decides, and a code that no mode has.
const OWN: &[&str] =
    &["ANY", "DEPTH", "GIVE_UP_LARGE", "GIVE_UP_NON_FINITE", "GROUP", "NOTHING", "REST", "STRIDE", "TILE", "WIDE"];

/// A number of the host's that is no mode.
type Number = (&'static str, u32);

#[test]
fn numbers_that_both_sides_use_are_the_same() {
    let everywhere: Vec<Number> = vec![
        ("PATIENCE", PATIENCE),
        ("REGULARIZATION_TIME", crate::math::Purpose::RegularizationTime as u32),
        ("REGULARIZATION_DIRECTION", crate::math::Purpose::RegularizationDirection as u32),
        ("CELL", crate::problem::brownian::CELL),
        ("LEVELS", crate::problem::brownian::LEVELS),
        ("APART", crate::problem::brownian::APART),
        ("NOISE_PURPOSE", crate::math::Purpose::Noise as u32),
        ("SAVES", SAVES as u32),
        ("BEFORE_POINTS", BEFORE_POINTS as u32),
        ("HEAD", HEAD as u32),
        ("KNOT", KNOT as u32),
        ("WARMUP", WARMUP),
        ("WINDOW", WINDOW),
    ];
    // Bits that are named after no kernel belong to jobs, which all have.
    let bits = BITS.iter().filter(|bits| bits.shaders.is_empty()).flat_map(|bits| bits.numbers).copied();
    let everywhere: Vec<Number> = everywhere.into_iter().chain(bits).collect();
    let (mut failures, mut met) = (BTreeSet::new(), BTreeSet::new());
    for (kernel, method, _, module) in shaders() {
        let found = constants(&module);
        let modes = MODES.iter().chain(BITS).filter(|modes| modes.shaders.contains(&kernel.name));
        let own = modes.flat_map(|modes| modes.numbers);
        for (name, wanted) in own.clone() {
            if !found.contains_key(*name) {
                failures.insert(format!("{} has no {name} = {wanted}", kernel.name));
            }
        }
        for (name, wanted) in own.chain(&everywhere) {
            if let Some(&value) = found.get(*name) {
                met.insert(*name);
                if value != f64::from(*wanted) {
                    failures.insert(format!("{}: {name} = {value}, the host has {wanted}", kernel.name));
                }
            }
        }
        // Not among the module's constants: one without a type is gone by then.
        if kernel.name == "probe_value" && !kernel.source.contains(&format!("EPSILON = {STIFFNESS_EPSILON:e};")) {
            failures.insert(format!("probe_value has no STIFFNESS_EPSILON = {STIFFNESS_EPSILON:e}"));
        }
        let resolved = RESOLVED * f64::from(f32::EPSILON);
        if kernel.name == "row_norm" && !kernel.source.contains(&format!("RESOLVED = {resolved:e};")) {
            failures.insert(format!("row_norm has no RESOLVED = {resolved:e}"));
        }
        let largest = format!("LARGEST_SQUARE_ROOT = {:e};", largest_square_root::<f32>());
        if kernel.modules.iter().any(|m| m.name == "scaled_error" && !m.source.contains(&largest)) {
            failures.insert(format!("scaled_error has no {largest}"));
        }
        if found.get("STAGES") != Some(&(method.tableau().stages() as f64)) {
            failures.insert(format!("{} under {method}: STAGES = {:?}", kernel.name, found.get("STAGES")));
        }
    }
    // Not among a module's constants either, which have types.
    let sources = || ALL.iter().map(|k| k.source).chain(MODULES.iter().map(|m| m.source));
    for (name, value) in LEARNT_NUMBERS.iter().chain(&BUDGET_NUMBERS) {
        let line = format!("const {name} = {value:?};");
        if !sources().any(|source| source.contains(&line)) {
            failures.insert(format!("no shader has {line}"));
        }
    }
    for (name, _) in &everywhere {
        if !met.contains(name) {
            failures.insert(format!("no kernel has {name}"));
        }
    }
    none(&failures.into_iter().collect::<Vec<_>>());
}

/// A number that a shader names is a mode, a bit, or one of its own.
#[test]
fn every_number_of_the_shaders_is_watched_or_their_own() {
    let modes: BTreeSet<&str> = MODES.iter().chain(BITS).flat_map(|modes| modes.numbers).map(|n| n.0).collect();
    let others = [
        "PATIENCE",
        "REGULARIZATION_TIME",
        "REGULARIZATION_DIRECTION",
        "CELL",
        "LEVELS",
        "APART",
        "NOISE_PURPOSE",
        "SAVES",
        "WARMUP",
        "WINDOW",
        "BEFORE_POINTS",
        "HEAD",
        "KNOT",
    ];
    let mut failures = Vec::new();
    let files = ALL.iter().map(|k| (k.name, k.source)).chain(MODULES.iter().map(|m| (m.name, m.source)));
    for (file, source) in files {
        for line in source.lines().filter_map(|line| line.strip_prefix("const ")) {
            let Some((name, value)) = line.split_once(" = ") else { continue };
            let number = value.split(';').next().is_some_and(|v| v.ends_with('u'));
            if number && !modes.contains(name) && !others.contains(&name) && !OWN.contains(&name) {
                failures.push(format!("{file}: {name} = {value}"));
            }
        }
    }
    none(&failures);
}

#[test]
fn statuses_and_activations_are_those_of_the_host() {
    for code in [Status::Done, Status::Running, Status::MaxSteps, Status::StepTooSmall, Status::NonFinite] {
        assert_eq!(status(code as u32), code);
    }
    let named = [
        (RowStatus::Done, Status::Done),
        (RowStatus::Running, Status::Running),
        (RowStatus::MaxSteps, Status::MaxSteps),
        (RowStatus::StepTooSmall, Status::StepTooSmall),
        (RowStatus::NonFinite, Status::NonFinite),
    ];
    assert!(named.iter().all(|(device, host)| *device as u32 == *host as u32));
    assert_eq!(status(RowStatus::Paused.into()), Status::Running);
    for (number, activation) in Activation::ALL.into_iter().enumerate() {
        assert_eq!(crate::gpu::wire::modes::Activation::from(activation) as usize, number);
    }
}

#[test]
fn every_shader_file_is_listed_and_says_what_it_does() {
    let kernels: BTreeMap<_, _> = ALL.iter().map(|k| (k.name, k.source)).collect();
    let libraries: BTreeMap<_, _> = MODULES.iter().map(|m| (m.name, m.source)).collect();
    let mut failures = Vec::new();
    for (folder, listed) in [("kernels", kernels), ("lib", libraries)] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").join(folder);
        let mut files = BTreeSet::new();
        for entry in std::fs::read_dir(&path).expect("a folder of shaders") {
            let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
            files.insert(name.trim_end_matches(".wgsl").to_owned());
        }
        if !files.iter().map(String::as_str).eq(listed.keys().copied()) {
            failures.push(format!("{folder}: files {files:?}, listed {:?}", listed.keys()));
        }
        for (name, source) in listed {
            let comment: Vec<&str> = source.lines().map_while(|l| l.strip_prefix("// ")).collect();
            if !comment.iter().any(|line| line.contains('.')) {
                failures.push(format!("{folder}/{name} begins with {:?}", source.lines().next()));
            }
        }
    }
    none(&failures);
}

mod recording {
    use super::*;
    use crate::GpuSolver;
    use crate::method::{
        Elbo, Global, Layout, Local, Loss, Measure, PenaltyAt, PenaltyGradient, PenaltyStep, PointMeasure, Pointwise,
        Recurrent, Reduction, Regularizer, SaveAt, SolverOptions, StepControl, Target, Tolerances,
    };
    use crate::problem::{Diffusion, Field, Problem, Trace};
    use crate::train::Optimizer;
    use crate::train::{Batch, GpuTrainer, NeuralDe, TrainerConfig};

    /// Records and submits a training step, an evaluation and a gather; nothing is computed.
    fn record(gpu: &Gpu, config: TrainerConfig, half: bool) -> crate::Result<()> {
        let inputs = [0.5f32; 9 * 3];
        let (labels, states) = ([1u32; 9], [0.5f32; 9 * 2]);
        let labelled = config.loss == Loss::CrossEntropy;
        let target = if labelled { Target::Labels(&labels) } else { Target::States(&states) };
        let batch = Batch { inputs: &inputs, target };
        let mut trainer = GpuTrainer::new(gpu, config)?;
        if half {
            trainer = trainer.half_weights()?;
        }
        gpu.block_on(async {
            trainer.step(&batch).await?;
            trainer.evaluate(&batch).await?;
            trainer.predict(&inputs).await?;
            let data = trainer.upload(&inputs, target).await?;
            trainer.step_on(&data, &[4, 0, 8]).await?;
            Ok(())
        })
    }

    /// Records and submits a solve with noise and its gradients.
    fn record_noise(gpu: &Gpu, method: Method, layout: Layout) -> crate::Result<()> {
        let tableau = method.tableau();
        let network = Mlp::new([3, 4, 3]).input_map(InputMap::Cube).time_input(TimeInput::Every);
        let diffusion = Diffusion::new(network.clone(), tableau.noise.expect("noise").calculus);
        let problem = Problem::sde(network, diffusion, 0.0, 1.0);
        let options = match tableau.b_error {
            None => SolverOptions::default().step_control(StepControl::Fixed { steps: 3 }),
            Some(_) => SolverOptions::sde(Tolerances::both(1e-2)),
        };
        let options = options.method(method).layout(layout).save_at(SaveAt::Times(vec![0.0, 0.3, 1.0]));
        let mut solver = GpuSolver::new(gpu, &problem, &options)?;
        let theta = vec![0.1; problem.parameter_count()];
        gpu.block_on(async {
            solver.solve(&theta, &[0.5; 15]).await?;
            solver.gradients(&[1.0; 45]).await?;
            Ok(())
        })
    }

    /// Records and submits a solve of a field that was written out, and its gradients.
    fn record_written(gpu: &Gpu, half: bool) -> crate::Result<()> {
        let problem = Problem::ode(fields::residual(5), 0.0, 1.0);
        let mut solver = GpuSolver::new(gpu, &problem, &SolverOptions::default())?.layer_by_layer();
        if half {
            solver = solver.half_weights()?;
        }
        gpu.block_on(async {
            solver.solve(&vec![0.1; problem.parameter_count()], &[0.5; 15]).await?;
            solver.gradients(&[1.0; 15]).await?;
            Ok(())
        })
    }

    /// Records and submits a solve in tiles, and the walk back in them.
    fn record_tiles(gpu: &Gpu) -> crate::Result<()> {
        let problem = Problem::ode(Mlp::new([5, 9, 5]), 0.0, 1.0);
        let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 3 });
        let mut solver = GpuSolver::new(gpu, &problem, &options)?;
        solver.engine.tiles_back = true;
        gpu.block_on(async {
            solver.solve(&vec![0.1; problem.parameter_count()], &[0.5; 15]).await?;
            solver.gradients(&[1.0; 15]).await?;
            Ok(())
        })
    }

    /// Records and submits a training step with noise that compares moments, with a penalty.
    fn record_noisy_training(gpu: &Gpu, method: Method, at: PenaltyAt) -> crate::Result<()> {
        let network = Mlp::new([3, 4, 3]);
        let diffusion = Diffusion::new(network.clone(), method.tableau().noise.expect("noise").calculus);
        let options = SolverOptions::sde(Tolerances::both(1e-2)).method(method);
        let model = NeuralDe::new(Problem::sde(network, diffusion, 0.0, 1.0), options);
        let local = Local { at, ..Local::published_unbiased_sde() }.gradient(PenaltyGradient::Full).times(2);
        let both = Regularizer::from(local).and(Global::error());
        let config = TrainerConfig::new(model, Loss::Moments).regularizer(both);
        let mut trainer = GpuTrainer::new(gpu, config)?;
        let target = Target::Moments { means: &[0.0; 3], variances: &[1.0; 3] };
        gpu.block_on(trainer.step(&Batch { inputs: &[0.5; 12], target }))?;
        Ok(())
    }

    /// Records and submits a training step of a flow.
    fn record_flow(gpu: &Gpu) -> crate::Result<()> {
        let field = Field::from(Mlp::new([3, 4, 3])).with_log_density(Trace::Exact)?;
        let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), SolverOptions::default());
        let mut trainer = GpuTrainer::new(gpu, TrainerConfig::new(model, Loss::NegativeLogLikelihood))?;
        gpu.block_on(async {
            trainer.step(&Batch { inputs: &[0.5; 15], target: Target::Nothing }).await?;
            let data = trainer.upload(&[0.5; 15], Target::Nothing).await?;
            trainer.step_on(&data, &[4, 0, 2]).await?;
            trainer.sample(3, 0).await?;
            Ok(())
        })
    }

    /// Records and submits a training step whose initial states are drawn.
    fn record_latent(gpu: &Gpu) -> crate::Result<()> {
        let model = NeuralDe::new(Problem::ode(Mlp::new([3, 4, 3]), 0.0, 1.0), SolverOptions::default());
        let config = TrainerConfig::new(model.encoder(3).latent(), Loss::Mse);
        for elbo in [Elbo::default(), Elbo::default().samples(2).reduction(Reduction::Sum).importance()] {
            let mut trainer = GpuTrainer::new(gpu, config.clone().elbo(elbo))?;
            gpu.block_on(trainer.step(&Batch { inputs: &[0.5; 15], target: Target::States(&[0.5; 15]) }))?;
        }
        Ok(())
    }

    #[test]
    fn everything_records_on_a_device_with_the_default_limits() {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let gpu = Gpu::from_wgpu(&device, &queue).expect("WebGPU's default limits are enough");
        let descriptor = wgpu::DeviceDescriptor { required_features: wgpu::Features::SHADER_F16, ..Default::default() };
        let (device, queue) = wgpu::Device::noop(&descriptor);
        let narrow = Gpu::from_wgpu(&device, &queue).expect("WebGPU's default limits are enough");
        let mut failures = Vec::new();
        for method in Method::ODE {
            for layout in [Layout::Lockstep, Layout::Ensemble] {
                for at in [PenaltyAt::Unbiased, PenaltyAt::Biased] {
                    let estimates = method.tableau().b_error.is_some();
                    let step = if at == PenaltyAt::Biased { PenaltyStep::FreshInitial } else { PenaltyStep::Ideal };
                    let local = Local { at, ..Local::unbiased() }.step(step).times(2).fraction(0.5);
                    let local = local.gradient(PenaltyGradient::Full);
                    let stiff = method.tableau().stability_size.is_some() && at == PenaltyAt::Biased;
                    let local = if stiff { local.measure(Measure::Stiffness) } else { local };
                    let points = PointMeasure::ALL.iter().fold(Regularizer::None, |all, measure| {
                        let point = Pointwise::new(*measure);
                        all.and(match at {
                            PenaltyAt::Unbiased => point.gradient(PenaltyGradient::Full).times(2),
                            PenaltyAt::Biased => point.quadrature(),
                        })
                    });
                    let both = Regularizer::from(local).and(Global::step_count()).and(points.clone());
                    let regularizer = if estimates { both } else { points };
                    // Four features are few enough for trajectories to be solved whole, five are not.
                    let width = if at == PenaltyAt::Biased { 5 } else { 4 };
                    let field = Mlp::new([width, 6, width]).activation(Activation::Gelu).time_input(TimeInput::Every);
                    let field = if estimates { field } else { field.input_map(InputMap::Cube) };
                    let mut options = SolverOptions::default().method(method).layout(layout);
                    if !estimates {
                        options = options.step_control(StepControl::Fixed { steps: 3 });
                    }
                    options = options.save_at(SaveAt::Times(vec![0.0, 0.3, 1.0]));
                    let loss = if estimates { Loss::CrossEntropy } else { Loss::Mse };
                    let outputs = if estimates { 3 } else { 2 };
                    let mut options = if estimates { options } else { options.save_at(SaveAt::End) };
                    if estimates && layout == Layout::Ensemble {
                        options = options.atol_per_feature(vec![1e-5; width]);
                    }
                    let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options).encoder(3).head(outputs);
                    let config =
                        TrainerConfig::new(model, loss).regularizer(regularizer).optimizer(Optimizer::adamw(1e-3, 0.1));
                    if let Err(error) = record(&gpu, config.clone(), false) {
                        failures.push(format!("{method} {layout:?} {at:?}: {error}"));
                    }
                    if let Err(error) = record(&narrow, config, true) {
                        failures.push(format!("{method} {layout:?} {at:?}, weights at 16 bits: {error}"));
                    }
                }
            }
        }
        if let Err(error) = record_tiles(&gpu) {
            failures.push(format!("tiles: {error}"));
        }
        if let Err(error) = record_flow(&gpu) {
            failures.push(format!("a flow: {error}"));
        }
        if let Err(error) = record_latent(&gpu) {
            failures.push(format!("drawn initial states: {error}"));
        }
        for (gpu, half) in [(&gpu, false), (&narrow, true)] {
            if let Err(error) = record_written(gpu, half) {
                failures.push(format!("a field that was written out: {error}"));
            }
            // Between an encoder and a head that were written out too.
            let model = NeuralDe::new(Problem::ode(fields::residual(5), 0.0, 1.0), SolverOptions::default());
            let model = model.encoder(Mlp::new([3, 6, 5]).output_activation(Activation::Relu)).head(fields::gated(5));
            let config = TrainerConfig::new(model, Loss::CrossEntropy);
            if let Err(error) = record(gpu, config, half) {
                failures.push(format!("an encoder that was written out: {error}"));
            }
            let problem = Problem::ode(fields::residual(5), 0.0, 1.0);
            let series = Recurrent::gru(3, 1, 6).expect("a cell").out(Mlp::new([6, 5]));
            let model = NeuralDe::new(problem, SolverOptions::default()).encoder(series).head(3);
            if let Err(error) = record(gpu, TrainerConfig::new(model, Loss::CrossEntropy), half) {
                failures.push(format!("an encoder of series: {error}"));
            }
        }
        for method in Method::SDE {
            for layout in [Layout::Lockstep, Layout::Ensemble] {
                let at = if layout == Layout::Lockstep { PenaltyAt::Unbiased } else { PenaltyAt::Biased };
                let estimates = method.tableau().b_error.is_some();
                if let Err(error) = if estimates { record_noisy_training(&gpu, method, at) } else { Ok(()) } {
                    failures.push(format!("training with {method} {at:?}: {error}"));
                }
                if let Err(error) = record_noise(&gpu, method, layout) {
                    failures.push(format!("{method} {layout:?}: {error}"));
                }
            }
        }
        none(&failures);
        let compiled =
            |gpu: &Gpu| -> BTreeSet<&str> { gpu.cache.lock().expect("no panic before").keys().map(|k| k.0).collect() };
        let compiled = &compiled(&gpu) | &compiled(&narrow);
        let unused: Vec<_> = ALL.iter().map(|k| k.name).filter(|name| !compiled.contains(name)).collect();
        assert!(unused.is_empty(), "kernels that nothing recorded: {unused:?}");
    }
}
