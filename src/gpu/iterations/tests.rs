//! Sizes at which loops have to be cut, against the native engine.

use super::super::adapter::gpu;
use super::super::solver::GpuSolver;
use super::*;
use crate::cpu::{Cpu, Solver};
use crate::method::{Controller, Elbo, InitialStep, Layout, Loss, Method, SaveAt, SolverOptions, Target, Tolerances};
use crate::problem::{Diffusion, Mlp, Problem};
use crate::train::{Batch, GpuTrainer, NeuralDe, TrainerConfig};

/// `x'' = -x` as a field without hidden units.
fn oscillator() -> (Problem, Vec<f32>) {
    (Problem::ode(Mlp::new([2, 2]), 0.0, 20.0), vec![0.0, -1.0, 1.0, 0.0, 0.0, 0.0])
}

fn saved(times: usize, layout: Layout) -> SolverOptions {
    let times = (1..=times).map(|i| 20.0 * i as f64 / times as f64).collect();
    SolverOptions::default().layout(layout).save_at(SaveAt::Times(times))
}

fn fixed(steps: usize, layout: Layout) -> SolverOptions {
    SolverOptions::default().step_control(StepControl::Fixed { steps }).layout(layout)
}

fn starts(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7 % 101) as f32 / 50.0 - 1.0).collect()
}

#[test]
fn every_saved_state_is_there_however_many() {
    let Some(gpu) = gpu() else { return };
    let (problem, theta) = oscillator();
    for (layout, whole, times) in [
        (Layout::Ensemble, true, 2_000),
        (Layout::Lockstep, true, 5_000),
        (Layout::Ensemble, true, 20_000),
        (Layout::Lockstep, true, 20_000),
        (Layout::Lockstep, false, 60_000),
        (Layout::Ensemble, false, 60_000),
    ] {
        let name = format!("{layout:?}, whole {whole}, {times} times");
        let solver = GpuSolver::new(&gpu, &problem, &saved(times, layout)).expect("a problem");
        let mut solver = if whole { solver } else { solver.layer_by_layer() };
        let y0 = [1.0, 0.0, 0.0, 1.0, 0.5, 0.5];
        let found = gpu.block_on(solver.predict(&theta, &y0)).expect("a solve");
        let zeros = found.ys.as_chunks::<2>().0.iter().filter(|y| **y == [0.0; 2]).count();
        assert_eq!(zeros, 0, "{name}: states that nobody wrote");
        for (n, states) in found.ys.chunks_exact(y0.len()).enumerate() {
            let (sin, cos) = (20.0 * (n + 1) as f64 / times as f64).sin_cos();
            for (y, y0) in states.as_chunks::<2>().0.iter().zip(y0.as_chunks::<2>().0) {
                let [a, b] = y0.map(f64::from);
                let error =
                    (f64::from(y[0]) - (a * cos + b * sin)).abs().max((f64::from(y[1]) - (b * cos - a * sin)).abs());
                assert!(error < 0.05, "{name}: {y:?} at time {n}");
            }
        }
    }
}

fn native(problem: &Problem, options: &SolverOptions) -> Solver<f64> {
    Solver::new(&Cpu::with_threads(1).expect("a thread"), problem, options).expect("a problem")
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}

/// Asserts that each number is within `bound` times the largest expected.
fn close(name: &str, found: &[f32], expected: &[f64], bound: f64) {
    let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    assert!(largest > 0.0 && found.len() == expected.len(), "{name}: {} numbers", found.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*a) - b).abs() < bound * largest, "{name}: number {i} is {a}, not {b}");
    }
}

