//! Executors, and futures that are dropped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use super::{App, BATCH, DIM};
use crate::oracle::{LAYOUTS, adaptive, bits, cast, gpu, numbers, scaled};
use fewsteps::{
    Batch, GpuSolver, GpuTrainer, Layout, Local, Loss, Method, Mlp, NeuralDe, Optimizer, Problem, SolverOptions,
    Target, TrainIo, TrainerConfig,
};

/// A waker that rings.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    ring: Condvar,
}

impl std::task::Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().expect("no panic") = true;
        self.ring.notify_all();
    }
}

impl Bell {
    /// Waits until somebody wakes, and fails where nobody does.
    fn wait(&self) {
        let rung = self.rung.lock().expect("no panic");
        let (mut rung, late) =
            self.ring.wait_timeout_while(rung, Duration::from_secs(60), |rung| !*rung).expect("no panic");
        assert!(!late.timed_out(), "the future sleeps for ever");
        *rung = false;
    }
}

/// An executor that gives a future up after so many polls, each of which was asked for by its waker.
fn polled<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let bell = Arc::new(Bell::default());
    let waker = Arc::clone(&bell).into();
    let mut context = Context::from_waker(&waker);
    for n in 0..times {
        if n > 0 {
            bell.wait();
        }
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
    }
    None
}

/// Options under which a solve takes several submissions and outgrows its first tape.
fn long_options(layout: Layout) -> SolverOptions {
    adaptive(Method::Tsit5, 1e-6).layout(layout)
}

#[test]
fn a_solver_goes_on_wherever_its_futures_were_dropped() {
    let Some(gpu) = gpu() else { return };
    let problem = Problem::ode(Mlp::new([DIM, 8, DIM]), 0.0, 30.0);
    let theta = cast::<f32>(&scaled(1.5, &numbers(1, problem.parameter_count())));
    let y0 = cast::<f32>(&numbers(2, 5 * DIM));
    let bar = vec![1.0; 5 * DIM];
    for layout in LAYOUTS {
        for whole in [true, false] {
            let name = format!("{layout:?}, whole {whole}");
            let fresh = || {
                let solver = GpuSolver::new(&gpu, &problem, &long_options(layout)).expect("a valid problem");
                let solver = if whole { solver } else { solver.layer_by_layer() };
                solver.attempts_per_submission(12).expect("a bound")
            };
            let mut expected = fresh();
            let solution = gpu.block_on(expected.solve(&theta, &y0)).expect("a valid call");
            assert!(solution.stats[0].accepted > 32, "{name}: {:?} outgrows the first tape", solution.stats[0]);
            let gradients = gpu.block_on(expected.gradients(&bar)).expect("cotangents");
            let mut solver = fresh();
            let mut awaits = [0; 3];
            // Each of the calls is dropped at each of its awaits; the next one is as if it had not been.
            for (call, awaits) in awaits.iter_mut().enumerate() {
                for times in 0.. {
                    let through = match call {
                        0 => polled(solver.solve(&theta, &y0), times).map(|s| s.map(|_| ())),
                        1 => polled(solver.predict(&theta, &y0), times).map(|s| s.map(|_| ())),
                        _ => polled(solver.gradients(&bar), times).map(|g| g.map(|_| ())),
                    };
                    if call < 2 {
                        let found = gpu.block_on(solver.solve(&theta, &y0)).expect("a valid call");
                        assert_eq!(found.stats, solution.stats, "{name}: call {call} dropped at {times}");
                        assert_eq!(bits(&found.ys), bits(&solution.ys), "{name}: call {call} dropped at {times}");
                    }
                    let found = gpu.block_on(solver.gradients(&bar)).expect("cotangents");
                    assert_eq!(bits(&found.theta), bits(&gradients.theta), "{name}: call {call} dropped at {times}");
                    assert_eq!(bits(&found.y0), bits(&gradients.y0), "{name}: call {call} dropped at {times}");
                    if let Some(result) = through {
                        result.expect("a valid call");
                        break;
                    }
                    *awaits = times;
                }
            }
            assert!(awaits[0] > 1 && awaits[2] > 0, "{name}: there are awaits to be dropped at: {awaits:?}");
        }
    }
}

