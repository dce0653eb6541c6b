//! The distribution of Brownian increments, bridges and Lévy areas, their independence, and what a query costs.

use fewsteps::{
    Brownian, Cpu, Diffusion, Method, Mlp, Paths, Problem, SaveAt, SavedTimes, Solver, SolverOptions, Tolerances,
};

/// Kolmogorov's statistic `sqrt(n) sup |F_n - F|` against the standard normal distribution; 1.9495 is its critical value
/// at 0.1 %.
fn kolmogorov(mut sample: Vec<f64>) -> f64 {
    sample.sort_by(f64::total_cmp);
    let n = sample.len() as f64;
    let gap = |(i, x): (usize, &f64)| {
        let f = normal_distribution(*x);
        (f - i as f64 / n).max((i as f64 + 1.0) / n - f)
    };
    sample.iter().enumerate().map(gap).fold(0.0, f64::max) * n.sqrt()
}

/// The normal distribution by the trapezoidal rule, which converges geometrically here.
fn normal_distribution(x: f64) -> f64 {
    let pieces = 400;
    let h = (x + 9.0) / f64::from(pieces);
    let density = |i: i32| (-0.5 * (h * f64::from(i) - 9.0).powi(2)).exp();
    let inner: f64 = (1..pieces).map(density).sum();
    h * (inner + 0.5 * (density(0) + density(pieces))) / std::f64::consts::TAU.sqrt()
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / a.len() as f64
}

const N: u32 = 20_000;
const CRITICAL: f64 = 1.9495;

fn normalised(path: &Brownian, channel: u32, s: f64, t: f64) -> [Vec<f64>; 2] {
    let h = t - s;
    let all = (0..N).map(|i| path.increment::<f64>(i, channel, s, t));
    let (w, levy): (Vec<f64>, Vec<f64>) = all.map(|x| (x.w / h.sqrt(), x.levy / (h / 12.0).sqrt())).unzip();
    [w, levy]
}

/// Intervals within a cell, across cells, of a tick's length, and all of it.
const INTERVALS: [[f64; 2]; 7] = [
    [0.0, 1.0],
    [0.125, 0.625],
    [0.2, 0.200_001],
    [0.015_624, 0.015_626],
    [0.3, 0.31],
    [0.0, 0.015_625],
    [0.75, 0.750_000_000_931_322_6],
];

#[test]
fn increments_and_areas_are_normal() {
    let path = Brownian::adaptive(Paths::new(5), 0.0, 1.0);
    let bound = 4.0 / f64::from(N).sqrt();
    for [s, t] in INTERVALS {
        for channel in [0, 1, 4] {
            let [w, levy] = normalised(&path, channel, s, t);
            let between = correlation(&w, &levy);
            assert!(between.abs() < bound, "area and increment over {s}..{t} are correlated: {between}");
            for (name, sample) in [("increment", w), ("area", levy)] {
                let statistic = kolmogorov(sample);
                assert!(statistic < CRITICAL, "{name} over {s}..{t}, channel {channel}: {statistic}");
            }
        }
    }
}

#[test]
fn bridges_are_normal_given_their_ends() {
    let path = Brownian::adaptive(Paths::new(6), 0.0, 1.0);
    for (a, m, b) in [(0.0, 0.5, 1.0), (0.3, 0.304, 0.31), (0.1, 0.1 + 1e-5, 0.2), (0.41, 0.413, 0.414)] {
        let [h1, h2] = [m - a, b - m];
        let h = h1 + h2;
        let bridge = (0..N).map(|i| {
            let whole = path.increment::<f64>(i, 2, a, b);
            let part = path.increment::<f64>(i, 2, a, m);
            // Given w and the area, the middle has mean w h1/h + 6 levy h1 h2 / h^2 (Foster 2020, theorem 6.1.4) and
            // variance h1 h2 (1 - 3 h1 h2 / h^2) / h.
            let share = h1 * h2 / (h * h);
            let mean = whole.w * h1 / h + 6.0 * whole.levy * share;
            (part.w - mean) / (h * share * (1.0 - 3.0 * share)).sqrt()
        });
        let statistic = kolmogorov(bridge.collect());
        assert!(statistic < CRITICAL, "bridge over {a}, {m}, {b}: {statistic}");
    }
}

