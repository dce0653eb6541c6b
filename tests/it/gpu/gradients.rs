//! Gradients on the device against the native engine at f64, for every layout, method and way of saving.

use crate::oracle::{
    Dual, LAYOUTS, Number, PATHS, System, adaptive, bits, cast, close, cpu, fixed, gpu, gradient, largest, numbers,
    scaled, state_at, step_times, widen,
};
use fewsteps::{
    Activation, Adjoint, Checkpoints, Diffusion, GpuSolver, Gradients, Hypersolver, InputMap, Layout, Local, Measure,
    Method, Mlp, NeuralDe, PenaltyAt, PenaltyGradient, PenaltyNoise, PenaltyStep, Problem, Regularizer, SaveAt,
    Schedule, Solution, Solver, SolverOptions, TimeInput, Tolerances,
};

/// Solves on the device, and differentiates the sum of `w ys`; then walks the device's accepted steps in f64 with dual
/// numbers, so that only rounding is between the two.
fn check(name: &str, problem: &Problem, options: &SolverOptions, batch: usize, tolerance: f64) {
    let Some(gpu) = gpu() else { return };
    let theta = cast::<f32>(&scaled(0.7, &numbers(3, problem.field.parameter_count())));
    let y0 = cast::<f32>(&numbers(4, batch * problem.dim()));
    let mut walker = GpuSolver::new(&gpu, problem, &options.clone().save_at(SaveAt::Steps)).expect("a valid problem");
    let walked = gpu.block_on(walker.solve(&theta, &y0)).and_then(Solution::check).expect("a valid solve");
    let steps: Vec<Vec<f64>> = (0..batch).map(|row| step_times(&walked, row)).collect();
    let replay = Replay { problem, options, steps: &steps, batch };
    let ys = replay.states(&widen(&theta), &widen(&y0));
    let ys_bar = cast::<f32>(&numbers(5, ys.len()));
    let point: Vec<f64> = widen(&theta).into_iter().chain(widen(&y0)).collect();
    let expected = gradient(&point, |x| {
        let ys = replay.states(&x[..theta.len()], &x[theta.len()..]);
        ys.iter().zip(&ys_bar).fold(Dual::new(0.0), |sum, (&y, &w)| sum + y * Dual::new(f64::from(w)))
    });
    let (theta_bar, y0_bar) = expected.split_at(theta.len());
    let mut device = GpuSolver::new(&gpu, problem, options).expect("a valid problem");
    for round in 0..2 {
        let found = gpu.block_on(device.solve(&theta, &y0)).expect("a valid solve");
        assert_eq!(found.stats, walked.stats, "{name}: the same steps, however they are saved");
        let gradients = gpu.block_on(device.gradients(&ys_bar)).expect("a solved problem");
        close(&format!("{name}: states"), &widen(&found.ys), &ys, tolerance);
        close(&format!("{name}: theta, round {round}"), &widen(&gradients.theta), theta_bar, tolerance);
        close(&format!("{name}: y0, round {round}"), &widen(&gradients.y0), y0_bar, tolerance);
    }
}

/// The device's accepted steps, taken again by the oracle.
struct Replay<'a> {
    problem: &'a Problem,
    options: &'a SolverOptions,
    steps: &'a [Vec<f64>],
    batch: usize,
}

impl Replay<'_> {
    /// The saved states, in the order of the solution.
    fn states<S: Number>(&self, theta: &[S], y0: &[S]) -> Vec<S> {
        let system = System {
            field: self.problem.field.mlp().expect("a network"),
            method: self.options.method,
            tolerances: Tolerances::default(),
            atol_per_feature: None,
        };
        let dim = self.problem.dim();
        let walks: Vec<_> =
            (0..self.batch).map(|row| system.walk(theta, &self.steps[row], &y0[row * dim..][..dim])).collect();
        let every = |row: usize| -> Vec<Vec<S>> {
            let first = std::iter::once(y0[row * dim..][..dim].to_vec());
            first.chain(walks[row].iter().map(|s| s.end.clone())).collect()
        };
        let times = match &self.options.save_at {
            SaveAt::End => vec![self.problem.t1],
            SaveAt::Times(times) => times.clone(),
            SaveAt::Steps | SaveAt::Dense if self.options.layout == Layout::Ensemble => {
                return (0..self.batch).flat_map(every).flatten().collect();
            }
            _ => {
                let rows: Vec<Vec<Vec<S>>> = (0..self.batch).map(every).collect();
                return (0..rows[0].len()).flat_map(|n| rows.iter().flat_map(move |row| row[n].clone())).collect();
            }
        };
        times
            .iter()
            .flat_map(|&t| walks.iter().flat_map(move |walk| state_at(self.options.method.tableau(), walk, t)))
            .collect()
    }
}

