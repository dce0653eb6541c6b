//! Training steps of the published MNIST model on random images, without and with local regularization.
//! `cargo bench --bench train_step`.

use divan::{Bencher, main as divan_main};
use fewsteps::{
    Batch, Cpu, Local, Loss, Mlp, NeuralDe, Optimizer, Problem, Regularizer, SolverOptions, Target, TimeInput,
    Tolerances, Trainer, TrainerConfig,
};

fn main() {
    divan_main();
}

#[divan::bench(args = ["vanilla", "unbiased", "biased", "published"], sample_count = 20)]
fn mnist_512(bencher: Bencher<'_, '_>, regularizer: &str) {
    let field = Mlp::new([784, 100, 784]).time_input(TimeInput::Every);
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-4));
    let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options).head(10);
    let regularizer = match regularizer {
        "unbiased" => Local::unbiased().into(),
        "biased" => Local::biased().into(),
        "published" => Local::published_unbiased().into(),
        _ => Regularizer::None,
    };
    // A learning rate this small leaves every timed step the same problem.
    let config =
        TrainerConfig::new(model, Loss::CrossEntropy).optimizer(Optimizer::adam(1e-6)).regularizer(regularizer);
    let mut trainer = Trainer::<f32>::new(&Cpu::new().expect("threads start"), config).expect("a valid model");
    let inputs: Vec<f32> = (0..512 * 784).map(|i| ((i * 7919) % 256) as f32 / 255.0).collect();
    let labels: Vec<u32> = (0..512).map(|i| i % 10).collect();
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    bencher.bench_local(|| trainer.step(&batch).map(|report| report.nfe));
}
