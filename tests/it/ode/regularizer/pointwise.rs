//! Measures of the dynamics at random times, against the fields' own derivatives and differences of values.

use super::SEED;
use crate::oracle::{close, cpu, differences, numbers, scaled, solver};
use fewsteps::{
    Batch, Error, Field, InitialStep, Layout, Loss, Method, Mlp, NeuralDe, PenaltyGradient, PointMeasure, Pointwise,
    Problem, Purpose, Random, Regularizer, SaveAt, SolverOptions, StepControl, Target, TimeInput, Tolerances, Trainer,
    TrainerConfig,
};

const T: [f64; 2] = [0.2, 1.7];
const STEP: u64 = 5;

fn fixed(layout: Layout) -> SolverOptions {
    SolverOptions::default().layout(layout).step_control(StepControl::Fixed { steps: 3 })
}

/// The penalty of three trajectories, of states and chords that are given.
struct Oracle<'a> {
    field: &'a Field,
    measure: PointMeasure,
    time: f64,
    chords: Vec<f64>,
}

impl Oracle<'_> {
    fn states(field: &Field, theta: &[f64], y0: &[f64], time: f64) -> Vec<f64> {
        let problem = Problem::ode(field.clone(), T[0], T[1]);
        let options = fixed(Layout::Lockstep).save_at(SaveAt::Times(vec![time]));
        solver::<f64>(&problem, &options).predict(theta, y0).expect("a valid call").ys
    }

    fn penalty(&self, theta: &[f64], states: &[f64]) -> f64 {
        let Self { field, measure, time, chords } = self;
        let mut sum = 0.0;
        for (row, (y, chord)) in states.chunks(2).zip(chords.chunks(2)).enumerate() {
            let f = |order: usize| field.derivatives(order, theta, *time, y).expect("a field").pop().expect("an order");
            let (g, factor) = match measure {
                PointMeasure::SecondDerivative => (f(2), 1.0),
                PointMeasure::ThirdDerivative => (f(3), 1.0),
                PointMeasure::Kinetic => (f(1), 0.5),
                PointMeasure::Straightness => (f(1).iter().zip(chord).map(|(f, chord)| f - chord).collect(), 1.0),
                _ => {
                    let index = (STEP << 32) + row as u64;
                    let mut random = Random::new(SEED, Purpose::RegularizationDirection, index);
                    let signs: Vec<f64> =
                        (0..2).map(|_| if random.next_u32() >> 31 == 0 { 1.0 } else { -1.0 }).collect();
                    (field.jacobian_vector(theta, *time, y, &[], &signs).expect("a field"), 1.0)
                }
            };
            sum += factor * g.iter().map(|g| g * g).sum::<f64>();
        }
        (T[1] - T[0]) * sum / states.len() as f64
    }
}