/// Sets a flag when it is dropped, by a failing assertion too.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An application's other threads poll the device too, at any instant: one between a buffer's being asked for and its
/// being given up is the one at which wgpu maps it.
#[test]
fn what_is_given_up_while_others_poll_spoils_nothing() {
    let Some(gpu) = gpu() else { return };
    let model = NeuralDe::new(Problem::ode(Mlp::new([DIM, 4, DIM]), 0.0, 1.0), long_options(Layout::Lockstep));
    let mut trainer = GpuTrainer::new(&gpu, TrainerConfig::new(model, Loss::Mse)).expect("a valid model");
    let expected = bits(&gpu.block_on(trainer.parameters()).expect("a device"));
    let done = AtomicBool::new(false);
    let mut given_up = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                gpu.device().poll(wgpu::PollType::Poll).expect("a device");
            }
        });
        // Whatever happens, the other thread ends.
        let _done = Done(&done);
        for round in 0..8_000_u64 {
            let patience = Duration::from_nanos(round * 7_919 % 300_000);
            let asked = std::time::Instant::now();
            let mut future = std::pin::pin!(trainer.parameters());
            let mut context = Context::from_waker(std::task::Waker::noop());
            if future.as_mut().poll(&mut context).is_pending() {
                while asked.elapsed() < patience {
                    std::hint::spin_loop();
                }
                given_up += 1;
            }
        }
    });
    assert!(given_up > 1_000, "{given_up} were given up");
    assert_eq!(bits(&gpu.block_on(trainer.parameters()).expect("a device")), expected);
}

#[test]
fn a_trainer_goes_on_wherever_its_futures_were_dropped() {
    let Some(gpu) = gpu() else { return };
    let model = NeuralDe::new(Problem::ode(Mlp::new([DIM, 8, DIM]), 0.0, 10.0), long_options(Layout::Lockstep)).head(2);
    let config = TrainerConfig::new(model, Loss::Mse).regularizer(Local::unbiased()).optimizer(Optimizer::adam(1e-2));
    let fresh = || GpuTrainer::new(&gpu, config.clone()).expect("a valid model");
    let inputs = cast::<f32>(&numbers(3, 5 * DIM));
    let targets = cast::<f32>(&numbers(4, 5 * 2));
    let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("checkpoint");
    let parameters = |trainer: &mut GpuTrainer| bits(&gpu.block_on(trainer.parameters()).expect("a device"));

    // What a trainer that nobody disturbs does: parameters after 0, 1, ... steps, and the reports of the steps.
    let mut undisturbed = fresh();
    let mut after = vec![parameters(&mut undisturbed)];
    let mut reports = Vec::new();
    for _ in 0..3 {
        reports.push(gpu.block_on(undisturbed.step(&batch)).expect("a step"));
        after.push(parameters(&mut undisturbed));
    }
    let evaluation = gpu.block_on(fresh().evaluate(&batch)).expect("an evaluation");
    let gradient = gpu.block_on(fresh().gradients(&batch)).expect("a gradient");
    let outputs = gpu.block_on(fresh().predict(&inputs)).expect("outputs");

    let mut made = Vec::new();
    for call in ["step", "evaluate", "gradients", "predict", "save", "parameters"] {
        for times in 0.. {
            let name = format!("{call} dropped at {times}");
            let mut trainer = fresh();
            let none = BTreeMap::new();
            let through = match call {
                "step" => polled(trainer.step(&batch), times).map(|r| r.map(|_| ())),
                "evaluate" => polled(trainer.evaluate(&batch), times).map(|r| r.map(|_| ())),
                "gradients" => polled(trainer.gradients(&batch), times).map(|r| r.map(|_| ())),
                "predict" => polled(trainer.predict(&inputs), times).map(|r| r.map(|_| ())),
                "save" => polled(trainer.save(&file, &none), times),
                _ => polled(trainer.parameters(), times).map(|r| r.map(|_| ())),
            };
            // A step of which nobody heard was made as a whole or not at all, and counts if it was.
            gpu.block_on(trainer.sync()).expect("a device");
            let steps = usize::try_from(trainer.steps()).expect("few steps");
            assert!(steps == 0 || call == "step", "{name}: {steps} steps");
            assert_eq!(parameters(&mut trainer), after[steps], "{name}: parameters of {steps} steps");
            if steps == 0 {
                assert_eq!(gpu.block_on(trainer.evaluate(&batch)).expect("an evaluation"), evaluation, "{name}");
                let found = gpu.block_on(trainer.predict(&inputs)).expect("outputs");
                assert_eq!(bits(&found), bits(&outputs), "{name}: outputs");
                let found = gpu.block_on(trainer.gradients(&batch)).expect("a gradient");
                assert_eq!(bits(&found.gradient), bits(&gradient.gradient), "{name}: gradient");
            }
            assert_eq!(gpu.block_on(trainer.step(&batch)).expect("a step"), reports[steps], "{name}: the next step");
            assert_eq!(parameters(&mut trainer), after[steps + 1], "{name}: parameters after the next step");
            gpu.block_on(trainer.save(&file, &none)).expect("a checkpoint");
            let (mut resumed, _) = GpuTrainer::resume(&gpu, &file).expect("the checkpoint");
            assert_eq!(resumed.steps(), steps as u64 + 1, "{name}: saved steps");
            assert_eq!(gpu.block_on(resumed.step(&batch)).expect("a step"), reports[steps + 1], "{name}: resumed");
            if call == "step" {
                made.push(steps);
            }
            if let Some(result) = through {
                result.expect("a valid call");
                break;
            }
        }
    }
    // It is not submitted before it is polled, and made at last.
    assert!(made.first() == Some(&0) && made.last() == Some(&1) && made.len() > 2, "{made:?}");
}

