//! Measures over all accepted steps on the device, against the native engine at f64, integrals that are known, and differences
//! of values.

use super::points::of_positive_states;
use super::regularizers::{WIDTHS, compare, model};
use crate::oracle::{LAYOUTS, bits, cast, close, cpu, fixed, gpu, numbers, scaled, solver as native_solver, widen};
use fewsteps::{
    Adjoint, Aggregate, Batch, Checkpoints, EndTime, Field, Global, GpuSolver, GpuTrainer, InputMap, Local, Loss,
    Method, Mlp, NeuralDe, Optimizer, PenaltyAt, PenaltyGradient, PointMeasure, Pointwise, Problem, Regularizer,
    SaveAt, SolverOptions, Status, Target, TimeInput, Tolerances, Trace, Trainer, TrainerConfig,
};

fn integral(measure: PointMeasure) -> Pointwise {
    Pointwise::new(measure).quadrature().coefficient(0.3)
}

/// Several measures at once, half of them with a gradient that goes on into the states.
fn several(measures: &[PointMeasure]) -> Regularizer {
    measures.iter().enumerate().fold(Regularizer::None, |all, (n, measure)| {
        let gradient = [PenaltyGradient::Full, PenaltyGradient::Step][n % 2];
        all.and(integral(*measure).coefficient(0.1 * (n + 1) as f64).gradient(gradient))
    })
}

fn all() -> Regularizer {
    several(&PointMeasure::ALL)
}

#[test]
fn integrals_are_those_of_the_native_engine() {
    for layout in LAYOUTS {
        for width in WIDTHS {
            compare(&format!("{layout:?} {width}, all"), model(width, layout), all(), 3e-4, 2);
        }
        for measure in PointMeasure::ALL {
            compare(&format!("{layout:?} {measure:?}"), model(3, layout), integral(measure).into(), 3e-4, 1);
        }
    }
}

/// Beside measures at random times, penalised steps, and the errors of all steps; to ends that are drawn.
#[test]
fn integrals_beside_other_regularizers() {
    for layout in LAYOUTS {
        for width in WIDTHS {
            let mut model = model(width, layout);
            let name = format!("{layout:?} {width}");
            let drawn = Pointwise::straightness().gradient(PenaltyGradient::Full).times(2).coefficient(0.4);
            let both = several(&PointMeasure::ALL[..4]).and(drawn.clone());
            compare(&format!("{name}, an end"), model.clone(), both.and(EndTime::within(0.5)), 3e-4, 2);
            model.options = model.options.tolerances(Tolerances::both(0.1));
            for at in [PenaltyAt::Unbiased, PenaltyAt::Biased] {
                let local = Local::unbiased().at(at).gradient(PenaltyGradient::Full).times(3);
                let local = local.fraction(1.0).coefficient(0.3);
                let global = Global::error().aggregate(Aggregate::Sum).coefficient(0.7);
                let every = several(&PointMeasure::ALL[2..4]).and(drawn.clone()).and(local).and(global);
                compare(&format!("{name} {at:?}"), model.clone(), every, 2e-2, 1);
            }
        }
    }
}

/// Values and gradients of a solver against the native one's, with the regularizer's draws of so many steps.
fn against(name: &str, problem: &Problem, options: &SolverOptions, regularizer: &Regularizer, rows: usize, bound: f64) {
    let Some(gpu) = gpu() else { return };
    let theta: Vec<f32> = cast(&scaled(1.5, &numbers(3, problem.parameter_count())));
    let y0: Vec<f32> = cast(&numbers(4, rows * problem.dim()));
    let mut native = native_solver::<f64>(problem, options);
    let mut solver = GpuSolver::new(&gpu, problem, options).expect("a valid problem");
    solver.regularize(regularizer, 9, 3).expect("a valid regularizer");
    native.regularize(regularizer, 9, 3).expect("a valid regularizer");
    let found = gpu.block_on(solver.solve(&theta, &y0)).expect("solved");
    let expected = native.solve(&widen(&theta), &widen(&y0)).expect("solved");
    close(&format!("{name}: states"), &widen(&found.ys), &expected.ys, 2e-5);
    let bars: Vec<f32> = cast(&scaled(0.1, &numbers(5, found.ys.len())));
    let expected = native.gradients(&widen(&bars)).expect("solved before");
    let all: Vec<_> = (0..2).map(|_| gpu.block_on(solver.gradients(&bars)).expect("solved before")).collect();
    for found in &all {
        assert_eq!(found.pointwise.iter().count(), expected.pointwise.iter().count(), "{name}");
        for (a, b) in found.pointwise.iter().zip(expected.pointwise.iter()) {
            assert_eq!((a.measure, a.coefficient), (b.measure, b.coefficient), "{name}");
            close(&format!("{name}: {:?}", a.measure), &[a.penalty], &[b.penalty], bound);
        }
        close(&format!("{name}: theta"), &widen(&found.theta), &expected.theta, bound);
        close(&format!("{name}: y0"), &widen(&found.y0), &expected.y0, bound);
    }
    // Nothing adds up from one walk to the next.
    let [a, b] = [&all[0], &all[1]].map(|found| (bits(&found.theta), bits(&found.y0), found.pointwise));
    assert_eq!(a, b, "{name}: the same bits twice");
}

