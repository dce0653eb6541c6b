//! Recurrent encoders: values against plain loops, gradients against dual numbers and differences, masks, orders, files.

use std::collections::BTreeMap;

use super::cpu;
use crate::oracle::{LAYOUTS, Named, Number, bits, cast, close, fixed, gradient, numbers, scaled, widen};
use fewsteps::{
    Activation, Batch, Cpu, Error, FailurePolicy, Field, FixedStep, LatentGru, Layout, Local, Loss, Method, Mlp,
    NeuralDe, Optimizer, Problem, Reading, Recurrent, Scalar, SolverOptions, StateMap, Target, Tolerances, Trainer,
    TrainerConfig,
};

/// A model whose outputs are the encoder's: nothing moves.
pub(super) fn still(encoder: impl Into<StateMap>, dim: usize) -> NeuralDe {
    let field = Field::build(dim, |f| 0.0 * f.state()).expect("a field");
    NeuralDe::new(Problem::ode(field, 0.0, 1.0), fixed(Method::Euler, 1)).encoder(encoder)
}

/// A trainer with parameters that are all of them something.
pub(super) fn trainer<R: Scalar>(model: NeuralDe) -> Trainer<R> {
    let mut trainer = Trainer::<R>::new(&cpu(), TrainerConfig::new(model, Loss::Mse)).expect("a valid model");
    let theta = scaled(0.7, &numbers(11, trainer.parameters().len()));
    trainer.set_parameters(&cast(&theta)).expect("as many");
    trainer
}

/// Series of 6 observations `[2 values, 2 masks, dt]`, of which some are none.
pub(super) fn series(rows: usize) -> Vec<f64> {
    let mut all = numbers(5, rows * 30);
    for (n, x) in all.chunks_exact_mut(5).enumerate() {
        (x[2], x[3]) = (f64::from(u8::from(n % 3 == 0)), f64::from(u8::from(n % 4 == 1)));
        x[4] = if n % 6 == 5 { 0.0 } else { 0.1 + 0.3 * x[4].abs() };
    }
    all
}

