//! What tolerances resolve on the device, and the first steps and stops that they meet.

use super::{both, tolerances};
use crate::oracle::{
    ADAPTIVE, LAYOUTS, adaptive, bits, cast, close, gpu, linear, numbers, pulse, solver, step_times, widen, zoo,
};
use fewsteps::{
    Controller, GpuSolver, InitialStep, Layout, Learnt, Method, Mlp, Problem, SaveAt, Solution, SolverOptions, Status,
    StepControl, TimeInput, Tolerances,
};

/// A field whole and layer by layer, with its parameters: `y' = a y + b` for the diagonal `a`.
fn diagonal(
    gpu: &fewsteps::Gpu,
    rates: [f64; 2],
    slopes: [f64; 2],
    t1: f64,
    options: &SolverOptions,
) -> [(GpuSolver, Vec<f32>); 2] {
    let theta = cast::<f32>(&[rates[0], 0.0, 0.0, rates[1], slopes[0], slopes[1]]);
    let problem = Problem::ode(Mlp::new([2, 2]), 0.0, t1);
    let new = || GpuSolver::new(gpu, &problem, options).expect("a valid problem");
    [(new(), theta.clone()), (new().layer_by_layer(), theta)]
}

/// Slopes of 1 from 0 at a tiny absolute tolerance: the squares of all features of all trajectories have a sum.
#[test]
fn many_elements_at_zero_may_have_any_absolute_tolerance() {
    let dim = 784;
    let field = Mlp::new([dim, 2, dim]);
    let count = field.parameter_count();
    let theta: Vec<f32> = (0..count).map(|i| if i + dim >= count { 1.0 } else { 0.0 }).collect();
    let y0 = vec![0.0; 40 * dim];
    for layout in LAYOUTS {
        let options = SolverOptions::default().layout(layout).tolerances(Tolerances { atol: 1e-20, rtol: 1e-5 });
        let problem = Problem::ode(field.clone(), 0.0, 1.0);
        let Some([native, device]) = both(&problem, &options, &theta, &y0) else { return };
        assert!(device.status.iter().all(|status| *status == Status::Done), "{layout:?}: {:?}", device.status);
        assert_eq!(device.stats, native.stats, "{layout:?}");
        close("slopes of one", &widen(&device.ys), &vec![1.0; y0.len()], 1e-5);
    }
}

#[test]
fn small_states_and_constant_slopes_are_what_they_are_on_the_native_engine() {
    let Some(gpu) = gpu() else { return };
    for layout in LAYOUTS {
        let tolerances = Tolerances { atol: 1e-20, rtol: 1e-6 };
        let options = SolverOptions::default().layout(layout).tolerances(tolerances);
        for (rate, t1, expected) in [(1.0, 40.0, 2.353_852_668_370_2e5), (-1.0, 10.0, 4.539_992_976_248_485e-17)] {
            for (mut solver, theta) in diagonal(&gpu, [rate; 2], [0.0; 2], t1, &options) {
                let solution = gpu.block_on(solver.solve(&theta, &[1e-12, 1e-12])).expect("a valid solve");
                assert_eq!(solution.status, [Status::Done], "{layout:?}");
                close(&format!("y' = {rate} y, {layout:?}"), &widen(&solution.ys), &[expected; 2], 3e-4);
            }
        }
        let options = options.tolerances(Tolerances { atol: 1e-30, rtol: 1e-5 });
        for (mut solver, theta) in diagonal(&gpu, [-1.0, 0.0], [0.0, 1.0], 2.0, &options) {
            let solution = gpu.block_on(solver.solve(&theta, &[1.0, 0.0])).expect("a valid solve");
            assert_eq!(solution.status, [Status::Done], "{layout:?}: a feature that is 0 at first");
            close("from 0", &widen(&solution.ys), &[(-2f64).exp(), 2.0], 1e-4);
        }
        for (slope, method) in [1.0 / 3.0, -3.7e5, 7.0].into_iter().flat_map(|slope| ADAPTIVE.map(|m| (slope, m))) {
            let options = adaptive(method, 1e-8).layout(layout).save_at(SaveAt::Steps);
            for (mut solver, theta) in diagonal(&gpu, [0.0; 2], [slope, -slope / 7.0], 3.0, &options) {
                let solution = gpu.block_on(solver.solve(&theta, &[0.1, -2.0])).expect("a valid solve");
                let times = step_times(&solution, 0);
                let lengths: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
                let grown = lengths.windows(2).take(lengths.len() - 2).all(|w| (w[1] / w[0] - 10.0).abs() < 1e-3);
                assert!(grown && solution.stats[0].rejected == 0, "y' = {slope}, {method}, {layout:?}: {lengths:?}");
            }
        }
    }
}

