//! A device that goes away in the middle of a training, and checkpoints that go from engine to engine.

use std::collections::BTreeMap;

use crate::oracle::{LAYOUTS, bits, cast, close, cpu, gpu, numbers, own_gpu, widen};
use fewsteps::{
    Batch, Error, GpuSolver, GpuTrainer, Layout, Local, Loss, Mlp, NeuralDe, Optimizer, Problem, SolverOptions, Target,
    Trainer, TrainerConfig,
};

fn config(layout: Layout, coefficient: f64) -> TrainerConfig {
    let problem = Problem::ode(Mlp::new([3, 6, 3]), 0.0, 1.0);
    let model = NeuralDe::new(problem, SolverOptions::default().layout(layout)).encoder(4).head(2);
    TrainerConfig::new(model, Loss::CrossEntropy)
        .optimizer(Optimizer::adamw(0.02, 0.01))
        .regularizer(Local::unbiased().coefficient(coefficient))
        .seed(5)
}

struct Samples {
    inputs: Vec<f32>,
    labels: Vec<u32>,
}

fn samples() -> Samples {
    Samples { inputs: cast(&numbers(1, 20 * 4)), labels: (0..20).map(|i| i % 2).collect() }
}

impl Samples {
    fn batch(&self) -> Batch<'_, f32> {
        Batch { inputs: &self.inputs, target: Target::Labels(&self.labels) }
    }
}

#[test]
fn training_goes_on_from_a_checkpoint_after_the_device_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let samples = samples();
    for layout in LAYOUTS {
        let Some(gpu) = own_gpu() else { return };
        let mut whole = GpuTrainer::new(&gpu, config(layout, 0.05)).expect("a valid configuration");
        let whole: Vec<_> = (0..12).map(|_| gpu.block_on(whole.step(&samples.batch())).expect("a step")).collect();

        let path = folder.path().join(format!("{layout:?}.safetensors"));
        let mut trainer = GpuTrainer::new(&gpu, config(layout, 0.05)).expect("a valid configuration");
        for report in &whole[..5] {
            assert_eq!(&gpu.block_on(trainer.step(&samples.batch())).expect("a step"), report, "{layout:?}");
        }
        gpu.block_on(trainer.save(&path, &BTreeMap::new())).expect("a checkpoint");
        gpu.block_on(trainer.step(&samples.batch())).expect("a step");

        gpu.device().destroy();
        // Every call says so, and none panics or hangs.
        let errors = [
            gpu.block_on(trainer.step(&samples.batch())).err(),
            gpu.block_on(trainer.evaluate(&samples.batch())).err(),
            gpu.block_on(trainer.gradients(&samples.batch())).err(),
            gpu.block_on(trainer.predict(&samples.inputs)).err(),
            gpu.block_on(trainer.parameters()).err(),
            gpu.block_on(trainer.save(&folder.path().join("lost"), &BTreeMap::new())).err(),
        ];
        for (call, error) in errors.iter().enumerate() {
            let lost = matches!(error, Some(Error::DeviceLost { .. }));
            assert!(lost, "{layout:?}: call {call} on a lost device: {error:?}");
        }
        assert!(!folder.path().join("lost").exists(), "nothing is written of a lost device");

        let Some(gpu) = own_gpu() else { return };
        let (mut trainer, _) = GpuTrainer::resume(&gpu, &path).expect("the checkpoint");
        assert_eq!(trainer.steps(), 5, "{layout:?}: where it was saved");
        for report in &whole[5..] {
            let found = gpu.block_on(trainer.step(&samples.batch())).expect("a step");
            assert_eq!(&found, report, "{layout:?}: as if nothing had happened");
        }
    }
}

