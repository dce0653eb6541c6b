//! Dense layers and their vector-Jacobian products on the device at sizes that fill no tile, against `f64`.
//!
//! One Euler step of length one is one evaluation of the field, on buffers that held anything but zeros.

use crate::oracle::{LAYOUTS, bits, cast, fixed, gpu, numbers, widen};
use fewsteps::{Activation, Error, Gpu, GpuSolver, Gradients, Layout, Method, Mlp, Problem, TimeInput};

/// Batch, state, width of the hidden layer: each of 1, 3, 7, 31, 32, 33, 63, 64, 65 and 257 in each place.
const SIZES: [[usize; 3]; 11] = [
    [1, 257, 3],
    [3, 65, 1],
    [7, 64, 31],
    [31, 63, 7],
    [32, 33, 33],
    [33, 32, 32],
    [63, 31, 64],
    [64, 7, 63],
    [65, 3, 257],
    [257, 1, 65],
    [1, 1, 1],
];

/// A linear field of two layers that see the time: `k = [[y, t, 1] V, t, 1] W` at `t = 0.5`, and `y1 = y + k`.
struct Case {
    problem: Problem,
    theta: Vec<f64>,
    y0: Vec<f64>,
    y1_bar: Vec<f64>,
}

impl Case {
    fn new([batch, dim, width]: [usize; 3]) -> Self {
        let field = Mlp::new([dim, width, dim]).activation(Activation::Identity).time_input(TimeInput::Every);
        let exact = |seed, n| widen(&cast::<f32>(&numbers(seed, n)));
        Self {
            theta: exact(1, field.parameter_count()),
            y0: exact(2, batch * dim),
            y1_bar: exact(3, batch * dim),
            problem: Problem::ode(field, 0.5, 1.5),
        }
    }

    /// The end and the gradients by their definitions. With `sizes`, of the magnitudes: what rounding errors are
    /// proportional to.
    fn expected(&self, sizes: bool) -> [Vec<f64>; 3] {
        let of = |x: &[f64]| -> Vec<f64> { x.iter().map(|x| if sizes { x.abs() } else { *x }).collect() };
        let (theta, y0, y1_bar) = (of(&self.theta), of(&self.y0), of(&self.y1_bar));
        let layers: Vec<_> = self.problem.field.mlp().expect("a network").layers().collect();
        let dim = self.problem.dim();
        let (mut ends, mut theta_bar, mut y0_bar) = (Vec::new(), vec![0.0; theta.len()], Vec::new());
        for (y, bar) in y0.chunks_exact(dim).zip(y1_bar.chunks_exact(dim)) {
            let mut inputs = vec![y.to_vec()];
            for layer in &layers {
                let x = inputs.last_mut().expect("an input of every layer");
                x.extend([0.5, 1.0]);
                let weight = |row: usize, o: usize| theta[layer.offset + row * layer.outputs + o];
                let z = (0..layer.outputs).map(|o| x.iter().enumerate().map(|(i, x)| x * weight(i, o)).sum());
                let z = z.collect();
                inputs.push(z);
            }
            ends.extend(inputs[2].iter().zip(y).map(|(k, y)| y + k));
            let mut z_bar = bar.to_vec();
            for (layer, x) in layers.iter().zip(&inputs).rev() {
                let mut x_bar = vec![0.0; layer.inputs];
                for (row, x) in x.iter().enumerate() {
                    for (o, z_bar) in z_bar.iter().enumerate() {
                        let at = layer.offset + row * layer.outputs + o;
                        theta_bar[at] += x * z_bar;
                        if row < layer.inputs {
                            x_bar[row] += theta[at] * z_bar;
                        }
                    }
                }
                z_bar = x_bar;
            }
            y0_bar.extend(z_bar.iter().zip(bar).map(|(k, y)| k + y));
        }
        [ends, theta_bar, y0_bar]
    }

    fn solve(&self, solver: &mut GpuSolver, gpu: &Gpu) -> [Vec<f32>; 3] {
        let found = gpu.block_on(solver.solve(&cast(&self.theta), &cast(&self.y0))).expect("a valid call");
        let Gradients { theta, y0, .. } = gpu.block_on(solver.gradients(&cast(&self.y1_bar))).expect("cotangents");
        [found.ys, theta, y0]
    }

    fn solver(&self, gpu: &Gpu, layout: Layout) -> GpuSolver {
        GpuSolver::new(gpu, &self.problem, &fixed(Method::Euler, 1).layout(layout)).expect("a valid problem")
    }
}

