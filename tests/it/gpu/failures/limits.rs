//! Limits of memory, bindings and dispatches: named before anything is done.

use super::{default_limits, none};
use crate::oracle::{LAYOUTS, adaptive, bits, cast, cpu, distance, fixed, gpu, largest, numbers, scaled, widen};
use fewsteps::{
    Batch, Checkpoints, Control, Error, Field, Gpu, GpuSolver, GpuTrainer, Interpolation, Layout, Local, Loss, Method,
    Mlp, NeuralDe, Problem, SaveAt, SolverOptions, Target, Trainer, TrainerConfig,
};

/// A tape that outgrows the room it was given goes on where it paused.
#[test]
fn a_solve_that_needs_more_room_gets_it_and_loses_nothing() {
    let Some(gpu) = gpu() else { return };
    let rotation = [0.0, 3.0, -3.0, 0.0, 0.0, 0.0];
    let (field, theta) = (Mlp::new([2, 2]), rotation);
    let problem = Problem::ode(field, 0.0, 10.0);
    let y0 = cast::<f32>(&numbers(6, 2 * 9));
    for layout in LAYOUTS {
        for checkpoints in [1, 4] {
            let options = adaptive(Method::Tsit5, 1e-5)
                .layout(layout)
                .save_at(SaveAt::Times(vec![0.1, 4.0, 10.0]))
                .adjoint(fewsteps::Adjoint::Discrete { checkpoints: Checkpoints::Stride(checkpoints) });
            let name = format!("{layout:?}, stride {checkpoints}");
            let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let found = gpu.block_on(device.solve(&theta, &y0)).expect("a valid call");
            let most = found.stats.iter().map(|s| s.accepted).max().expect("a clock");
            assert!(most > 70, "{name}: {most} steps, more than twice the first room");
            let bar = cast::<f32>(&numbers(7, found.ys.len()));
            let gradients = gpu.block_on(device.gradients(&bar)).expect("cotangents");
            // The second time there is room from the start.
            let again = gpu.block_on(device.solve(&theta, &y0)).expect("a valid call");
            assert_eq!((&again.stats, bits(&again.ys)), (&found.stats, bits(&found.ys)), "{name}: with room");
            let second = gpu.block_on(device.gradients(&bar)).expect("cotangents");
            assert_eq!(bits(&second.theta), bits(&gradients.theta), "{name}: gradients with room");
            assert_eq!(bits(&second.y0), bits(&gradients.y0), "{name}: gradients with room");
            // A solve that keeps nothing takes the same steps.
            let plain = gpu.block_on(device.predict(&theta, &y0)).expect("a valid call");
            assert_eq!((&plain.stats, bits(&plain.ys)), (&found.stats, bits(&found.ys)), "{name}: without a tape");
        }
    }
}

#[test]
fn a_batch_beyond_the_memory_limit_names_one_that_fits() {
    let Some(gpu) = gpu() else { return };
    let (field, theta) = (Mlp::new([4, 16, 4]), cast::<f32>(&numbers(5, 148)));
    let problem = Problem::ode(field, 0.0, 0.5);
    for layout in LAYOUTS {
        for limit in [200_000, 1_000_000] {
            let name = format!("{limit} bytes, {layout:?}");
            let options = adaptive(Method::Tsit5, 1e-3).layout(layout).memory_limit(limit);
            let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let y0 = cast::<f32>(&numbers(6, 4 * 5000));
            let error = gpu.block_on(solver.solve(&theta, &y0)).expect_err("too large");
            let Error::Memory { needed, limit: named, batch, largest_batch, .. } = error else {
                panic!("{name}: {error}")
            };
            assert_eq!((named, batch), (limit, 5000), "{name}");
            assert!(needed > limit, "{name}: {needed} bytes needed");
            let message = error.to_string();
            for number in [needed, limit, batch, largest_batch] {
                assert!(message.contains(&number.to_string()), "{name}: {message} names {number}");
            }
            // It works, with its gradients, and it is nearly the largest that does.
            let fits = gpu.block_on(solver.solve(&theta, &y0[..4 * largest_batch])).expect("the batch that it named");
            assert_eq!(fits.status.len(), largest_batch, "{name}");
            assert!(solver.bytes() <= limit, "{name}: {} bytes held", solver.bytes());
            gpu.block_on(solver.gradients(&vec![1.0; fits.ys.len()])).expect("gradients fit too");
            let larger = largest_batch + largest_batch / 8 + 1;
            let mut other = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let beyond = gpu.block_on(other.solve(&theta, &y0[..4 * larger]));
            assert!(matches!(beyond, Err(Error::Memory { .. })), "{name}: {larger} fits too");
        }
    }
}