/// One row, one more than a tile has, and more than two tiles; forward and back in time; steps that are chosen and equal ones;
/// all states kept, and some; states saved within steps, and of a share of the batch.
#[test]
fn integrals_of_batches_intervals_and_tapes() {
    let field = Mlp::new([3, 6, 3]).time_input(TimeInput::Every);
    let full = |measure: PointMeasure| integral(measure).coefficient(1.0);
    let regularizer = Regularizer::from(full(PointMeasure::Straightness).fraction(0.5))
        .and(full(PointMeasure::Jacobian).fraction(0.2))
        .and(full(PointMeasure::SecondDerivative));
    for layout in LAYOUTS {
        for (rows, stride, [t0, t1]) in
            [(1, 1, [0.2, 1.4]), (33, 3, [1.4, 0.2]), (70, 3, [0.2, 1.4]), (70, 1, [1.4, 0.2])]
        {
            let problem = Problem::ode(field.clone(), t0, t1);
            let saves = SaveAt::Times(vec![t0, 0.6 * t0 + 0.4 * t1, t1]);
            // Of such tolerances rounding decides about no step.
            let adaptive = SolverOptions::default().method(Method::Bosh3).tolerances(Tolerances::both(1e-3));
            for (kind, options) in [("adaptive", adaptive), ("fixed", fixed(Method::Tsit5, 5))] {
                let checkpoints = Checkpoints::Stride(stride);
                let options = options.layout(layout).save_at(saves.clone()).adjoint(Adjoint::Discrete { checkpoints });
                let name = format!("{layout:?}, {rows} rows from {t0}, {kind}, stride {stride}");
                against(&name, &problem, &options, &regularizer, rows, 1e-4);
            }
        }
    }
}

/// Methods whose last stage is the next step's first and others, and weights that are zero or negative.
#[test]
fn integrals_of_every_method() {
    let problem = Problem::ode(Mlp::new([2, 5, 2]).time_input(TimeInput::Every), 0.0, 1.0);
    let regularizer = Regularizer::from(integral(PointMeasure::Kinetic)).and(integral(PointMeasure::Jacobian));
    for method in [Method::Euler, Method::Heun, Method::Rk4, Method::Bosh3, Method::Dopri5, Method::Tsit5] {
        for layout in LAYOUTS {
            let options = fixed(method, 4).layout(layout);
            against(&format!("{method}, {layout:?}"), &problem, &options, &regularizer, 33, 3e-5);
        }
    }
}

/// Networks of cubes; fields that were written out, behind an encoder too; flows, of which the features alone
/// are measured.
#[test]
fn integrals_of_other_fields() {
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
    let measures = [PointMeasure::SecondDerivative, PointMeasure::Jacobian, PointMeasure::Straightness];
    let fields = [few, many].map(|field| field.expect("a field"));
    for (field, layout) in fields.into_iter().flat_map(|field| LAYOUTS.map(|layout| (field.clone(), layout))) {
        let width = field.inputs();
        let model = NeuralDe::new(Problem::ode(field, 0.1, 1.1), fixed(Method::Tsit5, 3).layout(layout));
        compare(&format!("{width} features, {layout:?}"), model.clone(), several(&measures), 5e-4, 1);
        // Behind an encoder the field's parameters are not the first ones.
        compare(&format!("{width} encoded, {layout:?}"), model.encoder(width), several(&measures[..2]), 5e-4, 1);
    }
    let cubes = Mlp::new([3, 5, 3]).input_map(InputMap::Cube).time_input(TimeInput::Every);
    for (layout, trace) in LAYOUTS.into_iter().zip([Trace::Exact, Trace::Hutchinson]) {
        let problem = Problem::ode(cubes.clone(), 0.0, 1.0);
        against(
            &format!("cubes, {layout:?}"),
            &problem,
            &fixed(Method::Heun, 3).layout(layout),
            &several(&measures),
            9,
            1e-4,
        );
        let field = Field::from(Mlp::new([2, 4, 2]).time_input(TimeInput::Every)).with_log_density(trace);
        let options = fixed(Method::Tsit5, 3).layout(layout);
        let model = NeuralDe::new(Problem::ode(field.expect("a vector field"), 0.0, 1.0), options);
        compare(&format!("{trace:?}"), model, several(&measures[1..]), 5e-4, 2);
    }
}

