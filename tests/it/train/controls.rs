//! Training of driven models.

use super::cpu;
use crate::oracle::close;
use fewsteps::{
    Batch, Batches, Control, Cpu, Diffusion, Error, Field, Interpolation, Layout, Local, Loss, NeuralDe, Optimizer,
    Problem, Purpose, Random, SaveAt, Schedule, Solver, SolverOptions, Target, Tolerances, Trainer, TrainerConfig,
};

const KNOTS: [f64; 4] = [0.0, 0.5, 1.0, 1.5];
const TIMES: [f64; 3] = [0.4, 1.0, 2.0];
const SAMPLES: usize = 50;

/// `y' = b u - a y`, with rates to learn.
fn tank(a: f64, b: f64, interpolation: Interpolation) -> Problem {
    let field = Field::build(1, |f| f.positive("b", &[b]) * f.control("u") - f.positive("a", &[a]) * f.state());
    Problem::ode(field.expect("a field"), 0.0, 2.0).driven_by(Control::new("u", interpolation, KNOTS))
}

fn options(layout: Layout) -> SolverOptions {
    let options = SolverOptions::default().layout(layout).tolerances(Tolerances::both(1e-6));
    options.save_at(SaveAt::Times(TIMES.to_vec()))
}

/// Starts and inflows of as many samples as a test has.
fn data() -> [Vec<f64>; 2] {
    let mut random = Random::new(4, Purpose::Data, 0);
    [SAMPLES, SAMPLES * KNOTS.len()].map(|count| (0..count).map(|_| 1.0 + random.normal()).collect())
}

/// What `y' = b u - a y` is at a time, with the inflow held from knot to knot: from one piece to the next.
fn level([a, b]: [f64; 2], y0: f64, inflow: &[f64], t: f64) -> f64 {
    let ends = KNOTS[1..].iter().copied().chain([f64::INFINITY]);
    KNOTS.iter().zip(ends).zip(inflow).filter(|((from, _), _)| **from < t).fold(y0, |y, ((from, to), u)| {
        let rest = b * u / a;
        rest + (y - rest) * (-a * (to.min(t) - from)).exp()
    })
}

fn rates(trainer: &Trainer<f64>) -> [f64; 2] {
    let field = &trainer.config().model.problem.field;
    ["a", "b"].map(|name| field.values(name, trainer.parameters()).expect("a group")[0])
}

fn trainer(cpu: &Cpu, layout: Layout) -> Trainer<f64> {
    let model = NeuralDe::new(tank(0.3, 1.0, Interpolation::Hold), options(layout));
    let optimizer = Optimizer::adam(Schedule::cosine(0.1, 1e-4, 400));
    Trainer::new(cpu, TrainerConfig::new(model, Loss::Mse).optimizer(optimizer)).expect("a valid configuration")
}

/// Inputs, targets and inflows of some samples.
fn gathered(samples: &[usize]) -> [Vec<f64>; 3] {
    let [starts, inflows] = data();
    let inflow = |sample: &usize| &inflows[sample * KNOTS.len()..][..KNOTS.len()];
    let at = |t: f64| samples.iter().map(move |sample| (t, *sample));
    let targets = TIMES.into_iter().flat_map(at).map(|(t, n)| level([1.1, 0.6], starts[n], inflow(&n), t));
    [
        samples.iter().map(|sample| starts[*sample]).collect(),
        targets.collect(),
        samples.iter().flat_map(inflow).copied().collect(),
    ]
}

#[test]
fn rates_are_learnt_from_driven_data() {
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        let mut trainer = trainer(&cpu(), layout);
        let mut batches = Batches::new(SAMPLES, 12, 1).expect("few samples");
        for step in 0..400 {
            // Each batch with its samples' inflows; the last one of an epoch is smaller.
            let [inputs, targets, inflow] = gathered(batches.at(step));
            trainer.set_control("u", &inflow).expect("values");
            trainer.step(&Batch { inputs: &inputs, target: Target::States(&targets) }).expect("a step");
        }
        close("rates", &rates(&trainer), &[1.1, 0.6], 2e-3);
        let [inputs, targets, inflow] = gathered(&(0..SAMPLES).collect::<Vec<_>>());
        trainer.set_control("u", &inflow).expect("values");
        let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
        assert!(trainer.evaluate(&batch).expect("evaluates").loss < 1e-4);
        close("predictions", &trainer.predict(&inputs).expect("predicts"), &targets, 5e-3);
    }
}

