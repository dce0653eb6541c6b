//! Training steps in an application's encoder.

use super::{
    App, BATCH, DIM, batch, driven_problem, fields, initial_states, noisy_problem, options, problem, refused, training,
};
use crate::oracle::{LAYOUTS, bits, cast, numbers};
use fewsteps::{
    Batch, Error, FailurePolicy, GpuSolver, GpuTrainer, Layout, Local, Loss, Mlp, NeuralDe, Optimizer, PenaltyGradient,
    Pointwise, SaveAt, SolveIo, SolverOptions, Target, Tolerances, TrainIo, TrainerConfig,
};
use wgpu::BufferUsages as Usage;

#[test]
fn recorded_training_steps_are_those_of_step() {
    const STEPS: u64 = 6;
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    for (field, layout) in fields().into_iter().flat_map(|field| LAYOUTS.map(|layout| (field.clone(), layout))) {
        for local in [Local::unbiased(), Local::biased()] {
            let mut config = training(field.clone(), layout, local);
            // Times and signs of measures are drawn on the device too.
            let straight = Pointwise::straightness().gradient(PenaltyGradient::Full).times(2).coefficient(0.1);
            config.regularizer = config.regularizer.and(straight).and(Pointwise::jacobian().coefficient(0.1));
            config.regularizer = config.regularizer.and(Pointwise::kinetic().quadrature().coefficient(0.1));
            let mut stepped = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
            let mut recorded = GpuTrainer::new(&gpu, config).expect("a valid configuration");
            gpu.block_on(recorded.prepare(BATCH, STEPS as usize, 30)).expect("room for a small batch");
            let mut encoder = app.encoder();
            for n in 0..STEPS {
                let (inputs, labels) = batch(n);
                let target = Target::Labels(&labels);
                let report = gpu.block_on(stepped.step(&Batch { inputs: &inputs, target })).expect("a valid batch");
                assert_eq!(report.skipped, n == 2, "{report:?}");
                let (inputs, labels) = (app.filled(&inputs), app.filled(&labels));
                let io = TrainIo { inputs: inputs.slice(..), targets: labels.slice(..) };
                recorded.record(&mut encoder, &io).expect("fitting buffers");
            }
            // All steps are one submission.
            app.queue.submit([encoder.finish()]);
            let report = gpu.block_on(recorded.sync()).expect("a device");
            assert_eq!((report.made, report.unfinished, recorded.steps()), (STEPS, false, STEPS), "{report:?}");
            let [a, b] = [&mut stepped, &mut recorded].map(|t| gpu.block_on(t.parameters()).expect("a device"));
            assert_eq!(bits(&a), bits(&b), "{layout:?}: the same parameters");
            // The host may go on where the device is.
            let (inputs, labels) = batch(STEPS);
            let next = Batch { inputs: &inputs, target: Target::Labels(&labels) };
            let [a, b] = [&mut stepped, &mut recorded].map(|t| gpu.block_on(t.step(&next)).expect("a valid batch"));
            assert_eq!((a.step, a.loss, a.penalty, a.nfe), (b.step, b.loss, b.penalty, b.nfe), "{layout:?}");
            assert_eq!(a.pointwise, b.pointwise, "{layout:?}");
            let [a, b] = [&mut stepped, &mut recorded].map(|t| gpu.block_on(t.parameters()).expect("a device"));
            assert_eq!(bits(&a), bits(&b), "{layout:?}: the same parameters after a step of the host");
        }
    }
}

#[test]
fn recorded_steps_and_updates_of_the_host_take_turns() {
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    let config = training(fields()[0].clone(), Layout::Lockstep, Local::unbiased());
    let mut stepped = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
    let mut recorded = GpuTrainer::new(&gpu, config).expect("a valid configuration");
    let gradient = cast::<f32>(&numbers(8, recorded.config().model.parameter_count()));
    gpu.block_on(recorded.prepare(BATCH, 5, 30)).expect("room for a small batch");
    // Step 2 makes no update, so that updates are fewer than steps.
    for n in [0, 2, 3] {
        let (inputs, labels) = batch(n);
        let target = Target::Labels(&labels);
        gpu.block_on(stepped.step(&Batch { inputs: &inputs, target })).expect("a valid batch");
        let (inputs, labels) = (app.filled(&inputs), app.filled(&labels));
        let io = TrainIo { inputs: inputs.slice(..), targets: labels.slice(..) };
        let mut encoder = app.encoder();
        recorded.record(&mut encoder, &io).expect("fitting buffers");
        app.queue.submit([encoder.finish()]);
        if n == 2 {
            // Nobody has asked yet what the two have come to.
            let [a, b] = [&mut stepped, &mut recorded].map(|t| gpu.block_on(t.apply(&gradient)).expect("an update"));
            assert!(a == b && a.made, "{a:?}, {b:?}");
            assert_eq!(recorded.steps(), 3, "two recorded steps and the update");
        }
    }
    assert_eq!(gpu.block_on(recorded.sync()).expect("a device").made, 1, "the one after the update");
    assert_eq!(recorded.steps(), 4, "all of them");
    let [a, b] = [&mut stepped, &mut recorded].map(|t| gpu.block_on(t.parameters()).expect("a device"));
    assert_eq!(bits(&a), bits(&b), "the same parameters");
}

