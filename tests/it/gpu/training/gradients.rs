//! Gradients of whole models, with every regularizer option.

use super::{DIM, lively, model, samples};
use crate::oracle::{LAYOUTS, cast, close, cpu, gpu, largest, numbers, widen};
use fewsteps::{
    Adjoint, Batch, Checkpoints, Diffusion, GpuSolver, GpuTrainer, Layout, Learnt, Local, Loss, Measure, Method, Mlp,
    NeuralDe, Paths, PenaltyAt, PenaltyGradient, PenaltyNoise, PenaltyStep, Problem, Regularizer, SaveAt, Scalar,
    Schedule, SolverOptions, StateMap, StepControl, Target, TimeInput, Tolerances, Trainer, TrainerConfig,
};

/// The gradient of a classification on the device and on the native engine: at f64 in lockstep, at f32 in an ensemble,
/// where single trajectories may take another number of steps at f64.
fn compare(name: &str, config: &TrainerConfig, batch: usize, tolerance: f64) {
    if config.model.options.layout == Layout::Lockstep {
        compare_with::<f64>(name, config, batch, tolerance);
    } else {
        compare_with::<f32>(name, config, batch, tolerance);
    }
}

fn compare_with<R: Scalar>(name: &str, config: &TrainerConfig, batch: usize, tolerance: f64) {
    let Some(gpu) = gpu() else { return };
    let samples = samples(batch);
    let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
    let mut native = Trainer::<R>::new(&cpu(1), config.clone()).expect("a valid configuration");
    let theta = lively(&gpu.block_on(device.parameters()).expect("a device"));
    device.set_parameters(&theta).expect("parameters of the same model");
    native.set_parameters(&cast(&widen(&theta))).expect("parameters of the same model");
    // Ideal steps of half the interval or so: rounding decides about nothing there.
    let mut learnt = Learnt::default();
    learnt.ideal = Some(1.5);
    device.set_learnt(learnt).expect("what solves can teach");
    native.set_learnt(learnt).expect("what solves can teach");
    let inputs = cast::<R>(&widen(&samples.inputs));
    let expected = native.gradients(&Batch { inputs: &inputs, target: Target::Labels(&samples.labels) });
    let expected = expected.expect("a valid batch");
    for round in 0..2 {
        let found = gpu.block_on(device.gradients(&samples.batch())).expect("a valid batch");
        let (a, b) = (&found.report, &expected.report);
        assert_eq!((a.nfe, a.accepted, a.rejected), (b.nfe, b.accepted, b.rejected), "{name}: costs");
        assert_eq!((a.nfe_penalty, a.coefficient), (b.nfe_penalty, b.coefficient), "{name}: penalty's costs");
        assert!((a.loss - b.loss).abs() < 2e-5 * b.loss, "{name}: loss {} for {}", a.loss, b.loss);
        let bound = tolerance * b.penalty.abs() + 1e-9;
        assert!((a.penalty - b.penalty).abs() <= bound, "{name}: penalty {} for {}", a.penalty, b.penalty);
        close(&format!("{name}, round {round}"), &widen(&found.gradient), &widen(&expected.gradient), tolerance);
        assert!(largest(&widen(&expected.gradient)) > 1e-4, "{name}: there is a gradient");
    }
}

/// Where a penalised step begins within a step, and its gradient goes on into that state, so does that of the last stage of a
/// method that hands it on to the next step. On the native engine its product is taken with that step's first stage, so that one
/// more is taken in the last step alone; on a device in every one, whose walk is recorded before it is known which one it is.
#[test]
fn products_are_those_that_the_engine_takes() {
    let Some(gpu) = gpu() else { return };
    let mut last = 0;
    for layout in LAYOUTS {
        // Few features are walked back whole, many are not.
        for (method, stages, width) in [(Method::Tsit5, 7, DIM), (Method::Bosh3, 4, 40)] {
            for (local, inside) in [
                (Local::unbiased().gradient(PenaltyGradient::Full), true),
                (Local::unbiased().gradient(PenaltyGradient::Step), false),
                (Local::biased().gradient(PenaltyGradient::Full), false),
            ] {
                let mut model = model(layout, method);
                model.problem.field = Mlp::new([width, 6, width]).into();
                let config = TrainerConfig::new(model, Loss::CrossEntropy).regularizer(local.clone());
                let samples = samples(6);
                let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
                let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid configuration");
                let found = gpu.block_on(device.gradients(&samples.batch())).expect("a valid batch").report;
                let expected = native.gradients(&samples.batch()).expect("a valid batch").report;
                let steps = 3;
                let fewest = steps * (stages - 1);
                let name = format!("{layout:?}, {width} features, {method}, {local:?}");
                assert_eq!([expected.accepted, found.accepted], [steps; 2], "{name}");
                last += usize::from(expected.products == fewest + 1);
                assert!((fewest..=fewest + usize::from(inside)).contains(&expected.products), "{name}: {expected:?}");
                assert_eq!(found.products, fewest + if inside { steps } else { 0 }, "{name}: device");
            }
        }
    }
    assert!(last > 0, "a penalised step begins in the last one in some case");
}

