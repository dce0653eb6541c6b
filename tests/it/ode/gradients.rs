//! Gradients against dual numbers that walk the same accepted steps, and against differences.

use crate::oracle::{
    ADAPTIVE, Dual, LAYOUTS, Number, System, adaptive, bits, cast, close, cpu, differences, fixed, gradient, largest,
    numbers, scaled, solver, step_times, widen,
};
use fewsteps::{
    Activation, Adjoint, Checkpoints, Gradients, InputMap, Layout, Method, Mlp, Problem, SaveAt, Scalar, Solution,
    Solver, SolverOptions, TimeInput, Tolerances,
};

/// Where the loss looks at the solution.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Save {
    End,
    /// Both ends, times within steps (two of them in one step), the end of a step, and duplicates.
    Times,
    Steps,
    Dense,
}

/// What is differentiated; tests change one thing at a time.
#[derive(Clone, Debug)]
struct Case {
    field: Mlp,
    t0: f64,
    t1: f64,
    options: SolverOptions,
    save: Save,
    batch: usize,
    seed: u64,
}

impl Case {
    fn new() -> Self {
        Self {
            field: Mlp::new([3, 5, 3]),
            t0: 0.2,
            t1: 1.7,
            options: adaptive(Method::Tsit5, 1e-4),
            save: Save::End,
            batch: 3,
            seed: 1,
        }
    }

    fn problem(&self) -> Problem {
        Problem::ode(self.field.clone(), self.t0, self.t1)
    }

    /// Parameters and initial states that `f32` holds exactly.
    fn point(&self) -> (Vec<f64>, Vec<f64>) {
        let exact = |x: Vec<f64>| widen(&cast::<f32>(&x));
        let theta = exact(scaled(1.3, &numbers(self.seed, self.field.parameter_count())));
        (theta, exact(scaled(1.5, &numbers(self.seed + 1, self.batch * self.field.sizes()[0]))))
    }

    fn solve_at<R: Scalar>(&self, save_at: SaveAt) -> (Solver<R>, Solution<R>) {
        let (theta, y0) = self.point();
        let mut solver = solver::<R>(&self.problem(), &self.options.clone().save_at(save_at));
        let solution = solver.solve(&cast(&theta), &cast(&y0)).expect("a valid call");
        (solver, solution.check().expect("every trajectory is done"))
    }

    /// Ends of each trajectory's accepted steps.
    fn steps(&self) -> Vec<Vec<f64>> {
        let (_, solution) = self.solve_at::<f64>(SaveAt::Steps);
        (0..self.batch).map(|row| step_times(&solution, row)).collect()
    }

    fn times(&self, steps: &[Vec<f64>]) -> Vec<f64> {
        let at = |x: f64| self.t0 + x * (self.t1 - self.t0);
        let mut times = vec![self.t0, at(0.001), at(0.501), at(0.502), at(0.9), at(0.9), self.t1, self.t1];
        times.extend([steps[0][2], steps[0][2], steps[self.batch - 1][3]]);
        times.sort_by(f64::total_cmp);
        if self.t1 < self.t0 {
            times.reverse();
        }
        times
    }

    fn save_at(&self, steps: &[Vec<f64>]) -> SaveAt {
        match self.save {
            Save::End => SaveAt::End,
            Save::Times => SaveAt::Times(self.times(steps)),
            Save::Steps => SaveAt::Steps,
            Save::Dense => SaveAt::Dense,
        }
    }

    /// For each trajectory, the times of its saved states and where each lies among the solution's states.
    fn saved(&self, steps: &[Vec<f64>]) -> Vec<Vec<(f64, usize)>> {
        let one_after_the_other =
            matches!(self.save, Save::Steps | Save::Dense) && self.options.layout == Layout::Ensemble;
        let mut first = 0;
        (0..self.batch)
            .map(|row| {
                let times = match self.save {
                    Save::End => vec![self.t1],
                    Save::Times => self.times(steps),
                    Save::Steps | Save::Dense => steps[row].clone(),
                };
                let position = |i| if one_after_the_other { first + i } else { i * self.batch + row };
                let saved = times.iter().enumerate().map(|(i, &t)| (t, position(i))).collect();
                first += times.len();
                saved
            })
            .collect()
    }

    fn gradients<R: Scalar>(&self) -> (Gradients<R>, Vec<f64>) {
        let (mut solver, solution) = self.solve_at::<R>(self.save_at(&self.steps()));
        let ys_bar = widen(&cast::<f32>(&numbers(self.seed + 2, solution.ys.len())));
        (solver.gradients(&cast(&ys_bar)).expect("cotangents of every state"), ys_bar)
    }

