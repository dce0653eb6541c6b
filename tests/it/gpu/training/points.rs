//! Measures of the dynamics at random times on the device, against the native engine at f64, and against known values.

use super::regularizers::{BATCH, WIDTHS, compare, model};
use crate::oracle::{LAYOUTS, cast, close, gpu, numbers, solver as native_solver, widen};
use fewsteps::{
    Adjoint, Aggregate, Batch, Checkpoints, Control, EndTime, Field, Global, GpuSolver, GpuTrainer, Interpolation,
    Layout, Local, Loss, Method, Mlp, NeuralDe, PenaltyAt, PenaltyGradient, PointMeasure, Pointwise, Problem,
    Regularizer, SaveAt, SolverOptions, Status, StepControl, Target, TimeInput, Tolerances, Trace, TrainerConfig,
};

fn point(measure: PointMeasure) -> Pointwise {
    Pointwise::new(measure).coefficient(0.3)
}

/// Several measures at once, half of them with a gradient that goes on into the states.
fn several(measures: &[PointMeasure], times: usize) -> Regularizer {
    measures.iter().enumerate().fold(Regularizer::None, |all, (n, measure)| {
        let gradient = [PenaltyGradient::Full, PenaltyGradient::Step][n % 2];
        all.and(point(*measure).coefficient(0.1 * (n + 1) as f64).gradient(gradient).times(times))
    })
}

fn all(times: usize) -> Regularizer {
    several(&PointMeasure::ALL, times)
}

#[test]
fn points_are_measured_as_natively() {
    for layout in LAYOUTS {
        for width in WIDTHS {
            for measure in PointMeasure::ALL {
                for gradient in [PenaltyGradient::Step, PenaltyGradient::Full] {
                    let name = format!("{layout:?} {width} {measure:?} {gradient:?}");
                    compare(&name, model(width, layout), point(measure).gradient(gradient).into(), 2e-4, 2);
                }
            }
        }
    }
}

/// At several times, beside one another and beside penalties of steps, whose probes are at the same times; to ends that are drawn.
#[test]
fn points_of_several_regularizers() {
    for layout in LAYOUTS {
        for width in WIDTHS {
            let mut model = model(width, layout);
            let name = format!("{layout:?} {width}");
            compare(&name, model.clone(), all(3), 3e-4, 2);
            compare(&format!("{name}, an end"), model.clone(), all(2).and(EndTime::within(0.5)), 3e-4, 3);
            model.options = model.options.tolerances(Tolerances::both(0.1));
            for at in [PenaltyAt::Unbiased, PenaltyAt::Biased] {
                for gradient in [PenaltyGradient::Step, PenaltyGradient::Full] {
                    // Places among the steps are drawn apart from times.
                    let times = if at == PenaltyAt::Biased { 3 } else { 2 };
                    let local = Local::unbiased().at(at).gradient(gradient).times(times);
                    let local = local.fraction(1.0).coefficient(0.3);
                    let global = Global::error().aggregate(Aggregate::Sum).coefficient(0.7);
                    let every = all(2).and(local).and(global);
                    compare(&format!("{name} {at:?} {gradient:?}"), model.clone(), every, 2e-2, 2);
                }
            }
        }
    }
}

/// Regularizers that draw different numbers of times, whose order changes with the step.
#[test]
fn points_at_several_numbers_of_times() {
    for layout in LAYOUTS {
        for width in WIDTHS {
            let mut model = model(width, layout);
            let name = format!("{layout:?} {width}");
            let full = |of: Pointwise, times| of.gradient(PenaltyGradient::Full).times(times).coefficient(0.3);
            let points = Regularizer::from(full(Pointwise::kinetic(), 3))
                .and(full(Pointwise::jacobian(), 2))
                .and(full(Pointwise::straightness(), 3))
                .and(point(PointMeasure::SecondDerivative));
            compare(&name, model.clone(), points.clone(), 3e-4, 4);
            model.options = model.options.tolerances(Tolerances::both(0.1));
            for (at, times) in [(PenaltyAt::Unbiased, 5), (PenaltyAt::Unbiased, 2), (PenaltyAt::Biased, 4)] {
                let local = Local::unbiased().at(at).gradient(PenaltyGradient::Full).times(times);
                let local = local.fraction(1.0).coefficient(0.3);
                compare(&format!("{name} {at:?} {times}"), model.clone(), points.clone().and(local), 2e-2, 3);
            }
        }
    }
}

/// As many as there is room for.
#[test]
fn points_at_sixty_four_times() {
    let every = Regularizer::from(Pointwise::kinetic().gradient(PenaltyGradient::Full).times(40))
        .and(Pointwise::straightness().times(24));
    for layout in LAYOUTS {
        compare(&format!("{layout:?}"), model(3, layout), every.clone(), 3e-4, 2);
    }
}