#[test]
fn every_regularizer_option() {
    for layout in LAYOUTS {
        for at in [PenaltyAt::Unbiased, PenaltyAt::Biased] {
            for measure in [Measure::Error, Measure::StepCount, Measure::Stiffness] {
                for step in [PenaltyStep::Taken, PenaltyStep::FreshInitial, PenaltyStep::Ideal] {
                    if step == PenaltyStep::Ideal && measure != Measure::StepCount {
                        continue; // Refused: its length follows that measure.
                    }
                    for gradient in [PenaltyGradient::Published, PenaltyGradient::Step, PenaltyGradient::Full] {
                        let base = if at == PenaltyAt::Biased { Local::biased() } else { Local::unbiased() };
                        // Weighed so that loss and penalty have gradients of one size.
                        let coefficient = match measure {
                            Measure::Error => 2.0,
                            Measure::StepCount => 0.3,
                            _ => 5.0,
                        };
                        let local = base
                            .at(at)
                            .measure(measure)
                            .step(step)
                            .gradient(gradient)
                            .times(2)
                            .fraction(0.5)
                            .coefficient(coefficient);
                        let mut model = model(layout, Method::Tsit5);
                        if step == PenaltyStep::FreshInitial {
                            // An automatic initial step that is long enough for its error to be more than rounding.
                            model.options = model.options.tolerances(Tolerances::both(0.1));
                        }
                        let config = TrainerConfig::new(model, Loss::CrossEntropy).regularizer(local).seed(3);
                        let name = format!("{layout:?} {at:?} {measure:?} {step:?} {gradient:?}");
                        // An ensemble's single trajectories have smaller errors, which rounding reaches sooner.
                        let tolerance = if layout == Layout::Ensemble { 2e-2 } else { 5e-3 };
                        compare(&name, &config, 70, tolerance);
                    }
                }
            }
        }
    }
}

/// Of a step too short for `f32`, and of a state too large, rounding is all that there is to measure.
#[test]
fn stiffness_without_digits_is_none() {
    let Some(gpu) = gpu() else { return };
    let near = cast::<f32>(&numbers(4, 6));
    let far: Vec<f32> = near.iter().map(|y| 3e4 * y).collect();
    for layout in LAYOUTS {
        for (name, length, inputs) in [
            ("a short step", 1e-5, near.clone()),
            ("large states", 0.3, far.clone()),
            ("some of them", 0.3, [&near[..], &far].concat()),
        ] {
            let options = SolverOptions::default().layout(layout).step_control(StepControl::Fixed { steps: 1 });
            let model = NeuralDe::new(Problem::ode(Mlp::new([3, 16, 3]), 0.0, length), options);
            let plain = TrainerConfig::new(model, Loss::Mae);
            let local = Local::biased().measure(Measure::Stiffness).gradient(PenaltyGradient::Full).fraction(1.0);
            let config = plain.clone().regularizer(local.coefficient(1.0));
            let batch = Batch { inputs: &inputs, target: Target::States(&vec![0.0; inputs.len()]) };
            let found = |config: &TrainerConfig| {
                let mut trainer = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
                gpu.block_on(trainer.gradients(&batch)).expect("a valid batch")
            };
            let (with, without) = (found(&config), found(&plain));
            let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid configuration");
            let expected = native.gradients(&batch).expect("a valid batch");
            let name = format!("{layout:?}, {name}");
            if inputs.len() == 6 {
                assert_eq!((with.report.penalty, expected.report.penalty), (0.0, 0.0), "{name}");
                close(&name, &widen(&with.gradient), &widen(&without.gradient), 1e-5);
            } else {
                close(&name, &[with.report.penalty], &[expected.report.penalty], 1e-3);
                close(&name, &widen(&with.gradient), &widen(&expected.gradient), 1e-2);
                let share = with.gradient.iter().zip(&without.gradient).map(|(a, b)| (a - b).abs());
                assert!(share.fold(0.0, f32::max) > 1e-2, "{name}: the others are measured");
            }
        }
    }
}

