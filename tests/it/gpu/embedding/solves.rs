//! Solves in an application's encoder, and devices beside each other.

use super::{
    App, BATCH, DIM, READ, WRITE, cases, driven_problem, fields, initial_states, noisy_problem, options, problem,
    refused, save_points, training,
};
use crate::oracle::{LAYOUTS, bits, cast, numbers};
use fewsteps::{
    Error, Gpu, GpuSolver, GpuTrainer, Layout, Local, Mlp, OUTCOME_WGSL, Paths, SaveAt, SolveIo, SolverOptions,
    Tolerances, TrainIo,
};
use wgpu::BufferUsages as Usage;

/// A frame of the application: its pass writes initial states, a solve, its pass reads the saved ones. One submission.
fn frame(app: &App, field: Mlp, options: &SolverOptions, attempts: usize) -> (Vec<f32>, f32) {
    let (problem, theta) = problem(field);
    let gpu = app.gpu().checked(true);
    let solver = GpuSolver::new(&gpu, &problem, options).expect("a valid problem");
    let solve = gpu.block_on(solver.prepare(BATCH, attempts)).expect("room for a small batch");
    let theta = app.filled(&theta);
    let y0 = app.buffer(solve.y0_bytes(), Usage::STORAGE | Usage::COPY_SRC);
    let ys = app.buffer(solve.ys_bytes(), Usage::STORAGE | Usage::COPY_DST);
    let out = app.buffer(solve.ys_bytes() + 4, Usage::STORAGE | Usage::COPY_SRC);
    let mut encoder = app.encoder();
    app.pass(&mut encoder, WRITE, &[&y0]);
    let io = SolveIo { theta: theta.slice(..), y0: y0.slice(..), ys: ys.slice(..) };
    solve.record(&mut encoder, &io).expect("fitting buffers");
    app.pass(&mut encoder, &format!("{OUTCOME_WGSL}{READ}"), &[&ys, solve.outcome_buffer(), &out]);
    let mut found: Vec<f32> = app.read(encoder, &out).into_iter().map(|x| -x).collect();
    let unfinished = -found.pop().expect("one more");
    (found, unfinished)
}

fn predicted(gpu: &Gpu, field: Mlp, options: &SolverOptions) -> Vec<f32> {
    let (problem, theta) = problem(field);
    let mut solver = GpuSolver::new(gpu, &problem, options).expect("a valid problem");
    gpu.block_on(solver.predict(&theta, &initial_states())).expect("a valid solve").ys
}

#[test]
fn a_solve_between_an_applications_passes() {
    let Some(app) = App::open() else { return };
    for (field, layout, save_at) in cases() {
        let options = options(layout, save_at);
        let (found, unfinished) = frame(&app, field.clone(), &options, 40);
        assert_eq!(unfinished, 0.0, "{layout:?}: the attempts suffice");
        let expected = predicted(&app.gpu().checked(true), field.clone(), &options);
        assert_eq!(bits(&found), bits(&expected), "{field:?} {layout:?}: as predict has it");
    }
}

#[test]
fn a_long_solve_takes_slices_of_several_frames() {
    let Some(app) = App::open() else { return };
    for (field, layout, save_at) in cases() {
        let (problem, theta) = problem(field.clone());
        let options = options(layout, save_at);
        let gpu = app.gpu();
        let solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
        let mut solve = gpu.block_on(solver.prepare(BATCH, 3)).expect("room for a small batch");
        let (theta, y0) = (app.filled(&theta), app.filled(&initial_states()));
        let ys = app.buffer(solve.ys_bytes(), Usage::COPY_SRC | Usage::COPY_DST);
        // Twice, so that a solve starts from what an earlier one left.
        for _ in 0..2 {
            let mut encoder = app.encoder();
            let io = SolveIo { theta: theta.slice(..), y0: y0.slice(..), ys: ys.slice(..) };
            solve.record(&mut encoder, &io).expect("fitting buffers");
            let early = app.read(encoder, &ys);
            assert_eq!(early.len() % (BATCH * DIM), 0);
            let after = gpu.block_on(solve.outcome()).expect("a device");
            assert!(after.unfinished > 0 && after.accepted + after.rejected == 3, "{after:?}");
            if layout == Layout::Lockstep {
                let last = early.len() - BATCH * DIM;
                assert_eq!(early[last..], initial_states(), "what was not reached is where it began");
            }
            let mut frames = 1;
            while gpu.block_on(solve.outcome()).expect("a device").unfinished > 0 {
                let mut encoder = app.encoder();
                solve.record_more(&mut encoder, ys.slice(..)).expect("fitting buffers");
                app.queue.submit([encoder.finish()]);
                frames += 1;
            }
            assert!(frames > 1, "{layout:?}: it took {frames} frames");
            let found = app.read(app.encoder(), &ys);
            assert_eq!(bits(&found), bits(&predicted(&gpu, field.clone(), &options)), "{field:?} {layout:?}");
        }
    }
}