    /// The loss as a function of parameters and initial states, along steps that are constant.
    fn loss<S: Number>(&self, steps: &[Vec<f64>], ys_bar: &[f64], theta: &[S], y0: &[S]) -> S {
        let (field, dim) = (&self.field, self.field.sizes()[0]);
        let system =
            System { field, method: self.options.method, tolerances: Tolerances::both(1.0), atol_per_feature: None };
        let mut loss = S::new(0.0);
        for (row, saved) in self.saved(steps).iter().enumerate() {
            let walk = system.walk(theta, &steps[row], &y0[row * dim..][..dim]);
            for &(t, position) in saved {
                for (y, &bar) in system.state_at(&walk, t).iter().zip(&ys_bar[position * dim..][..dim]) {
                    loss = loss + *y * S::new(bar);
                }
            }
        }
        loss
    }

    /// The exact gradients of that loss.
    fn truth(&self, ys_bar: &[f64]) -> Gradients<f64> {
        let (theta, y0) = self.point();
        let steps = self.steps();
        let constants = |x: &[f64]| x.iter().map(|&x| Dual::new(x)).collect::<Vec<Dual>>();
        let (fixed_theta, fixed_y0) = (constants(&theta), constants(&y0));
        let mut truth = Gradients::default();
        truth.theta = gradient(&theta, |theta| self.loss(&steps, ys_bar, theta, &fixed_y0));
        truth.y0 = gradient(&y0, |y0| self.loss(&steps, ys_bar, &fixed_theta, y0));
        truth
    }

    fn stride(mut self, stride: usize) -> Self {
        self.options.adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(stride) };
        self
    }

    fn layout(mut self, layout: Layout) -> Self {
        self.options.layout = layout;
        self
    }
}

/// Asserts that the gradients are those of dual numbers.
fn check(name: &str, case: &Case) {
    let name = format!("{name}, {:?}, {:?}", case.options.layout, case.save);
    let (found, ys_bar) = case.gradients::<f64>();
    let truth = case.truth(&ys_bar);
    assert!(largest(&truth.theta) > 1e-2 && largest(&truth.y0) > 1e-2, "{name}: the truth is not zero");
    close(&format!("{name}: gradient of theta"), &found.theta, &truth.theta, 1e-11);
    close(&format!("{name}: gradient of y0"), &found.y0, &truth.y0, 1e-11);
    assert!(found.products > 0, "{name}: products are counted");
}

/// The same in both layouts and for all saved states.
fn check_everywhere(name: &str, case: &Case) {
    for layout in LAYOUTS {
        for save in [Save::End, Save::Times, Save::Steps] {
            check(name, &Case { save, ..case.clone() }.layout(layout));
        }
    }
}

#[test]
fn activations() {
    for activation in Activation::ALL {
        let field = Mlp::new([3, 5, 4, 3]).activation(activation);
        check_everywhere(&format!("{activation:?}"), &Case { field, ..Case::new() });
    }
}

/// Of a network of one layer too, whose output is all that there is.
#[test]
fn activations_of_the_last_layer() {
    for activation in Activation::ALL {
        for sizes in [vec![3, 3], vec![3, 5, 3]] {
            let field = Mlp::new(sizes).output_activation(activation).time_input(TimeInput::Every);
            check_everywhere(&format!("{activation:?} at the end"), &Case { field, ..Case::new() });
        }
    }
}

#[test]
fn inputs() {
    for time_input in [TimeInput::None, TimeInput::First, TimeInput::Every] {
        for input_map in [InputMap::Identity, InputMap::Cube] {
            for sizes in [vec![3, 3], vec![3, 5, 3], vec![3, 4, 6, 3]] {
                let field = Mlp::new(sizes.clone()).time_input(time_input).input_map(input_map);
                // Cubes grow; a shorter interval keeps them tame.
                let t1 = if input_map == InputMap::Cube { 0.5 } else { 1.7 };
                check_everywhere(
                    &format!("{time_input:?}, {input_map:?}, {sizes:?}"),
                    &Case { field, t1, ..Case::new() },
                );
            }
        }
    }
}

#[test]
fn methods() {
    for method in ADAPTIVE {
        let tolerance = if method == Method::Heun { 1e-2 } else { 1e-4 };
        check_everywhere(&format!("{method}"), &Case { options: adaptive(method, tolerance), ..Case::new() });
    }
    for method in Method::ODE {
        check_everywhere(&format!("{method}, fixed"), &Case { options: fixed(method, 5), ..Case::new() });
    }
}

