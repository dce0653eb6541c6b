//! Finds the length and the friction of a pendulum whose pivot is driven, from its angle at 40 times, and asserts that it
//! did: `cargo run --release --example pendulum`. The torque was measured at some times; between them it is a line.

use anyhow::ensure;
use fewsteps::{
    Batch, Control, Cpu, Field, Interpolation, Loss, NeuralDe, Optimizer, Problem, Purpose, Random, SaveAt, Schedule,
    SolverOptions, Target, Tolerances, Trainer, TrainerConfig,
};

const LENGTH: f64 = 1.3;
const FRICTION: f64 = 0.35;
const STEPS: u64 = 400;

fn pendulum(length: f64, friction: f64) -> fewsteps::Result<Field> {
    Field::build(2, |f| {
        let (y, torque) = (f.state(), f.control("torque"));
        let (length, friction) = (f.positive("length", &[length]), f.positive("friction", &[friction]));
        let (angle, speed) = (y.row(0), y.row(1));
        f.stack([speed.clone(), -9.81 * angle.sin() / length - friction * speed + torque])
    })
}

/// A trainer of the pendulum under the torque, of which the angle is seen at some times.
fn driven(length: f64, friction: f64) -> fewsteps::Result<Trainer<f64>> {
    let knots: Vec<f64> = (0..=16).map(|i| 0.5 * f64::from(i)).collect();
    let torque: Vec<f64> = knots.iter().map(|t| 3.0 * (1.7 * t).sin() - 2.0 * (0.6 * t).cos()).collect();
    let times = (1..=40).map(|i| 0.2 * f64::from(i)).collect();
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-7)).save_at(SaveAt::Times(times));
    let problem = Problem::ode(pendulum(length, friction)?, 0.0, 8.0);
    let problem = problem.driven_by(Control::new("torque", Interpolation::Linear, knots));
    let model = NeuralDe::new(problem, options).head(Field::build(2, |f| f.state().row(0))?);
    let optimizer = Optimizer::adam(Schedule::cosine(3e-2, 1e-3, STEPS));
    let mut trainer = Trainer::new(&Cpu::new()?, TrainerConfig::new(model, Loss::Mse).optimizer(optimizer))?;
    trainer.set_control("torque", &torque)?;
    Ok(trainer)
}

fn main() -> anyhow::Result<()> {
    let start = [0.4, 0.0];
    let mut random = Random::new(2, Purpose::Data, 0);
    let exact = driven(LENGTH, FRICTION)?.predict(&start)?;
    let seen: Vec<f64> = exact.iter().map(|angle| angle + 0.01 * random.normal()).collect();

    let mut trainer = driven(1.0, 0.1)?;
    let batch = Batch { inputs: &start, target: Target::States(&seen) };
    for step in 0..=STEPS {
        let report = trainer.step(&batch)?;
        if step % 100 == 0 {
            println!("step {step}: root mean square error of the angle {:.4}", report.loss.sqrt());
        }
    }
    let field = &trainer.config().model.problem.field;
    for (name, truth) in [("length", LENGTH), ("friction", FRICTION)] {
        let found = field.values(name, trainer.parameters())?[0];
        println!("{name}: {found:.4}, in truth {truth}");
        ensure!((found - truth).abs() < 0.02 * truth, "the {name} was not found: {found}, not {truth}");
    }
    Ok(())
}

#[test]
fn the_pendulum_is_found() -> anyhow::Result<()> {
    main()
}
