//! Recurrent encoders whose hidden state moves between observations by adaptive solves: closed forms, fine fixed steps, dual
//! numbers along the steps that were taken, exact counts, and rows that have nothing to do with each other.

use std::collections::BTreeMap;

use super::cpu;
use super::recurrent::{series, still, trainer};
use crate::oracle::{
    ADAPTIVE, Dual, LAYOUTS, Named, Number, System, adaptive, allocated, bits, cast, close, differences, fixed,
    gradient, numbers, scaled, solver, step_times, widen, with_first_step, without_memory,
};
use fewsteps::{
    Batch, Checkpoints, Controller, Cpu, Error, FailurePolicy, Field, FixedStep, InitialStep, Layout, Loss, Method,
    Mlp, NeuralDe, Optimizer, Problem, Reading, Recurrent, SaveAt, Scalar, SolverOptions, Status, StepControl, Target,
    Times, Tolerances, Trainer, TrainerConfig,
};

/// Steps between observations.
fn between(method: Method, tolerance: f64) -> SolverOptions {
    adaptive(method, tolerance).layout(Layout::Ensemble)
}

fn carried(tolerance: f64) -> SolverOptions {
    let tolerances = Tolerances::both(tolerance);
    SolverOptions::default().layout(Layout::Ensemble).step_control(StepControl::Adaptive {
        tolerances,
        controller: Controller::default(),
        initial_step: InitialStep::Carried,
    })
}

/// A masked gated recurrent unit on the series of `recurrent`, moved along a network.
fn moved(options: SolverOptions) -> Recurrent {
    let gru = Recurrent::gru(6, 5, 4).and_then(|gru| gru.masked(2..4)).expect("a cell");
    gru.solved(Mlp::new([4, 6, 4]), 4, options).expect("an encoder")
}

/// `h' = h + x` at observations `[x, dt]`, and `field` between them.
fn adding(steps: usize, field: impl FnOnce() -> Field, options: SolverOptions) -> Recurrent {
    let cell = Field::build(3, |f| f.state().row(0) + f.state().row(1) + 0.0 * f.state().row(2)).expect("a cell");
    Recurrent::new(cell, steps, 2).solved(field(), 1, options).expect("an encoder")
}

fn decay() -> Field {
    Field::build(1, |f| -f.state()).expect("a field")
}

fn predicted<R: Scalar>(encoder: Recurrent, inputs: &[f64]) -> Vec<f64> {
    let dim = encoder.outputs();
    widen(&trainer::<R>(still(encoder, dim)).predict(&cast::<R>(inputs)).expect("solves"))
}

/// `h_n+1 = e^-dt h_n + x`, with times that differ from row to row, are 0 and go backwards.
fn jumps_and_decays<R: Scalar>(tolerance: f64, bound: f64) {
    let mut inputs = numbers(3, 70 * 8);
    for (n, x) in inputs.chunks_exact_mut(2).enumerate() {
        x[1] = if n % 5 == 3 { 0.0 } else { 1.5 * x[1] };
    }
    let of_row = |row: &[f64]| row.chunks_exact(2).fold(0.7, |h, x| (-x[1]).exp() * h + x[0]);
    let expected: Vec<f64> = inputs.chunks_exact(8).map(of_row).collect();
    // Heun's would be tens of thousands of steps.
    let methods = ADAPTIVE.into_iter().filter(|method| *method != Method::Heun || tolerance > 1e-7);
    for options in methods.map(|method| between(method, tolerance)).chain([carried(tolerance)]) {
        let name = format!("{} at {tolerance:e}", options.method);
        let found = predicted::<R>(adding(4, decay, options).start([0.7]), &inputs);
        close(&name, &found, &expected, bound);
    }
}

#[test]
fn decay_between_jumps_is_the_closed_form_within_tolerances() {
    jumps_and_decays::<f64>(1e-6, 3e-5);
    jumps_and_decays::<f64>(1e-8, 3e-7);
    jumps_and_decays::<f32>(1e-5, 3e-4);
}

/// The parameters of a fixed-step encoder, by the names of those of a solved one.
fn renamed(from: &NeuralDe, theta: &[f64], to: &NeuralDe) -> Vec<f64> {
    let layout = from.layout();
    let numbers = to.layout().into_iter().flat_map(|tensor| {
        let name = tensor.name.replace("cell.update.", "cell.").replace("cell.evolution.", "evolution.");
        let found = layout.iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("no {name}"));
        theta[found.range()].to_vec()
    });
    numbers.collect()
}