/// Solution and gradients, as the native engine has them.
fn compare(name: &str, problem: &Problem, options: &SolverOptions, rows: usize) {
    let Some(gpu) = gpu() else { return };
    let mut theta: Vec<f32> = problem.field.initialize(3);
    theta.extend(problem.diffusion.iter().flat_map(|d| d.network.initialize::<f32>(4)));
    let y0 = starts(rows * problem.dim());
    let mut device = GpuSolver::new(&gpu, problem, options).expect("a problem");
    let mut native = native(problem, options);
    let expected = native.solve(&wide(&theta), &wide(&y0)).expect("a solve");
    let found = gpu.block_on(device.solve(&theta, &y0)).expect("a solve");
    close(&format!("{name}: states"), &found.ys, &expected.ys, 1e-4);
    let ys_bar = starts(found.ys.len());
    let expected = native.gradients(&wide(&ys_bar)).expect("gradients");
    let found = gpu.block_on(device.gradients(&ys_bar)).expect("gradients");
    close(&format!("{name}: gradient"), &found.theta, &expected.theta, 1e-4);
    close(&format!("{name}: gradient of the start"), &found.y0, &expected.y0, 1e-4);
}

#[test]
fn walks_of_many_steps_and_wide_fields_are_the_native_engine_s() {
    for (hidden, steps) in [(50, 150), (64, 140), (128, 100), (200, 60)] {
        let problem = Problem::ode(Mlp::new([2, hidden, 2]), 0.0, 1.0);
        for layout in [Layout::Lockstep, Layout::Ensemble] {
            compare(&format!("{hidden} units, {layout:?}"), &problem, &fixed(steps, layout), 3);
        }
    }
}

/// In a single dispatch the diffusions' hidden units would take 75,000 iterations, twice that on the way back.
#[test]
fn walks_with_wide_diffusions_are_the_native_engine_s() {
    for (method, diffusion) in [
        (Method::EulerMaruyama, Diffusion::ito(Mlp::new([2, 500, 2]))),
        (Method::ReversibleHeun, Diffusion::stratonovich(Mlp::new([2, 250, 2]))),
    ] {
        let problem = Problem::sde(Mlp::new([2, 4, 2]), diffusion, 0.0, 1.0);
        for layout in [Layout::Lockstep, Layout::Ensemble] {
            compare(&format!("{method}, {layout:?}"), &problem, &fixed(150, layout).method(method), 3);
        }
    }
}

/// A product's depth, on the way back too.
#[test]
fn the_widest_layer_is_the_native_engine_s() {
    let problem = Problem::ode(Mlp::new([1, WIDEST, 1]), 0.0, 1.0);
    let options = fixed(1, Layout::Lockstep).method(Method::Euler);
    compare("the widest layer", &problem, &options, 2);
}

/// The points that one step back takes up, and those at the start.
#[test]
fn as_many_points_as_are_taken_are_differentiated() {
    let (problem, _) = oscillator();
    let at_start = ITERATIONS / 16;
    let times = (0..POINTS_BACK).map(|i| (i.saturating_sub(at_start - 1)) as f64 / 2500.0).collect();
    let options = fixed(1, Layout::Lockstep).save_at(SaveAt::Times(times));
    compare("50,000 points", &problem, &options, 1);
}

/// Rows that one workgroup passes over: the last ones count in statuses. No time passes, for steps of so many rows take a
/// while; an ensemble's clocks end before, and it takes one.
#[test]
fn the_largest_batch_is_told_to_its_last_row() {
    let Some(gpu) = gpu() else { return };
    for (layout, rows, end) in [(Layout::Lockstep, ROWS, 0.0), (Layout::Ensemble, 1_650_000, 1.0)] {
        let problem = Problem::ode(Mlp::new([1, 1]), 0.0, end);
        let (live, lost) = (rows - 300, rows - 1);
        let mut y0 = vec![0.0; rows];
        y0[live..].fill(40.0);
        y0[lost] = f32::NAN;
        let options = fixed(1, layout).method(Method::Euler);
        let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a problem");
        let found = gpu.block_on(device.predict(&[-0.5, 0.0], &y0)).expect("a solve");
        let failed: Vec<usize> = (0..rows).filter(|&row| found.status[row] != crate::Status::Done).collect();
        assert_eq!(failed, [lost], "{layout:?}: who failed");
        assert!(found.ys[..live].iter().all(|&y| y == 0.0), "{layout:?}: the others");
        let expected = 40.0 - 20.0 * end as f32;
        assert!(found.ys[live..lost].iter().all(|&y| y == expected), "{layout:?}: {}", found.ys[live]);
    }
}