#[test]
fn backwards_in_time() {
    let field = Mlp::new([3, 5, 3]).time_input(TimeInput::Every);
    for method in [Method::Tsit5, Method::Bosh3] {
        let case = Case { field: field.clone(), t0: 1.1, t1: -0.6, options: adaptive(method, 1e-4), ..Case::new() };
        check_everywhere(&format!("{method} backwards"), &case);
    }
}

#[test]
fn checkpoints() {
    for layout in LAYOUTS {
        for save in [Save::End, Save::Times, Save::Steps, Save::Dense] {
            for options in [adaptive(Method::Tsit5, 1e-5), adaptive(Method::Bosh3, 1e-3), fixed(Method::Rk4, 11)] {
                let case = Case { options, save, ..Case::new() }.layout(layout);
                let name = format!("{}, {layout:?}, {save:?}", case.options.method);
                let steps = case.steps().iter().map(Vec::len).max().unwrap_or(0);
                let (whole, _) = case.gradients::<f64>();
                for stride in [1, 2, 3, 7, steps, 1000] {
                    let case = case.clone().stride(stride);
                    if stride == 3 {
                        check(&format!("{name}, every {stride}rd state"), &case);
                    }
                    let (found, _) = case.gradients::<f64>();
                    assert_eq!(bits(&found.theta), bits(&whole.theta), "{name}: theta with every {stride}th state");
                    assert_eq!(bits(&found.y0), bits(&whole.y0), "{name}: y0 with every {stride}th state");
                }
            }
        }
    }
}

#[test]
fn batches_of_several_tiles() {
    for batch in [1, 32, 33, 65] {
        for layout in LAYOUTS {
            for save in [Save::Times, Save::Steps] {
                let field = Mlp::new([2, 3, 2]).time_input(TimeInput::First);
                check(&format!("batch of {batch}"), &Case { field, batch, save, ..Case::new() }.layout(layout));
            }
        }
    }
}

#[test]
fn odd_shapes() {
    for (dim, hidden, seed) in [(1, 1, 3), (1, 13, 4), (7, 2, 5), (13, 17, 6), (9, 25, 7)] {
        let field = Mlp::new([dim, hidden, dim]).time_input(TimeInput::Every).activation(Activation::Silu);
        let options = adaptive(Method::Tsit5, 1e-3);
        check_everywhere(&format!("{dim} features, {hidden} hidden"), &Case { field, seed, options, ..Case::new() });
    }
}

#[test]
fn times_of_which_only_some_matter() {
    for layout in LAYOUTS {
        let case = Case { save: Save::Times, ..Case::new() }.layout(layout);
        let steps = case.steps();
        let count = case.times(&steps).len();
        for chosen in 0..count {
            let (mut solver, solution) = case.solve_at::<f64>(case.save_at(&steps));
            let block = solution.ys.len() / count;
            let mut ys_bar = vec![0.0; solution.ys.len()];
            ys_bar[chosen * block..][..block].copy_from_slice(&numbers(9, block));
            let found = solver.gradients(&ys_bar).expect("cotangents of every state");
            let truth = case.truth(&ys_bar);
            let name = format!("time {chosen} alone, {layout:?}");
            if chosen == 0 {
                assert!(found.theta.iter().all(|g| *g == 0.0), "{name}: y0 does not depend on theta");
            } else {
                close(&format!("{name}: theta"), &found.theta, &truth.theta, 1e-11);
            }
            close(&format!("{name}: y0"), &found.y0, &truth.y0, 1e-11);
        }
    }
}

/// The oracle has a derivative of its own to get wrong; differences of the solver itself have none.
#[test]
fn differences_of_the_solver_itself() {
    for layout in LAYOUTS {
        for (method, save) in [(Method::Tsit5, Save::End), (Method::Rk4, Save::Steps), (Method::Dopri5, Save::Dense)] {
            let field = Mlp::new([3, 5, 3]).activation(Activation::Gelu).time_input(TimeInput::Every);
            let case = Case { field, save, options: fixed(method, 6), ..Case::new() }.layout(layout);
            let (found, ys_bar) = case.gradients::<f64>();
            let (theta, y0) = case.point();
            let mut solver = solver::<f64>(&case.problem(), &case.options.clone().save_at(case.save_at(&case.steps())));
            let mut loss = |theta: &[f64], y0: &[f64]| -> f64 {
                let ys = solver.predict(theta, y0).expect("a valid call").ys;
                ys.iter().zip(&ys_bar).map(|(y, bar)| y * bar).sum()
            };
            let of_theta = differences(&theta, |theta| loss(theta, &y0));
            let of_y0 = differences(&y0, |y0| loss(&theta, y0));
            close(&format!("{method}, {layout:?}: differences by theta"), &found.theta, &of_theta, 1e-8);
            close(&format!("{method}, {layout:?}: differences by y0"), &found.y0, &of_y0, 1e-8);
        }
    }
}

