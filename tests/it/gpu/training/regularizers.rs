//! Global regularization and random ends on the device, against the native engine at f64.

use crate::oracle::{LAYOUTS, cast, close, cpu, gpu, largest, numbers, solver as native_solver, widen};
use fewsteps::{
    Adjoint, Aggregate, Batch, Checkpoints, Control, Diffusion, EndTime, Field, Global, GpuSolver, GpuTrainer,
    InitialStep, Interpolation, Layout, Local, Loss, Measure, Method, Mlp, NeuralDe, PenaltyAt, PenaltyGradient,
    Problem, Regularizer, SaveAt, SolverOptions, Status, StepControl, Target, TimeInput, Tolerances, Trainer,
    TrainerConfig,
};

pub(super) const BATCH: usize = 7;

/// Few features are solved and walked back whole, many are not.
pub(super) const WIDTHS: [usize; 2] = [3, 5];

/// A model whose steps' errors stand above rounding.
pub(super) fn model(width: usize, layout: Layout) -> NeuralDe {
    let field = Mlp::new([width, 6, width]).time_input(TimeInput::Every);
    // Of these errors rounding is a small part.
    let options = SolverOptions::default().method(Method::Bosh3).layout(layout).tolerances(Tolerances::both(1e-3));
    NeuralDe::new(Problem::ode(field, 0.2, 2.0), options)
}

/// So many training steps and their gradients, on the device and natively; the last solve's accepted steps.
pub(super) fn compare(
    name: &str,
    model: NeuralDe,
    regularizer: Regularizer,
    tolerance: f64,
    steps: u64,
) -> Option<usize> {
    let gpu = gpu()?;
    let lockstep = model.options.layout == Layout::Lockstep;
    let is_flow = model.problem.field.trace().is_some();
    let [fed, width] = [model.input_width(), model.output_width()];
    let loss = if is_flow { Loss::NegativeLogLikelihood } else { Loss::Mse };
    let config = TrainerConfig::new(model, loss).regularizer(regularizer).seed(5);
    let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
    let mut native = Trainer::<f64>::new(&cpu(1), config).expect("a valid configuration");
    let [inputs, targets] = [(2, fed), (3, width)].map(|(seed, width)| cast::<f32>(&numbers(seed, BATCH * width)));
    let [wide_inputs, wide_targets] = [&inputs, &targets].map(|numbers| widen(numbers));
    let (target, wide_target) = if is_flow {
        (Target::Nothing, Target::Nothing)
    } else {
        (Target::States(&targets[..]), Target::States(&wide_targets[..]))
    };
    let (batch, wide) = (Batch { inputs: &inputs, target }, Batch { inputs: &wide_inputs, target: wide_target });
    let theta: Vec<f32> = native.parameters().iter().map(|x| 2.5 * *x as f32).collect();
    device.set_parameters(&theta).expect("parameters of the same model");
    let mut accepted = None;
    for step in 0..steps {
        let name = format!("{name}, step {step}");
        let theta = gpu.block_on(device.parameters()).expect("a device");
        native.set_parameters(&widen(&theta)).expect("parameters of the same model");
        // Ideal steps of half the interval or so: rounding decides about nothing there.
        let mut learnt = native.learnt();
        learnt.ideal = Some(1.5);
        device.set_learnt(learnt).expect("what solves can teach");
        native.set_learnt(learnt).expect("what solves can teach");
        let found = gpu.block_on(device.gradients(&batch)).expect("a valid batch");
        let expected = native.gradients(&wide).expect("a valid batch");
        let (a, b) = (&found.report, &expected.report);
        // Single trajectories may take another number of steps at f64.
        if lockstep {
            assert_eq!((a.nfe, a.accepted, a.rejected), (b.nfe, b.accepted, b.rejected), "{name}: costs");
        }
        assert_eq!(
            (a.end_time, a.coefficient, a.global_coefficient),
            (b.end_time, b.coefficient, b.global_coefficient)
        );
        assert_eq!(a.nfe_penalty, b.nfe_penalty, "{name}");
        close(&format!("{name}: loss"), &[a.loss], &[b.loss], 2e-5);
        assert_eq!(a.global_penalty.is_some(), b.global_penalty.is_some(), "{name}");
        let penalties = [a, b].map(|report| [report.penalty, report.global_penalty.unwrap_or(0.0)]);
        for (a, b) in penalties[0].iter().zip(penalties[1]) {
            assert!((a - b).abs() <= tolerance * b.abs(), "{name}: penalty {a} for {b}");
        }
        assert_eq!(a.pointwise.iter().count(), b.pointwise.iter().count(), "{name}");
        for (a, b) in a.pointwise.iter().zip(b.pointwise.iter()) {
            assert_eq!((a.measure, a.coefficient), (b.measure, b.coefficient), "{name}");
            let near = (a.penalty - b.penalty).abs() <= tolerance * b.penalty.abs();
            assert!(near, "{name}: {:?} {} for {}", a.measure, a.penalty, b.penalty);
        }
        close(&name, &widen(&found.gradient), &widen(&expected.gradient), tolerance);
        assert!(largest(&expected.gradient) > 1e-4, "{name}: there is a gradient");
        let made = gpu.block_on(device.step(&batch)).expect("a valid batch");
        assert_eq!((made.loss, made.penalty, made.end_time), (a.loss, a.penalty, a.end_time), "{name}: twice the same");
        native.step(&wide).expect("a valid batch");
        // Evaluations go to the end, and leave training alone.
        let theta = gpu.block_on(device.parameters()).expect("a device");
        native.set_parameters(&widen(&theta)).expect("parameters of the same model");
        let (a, b) =
            (gpu.block_on(device.evaluate(&batch)).expect("a batch"), native.evaluate(&wide).expect("a batch"));
        close(&format!("{name}: evaluation"), &[a.loss], &[b.loss], 2e-5);
        accepted = Some(found.report.accepted);
    }
    accepted
}

