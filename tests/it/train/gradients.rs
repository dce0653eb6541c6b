//! Gradients of whole models against differences, and those of a solver with a loss of one's own.

use super::{cpu, points};
use crate::oracle::differences;
use fewsteps::{
    Activation, Batch, Diffusion, Layout, Local, Loss, Method, Mlp, NeuralDe, Paths, PenaltyGradient, Problem,
    Regularizer, SaveAt, Schedule, Solver, SolverOptions, StepControl, Target, TimeInput, Tolerances, Trainer,
    TrainerConfig,
};

/// Central differences of the task's loss at `f64` with fixed steps, for every parameter.
pub(super) fn check_gradient(config: TrainerConfig, batch: &Batch<'_, f64>, name: &str) {
    let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
    let found = trainer.gradients(batch).expect("a gradient").gradient;
    let theta = trainer.parameters().to_vec();
    let scale = found.iter().fold(0.0f64, |m, g| m.max(g.abs()));
    assert!(scale > 1e-4, "{name}: the gradient is not zero");
    let expected = differences(&theta, |theta| {
        trainer.set_parameters(theta).expect("the model's parameters");
        trainer.evaluate(batch).expect("evaluates").loss
    });
    for (i, (found, difference)) in found.iter().zip(expected).enumerate() {
        let error = (found - difference).abs();
        assert!(error < 1e-8 * scale.max(1.0) + 1e-7 * scale, "{name}: parameter {i}: {found} not {difference}");
    }
}

#[test]
fn gradients_of_encoder_field_and_head_are_exact() {
    let (inputs, labels) = points(35);
    let inputs: Vec<f64> = inputs.into_iter().map(f64::from).collect();
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        for activation in [Activation::Tanh, Activation::Gelu] {
            let field = Mlp::new([3, 5, 3]).time_input(TimeInput::First).activation(activation);
            let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 3 }).layout(layout);
            let problem = Problem::ode(field, 0.0, 1.0);
            let model = NeuralDe::new(problem.clone(), options.clone()).encoder(6).head(3);
            let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
            check_gradient(TrainerConfig::new(model, Loss::CrossEntropy), &batch, "cross-entropy");

            let options = options.save_at(SaveAt::Times(vec![0.0, 0.21, 0.5, 1.0]));
            let states: Vec<f64> = (0..4 * 35 * 2).map(|i| f64::from(i % 7) / 7.0).collect();
            let batch = Batch { inputs: &inputs, target: Target::States(&states) };
            let model = NeuralDe::new(problem, options).encoder(6).head(2);
            check_gradient(TrainerConfig::new(model, Loss::Mse), &batch, "mean square");
        }
    }
}

#[test]
fn a_solver_with_a_regularizer_has_the_trainers_gradient() {
    let inputs: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 11) / 8.0 - 0.6).collect();
    let targets: Vec<f64> = (0..80).map(|i| f64::from(i * 5 % 13) / 10.0 - 0.5).collect();
    let field = Mlp::new([2, 9, 2]).time_input(TimeInput::Every);
    let noisy = Problem::sde(field.clone(), Diffusion::ito(Mlp::new([2, 3, 2])), 0.0, 1.0);
    let problems = [(Problem::ode(field, 0.0, 1.0), Method::Tsit5), (noisy, Method::Sosri)];
    let cases = problems.iter().flat_map(|case| [Layout::Lockstep, Layout::Ensemble].map(|layout| (case, layout)));
    for ((problem, method), layout) in cases {
        for local in [Local::unbiased(), Local::biased(), Local::unbiased().gradient(PenaltyGradient::Full)] {
            let options = SolverOptions::default().method(*method).tolerances(Tolerances::both(0.05)).layout(layout);
            let model = NeuralDe::new(problem.clone(), options.save_at(SaveAt::Times(vec![0.4, 1.0])));
            let regularizer =
                Regularizer::from(local.times(2).fraction(0.6).coefficient(Schedule::exponential(3.0, 0.1, 4)));
            let config = TrainerConfig::new(model.clone(), Loss::Mse).regularizer(regularizer.clone()).seed(4);
            let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
            let mut solver = Solver::<f64>::new(&cpu(), &model.problem, &model.options).expect("a valid problem");
            let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
            for step in 0..3 {
                let expected = trainer.gradients(&batch).expect("a gradient");
                let theta = trainer.parameters().to_vec();
                let bars =
                    |ys: &[f64]| -> Vec<f64> { ys.iter().zip(&targets).map(|(y, t)| 2.0 * (y - t) / 80.0).collect() };
                solver.set_paths(Paths::of_step(4, step));
                solver.regularize(&Regularizer::None, 4, step).expect("no regularizer");
                let ys = solver.solve(&theta, &inputs).expect("solved").ys;
                let plain = solver.gradients(&bars(&ys)).expect("solved before");
                assert_eq!(plain.penalty, 0.0, "nothing is penalised");
                solver.regularize(&regularizer, 4, step).expect("a valid regularizer");
                let penalised = solver.solve(&theta, &inputs).expect("solved").ys;
                assert_eq!(penalised, ys, "a penalty does not change the solution");
                let found = solver.gradients(&bars(&ys)).expect("solved before");
                assert_eq!(found.penalty, expected.report.penalty, "{method:?}, {layout:?}, step {step}");
                let scale = expected.gradient.iter().fold(0.0f64, |most, g| most.max(g.abs()));
                let far = |a: &[f64]| a.iter().zip(&expected.gradient).any(|(a, b)| (a - b).abs() > 1e-12 * scale);
                assert!(
                    !far(&found.theta) && far(&plain.theta),
                    "{method:?}, {layout:?}, step {step}: the penalty's gradient is in"
                );
                trainer.apply(&found.theta).expect("an update");
            }
        }
    }
}

#[test]
fn a_solver_that_saves_every_step_takes_no_regularizer() {
    for save_at in [SaveAt::Steps, SaveAt::Dense] {
        let options = SolverOptions::default().save_at(save_at);
        let problem = Problem::ode(Mlp::new([2, 9, 2]), 0.0, 1.0);
        let mut solver = Solver::<f64>::new(&cpu(), &problem, &options).expect("a valid problem");
        let refused = solver.regularize(&Local::unbiased().into(), 0, 0).expect_err("no states to save").to_string();
        assert!(refused.starts_with("SolverOptions::save_at = "), "{refused}");
        solver.regularize(&Regularizer::None, 0, 0).expect("nothing to refuse");
    }
}