/// With equal steps, in tiles where the state is wide, with a tape that is shorter than the solve, and with one that grows.
#[test]
fn points_of_other_solves_and_walks() {
    for layout in LAYOUTS {
        for width in WIDTHS {
            let name = format!("{layout:?} {width}");
            let mut fixed = model(width, layout);
            fixed.options = fixed.options.step_control(StepControl::Fixed { steps: 7 });
            compare(&format!("{name}, fixed"), fixed.clone(), all(2), 2e-4, 1);
            fixed.options.adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(3) };
            compare(&format!("{name}, checkpoints"), fixed, all(2), 2e-4, 1);
            let mut long = model(width, layout);
            long.options = long.options.method(Method::Heun).tolerances(Tolerances::both(1e-4));
            let steps = compare(&format!("{name}, long"), long, all(1), 1e-3, 1);
            assert!(steps.is_none_or(|steps| steps > 32), "more than there is room for at first: {steps:?}");
        }
    }
}

/// Fields that were written out: few rows, which are told apart, and many.
fn written() -> [Field; 3] {
    let few = Field::build(3, |f| {
        let (y, a) = (f.state(), f.parameters("a", &[0.4, -0.3, 0.8]));
        let gate = f.mlp("gate", &Mlp::new([3, 5, 3]).time_input(TimeInput::Every), &y).sigmoid();
        gate * (&a * y.square()).sin() + y.mean() * f.time().cos() - 0.3 * y.softplus()
    });
    let many = Field::build(40, |f| {
        let y = f.state();
        let net = f.mlp("net", &Mlp::new([40, 7, 40]).time_input(TimeInput::Every), &y);
        net.tanh() * (1.0 + 0.1 * y.dot(&y)).sqrt() - 0.5 * &y
    });
    let alone = Field::build(2, |f| f.parameters("speed", &[0.4, -0.7]) * f.time().square());
    [few, many, alone].map(|field| field.expect("a field"))
}

#[test]
fn points_of_written_fields() {
    // Third derivatives of wide ones are long texts, which a software adapter takes its time for.
    let few = [PointMeasure::SecondDerivative, PointMeasure::Jacobian, PointMeasure::Straightness];
    for (field, measures) in written().into_iter().zip([&PointMeasure::ALL[..], &few, &few]) {
        for layout in LAYOUTS {
            let name = format!("{} features, {layout:?}", field.inputs());
            let options = SolverOptions::default().layout(layout).step_control(StepControl::Fixed { steps: 4 });
            let model = NeuralDe::new(Problem::ode(field.clone(), 0.1, 1.1), options);
            // Behind an encoder the field's parameters are not the first ones.
            compare(
                &format!("{name}, behind an encoder"),
                model.clone().encoder(field.inputs()),
                several(&few[1..], 1),
                5e-4,
                1,
            );
            compare(&name, model, several(measures, 2), 5e-4, 1);
        }
    }
}

/// A share of the batch; times that the caller saves too, the ends among them; and back in time.
#[test]
fn points_of_a_share_beside_saved_times() {
    let Some(gpu) = gpu() else { return };
    let field = Mlp::new([3, 6, 3]).time_input(TimeInput::Every);
    let theta: Vec<f32> = cast(&numbers(3, Field::from(&field).parameter_count()));
    let y0: Vec<f32> = cast(&numbers(4, 70 * 3));
    for (layout, [t0, t1]) in LAYOUTS.into_iter().zip([[0.2, 1.4], [1.4, 0.2]]) {
        let problem = Problem::ode(field.clone(), t0, t1);
        let options = SolverOptions::default().layout(layout).step_control(StepControl::Fixed { steps: 5 });
        let options = options.save_at(SaveAt::Times(vec![t0, 0.5 * (t0 + t1), t1]));
        let mut native = native_solver::<f64>(&problem, &options);
        for whole in [true, false] {
            let solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let mut solver = if whole { solver } else { solver.layer_by_layer() };
            for step in 0..2 {
                let name = format!("{layout:?}, whole {whole}, step {step}");
                let straight = Pointwise::straightness().gradient(PenaltyGradient::Full).times(2).fraction(0.5);
                let jacobian = Pointwise::jacobian().gradient(PenaltyGradient::Full).times(2).fraction(0.2);
                let regularizer = Regularizer::from(straight.coefficient(2.0)).and(jacobian.coefficient(1.0));
                solver.regularize(&regularizer, 9, step).expect("a valid regularizer");
                native.regularize(&regularizer, 9, step).expect("a valid regularizer");
                let found = gpu.block_on(solver.solve(&theta, &y0)).expect("solved");
                let expected = native.solve(&widen(&theta), &widen(&y0)).expect("solved");
                close(&name, &widen(&found.ys), &expected.ys, 2e-5);
                let bars: Vec<f32> = cast(&numbers(5, found.ys.len()));
                let expected = native.gradients(&widen(&bars)).expect("solved before");
                // Twice, of one solve: nothing adds up.
                for _ in 0..2 {
                    let found = gpu.block_on(solver.gradients(&bars)).expect("solved before");
                    close(&format!("{name}: penalty"), &[found.penalty], &[expected.penalty], 2e-5);
                    for measure in [PointMeasure::Jacobian, PointMeasure::Straightness] {
                        let [a, b] = [found.pointwise, expected.pointwise].map(|of| of.get(measure).expect("a value"));
                        close(&format!("{name}: {measure:?}"), &[a.penalty], &[b.penalty], 2e-5);
                        assert_eq!(a.coefficient, b.coefficient);
                    }
                    close(&format!("{name}: theta"), &widen(&found.theta), &expected.theta, 1e-4);
                    close(&format!("{name}: y0"), &widen(&found.y0), &expected.y0, 1e-4);
                }
            }
        }
    }
}

