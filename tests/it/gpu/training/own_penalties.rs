//! Regularized training on series that were observed at times of their own, on the device beside the native engine.

use super::own_times::{ROWS, model, series, target_of};
use crate::oracle::{LAYOUTS, bits, cast, close, cpu, gpu, numbers, widen};
use fewsteps::{
    Batch, Budget, Global, GpuTrainer, Layout, Local, Loss, Measure, Method, PenaltyGradient, Pointwise, Regularizer,
    SolverOptions, Target, Times, Tolerances, Trainer, TrainerConfig,
};

fn config(layout: Layout, regularizer: Regularizer) -> TrainerConfig {
    let mut model = model(layout, 2);
    // Of these errors rounding is a small part.
    model.options = SolverOptions::default().method(Method::Bosh3).tolerances(Tolerances::both(1e-3)).layout(layout);
    TrainerConfig::new(model, Loss::Mse).regularizer(regularizer).seed(5)
}

/// The batches of some steps: all rows, and some of them, of which one has one time alone.
fn batches() -> Vec<Times> {
    let all = series();
    let some = |rows: &[usize]| all.select(rows).expect("rows");
    vec![all.clone(), some(&[0, 3, 5, 10, 11]), all.clone(), some(&[7, 1, 2]), all.clone()]
}

/// Two trainers with the same parameters, of dynamics whose errors stand well above rounding.
fn trainers(config: &TrainerConfig) -> Option<(GpuTrainer, Trainer<f64>)> {
    let mut device = GpuTrainer::new(&gpu()?, config.clone()).expect("a model");
    let mut native = Trainer::<f64>::new(&cpu(1), config.clone()).expect("a model");
    let theta: Vec<f32> = native.parameters().iter().map(|x| (2.0 * x) as f32).collect();
    device.set_parameters(&theta).expect("as many");
    native.set_parameters(&widen(&theta)).expect("as many");
    let mut learnt = native.learnt();
    learnt.ideal = Some(1.5);
    device.set_learnt(learnt).expect("what solves can teach");
    native.set_learnt(learnt).expect("what solves can teach");
    Some((device, native))
}

/// Each goes its own way from the same parameters, for several steps.
fn compare(layout: Layout, regularizer: &Regularizer) {
    let Some((mut device, mut native)) = trainers(&config(layout, regularizer.clone())) else { return };
    let (gpu, inputs) = (device.gpu().clone(), cast::<f32>(&numbers(3, 4 * ROWS)));
    for (step, times) in batches().into_iter().enumerate() {
        let name = format!("{layout:?}, {regularizer:?}, step {step}");
        let inputs = &inputs[..4 * times.rows()];
        let (wide, states) = (widen(inputs), target_of(&times, 2, 4, f32::NAN));
        let wide_states = widen(&states);
        device.set_times(Some(times.clone())).expect("own times");
        native.set_times(Some(times)).expect("own times");
        let batch = Batch { inputs, target: Target::States(&states) };
        let alone = gpu.block_on(device.gradients(&batch)).expect("a gradient");
        let found = gpu.block_on(device.step(&batch)).expect("a step");
        assert_eq!((alone.report.loss, alone.report.penalty), (found.loss, found.penalty), "{name}: twice the same");
        let expected = native.step(&Batch { inputs: &wide, target: Target::States(&wide_states) }).expect("a step");
        assert_eq!((found.failed, found.nfe_penalty), (expected.failed, expected.nfe_penalty), "{name}");
        assert_eq!(found.coefficient, expected.coefficient, "{name}");
        close(&format!("{name}: loss"), &[found.loss], &[expected.loss], 1e-3);
        let penalties = [&found, &expected].map(|report| [report.penalty, report.global_penalty.unwrap_or(0.0)]);
        assert!(penalties[1][0] > 0.0, "{name}");
        close(&format!("{name}: penalties"), &penalties[0], &penalties[1], 2e-2);
    }
    let name = format!("{layout:?}, {regularizer:?}: parameters");
    close(&name, &widen(&gpu.block_on(device.parameters()).expect("parameters")), native.parameters(), 2e-3);
    let (found, expected) = (gpu.block_on(device.learnt()).expect("a device").ideal, native.learnt().ideal);
    close(&name, &[found.expect("given")], &[expected.expect("given")], 2e-2);
}