/// A sum of `n` products is off by some `sqrt(n) eps` of the sum of magnitudes; two layers and the batch follow each
/// other.
#[test]
fn layers_and_their_products_are_right_at_awkward_sizes() {
    let Some(gpu) = gpu() else { return };
    let mut failures = Vec::new();
    let mut worst = [0f64; 3];
    for size in SIZES {
        let case = Case::new(size);
        let [expected, sizes] = [false, true].map(|sizes| case.expected(sizes));
        let [batch, dim, width] = size.map(|n| n as f64);
        let forward = (dim + 2.0).sqrt() + (width + 2.0).sqrt();
        let factors = [forward, forward + dim.sqrt() + batch.sqrt(), dim.sqrt() + width.sqrt()];
        for layout in LAYOUTS {
            let mut solver = case.solver(&gpu, layout);
            for round in 0..2 {
                let found = case.solve(&mut solver, &gpu);
                for (part, name) in ["the end", "the gradient of theta", "the gradient of y0"].iter().enumerate() {
                    assert_eq!(found[part].len(), expected[part].len(), "{name} of {size:?}");
                    for (i, x) in found[part].iter().enumerate() {
                        let unit = f64::from(f32::EPSILON) * factors[part] * sizes[part][i];
                        let error = (f64::from(*x) - expected[part][i]).abs() / unit;
                        worst[part] = worst[part].max(error);
                        if error.is_nan() || error > 1.0 {
                            failures.push(format!(
                                "{size:?} {layout:?}, round {round}: {name}[{i}] is off by {error:.1} units"
                            ));
                        }
                    }
                }
            }
        }
    }
    println!("units of rounding, of 1: {worst:.2?}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures[..failures.len().min(20)].join("\n"));
}

#[test]
fn every_run_gives_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    for size in [[33, 32, 33], [257, 7, 65], [300, 3, 8]] {
        let case = Case::new(size);
        for layout in LAYOUTS {
            let run = |solver: &mut GpuSolver| case.solve(solver, &gpu).map(|part| bits(&part));
            let mut solver = case.solver(&gpu, layout);
            let first = run(&mut solver);
            for round in 0..3 {
                assert!(run(&mut solver) == first, "{size:?} {layout:?}: run {round} of the same solver differs");
                let mut fresh = case.solver(&gpu, layout);
                assert!(run(&mut fresh) == first, "{size:?} {layout:?}: fresh solver {round} differs");
            }
        }
    }
}

/// What was solved before, larger or smaller or not a number, leaves no trace.
#[test]
fn a_used_solver_and_a_fresh_one_give_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let case = Case::new([257, 3, 33]);
    let theta = cast::<f32>(&case.theta);
    for layout in LAYOUTS {
        let run = |solver: &mut GpuSolver, batch: usize| {
            let y0 = cast::<f32>(&case.y0[..3 * batch]);
            let found = gpu.block_on(solver.solve(&theta, &y0)).expect("a valid call");
            let bar = cast::<f32>(&case.y1_bar[..3 * batch]);
            let gradients = gpu.block_on(solver.gradients(&bar)).expect("cotangents");
            [found.ys, gradients.theta, gradients.y0].map(|part| bits(&part))
        };
        let mut used = case.solver(&gpu, layout);
        gpu.block_on(used.solve(&theta, &vec![f32::NAN; 3 * 257])).expect("failures have a status");
        for batch in [257, 1, 70, 257, 33] {
            let fresh = run(&mut case.solver(&gpu, layout), batch);
            assert!(run(&mut used, batch) == fresh, "{layout:?}: used and fresh differ on {batch} rows");
        }
    }
}

/// Kernels for weights at 16 bits after a solve: what was recorded before is not gone on with.
#[test]
fn weights_at_16_bits_after_a_solve_are_those_of_a_fresh_solver() {
    let Some(gpu) = gpu() else { return };
    let case = Case::new([9, 3, 8]);
    let bar = cast::<f32>(&case.y1_bar);
    for layout in LAYOUTS {
        let solve = |solver: &mut GpuSolver| case.solve(solver, &gpu).map(|part| bits(&part));
        let mut fresh = match case.solver(&gpu, layout).half_weights() {
            Ok(solver) => solver,
            Err(error) => {
                assert!(!gpu.adapter().f16, "{error}, on an adapter that has them");
                return;
            }
        };
        let expected = solve(&mut fresh);
        let mut used = case.solver(&gpu, layout);
        assert_ne!(solve(&mut used)[0], expected[0], "{layout:?}: rounded weights have another solution");
        let mut used = used.half_weights().expect("as the fresh one");
        let unsolved = gpu.block_on(used.gradients(&bar)).expect_err("nothing was solved with these weights");
        assert!(matches!(unsolved, Error::Order { .. }), "{layout:?}: {unsolved}");
        assert_eq!(solve(&mut used), expected, "{layout:?}");
    }
}