#[test]
fn gradients_are_differences_of_values() {
    let field = Field::from(Mlp::new([2, 4, 2]).time_input(TimeInput::Every));
    let (theta, y0) = (scaled(1.5, &numbers(3, field.parameter_count())), numbers(5, 6));
    let uniform = Random::new(SEED, Purpose::RegularizationTime, STEP << 32).uniform();
    let time = T[0] + uniform * (T[1] - T[0]);
    let states = Oracle::states(&field, &theta, &y0, time);
    let ends = Oracle::states(&field, &theta, &y0, T[1]);
    let chords: Vec<f64> = ends.iter().zip(&y0).map(|(y1, y0)| (y1 - y0) / (T[1] - T[0])).collect();
    for measure in PointMeasure::ALL {
        let oracle = Oracle { field: &field, measure, time, chords: chords.clone() };
        for layout in [Layout::Lockstep, Layout::Ensemble] {
            for gradient in [PenaltyGradient::Step, PenaltyGradient::Full] {
                let name = format!("{measure:?}, {layout:?}, {gradient:?}");
                let problem = Problem::ode(field.clone(), T[0], T[1]);
                let mut solver = solver::<f64>(&problem, &fixed(layout));
                let pointwise = Pointwise::new(measure).coefficient(0.7).gradient(gradient);
                solver.regularize(&pointwise.into(), SEED, STEP).expect("a valid regularizer");
                solver.solve(&theta, &y0).expect("a valid call");
                let found = solver.gradients(&[0.0; 6]).expect("solved");

                let value = oracle.penalty(&theta, &states);
                assert!((found.penalty - value).abs() < 1e-12 * (1.0 + value), "{name}: {} {value}", found.penalty);
                assert_eq!(found.pointwise.get(measure).map(|value| value.penalty), Some(found.penalty));
                let is_full = gradient == PenaltyGradient::Full;
                let of_theta = differences(&theta, |theta| {
                    let moved = Oracle::states(&field, theta, &y0, time);
                    0.7 * oracle.penalty(theta, if is_full { &moved } else { &states })
                });
                let of_y0 = differences(&y0, |y0| {
                    let moved = Oracle::states(&field, &theta, y0, time);
                    0.7 * oracle.penalty(&theta, if is_full { &moved } else { &states })
                });
                close(&format!("{name}: theta"), &found.theta, &of_theta, 1e-7);
                if is_full {
                    close(&format!("{name}: y0"), &found.y0, &of_y0, 1e-7);
                } else {
                    assert_eq!(found.y0, [0.0; 6], "{name}");
                }
            }
        }
    }
}

/// `y' = A y`, whose integrals are known.
fn linear() -> Field {
    let field = Field::build(2, |f| {
        let (y, a) = (f.state(), f.parameters("a", &[0.2, -1.0, 0.7, -0.4]));
        f.stack([a.row(0) * y.row(0) + a.row(1) * y.row(1), a.row(2) * y.row(0) + a.row(3) * y.row(1)])
    });
    field.expect("a field")
}

#[test]
fn the_mean_is_the_integral() {
    let tight = SolverOptions::default().step_control(StepControl::Adaptive {
        tolerances: Tolerances::both(1e-8),
        controller: fewsteps::Controller::default(),
        initial_step: InitialStep::Automatic,
    });
    for (measure, integral) in [
        (PointMeasure::SecondDerivative, 1.221_504_552_479_258),
        (PointMeasure::ThirdDerivative, 0.941_852_275_026_030_2),
        (PointMeasure::Kinetic, 1.413_617_550_230_973_4),
        (PointMeasure::Jacobian, 0.845),
    ] {
        let mut solver = solver::<f64>(&Problem::ode(linear(), 0.0, 1.0), &tight);
        let regularizer = Pointwise::new(measure).into();
        let n = 600;
        let draws: Vec<f64> = (0..n)
            .map(|step| {
                solver.regularize(&regularizer, SEED, step).expect("a valid regularizer");
                solver.solve(&[0.2, -1.0, 0.7, -0.4], &[1.0, -2.0]).expect("a valid call");
                solver.gradients(&[0.0; 2]).expect("solved").penalty
            })
            .collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        let sigma = (variance / n as f64).sqrt();
        assert!(sigma > 1e-4 && (mean - integral).abs() < 4.0 * sigma, "{measure:?}: {mean}, sigma {sigma}");
    }
}

/// A trajectory that leaves for infinity has no part in value and gradient.
#[test]
fn failing_trajectories_are_left_out() {
    let field = Field::build(1, |f| f.parameters("c", &[1.0]) * f.state() * f.state()).expect("a field");
    let mut solver = solver::<f64>(&Problem::ode(field, 0.0, 1.0), &SolverOptions::default().layout(Layout::Ensemble));
    for measure in PointMeasure::ALL {
        let regularizer = Pointwise::new(measure).gradient(PenaltyGradient::Full).coefficient(1.0).into();
        let mut run = |y0: &[f64]| {
            solver.regularize(&regularizer, SEED, 0).expect("a valid regularizer");
            solver.solve(&[1.0], y0).expect("a valid call");
            let found = solver.gradients(&vec![0.0; y0.len()]).expect("solved");
            (found.penalty, found.theta)
        };
        let (alone, both, none) = (run(&[0.5]), run(&[0.5, 5.0]), run(&[5.0]));
        assert!(alone.0 > 0.0 && alone.1[0] != 0.0, "{measure:?}");
        assert_eq!(alone, both, "{measure:?}");
        assert!(none.0.is_nan() && none.1 == [0.0], "{measure:?}: {none:?}");
    }
}