/// Values and gradients are those of many steps of RK4, in either order of reading and with a map behind.
#[test]
fn tight_tolerances_are_many_fixed_steps() {
    for (reading, options) in [(Reading::Forwards, between(Method::Tsit5, 1e-11)), (Reading::Backwards, carried(1e-11))]
    {
        let finish = |encoder: Recurrent| still(encoder.reading(reading).out(Mlp::new([4, 2])), 2);
        let model = finish(moved(options));
        let gru = Recurrent::gru(6, 5, 4).and_then(|gru| gru.masked(2..4)).expect("a cell");
        let fine = finish(gru.evolved(Mlp::new([4, 6, 4]), 4, 64, FixedStep::Rk4).expect("a cell"));
        let (mut here, mut there) = (trainer::<f64>(model.clone()), trainer::<f64>(fine.clone()));
        there.set_parameters(&renamed(&model, here.parameters(), &fine)).expect("as many");
        let (inputs, targets) = (series(70), numbers(8, 140));
        let [found, expected] = [&mut here, &mut there].map(|trainer| trainer.predict(&inputs).expect("solves"));
        close("values", &found, &expected, 1e-10);
        let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
        let [found, expected] =
            [&mut here, &mut there].map(|trainer| trainer.gradients(&batch).expect("a gradient").gradient);
        close("gradients", &renamed(&model, &found, &fine), &expected, 1e-9);
    }
}

/// One series in plain loops: along the steps that a solver takes from the same hidden state.
fn outputs<N: Number>(named: &Named<'_, N>, options: &SolverOptions, row: &[f64]) -> Vec<N> {
    let field = Mlp::new([4, 6, 4]);
    let Some(first) = named.model.layout().into_iter().find(|tensor| tensor.name == "encoder.evolution.0.weight")
    else {
        panic!("no evolution")
    };
    let theta = &named.theta[first.offset..][..field.parameter_count()];
    let tolerances = Tolerances::both(1e-4);
    let system = System { field: &field, method: options.method, tolerances, atol_per_feature: None };
    let mut h = vec![N::new(0.0); 4];
    for x in row.chunks_exact(5) {
        if x[4] != 0.0 {
            let options = options.clone().save_at(SaveAt::Steps);
            let mut solver = solver::<f64>(&Problem::ode(field.clone(), 0.0, x[4]), &options);
            let values = |numbers: &[N]| numbers.iter().map(|x| x.value()).collect::<Vec<f64>>();
            let solution = solver.solve(&values(theta), &values(&h)).expect("solves");
            h = system.walk(theta, &step_times(&solution, 0), &h).pop().expect("a step").end;
        }
        let x: Vec<N> = x.iter().map(|x| N::new(*x)).collect();
        if x[2].value() + x[3].value() > 0.0 {
            h = named.gru("encoder.cell", &h, &x);
        }
    }
    named.layer("encoder.out.0", &h)
}

/// Steps are constants: the gradient is that of the steps that were taken.
#[test]
fn gradients_are_those_of_dual_numbers_along_the_accepted_steps() {
    for method in ADAPTIVE {
        let options = between(method, 1e-4);
        let model = still(moved(options.clone()).out(Mlp::new([4, 2])), 2);
        let mut trainer = trainer::<f64>(model.clone());
        let theta = scaled(2.5, trainer.parameters());
        trainer.set_parameters(&theta).expect("as many");
        let (mut inputs, targets) = (series(33), numbers(8, 66));
        // Long enough for several steps.
        inputs.iter_mut().skip(4).step_by(5).for_each(|dt| *dt *= 5.0);
        let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
        let found = trainer.gradients(&batch).expect("a gradient");
        assert!(found.report.encoder_nfe.is_some_and(|nfe| nfe > 60.0), "{:?}", found.report);
        let expected = gradient(&theta, |theta: &[Dual]| {
            let named = Named { model: &model, theta };
            let all = inputs.chunks_exact(30).flat_map(|row| outputs(&named, &options, row));
            let terms = all.zip(&targets).map(|(y, target)| (y - Number::new(*target)) * (y - Number::new(*target)));
            terms.fold(Number::new(0.0), |sum, term| sum + term * Number::new(1.0 / 66.0))
        });
        close(&method.to_string(), &found.gradient, &expected, 1e-9);
        assert!(found.gradient.iter().all(|g| *g != 0.0), "{method}");
    }
}