#[test]
fn a_report_that_was_dropped_loses_no_recorded_step() {
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    let model = NeuralDe::new(Problem::ode(Mlp::new([DIM, 8, DIM]), 0.0, 1.0), SolverOptions::default());
    let config = TrainerConfig::new(model, Loss::Mse).optimizer(Optimizer::adam(1e-2));
    let numbers = cast::<f32>(&numbers(5, 5 * DIM));
    let states = app.filled(&numbers);
    let io = TrainIo { inputs: states.slice(..), targets: states.slice(..) };
    for times in 0.. {
        let mut trainer = GpuTrainer::new(&gpu, config.clone()).expect("a valid model");
        gpu.block_on(trainer.prepare(5, 3, 20)).expect("three steps");
        let mut encoder = app.encoder();
        trainer.record(&mut encoder, &io).expect("a step");
        trainer.record(&mut encoder, &io).expect("a step");
        app.queue.submit([encoder.finish()]);
        let report = polled(trainer.sync(), times);
        let heard = if report.is_some() { 0 } else { 2 };
        assert_eq!(gpu.block_on(trainer.sync()).expect("a report").made, heard, "dropped at {times}");
        assert_eq!(trainer.steps(), 2, "dropped at {times}");
        if let Some(report) = report {
            assert_eq!((report.expect("a report").made, times > 0), (2, true));
            break;
        }
    }
}

#[test]
fn any_executor_polls_from_any_thread() {
    fn sendable<F: Future + Send>(future: F) -> F {
        future
    }
    let Some(gpu) = gpu() else { return };
    let problem = Problem::ode(Mlp::new([DIM, 8, DIM]), 0.0, 3.0);
    let theta = cast::<f32>(&numbers(6, problem.parameter_count()));
    let y0 = cast::<f32>(&numbers(7, BATCH * DIM));
    let solver = || GpuSolver::new(&gpu, &problem, &long_options(Layout::Ensemble)).expect("a valid problem");
    let expected = gpu.block_on(solver().solve(&theta, &y0)).expect("a valid call");
    // Nobody else polls the device.
    let alone = pollster::block_on(sendable(solver().solve(&theta, &y0))).expect("a valid call");
    assert_eq!(bits(&alone.ys), bits(&expected.ys), "pollster");
    // Another thread's executor, while this one polls the device as a game loop does, and solves too.
    let through = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut solver = solver();
            let found: Vec<_> = (0..5).map(|_| pollster::block_on(solver.solve(&theta, &y0))).collect();
            through.store(true, Ordering::Relaxed);
            found
        });
        while !through.load(Ordering::Relaxed) {
            gpu.device().poll(wgpu::PollType::Poll).expect("a device");
            let here = gpu.block_on(solver().solve(&theta, &y0)).expect("a valid call");
            assert_eq!(bits(&here.ys), bits(&expected.ys), "this thread");
        }
        for found in other.join().expect("no panic") {
            assert_eq!(bits(&found.expect("a valid call").ys), bits(&expected.ys), "the other thread");
        }
    });
    // A step's future is as free; it need not be run for that.
    let model = NeuralDe::new(problem.clone(), SolverOptions::default());
    let mut trainer = GpuTrainer::new(&gpu, TrainerConfig::new(model, Loss::Mse)).expect("a valid model");
    drop(sendable(trainer.step(&Batch { inputs: &y0, target: Target::States(&y0) })));
}
