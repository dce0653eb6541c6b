//! Finds the length and the friction of a pendulum whose pivot is driven, from its angle at 40 times, and asserts that it
//! did: `cargo run --release --example pendulum`. The torque was measured at some times; between them it is a line.

use anyhow::ensure;
use fewsteps::{
    Control, Cpu, Field, Interpolation, Optimizer, OptimizerState, Problem, Purpose, Random, SaveAt, Schedule, Solver,
    SolverOptions, Tolerances,
};

const LENGTH: f64 = 1.3;
const FRICTION: f64 = 0.35;

fn pendulum(length: f64, friction: f64) -> fewsteps::Result<Field> {
    Field::build(2, |f| {
        let (y, torque) = (f.state(), f.control("torque"));
        let (length, friction) = (f.positive("length", &[length]), f.positive("friction", &[friction]));
        let (angle, speed) = (y.row(0), y.row(1));
        f.stack([speed.clone(), -9.81 * angle.sin() / length - friction * speed + torque])
    })
}

/// A solver of the pendulum under the torque, which saves at the times of the observations.
fn driven(field: &Field) -> fewsteps::Result<Solver<f64>> {
    let knots: Vec<f64> = (0..=16).map(|i| 0.5 * f64::from(i)).collect();
    let torque: Vec<f64> = knots.iter().map(|t| 3.0 * (1.7 * t).sin() - 2.0 * (0.6 * t).cos()).collect();
    let times = (1..=40).map(|i| 0.2 * f64::from(i)).collect();
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-7)).save_at(SaveAt::Times(times));
    let problem = Problem::ode(field.clone(), 0.0, 8.0).driven_by(Control::new("torque", Interpolation::Linear, knots));
    let mut solver = Solver::new(&Cpu::new()?, &problem, &options)?;
    solver.set_control("torque", &torque)?;
    Ok(solver)
}

fn main() -> anyhow::Result<()> {
    let truth = pendulum(LENGTH, FRICTION)?;
    let mut random = Random::new(2, Purpose::Data, 0);
    let angles = |ys: &[f64]| -> Vec<f64> { ys.as_chunks::<2>().0.iter().map(|y| y[0]).collect() };
    let exact = driven(&truth)?.predict(&truth.initialize(0), &[0.4, 0.0])?.check()?.ys;
    let seen: Vec<f64> = angles(&exact).iter().map(|angle| angle + 0.01 * random.normal()).collect();

    let field = pendulum(1.0, 0.1)?;
    let mut solver = driven(&field)?;
    let mut theta = field.initialize::<f64>(0);
    let optimizer = Optimizer::adam(Schedule::cosine(3e-2, 1e-3, 400));
    let mut state = OptimizerState::new(&optimizer.rule, theta.len());
    for step in 0..=400 {
        let ys = solver.solve(&theta, &[0.4, 0.0])?.check()?.ys;
        let misses: Vec<f64> = angles(&ys).iter().zip(&seen).map(|(angle, seen)| angle - seen).collect();
        let loss = misses.iter().map(|miss| miss * miss).sum::<f64>() / misses.len() as f64;
        if step % 100 == 0 {
            println!("step {step}: root mean square error of the angle {:.4}", loss.sqrt());
        }
        // Cotangents of the saved states: of the angles alone.
        let bars: Vec<f64> = misses.iter().flat_map(|miss| [2.0 * miss / misses.len() as f64, 0.0]).collect();
        let mut gradient = solver.gradients(&bars)?.theta;
        optimizer.update(&mut state, &mut theta, &mut gradient);
    }
    for (name, truth) in [("length", LENGTH), ("friction", FRICTION)] {
        let found = field.values(name, &theta)?[0];
        println!("{name}: {found:.4}, in truth {truth}");
        ensure!((found - truth).abs() < 0.02 * truth, "the {name} was not found: {found}, not {truth}");
    }
    Ok(())
}

#[test]
fn the_pendulum_is_found() -> anyhow::Result<()> {
    main()
}
