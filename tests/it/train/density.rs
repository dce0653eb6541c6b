//! Continuous normalizing flows: densities in closed form, samples, gradients and training.

use std::collections::BTreeMap;
use std::f64::consts::{E, PI, TAU};

use super::cpu;
use crate::oracle::{LAYOUTS, close, distance, numbers};
use fewsteps::{
    Batch, Batches, EndTime, Field, Global, Layout, Local, Loss, Method, Mlp, NeuralDe, Optimizer, PointMeasure,
    Pointwise, Problem, Purpose, Random, Regularizer, SaveAt, SolverOptions, StepControl, Target, TimeInput,
    Tolerances, Trace, Trainer, TrainerConfig,
};

/// A linear flow `dy/dt = A y` in the plane, its entries parameters.
fn linear() -> Field {
    Field::build(2, |f| {
        let (y, a) = (f.state(), f.parameters("a", &[0.2, -1.0, 0.7, -0.4]));
        f.stack([a.row(0) * y.row(0) + a.row(1) * y.row(1), a.row(2) * y.row(0) + a.row(3) * y.row(1)])
    })
    .expect("a field")
}

fn flow(field: impl Into<Field>, trace: Trace, options: SolverOptions) -> NeuralDe {
    let field = field.into().with_log_density(trace).expect("a vector field");
    NeuralDe::new(Problem::ode(field, 0.0, 1.0), options)
}

fn tight() -> SolverOptions {
    SolverOptions::default().tolerances(Tolerances::both(1e-10))
}

fn trainer(model: NeuralDe) -> Trainer<f64> {
    Trainer::new(&cpu(), TrainerConfig::new(model, Loss::NegativeLogLikelihood)).expect("a flow")
}

fn likely(points: &[f64]) -> Batch<'_, f64> {
    Batch { inputs: points, target: Target::Nothing }
}

/// A network whose flow bends.
fn lively(trainer: &mut Trainer<f64>) {
    let theta: Vec<f64> = trainer.parameters().iter().map(|x| 1.7 * x).collect();
    trainer.set_parameters(&theta).expect("as many");
}

/// `log p(x) = log N(e^A x) + tr A`: that of `(1, -2)` ends at a point that is known from elsewhere.
#[test]
fn linear_flows_have_the_density_of_their_matrix() {
    let log_normal = |z: [f64; 2]| -0.5 * (z[0] * z[0] + z[1] * z[1]) - TAU.ln();
    let mut general = trainer(flow(linear(), Trace::Exact, tight()));
    let found = general.log_density(&[1.0, -2.0]).expect("a density")[0];
    let expected = log_normal([2.518_513_79, -0.224_922_94]) - 0.2;
    assert!((found - expected).abs() < 1e-7, "{found} and not {expected}");

    // Of a diagonal matrix all is known, the gradient too: `dL/da = mean(x^2 e^2a) - 1`.
    let rates = [0.3, -0.8];
    let diagonal = Field::build(2, |f| f.parameters("rates", &rates) * f.state()).expect("a field");
    let points = numbers(3, 2 * 40);
    for (layout, trace) in LAYOUTS.into_iter().zip([Trace::Exact, Trace::Hutchinson]) {
        let mut trainer = trainer(flow(diagonal.clone(), trace, tight().layout(layout)));
        let grown = |n: usize| points[n] * rates[n % 2].exp();
        let expected: Vec<f64> =
            (0..40).map(|i| log_normal([grown(2 * i), grown(2 * i + 1)]) + rates.iter().sum::<f64>()).collect();
        let found = trainer.log_density(&points).expect("densities");
        assert!(distance(&found, &expected) < 1e-8, "{trace:?}");
        let gradients = trainer.gradients(&likely(&points)).expect("a gradient");
        let loss = -expected.iter().sum::<f64>() / 40.0;
        assert!((gradients.report.loss - loss).abs() < 1e-8, "{} and not {loss}", gradients.report.loss);
        let evaluated = trainer.evaluate(&likely(&points)).expect("an evaluation").loss;
        assert!((evaluated - loss).abs() < 1e-8, "{evaluated} and not {loss}");
        let slope = |d: usize| (0..40).map(|i| grown(2 * i + d).powi(2)).sum::<f64>() / 40.0 - 1.0;
        assert!(distance(&gradients.gradient, &[slope(0), slope(1)]) < 1e-8, "{:?}", gradients.gradient);
    }
}

