//! Gradients of solves with noise against dual numbers on the same steps and paths, for every method, adjoint, layout
//! and save mode.

use crate::oracle::{Course, Dual, LAYOUTS, Noisy, Number, cpu, gradient, numbers, on_chord, shared, states};
use fewsteps::{
    Activation, Adjoint, Brownian, Calculus, Checkpoints, Diffusion, Gradients, Layout, Method, Mlp, Paths, Problem,
    SaveAt, SavedTimes, Solver, SolverOptions, StepControl, TimeInput, Tolerances,
};

const BATCH: usize = 5;
const DIM: usize = 3;
const PATHS: Paths = Paths { seed: 0xfeed_beef_0123, first: 40 };

/// Networks with time inputs and hidden layers, so that no derivative is trivially zero.
fn problem(calculus: Calculus) -> Problem {
    let drift = Mlp::new([DIM, 4, DIM]).time_input(TimeInput::Every);
    let network = Mlp::new([DIM, 3, DIM]).activation(Activation::Sigmoid).time_input(TimeInput::First);
    Problem::sde(drift, Diffusion::new(network, calculus), 0.25, 1.25)
}

fn calculus(method: Method) -> Calculus {
    method.tableau().noise.expect("a stochastic method").calculus
}

struct Case {
    problem: Problem,
    options: SolverOptions,
    theta: Vec<f64>,
    y0: Vec<f64>,
}

impl Case {
    fn new(options: SolverOptions) -> Self {
        let problem = problem(calculus(options.method));
        let theta = numbers(3, problem.parameter_count()).iter().map(|x| 0.8 * x).collect();
        Self { problem, options, theta, y0: numbers(4, BATCH * DIM) }
    }

    /// With one Wiener process for all features.
    fn shared(self) -> Self {
        Self { problem: shared(self.problem), ..self }
    }

    fn solver(&self, options: &SolverOptions) -> Solver<f64> {
        let mut solver = Solver::new(&cpu(2), &self.problem, options).expect("a valid problem");
        solver.set_paths(PATHS);
        solver
    }

    fn path(&self) -> Brownian {
        self.options.path(&self.problem, PATHS).expect("a valid path")
    }

    /// Ends of each trajectory's steps, from a solve that saves them.
    fn ends(&self) -> Vec<Vec<f64>> {
        let options = self.options.clone().save_at(SaveAt::Steps).adjoint(Adjoint::default());
        let solution = self.solver(&options).solve(&self.theta, &self.y0).expect("solved");
        match solution.check().expect("no failure").ts {
            SavedTimes::Shared(ts) => vec![ts; BATCH],
            SavedTimes::PerTrajectory(ts) => ts,
            SavedTimes::Own(ts) => panic!("no steps: {ts:?}"),
        }
    }

    /// Saved states of one trajectory, in time.
    fn saves<S: Number>(&self, theta: &[S], y0: &[S], course: &Course) -> Vec<Vec<S>> {
        let steps = Noisy::new(&self.problem, self.options.method).walk(theta, course, y0);
        match &self.options.save_at {
            SaveAt::End => vec![steps.last().expect("a step").end.y.clone()],
            SaveAt::Times(times) => times.iter().map(|&t| on_chord(&course.times, &steps, t)).collect(),
            _ => states(&steps),
        }
    }

    /// Position in the engine's saved states of trajectory `row`'s save `n`.
    fn place(&self, row: usize, n: usize, ends: &[Vec<f64>]) -> usize {
        let own = self.options.save_at == SaveAt::Steps && self.options.layout == Layout::Ensemble;
        if own { ends[..row].iter().map(Vec::len).sum::<usize>() + n } else { n * BATCH + row }
    }

    /// Solves and differentiates on the engine, checks the states against the oracle, and returns the engine's and the
    /// oracle's gradients of a weighted sum of all saved states.
    fn gradients(&self, name: &str) -> [Gradients<f64>; 2] {
        let ends = self.ends();
        let mut solver = self.solver(&self.options);
        let ys = solver.solve(&self.theta, &self.y0).expect("solved").check().expect("no failure").ys;
        let weights = numbers(5, ys.len());
        let found = solver.gradients(&weights).expect("solved before");
        let split = self.theta.len();
        let mut expected = Gradients::default();
        expected.theta = vec![0.0; split];
        for row in 0..BATCH {
            let y0 = &self.y0[row * DIM..(row + 1) * DIM];
            let course = Course::new(&self.problem, &self.path(), row, &ends[row]);
            for (n, state) in self.saves(&self.theta, y0, &course).iter().enumerate() {
                let at = self.place(row, n, &ends) * DIM;
                for (x, y) in state.iter().zip(&ys[at..at + DIM]) {
                    assert!((x - y).abs() < 1e-11, "{name}: save {n} of trajectory {row}: {y} instead of {x}");
                }
            }
            let point = [self.theta.as_slice(), y0].concat();
            let slopes = gradient(&point, |x| {
                let saves = self.saves(&x[..split], &x[split..], &course);
                let mut sum = Dual::new(0.0);
                for (n, state) in saves.iter().enumerate() {
                    let at = self.place(row, n, &ends) * DIM;
                    for (x, w) in state.iter().zip(&weights[at..at + DIM]) {
                        sum = sum + Dual::new(*w) * *x;
                    }
                }
                sum
            });
            expected.theta.iter_mut().zip(&slopes).for_each(|(sum, x)| *sum += x);
            expected.y0.extend(&slopes[split..]);
        }
        [found, expected]
    }