#[test]
fn a_shared_control_is_set_once() {
    let mut trainer = trainer(&cpu(), Layout::Lockstep);
    let inflow = [1.0, -0.5, 2.0, 0.3];
    trainer.set_control("u", &inflow).expect("values");
    for count in [3, 40, 1] {
        let inputs: Vec<f64> = (0..count).map(|n| 0.1 * f64::from(n)).collect();
        let at = |t: f64| inputs.iter().map(move |y0| level([0.3, 1.0], *y0, &inflow, t));
        let targets: Vec<f64> = TIMES.into_iter().flat_map(at).collect();
        let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
        assert!(trainer.evaluate(&batch).expect("evaluates").loss < 1e-9);
    }
    // As long as the control is the same one, another configuration has its values too.
    let mut config = trainer.config().clone();
    config.model.options = config.model.options.tolerances(Tolerances::both(1e-4));
    trainer.reconfigure(config.clone()).expect("the same tensors");
    assert!(trainer.predict(&[0.0]).is_ok());
    config.model.problem.controls[0].interpolation = Interpolation::Linear;
    trainer.reconfigure(config).expect("the same tensors");
    assert!(matches!(trainer.predict(&[0.0]), Err(Error::Order { needs: "Trainer::set_control", .. })));
}

#[test]
fn a_trainer_differentiates_as_a_solver_does() {
    let [inputs, targets, inflow] = gathered(&[3, 1, 4, 15, 9]);
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        let mut trainer = trainer(&cpu(), layout);
        trainer.set_control("u", &inflow).expect("values");
        let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
        let found = trainer.gradients(&batch).expect("gradients");
        let model = &trainer.config().model;
        let mut solver = Solver::<f64>::new(&cpu(), &model.problem, &model.options).expect("a solver");
        solver.set_control("u", &inflow).expect("values");
        let ys = solver.solve(trainer.parameters(), &inputs).expect("a solve").ys;
        let scale = 2.0 / ys.len() as f64;
        let bars: Vec<f64> = ys.iter().zip(&targets).map(|(y, target)| scale * (y - target)).collect();
        close("theta", &found.gradient, &solver.gradients(&bars).expect("gradients").theta, 1e-12);
    }
}

#[test]
fn noise_and_penalties_train_with_a_drive() {
    // The mean of `dy = (u - a y) dt + s dW` is that of the problem without noise.
    let drift = Field::build(1, |f| f.control("u") - f.positive("a", &[0.4]) * f.state()).expect("a field");
    let noise = Field::build(1, |f| 0.02 * f.control("u") + 0.0 * f.state()).expect("a field");
    let problem = Problem::sde(drift, Diffusion::ito(noise), 0.0, 1.0).driven_by(Control::constant("u"));
    let model = NeuralDe::new(problem, SolverOptions::sde(Tolerances::both(5e-2)));
    let config = TrainerConfig::new(model, Loss::Mse).optimizer(Optimizer::adam(Schedule::cosine(0.1, 1e-3, 80)));
    let mut trainer =
        Trainer::<f64>::new(&cpu(), config.regularizer(Local::unbiased().coefficient(1e-4))).expect("fits");
    let u: Vec<f64> = (0..32).map(|n| 0.5 + 0.08 * f64::from(n)).collect();
    let mean: Vec<f64> = u.iter().map(|u| u / 1.3 * (1.0 - (-1.3_f64).exp())).collect();
    trainer.set_control("u", &u).expect("values");
    for _ in 0..80 {
        trainer.step(&Batch { inputs: &[0.0; 32], target: Target::States(&mean) }).expect("a step");
    }
    let a = trainer.config().model.problem.field.values("a", trainer.parameters()).expect("a group")[0];
    assert!((a - 1.3).abs() < 0.03, "{a}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut trainer = trainer(&cpu(), Layout::Lockstep);
    let batch = Batch { inputs: &[1.0, 2.0], target: Target::States(&[0.0; 6]) };
    let order =
        |error: Error| matches!(error, Error::Order { call: "Trainer::step", needs: "Trainer::set_control", .. });
    assert!(order(trainer.step(&batch).expect_err("no values")));
    assert!(order(trainer.evaluate(&batch).expect_err("no values")));
    assert!(order(trainer.predict(&[1.0]).expect_err("no values")));
    assert!(matches!(trainer.set_control("v", &[1.0; 4]), Err(Error::Argument { .. })));
    assert!(matches!(trainer.set_control("u", &[1.0; 3]), Err(Error::Shape { .. })));
    assert!(matches!(trainer.set_control("u", &[f64::NAN; 4]), Err(Error::NonFinite { .. })));
    trainer.set_control("u", &[1.0; 12]).expect("three trajectories");
    let theta = trainer.parameters().to_vec();
    let error = trainer.step(&batch).expect_err("two trajectories").to_string();
    assert!(error.contains("values of u are for 3 trajectories"), "{error}");
    assert_eq!((trainer.parameters(), trainer.steps()), (&theta[..], 0));
    trainer.set_control("u", &[1.0; 8]).expect("two trajectories");
    trainer.step(&batch).expect("they fit");
    let mut config = trainer.config().clone();
    config.model.problem.controls[0].gradient = true;
    let error = Trainer::<f64>::new(&cpu(), config).expect_err("no gradient of a control").to_string();
    assert!(error.contains("Control::gradient") && error.contains("\"u\""), "{error}");
}