#[test]
fn as_many_classes_and_paths_as_are_taken_are_the_native_engine_s() {
    let Some(gpu) = gpu() else { return };
    let cpu = Cpu::with_threads(1).expect("a thread");
    let euler = fixed(1, Layout::Lockstep).method(Method::Euler);
    let model = NeuralDe::new(Problem::ode(Mlp::new([1, 1]), 0.0, 1.0), euler);
    let classes = TrainerConfig::new(model.clone().head(CLASSES), Loss::CrossEntropy);
    let last = u32::try_from(CLASSES).expect("few classes") - 1;
    let batch = Batch { inputs: &starts(2), target: Target::Labels(&[0, last]) };
    let mut device = GpuTrainer::new(&gpu, classes.clone()).expect("a model");
    let found = gpu.block_on(device.gradients(&batch)).expect("gradients");
    let mut native = crate::train::Trainer::<f32>::new(&cpu, classes).expect("a model");
    let expected = native.gradients(&batch).expect("gradients");
    assert!((found.report.loss / expected.report.loss - 1.0).abs() < 1e-5, "{:?}", found.report);
    close("classes", &found.gradient, &wide(&expected.gradient), 1e-4);

    let ensemble = NeuralDe::new(model.problem, model.options.layout(Layout::Ensemble));
    let paths = TrainerConfig::new(ensemble, Loss::Moments);
    let mut inputs = vec![0.0; PATHS];
    inputs[PATHS - 1000..].fill(30.0);
    // Mean and variance of the inputs, which a field of zeros leaves alone; half of each is wanted.
    let (share, all) = (1000.0 / PATHS as f64, PATHS as f64);
    let (mean, variance) = (30.0 * share, 900.0 * share * (1.0 - share) * all / (all - 1.0));
    let (means, variances) = ([mean as f32 / 2.0], [variance as f32 / 2.0]);
    let batch = Batch { inputs: &inputs, target: Target::Moments { means: &means, variances: &variances } };
    let mut device = GpuTrainer::new(&gpu, paths).expect("a model");
    device.set_parameters(&[0.0, 0.0]).expect("as many");
    let found = gpu.block_on(device.evaluate(&batch)).expect("a loss");
    let expected = (mean * mean + variance * variance) / 4.0;
    assert!((found.loss / expected - 1.0).abs() < 1e-3, "{} for {expected}", found.loss);
}

/// Trajectories of one sample, over which an invocation passes twice.
#[test]
fn as_many_trajectories_as_are_weighted_are_the_native_engine_s() {
    let Some(gpu) = gpu() else { return };
    let euler = fixed(1, Layout::Ensemble).method(Method::Euler);
    let model = NeuralDe::new(Problem::ode(Mlp::new([1, 1]), 0.0, 1.0), euler).encoder(1).latent();
    let config =
        |copies: usize| TrainerConfig::new(model.clone(), Loss::Mse).elbo(Elbo::default().samples(copies).importance());
    let most = (ITERATIONS - 8) / 2 - 1;
    let mut device = GpuTrainer::new(&gpu, config(most)).expect("a model");
    let found = gpu.block_on(device.gradients(&Batch { inputs: &[0.5], target: Target::States(&[1.5]) }));
    let found = found.expect("gradients");
    let mut native = crate::train::Trainer::<f64>::new(&Cpu::with_threads(1).expect("a thread"), config(most));
    let native = native.as_mut().expect("a model");
    let expected = native.gradients(&Batch { inputs: &[0.5], target: Target::States(&[1.5]) }).expect("gradients");
    assert!((found.report.loss / expected.report.loss - 1.0).abs() < 1e-4, "{:?}", found.report);
    close("weighted", &found.gradient, &expected.gradient, 1e-3);
    let mut device = GpuTrainer::new(&gpu, config(most + 1)).expect("a model");
    let error = gpu.block_on(device.gradients(&Batch { inputs: &[0.5], target: Target::States(&[1.5]) }));
    let error = error.expect_err("more than one dispatch takes").to_string();
    assert!(error.starts_with(&format!("Elbo::samples = {}", most + 1)), "{error}");
    gpu.block_on(device.evaluate(&Batch { inputs: &[0.5], target: Target::States(&[1.5]) })).expect("no weights");
}