#[test]
fn regularized_between_checkpoints() {
    for layout in LAYOUTS {
        for method in [Method::Heun, Method::Bosh3, Method::Dopri5] {
            let mut model = model(layout, method);
            model.options.adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(3) };
            for local in [Local::biased(), Local::unbiased()] {
                let local = local.gradient(PenaltyGradient::Full).fraction(1.0).coefficient(0.1);
                let config = TrainerConfig::new(model.clone(), Loss::CrossEntropy).regularizer(local);
                compare(&format!("{layout:?} {method} {:?}", config.regularizer), &config, 9, 5e-3);
            }
        }
    }
}

#[test]
fn losses_over_times_without_encoder_or_head() {
    let Some(gpu) = gpu() else { return };
    for loss in [Loss::Mse, Loss::Mae] {
        for head in [None, Some(2)] {
            let times = vec![0.0, 0.4, 1.1, 2.0];
            let mut model = model(Layout::Lockstep, Method::Tsit5);
            model.options = model.options.save_at(SaveAt::Times(times));
            (model.encoder, model.head) = (None, head.map(StateMap::from));
            let config = TrainerConfig::new(model.clone(), loss);
            let inputs = cast::<f32>(&numbers(2, 6 * DIM));
            let states = cast::<f32>(&numbers(3, 4 * 6 * model.output_width()));
            let batch = Batch { inputs: &inputs, target: Target::States(&states) };
            let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
            let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid configuration");
            let found = gpu.block_on(device.gradients(&batch)).expect("a valid batch");
            let expected = native.gradients(&batch).expect("a valid batch");
            let name = format!("{loss:?}, head {head:?}");
            close(&name, &widen(&found.gradient), &widen(&expected.gradient), 2e-4);
            let (a, b) = (
                gpu.block_on(device.evaluate(&batch)).expect("a valid batch"),
                native.evaluate(&batch).expect("a valid batch"),
            );
            assert!((a.loss - b.loss).abs() < 1e-5 * b.loss, "{name}: {a:?} {b:?}");
            let outputs = gpu.block_on(device.predict(&inputs)).expect("valid inputs");
            close(&name, &widen(&outputs), &widen(&native.predict(&inputs).expect("valid inputs")), 1e-4);
        }
    }
}

/// The first solve outgrows its tape, and goes on in another submission.
#[test]
fn the_first_gradient_of_a_long_solve_is_there() {
    let Some(gpu) = gpu() else { return };
    // Few features are solved and walked back whole, many are not.
    for width in [DIM, DIM + 1] {
        for layout in LAYOUTS {
            let mut model = model(layout, Method::Heun);
            model.problem.field = Mlp::new([width, 6, width]).into();
            model.options = model.options.step_control(StepControl::Fixed { steps: 40 });
            let config = TrainerConfig::new(model, Loss::CrossEntropy);
            let samples = samples(9);
            let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
            let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid configuration");
            let found = gpu.block_on(device.gradients(&samples.batch())).expect("a valid batch");
            let expected = native.gradients(&samples.batch()).expect("a valid batch");
            assert_eq!(found.report.accepted, 40, "more than there is room for at first");
            close(&format!("{width} {layout:?}"), &widen(&found.gradient), &widen(&expected.gradient), 1e-4);
        }
    }
}

#[test]
fn where_no_time_passes_the_layers_around_the_field_learn() {
    for layout in LAYOUTS {
        for local in [Local::unbiased(), Local::biased().step(PenaltyStep::FreshInitial)] {
            let mut model = model(layout, Method::Tsit5);
            (model.problem.t0, model.options) = (2.0, model.options.tolerances(Tolerances::both(1e-3)));
            let config = TrainerConfig::new(model, Loss::CrossEntropy).regularizer(local).seed(3);
            compare(&format!("no time, {layout:?}"), &config, 40, 1e-5);
        }
    }
}