/// Both halves of RNODE, each with its own coefficient, in the report and its file.
#[test]
fn several_measures_are_reported_apart() {
    let model = NeuralDe::new(Problem::ode(linear(), 0.0, 1.0), SolverOptions::default());
    let rnode = Regularizer::from(Pointwise::kinetic().coefficient(0.3)).and(Pointwise::jacobian().coefficient(0.2));
    let batch = Batch { inputs: &[1.0, -2.0, 0.5, 0.5], target: Target::States(&[0.0; 4]) };
    let run = |regularizer: Regularizer| {
        let config = TrainerConfig::new(model.clone(), Loss::Mse).regularizer(regularizer);
        let found = Trainer::<f32>::new(&cpu(2), config).expect("a valid model").gradients(&batch);
        found.expect("a valid batch")
    };
    let (plain, both) = (run(Regularizer::None), run(rnode));
    let one = run(Pointwise::kinetic().coefficient(0.3).into());
    let two = run(Pointwise::jacobian().coefficient(0.2).into());
    for (of, measure) in [(&one, PointMeasure::Kinetic), (&two, PointMeasure::Jacobian)] {
        assert_eq!(both.report.pointwise.get(measure), of.report.pointwise.get(measure));
        assert!(of.report.penalty > 0.0);
    }
    assert_eq!((both.report.loss, both.report.nfe), (plain.report.loss, plain.report.nfe));
    assert_eq!((both.report.nfe_penalty, both.report.coefficient), (3, 0.3));
    let all = plain.gradient.iter().zip(&one.gradient).zip(&two.gradient).zip(&both.gradient);
    for (((plain, one), two), both) in all {
        assert!((one + two - plain - both).abs() < 1e-5, "{one} {two} {plain} {both}");
    }
    let file = serde_json::to_value(both.report).expect("plain data");
    assert_eq!(file["pointwise"][1]["measure"], "jacobian");
    assert_eq!(serde_json::from_value::<fewsteps::StepReport>(file).expect("the same"), both.report);
    assert!(serde_json::to_value(plain.report).expect("plain data").get("pointwise").is_none());
}

#[test]
fn what_there_is_not_is_refused() {
    let refused = |regularizer: Regularizer, options: &SolverOptions| match regularizer.validate(options) {
        Err(Error::Argument { argument, .. }) => argument,
        other => panic!("{other:?}"),
    };
    let options = SolverOptions::default();
    let kinetic = Pointwise::kinetic;
    assert_eq!(refused(kinetic().times(0).into(), &options), "Pointwise::times");
    assert_eq!(refused(kinetic().fraction(1.5).into(), &options), "Pointwise::fraction");
    assert_eq!(refused(kinetic().coefficient(f64::NAN).into(), &options), "Pointwise::coefficient");
    assert_eq!(refused(kinetic().gradient(PenaltyGradient::Published).into(), &options), "Pointwise::gradient");
    assert_eq!(refused(Regularizer::from(kinetic()).and(kinetic()), &options), "regularizer");
    assert_eq!(refused(kinetic().into(), &options.clone().save_at(SaveAt::Steps)), "SolverOptions::save_at");
    assert_eq!(refused(kinetic().into(), &options.clone().method(Method::Sosri)), "regularizer");
    assert!(Pointwise::taylor(4).is_err() && Pointwise::taylor(3).is_ok());
    let driven = Field::build(1, |f| f.control("inflow") - f.state()).expect("a field");
    let problem = Problem::ode(driven, 0.0, 1.0).driven_by(fewsteps::Control::constant("inflow"));
    let found = solver::<f64>(&problem, &options).regularize(&kinetic().into(), 0, 0);
    assert!(matches!(found, Err(Error::Argument { argument: "regularizer", .. })), "{found:?}");
}
