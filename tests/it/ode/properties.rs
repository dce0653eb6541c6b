//! Properties that hold whatever the problem: shapes, times, tolerances and directions are drawn at random.

use crate::oracle::{ADAPTIVE, LAYOUTS, adaptive, bits, cast, fixed, numbers, scaled, solver, step_times};
use fewsteps::{
    Activation, Layout, Method, Mlp, Problem, SaveAt, Scalar, Solution, SolverOptions, Stats, Status, TimeInput,
};
use proptest::prelude::*;

/// A tame problem: slopes of at most a few units over the whole interval, however long it is.
#[derive(Clone, Debug)]
struct Case {
    dim: usize,
    hidden: usize,
    batch: usize,
    t0: f64,
    /// Signed length of the interval.
    span: f64,
    tolerance: f64,
    method: Method,
    layout: Layout,
    time_input: bool,
    seed: u64,
}

impl Case {
    fn problem(&self) -> Problem {
        let time_input = if self.time_input { TimeInput::First } else { TimeInput::None };
        let field = Mlp::new([self.dim, self.hidden, self.dim]).activation(Activation::Tanh).time_input(time_input);
        Problem::ode(field, self.t0, self.t0 + self.span)
    }

    /// Weights that see states and times of order 1 and move them by order 1 in all.
    fn theta(&self) -> Vec<f64> {
        let field = self.problem().field;
        let mut theta = numbers(self.seed, field.parameter_count());
        let layers: Vec<_> = field.mlp().expect("a network").layers().collect();
        for (layer, per_time) in layers.iter().zip([1.0, 1.0 / self.span]) {
            let scale = 2.0 * per_time / (layer.inputs as f64).sqrt();
            theta[layer.range()].iter_mut().for_each(|w| *w *= scale);
        }
        if self.time_input {
            let row = layers[0].offset + self.dim * self.hidden;
            theta[row..row + self.hidden].iter_mut().for_each(|w| *w /= self.t0.abs() + self.span.abs());
        }
        theta
    }

    fn y0(&self) -> Vec<f64> {
        scaled(1.5, &numbers(self.seed + 1, self.batch * self.dim))
    }

    fn options(&self) -> SolverOptions {
        adaptive(self.method, self.tolerance).layout(self.layout)
    }