#[test]
fn every_method_layout_and_way_of_saving() {
    let field = Mlp::new([3, 7, 3]).time_input(TimeInput::Every);
    let problem = Problem::ode(field, 0.0, 1.0);
    for layout in LAYOUTS {
        for method in Method::ODE {
            for save in [SaveAt::End, SaveAt::Times(vec![0.0, 0.13, 0.5, 0.77, 1.0]), SaveAt::Steps] {
                let name = format!("{method} {layout:?} {save:?}");
                let options = fixed(method, 6).layout(layout).save_at(save.clone());
                check(&name, &problem, &options, 5, 2e-5);
                if method.tableau().b_error.is_some() {
                    let options = adaptive(method, 1e-3).layout(layout).save_at(save);
                    check(&name, &problem, &options, 5, 5e-5);
                }
            }
        }
    }
}

#[test]
fn checkpoints_and_directions() {
    let field = Mlp::new([2, 9, 5, 2]).input_map(InputMap::Cube).time_input(TimeInput::First);
    for (t0, t1) in [(0.0, 1.5), (2.0, 0.5)] {
        let problem = Problem::ode(field.clone(), t0, t1);
        for layout in LAYOUTS {
            for stride in [1, 2, 3, 5] {
                let times = SaveAt::Times(vec![t0 + 0.3 * (t1 - t0), t1]);
                let checkpoints = Checkpoints::Stride(stride);
                let options = adaptive(Method::Tsit5, 1e-4)
                    .layout(layout)
                    .save_at(times)
                    .adjoint(Adjoint::Discrete { checkpoints });
                check(&format!("stride {stride}, {layout:?}, to {t1}"), &problem, &options, 4, 5e-5);
            }
        }
    }
}

#[test]
fn awkward_sizes() {
    for (batch, dim, width) in [(1, 1, 1), (3, 7, 63), (63, 3, 8), (5, 2, 65), (33, 33, 7), (257, 1, 3)] {
        for layout in LAYOUTS {
            let problem = Problem::ode(Mlp::new([dim, width, dim]).time_input(TimeInput::Every), 0.0, 1.0);
            let options = fixed(Method::Tsit5, 3).layout(layout).save_at(SaveAt::Times(vec![0.4, 1.0]));
            check(&format!("{batch} x {dim} x {width}, {layout:?}"), &problem, &options, batch, 5e-5);
        }
    }
}

#[test]
fn every_activation() {
    for activation in Activation::ALL {
        let problem = Problem::ode(Mlp::new([2, 8, 8, 2]).activation(activation), 0.0, 1.0);
        let options = fixed(Method::Dopri5, 4).save_at(SaveAt::Times(vec![0.4, 1.0]));
        check(&format!("{activation:?}"), &problem, &options, 6, 5e-5);
    }
}

/// Few features are solved and walked back whole, many are not.
#[test]
fn every_activation_of_the_last_layer() {
    for (n, activation) in Activation::ALL.into_iter().enumerate() {
        let few = if n % 2 == 0 { vec![2, 2] } else { vec![3, 6, 3] };
        for (sizes, layout) in [few, vec![9, 12, 9]].into_iter().zip(LAYOUTS) {
            let field = Mlp::new(sizes.clone()).output_activation(activation).time_input(TimeInput::Every);
            let field = if n % 2 == 0 { field.input_map(InputMap::Cube) } else { field };
            let options = fixed(Method::Dopri5, 4).layout(layout).save_at(SaveAt::Times(vec![0.2, 0.5]));
            let name = format!("{activation:?} at the end of {sizes:?}");
            check(&name, &Problem::ode(field, 0.0, 0.5), &options, 6, 5e-5);
        }
    }
}

/// Penalties of every kind in turn, with a coefficient that depends on the training step.
fn locals() -> Vec<Local> {
    let kinds = [PenaltyAt::Unbiased, PenaltyAt::Biased].into_iter().flat_map(|at| {
        [PenaltyGradient::Published, PenaltyGradient::Step, PenaltyGradient::Full].map(|gradient| (at, gradient))
    });
    let coefficient = Schedule::exponential(3.0, 0.1, 4);
    kinds
        .zip([Measure::StepCount, Measure::Error].into_iter().cycle())
        .map(|((at, gradient), measure)| Local::unbiased().at(at).gradient(gradient).measure(measure))
        .map(|local| local.times(2).fraction(0.5).coefficient(coefficient.clone()))
        .collect()
}