#[test]
fn a_solver_goes_on_after_a_refused_batch() {
    let Some(gpu) = gpu() else { return };
    let (field, theta) = (Mlp::new([4, 16, 4]), cast::<f32>(&numbers(5, 148)));
    let problem = Problem::ode(field, 0.0, 0.5);
    let options = adaptive(Method::Tsit5, 1e-3).memory_limit(200_000);
    let y0 = cast::<f32>(&numbers(6, 4 * 5000));
    let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
    let first = gpu.block_on(solver.solve(&theta, &y0[..40])).expect("a small batch");
    gpu.block_on(solver.solve(&theta, &y0)).expect_err("too large");
    let refused = gpu.block_on(solver.gradients(&[0.0; 40]));
    assert!(matches!(refused, Err(Error::Order { call: "gradients", .. })), "nothing was solved: {refused:?}");
    let second = gpu.block_on(solver.solve(&theta, &y0[..40])).expect("a small batch");
    assert_eq!(bits(&first.ys), bits(&second.ys), "the small batch solves as before");
}

/// Without a limit of one's own, the device's largest binding is one. Such a device computes nothing, but it judges
/// bindings as any other.
/// A device that records, and binds no more than so many bytes at once.
fn bound_to(binding: u64) -> Gpu {
    let limits = wgpu::Limits { max_storage_buffer_binding_size: binding, ..wgpu::Limits::default() };
    let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    let (device, queue) = wgpu::Device::noop(&descriptor);
    Gpu::from_wgpu(&device, &queue).expect("limits that are enough")
}

#[test]
fn knots_beyond_a_binding_are_refused() {
    // A control's head has 8 words; a knot has 5, its value one, and the spline's second derivative there another.
    let (binding, fit) = (1 << 20, 37_448);
    let gpu = bound_to(binding);
    let field = Field::build(1, |f| f.control("u") * f.state()).expect("a field");
    for (knots, fits) in [(fit, true), (fit + 1, false)] {
        let times: Vec<f64> = (0..knots).map(|i| i as f64 / fit as f64).collect();
        let driven = Control::new("u", Interpolation::Cubic, times);
        let problem = Problem::ode(field.clone(), 0.0, 1.0).driven_by(driven);
        let mut solver = GpuSolver::new(&gpu, &problem, &fixed(Method::Euler, 1)).expect("a valid problem");
        solver.set_control("u", &vec![0.5; knots]).expect("values");
        let solved = gpu.block_on(solver.solve(&[], &[1.0]));
        if fits {
            solved.expect("as many as a binding takes");
            continue;
        }
        let error = solved.expect_err("too many");
        assert!(
            matches!(error, Error::Limit { limit, needed, .. } if limit == binding && needed == binding + 28),
            "{error}"
        );
        assert!(error.to_string().contains("use fewer knots"), "{error}");
    }
}