#[test]
fn ends_are_drawn_as_natively() {
    for layout in LAYOUTS {
        for width in WIDTHS {
            let end_time = EndTime::within(0.5);
            let plain = model(width, layout);
            compare(&format!("{layout:?} {width}"), plain.clone(), end_time.into(), 2e-3, 4);
            let mut fixed = plain.clone();
            fixed.options = fixed.options.step_control(StepControl::Fixed { steps: 4 });
            compare(&format!("{layout:?} {width}, fixed"), fixed, end_time.into(), 1e-3, 4);
            // Lengths are times, not shares; a drawn end may come before a stop.
            let mut bound = plain.clone();
            bound.options = bound.options.largest_step(0.35).stop_at(vec![0.5, 1.8]);
            if let StepControl::Adaptive { initial_step, .. } = &mut bound.options.step_control {
                *initial_step = InitialStep::Length(0.2);
            }
            compare(&format!("{layout:?} {width}, bound"), bound, end_time.into(), 5e-3, 4);
            // Of steps so long that their errors are more than rounding.
            let mut long = plain;
            long.options = long.options.tolerances(Tolerances::both(0.1));
            let local = Local::unbiased().gradient(PenaltyGradient::Full).fraction(1.0).coefficient(0.3);
            let both = Regularizer::from(end_time).and(local.clone());
            compare(&format!("{layout:?} {width}, local"), long.clone(), both, 2e-2, 4);
            let both = Regularizer::from(end_time).and(local.at(PenaltyAt::Biased));
            compare(&format!("{layout:?} {width}, biased"), long, both, 2e-2, 4);
        }
    }
}

/// What drives a field does so at its own times, wherever the interval ends.
#[test]
fn a_driven_solver_ends_where_it_is_told() {
    let Some(gpu) = gpu() else { return };
    let field = Field::build(1, |f| f.control("u") - f.state() * f.state()).expect("a field");
    let times = [0.0, 0.4, 0.9, 1.4, 2.0];
    let problem = Problem::ode(field, 0.0, 1.2).driven_by(Control::new("u", Interpolation::Linear, times));
    let values = [0.3f32, -0.5, 1.0, 0.2, 2.0];
    for layout in LAYOUTS {
        let options = SolverOptions::default().layout(layout).tolerances(Tolerances::both(1e-5));
        let mut native = native_solver::<f64>(&problem, &options);
        native.set_control("u", &values.map(f64::from)).expect("a control");
        for whole in [true, false] {
            let solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let mut solver = if whole { solver } else { solver.layer_by_layer() };
            solver.set_control("u", &values).expect("a control");
            for step in 0..4 {
                // The third one goes to the problem's end.
                let regularizer = if step == 2 { Regularizer::None } else { EndTime::within(0.6).into() };
                solver.regularize(&regularizer, 1, step).expect("a valid regularizer");
                native.regularize(&regularizer, 1, step).expect("a valid regularizer");
                let found = gpu.block_on(solver.solve(&[], &[0.5, -0.2])).expect("solved");
                let expected = native.solve(&[], &[0.5, -0.2]).expect("solved");
                let name = format!("{layout:?}, whole {whole}, step {step}");
                assert_eq!(found.ts, expected.ts, "{name}");
                close(&name, &widen(&found.ys), &expected.ys, 3e-5);
                let found = gpu.block_on(solver.gradients(&found.ys)).expect("solved before");
                let expected = native.gradients(&expected.ys).expect("solved before");
                close(&format!("{name}: y0"), &widen(&found.y0), &expected.y0, 2e-4);
                let [found, expected] = [
                    widen(&gpu.block_on(solver.predict(&[], &[0.5, -0.2])).expect("solved").ys),
                    native.predict(&[], &[0.5, -0.2]).expect("solved").ys,
                ];
                close(&format!("{name}: prediction"), &found, &expected, 3e-5);
            }
        }
    }
}