/// The estimate's signs are one draw a solve, by Philox: of `A` it is the trace and `s1 s2 (a12 + a21)`.
#[test]
fn estimates_have_the_signs_of_their_solve() {
    const SEED: u64 = 9;
    let points = numbers(4, 2 * 70);
    let model = |trace| TrainerConfig::new(flow(linear(), trace, tight()), Loss::NegativeLogLikelihood).seed(SEED);
    let make = |trace| Trainer::<f64>::new(&cpu(), model(trace)).expect("a flow");
    let (mut exact, mut estimate) = (make(Trace::Exact), make(Trace::Hutchinson));
    let product = |index: u64| {
        let mut random = Random::new(SEED, Purpose::TraceDirection, index);
        let mut sign = || if random.next_u32() >> 31 == 0 { 1.0 } else { -1.0 };
        sign() * sign()
    };
    let (known, found) = (exact.log_density(&points).expect("densities"), estimate.log_density(&points));
    let found = found.expect("densities");
    let mut both = [false; 2];
    for (i, (found, known)) in found.iter().zip(&known).enumerate() {
        let product = product((1 << 63) + i as u64);
        both[usize::from(product > 0.0)] = true;
        assert!((found - known - product * (0.7 - 1.0)).abs() < 1e-8, "point {i}: {found}, exactly {known}");
    }
    assert_eq!(both, [true; 2], "either sign is drawn");
    // A training step draws its own.
    for step in 0..3 {
        let loss = |trainer: &mut Trainer<f64>| trainer.gradients(&likely(&points)).expect("a gradient").report.loss;
        let mean = (0..70).map(|i| product((step << 32) + i)).sum::<f64>() / 70.0;
        let (found, known) = (loss(&mut estimate), loss(&mut exact));
        assert!((found - known + mean * (0.7 - 1.0)).abs() < 1e-8, "step {step}: {found}, exactly {known}");
        for trainer in [&mut exact, &mut estimate] {
            trainer.apply(&[0.0; 4]).expect("an update by nothing");
        }
    }
}

#[test]
fn a_density_has_mass_one() {
    let field = Mlp::new([2, 12, 2]).time_input(TimeInput::Every);
    let mut trainer = trainer(flow(field, Trace::Exact, SolverOptions::default()));
    lively(&mut trainer);
    // A sum of equal squares is exact for what is smooth and vanishes at the edge.
    const SIDE: usize = 81;
    let (far, width) = (6.0, 12.0 / (SIDE - 1) as f64);
    let at = |i: usize| width * i as f64 - far;
    let points: Vec<f64> = (0..SIDE * SIDE).flat_map(|i| [at(i / SIDE), at(i % SIDE)]).collect();
    let densities = trainer.log_density(&points).expect("densities");
    let mass = densities.iter().map(|density| density.exp()).sum::<f64>() * width * width;
    assert!((mass - 1.0).abs() < 1e-3, "{mass}");
    let normal = |i: usize| -0.5 * (points[2 * i].powi(2) + points[2 * i + 1].powi(2)) - TAU.ln();
    let apart = densities.iter().enumerate().fold(0.0, |most: f64, (i, density)| most.max((density - normal(i)).abs()));
    assert!(apart > 0.5, "it is another one than the normal: {apart}");
}