/// Central differences of the evaluated loss along every parameter, with an equation that moves and a head.
#[test]
fn gradients_of_whole_models_are_those_of_differences() {
    let encoder = moved(carried(1e-11)).out(Mlp::new([4, 5, 3])).reading(Reading::Backwards);
    for layout in LAYOUTS {
        let problem = Problem::ode(Mlp::new([3, 5, 3]), 0.0, 1.0);
        let model = NeuralDe::new(problem, fixed(Method::Tsit5, 3).layout(layout)).encoder(encoder.clone()).head(2);
        let mut trainer = trainer::<f64>(model);
        let (inputs, targets) = (series(70), numbers(8, 140));
        let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
        let found = trainer.gradients(&batch).expect("a gradient").gradient;
        let theta = trainer.parameters().to_vec();
        let expected = differences(&theta, |theta| {
            trainer.set_parameters(theta).expect("as many");
            trainer.evaluate(&batch).expect("evaluates").loss
        });
        close(&format!("{layout:?}"), &found, &expected, 1e-7);
    }
}

/// Along a field of zeros no step has an error, and each is ten times the one before.
#[test]
fn evaluations_are_counted_exactly_and_apart() {
    let rest = || Field::build(1, |f| 0.0 * f.state()).expect("a field");
    let nfe = |options: SolverOptions, inputs: &[f64]| {
        let model = still(adding(3, rest, options.layout(Layout::Ensemble)), 1);
        let mut trainer = trainer::<f64>(model);
        let batch = Batch { inputs, target: Target::States(&vec![0.5; inputs.len() / 6]) };
        let evaluated = trainer.evaluate(&batch).expect("evaluates");
        let report = trainer.step(&batch).expect("a step");
        assert_eq!((report.nfe, evaluated.nfe), (1, 1), "of the equation alone");
        assert_eq!(report.encoder_nfe, evaluated.encoder_nfe);
        report.encoder_nfe.expect("it solves")
    };
    // A first step of 1: one attempt for half a unit, two for two units; a time of 0 costs nothing.
    let inputs =
        [0.0, 0.0, 0.1, 0.5, 0.0, 2.0, /**/ 0.3, 0.0, 0.1, 0.0, 0.2, 0.0, /**/ 0.0, 0.5, 0.0, 0.5, 0.1, -0.5];
    for (method, stages, shared) in [(Method::Tsit5, 6.0, 1.0), (Method::Bosh3, 3.0, 1.0), (Method::Heun, 2.0, 0.0)] {
        let found = nfe(with_first_step(method, 1e-6, 1.0), &inputs);
        let expected = ((3.0 * stages + 2.0 * shared) + 0.0 + 3.0 * (stages + shared)) / 3.0;
        assert_eq!(found, expected, "{method}");
    }
    // Automatic first steps are a millionth of each time, and seven attempts to the end.
    let ones = [0.0, 1.0, 0.1, 1.0, 0.2, 1.0];
    let mixed = [0.0, 2.0, 0.1, 2.0, 0.2, 4.0];
    assert_eq!(nfe(adaptive(Method::Tsit5, 1e-6), &ones), 3.0 * (2.0 + 6.0 * 7.0));
    // Carried ones begin ten times longer each.
    assert_eq!(nfe(carried(1e-6), &ones), (2.0 + 6.0 * 7.0) + (1.0 + 6.0 * 6.0) + (1.0 + 6.0 * 5.0));
    // They are lengths: where there is twice the time, half the share of it.
    assert_eq!(nfe(carried(1e-6), &mixed), (2.0 + 6.0 * 7.0) + (1.0 + 6.0 * 6.0) + (1.0 + 6.0 * 6.0));
    // Others solve nothing.
    let gru = Recurrent::gru(6, 5, 4).expect("a cell");
    let evolved = gru.evolved(Mlp::new([4, 4]), 4, 1, FixedStep::Euler).expect("a cell");
    let (inputs, targets) = (series(2), [0.0; 8]);
    let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
    assert_eq!(trainer::<f64>(still(evolved, 4)).step(&batch).expect("a step").encoder_nfe, None);
}

