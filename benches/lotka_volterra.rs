//! Lotka and Volterra's equations with learnable rates: one trajectory at 200 times with its gradient, and 10,000
//! trajectories with rates of their own. `peers/lotka_volterra.py` does the same in diffrax; both print a JSON line a case.
//!
//! ```sh
//! cargo bench --bench lotka_volterra -- 20
//! python benches/peers/lotka_volterra.py 20
//! ```

use std::time::Instant;

use fewsteps::{
    Control, Cpu, Field, Layout, Problem, Result, SaveAt, Scalar, Solver, SolverOptions, Tolerances, Value,
};

const RATES: [f64; 4] = [1.1, 0.4, 0.1, 0.4];
const START: [f64; 2] = [10.0, 5.0];
const END: f64 = 20.0;
const TIMES: usize = 200;
const TRAJECTORIES: usize = 10_000;

fn equations(y: &Value, k: &Value, stack: impl Fn([Value; 2]) -> Value) -> Value {
    let (prey, hunters) = (y.row(0), y.row(1));
    let meet = &prey * &hunters;
    stack([k.row(0) * &prey - k.row(1) * &meet, k.row(2) * &meet - k.row(3) * &hunters])
}

/// Milliseconds of the fastest of `rounds` calls.
fn fastest(rounds: usize, mut call: impl FnMut() -> Result<f64>) -> Result<(f64, f64)> {
    let (mut least, mut value) = (f64::INFINITY, call()?);
    for _ in 0..rounds {
        let start = Instant::now();
        value = call()?;
        least = least.min(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok((least, value))
}

fn report<R: Scalar>(case: &str, (ms, value): (f64, f64), nfe: usize) {
    println!(
        r#"{{"peer": "fewsteps", "case": "{case}", "scalar": "{}", "ms_min": {ms:.4}, "value": {value:.6}, "nfe": {nfe}}}"#,
        R::NAME
    );
}

fn one<R: Scalar>(rounds: usize) -> Result<()> {
    let field = Field::build(2, |f| equations(&f.state(), &f.parameters("rates", &RATES), |parts| f.stack(parts)))?;
    let theta = field.initialize::<R>(0);
    let times = (1..=TIMES).map(|i| END * i as f64 / TIMES as f64).collect();
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-6)).save_at(SaveAt::Times(times));
    let mut solver = Solver::new(&Cpu::new()?, &Problem::ode(field, 0.0, END), &options)?;
    let y0 = START.map(R::from_f64);
    let mean = |ys: &[R]| ys.iter().map(|y| y.to_f64().powi(2)).sum::<f64>() / ys.len() as f64;
    let forward = fastest(rounds, || Ok(mean(&solver.predict(&theta, &y0)?.ys)))?;
    let nfe = solver.predict(&theta, &y0)?.nfe();
    report::<R>("forward", forward, nfe);
    // The gradient of the mean square, and its norm.
    let gradient = fastest(rounds, || {
        let ys = solver.solve(&theta, &y0)?.ys;
        let scale = R::from_f64(2.0 / ys.len() as f64);
        let bars: Vec<R> = ys.iter().map(|y| scale * *y).collect();
        Ok(solver.gradients(&bars)?.theta.iter().map(|g| g.to_f64().powi(2)).sum::<f64>().sqrt())
    })?;
    report::<R>("gradient", gradient, nfe);
    Ok(())
}

fn many<R: Scalar>(rounds: usize) -> Result<()> {
    let field = Field::build(2, |f| equations(&f.state(), &f.controls("rates", 4), |parts| f.stack(parts)))?;
    let problem = Problem::ode(field, 0.0, END).driven_by(Control::constant("rates"));
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-6)).layout(Layout::Ensemble);
    let mut solver = Solver::new(&Cpu::new()?, &problem, &options)?;
    // Rates from half to one and a half times those above.
    let rates: Vec<R> = (0..TRAJECTORIES)
        .flat_map(|i| RATES.map(|rate| R::from_f64(rate * (0.5 + i as f64 / TRAJECTORIES as f64))))
        .collect();
    solver.set_control("rates", &rates)?;
    let y0: Vec<R> = std::iter::repeat_n(START.map(R::from_f64), TRAJECTORIES).flatten().collect();
    let mean = |ys: &[R]| ys.iter().map(|y| y.to_f64()).sum::<f64>() / ys.len() as f64;
    let forward = fastest(rounds, || Ok(mean(&solver.predict(&[], &y0)?.ys)))?;
    let nfe = solver.predict(&[], &y0)?.nfe();
    report::<R>("ensemble", forward, nfe);
    Ok(())
}

fn main() -> Result<()> {
    // Cargo passes options of its own.
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(5);
    one::<f32>(rounds)?;
    one::<f64>(rounds)?;
    many::<f32>(rounds)?;
    many::<f64>(rounds)
}