#[test]
fn samples_are_the_base_moved_back() {
    let rates = [0.5, -0.3];
    let diagonal = Field::build(2, |f| f.parameters("rates", &rates) * f.state()).expect("a field");
    let mut trainer = trainer(flow(diagonal, Trace::Exact, tight()));
    const COUNT: usize = 4000;
    let samples = trainer.sample(COUNT, 5).expect("samples");
    assert_eq!(samples, trainer.sample(COUNT, 5).expect("samples"), "a pure function of the seed");
    close("of a point's place", &trainer.sample(10, 5).expect("samples"), &samples[..20], 1e-9);
    let base = trainer.config().model.base::<f64>(COUNT, 5);
    let moved: Vec<f64> = base.iter().enumerate().map(|(n, z)| z * (-rates[n % 2]).exp()).collect();
    close("samples", &samples, &moved, 1e-9);
    for (d, rate) in rates.into_iter().enumerate() {
        let (deviation, values) = ((-rate).exp(), || samples.iter().skip(d).step_by(2));
        let mean = values().sum::<f64>() / COUNT as f64;
        let variance = values().map(|x| (x - mean).powi(2)).sum::<f64>() / (COUNT - 1) as f64;
        let error = (COUNT as f64).sqrt().recip();
        assert!(mean.abs() < 4.0 * deviation * error, "mean {mean}");
        assert!((variance / deviation.powi(2) - 1.0).abs() < 4.0 * 2f64.sqrt() * error, "variance {variance}");
    }
    let covariance = samples.chunks(2).map(|x| x[0] * x[1]).sum::<f64>() / COUNT as f64;
    assert!(covariance.abs() < 4.0 * (-rates[0] - rates[1]).exp() / (COUNT as f64).sqrt(), "covariance {covariance}");
}

/// Samples come from where the model takes them, estimates or not, and their density is that of the way.
#[test]
fn a_flow_leads_back_to_where_it_came_from() {
    for trace in [Trace::Exact, Trace::Hutchinson] {
        let field = Mlp::new([3, 12, 3]).time_input(TimeInput::First);
        let mut options = SolverOptions::default().tolerances(Tolerances::both(1e-9));
        if trace == Trace::Exact {
            options = options.atol_per_feature([1e-9, 1e-9, 1e-9, 1e-6]);
        }
        let mut trainer = trainer(flow(field, trace, options));
        lively(&mut trainer);
        let samples = trainer.sample(40, 1).expect("samples");
        let outputs = trainer.predict(&samples).expect("the way there");
        let base = trainer.config().model.base::<f64>(40, 1);
        let width = outputs.len() / 40;
        assert_eq!(width, if trace == Trace::Exact { 4 } else { 7 });
        let ends: Vec<f64> = outputs.chunks(width).flat_map(|state| &state[..3]).copied().collect();
        close("the base", &ends, &base, 1e-6);
        let moved = samples.iter().zip(&base).fold(0.0, |most: f64, (x, z)| most.max((x - z).abs()));
        assert!(moved > 0.5, "it moves them: {moved}");
        if trace == Trace::Hutchinson {
            assert!(outputs.chunks(width).all(|state| state[4..].iter().all(|sign| sign.abs() == 1.0)), "signs stay");
        }
    }
}

#[test]
fn gradients_are_central_differences() {
    let field = Mlp::new([2, 5, 4, 2]).time_input(TimeInput::Every);
    let points = numbers(8, 2 * 37);
    for (n, (trace, layout)) in [
        (Trace::Exact, Layout::Lockstep),
        (Trace::Exact, Layout::Ensemble),
        (Trace::Hutchinson, Layout::Lockstep),
        (Trace::Hutchinson, Layout::Ensemble),
    ]
    .into_iter()
    .enumerate()
    {
        // Equal steps, so that differences see the same ones.
        let options = SolverOptions::default().layout(layout).method([Method::Bosh3, Method::Tsit5][n / 2]);
        let mut trainer = trainer(flow(field.clone(), trace, options.step_control(StepControl::Fixed { steps: 4 })));
        lively(&mut trainer);
        let gradient = trainer.gradients(&likely(&points)).expect("a gradient").gradient;
        let theta = trainer.parameters().to_vec();
        let mut loss = |i: usize, shift: f64| {
            let mut moved = theta.clone();
            moved[i] += shift;
            trainer.set_parameters(&moved).expect("as many");
            trainer.gradients(&likely(&points)).expect("a loss").report.loss
        };
        let differences: Vec<f64> = (0..theta.len()).map(|i| (loss(i, 1e-5) - loss(i, -1e-5)) / 2e-5).collect();
        close(&format!("{trace:?}, {layout:?}"), &gradient, &differences, 1e-8);
    }
}

/// Two half circles that hold on to each other, with noise.
fn moons(count: usize, stream: u64) -> Vec<f32> {
    let mut random = Random::new(0, Purpose::Data, stream);
    (0..count)
        .flat_map(|_| {
            let (angle, lower) = (PI * random.uniform(), random.uniform() < 0.5);
            let (x, y) = if lower { (1.0 - angle.cos(), 0.5 - angle.sin()) } else { (angle.cos(), angle.sin()) };
            [x + 0.1 * random.normal(), y + 0.1 * random.normal()]
        })
        .map(|x| x as f32)
        .collect()
}