/// A gather of more numbers than one dimension of a grid has invocations.
#[test]
fn a_gather_of_many_samples_is_the_batch() {
    let Some(gpu) = gpu() else { return };
    let (rows, width) = (45_000, 100);
    let euler = fixed(1, Layout::Ensemble).method(Method::Euler);
    let model = NeuralDe::new(Problem::ode(Mlp::new([1, 1]), 0.0, 1.0), euler).encoder(width);
    let config = TrainerConfig::new(model, Loss::Mse);
    let (inputs, targets) = (starts(rows * width), starts(rows));
    let mut trainer = GpuTrainer::new(&gpu, config).expect("a model");
    let data = gpu.block_on(trainer.upload(&inputs, Target::States(&targets))).expect("data that fit");
    let order: Vec<u32> = (0..rows).map(|i| (i * 7919 % rows) as u32).collect();
    let chosen = |from: &[f32], width: usize| -> Vec<f32> {
        order.iter().flat_map(|&i| from[i as usize * width..][..width].to_vec()).collect()
    };
    let (inputs, targets) = (chosen(&inputs, width), chosen(&targets, 1));
    let gathered = gpu.block_on(trainer.evaluate_on(&data, &order)).expect("a loss");
    let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
    assert_eq!(gathered, gpu.block_on(trainer.evaluate(&batch)).expect("a loss"));
}

/// What no loop can be cut for is refused, with the limit and a way out.
#[test]
fn sizes_beyond_loops_are_refused_by_name() {
    let Some(gpu) = gpu() else { return };
    let refused = |what: &str, limit: usize, found: Result<()>| {
        let error = found.expect_err(what).to_string();
        assert!(error.starts_with(what) && error.contains(&limit.to_string()), "{what}: {error}");
    };
    let euler = fixed(1, Layout::Ensemble).method(Method::Euler);
    let small = Problem::ode(Mlp::new([1, 1]), 0.0, 1.0);
    let solver = |problem: &Problem, options: &SolverOptions| GpuSolver::new(&gpu, problem, options);
    let wider = Mlp::new([1, WIDEST + 1, 1]);
    refused("width = 48001", WIDEST, solver(&Problem::ode(wider.clone(), 0.0, 1.0), &euler).map(drop));
    let noisy = Problem::sde(Mlp::new([1, 1]), Diffusion::ito(wider), 0.0, 1.0);
    let steps = euler.clone().method(Method::EulerMaruyama);
    refused("width = 48001", WIDEST, solver(&noisy, &steps).map(drop));
    let model = NeuralDe::new(small.clone(), euler.clone());
    let trainer = |model: NeuralDe, loss: Loss| GpuTrainer::new(&gpu, TrainerConfig::new(model, loss));
    refused("width = 48001", WIDEST, trainer(model.clone().encoder(WIDEST + 1), Loss::Mse).map(drop));
    refused("classes = 14001", CLASSES, trainer(model.clone().head(CLASSES + 1), Loss::CrossEntropy).map(drop));

    let mut many = solver(&small, &euler.clone().layout(Layout::Lockstep)).expect("a problem");
    refused("batch = 5000001", ROWS, gpu.block_on(many.predict(&[0.0, 0.0], &vec![0.0; ROWS + 1])).map(drop));
    let mut moments = trainer(model, Loss::Moments).expect("a model");
    let inputs = vec![0.0; PATHS + 1];
    let batch = Batch { inputs: &inputs, target: Target::Moments { means: &[0.0], variances: &[0.0] } };
    refused("batch = 1600001", PATHS, gpu.block_on(moments.evaluate(&batch)).map(drop));

    let at = |times: Vec<f64>| solver(&small, &euler.clone().save_at(SaveAt::Times(times))).expect("a problem");
    let mut at_start = at(vec![0.0; ITERATIONS / 16 + 1]);
    let found = gpu.block_on(at_start.predict(&[0.0, 0.0], &[1.0])).map(drop);
    refused("SaveAt::Times = 3751 times at the start", ITERATIONS / 16, found);
    let mut points = at((0..=POINTS_BACK).map(|i| i as f64 / POINTS_BACK as f64).collect());
    let found = gpu.block_on(points.solve(&[0.0, 0.0], &[1.0])).map(drop);
    refused("SaveAt::Times = 50001 times", POINTS_BACK, found);
    gpu.block_on(points.predict(&[0.0, 0.0], &[1.0])).expect("nothing is differentiated");
}