/// No bit of a row depends on its neighbours, their number and the threads.
fn rows_are_their_own<R: Scalar>() {
    for options in [between(Method::Tsit5, 1e-5), carried(1e-5), between(Method::Heun, 1e-3)] {
        let model = still(moved(options), 4);
        let mut trainer = trainer::<R>(model);
        let mut inputs = series(70);
        // Rows that begin to move at different observations.
        inputs.chunks_exact_mut(5).enumerate().filter(|(n, _)| n % 7 < 2).for_each(|(_, x)| x[4] = 0.0);
        let inputs = cast::<R>(&inputs);
        let all = trainer.predict(&inputs).expect("solves");
        let nfe = |trainer: &mut Trainer<R>, inputs: &[R]| {
            let target = vec![R::ZERO; inputs.len() / 30 * 4];
            let batch = Batch { inputs, target: Target::States(&target) };
            trainer.evaluate(&batch).expect("evaluates").encoder_nfe.expect("it solves")
        };
        let mut sum = 0.0;
        for row in 0..70 {
            let alone = trainer.predict(&inputs[row * 30..][..30]).expect("solves");
            assert_eq!(bits(&alone), bits(&all[row * 4..][..4]), "row {row}");
            sum += nfe(&mut trainer, &inputs[row * 30..][..30]);
        }
        assert!((nfe(&mut trainer, &inputs) - sum / 70.0).abs() < 1e-9, "evaluations too");
        let some = trainer.predict(&inputs[..33 * 30]).expect("solves");
        assert_eq!(bits(&some), bits(&all[..33 * 4]), "in a batch of 33");
    }
}

#[test]
fn rows_are_their_own_at_f64() {
    rows_are_their_own::<f64>();
}

#[test]
fn rows_are_their_own_at_f32() {
    rows_are_their_own::<f32>();
}

#[test]
fn threads_change_no_bit() {
    let model = still(moved(carried(1e-5)).out(Mlp::new([4, 2])), 2);
    let (inputs, targets) = (series(200), numbers(8, 400));
    let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
    let found = [1, 3].map(|threads| {
        let cpu = Cpu::with_threads(threads).expect("threads start");
        let mut trainer = Trainer::<f64>::new(&cpu, TrainerConfig::new(model.clone(), Loss::Mse)).expect("a model");
        let gradients = trainer.gradients(&batch).expect("a gradient");
        (bits(&gradients.gradient), gradients.report)
    });
    assert_eq!(found[0], found[1]);
}

/// With times of 0 the encoder is the cell alone, to the bit and at no cost; observations that are none, with times of 0, change
/// no bit wherever they stand.
#[test]
fn no_time_and_padding_change_no_bit() {
    let both = |encoder: Recurrent, inputs: &[f64], theta: Option<&[f32]>| {
        let mut trainer = trainer::<f32>(still(encoder.out(Mlp::new([4, 2])), 2));
        if let Some(theta) = theta {
            trainer.set_parameters(theta).expect("as many");
        }
        let (inputs, targets) = (cast::<f32>(inputs), cast::<f32>(&numbers(8, 66)));
        let outputs = trainer.predict(&inputs).expect("solves");
        let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
        let found = trainer.gradients(&batch).expect("a gradient");
        (bits(&outputs), bits(&found.gradient), found.report.encoder_nfe, trainer.parameters().to_vec())
    };
    let cell = |steps| Recurrent::gru(steps, 5, 4).and_then(|gru| gru.masked(2..4)).expect("a cell");
    let moved = |steps| cell(steps).solved(Mlp::new([4, 6, 4]), 4, carried(1e-4)).expect("an encoder");
    let mut inputs = series(33);
    let whole = both(moved(6), &inputs, None);
    for places in [[6, 6, 6], [0, 0, 0], [2, 4, 8]] {
        let longer = inputs.chunks_exact(30).flat_map(|row| {
            let mut rows: Vec<Vec<f64>> = row.chunks_exact(5).map(<[f64]>::to_vec).collect();
            places.iter().for_each(|place| rows.insert(*place, vec![99.0, -3.0, 0.0, 0.0, 0.0]));
            rows.concat()
        });
        assert_eq!(both(moved(9), &longer.collect::<Vec<f64>>(), None), whole, "{places:?}");
    }
    inputs.iter_mut().skip(4).step_by(5).for_each(|dt| *dt = 0.0);
    let (values, gradient, nfe, theta) = both(moved(6), &inputs, None);
    assert_eq!(nfe, Some(0.0));
    let count = cell(6).parameter_count();
    let evolution = Mlp::new([4, 6, 4]).parameter_count();
    let alone = [&theta[..count], &theta[count + evolution..]].concat();
    let expected = both(cell(6), &inputs, Some(&alone));
    assert_eq!(values, expected.0);
    assert_eq!([&gradient[..count], &gradient[count + evolution..]].concat(), expected.1);
    assert!(gradient[count..][..evolution].iter().all(|g| f64::from_bits(*g) == 0.0), "nothing moved");
}

