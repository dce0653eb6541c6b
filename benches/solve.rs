//! Adaptive solves in both layouts, with and without the tape that a gradient needs. `cargo bench --bench solve`.

use divan::{Bencher, main as divan_main};
use fewsteps::{Cpu, Layout, Mlp, Problem, Solver, SolverOptions, Tolerances};

fn main() {
    divan_main();
}

fn solver(layout: Layout) -> (Solver<f32>, Vec<f32>, Vec<f32>) {
    let field = Mlp::new([8, 64, 8]);
    let theta = field.initialize::<f32>(0);
    let y0: Vec<f32> = (0..1024 * 8).map(|i| (i % 31) as f32 / 15.5 - 1.0).collect();
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-5)).layout(layout);
    let cpu = Cpu::new().expect("threads start");
    let solver = Solver::new(&cpu, &Problem::ode(field, 0.0, 4.0), &options).expect("a valid problem");
    (solver, theta, y0)
}

#[divan::bench(args = [Layout::Lockstep, Layout::Ensemble])]
fn predict(bencher: Bencher<'_, '_>, layout: Layout) {
    let (mut solver, theta, y0) = solver(layout);
    bencher.bench_local(|| solver.predict(&theta, &y0).map(|s| s.nfe()));
}

#[divan::bench(args = [Layout::Lockstep, Layout::Ensemble])]
fn solve_and_differentiate(bencher: Bencher<'_, '_>, layout: Layout) {
    let (mut solver, theta, y0) = solver(layout);
    let ys_bar = vec![1.0; y0.len()];
    bencher.bench_local(|| {
        solver.solve(&theta, &y0).and_then(|_| solver.gradients(&ys_bar)).map(|gradients| gradients.products)
    });
}
