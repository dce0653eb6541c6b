//! Gradients of solves with noise on the device against dual numbers at f64 on the same paths.

use crate::oracle::{
    Dual, LAYOUTS, NOISY_ADAPTIVE, Number, PATHS, cast, close, courses, fixed, gpu, gradient, largest, noisy_problem,
    numbers, saves, scaled, shared, step_times, widen,
};
use fewsteps::{
    Adjoint, Brownian, Checkpoints, Diffusion, GpuSolver, Method, Mlp, Problem, SaveAt, Solution, SolverOptions,
    StepControl, TimeInput, Tolerances,
};

/// Solves on the device, and differentiates the sum of `w ys`; then walks the device's accepted steps in f64 with dual
/// numbers, so that only rounding is between the two.
fn check(name: &str, problem: &Problem, options: &SolverOptions, batch: usize, tolerance: f64) {
    let Some(gpu) = gpu() else { return };
    let theta = cast::<f32>(&scaled(0.6, &numbers(3, problem.parameter_count())));
    let y0 = cast::<f32>(&numbers(4, batch * problem.dim()));
    let open = |options: &SolverOptions| {
        let mut solver = GpuSolver::new(&gpu, problem, options).expect("a valid problem");
        solver.set_paths(PATHS);
        // Both ways of solving have their turns.
        if matches!(options.save_at, SaveAt::Steps) { solver.layer_by_layer() } else { solver }
    };
    let mut walker = open(&options.clone().save_at(SaveAt::Steps));
    let walked = gpu.block_on(walker.solve(&theta, &y0)).and_then(Solution::check).expect("a valid solve");
    let steps: Vec<Vec<f64>> = (0..batch).map(|row| step_times(&walked, row)).collect();
    let path = match options.step_control {
        StepControl::Fixed { steps } => Brownian::with_cells(PATHS, steps, problem.t0, problem.t1).expect("cells"),
        _ => Brownian::adaptive(PATHS, problem.t0, problem.t1),
    };
    let courses = courses(problem, &path, &steps);
    let ys = saves(problem, options, &courses, &widen(&theta), &widen(&y0));
    let ys_bar = cast::<f32>(&numbers(5, ys.len()));
    let point: Vec<f64> = widen(&theta).into_iter().chain(widen(&y0)).collect();
    let expected = gradient(&point, |x| {
        let ys = saves(problem, options, &courses, &x[..theta.len()], &x[theta.len()..]);
        ys.iter().zip(&ys_bar).fold(Dual::new(0.0), |sum, (&y, &w)| sum + y * Dual::new(f64::from(w)))
    });
    let (theta_bar, y0_bar) = expected.split_at(theta.len());
    let (drift, diffusion) = theta_bar.split_at(problem.field.parameter_count());
    assert!(largest(diffusion) > 1e-2 * largest(drift), "{name}: the noise has a gradient");
    let mut device = open(options);
    for round in 0..2 {
        let found = gpu.block_on(device.solve(&theta, &y0)).expect("a valid solve");
        assert_eq!(found.stats, walked.stats, "{name}: the same steps, however they are saved");
        let gradients = gpu.block_on(device.gradients(&ys_bar)).expect("a solved problem");
        close(&format!("{name}: states"), &widen(&found.ys), &ys, tolerance);
        close(&format!("{name}: theta, round {round}"), &widen(&gradients.theta), theta_bar, tolerance);
        let found = widen(&gradients.theta[drift.len()..]);
        close(&format!("{name}: diffusion, round {round}"), &found, diffusion, tolerance);
        close(&format!("{name}: y0, round {round}"), &widen(&gradients.y0), y0_bar, tolerance);
    }
}

fn adaptive(method: Method, tolerance: f64) -> SolverOptions {
    SolverOptions::sde(Tolerances::both(tolerance)).method(method)
}

#[test]
fn every_method_layout_and_way_of_saving_with_fixed_steps() {
    for layout in LAYOUTS {
        for method in Method::SDE {
            for save in [SaveAt::End, SaveAt::Times(vec![0.25, 0.4, 0.9, 1.5, 1.75]), SaveAt::Steps] {
                let name = format!("{method} {layout:?} {save:?}");
                let options = fixed(method, 6).layout(layout).save_at(save.clone());
                check(&name, &noisy_problem(method, 3), &options, 5, 2e-5);
            }
        }
    }
}

#[test]
fn every_method_and_layout_with_adaptive_steps() {
    for layout in LAYOUTS {
        for method in NOISY_ADAPTIVE {
            for save in [SaveAt::Times(vec![0.25, 0.4, 0.9, 1.5, 1.75]), SaveAt::Steps] {
                let name = format!("{method} {layout:?} {save:?}");
                let options = adaptive(method, 3e-2).layout(layout).save_at(save.clone());
                check(&name, &noisy_problem(method, 3), &options, 4, 5e-5);
            }
        }
    }
}

#[test]
fn checkpoints() {
    for layout in LAYOUTS {
        for method in [Method::Sosri, Method::ReversibleHeun] {
            for stride in [1, 2, 3, 5] {
                let times = SaveAt::Times(vec![0.7, 1.75]);
                let checkpoints = Checkpoints::Stride(stride);
                for options in [adaptive(method, 3e-2), fixed(method, 7)] {
                    let options =
                        options.layout(layout).save_at(times.clone()).adjoint(Adjoint::Discrete { checkpoints });
                    check(
                        &format!("{method}, stride {stride}, {layout:?}"),
                        &noisy_problem(method, 2),
                        &options,
                        4,
                        5e-5,
                    );
                }
            }
        }
    }
}

#[test]
fn awkward_sizes() {
    for (batch, dim, width) in [(1, 1, 1), (3, 7, 63), (63, 3, 8), (5, 2, 65), (33, 9, 7)] {
        for layout in LAYOUTS {
            let drift = Mlp::new([dim, width, dim]).time_input(TimeInput::Every);
            let diffusion = Diffusion::ito(Mlp::new([dim, dim]));
            let problem = Problem::sde(drift, diffusion, 0.0, 1.0);
            let options = fixed(Method::Sosri, 3).layout(layout).save_at(SaveAt::Times(vec![0.4, 1.0]));
            check(&format!("{batch} x {dim} x {width}, {layout:?}"), &problem, &options, batch, 5e-5);
        }
    }
}

/// One Wiener process for all features, whole and layer by layer.
#[test]
fn scalar_noise() {
    for (i, method) in Method::SDE.into_iter().enumerate() {
        for (dim, save) in [(2, SaveAt::Times(vec![0.4, 1.0, 1.75])), (5, SaveAt::Steps)] {
            let layout = LAYOUTS[i % 2];
            let name = format!("{method} {layout:?} {dim} {save:?}");
            let options = fixed(method, 6).layout(layout).save_at(save);
            check(&name, &shared(noisy_problem(method, dim)), &options, 4, 2e-5);
        }
    }
    for layout in LAYOUTS {
        let options = adaptive(Method::Sosri, 3e-2).layout(layout);
        check(&format!("adaptive {layout:?}"), &shared(noisy_problem(Method::Sosri, 3)), &options, 4, 5e-5);
    }
}