/// Fields that are not there where the state is negative, nor their slopes where it is zero, with parameters: `a sqrt(y) - y`,
/// and one in whose gradient the logarithm itself is a factor.
pub(super) fn of_positive_states() -> [(Field, Vec<f32>); 2] {
    let root = Field::build(1, |f| f.parameters("a", &[1.0]) * f.state().sqrt() - f.state());
    let logarithm = Field::build(1, |f| f.mlp("net", &Mlp::new([1, 3, 1]), &f.state().ln()) * f.state());
    let [root, logarithm] = [root, logarithm].map(|field| field.expect("a field"));
    let theta = cast(&numbers(8, logarithm.parameter_count()));
    [(root, vec![1.0]), (logarithm, theta)]
}

#[test]
fn points_of_trajectories_that_failed_are_left_out() {
    let Some(gpu) = gpu() else { return };
    for ((field, theta), layout) in of_positive_states().into_iter().flat_map(|of| LAYOUTS.map(|l| (of.clone(), l))) {
        let options = SolverOptions::default().layout(layout).tolerances(Tolerances::both(1e-3));
        let problem = Problem::ode(field.clone(), 0.0, 1.0);
        let mut native = native_solver::<f64>(&problem, &options);
        for whole in [true, false] {
            let solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let mut solver = if whole { solver } else { solver.layer_by_layer() };
            let name = format!("{} parameters, {layout:?}, whole {whole}", theta.len());
            solver.regularize(&all(2), 1, 0).expect("a valid regularizer");
            native.regularize(&all(2), 1, 0).expect("a valid regularizer");
            let found = gpu.block_on(solver.solve(&theta, &[0.5, -2.0, 1.3])).expect("solved");
            let expected = native.solve(&widen(&theta), &[0.5, -2.0, 1.3]).expect("solved");
            assert_eq!(found.status, expected.status, "{name}");
            assert!(found.status[1] != Status::Done && found.status[2] == Status::Done, "{name}: {:?}", found.status);
            let found = gpu.block_on(solver.gradients(&[1.0; 3])).expect("solved before");
            let expected = native.gradients(&[1.0; 3]).expect("solved before");
            for (a, b) in found.pointwise.iter().zip(expected.pointwise.iter()) {
                close(&format!("{name}: {:?}", a.measure), &[a.penalty], &[b.penalty], 2e-4);
            }
            assert_eq!(found.pointwise.iter().count(), PointMeasure::ALL.len());
            close(&format!("{name}: theta"), &widen(&found.theta), &expected.theta, 5e-4);
            close(&format!("{name}: y0"), &widen(&found.y0), &expected.y0, 5e-4);
            // A mean over none.
            gpu.block_on(solver.solve(&theta, &[-1.0, -2.0, -1.3])).expect("solved");
            let found = gpu.block_on(solver.gradients(&[1.0; 3])).expect("solved before");
            assert!(found.pointwise.iter().all(|value| value.penalty.is_nan()), "{name}: {:?}", found.pointwise);
            assert!(found.theta.iter().chain(&found.y0).all(|x| *x == 0.0), "{name}: {found:?}");
        }
    }
}

/// Of a flow the features alone are measured.
#[test]
fn points_of_flows() {
    for (layout, trace) in LAYOUTS.into_iter().zip([Trace::Exact, Trace::Hutchinson]) {
        let field = Field::from(Mlp::new([2, 4, 2]).time_input(TimeInput::Every)).with_log_density(trace);
        let options = SolverOptions::default().layout(layout).step_control(StepControl::Fixed { steps: 3 });
        let model = NeuralDe::new(Problem::ode(field.expect("a vector field"), 0.0, 1.0), options);
        let measures = [PointMeasure::SecondDerivative, PointMeasure::Straightness, PointMeasure::Jacobian];
        let measures = if trace == Trace::Exact { &measures[..] } else { &measures[1..] };
        compare(&format!("{trace:?}"), model, several(measures, 1), 5e-4, 2);
    }
}