/// `dh/dt = a h^2` from `x` is `x / (1 - a x t)`: at `a = 1` a pole at `1 / x`.
fn exploding() -> Field {
    Field::build(1, |f| f.parameters("a", &[1.0]) * f.state() * f.state()).expect("a field")
}

/// Inputs of two observations, of which the second comes after a time of 1 and adds nothing.
fn launched(starts: &[f64]) -> Vec<f64> {
    starts.iter().flat_map(|x| [*x, 0.0, 0.0, 1.0]).collect()
}

#[test]
fn series_that_fail_are_trajectories_that_failed() {
    for layout in LAYOUTS {
        let options = between(Method::Tsit5, 1e-9).max_steps(60);
        let problem =
            Problem::ode(Field::build(1, |f| f.parameters("b", &[0.5]) * f.state()).expect("a field"), 0.0, 1.0);
        let model = NeuralDe::new(problem, adaptive(Method::Tsit5, 1e-9).layout(layout));
        let config = TrainerConfig::new(model.encoder(adding(2, exploding, options)), Loss::Mse);
        let mut aborting = Trainer::<f64>::new(&cpu(), config.clone()).expect("a valid model");
        let mut trainer = Trainer::<f64>::new(&cpu(), config.failure(FailurePolicy::Skip)).expect("a valid model");
        // Beyond the pole steps shrink until there are too many.
        let (bad, good) = ([0.3, 1.5, -0.4, 1.02], [0.3, -0.4]);
        let inputs = launched(&bad);
        let batch = Batch { inputs: &inputs, target: Target::States(&[0.0; 4]) };
        match aborting.step(&batch).expect_err("two fail") {
            Error::Trajectory { failed: 2, batch: 4, index: 1, status: Status::MaxSteps } => {}
            error => panic!("{layout:?}: {error}"),
        }
        let outputs = trainer.predict(&inputs).expect("solves");
        let expected = trainer.predict(&launched(&good)).expect("solves");
        assert!(outputs[1].is_nan() && outputs[3].is_nan(), "{outputs:?}");
        let truth = |x: f64| 0.5_f64.exp() * x / (1.0 - x);
        close("the closed form", &[outputs[0], outputs[2]], &good.map(truth), 1e-7);
        let found = trainer.gradients(&batch).expect("a gradient");
        let batch = Batch { inputs: &launched(&good), target: Target::States(&[0.0; 2]) };
        let alone = trainer.gradients(&batch).expect("a gradient");
        assert_eq!((found.report.failed, alone.report.failed), (2, 0));
        close(&format!("{layout:?}: the gradient"), &found.gradient, &alone.gradient, 1e-12);
        if layout == Layout::Ensemble {
            assert_eq!(bits(&[outputs[0], outputs[2]]), bits(&expected), "neighbours change no bit");
        }
        // d/da of the mean of (e^b x / (1 - a x))^2, and d/db.
        let mean = |term: fn(f64) -> f64| good.iter().map(|x| term(*x)).sum::<f64>() / 2.0;
        let e = 1.0_f64.exp();
        let truth = [mean(|x| 2.0 * x.powi(3) / (1.0 - x).powi(3)) * e, mean(|x| 2.0 * x * x / (1.0 - x).powi(2)) * e];
        close("the closed form of the gradient", &found.gradient, &truth, 1e-6);
        // Where nothing is left no update is made.
        let inputs = launched(&[1.5; 33]);
        let report = trainer.step(&Batch { inputs: &inputs, target: Target::States(&[0.0; 33]) }).expect("a report");
        assert!(report.failed == 33 && report.skipped && report.loss.is_nan(), "{report:?}");
    }
}