/// An adapter that stops loops is found out: here because the bound is said to be higher than it is. Others finish what
/// they are given, and then all of it is there.
#[test]
fn loops_that_end_early_are_an_error() {
    let Some(gpu) = gpu() else { return };
    let stops = gpu.adapter().name.contains("llvmpipe");
    // Under the bound as it is and without one.
    let judge = |name: &str, run: &dyn Fn(usize) -> Result<Vec<f32>>| match run(usize::MAX / 4) {
        Err(error) => assert!(error.to_string().contains("stops loops"), "{name}: {error}"),
        Ok(found) => {
            assert!(!stops, "{name}: nobody tells of the loops that were stopped");
            // A walk that is cut adds up its parts of the gradient in another order.
            let cut = run(ITERATIONS).expect("within the bound");
            let largest = cut.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            let near = found.iter().zip(&cut).all(|(a, b)| (a - b).abs() <= 1e-5 * largest);
            assert!(near && found.len() == cut.len(), "{name}: {found:?} and {cut:?}");
        }
    };
    let problem = Problem::ode(Mlp::new([2, 200, 2]), 0.0, 1.0);
    let theta: Vec<f32> = problem.field.initialize(3);
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        // Of 40 steps 48,000 iterations are solved and 104,000 walked back.
        for steps in [40, 250] {
            let options = fixed(steps, layout);
            judge(&format!("{layout:?}, {steps} steps"), &|iterations| {
                let mut solver = GpuSolver::new(&gpu, &problem, &options)?;
                solver.engine.iterations = iterations;
                gpu.block_on(solver.solve(&theta, &[0.5, 0.5]))?;
                Ok(gpu.block_on(solver.gradients(&[1.0, 1.0]))?.theta)
            });
            judge(&format!("{layout:?}, {steps} steps, training"), &|iterations| {
                let model = NeuralDe::new(problem.clone(), options.clone());
                let mut trainer = GpuTrainer::new(&gpu, TrainerConfig::new(model, Loss::Mse))?;
                trainer.set_iterations(iterations);
                let before = gpu.block_on(trainer.parameters())?;
                let batch = Batch { inputs: &[0.5, 0.5], target: Target::States(&[0.0, 0.0]) };
                let stepped = gpu.block_on(trainer.step(&batch));
                let after = gpu.block_on(trainer.parameters())?;
                assert_eq!(stepped.is_ok(), after != before, "an update and no error, or neither");
                stepped.map(|_| after)
            });
        }
    }
    // Layer by layer the points that a step covers are shared out, unless the bound is said to be higher.
    let (problem, theta) = oscillator();
    let options = saved(60_000, Layout::Lockstep).step_control(StepControl::Fixed { steps: 2 });
    judge("layer by layer", &|iterations| {
        let mut solver = GpuSolver::new(&gpu, &problem, &options)?.layer_by_layer();
        solver.engine.iterations = iterations;
        Ok(gpu.block_on(solver.predict(&theta, &[1.0, 0.0]))?.ys)
    });
}

#[test]
fn steps_that_are_cut_are_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let problem = Problem::ode(Mlp::new([2, 16, 2]), 0.0, 4.0);
    let theta: Vec<f32> = problem.field.initialize(3);
    for method in [Method::Tsit5, Method::Heun] {
        for layout in [Layout::Lockstep, Layout::Ensemble] {
            let times = SaveAt::Times((0..200).map(|i| f64::from(i) / 50.0).collect());
            let options = SolverOptions::default().method(method).layout(layout).save_at(times);
            let solve = |iterations: usize| {
                let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a problem");
                solver.engine.iterations = iterations;
                let found = gpu.block_on(solver.solve(&theta, &starts(10))).expect("a solve");
                (found.ys.iter().map(|y| y.to_bits()).collect::<Vec<_>>(), found.stats)
            };
            assert!(solve(ITERATIONS) == solve(3000), "{method} {layout:?}");
        }
    }
}