/// Values of two independent computations: recurrences of Taylor coefficients, and nested derivatives. In a moment the state
/// stays where it began.
#[test]
fn derivatives_on_a_device_are_what_they_are_known_to_be() {
    let Some(gpu) = gpu() else { return };
    let theta = [
        [0.5f32, -0.3, 0.8, -0.7, 0.2, 0.4, 0.3, 0.6, -0.5, 0.1, -0.2, 0.05].as_slice(),
        &[0.4, -0.6, 0.9, 0.1, -0.3, 0.7, 0.2, -0.1, -0.05, 0.15],
    ]
    .concat();
    let moment = f64::powi(2.0, -14);
    let problem = Problem::ode(Mlp::new([2, 3, 2]).time_input(TimeInput::Every), 0.3, 0.3 + moment);
    let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 1 });
    let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
    for (order, rho, slope) in [
        (2, 0.609_220_726_487_093_7, -0.130_033_852_819_007_6),
        (3, 0.007_703_299_051_759_167_5, -0.001_543_895_615_031_050_4),
    ] {
        let taylor = Pointwise::taylor(order).expect("an order").coefficient(2.0 / moment);
        solver.regularize(&taylor.into(), 1, 0).expect("a valid regularizer");
        gpu.block_on(solver.solve(&theta, &[0.6, -0.4])).expect("solved");
        let found = gpu.block_on(solver.gradients(&[0.0; 2])).expect("solved before");
        let [value, first] = [found.penalty / moment, f64::from(found.theta[0]) / 2.0];
        assert!((value / rho - 1.0).abs() < 2e-3, "order {order}: {value} for {rho}");
        assert!((first / slope - 1.0).abs() < 2e-3, "order {order}: {first} for {slope}");
        assert_eq!(found.y0, [0.0; 2], "the state is a constant");
    }
}

#[test]
fn points_that_a_device_does_not_measure_are_refused() {
    let Some(gpu) = gpu() else { return };
    let refused = |regularizer: Regularizer| {
        let config = TrainerConfig::new(model(3, Layout::Lockstep), Loss::Mse).regularizer(regularizer);
        GpuTrainer::new(&gpu, config).expect_err("no such points").to_string()
    };
    let error = refused(Regularizer::from(Local::unbiased().times(33)).and(Pointwise::jacobian().times(32)));
    assert!(error.starts_with("Pointwise::times = 65 times of all regularizers"), "{error}");
    let field = Field::build(1, |f| f.control("u") - f.state()).expect("a field");
    let driven = Problem::ode(field, 0.0, 1.0).driven_by(Control::new("u", Interpolation::Linear, [0.0, 1.0]));
    let mut solver = GpuSolver::new(&gpu, &driven, &SolverOptions::default()).expect("a valid problem");
    let error = solver.regularize(&Pointwise::kinetic().into(), 0, 0).expect_err("a driven field").to_string();
    assert!(error.starts_with("regularizer = pointwise with control"), "{error}");
}

/// What is not asked for is not there, and a solve is the same to the bit.
#[test]
fn points_leave_solves_as_they_are() {
    let Some(gpu) = gpu() else { return };
    for layout in LAYOUTS {
        let states: Vec<f32> = cast(&numbers(2, BATCH * 3));
        let batch = Batch { inputs: &states, target: Target::States(&states) };
        let report = |regularizer: Regularizer| {
            let config = TrainerConfig::new(model(3, layout), Loss::Mse).regularizer(regularizer);
            let mut trainer = GpuTrainer::new(&gpu, config).expect("a valid configuration");
            gpu.block_on(trainer.gradients(&batch)).expect("a valid batch").report
        };
        let (with, without) = (report(all(2)), report(Regularizer::None));
        assert_eq!((with.loss, with.nfe, with.accepted), (without.loss, without.nfe, without.accepted), "{layout:?}");
        // Two derivatives, kinetic energy, Jacobian and straightness cost 2, 3, 1, 2 and 1 evaluations.
        assert_eq!((with.nfe_penalty, without.nfe_penalty), (18, 0), "{layout:?}");
        assert!(without.pointwise.is_empty() && with.pointwise.iter().count() == 5, "{layout:?}");
        let first = with.pointwise.get(PointMeasure::SecondDerivative).expect("a value");
        assert_eq!((with.penalty, with.coefficient), (first.penalty, first.coefficient), "{layout:?}");
    }
}