/// An infinite state on the way loses its series, and so does one that stays where it is; rows that go nowhere keep what they are
/// lost for.
#[test]
fn lost_series_stay_lost() {
    // 1 / x at the first observation, and then a time of 1 along a field.
    let cell = Field::build(3, |f| f.state().row(1).recip() + 0.0 * f.state().row(0) + 0.0 * f.state().row(2));
    let encoder = Recurrent::new(cell.expect("a cell"), 2, 2);
    let encoder = encoder.solved(exploding(), 1, between(Method::Tsit5, 1e-8).max_steps(50)).expect("an encoder");
    for layout in LAYOUTS {
        let field = Field::build(1, |f| f.parameters("b", &[1.0]) * f.state()).expect("a field");
        let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), adaptive(Method::Tsit5, 1e-8).layout(layout));
        let config = TrainerConfig::new(model.encoder(encoder.clone()), Loss::Mse).failure(FailurePolicy::Skip);
        let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
        // Only what comes in between matters: the last observation overwrites the state.
        let inputs = [
            2.0, 0.0, 4.0, 0.3, /**/ 0.0, 0.0, 4.0, 0.3, /**/ 0.5, 0.0, 4.0, 0.7, /**/ 0.0, 0.0, 4.0,
            0.0,
        ];
        let ends = [[0.0, 1.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]];
        for own in [false, true] {
            let times = own.then(|| Times::ends(&ends).expect("times"));
            trainer.set_times(times).expect("they fit");
            let outputs = trainer.predict(&inputs).expect("solves");
            let lost: Vec<bool> = outputs.iter().map(|y| y.is_nan()).collect();
            assert_eq!(lost, [false, true, true, true], "{layout:?}: {outputs:?}");
            let found = trainer.gradients(&Batch { inputs: &inputs, target: Target::States(&[0.0; 4]) });
            let found = found.expect("a gradient");
            assert!(found.report.failed == 3 && found.gradient.iter().all(|g| g.is_finite()), "{found:?}");
        }
    }
}

/// Initial states that are drawn, of a batch in which a series is lost.
#[test]
fn what_is_drawn_of_lost_series_spoils_nothing() {
    let options = between(Method::Tsit5, 1e-8).max_steps(50);
    let encoder = adding(2, exploding, options).out(Mlp::new([1, 2]));
    let model = NeuralDe::new(Problem::ode(Mlp::new([1, 3, 1]), 0.0, 1.0), SolverOptions::default());
    let config = TrainerConfig::new(model.encoder(encoder).latent(), Loss::Mse).failure(FailurePolicy::Skip);
    let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
    let inputs = launched(&[0.3, 1.5, -0.4]);
    let found = trainer.gradients(&Batch { inputs: &inputs, target: Target::States(&[0.0; 3]) }).expect("a gradient");
    assert_eq!(found.report.failed, 1);
    assert!(found.report.divergence.is_some_and(f64::is_finite) && found.report.loss.is_finite());
    assert!(found.gradient.iter().all(|g| g.is_finite() && *g != 0.0), "{:?}", found.gradient);
}

#[test]
fn tensors_have_names_and_checkpoints_go_on() {
    let encoder = moved(carried(1e-4)).out(Mlp::new([4, 3]));
    let model =
        NeuralDe::new(Problem::ode(Mlp::new([3, 5, 3]), 0.0, 1.0), SolverOptions::default()).encoder(encoder.clone());
    let layout = model.layout();
    let names: Vec<&str> = layout.iter().map(|tensor| tensor.name.as_str()).collect();
    let expected = ["encoder.evolution.0.weight", "encoder.evolution.0.bias", "encoder.evolution.1.weight"];
    assert_eq!(
        (names[0], &names[6..9], names[10]),
        ("encoder.cell.gates.0.weight", &expected[..], "encoder.out.0.weight")
    );
    assert_eq!(layout.last().map(|last| last.range().end), Some(model.parameter_count()));
    assert!(model.initialize::<f64>(4)[layout[6].range()].iter().all(|x| *x != 0.0), "they are drawn");
    let config = TrainerConfig::new(model, Loss::Mse).optimizer(Optimizer::adam(1e-2));
    let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
    let (inputs, targets) = (series(40), numbers(8, 120));
    let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
    trainer.step(&batch).expect("a step");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("series.safetensors");
    trainer.save(&path, &BTreeMap::new()).expect("a checkpoint");
    let (mut resumed, _) = Trainer::<f64>::resume(&cpu(), &path).expect("resumes");
    assert_eq!(resumed.config(), trainer.config(), "the encoder comes back");
    assert_eq!(resumed.step(&batch).expect("a step"), trainer.step(&batch).expect("a step"));
    assert_eq!(bits(resumed.parameters()), bits(trainer.parameters()), "the same bits");
    let json = serde_json::to_value(&encoder).expect("JSON");
    assert_eq!(json["evolution"]["dt"], 4);
    assert_eq!(serde_json::from_value::<Recurrent>(json).expect("an encoder"), encoder);
    let (field, options) = encoder.evolution().expect("it solves");
    assert_eq!((field.inputs(), options.method), (4, Method::Tsit5));
}