#[test]
fn everything_made_on_a_lost_device_says_so() {
    let Some(gpu) = own_gpu() else { return };
    let samples = samples();
    let trainer = GpuTrainer::new(&gpu, config(Layout::Lockstep, 0.05)).expect("a valid configuration");
    let problem = Problem::ode(Mlp::new([3, 6, 3]), 0.0, 1.0);
    let theta = cast::<f32>(&numbers(2, problem.field.parameter_count()));
    let mut solver = GpuSolver::new(&gpu, &problem, &SolverOptions::default()).expect("a valid problem");
    let solution = gpu.block_on(solver.solve(&theta, &[0.5; 6])).expect("a valid call");
    let mut unread = GpuTrainer::new(&gpu, config(Layout::Lockstep, 0.05)).expect("a valid configuration");
    let mut unsolved = GpuSolver::new(&gpu, &problem, &SolverOptions::default()).expect("a valid problem");
    gpu.device().destroy();
    let error = gpu.block_on(unread.parameters()).err();
    assert!(matches!(error, Some(Error::DeviceLost { .. })), "parameters: {error:?}");
    let error = gpu.block_on(unsolved.solve(&theta, &[0.5; 6])).err();
    assert!(matches!(error, Some(Error::DeviceLost { .. })), "a first solve: {error:?}");
    let error = gpu.block_on(solver.gradients(&vec![1.0; solution.ys.len()])).err();
    assert!(matches!(error, Some(Error::DeviceLost { .. })), "gradients: {error:?}");
    // Room is made on the lost device.
    for rows in [2, 500] {
        let error = gpu.block_on(solver.solve(&theta, &vec![0.5; 3 * rows])).err();
        assert!(matches!(error, Some(Error::DeviceLost { .. })), "a solve of {rows} rows: {error:?}");
    }
    let uploaded = gpu.block_on(trainer.upload(&samples.inputs, Target::Labels(&samples.labels)));
    let later = uploaded.and_then(|data| {
        let mut trainer = trainer;
        gpu.block_on(trainer.step_on(&data, &[0, 3]))
    });
    assert!(matches!(later, Err(Error::DeviceLost { .. })), "a data set: {later:?}");
    // A trainer may come to be, but does nothing.
    let made = GpuTrainer::new(&gpu, config(Layout::Ensemble, 0.05));
    let error = made.and_then(|mut trainer| gpu.block_on(trainer.step(&samples.batch()))).err();
    assert!(matches!(error, Some(Error::DeviceLost { .. })), "a new trainer: {error:?}");
}

#[test]
fn checkpoints_go_from_engine_to_engine() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let samples = samples();
    let metadata = BTreeMap::from([("run".to_owned(), "seven".to_owned())]);
    for layout in LAYOUTS {
        let [there, back] = ["there", "back"].map(|name| folder.path().join(format!("{name} {layout:?}")));
        // The dynamics are so gentle that their errors are rounding: the penalty weighs next to nothing.
        let mut native = Trainer::<f32>::new(&cpu(1), config(layout, 1e-5)).expect("a valid configuration");
        let mut device = GpuTrainer::new(&gpu, config(layout, 1e-5)).expect("a valid configuration");
        let initial = gpu.block_on(device.parameters()).expect("a device");
        assert_eq!(bits(&initial), bits(native.parameters()), "{layout:?}: both draw the same parameters");
        for _ in 0..4 {
            native.step(&samples.batch()).expect("a step");
            gpu.block_on(device.step(&samples.batch())).expect("a step");
        }
        native.save(&there, &metadata).expect("a checkpoint");
        gpu.block_on(device.save(&back, &metadata)).expect("a checkpoint");

        // From the native engine to the device and to the native engine: the same bits, then the same curve.
        let (mut moved, found) = GpuTrainer::resume(&gpu, &there).expect("a native checkpoint");
        assert_eq!((found, moved.steps()), (metadata.clone(), 4), "{layout:?}: what was saved");
        let theta = gpu.block_on(moved.parameters()).expect("a device");
        assert_eq!(bits(&theta), bits(native.parameters()), "{layout:?}: parameters of the native engine");
        let again = folder.path().join(format!("again {layout:?}"));
        gpu.block_on(moved.save(&again, &metadata)).expect("a checkpoint");
        let [a, b] = [&there, &again].map(|path| std::fs::read(path).expect("a file"));
        assert!(a == b, "{layout:?}: the device saves what it was given");
        let (mut returned, found) = Trainer::<f32>::resume(&cpu(1), &back).expect("a device's checkpoint");
        assert_eq!((found, returned.steps()), (metadata.clone(), 4), "{layout:?}: what was saved");
        let theta = gpu.block_on(device.parameters()).expect("a device");
        assert_eq!(bits(returned.parameters()), bits(&theta), "{layout:?}: parameters of the device");
        for step in 0..5 {
            let expected = native.step(&samples.batch()).expect("a step");
            let device = gpu.block_on(device.step(&samples.batch())).expect("a step");
            let moved = gpu.block_on(moved.step(&samples.batch())).expect("a step");
            let returned = returned.step(&samples.batch()).expect("a step");
            for (name, report) in [("device", &device), ("moved", &moved), ("returned", &returned)] {
                let near = (report.loss - expected.loss).abs() <= 1e-4 * expected.loss;
                assert!(near, "{layout:?}, {name}, step {step}: {report:?} for {expected:?}");
                assert_eq!((report.step, report.coefficient), (expected.step, expected.coefficient), "{name}");
            }
        }
        let theta = gpu.block_on(moved.parameters()).expect("a device");
        close(&format!("{layout:?}"), &widen(&theta), &widen(native.parameters()), 1e-3);
    }
}
