//! One evaluation of a field and one fixed step of each method, as share of what the processor can do.
//!
//! `cargo bench --bench step`. Divan prints items per second; an item is one multiply-add, so `Gitem/s` times two is
//! GFLOP/s.

use divan::counter::ItemsCount;
use divan::{Bencher, main as divan_main};
use fewsteps::{Cpu, Method, Mlp, Problem, Solver, SolverOptions, StepControl, TimeInput};

fn main() {
    divan_main();
}

/// Fixed steps from random states: `stages` evaluations a step, nothing but the step's own work.
fn steps(bencher: Bencher<'_, '_>, sizes: &[usize], batch: usize, method: Method) {
    let field = Mlp::new(sizes).time_input(TimeInput::Every);
    let theta = field.initialize::<f32>(0);
    let y0: Vec<f32> = (0..batch * sizes[0]).map(|i| (i % 17) as f32 / 17.0).collect();
    let count = 10;
    let options = SolverOptions::default().method(method).step_control(StepControl::Fixed { steps: count });
    let problem = Problem::ode(field.clone(), 0.0, 1.0);
    let cpu = Cpu::with_threads(1).expect("one thread starts");
    let mut solver = Solver::new(&cpu, &problem, &options).expect("a valid problem");
    let nfe = solver.predict(&theta, &y0).expect("a solve").nfe();
    bencher
        .counter(ItemsCount::new(nfe * batch * field.parameter_count()))
        .bench_local(|| solver.predict(&theta, &y0).map(|s| s.ys.len()));
}

#[divan::bench(args = [Method::Heun, Method::Bosh3, Method::Rk4, Method::Dopri5, Method::Tsit5])]
fn mnist_512(bencher: Bencher<'_, '_>, method: Method) {
    steps(bencher, &[784, 100, 784], 512, method);
}

#[divan::bench(args = [32, 128, 1024])]
fn spiral_tsit5(bencher: Bencher<'_, '_>, batch: usize) {
    steps(bencher, &[2, 50, 2], batch, Method::Tsit5);
}
