//! Solves on the device against the native engine: the same steps, the same states, the same failures.

mod common;

use common::{ADAPTIVE, LAYOUTS, adaptive, cast, close, fixed, gpu, solver, widen, zoo};
use fewsteps::{GpuSolver, Method, OdeProblem, SaveAt, Solution, SolverOptions};

fn both(problem: &OdeProblem, options: &SolverOptions, theta: &[f32], y0: &[f32]) -> Option<[Solution<f32>; 2]> {
    let gpu = gpu()?;
    let native = solver::<f32>(problem, options).solve(theta, y0).expect("a valid solve");
    let mut device = GpuSolver::new(&gpu, problem, options).expect("a valid problem");
    let found = gpu.block_on(device.solve(theta, y0)).expect("a valid solve");
    Some([native, found])
}

#[test]
fn the_zoo_takes_the_native_engines_steps() {
    for layout in LAYOUTS {
        for method in ADAPTIVE {
            for known in zoo() {
                let tolerance = if method == Method::Heun { 1e-3 } else { 1e-4 };
                let options = adaptive(method, tolerance).layout(layout);
                let (theta, y0) = (cast::<f32>(&known.theta), cast::<f32>(&known.rows(3)));
                let Some([native, device]) = both(&known.problem, &options, &theta, &y0) else { return };
                let name = format!("{} {method} {layout:?}", known.name);
                println!("{name} {:?} {:?}", native.stats, device.stats);
                assert_eq!(native.status, device.status, "{name}: status");
                assert_eq!(native.stats, device.stats, "{name}: NFE, accepted, rejected");
                close(&name, &widen(&device.ys), &widen(&native.ys), 1e-5);
            }
        }
    }
}

#[test]
fn fixed_steps_and_save_points() {
    for layout in LAYOUTS {
        for method in Method::ALL {
            for known in zoo() {
                let (t0, t1) = (known.problem.t0, known.problem.t1);
                let times = vec![t0, t0 + 0.3 * (t1 - t0), t0 + 0.5 * (t1 - t0), t1];
                let options = fixed(method, 20).layout(layout).save_at(SaveAt::Times(times));
                let (theta, y0) = (cast::<f32>(&known.theta), cast::<f32>(&known.rows(3)));
                let Some([native, device]) = both(&known.problem, &options, &theta, &y0) else { return };
                let name = format!("{} {method} {layout:?}", known.name);
                assert_eq!(native.stats, device.stats, "{name}: NFE, accepted, rejected");
                close(&name, &widen(&device.ys), &widen(&native.ys), 1e-5);
            }
        }
    }
}