#[test]
fn features_with_absolute_tolerances_of_their_own() {
    let Some(gpu) = gpu() else { return };
    for layout in LAYOUTS {
        // Few features are solved whole; many have norms that lanes share.
        for dim in [3, 6, 70] {
            let name = format!("{dim} features, {layout:?}");
            let problem = Problem::ode(Mlp::new([dim, 9, dim]).time_input(TimeInput::Every), 0.0, 4.0);
            let theta = cast::<f32>(&numbers(1, problem.parameter_count()));
            let y0 = cast::<f32>(&numbers(2, 35 * dim));
            let options = adaptive(Method::Bosh3, 1e-3).layout(layout);
            let Some([native, device]) =
                both(&problem, &options.clone().atol_per_feature(tolerances(dim)), &theta, &y0)
            else {
                return;
            };
            assert_eq!(device.stats, native.stats, "{name}: the same steps");
            close(&name, &widen(&device.ys), &widen(&native.ys), 1e-5);
            let run = |options: &SolverOptions| {
                let mut device = GpuSolver::new(&gpu, &problem, options).expect("a valid problem");
                gpu.block_on(device.predict(&theta, &y0)).expect("a valid solve")
            };
            let one = run(&options);
            assert_ne!(one.stats, native.stats, "{name}: tolerances make a difference");
            let each = run(&options.atol_per_feature(vec![1e-3; dim]));
            assert_eq!((bits(&each.ys), each.stats), (bits(&one.ys), one.stats), "{name}: entries of one size are one");
        }
    }
}

#[test]
fn a_small_feature_is_resolved_by_its_own_absolute_tolerance() {
    let Some(gpu) = gpu() else { return };
    // As many features more as are too many for trajectories to be solved whole.
    for (layout, more) in LAYOUTS.into_iter().flat_map(|layout| [(layout, 0), (layout, 4)]) {
        let rates: Vec<f64> = [-0.1, 5.0].into_iter().chain((0..more).map(|_| -0.1)).collect();
        let row = |d: usize| (0..2 + more).map(|e| if d == e { rates[d] } else { 0.0 }).collect();
        let y0: Vec<f64> = [1.0, 1e-12].into_iter().chain((0..more).map(|_| 1.0)).collect();
        let known = linear("uncoupled", (0..2 + more).map(row).collect(), 1.0, y0.clone());
        let one = SolverOptions::default().layout(layout).tolerances(Tolerances { atol: 1e-6, rtol: 1e-5 });
        let mut atol = vec![1e-6; 2 + more];
        atol[1] = 1e-18;
        let exact = [(-0.1f64).exp(), 1e-12 * 5f64.exp()];
        let [(one, rough), (each, fine)] = [one.clone(), one.atol_per_feature(atol)].map(|options| {
            let mut solver = GpuSolver::new(&gpu, &known.problem, &options).expect("a valid problem");
            let found = gpu.block_on(solver.predict(&cast(&known.theta), &cast(&y0))).and_then(Solution::check);
            let found = found.expect("a valid solve");
            ([0, 1].map(|d| (f64::from(found.ys[d]) / exact[d] - 1.0).abs()), found.stats[0].nfe)
        });
        let name = format!("{layout:?}, {} features: {one:?} in {rough}, {each:?} in {fine}", 2 + more);
        assert!(one[0] < 1e-4 && each[0] < 1e-4, "the large feature, {name}");
        assert!(one[1] > 5e-3 && each[1] < 5e-5, "the small feature, {name}");
        assert!(fine > rough, "what is controlled costs steps, {name}");
    }
}

