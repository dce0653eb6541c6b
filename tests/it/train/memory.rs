//! Memory of a training: its limit, its growth, and what the system refuses.

use super::{classifier, cpu, points};
use crate::oracle::{allocated, without_memory};
use fewsteps::{
    Adjoint, Batch, Checkpoints, Cpu, Error, Layout, Local, Mlp, Pointwise, Problem, Regularizer, SaveAt, Solver,
    SolverOptions, Target, Tolerances, Trainer,
};

#[test]
fn a_trainer_keeps_within_its_memory_limit() {
    let (inputs, labels) = points(20_000);
    let batch = |n: usize| Batch { inputs: &inputs[..6 * n], target: Target::Labels(&labels[..n]) };
    let limit = 1 << 20;
    let mut config = classifier(Local::unbiased());
    let unlimited = Trainer::<f32>::new(&cpu(), config.clone()).expect("a valid model").workspace(20_000, 20).total();
    assert!(unlimited > 10 * limit, "{unlimited} bytes would be needed");
    config.model.options.memory_limit = Some(limit);
    let mut trainer = Trainer::<f32>::new(&cpu(), config.clone()).expect("a valid model");
    let errors = [
        trainer.step(&batch(20_000)).map(|_| ()),
        trainer.gradients(&batch(20_000)).map(|_| ()),
        trainer.evaluate(&batch(20_000)).map(|_| ()),
        trainer.predict(&inputs).map(|_| ()),
    ];
    for error in errors.map(|result| result.expect_err("beyond the limit")) {
        let Error::Memory { limit: told, batch: 20_000, largest_batch, .. } = error else { panic!("{error}") };
        assert!(told == limit && (32..20_000).contains(&largest_batch), "{error}");
        assert!(trainer.bytes() < limit / 10, "nothing was taken: {} bytes", trainer.bytes());
    }
    let report = trainer.step(&batch(64)).expect("a batch that fits");
    assert_eq!((report.step, trainer.steps()), (1, 1), "refused calls are no steps");
    assert!(trainer.bytes() <= limit, "{} bytes held", trainer.bytes());
    config.model.options.memory_limit = Some(1000);
    let error = Trainer::<f32>::new(&cpu(), config).expect_err("not even the parameters");
    assert!(matches!(error, Error::Argument { argument: "SolverOptions::memory_limit", .. }), "{error}");
}

/// The tape of an adaptive solve grows as it goes. Where the system has no memory for it, all workers stop.
#[test]
fn a_tape_that_the_system_refuses_is_an_error() {
    let field = Mlp::new([16, 64, 16]);
    let (problem, theta) = (Problem::ode(field.clone(), 0.0, 3.0), field.initialize::<f64>(7));
    let y0: Vec<f64> = (0..96 * 16).map(|i| f64::from(i * 7 % 101) / 50.0 - 1.0).collect();
    // The states of a tile, and the stages of a step.
    let state = 16 * 32 * size_of::<f64>();
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        for (save_at, stride, sizes) in [
            (SaveAt::End, 1, vec![state]),
            (SaveAt::End, 3, vec![state]),
            (SaveAt::Steps, 1, vec![state]),
            (SaveAt::Dense, 1, vec![state, 7 * state]),
            // Nothing is kept, but what is between two checkpoints.
            (SaveAt::End, 1 << 40, vec![]),
        ] {
            let options = SolverOptions::default().tolerances(Tolerances::both(1e-9)).layout(layout);
            let adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(stride) };
            let options = options.save_at(save_at.clone()).adjoint(adjoint);
            let name = format!("{layout:?}, {save_at:?}, stride {stride}");
            let solver = || Solver::<f64>::new(&cpu(), &problem, &options).expect("a problem");
            let whole = solver().solve(&theta, &y0).expect("memory is there");
            let steps = whole.stats.iter().map(|s| s.accepted).min().expect("a trajectory");
            assert!(steps > 20, "{name}: {steps} steps");
            let segment = (stride > 3).then(|| {
                let most = whole.stats.iter().map(|s| s.accepted).max().expect("a trajectory");
                2 * most * state
            });
            for (size, left) in sizes.into_iter().map(|size| (size, 5)).chain(segment.map(|size| (size, 0))) {
                let mut solver = solver();
                // What a batch holds anyway is there before; a field of zeros takes few steps.
                solver.solve(&vec![0.0; theta.len()], &y0).expect("memory is there");
                let refused = without_memory(size, left, || solver.solve(&theta, &y0).map(drop));
                let refused = refused.expect_err("no memory");
                let Error::OutOfMemory { what, bytes } = &refused else { panic!("{name}: {refused}") };
                assert!(what.contains("states") && *bytes >= size, "{name}: {refused}");
                let again = solver.solve(&theta, &y0).expect("memory is there");
                assert_eq!(
                    (again.ys, again.stats),
                    (whole.ys.clone(), whole.stats.clone()),
                    "{name}: as if never refused"
                );
            }
        }
    }
}

#[test]
fn memory_is_flat_after_warm_up() {
    flat(Local::unbiased().into());
}

#[test]
fn memory_is_flat_with_measures_over_all_steps() {
    flat(Regularizer::from(Pointwise::kinetic().quadrature()).and(Pointwise::jacobian().quadrature()));
}

fn flat(regularizer: Regularizer) {
    let (inputs, labels) = points(80);
    let config = classifier(regularizer);
    let alone = Cpu::with_threads(1).expect("this thread");
    let mut trainer = Trainer::<f32>::new(&alone, config).expect("a valid model");
    let full = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let partial = Batch { inputs: &inputs[..33 * 6], target: Target::Labels(&labels[..33]) };
    let mut steps = |count: usize| {
        for _ in 0..count {
            trainer.step(&full).expect("a step");
            trainer.step(&partial).expect("a step");
        }
        (trainer.bytes(), allocated())
    };
    let (warm, _) = steps(30);
    let (bytes, before) = steps(1);
    let (after_many, after) = steps(300);
    assert!(bytes <= warm, "a partial batch needs no new room");
    assert!(after_many as f64 <= 1.1 * bytes as f64, "the engine grew from {bytes} to {after_many} bytes");
    let per_step = (after - before) / 600;
    assert!(per_step < 16_384, "{per_step} bytes allocated a training step, in a batch of 80");
    let predicted = trainer.workspace(80, 64).total();
    assert!(after_many < predicted, "{after_many} bytes held, {predicted} predicted for 64 steps");
}