/// The entropy of the normal density with the moments of points in the plane: the best loss of any normal density.
fn normal_nats(points: &[f32]) -> f64 {
    let count = (points.len() / 2) as f64;
    let mean = [0, 1].map(|d| points.iter().skip(d).step_by(2).map(|x| f64::from(*x)).sum::<f64>() / count);
    let moment = |i: usize, j: usize| {
        points.chunks(2).map(|x| (f64::from(x[i]) - mean[i]) * (f64::from(x[j]) - mean[j])).sum::<f64>() / count
    };
    let determinant = moment(0, 0) * moment(1, 1) - moment(0, 1).powi(2);
    (TAU * E).ln() + 0.5 * determinant.ln()
}

#[test]
fn training_finds_the_moons() {
    let (train, test) = (moons(1024, 1), moons(512, 2));
    let field = Mlp::new([2, 24, 24, 2]).time_input(TimeInput::Every);
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-4));
    let config = TrainerConfig::new(flow(field, Trace::Exact, options), Loss::NegativeLogLikelihood)
        .optimizer(Optimizer::adam(1e-2))
        .regularizer(Local::unbiased().coefficient(1e-3));
    let mut trainer = Trainer::<f32>::new(&cpu(), config).expect("a flow");
    let mut batches = Batches::new(1024, 128, 0).expect("batches");
    let test = Batch { inputs: &test, target: Target::Nothing };
    let before = trainer.evaluate(&test).expect("a loss").loss;
    for step in 0..250 {
        let points: Vec<f32> = batches.at(step).iter().flat_map(|&i| [train[2 * i], train[2 * i + 1]]).collect();
        trainer.step(&Batch { inputs: &points, target: Target::Nothing }).expect("a step");
    }
    let (after, normal) = (trainer.evaluate(&test).expect("a loss").loss, normal_nats(test.inputs));
    // Two half circles of length pi and a noise of a tenth have about 1.0 nats.
    assert!(normal > 1.7 && before > normal, "{normal}, {before}");
    assert!(after < normal - 0.4, "{after} nats, from {before}; the normal density has {normal}");
}

#[test]
fn checkpoints_keep_a_flow() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flow.safetensors");
    for (field, trace) in
        [(Mlp::new([2, 5, 2]).into(), Trace::Exact), (linear(), Trace::Hutchinson), (linear(), Trace::Exact)]
    {
        let field: Field = field;
        let network = field.mlp().is_some();
        let mut trainer = trainer(flow(field, trace, SolverOptions::default()));
        trainer.step(&likely(&numbers(1, 20))).expect("a step");
        let first = trainer.config().model.layout()[0].name.clone();
        assert_eq!(first, if network { "field.0.weight" } else { "field.a" }, "tensors are named as the field's");
        trainer.save(&path, &BTreeMap::new()).expect("saved");
        let (mut other, _) = Trainer::<f64>::resume(&cpu(), &path).expect("a checkpoint");
        assert_eq!(other.config(), trainer.config());
        let points = numbers(2, 14);
        assert_eq!(other.log_density(&points).expect("densities"), trainer.log_density(&points).expect("densities"));
        assert_eq!(other.sample(7, 0).expect("samples"), trainer.sample(7, 0).expect("samples"));
        let step = |trainer: &mut Trainer<f64>| trainer.step(&likely(&points)).expect("a step");
        assert_eq!(step(&mut other), step(&mut trainer));
    }
}

