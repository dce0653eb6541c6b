//! Brownian motion from its counters.

use super::integers::{halves, words};
use super::{apply, beyond};
use crate::gpu::adapter::gpu;
use crate::math::Real;
use crate::math::philox4x32;
use crate::problem::Brownian;
use crate::problem::Paths;
use crate::problem::brownian::counter;

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