#[test]
fn regularized_training_on_series_is_the_native_engines() {
    let full = |local: Local| local.gradient(PenaltyGradient::Full).fraction(1.0).coefficient(0.3);
    let regularizers: [Regularizer; 7] = [
        Pointwise::kinetic().gradient(PenaltyGradient::Full).coefficient(0.3).into(),
        Local::unbiased().into(),
        full(Local::unbiased()).measure(Measure::Error).into(),
        full(Local::biased()).times(2).into(),
        Local::published_unbiased().into(),
        Global::step_count().into(),
        Regularizer::from(Global::error().coefficient(0.5)).and(full(Local::biased())),
    ];
    for layout in LAYOUTS {
        for regularizer in &regularizers {
            compare(layout, regularizer);
        }
    }
}

/// A target for NFE moves the coefficient as it does natively, once it has seen enough steps.
#[test]
fn a_target_for_nfe_goes_with_series() {
    let regularizer = Local::unbiased().fraction(1.0).coefficient(0.3).budget(Budget::nfe(7.0).for_steps(400));
    for layout in LAYOUTS {
        let Some((mut device, mut native)) = trainers(&config(layout, regularizer.clone().into())) else { return };
        let (gpu, times) = (device.gpu().clone(), series());
        let (inputs, states) = (cast::<f32>(&numbers(3, 4 * ROWS)), target_of(&times, 2, 4, f32::NAN));
        let (wide, wide_states) = (widen(&inputs), widen(&states));
        device.set_times(Some(times.clone())).expect("own times");
        native.set_times(Some(times)).expect("own times");
        for _ in 0..120 {
            let batch = Batch { inputs: &inputs, target: Target::States(&states) };
            gpu.block_on(device.step(&batch)).expect("a step");
            native.step(&Batch { inputs: &wide, target: Target::States(&wide_states) }).expect("a step");
        }
        let (found, expected) = (gpu.block_on(device.learnt()).expect("a device").budget, native.learnt().budget);
        assert_eq!(found.steps, expected.steps, "{layout:?}");
        assert!((expected.coefficient / 0.03 - 1.0).abs() > 0.05, "{layout:?}: it has moved: {expected:?}");
        close(&format!("{layout:?}: coefficient"), &[found.coefficient], &[expected.coefficient], 5e-2);
        close(&format!("{layout:?}: NFE"), &[found.nfe], &[expected.nfe], 2e-2);
    }
}

/// Room for more times, targets where there is no time and other batches in between change no bit.
#[test]
fn what_stands_beside_a_penalty_changes_no_bit() {
    let Some(gpu) = gpu() else { return };
    let (times, inputs) = (series(), cast::<f32>(&numbers(3, 4 * ROWS)));
    let regularizer = Regularizer::from(Local::unbiased().gradient(PenaltyGradient::Full).fraction(1.0));
    for layout in LAYOUTS {
        let mut trainer = GpuTrainer::new(&gpu, config(layout, regularizer.clone())).expect("a model");
        let theta = gpu.block_on(trainer.parameters()).expect("parameters");
        let gradient = |trainer: &mut GpuTrainer, missing: f32| {
            trainer.set_times(Some(times.clone())).expect("own times");
            let states = target_of(&times, 2, 4, missing);
            let batch = Batch { inputs: &inputs, target: Target::States(&states) };
            bits(&gpu.block_on(trainer.gradients(&batch)).expect("a gradient").gradient)
        };
        let first = gradient(&mut trainer, f32::NAN);
        assert_eq!(first, gradient(&mut trainer, 1e30), "{layout:?}");
        // A batch with room for more times, one that rests and is not penalised, and the same draws again.
        for rows in [Times::within(&[[0.0, 1.0]], &[vec![0.5; 70]]), Times::series(&[vec![0.5, 0.5]])] {
            let rows = rows.expect("times");
            let states = vec![0.5; 2 * rows.slots()];
            trainer.set_times(Some(rows)).expect("own times");
            let batch = Batch { inputs: &inputs[..4], target: Target::States(&states) };
            gpu.block_on(trainer.evaluate(&batch)).expect("a loss");
            let report = gpu.block_on(trainer.gradients(&batch)).expect("a gradient").report;
            assert!(report.penalty.is_finite(), "{layout:?}: {report:?}");
        }
        trainer.set_parameters(&theta).expect("as many");
        assert_eq!(first, gradient(&mut trainer, f32::NAN), "{layout:?}: room for more");
    }
}