#[test]
fn a_batch_beyond_a_binding_names_one_that_fits() {
    let binding = 1 << 20;
    let gpu = bound_to(binding);
    let problem = Problem::ode(Mlp::new([64, 8, 64]), 0.0, 1.0);
    let mut solver = GpuSolver::new(&gpu, &problem, &fixed(Method::Euler, 1)).expect("a valid problem");
    let theta = vec![0.0; problem.field.parameter_count()];
    let error = gpu.block_on(solver.solve(&theta, &vec![0.0; 64 * 5000])).expect_err("too large");
    let Error::Limit { limit, largest_batch: Some(largest_batch), needed, name, .. } = error else { panic!("{error}") };
    assert_eq!((limit, name), (binding, "max_storage_buffer_binding_size"), "the binding is the limit");
    assert!(needed > limit && largest_batch > 10, "{error}");
    let message = error.to_string();
    assert!(message.contains("wanted_limits") && !message.contains("Checkpoints"), "the cure of a binding: {message}");
    gpu.block_on(solver.solve(&theta, &vec![0.0; 64 * largest_batch])).expect("the batch that it named");
    let mut other = GpuSolver::new(&gpu, &problem, &fixed(Method::Euler, 1)).expect("a valid problem");
    let beyond = gpu.block_on(other.solve(&theta, &vec![0.0; 64 * (largest_batch + 1)]));
    assert!(matches!(beyond, Err(Error::Limit { .. })), "one more fits too");
}

#[test]
fn more_parameters_than_a_binding_takes_are_refused() {
    let gpu = default_limits();
    let problem = Problem::ode(Mlp::new([6000, 6000, 6000]), 0.0, 1.0);
    let options = SolverOptions::default();
    let config = TrainerConfig::new(NeuralDe::new(problem.clone(), options.clone()), Loss::Mse);
    let errors = [GpuSolver::new(&gpu, &problem, &options).map(|_| ()), GpuTrainer::new(&gpu, config).map(|_| ())];
    for error in errors.map(|result| result.expect_err("288 MB in a binding of 128")) {
        // Two layers of 6001 x 6000 numbers of 4 bytes.
        let Error::Limit { needed: 288_048_000, limit: 134_217_728, largest_batch: None, .. } = error else {
            panic!("{error}")
        };
        assert!(error.to_string().contains("Gpu::wanted_limits"), "{error}");
    }
    // Parameters fit, but not the parts that their gradient is summed in.
    let problem = Problem::ode(Mlp::new([2000, 2000, 2000]), 0.0, 1.0);
    let mut solver = GpuSolver::new(&gpu, &problem, &options.max_steps(2)).expect("32 MB");
    let theta = vec![0.0; problem.parameter_count()];
    let error = gpu.block_on(solver.solve(&theta, &vec![0.0; 2000 * 1024])).expect_err("eight parts of 32 MB");
    assert!(error.to_string().contains("partial"), "it names the array: {error}");
}

