//! Solves and training steps with noise on the workloads W3 and W4 of `peers/`, on random numbers.
//! `cargo bench --bench sde`.

use divan::{Bencher, main as divan_main};
use fewsteps::{
    Batch, Brownian, Cpu, Local, Loss, Method, Optimizer, Paths, Regularizer, SaveAt, SolverOptions, StepControl,
    Target, Tolerances, Trainer, TrainerConfig, models,
};

fn main() {
    divan_main();
}

fn options(method: Method, steps: usize) -> SolverOptions {
    if steps == 0 {
        SolverOptions::sde(Tolerances::both(1e-2)).method(method)
    } else {
        SolverOptions::default().method(method).step_control(StepControl::Fixed { steps })
    }
}

fn regularizer(name: &str) -> Regularizer {
    match name {
        "unbiased" => Local::unbiased().into(),
        "biased" => Local::biased().into(),
        _ => Regularizer::None,
    }
}

/// W3: drift 2-50-2 of the cube, diffusion 2-2, 100 paths, 30 save times.
fn spiral(method: Method, steps: usize, regularizer: Regularizer) -> Trainer<f32> {
    let times = (0..30).map(|i| f64::from(i) / 29.0).collect();
    let model = models::spiral_sde(options(method, steps).save_at(SaveAt::Times(times)));
    let config = TrainerConfig::new(model, Loss::Moments).optimizer(Optimizer::adam(1e-6)).regularizer(regularizer);
    let mut trainer = Trainer::new(&Cpu::new().expect("threads start"), config).expect("a valid model");
    // Noise of the data's size, so that paths stay where they are in training.
    let mut theta = trainer.parameters().to_vec();
    let n = theta.len();
    theta[n - 6..].iter_mut().for_each(|x| *x *= 0.2);
    trainer.set_parameters(&theta).expect("finite");
    trainer
}

/// W4: encoder 784-32, drift 32-64-32, diffusion 32-32, head 32-10, 512 images.
fn mnist(method: Method, steps: usize, regularizer: Regularizer) -> Trainer<f32> {
    let model = models::mnist_sde(10, options(method, steps));
    let config =
        TrainerConfig::new(model, Loss::CrossEntropy).optimizer(Optimizer::adam(1e-6)).regularizer(regularizer);
    let mut trainer = Trainer::new(&Cpu::new().expect("threads start"), config).expect("a valid model");
    // The diffusion's parameters lie between the drift's and the head's.
    let mut theta = trainer.parameters().to_vec();
    let (end, size) = (theta.len() - 33 * 10, 33 * 32);
    theta[end - size..end].iter_mut().for_each(|x| *x *= 0.2);
    trainer.set_parameters(&theta).expect("finite");
    trainer
}

fn moments() -> (Vec<f32>, Vec<f32>) {
    (vec![1.0; 60], vec![0.1; 60])
}

#[divan::bench(args = ["heun 100", "sosri 100", "reversible 100", "sosri adaptive"])]
fn w3_forward(bencher: Bencher<'_, '_>, what: &str) {
    let mut trainer = spiral(method(what), steps(what), Regularizer::None);
    let (means, variances) = moments();
    let inputs = [2.0, 0.0].repeat(100);
    let batch = Batch { inputs: &inputs, target: Target::Moments { means: &means, variances: &variances } };
    bencher.bench_local(|| trainer.evaluate(&batch).map(|e| e.nfe));
}

#[divan::bench(args = ["heun 100", "sosri 100", "reversible 100", "sosri adaptive", "heun 100 unbiased", "heun 100 biased"])]
fn w3_train(bencher: Bencher<'_, '_>, what: &str) {
    let mut trainer = spiral(method(what), steps(what), regularizer(what.rsplit(' ').next().unwrap_or_default()));
    let (means, variances) = moments();
    let inputs = [2.0, 0.0].repeat(100);
    let batch = Batch { inputs: &inputs, target: Target::Moments { means: &means, variances: &variances } };
    bencher.bench_local(|| trainer.step(&batch).map(|report| report.nfe));
}

#[divan::bench(args = ["heun 20", "sosri 20", "reversible 20", "sosri adaptive"])]
fn w4_forward(bencher: Bencher<'_, '_>, what: &str) {
    let mut trainer = mnist(method(what), steps(what), Regularizer::None);
    let (inputs, labels) = images();
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    bencher.bench_local(|| trainer.evaluate(&batch).map(|e| e.nfe));
}

#[divan::bench(args = ["heun 20", "sosri 20", "reversible 20", "sosri adaptive", "heun 20 unbiased", "heun 20 biased"])]
fn w4_train(bencher: Bencher<'_, '_>, what: &str) {
    let mut trainer = mnist(method(what), steps(what), regularizer(what.rsplit(' ').next().unwrap_or_default()));
    let (inputs, labels) = images();
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    bencher.bench_local(|| trainer.step(&batch).map(|report| report.nfe));
}

/// A step's increments one by one, in double precision.
#[divan::bench(args = [1, 64])]
fn path_query(bencher: Bencher<'_, '_>, cells: usize) {
    let path = Brownian::with_cells(Paths::new(1), cells, 0.0, 1.0).expect("cells");
    bencher.bench_local(|| path.increment::<f64>(3, 1, 0.25, 0.281_25));
}

fn method(what: &str) -> Method {
    match what.split(' ').next() {
        Some("heun") => Method::StratonovichHeun,
        Some("reversible") => Method::ReversibleHeun,
        _ => Method::Sosri,
    }
}

fn steps(what: &str) -> usize {
    what.split(' ').nth(1).and_then(|steps| steps.parse().ok()).unwrap_or(0)
}

fn images() -> (Vec<f32>, Vec<u32>) {
    let pixels = (0..512 * 784).map(|i| ((i * 7919) % 256) as f32 / 255.0).collect();
    (pixels, (0..512).map(|i| i % 10).collect())
}