/// A solve in dispatches of one turn each against one in a single dispatch.
fn cut_to_turns(name: &str, problem: &Problem, options: &SolverOptions, theta: &[f32], y0: &[f32]) {
    let Some(gpu) = gpu() else { return };
    let solve = |iterations: usize| {
        let mut solver = GpuSolver::new(&gpu, problem, options).expect("a problem");
        solver.engine.iterations = iterations;
        let found = gpu.block_on(solver.solve(theta, y0)).expect("a solve");
        (found.ys.iter().map(|y| y.to_bits()).collect::<Vec<_>>(), found.status, found.stats)
    };
    let (whole, cut) = (solve(ITERATIONS), solve(1));
    assert_eq!(cut, whole, "{name}");
}

/// The first step is too small, so the smallest one is tried. It covers more points than a turn writes.
#[test]
fn the_smallest_step_goes_on_as_the_smallest() {
    let (t0, ulp) = (1e8, 2f64.powi(-26));
    let problem = Problem::ode(Mlp::new([1, 1]), t0, t0 + 1e-3);
    let times: Vec<f64> = (1..=45).map(|i| t0 + f64::from(i) * ulp).chain([t0 + 1e-3]).collect();
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        let control = StepControl::Adaptive {
            tolerances: Tolerances::both(1e-3),
            controller: Controller::default(),
            initial_step: InitialStep::Length(1e-12),
        };
        let options = SolverOptions::default().layout(layout).step_control(control);
        let options = options.save_at(SaveAt::Times(times.clone()));
        cut_to_turns(&format!("{layout:?}"), &problem, &options, &[-1000.0, 0.0], &[1.0, 0.5, -0.2]);
    }
}

/// A trajectory is given up, and the first stage of the step that is tried anew is there already.
#[test]
fn what_is_given_up_between_dispatches_costs_the_same() {
    let problem = Problem::ode(Mlp::new([1, 1]).input_map(crate::problem::InputMap::Cube), 0.0, 1.0);
    for method in [Method::Heun, Method::Tsit5] {
        for layout in [Layout::Lockstep, Layout::Ensemble] {
            let options = SolverOptions::default().method(method).layout(layout).tolerances(Tolerances::both(0.05));
            let name = format!("{method}, {layout:?}");
            cut_to_turns(&name, &problem, &options, &[1.0, 0.0], &[0.5, 1.0, 0.1]);
        }
    }
}

#[test]
fn training_with_many_steps_is_the_native_engine_s() {
    let Some(gpu) = gpu() else { return };
    let problem = Problem::ode(Mlp::new([2, 50, 2]), 0.0, 1.0);
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        let model = NeuralDe::new(problem.clone(), fixed(200, layout));
        let config = TrainerConfig::new(model, Loss::Mse);
        let cpu = Cpu::with_threads(1).expect("a thread");
        let mut native = crate::train::Trainer::<f64>::new(&cpu, config.clone()).expect("a model");
        let mut device = GpuTrainer::new(&gpu, config).expect("a model");
        let (inputs, targets) = (starts(8), starts(16).split_off(8));
        let wide = |xs: &[f32]| xs.iter().copied().map(f64::from).collect::<Vec<f64>>();
        for step in 0..4 {
            let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
            let found = gpu.block_on(device.step(&batch)).expect("a step");
            let (inputs, targets) = (wide(&inputs), wide(&targets));
            let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
            let expected = native.step(&batch).expect("a step");
            let error = (found.loss - expected.loss).abs() / expected.loss;
            assert!(error < 1e-4, "{layout:?}, step {step}: loss {} is not {}", found.loss, expected.loss);
            let error = (found.gradient_norm - expected.gradient_norm).abs() / expected.gradient_norm;
            assert!(error < 1e-3, "{layout:?}, step {step}: {found:?} is not {expected:?}");
        }
    }
}