const AGGREGATES: [Aggregate; 4] = [Aggregate::Sum, Aggregate::Mean, Aggregate::PublishedMean, Aggregate::Max];

fn global(measure: Measure, aggregate: Aggregate) -> Global {
    let mut global = Global::error().aggregate(aggregate).coefficient(0.7);
    global.measure = measure;
    global
}

#[test]
fn all_steps_are_penalised_as_natively() {
    for layout in LAYOUTS {
        for width in WIDTHS {
            for measure in [Measure::Error, Measure::StepCount] {
                for aggregate in AGGREGATES {
                    let name = format!("{layout:?} {width} {measure:?} {aggregate:?}");
                    compare(&name, model(width, layout), global(measure, aggregate).into(), 5e-3, 1);
                }
            }
        }
    }
}

#[test]
fn all_steps_of_other_methods_and_walks() {
    for layout in LAYOUTS {
        for method in [Method::Heun, Method::Bosh3, Method::Dopri5] {
            let mut model = model(3, layout);
            model.options = model.options.method(method).tolerances(Tolerances::both(1e-2));
            model.options.adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(3) };
            let both = global(Measure::StepCount, Aggregate::Sum);
            compare(&format!("{layout:?} {method}"), model.clone(), both.clone().into(), 5e-3, 2);
            model.options = model.options.tolerances(Tolerances::both(0.1));
            // With states within steps, and penalised steps that reach into the walk.
            let local = Local::biased().gradient(PenaltyGradient::Full).fraction(1.0).coefficient(0.2);
            let both = Regularizer::from(both).and(local);
            compare(&format!("{layout:?} {method}, both"), model, both.clone().and(EndTime::within(0.3)), 2e-2, 2);
        }
    }
}

/// A solve that outgrows its table of steps, and trajectories that fail.
#[test]
fn all_steps_of_long_solves_and_failing_batches() {
    let Some(gpu) = gpu() else { return };
    let regularizer: Regularizer = global(Measure::Error, Aggregate::Mean).into();
    for (layout, width) in LAYOUTS.into_iter().flat_map(|layout| WIDTHS.map(|width| (layout, width))) {
        let mut model = model(width, layout);
        model.options = model.options.method(Method::Heun).tolerances(Tolerances::both(3e-4));
        let steps = compare(&format!("{layout:?} {width}, long"), model, regularizer.clone(), 5e-3, 1);
        assert!(steps.is_none_or(|steps| steps > 32), "more than there is room for at first: {steps:?}");
    }
    // Of what is negative there is no root.
    let field = Field::build(1, |f| f.parameters("a", &[1.0]) * f.state().sqrt() - f.state()).expect("a field");
    for layout in LAYOUTS {
        let options = SolverOptions::default().method(Method::Heun).layout(layout);
        let options = options.tolerances(Tolerances::both(1e-3));
        let problem = Problem::ode(field.clone(), 0.0, 1.0);
        let mut native = native_solver::<f64>(&problem, &options);
        for whole in [true, false] {
            let solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let mut solver = if whole { solver } else { solver.layer_by_layer() };
            solver.regularize(&regularizer, 1, 0).expect("a valid regularizer");
            native.regularize(&regularizer, 1, 0).expect("a valid regularizer");
            let found = gpu.block_on(solver.solve(&[1.0], &[0.5, -2.0, 1.3])).expect("solved");
            let expected = native.solve(&[1.0], &[0.5, -2.0, 1.3]).expect("solved");
            let name = format!("{layout:?}, whole {whole}");
            assert_eq!(found.status, expected.status, "{name}");
            assert!(found.status[1] != Status::Done && found.status[2] == Status::Done, "{name}: {:?}", found.status);
            let found = gpu.block_on(solver.gradients(&[1.0; 3])).expect("solved before");
            let expected = native.gradients(&[1.0; 3]).expect("solved before");
            let penalties = [found.global_penalty.expect("a penalty"), expected.global_penalty.expect("a penalty")];
            close(&format!("{name}: penalty"), &penalties[..1], &penalties[1..], 2e-2);
            close(&format!("{name}: theta"), &widen(&found.theta), &expected.theta, 2e-2);
            close(&format!("{name}: y0"), &widen(&found.y0), &expected.y0, 2e-2);
        }
    }
}