/// One solver on the device through all penalties, against the native engine at f64.
fn check_penalties(name: &str, problem: &Problem, options: &SolverOptions, locals: &[Local], tolerance: f64) {
    const BATCH: usize = 40;
    let Some(gpu) = gpu() else { return };
    let theta = cast::<f32>(&scaled(1.5, &numbers(3, problem.parameter_count())));
    let y0 = cast::<f32>(&numbers(4, BATCH * problem.dim()));
    let mut device = GpuSolver::new(&gpu, problem, options).expect("a valid problem");
    let mut native = Solver::<f64>::new(&cpu(1), problem, options).expect("a valid problem");
    device.set_paths(PATHS);
    native.set_paths(PATHS);
    let solved = gpu.block_on(device.solve(&theta, &y0)).and_then(Solution::check).expect("a valid solve");
    let seeds = [vec![0.0; solved.ys.len()], cast::<f32>(&numbers(5, solved.ys.len()))];
    let all = |g: &Gradients<f32>| [bits(&g.theta), bits(&g.y0), vec![g.penalty.to_bits()]];
    let plain = gpu.block_on(device.gradients(&seeds[1])).expect("a solved problem");
    assert_eq!(plain.penalty, 0.0, "{name}: nothing is penalised");
    for local in locals {
        let regularizer = Regularizer::from(local.clone());
        let mut penalties = [0.0; 2];
        for (penalty, (seed, step)) in penalties.iter_mut().zip([(4, 0), (1 << 40, 3)]) {
            let name = format!("{name}, {local:?}, seed {seed}, step {step}");
            device.regularize(&regularizer, seed, step).expect("a valid regularizer");
            native.regularize(&regularizer, seed, step).expect("a valid regularizer");
            let found = gpu.block_on(device.solve(&theta, &y0)).expect("a valid solve");
            let expected = native.solve(&widen(&theta), &widen(&y0)).expect("a valid solve");
            assert_eq!(bits(&found.ys), bits(&solved.ys), "{name}: a penalty does not change the solution");
            assert_eq!(found.stats, expected.stats, "{name}: the same steps");
            // The penalty alone, and beside a loss.
            for ys_bar in &seeds {
                let found = gpu.block_on(device.gradients(ys_bar)).expect("a solved problem");
                let expected = native.gradients(&widen(ys_bar)).expect("solved before");
                close(&format!("{name}: penalty"), &[found.penalty], &[expected.penalty], tolerance);
                close(&format!("{name}: theta"), &widen(&found.theta), &expected.theta, tolerance);
                if largest(&expected.y0) > 0.0 {
                    close(&format!("{name}: y0"), &widen(&found.y0), &expected.y0, tolerance);
                } else {
                    assert!(found.y0.iter().all(|&x| x == 0.0), "{name}: states are constants");
                }
                *penalty = found.penalty;
            }
        }
        // Of a few steps the same ones may be drawn.
        let differ = penalties[0] != penalties[1] || local.at == PenaltyAt::Biased;
        assert!(differ, "{name}: draws are those of seed and step: {penalties:?}");
        let [first, again] = [(), ()].map(|()| gpu.block_on(device.gradients(&seeds[1])).expect("a solved problem"));
        assert_eq!(all(&again), all(&first), "{name}: as often as it is asked for");
    }
    device.regularize(&Regularizer::None, 4, 0).expect("no regularizer");
    gpu.block_on(device.solve(&theta, &y0)).expect("a valid solve");
    let after = gpu.block_on(device.gradients(&seeds[1])).expect("a solved problem");
    assert_eq!(all(&after), all(&plain), "{name}: it leaves nothing behind");
}

#[test]
fn a_regularizer_beside_a_loss_of_ones_own() {
    for layout in LAYOUTS {
        // Few features are solved and walked back whole, many are not.
        for dim in [2, 5] {
            let problem = Problem::ode(Mlp::new([dim, 6, dim]).time_input(TimeInput::Every), 0.0, 2.0);
            // With fixed steps rounding decides about nothing, and errors of low order are well above it.
            let options = fixed(Method::Bosh3, 4).layout(layout).save_at(SaveAt::Times(vec![0.4, 2.0]));
            check_penalties(&format!("{dim} features, {layout:?}"), &problem, &options, &locals(), 2e-3);
        }
    }
}

