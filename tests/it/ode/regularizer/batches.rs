//! Threads, evaluations, failures, and stiffness without digits.

use super::{Case, GRADIENTS, SEED, options};
use crate::oracle::{LAYOUTS, adaptive, bits, cast, close, cpu, numbers, scaled, solver, widen};
use fewsteps::{
    Batch, FailurePolicy, InputMap, Layout, Local, Loss, Measure, Method, Mlp, NeuralDe, PenaltyAt, PenaltyGradient,
    PenaltyStep, Problem, Regularizer, Scalar, StepControl, Target, TimeInput, Trainer, TrainerConfig,
};

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for layout in LAYOUTS {
        for at in [PenaltyAt::Unbiased, PenaltyAt::Biased] {
            let field = Mlp::new([6, 60, 6]);
            let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), adaptive(Method::Tsit5, 1e-4).layout(layout));
            let local = Local::unbiased().at(at).gradient(PenaltyGradient::Full).fraction(0.5).times(2);
            let (inputs, states) = (numbers(6, 200 * 6), numbers(7, 200 * 6));
            let run = |threads: usize| {
                let config = TrainerConfig::new(model.clone(), Loss::Mse).regularizer(local.clone());
                let mut trainer = Trainer::<f64>::new(&cpu(threads), config).expect("a valid configuration");
                let batch = Batch { inputs: &inputs, target: Target::States(&states) };
                for _ in 0..2 {
                    trainer.step(&batch).expect("a step");
                }
                let found = trainer.gradients(&batch).expect("a valid batch");
                (bits(&found.gradient), found.report)
            };
            let one = run(1);
            for threads in [2, 3] {
                assert!(run(threads) == one, "{layout:?}, {at:?}: {threads} threads and 1 differ");
            }
        }
    }
}

#[test]
fn an_evaluation_never_regularizes() {
    for layout in LAYOUTS {
        let case = Case::new().layout(layout);
        let evaluate = |regularizer: Regularizer| {
            let config = TrainerConfig::new(case.model.clone(), case.loss).seed(SEED).regularizer(regularizer);
            let mut trainer = Trainer::<f64>::new(&cpu(1), config).expect("a valid configuration");
            trainer.set_parameters(&case.theta()).expect("finite parameters");
            let (inputs, states) = (case.inputs(), case.states());
            trainer.evaluate(&Batch { inputs: &inputs, target: Target::States(&states) }).expect("a valid batch")
        };
        let (with, without) = (evaluate(case.local.clone().coefficient(1e6).into()), evaluate(Regularizer::None));
        assert_eq!(with, without, "{layout:?}: an evaluation");
        assert_eq!(with.loss, case.run(Regularizer::None).report.loss, "{layout:?}: the loss that training sees");
    }
}

/// Trajectories that fail leave loss, penalty and gradient to the others, a tile of nothing but failures included.
#[test]
fn failures_are_left_out() {
    let field = Mlp::new([1, 1]).input_map(InputMap::Cube);
    let good: Vec<f64> = (0..40).map(|i| 0.2 + 0.008 * f64::from(i)).collect();
    for layout in LAYOUTS {
        for at in [PenaltyAt::Unbiased, PenaltyAt::Biased] {
            for gradient in GRADIENTS {
                for step in [PenaltyStep::FreshInitial, PenaltyStep::Taken] {
                    let name = format!("{layout:?}, {at:?}, {gradient:?}, {step:?}");
                    let options = options(Method::Tsit5).layout(layout);
                    let model = NeuralDe::new(Problem::ode(field.clone(), 0.0, 1.0), options);
                    let local = Local::unbiased().at(at).gradient(gradient).step(step).fraction(1.0);
                    let config = TrainerConfig::new(model, Loss::Mse).regularizer(local).failure(FailurePolicy::Skip);
                    let mut trainer = Trainer::<f64>::new(&cpu(1), config).expect("a valid configuration");
                    trainer.set_parameters(&[1.0, 0.0]).expect("finite parameters");
                    let mut run = |inputs: &[f64]| {
                        let states = vec![0.3; inputs.len()];
                        trainer.gradients(&Batch { inputs, target: Target::States(&states) }).expect("a valid batch")
                    };
                    // The cube of these is not finite.
                    let bad = [[1e200; 33].as_slice(), &good].concat();
                    let found = run(&bad);
                    assert_eq!(found.report.failed, 33, "{name}: failures");
                    assert!(found.gradient.iter().all(|g| g.is_finite()), "{name}: {:?}", found.gradient);
                    let expected = run(&good);
                    close(&format!("{name}: loss"), &[found.report.loss], &[expected.report.loss], 1e-13);
                    if layout == Layout::Lockstep || at == PenaltyAt::Unbiased {
                        // A biased draw of an ensemble is the trajectory's own, and these have moved.
                        close(&format!("{name}: penalty"), &[found.report.penalty], &[expected.report.penalty], 1e-9);
                        close(&format!("{name}: gradient"), &found.gradient, &expected.gradient, 1e-6);
                    }
                }
            }
        }
    }
}