#[test]
fn a_recorded_solve_is_driven_by_the_values_of_its_submission() {
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    let problem = driven_problem();
    let theta: Vec<f32> = problem.initialize(1);
    let (parameters, start) = (app.filled(&theta), app.filled(&initial_states()));
    for layout in LAYOUTS {
        let options = options(layout, SaveAt::End);
        let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a driven problem");
        let values = |n: u64, rows: usize| cast::<f32>(&numbers(n, rows * 3));
        solver.set_control("u", &values(1, BATCH)).expect("values");
        let mut solve = gpu.block_on(solver.prepare(BATCH, 40)).expect("room for a small batch");
        let ys = app.buffer(solve.ys_bytes(), Usage::COPY_SRC | Usage::COPY_DST);
        let io = SolveIo { theta: parameters.slice(..), y0: start.slice(..), ys: ys.slice(..) };
        // Those of the solver at first, then each its own, then the same for all.
        for (n, rows) in [(1, BATCH), (2, BATCH), (3, 1), (4, BATCH)] {
            let mut encoder = app.encoder();
            solve.record(&mut encoder, &io).expect("fitting buffers");
            if n > 1 {
                solve.set_control("u", &values(n, rows)).expect("values");
            }
            let found = app.read(encoder, &ys);
            solver.set_control("u", &values(n, rows)).expect("values");
            let expected = gpu.block_on(solver.predict(&theta, &initial_states())).expect("a valid solve").ys;
            assert_eq!(bits(&found), bits(&expected), "{layout:?}, {n}");
        }
        // What does not fit leaves the values as they are.
        refused(solve.set_control("v", &[0.0; 3]), "name", "driven by");
        refused(solve.set_control("u", &[0.0; 6]), "y0", "values of u are for 2 trajectories");
        assert!(matches!(solve.set_control("u", &[0.0; 4]), Err(Error::Shape { .. })));
        assert!(matches!(solve.set_control("u", &[0.0, f32::NAN, 0.0]), Err(Error::NonFinite { .. })));
        let before = app.read(app.encoder(), &ys);
        let mut encoder = app.encoder();
        solve.record(&mut encoder, &io).expect("fitting buffers");
        assert_eq!(bits(&app.read(encoder, &ys)), bits(&before), "{layout:?}: the same values");
        // A recording has room for what it was prepared with.
        solver.set_control("u", &values(5, 1)).expect("values");
        let mut shared = gpu.block_on(solver.prepare(BATCH, 40)).expect("room for a small batch");
        refused(shared.set_control("u", &values(6, BATCH)), "values", "prepare it from a solver");
        shared.set_control("u", &values(6, 1)).expect("as many");
    }
}

#[test]
fn trajectories_that_fail_leave_nan_and_the_others_their_states() {
    let Some(app) = App::open() else { return };
    let (problem, theta) = problem(Mlp::new([DIM, 9, DIM]));
    let gpu = app.gpu();
    let mut y0 = initial_states();
    y0[5 * DIM] = f32::NAN;
    let options = options(Layout::Ensemble, SaveAt::End);
    let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
    let mut solve = gpu.block_on(solver.prepare(BATCH, 40)).expect("room for a small batch");
    let (parameters, start) = (app.filled(&theta), app.filled(&y0));
    let ys = app.buffer(solve.ys_bytes(), Usage::COPY_SRC | Usage::COPY_DST);
    let mut encoder = app.encoder();
    let io = SolveIo { theta: parameters.slice(..), y0: start.slice(..), ys: ys.slice(..) };
    solve.record(&mut encoder, &io).expect("fitting buffers");
    let found = app.read(encoder, &ys);
    let expected = gpu.block_on(solver.predict(&theta, &y0)).expect("a valid solve");
    assert_eq!(bits(&found), bits(&expected.ys), "as predict has it");
    let outcome = gpu.block_on(solve.outcome()).expect("a device");
    assert_eq!((outcome.failed, outcome.first_failure), (1, Some((5, expected.status[5]))));
}