    fn check(&self, name: &str, bound: f64) {
        let [found, expected] = self.gradients(name);
        let pairs = found.theta.iter().zip(&expected.theta).chain(found.y0.iter().zip(&expected.y0));
        let scale = expected.theta.iter().chain(&expected.y0).fold(0f64, |m, x| m.max(x.abs()));
        for (i, (x, y)) in pairs.enumerate() {
            assert!((x - y).abs() <= bound * scale, "{name}: component {i} is {x}, not {y}");
        }
        let zeros = found.theta.iter().filter(|x| **x == 0.0).count();
        assert_eq!(zeros, 0, "{name}: every parameter matters");
    }
}

fn fixed(method: Method, steps: usize) -> SolverOptions {
    SolverOptions::default().method(method).step_control(StepControl::Fixed { steps })
}

fn save_modes() -> [SaveAt; 3] {
    [SaveAt::End, SaveAt::Times(vec![0.25, 0.3, 0.31, 0.75, 1.25]), SaveAt::Steps]
}

#[test]
fn fixed_steps() {
    for method in Method::SDE {
        for layout in LAYOUTS {
            for save_at in save_modes() {
                for checkpoints in [Checkpoints::EveryStep, Checkpoints::Stride(3)] {
                    let name = format!("{method}, {layout:?}, {save_at:?}, {checkpoints:?}");
                    let options = fixed(method, 7)
                        .layout(layout)
                        .save_at(save_at.clone())
                        .adjoint(Adjoint::Discrete { checkpoints });
                    Case::new(options).check(&name, 1e-11);
                }
            }
        }
    }
}

#[test]
fn adaptive_steps() {
    let adaptive = Method::SDE.into_iter().filter(|m| m.tableau().b_error.is_some());
    for method in adaptive {
        for layout in LAYOUTS {
            for save_at in save_modes() {
                let name = format!("{method}, {layout:?}, {save_at:?}");
                let options = SolverOptions::sde(Tolerances::both(0.1)).method(method).layout(layout);
                let case = Case::new(options.save_at(save_at));
                let ends = case.ends();
                assert!(ends.iter().all(|e| e.len() > 4), "{name}: {ends:?}");
                case.check(&name, 1e-11);
            }
        }
    }
}

#[test]
fn scalar_noise() {
    for layout in LAYOUTS {
        for method in Method::SDE {
            for save_at in save_modes() {
                let name = format!("scalar noise, {method}, {layout:?}, {save_at:?}");
                Case::new(fixed(method, 7).layout(layout).save_at(save_at.clone())).shared().check(&name, 1e-11);
                if method.tableau().b_error.is_some() {
                    let options = SolverOptions::sde(Tolerances::both(0.1)).method(method).layout(layout);
                    Case::new(options.save_at(save_at)).shared().check(&format!("{name}, adaptive"), 1e-11);
                }
            }
        }
        let options = fixed(Method::ReversibleHeun, 9).layout(layout).adjoint(Adjoint::Reversible);
        Case::new(options).shared().check("scalar noise, reversible", 1e-9);
    }
}

#[test]
fn the_reversible_adjoint_is_the_discrete_one() {
    for layout in LAYOUTS {
        for save_at in save_modes() {
            let name = format!("reversible, {layout:?}, {save_at:?}");
            let options = fixed(Method::ReversibleHeun, 9).layout(layout).save_at(save_at.clone());
            Case::new(options.adjoint(Adjoint::Reversible)).check(&name, 1e-9);
            let options = SolverOptions::sde(Tolerances::both(0.1)).method(Method::ReversibleHeun).layout(layout);
            Case::new(options.save_at(save_at).adjoint(Adjoint::Reversible)).check(&name, 1e-9);
        }
    }
}

#[test]
fn the_backsolve_adjoint_converges_to_the_discrete_one() {
    let error = |steps: usize, layout: Layout| {
        let options = fixed(Method::StratonovichHeun, steps)
            .layout(layout)
            .path_cells(16)
            .save_at(SaveAt::Times(vec![0.75, 1.25]))
            .adjoint(Adjoint::Backsolve);
        let [found, expected] = Case::new(options).gradients("backsolve");
        let size: f64 = expected.theta.iter().map(|x| x * x).sum::<f64>().sqrt();
        let difference = found.theta.iter().zip(&expected.theta).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
        difference / size
    };
    for layout in LAYOUTS {
        let errors = [16, 64, 256].map(|steps| error(steps, layout));
        assert!(errors[2] < 0.25 * errors[0] && errors[2] < 1e-2, "{layout:?}: {errors:?}");
    }
}