    fn solve<R: Scalar>(&self, options: &SolverOptions) -> Solution<R> {
        solver::<R>(&self.problem(), options).solve(&cast(&self.theta()), &cast(&self.y0())).expect("a valid call")
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let shape = (1..10usize, 1..41usize, 1..71usize);
    // The interval is at least a thousandth of the time at which it lies, from nanoseconds to years.
    let times = (-9.0..8.0f64, any::<bool>(), -1.0..1.0f64);
    let choices = (0..ADAPTIVE.len(), 0..LAYOUTS.len(), any::<bool>(), any::<u32>(), -6.0..-2.0f64);
    (shape, times, choices).prop_map(|((dim, hidden, batch), (length, forwards, start), choices)| {
        let (method, layout, time_input, seed, tolerance) = choices;
        let span = 10f64.powf(length);
        Case {
            dim,
            hidden,
            batch,
            t0: 1000.0 * start * span,
            span: if forwards { span } else { -span },
            // The method of order 2 takes thousands of steps at the tightest tolerances.
            tolerance: 10f64.powf(if ADAPTIVE[method] == Method::Heun { tolerance.max(-4.0) } else { tolerance }),
            method: ADAPTIVE[method],
            layout: LAYOUTS[layout],
            time_input,
            seed: u64::from(seed),
        }
    })
}

fn check<R: Scalar>(case: &Case) {
    let Problem { t0, t1, .. } = case.problem();
    let solution = case.solve::<R>(&case.options().save_at(SaveAt::Steps));
    assert!(solution.status.iter().all(|s| *s == Status::Done), "{}: status {:?}", R::NAME, solution.status);
    assert!(solution.ys.iter().all(|y| y.is_finite()), "{}: finite states", R::NAME);
    assert_eq!(solution.ys.len(), solution.ts.count(case.batch) * case.dim, "{}: a state a time", R::NAME);
    for row in 0..case.batch {
        let times = step_times(&solution, row);
        assert_eq!((times[0], times[times.len() - 1]), (t0, t1), "{}: ends of row {row}", R::NAME);
        let onwards = times.windows(2).all(|w| (w[1] - w[0]) * case.span > 0.0);
        assert!(onwards, "{}: row {row} goes on: {times:?}", R::NAME);
        let Stats { nfe, accepted, rejected, .. } = solution.stats[row.min(solution.stats.len() - 1)];
        assert_eq!(accepted + 1, times.len(), "{}: accepted steps of row {row}", R::NAME);
        assert!(accepted + rejected < 1000, "{}: {accepted} steps and {rejected} rejections", R::NAME);
        let tableau = case.method.tableau();
        let fresh = if tableau.fsal() { 0 } else { accepted - 1 };
        let expected = 2 + (tableau.stages() - 1) * (accepted + rejected) + fresh;
        assert_eq!(nfe, expected, "{}: evaluations of row {row}", R::NAME);
    }
    let end = case.solve::<R>(&case.options());
    assert_eq!(end.stats, solution.stats, "{}: saving changes no step", R::NAME);
    assert_eq!(end.ys.len(), case.batch * case.dim, "{}: a state a trajectory", R::NAME);
}

/// Saved times between the steps, in any number, come out where they were asked for.
fn check_times(case: &Case, positions: &[f64]) {
    let Problem { t0, t1, .. } = case.problem();
    let mut positions = positions.to_vec();
    positions.sort_by(f64::total_cmp);
    let times: Vec<f64> = positions.iter().map(|x| (t0 + x * case.span).clamp(t0.min(t1), t0.max(t1))).collect();
    let solution = case.solve::<f64>(&case.options().save_at(SaveAt::Times(times.clone())));
    let dense = case.solve::<f64>(&case.options().save_at(SaveAt::Dense)).dense.expect("a dense solution");
    for (slot, &t) in times.iter().enumerate() {
        for row in [0, case.batch / 2, case.batch - 1] {
            let found = &solution.ys[(slot * case.batch + row) * case.dim..][..case.dim];
            let expected = dense.evaluate(row, t).expect("a time within the interval");
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-11,
                    "row {row} at {t}: {found}, {expected} from the dense solution"
                );
            }
        }
    }
}

/// A trajectory of an ensemble is the same alone, whatever else is in its batch.
fn check_alone<R: Scalar>(case: &Case, row: usize) {
    let options = case.options().layout(Layout::Ensemble);
    let together = case.solve::<R>(&options);
    let y0 = &case.y0()[row * case.dim..][..case.dim];
    let alone = solver::<R>(&case.problem(), &options).solve(&cast(&case.theta()), &cast(y0)).expect("a valid call");
    assert_eq!(bits(&together.ys[row * case.dim..][..case.dim]), bits(&alone.ys), "{}: state of row {row}", R::NAME);
    assert_eq!(together.stats[row], alone.stats[0], "{}: costs of row {row}", R::NAME);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn solves_end_where_they_should(case in cases()) {
        check::<f64>(&case);
        check::<f32>(&Case { tolerance: case.tolerance.max(1e-5), ..case });
    }

    #[test]
    fn saved_times_are_on_the_solution(case in cases(), positions in prop::collection::vec(0.0..=1.0f64, 1..9)) {
        check_times(&case, &positions);
    }

    #[test]
    fn trajectories_of_an_ensemble_do_not_know_their_batch(case in cases(), row in 0..70usize) {
        check_alone::<f32>(&case, row % case.batch);
        check_alone::<f64>(&case, row % case.batch);
    }

    #[test]
    fn fixed_steps_are_equal(case in cases(), steps in 1..40usize, method in 0..6usize) {
        let Problem { t0, t1, .. } = case.problem();
        let options = fixed(Method::ODE[method], steps).layout(case.layout).save_at(SaveAt::Steps);
        let solution = case.solve::<f64>(&options);
        let times = step_times(&solution, case.batch - 1);
        prop_assert_eq!((times[0], times[steps], times.len()), (t0, t1, steps + 1), "ends and number of steps");
        let equal = times.windows(2).all(|w| ((w[1] - w[0]) * steps as f64 / case.span - 1.0).abs() < 1e-9);
        prop_assert!(equal, "equal steps: {:?}", times);
    }
}