#[test]
fn recorded_solves_follow_the_given_paths() {
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    for (layout, save_at) in LAYOUTS.into_iter().zip(save_points()) {
        let problem = noisy_problem();
        let options = SolverOptions::sde(Tolerances::both(0.1)).layout(layout).save_at(save_at);
        let theta = problem.initialize::<f32>(1);
        let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
        let mut solve = gpu.block_on(solver.prepare(BATCH, 5)).expect("room for a small batch");
        let (parameters, y0) = (app.filled(&theta), app.filled(&initial_states()));
        let ys = app.buffer(solve.ys_bytes(), Usage::COPY_SRC | Usage::COPY_DST);
        for paths in [Paths::default(), Paths { seed: 7, first: 3 }] {
            solve.set_paths(paths).expect("few trajectories");
            solver.set_paths(paths);
            let mut encoder = app.encoder();
            let io = SolveIo { theta: parameters.slice(..), y0: y0.slice(..), ys: ys.slice(..) };
            solve.record(&mut encoder, &io).expect("fitting buffers");
            app.queue.submit([encoder.finish()]);
            while gpu.block_on(solve.outcome()).expect("a device").unfinished > 0 {
                let mut encoder = app.encoder();
                solve.record_more(&mut encoder, ys.slice(..)).expect("fitting buffers");
                app.queue.submit([encoder.finish()]);
            }
            let found = app.read(app.encoder(), &ys);
            let expected = gpu.block_on(solver.predict(&theta, &initial_states())).expect("a valid solve");
            assert_eq!(bits(&found), bits(&expected.ys), "{layout:?} {paths:?}");
        }
    }
}

#[test]
fn recordings_validate_without_a_driver() {
    let app = App::noop();
    let gpu = app.gpu();
    for (field, layout, save_at) in cases() {
        let (problem, theta) = problem(field.clone());
        let solver = GpuSolver::new(&gpu, &problem, &options(layout, save_at)).expect("a valid problem");
        let solve = gpu.block_on(solver.prepare(BATCH, 4)).expect("kernels compile");
        let (theta, y0) = (app.filled(&theta), app.filled(&initial_states()));
        let ys = app.buffer(solve.ys_bytes(), Usage::COPY_DST);
        let mut trainer = GpuTrainer::new(&gpu, training(field, layout, Local::unbiased())).expect("valid");
        gpu.block_on(trainer.prepare(BATCH, 2, 4)).expect("kernels compile");
        let scope = app.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let mut encoder = app.encoder();
        let io = SolveIo { theta: theta.slice(..), y0: y0.slice(..), ys: ys.slice(..) };
        solve.record(&mut encoder, &io).expect("fitting buffers");
        solve.record_more(&mut encoder, ys.slice(..)).expect("fitting buffers");
        let io = TrainIo { inputs: y0.slice(..), targets: y0.slice(..) };
        trainer.record(&mut encoder, &io).expect("fitting buffers");
        app.queue.submit([encoder.finish()]);
        let error = pollster::block_on(scope.pop());
        assert!(error.is_none(), "{layout:?}: {error:?}");
    }
}

#[test]
fn two_devices_give_the_same_bits() {
    let (Some(one), Some(other)) = (App::open(), App::open()) else { return };
    for layout in LAYOUTS {
        let options = options(layout, SaveAt::End);
        let [_, field] = fields();
        let found = std::thread::scope(|scope| {
            let frames = [&one, &other].map(|app| scope.spawn(|| frame(app, field.clone(), &options, 40).0));
            frames.map(|frame| frame.join().expect("a frame"))
        });
        assert_eq!(bits(&found[0]), bits(&found[1]), "{layout:?}");
    }
}

/// Whoever waits for one device may wait for another within.
#[test]
fn a_wait_for_one_device_hears_of_another() {
    let (Some(one), Some(other)) = (App::open(), App::open()) else { return };
    let (one, other) = (one.gpu(), other.gpu());
    let (problem, theta) = problem(Mlp::new([DIM, 9, DIM]));
    let options = options(Layout::Ensemble, SaveAt::End);
    let [mut first, mut second] =
        [&one, &other].map(|gpu| GpuSolver::new(gpu, &problem, &options).expect("a valid problem"));
    let y0 = initial_states();
    let both = one.block_on(async {
        let there = second.predict(&theta, &y0).await?;
        // And one that waits in the middle of another's wait.
        let again = other.block_on(second.predict(&theta, &y0))?;
        let here = first.predict(&theta, &y0).await?;
        Ok::<_, Error>([there, again, here])
    });
    let [there, again, here] = both.expect("two devices").map(|solution| bits(&solution.ys));
    assert!(there == here && again == here, "the same bits");
}

#[test]
fn the_applications_device_keeps_its_callbacks() {
    let Some(app) = App::open() else { return };
    let (sender, heard) = std::sync::mpsc::channel();
    app.device.set_device_lost_callback(move |_, reason| drop(sender.send(reason)));
    let gpu = app.gpu();
    let (problem, theta) = problem(Mlp::new([DIM, 9, DIM]));
    let mut solver = GpuSolver::new(&gpu, &problem, &options(Layout::Ensemble, SaveAt::End)).expect("a valid problem");
    gpu.block_on(solver.predict(&theta, &initial_states())).expect("a valid solve");
    app.device.destroy();
    let _ = app.device.poll(wgpu::PollType::wait_indefinitely());
    gpu.note_lost(&heard.recv().expect("the application hears of it"));
    let error = gpu.block_on(solver.predict(&theta, &initial_states())).expect_err("the device is gone");
    assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
}
