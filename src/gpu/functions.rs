//! The shaders' functions on the device against the truth at `f64`, and their integers against the host's.

use wgpu::util::DeviceExt;

use super::Gpu;
use super::adapter::gpu;
use super::kernel::MODULES;
use super::print;
use super::wire::modes;
use super::wire::records::TICKS;
use crate::math::{Real, philox4x32};
use crate::problem::brownian::counter;
use crate::problem::program::function::Function;
use crate::problem::program::operation::{Arithmetic, Number};
use crate::problem::{Activation, Brownian, Paths};

/// Applies `body` to each record of `IN` words at `x`, which leaves `OUT` words at `y`; once with all run-time checks
/// and once with none, which must agree to the bit.
fn apply<const IN: usize, const OUT: usize>(
    gpu: &Gpu,
    libraries: &[&str],
    body: &str,
    input: &[[u32; IN]],
) -> Vec<[u32; OUT]> {
    let mut text = String::new();
    for name in libraries {
        let library = MODULES.iter().find(|m| m.name == *name).expect("a library file");
        text += library.source;
    }
    text += &format!(
        "@group(0) @binding(0) var<storage, read> input_: array<array<u32, {IN}>>;
         @group(0) @binding(1) var<storage, read_write> output_: array<array<u32, {OUT}>>;
         fn f(x: array<u32, {IN}>) -> array<u32, {OUT}> {{ var y: array<u32, {OUT}>; {body} return y; }}
         @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
             if id.x < arrayLength(&input_) {{ output_[id.x] = f(input_[id.x]); }}
         }}"
    );
    let device = &gpu.device;
    let descriptor =
        || wgpu::ShaderModuleDescriptor { label: None, source: wgpu::ShaderSource::Wgsl(text.clone().into()) };
    let checked = device.create_shader_module(descriptor());
    // SAFETY: the only index is bounded by the array's length, and the libraries' loops count.
    let unchecked =
        unsafe { device.create_shader_module_trusted(descriptor(), wgpu::ShaderRuntimeChecks::unchecked()) };
    let [a, b] = [checked, unchecked].map(|module| run::<IN, OUT>(gpu, &module, input));
    assert!(a == b, "{body} depends on run-time checks");
    a
}

fn run<const IN: usize, const OUT: usize>(
    gpu: &Gpu,
    module: &wgpu::ShaderModule,
    input: &[[u32; IN]],
) -> Vec<[u32; OUT]> {
    let device = &gpu.device;
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let buffer = |contents: &[u8], usage| {
        device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
    };
    let from = buffer(bytemuck::cast_slice(input.as_flattened()), wgpu::BufferUsages::STORAGE);
    let zeros = vec![0u8; 4 * OUT * input.len()];
    let to = buffer(&zeros, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let host = buffer(&zeros, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: from.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: to.as_entire_binding() },
        ],
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bindings, &[]);
        pass.dispatch_workgroups(u32::try_from(input.len().div_ceil(64)).expect("few records"), 1, 1);
    }
    encoder.copy_buffer_to_buffer(&to, 0, &host, 0, to.size());
    gpu.queue.submit([encoder.finish()]);
    let bytes = host.size();
    let readback = super::device::readback::Readback::new(gpu, host, bytes);
    let (words, _): (Vec<u32>, _) = gpu.block_on(readback.read(gpu, bytemuck::pod_collect_to_vec)).expect("a device");
    words.as_chunks().0.to_vec()
}

/// Fails with the first of all that was found, and their number.
fn none(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures[..failures.len().min(20)].join("\n"));
}

/// Whether an error is above its bound, or not a number.
fn beyond(error: f64, bound: f64) -> bool {
    error.is_nan() || error > bound
}

/// From one end of the reals to the other: 1e-30 to 1e30 on a logarithmic grid, both signs; the range in which functions
/// turn, densely; zeros and denormal numbers.
fn finite_numbers() -> Vec<f32> {
    let grid = (-300..=300).map(|i| 10f64.powf(f64::from(i) / 10.0)).flat_map(|x| [x, -x]);
    let dense = (-22_000..=22_000).map(|i| f64::from(i) / 200.0);
    let tiny = [0.0, -0.0, 1e-45, -1e-45, 1e-40, -1e-40, 1.1e-38, -1.1e-38].map(|x: f32| f64::from(x));
    grid.chain(dense).chain(tiny).map(|x| x as f32).collect()
}