/// Rooms are told and taken once: no step allocates.
#[test]
fn memory_is_told_and_no_step_allocates() {
    let gru = Recurrent::gru(40, 3, 4).and_then(|gru| gru.masked(1..2)).expect("a cell");
    let encoder = gru.solved(Mlp::new([4, 6, 4]), 2, carried(1e-5)).expect("an encoder").out(Mlp::new([4, 4]));
    let model = NeuralDe::new(Problem::ode(Mlp::new([4, 6, 4]), 0.0, 1.0), SolverOptions::default()).encoder(encoder);
    let alone = Cpu::with_threads(1).expect("this thread");
    let config = TrainerConfig::new(model, Loss::Mse).optimizer(Optimizer::adam(0.0));
    let mut reader = Trainer::<f32>::new(&alone, config).expect("a valid model");
    let mut inputs = cast::<f32>(&numbers(3, 80 * 120));
    inputs.iter_mut().skip(1).step_by(3).for_each(|mask| *mask = mask.abs());
    inputs.iter_mut().skip(2).step_by(3).for_each(|dt| *dt = dt.abs());
    let targets = cast::<f32>(&numbers(4, 320));
    let full = Batch { inputs: &inputs, target: Target::States(&targets) };
    let partial = Batch { inputs: &inputs[..33 * 120], target: Target::States(&targets[..132]) };
    let (untouched, told) = (allocated(), reader.workspace(80, 64));
    reader.step(&full).expect("a step");
    let taken = allocated() - untouched;
    assert!(taken <= 2 * told.total(), "{taken} bytes taken for a step, {} told", told.total());
    let mut steps = |count: usize| {
        for _ in 0..count {
            reader.step(&full).expect("a step");
            reader.step(&partial).expect("a step");
        }
        (reader.bytes(), allocated())
    };
    steps(10);
    let (bytes, before) = steps(1);
    let (after_many, after) = steps(50);
    assert_eq!(bytes, after_many, "memory is flat");
    let per_step = (after - before) / 100;
    assert!(per_step < 16_384, "{per_step} bytes allocated a training step, in a batch of 80");
    assert!(after_many < told.total(), "{after_many} bytes held, {} told", told.total());
}

/// Where the system has no memory for another state, that is an error, and the next call goes on.
#[test]
fn refused_memory_is_an_error() {
    let encoder = adding(2, decay, between(Method::Tsit5, 1e-10)).out(Mlp::new([1, 3]));
    let alone = Cpu::with_threads(1).expect("this thread");
    let config = TrainerConfig::new(still(encoder, 3), Loss::Mse);
    let mut trainer = Trainer::<f64>::new(&alone, config.clone()).expect("a valid model");
    let (near, far) = ([1.0, 0.0, 0.0, 1e-9], [1.0, 0.0, 0.0, 9.0]);
    let batch = |inputs| Batch { inputs, target: Target::States(&[0.0; 3]) };
    trainer.gradients(&batch(&near)).expect("a gradient");
    // States of one number.
    let refused = without_memory(32 * 8, 3, || trainer.gradients(&batch(&far)));
    match refused.expect_err("many steps").to_string() {
        text if text.contains("for the states of accepted steps") => {}
        text => panic!("{text}"),
    }
    let found = trainer.gradients(&batch(&far)).expect("a gradient");
    let mut fresh = Trainer::<f64>::new(&alone, config).expect("a valid model");
    assert_eq!(found, fresh.gradients(&batch(&far)).expect("a gradient"));
    trainer.gradients(&batch(&near)).expect("a gradient");
}