/// What the hidden state becomes with an observation.
type Cell<N> = fn(&Named<'_, N>, &[N], &[N]) -> Vec<N>;

/// An encoder, its cell, the order in which it reads and what it starts with, each told again.
struct Case<N> {
    name: &'static str,
    encoder: Recurrent,
    cell: Cell<N>,
    backwards: bool,
    start: Vec<f64>,
}

fn seen<N: Number>(x: &[N]) -> bool {
    x[2].value() + x[3].value() > 0.0
}

fn cases<N: Number>() -> Vec<Case<N>> {
    let gru = || Recurrent::gru(6, 5, 4).expect("a cell");
    let masked = || gru().masked(2..4).expect("a mask");
    let moves = || Mlp::new([4, 3, 4]);
    let evolved = |steps, method| masked().evolved(moves(), 4, steps, method).expect("a cell");
    let latent = |form| Recurrent::latent_gru(6, 2, [3, 4], form).expect("a cell");
    let zeros = vec![0.0; 4];
    vec![
        Case {
            name: "gru",
            encoder: gru(),
            cell: |p, h, x| p.gru("encoder.cell", h, x),
            backwards: false,
            start: zeros.clone(),
        },
        Case {
            name: "masked, backwards, from elsewhere",
            encoder: masked().reading(Reading::Backwards).start([0.3, -0.2, 0.7, 0.1]),
            cell: |p, h, x| if seen(x) { p.gru("encoder.cell", h, x) } else { h.to_vec() },
            backwards: true,
            start: vec![0.3, -0.2, 0.7, 0.1],
        },
        Case {
            name: "latent, correct",
            encoder: latent(LatentGru::Correct),
            cell: |p, h, x| p.latent(LatentGru::Correct, h, x),
            backwards: true,
            start: vec![0.0; 6],
        },
        Case {
            name: "latent, published",
            encoder: latent(LatentGru::Published),
            cell: |p, h, x| p.latent(LatentGru::Published, h, x),
            backwards: false,
            start: vec![0.0, 0.0, 0.0, 1.0, 1.0, 1.0],
        },
        Case {
            name: "ODE-RNN, Euler",
            encoder: evolved(1, FixedStep::Euler),
            cell: |p, h, x| moved(p, h, x, FixedStep::Euler, 1),
            backwards: false,
            start: zeros.clone(),
        },
        Case {
            name: "ODE-RNN, midpoint",
            encoder: evolved(2, FixedStep::Midpoint),
            cell: |p, h, x| moved(p, h, x, FixedStep::Midpoint, 2),
            backwards: false,
            start: zeros.clone(),
        },
        Case {
            name: "ODE-RNN, RK4",
            encoder: evolved(3, FixedStep::Rk4),
            cell: |p, h, x| moved(p, h, x, FixedStep::Rk4, 3),
            backwards: false,
            start: zeros,
        },
    ]
}

/// The hidden state moves whatever is seen, and is updated where something is.
fn moved<N: Number>(p: &Named<'_, N>, h: &[N], x: &[N], method: FixedStep, steps: usize) -> Vec<N> {
    let h = p.evolved(method, steps, h, x[4]);
    if seen(x) { p.gru("encoder.cell.update", &h, x) } else { h }
}

/// The outputs of one series, and of a layer behind the last hidden state.
fn outputs<N: Number>(case: &Case<N>, named: &Named<'_, N>, row: &[f64]) -> Vec<N> {
    let mut order: Vec<&[f64]> = row.chunks_exact(5).collect();
    if case.backwards {
        order.reverse();
    }
    let mut h: Vec<N> = case.start.iter().map(|x| N::new(*x)).collect();
    for x in order {
        let x: Vec<N> = x.iter().map(|x| N::new(*x)).collect();
        h = (case.cell)(named, &h, &x);
    }
    let has_map = case.encoder.output_map().is_some();
    if has_map { named.layer("encoder.out.0", &h) } else { h }
}

fn values_are_those_of_plain_loops<R: Scalar>(bound: f64) {
    for (mut case, rows) in
        [33, 70].into_iter().flat_map(|rows| cases::<f64>().into_iter().map(move |case| (case, rows)))
    {
        for with_map in [false, true] {
            if with_map {
                case.encoder = case.encoder.out(Mlp::new([case.start.len(), 3]));
            }
            let model = still(case.encoder.clone(), case.encoder.outputs());
            let mut trainer = trainer::<R>(model.clone());
            let inputs = series(rows);
            let found = widen(&trainer.predict(&cast::<R>(&inputs)).expect("solves"));
            let theta = widen(trainer.parameters());
            let named = Named { model: &model, theta: &theta };
            let inputs: Vec<f64> = widen(&cast::<R>(&inputs));
            let expected: Vec<f64> = inputs.chunks_exact(30).flat_map(|row| outputs(&case, &named, row)).collect();
            close(&format!("{}, {rows} rows", case.name), &found, &expected, bound);
        }
    }
}

#[test]
fn values_are_those_of_plain_loops_at_f64() {
    values_are_those_of_plain_loops::<f64>(1e-14);
}

#[test]
fn values_are_those_of_plain_loops_at_f32() {
    values_are_those_of_plain_loops::<f32>(2e-6);
}

#[test]
fn gradients_are_those_of_dual_numbers() {
    for mut case in cases() {
        case.encoder = case.encoder.out(Mlp::new([case.start.len(), 2]));
        let model = still(case.encoder.clone(), 2);
        let mut trainer = trainer::<f64>(model.clone());
        let (inputs, targets) = (series(33), numbers(8, 66));
        let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
        let found = trainer.gradients(&batch).expect("a gradient").gradient;
        let expected = gradient(trainer.parameters(), |theta| {
            let named = Named { model: &model, theta };
            let all = inputs.chunks_exact(30).flat_map(|row| outputs(&case, &named, row));
            let terms = all.zip(&targets).map(|(y, target)| (y - Number::new(*target)) * (y - Number::new(*target)));
            terms.fold(Number::new(0.0), |sum, term| sum + term * Number::new(1.0 / 66.0))
        });
        close(case.name, &found, &expected, 1e-12);
        // What the published form never uses has no gradient, and all else has.
        let idle = found.iter().filter(|g| **g == 0.0).count();
        let unused = if case.name == "latent, published" { 3 * 4 + 3 } else { 0 };
        assert_eq!(idle, unused, "{}", case.name);
    }
}

/// Central differences of the evaluated loss along every parameter, with an equation that moves and a head.
#[test]
fn gradients_of_whole_models_are_those_of_differences() {
    let encoder = || Recurrent::gru(6, 5, 4).and_then(|gru| gru.masked(2..4)).expect("a cell");
    let encoder = encoder().evolved(Mlp::new([4, 3, 4]), 4, 1, FixedStep::Midpoint).expect("a cell");
    let encoder = encoder.out(Mlp::new([4, 5, 3]).activation(Activation::Gelu)).reading(Reading::Backwards);
    for layout in LAYOUTS {
        let problem = Problem::ode(Mlp::new([3, 5, 3]), 0.0, 1.0);
        let model = NeuralDe::new(problem, fixed(Method::Tsit5, 3).layout(layout)).encoder(encoder.clone()).head(2);
        let mut trainer = trainer::<f64>(model);
        let (inputs, targets) = (series(70), numbers(8, 140));
        let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
        let found = trainer.gradients(&batch).expect("a gradient").gradient;
        let theta = trainer.parameters().to_vec();
        let expected = crate::oracle::differences(&theta, |theta| {
            trainer.set_parameters(theta).expect("as many");
            trainer.evaluate(&batch).expect("evaluates").loss
        });
        close(&format!("{layout:?}"), &found, &expected, 1e-7);
    }
}

/// A long series is walked back in segments, with hidden states of a first pass.
#[test]
fn gradients_of_long_series_are_those_of_differences() {
    let steps = 400;
    let model = still(Recurrent::gru(steps, 1, 48).expect("a cell").out(Mlp::new([48, 1])), 1);
    let mut trainer = trainer::<f64>(model);
    let small = scaled(0.3, trainer.parameters());
    trainer.set_parameters(&small).expect("as many");
    let (inputs, targets) = (numbers(3, 33 * steps), numbers(8, 33));
    let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
    let found = trainer.gradients(&batch).expect("a gradient").gradient;
    for seed in 0..4 {
        let along = numbers(20 + seed, small.len());
        let mut loss = |by: f64| {
            let moved: Vec<f64> = small.iter().zip(&along).map(|(x, d)| x + by * d).collect();
            trainer.set_parameters(&moved).expect("as many");
            trainer.evaluate(&batch).expect("evaluates").loss
        };
        let difference = (loss(1e-6) - loss(-1e-6)) / 2e-6;
        let slope: f64 = found.iter().zip(&along).map(|(g, d)| g * d).sum();
        assert!((slope - difference).abs() < 1e-7 * difference.abs().max(0.1), "{slope} not {difference}");
    }
}

/// Observations that are none, wherever they stand and whatever they say, change no bit of values and gradients.
#[test]
fn padding_changes_no_bit() {
    let pad = |row: &[f64], places: &[usize]| {
        let mut rows: Vec<Vec<f64>> = row.chunks_exact(5).map(<[f64]>::to_vec).collect();
        for place in places {
            rows.insert(*place, vec![99.0, -3.0, 0.0, 0.0, 0.0]);
        }
        rows.concat()
    };
    let of = |steps: usize| {
        let gru = Recurrent::gru(steps, 5, 4).and_then(|gru| gru.masked(2..4)).expect("a cell");
        let moved = gru.clone().evolved(Mlp::new([4, 3, 4]), 4, 2, FixedStep::Rk4).expect("a cell");
        let latent = Recurrent::latent_gru(steps, 2, [2, 4], LatentGru::Correct).expect("a cell");
        [gru, moved, latent]
    };
    let (inputs, targets) = (series(33), numbers(8, 66));
    for (whole, padded) in of(6).into_iter().zip(of(9)) {
        for places in [[6, 6, 6], [0, 0, 0], [2, 4, 8]] {
            let longer: Vec<f64> = inputs.chunks_exact(30).flat_map(|row| pad(row, &places)).collect();
            let found = [(&whole, &inputs), (&padded, &longer)].map(|(encoder, inputs)| {
                let mut trainer = trainer::<f32>(still(encoder.clone().out(Mlp::new([4, 2])), 2));
                let (inputs, targets) = (cast::<f32>(inputs), cast::<f32>(&targets));
                let outputs = trainer.predict(&inputs).expect("solves");
                let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
                (bits(&outputs), bits(&trainer.gradients(&batch).expect("a gradient").gradient))
            });
            assert_eq!(found[0], found[1], "{places:?}");
        }
    }
}

#[test]
fn a_series_alone_is_the_series_in_a_batch_and_backwards_is_forwards_of_the_reversed() {
    let forwards = Recurrent::gru(6, 5, 4).and_then(|gru| gru.masked(2..4)).expect("a cell");
    let mut backwards = trainer::<f64>(still(forwards.clone().reading(Reading::Backwards), 4));
    let mut forwards = trainer::<f64>(still(forwards, 4));
    let inputs = series(70);
    let all = forwards.predict(&inputs).expect("solves");
    for row in [0, 31, 32, 69] {
        let alone = forwards.predict(&inputs[row * 30..][..30]).expect("solves");
        assert_eq!(bits(&alone), bits(&all[row * 4..][..4]), "row {row}");
    }
    let turned: Vec<f64> = inputs.rchunks_exact(30).flatten().copied().collect();
    let found = forwards.predict(&turned).expect("solves");
    let expected: Vec<f64> = all.rchunks_exact(4).flatten().copied().collect();
    assert_eq!(bits(&found), bits(&expected), "in another order");
    let reversed: Vec<f64> = inputs.chunks_exact(30).flat_map(|row| row.rchunks_exact(5).flatten().copied()).collect();
    assert_ne!(reversed, inputs);
    assert_eq!(bits(&backwards.predict(&reversed).expect("solves")), bits(&all), "read from the other end");
}

/// A trajectory that fails, at a pole of the cell or on its way, has no part in any gradient.
#[test]
fn failed_series_spoil_nothing() {
    // h becomes a / x with the last observation, and y = (h^-2 - 2 b t)^-1/2.
    let cell = Field::build(2, |f| f.state().row(1).recip() * f.parameters("a", &[1.0]) + 0.0 * f.state().row(0));
    let encoder = Recurrent::new(cell.expect("a field"), 2, 1);
    let field = Field::build(1, |f| f.state().cube() * f.parameters("b", &[1.0])).expect("a field");
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-8)).layout(Layout::Ensemble);
    let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options).encoder(encoder);
    let config = TrainerConfig::new(model, Loss::Mse).failure(FailurePolicy::Skip);
    let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
    let mut gradients = |inputs: &[f64]| {
        let batch = Batch { inputs, target: Target::States(&vec![0.0; inputs.len() / 2]) };
        trainer.gradients(&batch).expect("a gradient")
    };
    let found = gradients(&[1.0, 0.0, 1.0, 0.2, 3.0, 2.0, 0.0, 0.2, 3.0, 4.0]);
    let expected = gradients(&[3.0, 2.0, 3.0, 4.0]);
    assert_eq!((found.report.failed, expected.report.failed), (3, 0));
    assert!(found.gradient.iter().all(|g| g.is_finite()), "{:?}", found.gradient);
    close("the loss", &[found.report.loss], &[expected.report.loss], 1e-12);
    close("the gradient", &found.gradient, &expected.gradient, 1e-12);
    // The loss is the mean of a^2 / (x^2 - 2 b a^2).
    let mean = |term: fn(f64) -> f64| (term(2.0) + term(4.0)) / 2.0;
    let truth = [mean(|x| 2.0 * x * x / (x * x - 2.0).powi(2)), mean(|x| 2.0 / (x * x - 2.0).powi(2))];
    close("the closed form", &found.gradient, &truth, 1e-6);
}