/// `y' = y^3` from 1 has its pole at 1/2: what was passed before it is right, and what comes after it NaN.
#[test]
fn trajectories_that_fail_keep_what_they_had_saved() {
    let Some(gpu) = gpu() else { return };
    let field = Mlp::new([1, 1]).input_map(crate::problem::InputMap::Cube);
    let problem = Problem::ode(field, 0.0, 1.0);
    let times = SaveAt::Times(vec![0.0, 0.1, 0.2, 0.9]);
    let exact = [1.0, 1.118_034, 1.290_994, f32::NAN];
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        for whole in [true, false] {
            for (rows, most) in [(vec![1.0], 10_000), (vec![0.5, 1.0, 0.1], 10_000), (vec![1.0, 0.5], 12)] {
                let name = format!("{layout:?}, whole {whole}, {rows:?}, {most} steps");
                let options = SolverOptions::default().layout(layout).save_at(times.clone()).max_steps(most);
                let solver = GpuSolver::new(&gpu, &problem, &options).expect("a problem");
                let mut solver = if whole { solver } else { solver.layer_by_layer() };
                let found = gpu.block_on(solver.solve(&[1.0, 0.0], &rows)).expect("a status each");
                let row = rows.iter().position(|y| *y == 1.0).expect("the one that fails");
                assert_ne!(found.status[row], crate::Status::Done, "{name}");
                for (n, exact) in exact.iter().enumerate() {
                    let y = found.ys[n * rows.len() + row];
                    assert_eq!(y.is_nan(), exact.is_nan(), "{name}: {:?}", found.ys);
                    assert!(exact.is_nan() || (y - exact).abs() < 2e-3, "{name}: {y} for {exact}");
                }
                let options = options.save_at(SaveAt::Steps);
                let solver = GpuSolver::new(&gpu, &problem, &options).expect("a problem");
                let mut solver = if whole { solver } else { solver.layer_by_layer() };
                let found = gpu.block_on(solver.solve(&[1.0, 0.0], &rows)).expect("a status each");
                let (ys, per) = if layout == Layout::Ensemble {
                    let own = |c: usize| found.stats[c].accepted + 1;
                    (&found.ys[(0..row).map(own).sum()..][..own(row)], 1)
                } else {
                    (&found.ys[row..], rows.len())
                };
                let ys: Vec<f32> = ys.iter().step_by(per).copied().collect();
                let alive = ys.iter().take_while(|y| y.is_finite()).count();
                assert!(alive > 3 && ys[0] == 1.0 && ys[..alive].is_sorted(), "{name}: {ys:?}");
                assert!(ys[alive..].iter().all(|y| y.is_nan()), "{name}: {ys:?}");
            }
        }
    }
}

/// A step in many submissions is the same as in one.
#[test]
fn a_training_step_is_cut_into_submissions_and_keeps_its_bits() {
    let Some(gpu) = gpu() else { return };
    for width in [2, 5] {
        let model = NeuralDe::new(Problem::ode(Mlp::new([width, 8, width]), 0.0, 6.0), SolverOptions::default());
        let config = TrainerConfig::new(model, Loss::Mse);
        let (inputs, targets) = (starts(6 * width), starts(12 * width).split_off(6 * width));
        let run = |share: f64| {
            let mut trainer = GpuTrainer::new(&gpu, config.clone()).expect("a model");
            trainer.set_submission(share);
            let before = super::super::submission::cuts();
            for _ in 0..3 {
                let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
                gpu.block_on(trainer.step(&batch)).expect("a step");
            }
            let theta = gpu.block_on(trainer.parameters()).expect("a device");
            (theta.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), super::super::submission::cuts() - before)
        };
        let (whole, none) = run(1.0);
        let (cut, some) = run(1e-3);
        assert!(none == 0 && some > 10, "{width} features: {none} and {some} cuts");
        assert!(whole == cut, "{width} features: other bits");
    }
}