#[test]
fn what_means_nothing_between_observations_is_refused() {
    let gru = || Recurrent::gru(6, 5, 4).expect("a cell");
    let field = || Mlp::new([4, 4]);
    let good = || between(Method::Tsit5, 1e-4);
    let refuse = |found: Result<Recurrent, Error>, begins: &str| {
        let text = found.expect_err(begins).to_string();
        assert!(text.starts_with(begins), "{text}");
    };
    let options = |options: SolverOptions, begins: &str| refuse(gru().solved(field(), 4, options), begins);
    refuse(gru().solved(Mlp::new([4, 3]), 4, good()), "Recurrent::solved = [4, 3]: it moves the hidden state");
    refuse(gru().solved(field(), 5, good()), "Recurrent::solved = dt = 5");
    let timed = Field::build(4, |f| f.state() * f.time()).expect("a field");
    refuse(gru().solved(timed, 4, good()), "Recurrent::solved = ");
    let driven = Field::build(4, |f| f.state() * f.control("u")).expect("a field");
    refuse(gru().solved(driven, 4, good()), "Recurrent::solved = control \"u\"");
    let moved = || gru().solved(field(), 4, good()).expect("an encoder");
    refuse(moved().solved(field(), 4, good()), "Recurrent::solved = [4, 4]: the hidden state moves");
    refuse(moved().evolved(field(), 4, 1, FixedStep::Euler), "Recurrent::evolved = [4, 4]: the hidden state moves");
    options(fixed(Method::Tsit5, 3).layout(Layout::Ensemble), "Recurrent::solved = Fixed { steps: 3 }: ");
    options(between(Method::Rk4, 1e-4), "Recurrent::solved = rk4: it has no error estimate");
    options(between(Method::Sosri, 1e-4), "Recurrent::solved = sosri: ");
    options(adaptive(Method::Tsit5, 1e-4), "Recurrent::solved = Lockstep: each series has steps of its own");
    options(good().save_at(SaveAt::Steps), "Recurrent::solved = Steps: ");
    options(good().adjoint(fewsteps::Adjoint::Backsolve), "Recurrent::solved = Backsolve: ");
    let sparse = fewsteps::Adjoint::Discrete { checkpoints: Checkpoints::Stride(3) };
    options(good().adjoint(sparse), "Recurrent::solved = Discrete");
    options(good().memory_limit(1 << 20), "Recurrent::solved = memory_limit = 1048576: ");
    options(good().path_cells(4), "Recurrent::solved = path_cells = 4: ");
    options(good().stop_at([0.5]), "Recurrent::solved = stop_at = [0.5]: ");
    options(good().coupling(0.9), "Recurrent::solved = coupling = 0.9: ");
    options(good().largest_step(-1.0), "Recurrent::solved = largest_step = -1: ");
    options(good().max_steps(0), "SolverOptions::max_steps = 0");
    options(between(Method::Tsit5, 0.0), "Tolerances::atol = 0");
    options(good().atol_per_feature([1e-3]), "SolverOptions::atol_per_feature = 1 numbers");
    let first = with_first_step(Method::Tsit5, 1e-4, -1.0).layout(Layout::Ensemble);
    options(first, "InitialStep::Length = -1");
    // What f64 resolves and f32 does not is told when the model is made.
    let model = still(gru().solved(field(), 4, between(Method::Tsit5, 1e-12)).expect("an encoder"), 4);
    assert!(model.validate::<f64>().is_ok());
    let text = model.validate::<f32>().expect_err("too tight").to_string();
    assert!(text.starts_with("Tolerances::rtol"), "{text}");
}

/// Steps within the longest one, and tolerances of each feature.
#[test]
fn options_of_the_steps_count() {
    let nfe = |options: SolverOptions| {
        let encoder = adding(1, decay, options).start([1.0]);
        let mut trainer = trainer::<f64>(still(encoder, 1));
        let batch = Batch { inputs: &[0.0, 1.0], target: Target::States(&[0.0]) };
        trainer.evaluate(&batch).expect("evaluates").encoder_nfe.expect("it solves")
    };
    let loose = nfe(between(Method::Tsit5, 1e-2));
    assert!(nfe(between(Method::Tsit5, 1e-2).largest_step(0.01)) >= 6.0 * 100.0, "a hundred steps at least");
    assert!(nfe(between(Method::Tsit5, 1e-2).atol_per_feature([1e-9])) >= loose, "the relative part is left");
    assert!(nfe(between(Method::Tsit5, 1e-8)) > 2.0 * loose, "{loose}");
}