/// With the same steps the two differ by rounding: each of the steps' stages rounds a few times on the way there and a
/// few times on the way back, `C eps` in all for `n` steps as the square root of `n`.
#[test]
fn f32_follows_f64() {
    const C: f64 = 8.0;
    for layout in LAYOUTS {
        for activation in Activation::ALL {
            for save in [Save::End, Save::Steps] {
                let field = Mlp::new([3, 16, 3]).activation(activation).time_input(TimeInput::Every);
                let steps = 20;
                let case =
                    Case { field, save, batch: 40, options: fixed(Method::Tsit5, steps), ..Case::new() }.layout(layout);
                let ((narrow, _), (wide, _)) = (case.gradients::<f32>(), case.gradients::<f64>());
                let bound = C * f64::from(f32::EPSILON) * (steps as f64).sqrt();
                let name = format!("{activation:?}, {layout:?}, {save:?}");
                close(&format!("{name}: theta at f32"), &widen(&narrow.theta), &wide.theta, bound);
                close(&format!("{name}: y0 at f32"), &widen(&narrow.y0), &wide.y0, bound);
            }
        }
    }
}

#[test]
fn a_trajectory_s_gradient_does_not_know_its_batch() {
    let case = Case { batch: 70, save: Save::Times, ..Case::new() }.layout(Layout::Ensemble);
    let (theta, y0) = case.point();
    let times = vec![0.2, 0.7, 1.7];
    let options = case.options.clone().save_at(SaveAt::Times(times.clone()));
    let mut solver = Solver::<f32>::new(&cpu(2), &case.problem(), &options).expect("a valid problem");
    let ys_bar = cast::<f32>(&numbers(77, 3 * 70 * 3));
    let mut gradients = |rows: std::ops::Range<usize>| {
        solver.solve(&cast(&theta), &cast(&y0[rows.start * 3..rows.end * 3])).expect("a valid call");
        let bars: Vec<f32> =
            ys_bar.chunks_exact(70 * 3).flat_map(|slot| slot[rows.start * 3..rows.end * 3].to_vec()).collect();
        solver.gradients(&bars).expect("cotangents of every state")
    };
    let together = gradients(0..70);
    for row in [0, 1, 31, 32, 63, 69] {
        let alone = gradients(row..row + 1);
        assert_eq!(bits(&alone.y0), bits(&together.y0[row * 3..][..3]), "gradient of y0, row {row}");
    }
    let sum = [0..32, 32..70].map(|rows| widen(&gradients(rows).theta));
    let sum: Vec<f64> = sum[0].iter().zip(&sum[1]).map(|(a, b)| a + b).collect();
    close("the parts' gradients of theta add up", &widen(&together.theta), &sum, 1e-6);
}

#[test]
fn gradients_are_linear_and_can_be_asked_for_again() {
    for layout in LAYOUTS {
        let case = Case { save: Save::Times, batch: 35, ..Case::new() }.layout(layout).stride(2);
        let (mut solver, solution) = case.solve_at::<f64>(case.save_at(&case.steps()));
        let n = solution.ys.len();
        let (a, b) = (numbers(81, n), numbers(82, n));
        let mixed: Vec<f64> = a.iter().zip(&b).map(|(a, b)| 2.0 * a - 0.5 * b).collect();
        let mut of = |ys_bar: &[f64]| solver.gradients(ys_bar).expect("cotangents of every state");
        let (first, second, both, again) = (of(&a), of(&b), of(&mixed), of(&a));
        assert_eq!(first, again, "{layout:?}: asked twice");
        let mix = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| 2.0 * a - 0.5 * b).collect::<Vec<f64>>();
        close(&format!("{layout:?}: linear, theta"), &both.theta, &mix(&first.theta, &second.theta), 1e-12);
        close(&format!("{layout:?}: linear, y0"), &both.y0, &mix(&first.y0, &second.y0), 1e-12);
    }
}