/// All kinds of NaN: both signs, quiet and signalling, first and last payload.
const NANS: [u32; 6] = [0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xff80_0001, 0x7fff_ffff, 0xffff_ffff];

/// WGSL lets a device take denormal numbers for zeros, and round their like to them.
const DENORMAL: f64 = 1.2e-38;

#[test]
fn elementary_functions_are_right_everywhere() {
    let Some(gpu) = gpu() else { return };
    type Function = (&'static str, fn(f64) -> f64, f64, fn(f32) -> bool);
    // The twins' bounds, and half an ulp more: WGSL lets a device round twice in `fma`.
    let twice = 0.5 * f64::from(f32::EPSILON);
    let functions: [Function; 5] = [
        ("own_exp", f64::exp, 8e-8, |x| (-87.336_54..88.722_83).contains(&x)),
        ("own_exp2", f64::exp2, 8e-8, |x| (-126.0..127.999_99).contains(&x)),
        ("own_log2", f64::log2, 1.5e-7, |x| x >= f32::MIN_POSITIVE),
        ("own_ln_1p_unit", f64::ln_1p, 1.4e-7, |x| (0.0..=1.0).contains(&x)),
        ("own_tanh", f64::tanh, 3e-7, |_| true),
    ];
    let points = finite_numbers();
    let mut failures = Vec::new();
    for (name, truth, bound, within) in functions {
        let input: Vec<[u32; 1]> = points.iter().map(|x| [x.to_bits()]).chain(NANS.map(|x| [x])).collect();
        let body = format!("y[0] = bitcast<u32>({name}(bitcast<f32>(x[0])));");
        let found = apply::<1, 1>(&gpu, &["elementary"], &body, &input);
        let mut worst = 0f64;
        for (&x, [y]) in points.iter().zip(&found) {
            let y = f32::from_bits(*y);
            let expected = truth(f64::from(x));
            let bound = bound + twice;
            if within(x) {
                let error = (f64::from(y) - expected).abs();
                worst = worst.max((error - DENORMAL) / expected.abs().max(1e-300));
                if beyond(error, bound * expected.abs() + DENORMAL) {
                    failures.push(format!("{name}({x:e}) = {y:e}, expected {expected:e}"));
                }
            }
            // The polynomial of `ln_1p` is for shares alone.
            if !y.is_finite() && name != "own_ln_1p_unit" {
                failures.push(format!("{name}({x:e}) = {y:e}"));
            }
            if name == "own_tanh" && y.abs() > 1.0 {
                failures.push(format!("tanh({x:e}) = {y:e} is beyond 1"));
            }
        }
        println!("{name}: largest relative error {worst:.2e}, bound {:.2e}", bound + twice);
        for ([y], x) in found[points.len()..].iter().zip(NANS) {
            if !f32::from_bits(*y).is_nan() {
                failures.push(format!("{name}(NaN {x:08x}) = {:e}", f32::from_bits(*y)));
            }
        }
    }
    none(&failures);
}

#[test]
fn elementary_functions_stay_at_their_ends() {
    let Some(gpu) = gpu() else { return };
    let (inf, low) = (f32::INFINITY, f32::MIN_POSITIVE);
    let cases = [
        ("own_exp", -1e30, Real::exp(-88f32)),
        ("own_exp", -inf, Real::exp(-88f32)),
        ("own_exp", inf, Real::exp(89f32)),
        ("own_exp", 0.0, 1.0),
        ("own_exp2", -inf, low),
        ("own_exp2", inf, Real::exp2(128f32)),
        ("own_exp2", -126.0, low),
        ("own_exp2", 13.0, 8192.0),
        ("own_log2", 0.0, -126.0),
        ("own_log2", -0.0, -126.0),
        ("own_log2", -1.0, -126.0),
        ("own_log2", -inf, -126.0),
        ("own_log2", 1e-40, -126.0),
        ("own_log2", 1.0, 0.0),
        ("own_log2", 1024.0, 10.0),
        ("own_log2", inf, 128.0),
        ("own_tanh", 8.31, 1.0),
        ("own_tanh", -8.31, -1.0),
        ("own_tanh", 1e30, 1.0),
        ("own_tanh", inf, 1.0),
        ("own_tanh", -inf, -1.0),
    ];
    let mut failures = Vec::new();
    for (name, x, expected) in cases {
        let body = format!("y[0] = bitcast<u32>({name}(bitcast<f32>(x[0])));");
        let [[y]] = apply::<1, 1>(&gpu, &["elementary"], &body, &[[x.to_bits()]])[..] else { unreachable!() };
        if f32::from_bits(y) != expected {
            failures.push(format!("{name}({x:e}) = {:e}, expected {expected:e}", f32::from_bits(y)));
        }
    }
    none(&failures);
}

/// The infinities, and the largest numbers.
const ENDS: [f32; 4] = [f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN];

/// Whether `y` is not `expected`: another kind of number, another infinity, or off by more than `bound`.
fn fault(y: f32, expected: f64, bound: f64) -> bool {
    let rounded = expected as f32;
    match rounded {
        _ if rounded.is_nan() => !y.is_nan(),
        _ if rounded.is_infinite() => y != rounded,
        _ => beyond((f64::from(y) - expected).abs(), bound),
    }
}

#[test]
fn functions_of_equations_are_right_everywhere() {
    let Some(gpu) = gpu() else { return };
    /// A function, the truth, the bounds of its relative and of its absolute error, and where they hold.
    type Function = (&'static str, fn(f64) -> f64, f64, f64, fn(f32) -> bool);
    // As above: half an ulp more than the twins', and denormal arguments may be zeros.
    let twice = 0.5 * f64::from(f32::EPSILON);
    let normal = |x: f32| !x.is_subnormal();
    let near = |x: f32| !(x.abs() > 1e5 && x.is_finite());
    let functions: [Function; 6] = [
        ("own_exp_full", f64::exp, 8e-8 + twice, DENORMAL, |_| true),
        ("own_ln", f64::ln, 8.5e-8 + twice, 0.0, normal),
        ("own_sin", f64::sin, 0.0, 1.5e-7, near),
        ("own_cos", f64::cos, 0.0, 1.5e-7, near),
        ("own_recip", f64::recip, 3.0 * f64::from(f32::EPSILON), DENORMAL, normal),
        ("own_sqrt", f64::sqrt, 3.0 * f64::from(f32::EPSILON), 0.0, normal),
    ];
    // Beside multiples of pi / 2 little is left of an angle.
    let angles = (1..63_000).step_by(5).map(|n| (f64::from(n) * std::f64::consts::FRAC_PI_2) as f32);
    let angles = angles.flat_map(|x| [x.next_down(), -x, x.next_up()]);
    let points = finite_numbers().into_iter().chain(angles).chain(ENDS).chain(NANS.map(f32::from_bits));
    let points: Vec<f32> = points.collect();
    let input: Vec<[u32; 1]> = points.iter().map(|x| [x.to_bits()]).collect();
    let mut failures = Vec::new();
    for (name, truth, relative, absolute, within) in functions {
        let body = format!("y[0] = bitcast<u32>({name}(bitcast<f32>(x[0])));");
        let found = apply::<1, 1>(&gpu, &["elementary", "ieee"], &body, &input);
        let mut worst = 0f64;
        for (&x, [y]) in points.iter().zip(&found) {
            let (y, expected) = (f32::from_bits(*y), truth(f64::from(x)));
            let wrong = if within(x) {
                let share = (f64::from(y) - expected).abs() / (relative * expected.abs() + absolute);
                worst = worst.max(if share.is_finite() { share } else { 0.0 });
                fault(y, expected, relative * expected.abs() + absolute)
            } else {
                // Of denormal numbers and of angles far out: that of zero at the worst, or of some angle.
                let zero = truth(f64::from(0f32.copysign(x))) as f32;
                let other = if name == "own_sin" || name == "own_cos" { y.abs() <= 1.0 } else { y == zero };
                !other && fault(y, expected, 1e-6 * expected.abs())
            };
            if wrong {
                failures.push(format!("{name}({x:e}, {:08x}) = {y:e}, expected {expected:e}", x.to_bits()));
            }
        }
        println!("{name}: largest error {worst:.2} of its bound");
    }
    none(&failures);
}

#[test]
fn angles_far_out_count_as_zero() {
    let Some(gpu) = gpu() else { return };
    let input: Vec<[u32; 1]> = [6.5e6, -6.5e6, 1e7, 1e20, -1e30, f32::MAX].map(|x: f32| [x.to_bits()]).to_vec();
    let body = "let v = bitcast<f32>(x[0]); y[0] = bitcast<u32>(own_sin(v)); y[1] = bitcast<u32>(own_cos(v));";
    for ([x], y) in input.iter().zip(apply::<1, 2>(&gpu, &["elementary", "ieee"], body, &input)) {
        assert_eq!(y.map(f32::from_bits), [0.0, 1.0], "sine and cosine of {:e}", f32::from_bits(*x));
    }
}

#[test]
fn quotients_have_the_ends_of_ieee() {
    let Some(gpu) = gpu() else { return };
    let sizes = [0.0, f32::MIN_POSITIVE, 1e-30, 1e-3, 1.0, 3.0, 1e3, 1e30, 1.7e38, f32::MAX, f32::INFINITY, f32::NAN];
    let all = sizes.into_iter().flat_map(|x| [x, -x]).map(f32::to_bits).chain(NANS);
    let input: Vec<[u32; 2]> = all.clone().flat_map(|a| all.clone().map(move |b| [a, b])).collect();
    let body = "y[0] = bitcast<u32>(own_divide(bitcast<f32>(x[0]), bitcast<f32>(x[1])));";
    let mut failures = Vec::new();
    for (x, [y]) in input.iter().zip(apply::<2, 1>(&gpu, &["elementary", "ieee"], body, &input)) {
        let ([a, b], y) = (x.map(f32::from_bits), f32::from_bits(y));
        let expected = f64::from(a) / f64::from(b);
        let signed = y.is_nan() || expected == 0.0 || y.is_sign_negative() == expected.is_sign_negative();
        if !signed || fault(y, expected, 3.0 * f64::from(f32::EPSILON) * expected.abs() + DENORMAL) {
            failures.push(format!("{a:e} / {b:e} = {y:e}, expected {expected:e}"));
        }
    }
    none(&failures);
}

/// The libraries of printed operations.
const OF_PROGRAMS: [&str; 4] = ["elementary", "ieee", "activation", "functions"];

#[test]
fn printed_functions_are_their_definitions() {
    let Some(gpu) = gpu() else { return };
    // With the places where slopes jump and where values are infinite, or none.
    let grid = (-400..=400).map(|i| i as f32 / 16.0);
    let points: Vec<f32> = grid.chain([-0.0, 1e-3, -1e-3, 80.0, -80.0, 1e4, -1e4, f32::NAN]).collect();
    let input: Vec<[u32; 1]> = points.iter().map(|x| [x.to_bits()]).collect();
    let mut failures = Vec::new();
    for f in Function::ALL {
        let [value, slope] = [print::map(f, "v"), print::slope(f, "v")];
        let body = format!("let v = bitcast<f32>(x[0]); y[0] = bitcast<u32>({value}); y[1] = bitcast<u32>({slope});");
        for (&x, found) in points.iter().zip(apply::<1, 2>(&gpu, &OF_PROGRAMS, &body, &input)) {
            let (value, slope) = f.definition(f64::from(x));
            // No value is none, of `max(x, 0)` too.
            let value = if x.is_nan() { f64::NAN } else { value };
            for (name, found, expected) in [("", found[0], value), ("'", found[1], slope)] {
                let found = f32::from_bits(found);
                if fault(found, expected, 3e-6 * expected.abs().max(0.3)) {
                    failures.push(format!("{}{name}({x}) = {found:e}, expected {expected:e}", f.name()));
                }
            }
        }
    }
    none(&failures);
}

#[test]
fn printed_arithmetic_is_that_of_programs() {
    let Some(gpu) = gpu() else { return };
    let numbers = [0.0, -0.0, 1.0, -1.0, 1.5, 3e-5, -7e7, 1e30, -1e30, f32::INFINITY, f32::NAN];
    let pairs: Vec<[f32; 2]> = numbers.iter().flat_map(|a| numbers.map(|b| [*a, b])).collect();
    let input: Vec<[u32; 2]> = pairs.iter().map(|pair| pair.map(f32::to_bits)).collect();
    let mut failures = Vec::new();
    for op in Arithmetic::ALL {
        let body = format!(
            "let a = bitcast<f32>(x[0]); let b = bitcast<f32>(x[1]); y[0] = bitcast<u32>({});",
            print::zip(op, "a", "b")
        );
        for (&[a, b], [y]) in pairs.iter().zip(apply::<2, 1>(&gpu, &OF_PROGRAMS, &body, &input)) {
            let (y, expected) = (f32::from_bits(y), op.apply(f64::from(a), f64::from(b)));
            if fault(y, expected, 3e-7 * expected.abs()) {
                failures.push(format!("{a:e} {} {b:e} = {y:e}, expected {expected:e}", op.name()));
            }
        }
    }
    none(&failures);
}

/// Literals that come to infinity, or to nothing, are no constants that a compiler refuses.
#[test]
fn quotients_of_literals_are_left_to_the_device() {
    let Some(gpu) = gpu() else { return };
    let [one, zero] = [1.0, 0.0].map(|x| print::number(Number(x)));
    let body = format!(
        "y[0] = bitcast<u32>({}); y[1] = bitcast<u32>({});",
        print::zip(Arithmetic::Div, &one, &zero),
        print::map(Function::Recip, &zero),
    );
    let found = apply::<1, 2>(&gpu, &OF_PROGRAMS, &body, &[[0]]);
    assert!(found[0].iter().all(|y| f32::from_bits(*y) == f32::INFINITY), "{found:?}");
}

#[test]
fn numbers_that_are_not_finite_are_found_by_their_bits() {
    let Some(gpu) = gpu() else { return };
    let input: Vec<[u32; 1]> = finite_numbers()
        .iter()
        .chain(&[f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY])
        .map(|x| [x.to_bits()])
        .chain(NANS.map(|x| [x]))
        .collect();
    let body = "let v = bitcast<f32>(x[0]); y[0] = select(0u, 1u, is_finite(v)); y[1] = select(0u, 1u, is_nan(v));";
    let found = apply::<1, 2>(&gpu, &["elementary"], body, &input);
    for ([x], found) in input.iter().zip(found) {
        let x = f32::from_bits(*x);
        assert_eq!(found, [u32::from(x.is_finite()), u32::from(x.is_nan())], "{x:e}, {:08x}", x.to_bits());
    }
}

#[test]
fn activations_and_derivatives_are_right_everywhere() {
    let Some(gpu) = gpu() else { return };
    let points = finite_numbers();
    let body = "let p = activate(x[0], bitcast<f32>(x[1])); y[0] = bitcast<u32>(p.x); y[1] = bitcast<u32>(p.y);";
    let mut failures = Vec::new();
    for kind in Activation::ALL {
        let number = modes::Activation::from(kind) as u32;
        let input: Vec<[u32; 2]> =
            points.iter().map(|x| [number, x.to_bits()]).chain(NANS.map(|x| [number, x])).collect();
        let found = apply::<2, 2>(&gpu, &["elementary", "activation"], body, &input);
        let mut worst = [0f64; 2];
        for (&x, pair) in points.iter().zip(&found) {
            let [y, dy] = pair.map(|bits| f64::from(f32::from_bits(bits)));
            let x = f64::from(x);
            let (f, df) = kind.definition(x);
            // The native engine's bounds.
            let scale = f.abs() + (x * df).abs();
            let (error, mut d_error) = ((y - f).abs(), (dy - df).abs());
            // A card may take a subnormal number for 0, where a corner has the other side's slope.
            if x.abs() < f64::from(f32::MIN_POSITIVE) {
                d_error = d_error.min((dy - kind.definition(0.0).1).abs());
            }
            worst[0] = worst[0].max((error - 2e-36) / scale.max(1e-300));
            worst[1] = worst[1].max(d_error);
            if beyond(error, 1e-6 * scale + 2e-36) || beyond(d_error, 2e-6) {
                failures.push(format!("{kind:?}({x:e}) = {y:e}, {dy:e}; expected {f:e}, {df:e}"));
            }
        }
        println!("{kind:?}: relative error {:.2e}, derivative off by {:.2e}", worst[0], worst[1]);
        for (pair, bits) in found[points.len()..].iter().zip(NANS) {
            let [y, dy] = pair.map(f32::from_bits);
            // The derivatives of these two do not depend on where they are.
            let constant = matches!(kind, Activation::Identity | Activation::Relu);
            if !y.is_nan() || !(dy.is_nan() || constant) {
                failures.push(format!("{kind:?}(NaN {bits:08x}) = {y:e}, {dy:e}"));
            }
        }
    }
    none(&failures);
}

#[test]
fn activations_at_infinity_have_their_limits() {
    let Some(gpu) = gpu() else { return };
    let body = "y[0] = bitcast<u32>(activate(x[0], bitcast<f32>(x[1])).x);";
    let mut failures = Vec::new();
    for kind in Activation::ALL {
        for x in [f32::INFINITY, f32::NEG_INFINITY] {
            let input = [[modes::Activation::from(kind) as u32, x.to_bits()]];
            let [[y]] = apply::<2, 1>(&gpu, &["elementary", "activation"], body, &input)[..] else { unreachable!() };
            let y = f32::from_bits(y);
            let right = x > 0.0;
            let limit = match kind {
                Activation::Tanh => x.signum(),
                Activation::Sigmoid => f32::from(u8::from(right)),
                Activation::Identity => x,
                _ if right => x,
                _ => 0.0,
            };
            if !(y == limit || (y - limit).abs() <= 2e-36) {
                failures.push(format!("{kind:?}({x}) = {y:e}, its limit is {limit}"));
            }
        }
    }
    none(&failures);
}

/// Words that are spread over all there are, with the extreme ones first.
fn words(n: u32) -> impl Iterator<Item = u32> {
    let extreme = [0, 1, 2, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
    extreme.into_iter().chain((0..n).map(|i| philox4x32([i, 7, 0, 0], [1, 2])[0]))
}

#[test]
fn random_integers_are_those_of_the_host() {
    let Some(gpu) = gpu() else { return };
    let all: Vec<u32> = words(60_000).collect();
    let mut input: Vec<[u32; 6]> = all.as_chunks().0.to_vec();
    // Counters as they come: a few words, and their neighbours.
    input.extend((0..4000).map(|i| [i, i % 7, i / 3, 2, 42, i % 5]));
    let body = "let r = philox4x32(vec4<u32>(x[0], x[1], x[2], x[3]), vec2<u32>(x[4], x[5]));
        for (var i = 0u; i < 4u; i++) { y[i] = r[i]; }";
    let found = apply::<6, 4>(&gpu, &["philox"], body, &input);
    for (x, y) in input.iter().zip(found) {
        let [a, b, c, d, key @ ..] = *x;
        assert_eq!(y, philox4x32([a, b, c, d], key), "counter {:x?}, key {key:x?}", [a, b, c, d]);
    }
}

#[test]
fn products_of_words_are_exact() {
    let Some(gpu) = gpu() else { return };
    let all: Vec<u32> = words(4000).collect();
    let input: Vec<[u32; 2]> = all.iter().flat_map(|a| all[..40].iter().map(|b| [*a, *b])).collect();
    let body = "let p = wide_product(x[0], x[1]); y[0] = p.x; y[1] = p.y;";
    for (x, [high, low]) in input.iter().zip(apply::<2, 2>(&gpu, &["philox"], body, &input)) {
        let product = u64::from(x[0]) * u64::from(x[1]);
        assert_eq!((u64::from(high) << 32) | u64::from(low), product, "{:x} times {:x}", x[0], x[1]);
    }
}

const fn halves(x: u64) -> [u32; 2] {
    [(x >> 32) as u32, x as u32]
}

const fn whole([high, low]: [u32; 2]) -> u64 {
    ((high as u64) << 32) | low as u64
}

#[test]
fn ticks_count_as_64_bit_integers_do() {
    let Some(gpu) = gpu() else { return };
    let all: Vec<u32> = words(8000).collect();
    let mut input: Vec<[u32; 4]> = all.as_chunks().0.to_vec();
    // Carries and borrows, and equal numbers.
    let edges = [0, 1, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, (1 << 63) - 1, 1 << 63, u64::MAX];
    for a in edges {
        for b in edges {
            let ([a, b], [c, d]) = (halves(a), halves(b));
            input.push([a, b, c, d]);
        }
    }
    let body = "let a = vec2<u32>(x[0], x[1]); let b = vec2<u32>(x[2], x[3]);
        let s = ticks_add(a, b); let d = ticks_sub(a, b);
        y = array<u32, 6>(s.x, s.y, d.x, d.y, select(0u, 1u, ticks_less(a, b)), select(0u, 1u, ticks_equal(a, b)));";
    for (x, y) in input.iter().zip(apply::<4, 6>(&gpu, &["time"], body, &input)) {
        let (a, b) = (whole([x[0], x[1]]), whole([x[2], x[3]]));
        let [s, d] = [a.wrapping_add(b), a.wrapping_sub(b)].map(halves);
        let expected = [s[0], s[1], d[0], d[1], u32::from(a < b), u32::from(a == b)];
        assert_eq!(y, expected, "{a:x} and {b:x}: sum, difference, less, equal");
    }
}

#[test]
fn shares_of_the_interval_are_ticks_and_back() {
    let Some(gpu) = gpu() else { return };
    // Shares of at least 2^-39 become ticks exactly, and come back to the bit.
    let shares: Vec<f32> = (0..4000)
        .map(|i| 2f64.powf(-39.0 * f64::from(i) / 4000.0) as f32)
        .chain([1.0, 0.5, 1.0 - f32::EPSILON / 2.0, 2f32.powi(-39), 1e-3, 1.999])
        .collect();
    let body = "let t = share_to_ticks(bitcast<f32>(x[0]));
        y = array<u32, 3>(t.x, t.y, bitcast<u32>(ticks_to_share(t)));";
    let input: Vec<[u32; 1]> = shares.iter().map(|x| [x.to_bits()]).collect();
    for (share, [high, low, back]) in shares.iter().zip(apply::<1, 3>(&gpu, &["time"], body, &input)) {
        let ticks = (f64::from(*share) * TICKS) as u64;
        assert_eq!(whole([high, low]), ticks, "{share:e} as ticks");
        assert_eq!(f32::from_bits(back), *share, "{share:e} from ticks");
    }
    // Any number of ticks is a share to a rounding or two.
    let all: Vec<u32> = words(8000).map(|w| w >> 1).collect();
    let input: Vec<[u32; 2]> = all.as_chunks().0.to_vec();
    let body = "y[0] = bitcast<u32>(ticks_to_share(vec2<u32>(x[0], x[1])));";
    for (x, [y]) in input.iter().zip(apply::<2, 1>(&gpu, &["time"], body, &input)) {
        let (found, share) = (f64::from(f32::from_bits(y)), whole(*x) as f64 / TICKS);
        assert!((found - share).abs() <= 1.2e-7 * share, "{x:x?} is {share:e}, not {found:e}");
    }
}

/// What the functions of Brownian motion are composed of.
const BROWNIAN: [&str; 3] = ["elementary", "philox", "brownian"];

/// Records of `[seed, seed, trajectory, channel, ...]`, as a body for [`apply`] begins.
const PAIR: &str = "let pair = Pair(vec2<u32>(x[0], x[1]), x[2], x[3] / 2u, bitcast<f32>(x[6]));";

#[test]
fn normal_numbers_are_those_of_f64() {
    let Some(gpu) = gpu() else { return };
    let ends = [0, 1, 2, (1 << 31) - 1, 1 << 31, u32::MAX - 1, u32::MAX];
    let eighths = (0..64u32).map(|i| [1 << 28, (i << 26).wrapping_sub(1)]);
    let all: Vec<u32> = words(100_000).collect();
    let mut input: Vec<[u32; 2]> = ends.iter().flat_map(|a| ends.map(|b| [*a, b])).chain(eighths).collect();
    input.extend_from_slice(all.as_chunks().0);
    let body = "let n = normal_pair(x[0], x[1]); y[0] = bitcast<u32>(n.x); y[1] = bitcast<u32>(n.y);";
    let mut worst = 0f64;
    for ([a, b], pair) in input.iter().zip(apply::<2, 2>(&gpu, &BROWNIAN, body, &input)) {
        let truth = f64::normal_pair(*a, *b);
        let r = truth[0].hypot(truth[1]);
        for (found, truth) in pair.into_iter().zip(truth) {
            let error = (f64::from(f32::from_bits(found)) - truth).abs() / r;
            assert!(!beyond(error, 1e-6), "words {a:x}, {b:x}: {:e}, not {truth:e}", f32::from_bits(found));
            worst = worst.max(error);
        }
    }
    println!("normal_pair: largest error {worst:.2e} of the radius");
}

#[test]
fn random_words_of_a_path_are_those_of_the_host() {
    let Some(gpu) = gpu() else { return };
    let input: Vec<[u32; 7]> = words(9000).collect::<Vec<u32>>().as_chunks().0.to_vec();
    let body = format!("{PAIR} let w = brownian_words(pair, x[4], x[5]); y = array<u32, 4>(w.x, w.y, w.z, w.w);");
    for (x, found) in input.iter().zip(apply::<7, 4>(&gpu, &BROWNIAN, &body, &input)) {
        let [low, high, trajectory, channel, cell, node, _] = *x;
        let counter = counter(cell, node, trajectory, channel / 2);
        assert_eq!(found, philox4x32(counter, [low, high]), "{x:x?}");
    }
}

/// Random intervals of ticks, of every size that a step has, some of whole cells and of single ticks.
fn intervals(count: u32) -> Vec<[u32; 2]> {
    let end = 1u32 << 30;
    let random = (0..count).map(|i| {
        let [a, b, ..] = philox4x32([i, 3, 0, 0], [5, 6]);
        let length = (1 + b % (end - 1)) >> (i % 30);
        // On a grain that grows with the length, as steps have it, or on none.
        let grain = if i % 3 == 0 { 1 } else { (length / 16).max(1).next_power_of_two() };
        let from = (a % end) / grain * grain;
        [from, (from.saturating_add(length.max(grain)) / grain * grain).clamp(from + 1, end)]
    });
    let cell = 1 << 24;
    let special = [[0, end], [0, 1], [end - 1, end], [3 * cell, 4 * cell], [cell - 1, cell + 1], [cell / 2, 5 * cell]];
    random.chain(special).collect()
}

#[test]
fn increments_are_those_of_f64() {
    let Some(gpu) = gpu() else { return };
    let (t0, t1) = (0.25, 3.25);
    let seed = 0x1234_5678_9abc_def0;
    let path = Brownian::adaptive(Paths::new(seed), t0, t1);
    let tick = f32::to_bits((t1 - t0) as f32 / path.ticks() as f32);
    let [high, low] = halves(seed);
    let draws = intervals(600);
    let input: Vec<[u32; 7]> =
        draws.iter().zip(0..).map(|([a, b], i): (_, u32)| [low, high, i % 41, i % 5, *a, *b, tick]).collect();
    let body = format!(
        "{PAIR} let p = brownian_between(pair, x[4], x[5]);
        y[0] = bitcast<u32>(p.w[x[3] % 2u]); y[1] = bitcast<u32>(p.levy[x[3] % 2u]);"
    );
    let mut worst = 0f64;
    for (x, found) in input.iter().zip(apply::<7, 2>(&gpu, &BROWNIAN, &body, &input)) {
        let [s, t] = [x[4], x[5]].map(|tick| path.time(u64::from(tick)));
        let truth = path.increment::<f64>(x[2], x[3], s, t);
        let [w, levy] = found.map(|bits| f64::from(f32::from_bits(bits)));
        let error = (w - truth.w).abs().max((levy - truth.levy).abs()) / (t - s).sqrt();
        assert!(!beyond(error, 4e-6), "ticks {} to {}: {w}, {levy}, not {truth:?}", x[4], x[5]);
        worst = worst.max(error);
    }
    println!("increments: largest error {worst:.2e} of the root of the length");
}

#[test]
fn cells_are_drawn_directly() {
    let Some(gpu) = gpu() else { return };
    let cells = 1000;
    let path = Brownian::with_cells(Paths { seed: 9, first: 30 }, cells, 0.0, 2.0).expect("a number of cells");
    let h = f32::to_bits(2.0 / cells as f32);
    let input: Vec<[u32; 7]> = (0..cells as u32).map(|i| [9, 0, 30 + i % 7, i % 4, i, 0, h]).collect();
    let body = format!(
        "{PAIR} let p = brownian_draw(pair, x[4], 0u, pair.tick);
        y[0] = bitcast<u32>(p.w[x[3] % 2u]); y[1] = bitcast<u32>(p.levy[x[3] % 2u]);"
    );
    for (x, found) in input.iter().zip(apply::<7, 2>(&gpu, &BROWNIAN, &body, &input)) {
        let [s, t] = [x[4], x[4] + 1].map(|n| f64::from(n) * 2.0 / cells as f64);
        let truth = path.increment::<f64>(x[2] - 30, x[3], s, t);
        let [w, levy] = found.map(|bits| f64::from(f32::from_bits(bits)));
        let error = (w - truth.w).abs().max((levy - truth.levy).abs()) / (t - s).sqrt();
        assert!(!beyond(error, 4e-6), "cell {}: {w}, {levy}, not {truth:?}", x[4]);
    }
}

#[test]
fn fixed_steps_begin_cells() {
    let Some(gpu) = gpu() else { return };
    let mut input = Vec::new();
    for cells in [1u64, 3, 7, 1000, 65_537, (1 << 24) - 1, 1 << 24] {
        let length = (1 << 63) / cells;
        for word in words(100) {
            let cell = u64::from(word) % cells;
            let ([t, t_low], [d, d_low]) = (halves(cell * length), halves(length));
            input.push([t, t_low, d, d_low, u32::try_from(cell).expect("few cells")]);
        }
    }
    let body = "y[0] = path_cell(vec2<u32>(x[0], x[1]), vec2<u32>(x[2], x[3]));";
    for (x, [found]) in input.iter().zip(apply::<5, 1>(&gpu, &["time", "philox", "path"], body, &input)) {
        assert_eq!(found, x[4], "ticks {:x?}", &x[..4]);
    }
}
