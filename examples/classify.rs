//! Tells two rings apart, on a graphics card if there is one: `cargo run --release --example classify`.

use anyhow::ensure;
use fewsteps::{
    Batch, Cpu, Gpu, GpuTrainer, Local, Loss, Method, Mlp, NeuralDe, Optimizer, Pick, Problem, Purpose, Random,
    SolverOptions, Target, Tolerances, Trainer, TrainerConfig,
};

const STEPS: usize = 60;

/// Points of two noisy rings, and which one each is on.
fn rings(count: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let mut random = Random::new(seed, Purpose::Data, 0);
    let mut point = |ring: u32| {
        let radius = 0.5 + f64::from(ring) + 0.15 * (random.uniform() + random.uniform() - 1.0);
        let (sin, cos) = (std::f64::consts::TAU * random.uniform()).sin_cos();
        [(radius * cos) as f32, (radius * sin) as f32]
    };
    let labels: Vec<u32> = (0..count as u32).map(|i| i % 2).collect();
    (labels.iter().flat_map(|&ring| point(ring)).collect(), labels)
}

fn main() -> anyhow::Result<()> {
    // In the plane, no flow carries the inner ring out of the outer one; in five dimensions it does.
    let problem = Problem::ode(Mlp::new([5, 16, 5]), 0.0, 1.0);
    let options = SolverOptions::default().method(Method::Bosh3).tolerances(Tolerances::both(1e-2));
    let config = TrainerConfig::new(NeuralDe::new(problem, options).encoder(2).head(2), Loss::CrossEntropy)
        .optimizer(Optimizer::adam(0.05))
        .regularizer(Local::unbiased().coefficient(0.1));

    let ((inputs, labels), (fresh_inputs, fresh_labels)) = (rings(256, 0), rings(500, 1));
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let fresh = Batch { inputs: &fresh_inputs, target: Target::Labels(&fresh_labels) };
    let result = match Gpu::open(&Pick::Fastest) {
        Ok(gpu) => {
            println!("on {}", gpu.adapter());
            let mut trainer = GpuTrainer::new(&gpu, config)?;
            for _ in 0..STEPS {
                gpu.block_on(trainer.step(&batch))?;
            }
            gpu.block_on(trainer.evaluate(&fresh))?
        }
        Err(reason) => {
            println!("on the processor: {reason}");
            let mut trainer = Trainer::<f32>::new(&Cpu::new()?, config)?;
            for _ in 0..STEPS {
                trainer.step(&batch)?;
            }
            trainer.evaluate(&fresh)?
        }
    };
    println!("{} of {} fresh points, NFE {}", result.correct, result.count, result.nfe);
    ensure!(result.correct * 100 >= result.count * 97, "the rings were not told apart");
    ensure!(result.nfe <= 23, "the dynamics cost more than 23 evaluations; 32 are those of no regularizer");
    Ok(())
}