/// An evaluation between recorded steps and the question what they came to has no part in the answer, whatever it finds
/// itself, nor in what shaders read of it.
#[test]
fn evaluations_leave_what_recorded_steps_have_come_to() {
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    for (field, steps) in fields().into_iter().flat_map(|field| [0..2, 2..3].map(|steps| (field.clone(), steps))) {
        let config = training(field, Layout::Lockstep, Local::unbiased()).failure(FailurePolicy::Abort);
        let [mut asked, mut evaluated] =
            [(); 2].map(|()| GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration"));
        for trainer in [&mut asked, &mut evaluated] {
            gpu.block_on(trainer.prepare(BATCH, 3, 30)).expect("room for a small batch");
            let mut encoder = app.encoder();
            for n in steps.clone() {
                let (inputs, labels) = batch(n);
                let (inputs, labels) = (app.filled(&inputs), app.filled(&labels));
                let io = TrainIo { inputs: inputs.slice(..), targets: labels.slice(..) };
                trainer.record(&mut encoder, &io).expect("fitting buffers");
            }
            app.queue.submit([encoder.finish()]);
        }
        // One of which nothing is left, and one of which all is.
        for n in [2, 1] {
            let (inputs, labels) = batch(n);
            let others = Batch { inputs: &inputs, target: Target::Labels(&labels) };
            let found = gpu.block_on(evaluated.evaluate(&others)).expect("a valid batch");
            assert_eq!(found.loss.is_finite(), n == 1, "{found:?}");
            gpu.block_on(evaluated.predict(&inputs)).expect("fitting inputs");
        }
        let [left, kept] = [&asked, &evaluated].map(|trainer| app.read(app.encoder(), trainer.outcome_buffer()));
        assert_eq!(bits(&left), bits(&kept), "steps {steps:?}: the outcome on the device");
        let [expected, found] = [&mut asked, &mut evaluated].map(|trainer| gpu.block_on(trainer.sync()));
        assert_eq!(expected.is_err(), steps.start == 2, "step 2 is not to be made: {expected:?}");
        assert_eq!(format!("{expected:?}"), format!("{found:?}"), "steps {steps:?}");
        assert_eq!(asked.steps(), evaluated.steps(), "steps {steps:?}");
    }
}

#[test]
fn recorded_training_steps_have_the_paths_of_step() {
    const STEPS: usize = 4;
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    for local in [Local::unbiased(), Local::biased()] {
        let options = SolverOptions::sde(Tolerances::both(0.3));
        let config = TrainerConfig::new(NeuralDe::new(noisy_problem(), options), Loss::Moments)
            .optimizer(Optimizer::adam(0.02))
            .regularizer(local.coefficient(0.1));
        let mut stepped = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
        let mut recorded = GpuTrainer::new(&gpu, config).expect("a valid configuration");
        gpu.block_on(recorded.prepare(BATCH, STEPS, 120)).expect("room for a small batch");
        let (inputs, moments) = (initial_states(), [0.1f32, 0.2, 0.3, 1.0, 0.5, 0.25]);
        let target = Target::Moments { means: &moments[..3], variances: &moments[3..] };
        let (states, targets) = (app.filled(&inputs), app.filled(&moments));
        let mut encoder = app.encoder();
        for _ in 0..STEPS {
            gpu.block_on(stepped.step(&Batch { inputs: &inputs, target })).expect("a valid batch");
            let io = TrainIo { inputs: states.slice(..), targets: targets.slice(..) };
            recorded.record(&mut encoder, &io).expect("fitting buffers");
        }
        app.queue.submit([encoder.finish()]);
        let report = gpu.block_on(recorded.sync()).expect("a device");
        assert_eq!((report.made, report.unfinished), (STEPS as u64, false), "{report:?}");
        let [a, b] = [&mut stepped, &mut recorded].map(|t| gpu.block_on(t.parameters()).expect("a device"));
        assert_eq!(bits(&a), bits(&b), "the same parameters");
    }
}

/// A model that each trajectory's own control drives.
fn driven_training() -> TrainerConfig {
    TrainerConfig::new(NeuralDe::new(driven_problem(), options(Layout::Lockstep, SaveAt::End)), Loss::Mse)
        .optimizer(Optimizer::adam(0.02))
        .regularizer(Local::unbiased().coefficient(0.1))
}

#[test]
fn recorded_training_steps_are_driven_by_the_values_of_their_submission() {
    const STEPS: usize = 4;
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    let config = driven_training();
    let mut stepped = GpuTrainer::new(&gpu, config.clone()).expect("a driven model");
    let mut recorded = GpuTrainer::new(&gpu, config).expect("a driven model");
    let values = |n: usize, rows: usize| cast::<f32>(&numbers(n as u64, rows * 3));
    recorded.set_control("u", &values(9, BATCH)).expect("values");
    gpu.block_on(recorded.prepare(BATCH, STEPS, 30)).expect("room for a small batch");
    let targets = cast::<f32>(&numbers(7, BATCH * DIM));
    let target = Target::States(&targets);
    let (states, target_states) = (app.filled(&initial_states()), app.filled(&targets));
    let io = TrainIo { inputs: states.slice(..), targets: target_states.slice(..) };
    for n in 0..STEPS {
        stepped.set_control("u", &values(n, BATCH)).expect("values");
        gpu.block_on(stepped.step(&Batch { inputs: &initial_states(), target })).expect("a valid batch");
        if n == 2 {
            // Another batch's values in between.
            recorded.set_control("u", &values(8, 5)).expect("values");
            gpu.block_on(recorded.predict(&initial_states()[..5 * DIM])).expect("five trajectories");
            refused(recorded.record(&mut app.encoder(), &io), "y0", "values of u are for 5 trajectories");
        }
        let mut encoder = app.encoder();
        if n == 3 {
            recorded.record(&mut encoder, &io).expect("fitting buffers");
            recorded.set_control("u", &values(n, BATCH)).expect("values");
        } else {
            recorded.set_control("u", &values(n, BATCH)).expect("values");
            recorded.record(&mut encoder, &io).expect("fitting buffers");
        }
        app.queue.submit([encoder.finish()]);
    }
    let report = gpu.block_on(recorded.sync()).expect("a device");
    assert_eq!((report.made, report.unfinished), (STEPS as u64, false), "{report:?}");
    let [a, b] = [&mut stepped, &mut recorded].map(|t| gpu.block_on(t.parameters()).expect("a device"));
    assert_eq!(bits(&a), bits(&b), "the same parameters");
}

#[test]
fn recorded_training_steps_have_no_room_for_more_values_than_were_prepared() {
    let app = App::noop();
    let gpu = app.gpu();
    let mut trainer = GpuTrainer::new(&gpu, driven_training()).expect("a driven model");
    let missing = gpu.block_on(trainer.prepare(BATCH, 2, 4)).expect_err("no values");
    assert!(matches!(missing, Error::Order { needs: "GpuTrainer::set_control", .. }), "{missing}");
    trainer.set_control("u", &[1.0; 3]).expect("the same for all");
    gpu.block_on(trainer.prepare(BATCH, 2, 4)).expect("room for a small batch");
    let states = app.filled(&initial_states());
    let io = TrainIo { inputs: states.slice(..), targets: states.slice(..) };
    trainer.record(&mut app.encoder(), &io).expect("fitting buffers");
    trainer.set_control("u", &[1.0; 3 * BATCH]).expect("each its own");
    let error = trainer.record(&mut app.encoder(), &io).expect_err("no room");
    assert!(matches!(error, Error::Order { needs: "prepare", .. }), "{error}");
    gpu.block_on(trainer.prepare(BATCH, 2, 4)).expect("room for more");
    trainer.record(&mut app.encoder(), &io).expect("fitting buffers");
}

#[test]
fn a_recorded_step_with_too_few_attempts_changes_nothing() {
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    // Small fields are solved whole, in as many attempts as it takes; this one is not.
    let [_, field] = fields();
    let config = training(field, Layout::Lockstep, Local::unbiased());
    let mut trainer = GpuTrainer::new(&gpu, config).expect("valid");
    let before = gpu.block_on(trainer.parameters()).expect("a device");
    gpu.block_on(trainer.prepare(BATCH, 2, 1)).expect("room for a small batch");
    let (inputs, labels) = batch(0);
    let (inputs, labels) = (app.filled(&inputs), app.filled(&labels));
    let io = TrainIo { inputs: inputs.slice(..), targets: labels.slice(..) };
    let mut encoder = app.encoder();
    trainer.record(&mut encoder, &io).expect("fitting buffers");
    app.queue.submit([encoder.finish()]);
    let report = gpu.block_on(trainer.sync()).expect("a device");
    assert_eq!((report.made, report.unfinished), (0, true), "{report:?}");
    let after = gpu.block_on(trainer.parameters()).expect("a device");
    assert_eq!(bits(&before), bits(&after), "no update");
    // What is prepared runs out, and says so.
    let mut encoder = app.encoder();
    trainer.record(&mut encoder, &io).expect("the second of two");
    refused(trainer.record(&mut encoder, &io), "steps", "prepare more");
}

#[test]
fn buffers_that_do_not_fit_are_refused_before_anything_is_recorded() {
    let app = App::noop();
    let gpu = app.gpu();
    let (problem, _) = problem(Mlp::new([DIM, 9, DIM]));
    let solver = GpuSolver::new(&gpu, &problem, &options(Layout::Ensemble, SaveAt::End)).expect("a valid problem");
    refused(gpu.block_on(solver.prepare(0, 4)), "batch", "at least one");
    refused(gpu.block_on(solver.prepare(4, 0)), "attempts", "at least one");
    let stepwise = GpuSolver::new(&gpu, &problem, &options(Layout::Ensemble, SaveAt::Steps)).expect("a valid problem");
    refused(gpu.block_on(stepwise.prepare(4, 4)), "SolverOptions::save_at", "known ahead");

    let solve = gpu.block_on(solver.prepare(BATCH, 4)).expect("room for a small batch");
    let copies = Usage::COPY_SRC | Usage::COPY_DST;
    let theta = app.buffer(solve.theta_bytes(), copies);
    let y = app.buffer(solve.y0_bytes() + 8, copies);
    let storage = app.buffer(solve.y0_bytes(), Usage::STORAGE);
    let fits = SolveIo { theta: theta.slice(..), y0: y.slice(4..), ys: y.slice(..) };
    let mut encoder = app.encoder();
    solve.record(&mut encoder, &fits).expect("fitting buffers");
    let mut refuse = |io: SolveIo<'_>, argument, remedy| refused(solve.record(&mut encoder, &io), argument, remedy);
    refuse(SolveIo { theta: theta.slice(4..), ..fits }, "SolveIo::theta", "larger buffer");
    refuse(SolveIo { y0: y.slice(..16), ..fits }, "SolveIo::y0", "840 bytes are needed");
    refuse(SolveIo { ys: y.slice(2..), ..fits }, "SolveIo::ys", "a multiple of 4");
    refuse(SolveIo { y0: storage.slice(..), ..fits }, "SolveIo::y0", "COPY_SRC");
    refuse(SolveIo { ys: storage.slice(..), ..fits }, "SolveIo::ys", "COPY_DST");
    refused(solve.record_more(&mut encoder, y.slice(..4)), "ys", "larger buffer");

    let config = training(Mlp::new([DIM, 9, DIM]), Layout::Lockstep, Local::unbiased());
    let mut trainer = GpuTrainer::new(&gpu, config).expect("valid");
    let io = TrainIo { inputs: y.slice(..), targets: y.slice(..) };
    let error = trainer.record(&mut encoder, &io).expect_err("nothing is prepared");
    assert!(matches!(error, Error::Order { call: "record", needs: "prepare", .. }), "{error:?}");
    gpu.block_on(trainer.prepare(BATCH, 2, 4)).expect("room for a small batch");
    refused(
        trainer.record(&mut encoder, &TrainIo { inputs: y.slice(..8), ..io }),
        "TrainIo::inputs",
        "560 bytes are needed",
    );
    refused(
        trainer.record(&mut encoder, &TrainIo { targets: storage.slice(..), ..io }),
        "TrainIo::targets",
        "COPY_SRC",
    );
    app.queue.submit([encoder.finish()]);
}