#[test]
fn absurd_requests_are_refused() {
    let gpu = default_limits();
    let options = SolverOptions::default();
    let problem = |widths: &[usize]| Problem::ode(Mlp::new(widths), 0.0, 1.0);
    let model = NeuralDe::new(problem(&[2, 8, 2]), options.clone());
    for n in [1_000_000_000, 1 << 62, usize::MAX] {
        for widths in [[2, n, 2], [n, 2, n]] {
            let error = GpuSolver::new(&gpu, &problem(&widths), &options).expect_err("too many parameters");
            assert!(matches!(error, Error::Argument { argument: "Mlp::sizes", .. }), "{error}");
        }
        for model in [model.clone().encoder(n), model.clone().head(n)] {
            let error = GpuTrainer::new(&gpu, TrainerConfig::new(model, Loss::Mse)).expect_err("too many parameters");
            assert!(matches!(error, Error::Argument { .. }), "{error}");
        }
    }
    let solver = GpuSolver::new(&gpu, &model.problem, &options).expect("a valid problem");
    let mut trainer = GpuTrainer::new(&gpu, TrainerConfig::new(model.clone(), Loss::Mse)).expect("a valid model");
    assert_eq!(solver.workspace(usize::MAX, usize::MAX, true), u64::MAX, "it does not wrap");
    assert_eq!(trainer.workspace(usize::MAX, usize::MAX), u64::MAX, "it does not wrap");
    assert!(trainer.workspace(100_000_000, 100) > 100_000_000 * 2 * 4 * 100, "more than the tape");
    for n in [100_000_000, usize::MAX] {
        let error = gpu.block_on(solver.prepare(n, 8)).expect_err("too large a batch");
        assert!(matches!(error, Error::Limit { largest_batch: Some(1000..), .. }), "{error}");
        let error = gpu.block_on(trainer.prepare(n, 8, 8)).expect_err("too large a batch");
        assert!(matches!(error, Error::Limit { largest_batch: Some(1000..), .. }), "{error}");
        let error = gpu.block_on(trainer.prepare(8, n, 8)).expect_err("too long a schedule");
        assert!(error.to_string().contains("schedule"), "{error}");
        for error in [
            gpu.block_on(solver.prepare(8, n)).map(|_| ()).expect_err("too many attempts"),
            gpu.block_on(trainer.prepare(8, 8, n)).expect_err("too many attempts"),
        ] {
            assert!(matches!(error, Error::Argument { argument: "attempts", .. }), "{error}");
        }
    }
    // Bounds on a solve are no sizes.
    let checkpoints = fewsteps::Adjoint::Discrete { checkpoints: Checkpoints::Stride(usize::MAX) };
    let options = options.max_steps(usize::MAX).adjoint(checkpoints);
    let mut solver = GpuSolver::new(&gpu, &model.problem, &options).expect("valid options").layer_by_layer();
    solver = solver.attempts_per_submission(usize::MAX).expect("a bound");
    assert!(solver.workspace(8, 32, true) < 1 << 20, "32 steps of 8 trajectories");
    let held = gpu.block_on(solver.prepare(8, 50)).expect("50 attempts").bytes();
    assert!(held < 1 << 20, "{held} bytes for 8 trajectories");
    let data = vec![0.0; 2 * 20_000_000];
    let error = gpu.block_on(trainer.upload(&data, Target::States(&data))).expect_err("160 MB in a binding of 128");
    let message = error.to_string();
    assert!(message.contains("160000000") && message.contains("GpuTrainer::step"), "{message}");
}

#[test]
fn what_a_device_does_not_do_with_controls_is_refused() {
    let gpu = default_limits();
    let field = Field::build(1, |f| f.control("u") * f.state()).expect("a field");
    let problem = Problem::ode(field, 0.0, 1.0).driven_by(Control::constant("u"));
    let options = SolverOptions::default();
    let mut asked = problem;
    asked.controls[0].gradient = true;
    let error = GpuSolver::new(&gpu, &asked, &options).expect_err("no gradient of a control").to_string();
    assert!(error.contains("Control::gradient") && error.contains("use Solver"), "{error}");
}

#[test]
fn predictions_and_evaluations_keep_within_the_memory_limit() {
    let gpu = default_limits();
    let limit = 1 << 20;
    let options = SolverOptions::default().memory_limit(limit);
    let problem = Problem::ode(Mlp::new([2, 8, 2]), 0.0, 1.0);
    let y0 = vec![0.0; 2 * 200_000];
    let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
    let theta = vec![0.0; problem.parameter_count()];
    let error = gpu.block_on(solver.predict(&theta, &y0)).expect_err("beyond the limit");
    assert!(matches!(error, Error::Memory { largest_batch: 100.., .. }), "{error}");
    assert!(solver.bytes() < 10_000, "nothing was taken: {}", solver.bytes());
    let config = TrainerConfig::new(NeuralDe::new(problem, options), Loss::Mse);
    let mut trainer = GpuTrainer::new(&gpu, config).expect("a valid model");
    let batch = Batch { inputs: &y0, target: Target::States(&y0) };
    for error in [
        gpu.block_on(trainer.predict(&y0)).map(|_| ()).expect_err("beyond the limit"),
        gpu.block_on(trainer.evaluate(&batch)).map(|_| ()).expect_err("beyond the limit"),
        gpu.block_on(trainer.step(&batch)).map(|_| ()).expect_err("beyond the limit"),
    ] {
        let Error::Memory { largest_batch, .. } = error else { panic!("{error}") };
        assert!((100..200_000).contains(&largest_batch), "{error}");
        assert!(trainer.bytes() < 10_000, "nothing was taken: {}", trainer.bytes());
    }
}