#[test]
fn channels_trajectories_seeds_and_intervals_are_independent() {
    let path = Brownian::adaptive(Paths::new(7), 0.0, 1.0);
    let of = |path: &Brownian, channel, s, t| normalised(path, channel, s, t)[0].clone();
    let base = of(&path, 0, 0.25, 0.375);
    let next: Vec<f64> = (0..N).map(|i| path.increment::<f64>(i + 1, 0, 0.25, 0.375).w / 0.125f64.sqrt()).collect();
    let other = Brownian::adaptive(Paths::new(8), 0.0, 1.0);
    let cells = Brownian::with_cells(Paths::new(7), 8, 0.0, 1.0).expect("cells");
    let pairs = [
        ("its pair", of(&path, 1, 0.25, 0.375)),
        ("another pair", of(&path, 2, 0.25, 0.375)),
        ("the next trajectory", next),
        ("the interval after", of(&path, 0, 0.375, 0.5)),
        ("another seed", of(&other, 0, 0.25, 0.375)),
        ("other cells", of(&cells, 0, 0.5, 0.625)),
    ];
    let bound = 4.0 / f64::from(N).sqrt();
    for (name, sample) in pairs {
        let found = correlation(&base, &sample);
        assert!(found.abs() < bound, "correlation with {name}: {found}");
        let squares = |x: &[f64]| x.iter().map(|x| (x * x - 1.0) / 2f64.sqrt()).collect::<Vec<f64>>();
        let found = correlation(&squares(&base), &squares(&sample));
        assert!(found.abs() < 1.5 * bound, "correlation of squares with {name}: {found}");
    }
}

#[test]
fn increments_add_up_over_any_partition() {
    let path = Brownian::adaptive(Paths { seed: u64::MAX, first: u32::MAX - 10 }, -2.0, 6.0);
    let ends = [-2.0, -1.99, -0.3, 0.0, 1e-6, 0.125, 3.999, 5.0, 6.0].map(|t| path.time(path.tick(t)));
    for trajectory in 0..10 {
        for i in 0..ends.len() {
            for j in i + 1..ends.len() {
                let whole = path.increment::<f64>(trajectory, 3, ends[i], ends[j]);
                let (mut sum, mut length) =
                    (path.increment::<f64>(trajectory, 3, ends[i], ends[i + 1]), ends[i + 1] - ends[i]);
                for k in i + 1..j {
                    let next = ends[k + 1] - ends[k];
                    sum = sum.join(length, path.increment(trajectory, 3, ends[k], ends[k + 1]), next);
                    length += next;
                }
                let error = (whole.w - sum.w).abs().max((whole.levy - sum.levy).abs());
                assert!(error < 1e-12, "from {} to {}: {error:e}", ends[i], ends[j]);
            }
        }
    }
}

#[test]
fn queries_do_not_depend_on_what_was_asked_before() {
    let path = Brownian::adaptive(Paths::new(9), 0.0, 1.0);
    let ask = || -> Vec<f64> {
        (0..500u32)
            .map(|i| {
                let s = f64::from(i.wrapping_mul(2_654_435_761)) / 4_294_967_296.0;
                path.increment::<f64>(i, i % 5, s, (s + 0.01).min(1.0)).levy
            })
            .collect()
    };
    assert_eq!(ask(), ask(), "the same queries twice");
}

#[test]
fn the_variance_of_a_million_increments_does_not_drift() {
    let n = 1 << 20;
    let path = Brownian::with_cells(Paths::new(10), n, 0.0, 1.0).expect("cells");
    let tenth = n / 8;
    let mut sums = [0.0; 8];
    for i in 0..n {
        let x = path.increment::<f64>(0, 0, i as f64 / n as f64, (i + 1) as f64 / n as f64);
        sums[i / tenth] += x.w * x.w * n as f64 / tenth as f64;
    }
    let bound = 4.0 * (2.0 / tenth as f64).sqrt();
    assert!(sums.iter().all(|s| (s - 1.0).abs() < bound), "variances along the way: {sums:?}");
}

#[test]
fn a_query_costs_what_the_documentation_says() {
    let fixed = Brownian::with_cells(Paths::new(1), 30, 0.0, 1.0).expect("cells");
    for i in 0..30 {
        let (_, blocks) = fixed.increment_with_cost::<f64>(0, 0, f64::from(i) / 30.0, f64::from(i + 1) / 30.0);
        assert_eq!(blocks, 1, "a fixed step");
    }
    // The steps of an adaptive solve: from the automatic first one to the longest.
    let field = Mlp::new([2, 2]);
    let problem = Problem::sde(field.clone(), Diffusion::ito(field), 0.0, 1.0);
    for tolerance in [1e-2, 1e-4] {
        let options = SolverOptions::sde(Tolerances::both(tolerance)).method(Method::Sriw1).save_at(SaveAt::Steps);
        let mut solver =
            Solver::<f64>::new(&Cpu::with_threads(1).expect("a thread"), &problem, &options).expect("valid");
        let solution = solver.predict(&problem.initialize::<f64>(1), &[1.0, -1.0]).expect("solved");
        let SavedTimes::Shared(ts) = solution.ts else { panic!("lockstep") };
        let path = options.path(&problem, Paths::default()).expect("cells");
        assert!(ts.len() > 5, "{ts:?}");
        for w in ts.windows(2) {
            let h = w[1] - w[0];
            let (_, blocks) = path.increment_with_cost::<f64>(0, 0, w[0], w[1]);
            let levels = if h < 1.0 / 64.0 { (1.0 / (64.0 * h)).log2() } else { 0.0 };
            let bound = 2.0 + 64.0 * h + 2.0 * (6.0 + levels);
            assert!(blocks as f64 <= bound, "{blocks} blocks for a step of {h} from {}, bound {bound}", w[0]);
        }
    }
}