#[test]
fn a_solver_with_a_regularizer_has_the_trainers_gradient() {
    let Some(gpu) = gpu() else { return };
    let inputs = cast::<f32>(&numbers(2, 40 * 2));
    let targets = cast::<f32>(&numbers(3, 2 * 40 * 2));
    let field = Mlp::new([2, 9, 2]).time_input(TimeInput::Every);
    let noisy = Problem::sde(field.clone(), Diffusion::ito(Mlp::new([2, 3, 2])), 0.0, 1.0);
    let problems = [(Problem::ode(field, 0.0, 1.0), Method::Tsit5), (noisy, Method::Sosri)];
    for ((problem, method), layout) in problems.iter().flat_map(|case| LAYOUTS.map(|layout| (case, layout))) {
        for local in [Local::unbiased(), Local::biased(), Local::biased().gradient(PenaltyGradient::Full)] {
            let options = SolverOptions::default().method(*method).tolerances(Tolerances::both(0.05)).layout(layout);
            let model = NeuralDe::new(problem.clone(), options.save_at(SaveAt::Times(vec![0.4, 1.0])));
            let regularizer =
                Regularizer::from(local.times(2).fraction(0.6).coefficient(Schedule::exponential(3.0, 0.1, 4)));
            let config = TrainerConfig::new(model.clone(), Loss::Mse).regularizer(regularizer.clone()).seed(4);
            let mut trainer = GpuTrainer::new(&gpu, config).expect("a valid model");
            let mut solver = GpuSolver::new(&gpu, &model.problem, &model.options).expect("a valid problem");
            solver.regularize(&regularizer, 4, 0).expect("a valid regularizer");
            // There is room for 32 steps at first, and then for twice as many.
            let told = [32, 64].map(|steps| [trainer.workspace(40, steps), solver.workspace(40, steps, true)]);
            let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
            for step in 0..3 {
                let expected = gpu.block_on(trainer.gradients(&batch)).expect("a gradient");
                let theta = gpu.block_on(trainer.parameters()).expect("a device");
                solver.set_paths(Paths::of_step(4, step));
                solver.regularize(&regularizer, 4, step).expect("a valid regularizer");
                let ys = gpu.block_on(solver.solve(&theta, &inputs)).expect("solved").ys;
                let bars: Vec<f32> = ys.iter().zip(&targets).map(|(y, t)| 2.0 * (y - t) / 160.0).collect();
                let found = gpu.block_on(solver.gradients(&bars)).expect("solved before");
                let name = format!("{method:?}, {layout:?}, {regularizer:?}, step {step}");
                // Both learn how long the penalised step is, one of them on the host.
                close(&format!("{name}: penalty"), &[found.penalty], &[expected.report.penalty], 1e-5);
                close(&name, &widen(&found.theta), &widen(&expected.gradient), 1e-5);
                let held = [trainer.bytes(), solver.bytes()].map(|bytes| bytes as u64);
                assert!(told.contains(&held), "{name}: {held:?} bytes, {told:?} were told");
                gpu.block_on(trainer.apply(&found.theta)).expect("an update");
            }
        }
    }
}

#[test]
fn regularizers_that_a_solver_cannot_have_are_refused() {
    let Some(gpu) = gpu() else { return };
    let field = Mlp::new([2, 9, 2]);
    let ode = Problem::ode(field.clone(), 0.0, 1.0);
    let noisy = Problem::sde(field.clone(), Diffusion::ito(Mlp::new([2, 2])), 0.0, 1.0);
    let refused = |problem: &Problem, options: SolverOptions, local: Local| {
        let mut solver = GpuSolver::new(&gpu, problem, &options).expect("a valid problem");
        solver.regularize(&Regularizer::None, 0, 0).expect("nothing to refuse");
        solver.regularize(&local.into(), 0, 0).expect_err("not to be had").to_string()
    };
    for save_at in [SaveAt::Steps, SaveAt::Dense] {
        let error = refused(&ode, SolverOptions::default().save_at(save_at), Local::unbiased());
        assert!(error.starts_with("SolverOptions::save_at = "), "{error}");
    }
    let fixed = SolverOptions::default().method(Method::Sosri).step_control(StepControl::Fixed { steps: 4 });
    let error = refused(&noisy, fixed, Local::unbiased().noise(PenaltyNoise::Path));
    assert!(error.starts_with("Local::noise = Path"), "{error}");
    let error = refused(&ode, SolverOptions::default(), Local::unbiased().times(65));
    assert!(error.starts_with("Local::times = 65"), "{error}");
    // Where no time passes nothing is penalised.
    let mut solver =
        GpuSolver::new(&gpu, &Problem::ode(field, 2.0, 2.0), &SolverOptions::default()).expect("a valid problem");
    solver.regularize(&Local::unbiased().into(), 0, 0).expect("a valid regularizer");
    let theta = vec![0.1; ode.parameter_count()];
    gpu.block_on(solver.solve(&theta, &[1.0, 2.0])).expect("solved");
    let found = gpu.block_on(solver.gradients(&[3.0, 4.0])).expect("solved before");
    assert_eq!((found.penalty, found.y0), (0.0, vec![3.0, 4.0]), "the state itself");
}