/// A field that one sample of the batch drives over a pole.
/// Room that an evaluation took does not stand in the way of training, which needs more for each trajectory.
#[test]
fn training_goes_on_after_a_larger_evaluation() {
    let gpu = default_limits();
    let config = |limit: usize| {
        let problem = Problem::ode(Mlp::new([2, 8, 2]), 0.0, 1.0);
        TrainerConfig::new(NeuralDe::new(problem, SolverOptions::default().memory_limit(limit)), Loss::Mse)
    };
    let limit = 1 << 20;
    let mut trainer = GpuTrainer::new(&gpu, config(limit)).expect("a valid model");
    let data = vec![0.5; 2 * 4000];
    let batch = |rows: usize| Batch { inputs: &data[..2 * rows], target: Target::States(&data[..2 * rows]) };
    let refused = gpu.block_on(trainer.step(&batch(4000))).expect_err("no room to train on as many");
    assert!(matches!(refused, Error::Memory { .. }), "{refused}");
    for _ in 0..2 {
        gpu.block_on(trainer.step(&batch(64))).expect("room for a small batch");
        gpu.block_on(trainer.evaluate(&batch(4000))).expect("room for an evaluation");
        let gradient = vec![0.0; trainer.config().model.parameter_count()];
        gpu.block_on(trainer.apply(&gradient)).expect("room for the gradient of no batch at all");
        gpu.block_on(trainer.evaluate(&batch(4000))).expect("room for an evaluation");
    }
}

/// Many probes and sparse checkpoints record long plans.
#[test]
fn options_that_record_long_plans_work() {
    let Some(gpu) = gpu() else { return };
    let inputs = cast::<f32>(&numbers(1, 8 * 2));
    let mut failures = Vec::new();
    for (local, times, stride, layout) in [
        (Local::unbiased(), 64, 1, Layout::Lockstep),
        (Local::unbiased(), 3, 64, Layout::Ensemble),
        (Local::biased(), 2, 64, Layout::Lockstep),
        (Local::biased(), 64, 8, Layout::Ensemble),
    ] {
        let name = format!("{layout:?}, {times} probes, stride {stride}");
        // Fixed steps, so that rounding decides about nothing, and dynamics with errors well above it.
        let adjoint = fewsteps::Adjoint::Discrete { checkpoints: Checkpoints::Stride(stride) };
        let options = fixed(Method::Tsit5, 3).layout(layout).adjoint(adjoint);
        let problem = Problem::ode(Mlp::new([2, 4, 2]), 0.0, 2.0);
        let config = TrainerConfig::new(NeuralDe::new(problem, options), Loss::Mse)
            .regularizer(local.times(times).coefficient(0.5));
        let mut native = Trainer::<f64>::new(&cpu(1), config.clone()).expect("a valid model");
        let mut device = GpuTrainer::new(&gpu, config).expect("a valid model");
        let theta = cast::<f32>(&scaled(2.5, native.parameters()));
        native.set_parameters(&widen(&theta)).expect("parameters of the same model");
        device.set_parameters(&theta).expect("parameters of the same model");
        let wide = Batch { inputs: &widen(&inputs), target: Target::States(&[0.0; 16]) };
        let expected = native.gradients(&wide).expect("a gradient");
        let found = gpu.block_on(device.gradients(&Batch { inputs: &inputs, target: Target::States(&[0.0; 16]) }));
        match found {
            Ok(found) => {
                let scale = largest(&expected.gradient);
                let error = distance(&widen(&found.gradient), &expected.gradient) / scale;
                if error.is_nan() || error > 1e-2 {
                    failures.push(format!("{name}: gradient off by {error:e}"));
                }
            }
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    none(&failures);
}
