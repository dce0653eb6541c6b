//! Gradients on the device against the native engine at f64, for every layout, method and way of saving.

mod common;

use common::{LAYOUTS, adaptive, cast, close, fixed, gpu, numbers, scaled, solver, widen};
use fewsteps::{
    Activation, Adjoint, Checkpoints, GpuSolver, InputMap, Method, Mlp, OdeProblem, SaveAt, SolverOptions, TimeInput,
};

/// Solves on the device, and differentiates the sum of `w ys`; then does the same in f64 from the same numbers.
fn check(name: &str, problem: &OdeProblem, options: &SolverOptions, batch: usize, tolerance: f64) {
    let Some(gpu) = gpu() else { return };
    let theta = cast::<f32>(&scaled(0.7, &numbers(3, problem.field.parameter_count())));
    let y0 = cast::<f32>(&numbers(4, batch * problem.dim()));
    let mut device = GpuSolver::new(&gpu, problem, options).expect("a valid problem");
    let mut native = solver::<f64>(problem, options);
    for round in 0..2 {
        let found = gpu.block_on(device.solve(&theta, &y0)).expect("a valid solve");
        let expected = native.solve(&widen(&theta), &widen(&y0)).expect("a valid solve");
        assert_eq!(found.stats, expected.stats, "{name}: NFE, accepted, rejected");
        close(&format!("{name}: states"), &widen(&found.ys), &expected.ys, tolerance);
        let ys_bar = cast::<f32>(&numbers(5, found.ys.len()));
        let found = gpu.block_on(device.gradients(&ys_bar)).expect("a solved problem");
        let expected = native.gradients(&widen(&ys_bar)).expect("a solved problem");
        close(&format!("{name}: theta, round {round}"), &widen(&found.theta), &expected.theta, tolerance);
        close(&format!("{name}: y0, round {round}"), &widen(&found.y0), &expected.y0, tolerance);
    }
}

#[test]
fn every_method_layout_and_way_of_saving() {
    let field = Mlp::new([3, 7, 3]).time_input(TimeInput::Every);
    let problem = OdeProblem::new(field, 0.0, 1.0);
    for layout in LAYOUTS {
        for method in Method::ALL {
            for save in [SaveAt::End, SaveAt::Times(vec![0.0, 0.13, 0.5, 0.77, 1.0]), SaveAt::Steps] {
                let name = format!("{method} {layout:?} {save:?}");
                let options = fixed(method, 6).layout(layout).save_at(save.clone());
                check(&name, &problem, &options, 5, 2e-5);
                if method.tableau().b_error.is_some() {
                    let options = adaptive(method, 1e-3).layout(layout).save_at(save);
                    check(&name, &problem, &options, 5, 5e-5);
                }
            }
        }
    }
}

#[test]
fn checkpoints_and_directions() {
    let field = Mlp::new([2, 9, 5, 2]).input_map(InputMap::Cube).time_input(TimeInput::First);
    for (t0, t1) in [(0.0, 1.5), (2.0, 0.5)] {
        let problem = OdeProblem::new(field.clone(), t0, t1);
        for layout in LAYOUTS {
            for stride in [1, 2, 3, 5] {
                let times = SaveAt::Times(vec![t0 + 0.3 * (t1 - t0), t1]);
                let checkpoints = Checkpoints::Stride(stride);
                let options = adaptive(Method::Tsit5, 1e-4)
                    .layout(layout)
                    .save_at(times)
                    .adjoint(Adjoint::Discrete { checkpoints });
                check(&format!("stride {stride}, {layout:?}, to {t1}"), &problem, &options, 4, 5e-5);
            }
        }
    }
}

#[test]
fn awkward_sizes() {
    for (batch, dim, width) in [(1, 1, 1), (3, 7, 63), (63, 3, 64), (64, 2, 65), (65, 33, 7), (257, 5, 31)] {
        for layout in LAYOUTS {
            let problem = OdeProblem::new(Mlp::new([dim, width, dim]).time_input(TimeInput::Every), 0.0, 1.0);
            let options = fixed(Method::Tsit5, 3).layout(layout).save_at(SaveAt::Times(vec![0.4, 1.0]));
            check(&format!("{batch} x {dim} x {width}, {layout:?}"), &problem, &options, batch, 5e-5);
        }
    }
}

#[test]
fn every_activation() {
    for activation in Activation::ALL {
        let problem = OdeProblem::new(Mlp::new([2, 8, 8, 2]).activation(activation), 0.0, 1.0);
        let options = fixed(Method::Dopri5, 4).save_at(SaveAt::Times(vec![0.4, 1.0]));
        check(&format!("{activation:?}"), &problem, &options, 6, 5e-5);
    }
}