/// Value and gradient of the stiffness of one step of length `h`, which is the whole solve.
fn stiffness<R: Scalar>(case: &Case, h: f64, theta: &[f64], y0: &[f64]) -> (f64, Vec<f64>) {
    let mut model = case.model.clone();
    model.problem.t1 = model.problem.t0 + h;
    model.options.step_control = StepControl::Fixed { steps: 1 };
    let mut solver = solver::<R>(&model.problem, &model.options);
    solver.regularize(&case.local.clone().into(), SEED, 0).expect("a valid regularizer");
    solver.solve(&cast::<R>(theta), &cast::<R>(y0)).expect("a valid call");
    let found = solver.gradients(&vec![R::ZERO; y0.len()]).expect("solved before");
    (found.penalty, widen(&found.theta))
}

/// Of short steps nothing but rounding is measured: at `f32` both layouts once gave a thousand times the gradient.
#[test]
fn stiffness_is_right_or_none_however_short_the_step() {
    let single = |numbers: &[f64]| widen(&cast::<f32>(numbers));
    for method in [Method::Tsit5, Method::Dopri5] {
        for (field, weight, size) in [
            (Mlp::new([3, 16, 3]), 1.2, 1.0),
            (Mlp::new([3, 16, 3]).time_input(TimeInput::Every), 1.2, 1.0),
            (Mlp::new([3, 16, 3]), 1.2, 1e-3),
            (Mlp::new([3, 16, 3]), 0.3, 10.0),
            (Mlp::new([8, 64, 8]), 0.3, 1.0),
        ] {
            let theta = single(&scaled(weight, &numbers(3, field.parameter_count())));
            let dim = field.layers().next().expect("a layer").inputs;
            for layout in LAYOUTS {
                for gradient in GRADIENTS {
                    let (mut right, mut none) = (0, 0);
                    for i in 0..=18 {
                        let h = f64::from(10f64.powf(-f64::from(i) / 3.0) as f32);
                        let mut case = Case::new().options(|o| o.method(method)).layout(layout);
                        case.model.problem.field = field.clone().into();
                        case.model.problem.t0 = 0.0;
                        case.local = Local::biased().measure(Measure::Stiffness).gradient(gradient).coefficient(1.0);
                        let y0 = single(&scaled(size, &numbers(4, dim)));
                        let (value, slope) = stiffness::<f64>(&case, h, &theta, &y0);
                        let found = stiffness::<f32>(&case, h, &theta, &y0);
                        let name = format!("{method}, {dim} features of {size}, {layout:?}, {gradient:?}, h = {h:.1e}");
                        if found.0 == 0.0 {
                            assert!(found.1.iter().all(|&g| g == 0.0), "{name}: a gradient of nothing");
                            none += 1;
                            continue;
                        }
                        assert_eq!(none, 0, "{name}: a shorter step has no more digits");
                        assert!(0.5 < found.0 / value && found.0 / value < 2.0, "{name}: {} for {value}", found.0);
                        close(&name, &found.1, &slope, 1.0);
                        right += 1;
                    }
                    assert!(right >= 1 && none >= 10, "{method}, {dim} features of {size}: {right} and {none}");
                }
            }
        }
    }
}

/// A trajectory so large that its step is lost in rounding leaves the measure to the others.
#[test]
fn stiffness_leaves_out_trajectories_without_digits() {
    let field = Mlp::new([3, 16, 3]);
    let theta = scaled(0.5, &numbers(3, field.parameter_count()));
    let (near, far) = (numbers(4, 3), scaled(3e4, &numbers(5, 3)));
    for layout in LAYOUTS {
        for gradient in GRADIENTS {
            let mut case = Case::new().layout(layout);
            (case.model.problem.field, case.model.problem.t0) = (field.clone().into(), 0.0);
            case.local = Local::biased().measure(Measure::Stiffness).gradient(gradient).coefficient(1.0);
            let name = format!("{layout:?}, {gradient:?}");
            let lost = stiffness::<f32>(&case, 0.3, &theta, &far);
            assert!(lost.0 == 0.0 && lost.1.iter().all(|&g| g == 0.0), "{name}: {lost:?}");
            let alone = stiffness::<f32>(&case, 0.3, &theta, &near);
            let both = stiffness::<f32>(&case, 0.3, &theta, &[near.clone(), far.clone()].concat());
            // An ensemble's is the mean of its trajectories' own.
            let share = if layout == Layout::Ensemble { 0.5 } else { 1.0 };
            close(&name, &[both.0], &[share * alone.0], 1e-6);
            close(&name, &both.1, &scaled(share, &alone.1), 1e-5);
            let wide = stiffness::<f64>(&case, 0.3, &theta, &near);
            close(&name, &[alone.0], &[wide.0], 1e-3);
            close(&name, &alone.1, &wide.1, 1e-2);
        }
    }
}