#[test]
fn more_absolute_tolerances_than_a_device_has_room_for_are_refused() {
    let Some(gpu) = gpu() else { return };
    let dim = 65_536 / 4 + 1;
    let problem = Problem::ode(Mlp::new([dim, 1, dim]), 0.0, 1.0);
    let options = SolverOptions::default().atol_per_feature(vec![1e-3; dim]);
    match GpuSolver::new(&gpu, &problem, &options) {
        // More than WebGPU's default limits.
        Ok(_) => {}
        Err(error) => {
            let error = error.to_string();
            assert!(error.starts_with("SolverOptions::atol_per_feature = 16385 numbers: a device has room"), "{error}");
        }
    }
}

/// First steps that are carried on from solve to solve, and the count of ideal steps, whole and in layers.
#[test]
fn first_steps_are_carried_on_as_on_the_native_engine() {
    let Some(gpu) = gpu() else { return };
    for (layout, controller) in LAYOUTS.into_iter().flat_map(|l| [(l, Controller::PI), (l, Controller::I.prompt())]) {
        for known in zoo().into_iter().take(3) {
            let control = StepControl::Adaptive {
                tolerances: Tolerances::both(1e-3),
                controller,
                initial_step: InitialStep::Carried,
            };
            let options = SolverOptions::default().method(Method::Heun).step_control(control).layout(layout);
            let (theta, y0) = (cast::<f32>(&known.theta), cast::<f32>(&known.y0));
            let new = || GpuSolver::new(&gpu, &known.problem, &options).expect("a valid problem");
            for (how, mut device) in [("whole", new()), ("layers", new().layer_by_layer())] {
                let mut native = solver::<f32>(&known.problem, &options);
                for round in 0..4 {
                    let name = format!("{} {controller:?} {layout:?} {how}, solve {round}", known.name);
                    let expected = native.solve(&theta, &y0).expect("a valid solve");
                    let found = gpu.block_on(device.solve(&theta, &y0)).expect("a valid solve");
                    if round == 0 {
                        // The error of an automatic first step is rounding, and decides about the others.
                        device.set_learnt(native.learnt()).expect("what solves can teach");
                        continue;
                    }
                    assert_eq!(found.stats, expected.stats, "{name}");
                    close(&name, &widen(&found.ys), &widen(&expected.ys), 5e-5);
                    close(&format!("{name}: ideal steps"), &found.ideal_steps, &expected.ideal_steps, 2e-3);
                    let [found, expected] = [device.learnt(), native.learnt()].map(|l| l.first.expect("learnt"));
                    assert!((found - expected).abs() < 5e-3, "{name}: {found} for {expected}");
                }
            }
        }
    }
}

/// Of many trajectories, a fifth of which wish for shorter first steps than all are given.
#[test]
fn an_ensembles_wish_is_that_of_the_native_engine() {
    let Some(gpu) = gpu() else { return };
    let problem = Problem::ode(Mlp::new([2, 9, 2]), 0.0, 1.0);
    let theta: Vec<f32> = problem.field.initialize::<f32>(4).into_iter().map(|x| 2.0 * x).collect();
    let y0 = cast::<f32>(&numbers(8, 2 * 1000));
    let control = StepControl::Adaptive {
        tolerances: Tolerances::both(1e-4),
        controller: Controller::I.prompt(),
        initial_step: InitialStep::Carried,
    };
    let options = SolverOptions::default().method(Method::Bosh3).step_control(control).layout(Layout::Ensemble);
    let mut native = solver::<f32>(&problem, &options);
    let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
    let mut begun = Learnt::default();
    begun.first = Some(-3.0);
    native.set_learnt(begun).expect("what solves can teach");
    device.set_learnt(begun).expect("what solves can teach");
    native.predict(&theta, &y0).expect("a valid solve");
    gpu.block_on(device.predict(&theta, &y0)).expect("a valid solve");
    let [found, expected] = [device.learnt(), native.learnt()].map(|l| l.first.expect("learnt"));
    assert!((found - expected).abs() < 1e-5 && expected != -3.0, "{found} for {expected}");
}