/// Rows at rest have zeros.
#[test]
fn integrals_of_trajectories_that_failed_or_rest_are_left_out() {
    let Some(gpu) = gpu() else { return };
    for ((field, theta), layout) in of_positive_states().into_iter().flat_map(|of| LAYOUTS.map(|l| (of.clone(), l))) {
        let name = format!("{} parameters, {layout:?}", theta.len());
        let options = SolverOptions::default().layout(layout).tolerances(Tolerances::both(1e-5));
        let problem = Problem::ode(field.clone(), 0.0, 1.0);
        let mut native = native_solver::<f64>(&problem, &options);
        let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
        solver.regularize(&all(), 1, 0).expect("a valid regularizer");
        native.regularize(&all(), 1, 0).expect("a valid regularizer");
        // The last one is next to where it stays, so that in an ensemble others take more steps.
        let y0 = [0.02, -2.0, 1.3, 0.98];
        let found = gpu.block_on(solver.solve(&theta, &y0)).expect("solved");
        let expected = native.solve(&widen(&theta), &widen(&y0)).expect("solved");
        assert_eq!(found.status, expected.status, "{name}");
        assert!(found.status[1] != Status::Done && found.status[2] == Status::Done, "{name}: {:?}", found.status);
        let found = gpu.block_on(solver.gradients(&[1.0; 4])).expect("solved before");
        let expected = native.gradients(&[1.0; 4]).expect("solved before");
        for (a, b) in found.pointwise.iter().zip(expected.pointwise.iter()) {
            close(&format!("{name}: {:?}", a.measure), &[a.penalty], &[b.penalty], 5e-4);
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

/// `y' = A y`, whose integrals were computed independently.
#[test]
fn integrals_of_a_linear_equation_are_known_on_a_device() {
    let Some(gpu) = gpu() else { return };
    let theta = [0.2f32, -1.0, 0.7, -0.4];
    let field = Field::build(2, |f| {
        let (y, a) = (f.state(), f.parameters("a", &theta.map(f64::from)));
        f.stack([a.row(0) * y.row(0) + a.row(1) * y.row(1), a.row(2) * y.row(0) + a.row(3) * y.row(1)])
    });
    let field = field.expect("a field");
    for (layout, by_layers) in LAYOUTS.into_iter().flat_map(|layout| [(layout, false), (layout, true)]) {
        let options = fixed(Method::Tsit5, 20).layout(layout);
        let solver = GpuSolver::new(&gpu, &Problem::ode(field.clone(), 0.0, 1.0), &options).expect("a valid problem");
        let mut solver = if by_layers { solver.layer_by_layer() } else { solver };
        for (measure, integral) in [
            (PointMeasure::SecondDerivative, 1.221_504_552_479_258),
            (PointMeasure::ThirdDerivative, 0.941_852_275_026_030_2),
            (PointMeasure::Kinetic, 1.413_617_550_230_973_4),
        ] {
            solver.regularize(&Pointwise::new(measure).quadrature().into(), 1, 0).expect("a valid regularizer");
            gpu.block_on(solver.solve(&theta, &[1.0, -2.0])).expect("solved");
            let found = gpu.block_on(solver.gradients(&[0.0; 2])).expect("solved before").penalty;
            assert!((found / integral - 1.0).abs() < 2e-6, "{layout:?}, {measure:?}: {found} not {integral}");
        }
    }
}

/// Of equal steps the value's own differences are its gradient.
#[test]
fn gradients_of_integrals_are_differences_of_values_on_a_device() {
    let Some(gpu) = gpu() else { return };
    let field = Field::from(Mlp::new([2, 4, 2]).time_input(TimeInput::Every));
    let regularizer = Regularizer::from(integral(PointMeasure::Kinetic).coefficient(1.0))
        .and(integral(PointMeasure::SecondDerivative).coefficient(0.4));
    for layout in LAYOUTS {
        let options = fixed(Method::Dopri5, 3).layout(layout);
        let problem = Problem::ode(field.clone(), 0.2, 1.7);
        let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
        solver.regularize(&regularizer, 1, 0).expect("a valid regularizer");
        let point = [scaled(1.2, &numbers(3, field.parameter_count())), numbers(5, 2 * 5)].concat();
        let mut run = |point: &[f64]| {
            let (theta, y0) = point.split_at(field.parameter_count());
            gpu.block_on(solver.solve(&cast::<f32>(theta), &cast::<f32>(y0))).expect("solved");
            let found = gpu.block_on(solver.gradients(&[0.0; 10])).expect("solved before");
            let value: f64 = found.pointwise.iter().map(|of| of.coefficient * of.penalty).sum();
            (value, [widen(&found.theta), widen(&found.y0)].concat())
        };
        let gradient = run(&point).1;
        for direction in 0..3 {
            let along = numbers(40 + direction, point.len());
            let mut at = |step: f64| run(&point.iter().zip(&along).map(|(x, d)| x + step * d).collect::<Vec<_>>()).0;
            let slope = (at(4e-3) - at(-4e-3)) / 8e-3;
            let expected: f64 = gradient.iter().zip(&along).map(|(g, d)| g * d).sum();
            assert!((slope / expected - 1.0).abs() < 2e-3, "{layout:?}, {direction}: {expected} not {slope}");
        }
    }
}

/// With a tape that grows on the way.
#[test]
fn integrals_of_long_solves() {
    for layout in LAYOUTS {
        let mut long = model(5, layout);
        long.options = long.options.method(Method::Heun).tolerances(Tolerances::both(1e-4));
        let steps = compare(&format!("{layout:?}"), long, integral(PointMeasure::Jacobian).into(), 1e-3, 1);
        assert!(steps.is_none_or(|steps| steps > 32), "more than there is room for at first: {steps:?}");
    }
}

/// Steps of training side by side.
#[test]
fn training_with_integrals_stays_with_the_native_engine() {
    let Some(gpu) = gpu() else { return };
    for layout in LAYOUTS {
        let regularizer = several(&PointMeasure::ALL[2..]);
        let config = TrainerConfig::new(model(5, layout), Loss::Mse).regularizer(regularizer).seed(5);
        let config = config.optimizer(Optimizer::adam(0.02));
        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
        let mut native = Trainer::<f64>::new(&cpu(1), config).expect("a valid configuration");
        let theta: Vec<f32> = cast(&scaled(2.5, native.parameters()));
        device.set_parameters(&theta).expect("parameters of the same model");
        native.set_parameters(&widen(&theta)).expect("parameters of the same model");
        let [inputs, targets]: [Vec<f32>; 2] = [2, 3].map(|seed| cast(&numbers(seed, 33 * 5)));
        let [wide_inputs, wide_targets] = [&inputs, &targets].map(|numbers| widen(numbers));
        for step in 0..6 {
            let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
            let a = gpu.block_on(device.step(&batch)).expect("a valid batch");
            let wide = Batch { inputs: &wide_inputs, target: Target::States(&wide_targets) };
            let b = native.step(&wide).expect("a valid batch");
            let name = format!("{layout:?}, step {step}");
            close(&format!("{name}: loss"), &[a.loss], &[b.loss], 1e-3);
            for (a, b) in a.pointwise.iter().zip(b.pointwise.iter()) {
                close(&format!("{name}: {:?}", a.measure), &[a.penalty], &[b.penalty], 2e-3);
            }
        }
        let theta = gpu.block_on(device.parameters()).expect("a device");
        close(&format!("{layout:?}"), &widen(&theta), native.parameters(), 2e-3);
    }
}

/// What it costs is told, and a solve is the same to the bit.
#[test]
fn integrals_leave_solves_as_they_are() {
    let Some(gpu) = gpu() else { return };
    for layout in LAYOUTS {
        let states: Vec<f32> = cast(&numbers(2, 7 * 3));
        let batch = Batch { inputs: &states, target: Target::States(&states) };
        let report = |regularizer: Regularizer| {
            let config = TrainerConfig::new(model(3, layout), Loss::Mse).regularizer(regularizer);
            let mut trainer = GpuTrainer::new(&gpu, config).expect("a valid configuration");
            gpu.block_on(trainer.gradients(&batch)).expect("a valid batch").report
        };
        let (with, without) = (report(all()), report(Regularizer::None));
        assert_eq!((with.loss, with.nfe, with.accepted), (without.loss, without.nfe, without.accepted), "{layout:?}");
        // Nine evaluations of all measures at each of Bosh3's three stages that weigh.
        assert_eq!((with.nfe_penalty, without.nfe_penalty), (27 * with.accepted, 0), "{layout:?}");
    }
}