#[test]
fn a_regularizer_of_noisy_solves_beside_a_loss_of_ones_own() {
    for (layout, dim) in LAYOUTS.into_iter().zip([5, 2]) {
        let drift = Mlp::new([dim, 6, dim]).time_input(TimeInput::Every);
        let problem = Problem::sde(drift, Diffusion::ito(Mlp::new([dim, dim])), 0.0, 1.0);
        let options = SolverOptions::sde(Tolerances::both(0.3)).layout(layout).save_at(SaveAt::Times(vec![0.4, 1.0]));
        let mut locals = locals();
        locals.retain(|local| local.gradient != PenaltyGradient::Published);
        for local in locals.iter_mut().step_by(2) {
            local.noise = PenaltyNoise::Path;
        }
        check_penalties(&format!("{dim} features, {layout:?}"), &problem, &options, &locals, 5e-3);
    }
}

#[test]
fn a_regularizer_with_absolute_tolerances_of_features() {
    let full = |at| Local::unbiased().at(at).gradient(PenaltyGradient::Full).times(2).coefficient(3.0);
    let locals =
        [full(PenaltyAt::Unbiased).step(PenaltyStep::FreshInitial).measure(Measure::Error), full(PenaltyAt::Biased)];
    for (layout, dim) in LAYOUTS.into_iter().zip([6, 3]) {
        let field = Mlp::new([dim, 6, dim]).time_input(TimeInput::Every);
        let atol: Vec<f64> = (0..dim).map(|d| [1e-1, 1e-2, 1e-3][d % 3]).collect();
        let name = format!("{dim} features, {layout:?}");
        let options = adaptive(Method::Heun, 1e-2).layout(layout).atol_per_feature(atol.clone());
        check_penalties(&name, &Problem::ode(field.clone(), 0.0, 2.0), &options, &locals, 5e-3);
        let noisy = Problem::sde(field, Diffusion::ito(Mlp::new([dim, dim])), 0.0, 1.0);
        let options = SolverOptions::sde(Tolerances::both(0.3)).layout(layout).atol_per_feature(atol);
        check_penalties(&format!("noise, {name}"), &noisy, &options, &locals[..1], 5e-3);
    }
}

/// Euler's method on a field of two networks, of which one is evaluated twice: whole for few features, product by product for
/// many.
#[test]
fn corrected_steps_of_a_hypersolver() {
    let Some(gpu) = gpu() else { return };
    for (base, dim, width) in [(Method::Euler, 3, 7), (Method::Heun, 3, 7), (Method::Midpoint, 40, 33)] {
        for layout in LAYOUTS {
            let name = format!("{base}, {dim} features, {layout:?}");
            let field = Mlp::new([dim, width, dim]).time_input(TimeInput::Every);
            let model = NeuralDe::new(Problem::ode(field, 0.2, 1.1), SolverOptions::default().layout(layout));
            let hyper = Hypersolver::new(base, dim, 9).expect("widths");
            let NeuralDe { problem, options, .. } = hyper.apply(&model, 3).expect("three steps");
            let theta: Vec<f32> = cast(&scaled(0.7, &numbers(3, problem.field.parameter_count())));
            let y0: Vec<f32> = cast(&numbers(4, 5 * dim));
            let bars: Vec<f32> = cast(&numbers(5, 5 * dim));
            let mut native = Solver::<f64>::new(&cpu(1), &problem, &options).expect("a valid problem");
            let expected = native.solve(&widen(&theta), &widen(&y0)).expect("a valid solve");
            let gradients = native.gradients(&widen(&bars)).expect("solved");
            let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let found = gpu.block_on(device.solve(&theta, &y0)).expect("a valid solve");
            assert_eq!((found.nfe(), &found.stats), (3, &expected.stats), "{name}: three of Euler's steps");
            close(&format!("{name}: states"), &widen(&found.ys), &expected.ys, 2e-5);
            let found = gpu.block_on(device.gradients(&bars)).expect("solved");
            close(&format!("{name}: theta"), &widen(&found.theta), &gradients.theta, 5e-5);
            close(&format!("{name}: y0"), &widen(&found.y0), &gradients.y0, 5e-5);
            let of_correction = &gradients.theta[model.parameter_count()..];
            assert!(largest(of_correction) > 1e-3, "{name}: the correction has a gradient");
        }
    }
}
