//! Recovers an unknown friction: a pendulum whose gravity is known, and whose friction is a network. It asserts that the
//! friction is what the data were made with: `cargo run --release --example universal`.

use anyhow::ensure;
use fewsteps::{
    Batch, Cpu, Field, Loss, Mlp, NeuralDe, Optimizer, Problem, Purpose, Random, SaveAt, Schedule, Solver,
    SolverOptions, Target, Tolerances, Trainer, TrainerConfig,
};

/// The friction that made the data, which the model has to find: air and a bearing, `0.2 w + 0.4 w |w| / (1 + |w|)`.
fn friction(w: f64) -> f64 {
    0.2 * w + 0.4 * w * w.abs() / (1.0 + w.abs())
}

fn main() -> anyhow::Result<()> {
    let ts: Vec<f64> = (1..=20).map(|i| 0.15 * f64::from(i)).collect();
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-6)).save_at(SaveAt::Times(ts));

    // What was measured: angles and velocities of 64 swings.
    let truth = Field::build(2, |f| {
        let (angle, w) = (f.state().row(0), f.state().row(1));
        let friction = &w * 0.2 + &w * w.abs() * 0.4 / (w.abs() + 1.0);
        f.stack([w, -2.0 * angle.sin() - friction])
    })?;
    let mut random = Random::new(0, Purpose::Data, 0);
    let starts: Vec<f64> = (0..128).map(|_| 4.0 * random.uniform() - 2.0).collect();
    let measured =
        Solver::<f64>::new(&Cpu::new()?, &Problem::ode(truth, 0.0, 3.0), &options)?.solve(&[], &starts)?.check()?.ys;

    // What is known, and a network in place of what is not.
    let field = Field::build(2, |f| {
        let (angle, w) = (f.state().row(0), f.state().row(1));
        let friction = f.mlp("friction", &Mlp::new([1, 16, 1]), &w);
        f.stack([w, -2.0 * angle.sin() - friction])
    })?;
    let config = TrainerConfig::new(NeuralDe::new(Problem::ode(field, 0.0, 3.0), options), Loss::Mse)
        .optimizer(Optimizer::adam(Schedule::cosine(2e-2, 1e-4, 1000)));
    let mut trainer = Trainer::<f64>::new(&Cpu::new()?, config)?;
    let batch = Batch { inputs: &starts, target: Target::States(&measured) };
    for step in 1..=1000 {
        let report = trainer.step(&batch)?;
        if step % 100 == 0 {
            println!("step {step}: loss {:.2e}, NFE {}", report.loss, report.nfe);
        }
    }

    // The network alone, over the velocities that were seen.
    let network = Mlp::new([1, 16, 1]);
    let theta = trainer.parameters();
    let learnt = |w: f64| -> f64 {
        let layers: Vec<_> = network.layers().collect();
        let (first, second) = (&theta[layers[0].range()], &theta[layers[1].range()]);
        (0..16).map(|i| (w * first[i] + first[16 + i]).tanh() * second[i]).sum::<f64>() + second[16]
    };
    let seen = measured.chunks_exact(2).map(|state| state[1].abs()).fold(0.0, f64::max);
    let speeds: Vec<f64> = (-50..=50).map(|i| seen * f64::from(i) / 50.0).collect();
    let norm = |f: &dyn Fn(f64) -> f64| speeds.iter().map(|&w| f(w).powi(2)).sum::<f64>().sqrt();
    let error = norm(&|w| learnt(w) - friction(w)) / norm(&friction);
    println!("the friction up to |w| = {seen:.2} is found within {:.2} %", 100.0 * error);
    ensure!(error < 0.05, "the friction was not found: {error}");
    Ok(())
}

#[test]
fn the_friction_is_found() -> anyhow::Result<()> {
    main()
}