/// Along paths of noise too, with states saved within steps.
#[test]
fn all_steps_of_stochastic_solves() {
    let Some(gpu) = gpu() else { return };
    for layout in LAYOUTS {
        for (method, width) in [(Method::Sosri, 2), (Method::StratonovichHeun, 5), (Method::ReversibleHeun, 3)] {
            let (drift, network) = (Mlp::new([width, 6, width]).time_input(TimeInput::Every), Mlp::new([width, width]));
            let diffusion =
                if method == Method::Sosri { Diffusion::ito(network) } else { Diffusion::stratonovich(network) };
            let problem = Problem::sde(drift, diffusion, 0.0, 1.0);
            let options = SolverOptions::sde(Tolerances::both(0.1)).method(method).layout(layout);
            let options = options.save_at(SaveAt::Times(vec![0.0, 0.37, 1.0]));
            let theta: Vec<f32> = cast(&numbers(7, problem.parameter_count()));
            let y0: Vec<f32> = cast(&numbers(8, 4 * width));
            let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let mut native = native_solver::<f64>(&problem, &options);
            for measure in [Measure::Error, Measure::StepCount] {
                let name = format!("{layout:?} {method} {measure:?}");
                let regularizer = global(measure, Aggregate::Sum).into();
                solver.regularize(&regularizer, 1, 0).expect("a valid regularizer");
                native.regularize(&regularizer, 1, 0).expect("a valid regularizer");
                let found = gpu.block_on(solver.solve(&theta, &y0)).expect("solved");
                let expected = native.solve(&widen(&theta), &widen(&y0)).expect("solved");
                assert_eq!(found.stats, expected.stats, "{name}");
                let bars = vec![1.0f32; found.ys.len()];
                let found = gpu.block_on(solver.gradients(&bars)).expect("solved before");
                let expected = native.gradients(&widen(&bars)).expect("solved before");
                assert_eq!(found.products, expected.products, "{name}");
                close(&format!("{name}: penalty"), &[found.penalty], &[expected.penalty], 2e-3);
                close(&format!("{name}: theta"), &widen(&found.theta), &expected.theta, 5e-3);
                close(&format!("{name}: y0"), &widen(&found.y0), &expected.y0, 5e-3);
            }
        }
    }
}

#[test]
fn what_a_device_does_not_do_is_refused() {
    let Some(gpu) = gpu() else { return };
    let config =
        |regularizer: Regularizer| TrainerConfig::new(model(3, Layout::Lockstep), Loss::Mse).regularizer(regularizer);
    let mut long = config(Global::error().into());
    for (steps, fits) in [(32_000, true), (32_001, false)] {
        long.model.options.max_steps = steps;
        match GpuTrainer::new(&gpu, long.clone()) {
            Ok(_) => assert!(fits, "{steps} steps"),
            Err(error) => {
                let error = error.to_string();
                assert!(!fits && error.starts_with("SolverOptions::max_steps = 32001"), "{steps} steps: {error}");
            }
        }
    }
    let mut trainer = GpuTrainer::new(&gpu, config(EndTime::within(0.5).into())).expect("a valid configuration");
    let error = gpu.block_on(trainer.prepare(BATCH, 2, 8)).expect_err("no host between them").to_string();
    assert!(error.starts_with("regularizer = end time in recorded steps"), "{error}");
    let mut stiff = config(Global::stiffness().into());
    stiff.model.options.method = Method::Tsit5;
    let error = GpuTrainer::new(&gpu, stiff).expect_err("stages").to_string();
    assert!(error.starts_with("Global::measure = Stiffness: a device"), "{error}");
}