/// Measures at random times are of the points alone: those of the field itself on the same trajectories.
#[test]
fn measures_of_a_flow_are_those_of_its_field() {
    let field = Mlp::new([2, 7, 2]).time_input(TimeInput::Every);
    let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 8 });
    let points = numbers(6, 2 * 45);
    for measure in PointMeasure::ALL {
        let of = |model: NeuralDe, loss: Loss, target: Target<'_, f64>| {
            let config = TrainerConfig::new(model, loss).regularizer(Pointwise::new(measure).coefficient(1.0)).seed(4);
            let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a measure");
            let found = trainer.gradients(&Batch { inputs: &points, target }).expect("a gradient");
            found.report.pointwise.get(measure).expect("it was asked for").penalty
        };
        let plain = NeuralDe::new(Problem::ode(field.clone(), 0.0, 1.0), options.clone());
        let expected = of(plain, Loss::Mse, Target::States(&points));
        assert!(expected > 1e-3, "{measure:?}: {expected}");
        for trace in [Trace::Exact, Trace::Hutchinson] {
            let model = flow(field.clone(), trace, options.clone());
            let found = of(model, Loss::NegativeLogLikelihood, Target::Nothing);
            // The signs of the Jacobian's measure are drawn for every row, the first ones alike.
            assert!((found / expected - 1.0).abs() < 1e-12, "{measure:?} with {trace:?}: {found} and not {expected}");
        }
    }
}

#[test]
fn every_regularizer_runs_on_a_flow() {
    let taylor = |order| Pointwise::taylor(order).expect("an order");
    let regularizers: [Regularizer; 8] = [
        Local::unbiased().into(),
        Local::biased().into(),
        Global::error().into(),
        EndTime::within(0.5).into(),
        Regularizer::from(EndTime::within(0.5)).and(Global::step_count()),
        taylor(2).into(),
        taylor(3).into(),
        Regularizer::from(Pointwise::kinetic()).and(Pointwise::jacobian()),
    ];
    let points = numbers(6, 2 * 64);
    for regularizer in regularizers {
        for (trace, layout) in [(Trace::Exact, Layout::Lockstep), (Trace::Hutchinson, Layout::Ensemble)] {
            let options = SolverOptions::default().layout(layout);
            let config = TrainerConfig::new(flow(Mlp::new([2, 7, 2]), trace, options), Loss::NegativeLogLikelihood);
            let config = config.regularizer(regularizer.clone()).optimizer(Optimizer::adam(0.03));
            let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a regularizer for flows");
            let before = trainer.evaluate(&likely(&points)).expect("a loss").loss;
            let reports: Vec<_> = (0..15).map(|_| trainer.step(&likely(&points)).expect("a step")).collect();
            assert!(reports.iter().all(|report| report.penalty.is_finite()), "{regularizer:?}");
            let after = trainer.evaluate(&likely(&points)).expect("a loss").loss;
            assert!(after < before - 0.1, "{regularizer:?}, {trace:?}: {before} nats, then {after}");
        }
    }
}

#[test]
fn what_has_no_density_is_refused() {
    let network = Mlp::new([2, 4, 2]);
    let plain = NeuralDe::new(Problem::ode(network.clone(), 0.0, 1.0), SolverOptions::default());
    let good = flow(network, Trace::Exact, SolverOptions::default());
    let refused = |model: NeuralDe| {
        let config = TrainerConfig::new(model, Loss::NegativeLogLikelihood);
        Trainer::<f64>::new(&cpu(), config).expect_err("refused").to_string()
    };
    let saved = flow(Mlp::new([2, 2]), Trace::Exact, SolverOptions::default().save_at(SaveAt::Times(vec![0.5, 1.0])));
    for (model, expected) in [
        (plain.clone(), "take Field::with_log_density"),
        (good.clone().head(2), "leave encoder and head out"),
        (good.clone().encoder(4), "leave encoder and head out"),
        (saved, "take SaveAt::End"),
    ] {
        let found = refused(model);
        assert!(found.contains("TrainerConfig::loss") && found.contains(expected), "{found}");
    }
    let points = numbers(1, 6);
    let mut trainer = trainer(good);
    let error = trainer.step(&Batch { inputs: &points, target: Target::States(&points) }).expect_err("no target");
    assert!(error.to_string().contains("Target::States"), "{error}");
    assert!(trainer.step(&likely(&points[..5])).is_err(), "five numbers are no points");
    assert!(trainer.evaluate_mean(&likely(&points), 2).is_err(), "a density is of single paths");
    let mut plain = Trainer::<f64>::new(&cpu(), TrainerConfig::new(plain, Loss::Mse)).expect("a model");
    let error = plain.step(&likely(&points)).expect_err("a target is missing").to_string();
    assert!(error.contains("only Loss::NegativeLogLikelihood wants nothing"), "{error}");
    assert!(plain.log_density(&points).is_err() && plain.sample(3, 0).is_err(), "it has no density");
}