#[test]
fn stops_and_the_longest_step_are_kept_on_the_device() {
    let Some(gpu) = gpu() else { return };
    let (problem, theta, end) = pulse();
    let kinks = [1.05, 1.0, 1.0 + 1.0 / 512.0, 1.05 + 1.0 / 512.0, 2.0];
    let theta = cast::<f32>(&theta);
    for layout in LAYOUTS {
        for method in [Method::Tsit5, Method::Bosh3, Method::Heun] {
            let plain = adaptive(method, 1e-3).layout(layout);
            for options in [plain.clone().stop_at(kinks), plain.largest_step(0.04)] {
                for layered in [false, true] {
                    let name = format!("{method}, {layout:?}, layer by layer: {layered}, {:?}", options.largest_step);
                    let options = options.clone().save_at(SaveAt::Steps);
                    let solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
                    let mut solver = if layered { solver.layer_by_layer() } else { solver };
                    let solution = gpu.block_on(solver.solve(&theta, &[1.0])).expect("a valid solve");
                    assert_eq!(solution.status, [Status::Done], "{name}");
                    let found = f64::from(solution.ys[solution.ys.len() - 1]);
                    assert!(
                        (found - end).abs() < if options.stop_at.is_empty() { 4e-2 } else { 5e-3 },
                        "{name}: {found} for {end}"
                    );
                    let times = step_times(&solution, 0);
                    assert!(options.stop_at.iter().all(|stop| times.contains(stop)), "{name}: {times:?}");
                    let longest = times.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
                    assert!(longest <= options.largest_step.unwrap_or(2.0) * (1.0 + 1e-6), "{name}: {longest}");
                }
            }
        }
    }
    // The costs and gradients of a smooth field are the native engine's.
    let field = Mlp::new([2, 6, 2]);
    let (theta, y0) = (cast::<f32>(&numbers(8, field.parameter_count())), cast::<f32>(&numbers(9, 6)));
    let problem = Problem::ode(field, 0.0, 2.0);
    for layout in LAYOUTS {
        for layered in [false, true] {
            let name = format!("{layout:?}, layer by layer: {layered}");
            let options = adaptive(Method::Tsit5, 1e-4).layout(layout).stop_at([0.3, 1.0, 1.7]);
            let mut native = solver::<f32>(&problem, &options);
            let expected = native.solve(&theta, &y0).expect("a valid solve");
            let solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let mut solver = if layered { solver.layer_by_layer() } else { solver };
            let found = gpu.block_on(solver.solve(&theta, &y0)).expect("a valid solve");
            for stats in &found.stats {
                // Two for the first step, and one for each stop that is not the end.
                assert_eq!(stats.nfe, 2 + 6 * (stats.accepted + stats.rejected) + 3, "{name}: {stats:?}");
            }
            // Rounding may move a single trajectory's steps.
            let bound = if layout == Layout::Lockstep { 1e-5 } else { 3e-4 };
            close(&name, &widen(&found.ys), &widen(&expected.ys), bound);
            let [a, b] = [gpu.block_on(solver.gradients(&[1.0; 6])), native.gradients(&[1.0; 6])];
            let [a, b] = [a, b].map(|gradients| gradients.expect("cotangents of every state"));
            close(&format!("{name}: gradient"), &widen(&a.theta), &widen(&b.theta), 10.0 * bound);
        }
    }
}