#[test]
fn tensors_have_names_and_draws_of_their_own_and_checkpoints_go_on() {
    let encoder = Recurrent::latent_gru(6, 2, [3, 4], LatentGru::Published).expect("a cell").out(Mlp::new([6, 3]));
    let model =
        NeuralDe::new(Problem::ode(Mlp::new([3, 5, 3]), 0.0, 1.0), SolverOptions::default()).encoder(encoder.clone());
    let layout = model.layout();
    let names: Vec<&str> = layout.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names[..2], ["encoder.cell.update.0.weight", "encoder.cell.update.0.bias"]);
    assert_eq!(names[12..15], ["encoder.out.0.weight", "encoder.out.0.bias", "field.0.weight"]);
    assert_eq!(layout.last().map(|last| last.range().end), Some(model.parameter_count()));
    let theta: Vec<f64> = model.initialize(4);
    let drawn = |at: usize| theta[layout[at].range()].to_vec();
    assert_ne!(drawn(0)[..12], drawn(4)[..12], "update and reset differ");
    // Uniform on its own range, each of its own stream.
    let drawn = |at: usize| {
        let [inputs, outputs] = layout[at].shape[..] else { panic!("a matrix") };
        scaled(((inputs + outputs) as f64 / 6.0).sqrt(), &theta[layout[at].range()])
    };
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() > 1e-9);
    let (map, cell) = (drawn(12), drawn(0));
    assert!(map.iter().all(|x| *x != 0.0 && x.abs() <= 1.0) && apart(&map, &cell), "the map's are its own");
    assert!(apart(&drawn(14), &cell) && apart(&drawn(14), &map), "and so are the field's");

    let config = TrainerConfig::new(model, Loss::Mse).regularizer(Local::unbiased()).optimizer(Optimizer::adam(1e-2));
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

    let json = serde_json::to_value(StateMap::from(encoder.clone())).expect("JSON");
    assert_eq!((&json["steps"], &json["width"]), (&6.into(), &5.into()));
    assert_eq!(serde_json::from_value::<StateMap>(json.clone()).expect("a map"), encoder.into());
    let mut torn = json;
    torn.as_object_mut().expect("an object").remove("width");
    let error = serde_json::from_value::<StateMap>(torn).expect_err("no width").to_string();
    assert!(error.contains("width"), "{error}");
}

