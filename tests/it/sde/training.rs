//! Training with noise: new paths every step, moments and means over paths.

use super::refusal;
use crate::oracle::{LAYOUTS, close, cpu, differences, numbers};
use fewsteps::{
    Batch, Diffusion, FailurePolicy, InputMap, Local, Loss, Mlp, NeuralDe, Optimizer, Paths, Problem, SaveAt,
    SolverOptions, StepControl, Target, Tolerances, Trainer, TrainerConfig,
};

fn spiral(times: usize) -> NeuralDe {
    let drift = Mlp::new([2, 6, 2]).input_map(InputMap::Cube);
    let times = (0..times).map(|i| i as f64 / (times - 1) as f64).collect();
    let problem = Problem::sde(drift, Diffusion::ito(Mlp::new([2, 2])), 0.0, 1.0);
    NeuralDe::new(problem, SolverOptions::sde(Tolerances::both(0.3)).save_at(SaveAt::Times(times)))
}

#[test]
fn the_gradient_of_the_moment_loss_is_its_slope() {
    let (means, variances) = (numbers(1, 12), numbers(2, 12));
    let inputs = [0.8, 0.1].repeat(40);
    let batch = Batch { inputs: &inputs, target: Target::Moments { means: &means, variances: &variances } };
    for layout in LAYOUTS {
        let mut model = spiral(6);
        // Fixed steps, so that a difference of parameters does not move them.
        model.options = model.options.layout(layout).step_control(StepControl::Fixed { steps: 8 });
        let mut trainer = Trainer::<f64>::new(&cpu(2), TrainerConfig::new(model, Loss::Moments)).expect("valid");
        let theta = trainer.parameters().to_vec();
        let found = trainer.gradients(&batch).expect("a valid batch").gradient;
        let expected = differences(&theta, |theta| {
            trainer.set_parameters(theta).expect("finite");
            trainer.gradients(&batch).expect("a valid batch").report.loss
        });
        close(&format!("{layout:?}"), &found, &expected, 1e-7);
    }
}

#[test]
fn the_moment_loss_is_what_its_documentation_says() {
    let (means, variances) = (vec![0.25; 6], vec![0.5; 6]);
    let inputs = [0.8, 0.1].repeat(5);
    let batch = Batch { inputs: &inputs, target: Target::Moments { means: &means, variances: &variances } };
    let mut trainer = Trainer::<f64>::new(&cpu(1), TrainerConfig::new(spiral(3), Loss::Moments)).expect("valid");
    let found = trainer.evaluate(&batch).expect("a valid batch");
    let ys = trainer.predict(&inputs).expect("solved");
    let mut expected = 0.0;
    for column in 0..6 {
        let (time, feature) = (column / 2, column % 2);
        let at = |path: usize| ys[(time * 5 + path) * 2 + feature];
        let mean = (0..5).map(at).sum::<f64>() / 5.0;
        let variance = (0..5).map(|p| (at(p) - mean).powi(2)).sum::<f64>() / 4.0;
        expected += ((mean - 0.25).powi(2) + (variance - 0.5).powi(2)) / 6.0;
    }
    assert!((found.loss - expected).abs() < 1e-12, "{} not {expected}", found.loss);
    assert!(found.nfe > 0 && found.nfe_diffusion > 0, "{found:?}");
    let single = Batch { inputs: &inputs[..2], ..batch };
    assert!(refusal(trainer.evaluate(&single)).contains("at least two paths"), "one path has no variance");
}

#[test]
fn training_takes_new_paths_every_step_and_resumes_to_the_bit() {
    let (means, variances) = (vec![0.5f32; 12], vec![0.1f32; 12]);
    let inputs = [0.8f32, 0.1].repeat(64);
    let batch = Batch { inputs: &inputs, target: Target::Moments { means: &means, variances: &variances } };
    let config = TrainerConfig::new(spiral(6), Loss::Moments)
        .optimizer(Optimizer::adam(1e-2))
        .regularizer(Local::unbiased().fraction(1.0).coefficient(0.01))
        .seed(7)
        .failure(FailurePolicy::Skip);
    let mut trainer = Trainer::<f32>::new(&cpu(2), config).expect("valid");
    let before = trainer.evaluate(&batch).expect("valid");
    assert_eq!(before, trainer.evaluate(&batch).expect("valid"), "evaluation takes the same paths");
    for _ in 0..5 {
        trainer.step(&batch).expect("a step");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sde.safetensors");
    trainer.save(&path, &std::collections::BTreeMap::new()).expect("written");
    let reports: Vec<_> = (0..5).map(|_| trainer.step(&batch).expect("a step")).collect();
    let (mut resumed, _) = Trainer::<f32>::resume(&cpu(1), &path).expect("read");
    for report in &reports {
        assert_eq!(*report, resumed.step(&batch).expect("a step"), "the same step after a resume");
    }
    assert!(reports.windows(2).all(|w| w[0].loss != w[1].loss) && reports[0].penalty > 0.0, "{reports:?}");
    assert!(reports.iter().all(|r| r.nfe_diffusion > 0 && r.nfe_penalty == 4), "{reports:?}");
}

#[test]
fn means_over_paths_are_steadier() {
    let problem = Problem::sde(Mlp::new([4, 8, 4]), Diffusion::ito(Mlp::new([4, 4])), 0.0, 1.0);
    let model = NeuralDe::new(problem, SolverOptions::sde(Tolerances::both(0.1))).encoder(3).head(2);
    let mut trainer = Trainer::<f64>::new(&cpu(2), TrainerConfig::new(model, Loss::CrossEntropy)).expect("valid");
    let (inputs, labels) = (numbers(8, 3 * 50), (0..50).map(|i| i % 2).collect::<Vec<u32>>());
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let one = trainer.evaluate(&batch).expect("valid");
    let same = trainer.evaluate_mean(&batch, 1).expect("valid");
    assert!((one.loss - same.loss).abs() < 1e-12 && one.correct == same.correct, "one path: {one:?}, {same:?}");
    assert_eq!((one.nfe, one.count), (same.nfe, same.count), "costs are those of a path");
    let many = trainer.evaluate_mean(&batch, 20).expect("valid");
    assert!(many.loss < one.loss, "noise in the logits costs cross-entropy: {} and {}", many.loss, one.loss);
    let outputs: Vec<Vec<f64>> =
        (0..20).map(|k| trainer.predict_along(&inputs, Paths::of_evaluation(0, k)).expect("solved")).collect();
    let mean = |i: usize| outputs.iter().map(|o| o[i]).sum::<f64>() / 20.0;
    let expected: f64 = (0..50)
        .map(|b| {
            let [x, y] = [mean(2 * b), mean(2 * b + 1)];
            (x.exp() + y.exp()).ln() - if labels[b] == 0 { x } else { y }
        })
        .sum::<f64>()
        / 50.0;
    assert!((many.loss - expected).abs() < 1e-12, "{} not {expected}", many.loss);
    assert!(refusal(trainer.evaluate_mean(&batch, 0)).contains("at least one path"), "no paths");
}
