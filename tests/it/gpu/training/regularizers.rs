//! Random ends on the device, against the native engine at f64.

use crate::oracle::{LAYOUTS, cast, close, cpu, gpu, largest, numbers, solver as native_solver, widen};
use fewsteps::{
    Batch, Control, EndTime, Field, GpuSolver, GpuTrainer, InitialStep, Interpolation, Layout, Local, Loss, Mlp,
    NeuralDe, PenaltyAt, PenaltyGradient, Problem, Regularizer, SolverOptions, StepControl, Target, TimeInput,
    Tolerances, Trainer, TrainerConfig,
};

const BATCH: usize = 7;

/// Few features are solved and walked back whole, many are not.
const WIDTHS: [usize; 2] = [3, 5];

/// A model whose steps' errors stand above rounding.
fn model(width: usize, layout: Layout) -> NeuralDe {
    let field = Mlp::new([width, 6, width]).time_input(TimeInput::Every);
    let options = SolverOptions::default().layout(layout).tolerances(Tolerances::both(1e-3));
    NeuralDe::new(Problem::ode(field, 0.2, 2.0), options)
}

/// Some training steps and their gradients, on the device and natively.
fn compare(name: &str, model: NeuralDe, regularizer: Regularizer, tolerance: f64) {
    let Some(gpu) = gpu() else { return };
    let width = model.output_width();
    let config = TrainerConfig::new(model, Loss::Mse).regularizer(regularizer).seed(5);
    let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
    let mut native = Trainer::<f64>::new(&cpu(1), config).expect("a valid configuration");
    let [inputs, targets] = [2, 3].map(|seed| cast::<f32>(&numbers(seed, BATCH * width)));
    let [wide_inputs, wide_targets] = [&inputs, &targets].map(|numbers| widen(numbers));
    let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
    let wide = Batch { inputs: &wide_inputs, target: Target::States(&wide_targets) };
    let theta: Vec<f32> = native.parameters().iter().map(|x| 2.5 * *x as f32).collect();
    device.set_parameters(&theta).expect("parameters of the same model");
    for step in 0..4 {
        let name = format!("{name}, step {step}");
        let theta = gpu.block_on(device.parameters()).expect("a device");
        native.set_parameters(&widen(&theta)).expect("parameters of the same model");
        device.set_learnt(native.learnt()).expect("what solves can teach");
        let found = gpu.block_on(device.gradients(&batch)).expect("a valid batch");
        let expected = native.gradients(&wide).expect("a valid batch");
        let (a, b) = (&found.report, &expected.report);
        assert_eq!((a.nfe, a.accepted, a.rejected), (b.nfe, b.accepted, b.rejected), "{name}: costs");
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
    }
}

#[test]
fn ends_are_drawn_as_natively() {
    for layout in LAYOUTS {
        for width in WIDTHS {
            let end_time = EndTime::within(0.5);
            let plain = model(width, layout);
            compare(&format!("{layout:?} {width}"), plain.clone(), end_time.into(), 2e-3);
            let mut fixed = plain.clone();
            fixed.options = fixed.options.step_control(StepControl::Fixed { steps: 4 });
            compare(&format!("{layout:?} {width}, fixed"), fixed, end_time.into(), 1e-3);
            // Lengths are times, not shares; a drawn end may come before a stop.
            let mut bound = plain.clone();
            bound.options = bound.options.largest_step(0.35).stop_at(vec![0.5, 1.8]);
            if let StepControl::Adaptive { initial_step, .. } = &mut bound.options.step_control {
                *initial_step = InitialStep::Length(0.2);
            }
            compare(&format!("{layout:?} {width}, bound"), bound, end_time.into(), 2e-3);
            // Of steps so long that their errors are more than rounding.
            let mut long = plain;
            long.options = long.options.tolerances(Tolerances::both(2e-2));
            let local = Local::unbiased().gradient(PenaltyGradient::Full).fraction(1.0).coefficient(0.3);
            let both = Regularizer::from(end_time).and(local.clone());
            compare(&format!("{layout:?} {width}, local"), long.clone(), both, 2e-2);
            let both = Regularizer::from(end_time).and(local.at(PenaltyAt::Biased));
            compare(&format!("{layout:?} {width}, biased"), long, both, 2e-2);
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