/// Evaluations of the cell are no NFE, memory is told, and no step allocates.
#[test]
fn costs_are_the_equations_and_memory_is_told() {
    let encoder = Recurrent::latent_gru(49, 3, [6, 5], LatentGru::Correct).expect("a cell").out(Mlp::new([12, 4]));
    let problem = Problem::ode(Mlp::new([4, 6, 4]), 0.0, 1.0);
    let model = NeuralDe::new(problem.clone(), SolverOptions::default()).encoder(encoder);
    let alone = Cpu::with_threads(1).expect("this thread");
    let mut reader = Trainer::<f32>::new(&alone, TrainerConfig::new(model, Loss::Mse)).expect("a valid model");
    let (inputs, targets) = (cast::<f32>(&numbers(3, 80 * 49 * 7)), cast::<f32>(&numbers(4, 320)));
    let full = Batch { inputs: &inputs, target: Target::States(&targets) };
    let partial = Batch { inputs: &inputs[..33 * 49 * 7], target: Target::States(&targets[..132]) };
    // It is asked for first, all at once, and then taken.
    let (untouched, told) = (crate::oracle::allocated(), reader.workspace(80, 64));
    reader.step(&full).expect("a step");
    let taken = crate::oracle::allocated() - untouched;
    assert!(taken <= 2 * told.total(), "{taken} bytes taken for a step, {} told", told.total());
    let mut steps = |count: usize| {
        let mut report = reader.step(&full).expect("a step");
        for _ in 0..count {
            report = reader.step(&full).expect("a step");
            reader.step(&partial).expect("a step");
        }
        (report, reader.bytes(), crate::oracle::allocated())
    };
    let (report, ..) = steps(10);
    assert_eq!(report.nfe, 2 + 6 * (report.accepted + report.rejected), "stages alone");
    let (_, bytes, before) = steps(1);
    let (_, after_many, after) = steps(100);
    assert_eq!(bytes, after_many, "memory is flat");
    let per_step = (after - before) / 201;
    assert!(per_step < 16_384, "{per_step} bytes allocated a training step, in a batch of 80");
    assert!(after_many < told.total(), "{after_many} bytes held, {} told", told.total());

    // A million observations take room that is bounded; more are refused.
    let long = |steps| {
        NeuralDe::new(problem.clone(), SolverOptions::default()).encoder(Recurrent::gru(steps, 1, 4).expect("a cell"))
    };
    let longest = Trainer::<f32>::new(&alone, TrainerConfig::new(long(1 << 20), Loss::Mse)).expect("a valid model");
    assert!(longest.workspace(32, 64).total() < 64 << 20, "{}", longest.workspace(32, 64).total());
    let refused = long((1 << 20) + 1).validate::<f32>().expect_err("too long").to_string();
    assert!(refused.starts_with("Recurrent::steps = 1048577"), "{refused}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let gru = || Recurrent::gru(6, 5, 4).expect("a cell");
    let named = |error: Error, argument: &str| assert!(error.to_string().starts_with(argument), "{error}");
    let refuse = |encoder: Recurrent, argument: &str| {
        named(still(encoder, 4).validate::<f32>().expect_err(argument), argument);
    };
    refuse(gru().out(Mlp::new([4, 3])), "NeuralDe::encoder = ");
    refuse(gru().out(Mlp::new([5, 4])), "Recurrent::out = ");
    refuse(gru().start([0.0; 3]), "Recurrent::start");
    refuse(gru().start([f64::NAN; 4]), "Recurrent::start");
    refuse(Recurrent::new(gru().cell().clone(), 0, 5), "Recurrent::steps = 0");
    refuse(Recurrent::new(gru().cell().clone(), 6, 4), "Recurrent::cell = [9, 4]");
    refuse(Recurrent::new(Mlp::new([4, 4]), 6, 0), "Recurrent::cell = [4, 4]");
    let timed = Field::build(9, |f| f.state().slice(0..4) * f.time()).expect("a field");
    refuse(Recurrent::new(timed, 6, 5), "Recurrent::cell");
    let driven = Field::build(9, |f| f.state().slice(0..4) * f.control("u")).expect("a field");
    refuse(Recurrent::new(driven, 6, 5), "Recurrent::cell = control \"u\"");
    for mask in [5..6, 3..3, 0..6] {
        named(gru().masked(mask).expect_err("no mask"), "Recurrent::masked = ");
    }
    let moved = |field: Field, dt, steps| gru().evolved(field, dt, steps, FixedStep::Euler).expect_err("refused");
    let moves = || Mlp::new([4, 4]).into();
    named(moved(Mlp::new([4, 3]).into(), 4, 1), "Recurrent::evolved = [4, 3]");
    named(moved(moves(), 5, 1), "Recurrent::evolved = dt = 5");
    named(moved(moves(), 4, 0), "Recurrent::evolved = steps = 0");
    named(moved(Field::build(4, |f| f.state() * f.time()).expect("a field"), 4, 1), "Recurrent::evolved");
    named(moved(moves(), 4, 1 << 20), "Field");
    assert!(Recurrent::gru(6, 0, 4).is_err() && Recurrent::gru(6, 5, 0).is_err(), "widths of nothing");
    assert!(Recurrent::latent_gru(6, 0, [3, 3], LatentGru::Correct).is_err(), "no values");
    let model = NeuralDe::new(Problem::ode(Mlp::new([4, 4]), 0.0, 1.0), SolverOptions::default()).head(gru());
    named(model.validate::<f32>().expect_err("no head"), "NeuralDe::head = ");
}
