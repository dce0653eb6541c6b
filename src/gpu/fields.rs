//! Fields that were written out, on the device against their definition: a slow interpreter at `f64`, and differences of its
//! solutions.

use super::adapter::gpu;
use super::controls::seats;
use super::schedule::Schedules;
use crate::cpu::Scalar;
use crate::error::Status;
use crate::method::{
    Adjoint, Checkpoints, Layout, Local, Loss, Method, PenaltyAt, PenaltyGradient, PenaltyStep, PointMeasure,
    Regularizer, SaveAt, SolverOptions, StepControl, Tolerances,
};
use crate::problem::program::interpret::interpret;
use crate::problem::program::operation::Source;
use crate::problem::{
    Activation, Bound, Control, Diffusion, Field, FieldBuilder, Interpolation, Mlp, Problem, TimeInput, Value,
};
use crate::solution::{Gradients, Solution};
use crate::{Batch, Cpu, GpuSolver, GpuTrainer, NeuralDe, Optimizer, Solver, Target, Trainer, TrainerConfig};

pub(crate) fn field(inputs: usize, write: impl FnOnce(&FieldBuilder) -> Value) -> Field {
    Field::build(inputs, write).expect("a field")
}

/// Lotka and Volterra's equations.
pub(crate) fn prey_and_hunters() -> Field {
    field(2, |f| {
        let (y, rate) = (f.state(), f.positive("rates", &[1.1, 0.4, 0.1, 0.4]));
        let (prey, hunters) = (y.row(0), y.row(1));
        let meet = &prey * &hunters;
        f.stack([rate.row(0) * &prey - rate.row(1) * &meet, rate.row(2) * &meet - rate.row(3) * &hunters])
    })
}

/// A pendulum whose friction is a network.
pub(crate) fn pendulum() -> Field {
    field(2, |f| {
        let y = f.state();
        let friction = f.mlp("friction", &Mlp::new([1, 16, 1]), &y.row(1));
        f.stack([y.row(1), -9.81 * y.row(0).sin() - friction])
    })
}

/// A residual field of many features.
pub(crate) fn residual(width: usize) -> Field {
    field(width, |f| {
        let x = f.state();
        let decay = f.bounded_parameters("decay", &[0.5], Bound::Softplus);
        let network = f.mlp("mlp", &Mlp::new([width, 24, width]).time_input(TimeInput::Every), &x);
        &x * 0.25 + network - decay * &x
    })
}

/// A gated one: two networks, of which one is a share.
pub(crate) fn gated(width: usize) -> Field {
    field(width, |f| {
        let x = f.state();
        let gate = f.mlp("gate", &Mlp::new([width, width]), &x).sigmoid();
        let inner = f.mlp("inner", &Mlp::new([width, 7, width]).activation(Activation::Gelu), &x).tanh();
        gate * (inner - &x)
    })
}

/// Sums, means, products, minima and stacks over many rows.
pub(crate) fn reductions(width: usize) -> Field {
    field(width, |f| {
        let x = f.state();
        let half = width / 2;
        let (low, high) = (x.slice(0..half), x.slice(half..width));
        let scale = f.parameters("scale", &vec![0.3; width]);
        let offsets = f.literal(&(0..width).map(|i| i as f64 / 50.0 - 0.2).collect::<Vec<_>>());
        let length = (x.dot(&x) * 0.1 + 1.0).sqrt();
        let mixed = f.stack([high.tanh() * 0.5, low.cos() - f.time()]);
        let mean = (&mixed * &x).mean();
        (&mixed * &scale + &offsets - &x).min(&(mean.repeat(width) + 0.5)) / length + scale.sum() * 0.01
    })
}

/// Every function and every operation on few rows.
pub(crate) fn functions() -> Field {
    field(3, |f| {
        let (y, p) = (f.state(), f.parameters("p", &[0.7, -0.3, 0.2]));
        let (a, b, c) = (y.row(0), y.row(1), y.row(2));
        let bounded = (-y.square()).exp() * p.row(0) + (y.square() + 1.0).ln() * p.row(1);
        let more = f.stack([
            (&a * &b).sin() + c.cube() * 0.1,
            (a.abs() + 1.0).sqrt() - b.softplus(),
            (&c + 3.0).recip().cos(),
        ]);
        let rest = y.silu() - y.gelu() * 0.5 + y.relu() * 0.1 + y.sigmoid() * p.max(&y);
        bounded + more * (f.time() + 0.5) + rest * p.dot(&y) - (&y / (y.square().sum() + 2.0)).min(&p)
    })
}

/// A network of a network, of which a product and a run need the same value; one group is frozen.
pub(crate) fn nested(width: usize) -> Field {
    field(width, |f| {
        let x = f.state();
        let first = f.mlp("first", &Mlp::new([width, 9, 5]).time_input(TimeInput::First), &x);
        let second = f.mlp("second", &Mlp::new([5, 6, width]), &first);
        let third = f.mlp("third", &Mlp::new([2, width]), &f.stack([first.square().sum(), f.time()]));
        f.freeze("second");
        second - third.tanh() * x
    })
}

/// What does not read the state, or is nothing but it.
pub(crate) fn of_time_and_numbers() -> Field {
    field(2, |f| {
        let p = f.parameters("p", &[0.7, -0.3]);
        p * f.time().cos()
    })
}

/// One of each.
pub(crate) fn written() -> Vec<Field> {
    vec![
        prey_and_hunters(),
        pendulum(),
        residual(6),
        residual(64),
        gated(5),
        gated(40),
        reductions(12),
        reductions(70),
        functions(),
        nested(4),
        nested(33),
        of_time_and_numbers(),
        field(3, |f| f.state()),
        field(33, |f| f.literal(&[1.5; 33])),
    ]
}

/// A field with knots for its controls, if it has any: one for the first of them, and two for others.
pub(crate) fn problem(field: &Field) -> Problem {
    let controls = field.driven_by().enumerate().map(|(n, (name, _))| match n {
        0 => Control::constant(name),
        _ => Control::new(name, Interpolation::Linear, [0.0, 1.0]),
    });
    controls.fold(Problem::ode(field.clone(), 0.0, 1.0), Problem::driven_by)
}

pub(crate) fn schedules(field: &Field) -> Schedules {
    Schedules::new("Problem::field", field, 3, &seats(&problem(field), field).expect("controls")).expect("schedules")
}

/// Those of a field's measures at points.
pub(crate) fn measures(field: &Field) -> Vec<Schedules> {
    let schedules = |measure: PointMeasure| {
        let program = measure.density(field).expect("a measure");
        Schedules::of("regularizer", &program, &field.frozen(), [field.inputs(), 1], 3, &[]).expect("schedules")
    };
    PointMeasure::ALL.into_iter().map(schedules).collect()
}

/// Numbers between -1 and 1.
fn numbers(count: usize, factor: usize) -> Vec<f64> {
    (0..count).map(|i| ((i + 1) * factor % 101) as f64 / 50.5 - 1.0).map(|x| f64::from(x as f32)).collect()
}

fn narrow(xs: &[f64]) -> Vec<f32> {
    xs.iter().map(|x| *x as f32).collect()
}

/// The ends of trajectories after so many equal steps from 0 to 1, by the definitions.
fn ends(field: &Field, method: Method, steps: usize, theta: &[f64], y0: &[f64]) -> Vec<f64> {
    let (program, tableau, dim) = (field.program().expect("a program"), method.tableau(), field.inputs());
    let h = 1.0 / steps as f64;
    let mut all = Vec::new();
    for y0 in y0.chunks(dim) {
        let mut y = y0.to_vec();
        for step in 0..steps {
            let mut stages: Vec<Vec<f64>> = Vec::new();
            let add = |y: &[f64], weights: &[f64], stages: &[Vec<f64>]| -> Vec<f64> {
                let sum = |d: usize| weights.iter().zip(stages).map(|(w, k)| w * k[d]).sum::<f64>();
                (0..dim).map(|d| y[d] + h * sum(d)).collect()
            };
            for (c, a) in tableau.c.iter().zip(tableau.a) {
                let (state, t) = (add(&y, a, &stages), (step as f64 + c) * h);
                let input = |source| if source == Source::State { state.clone() } else { vec![t] };
                stages.push(interpret(&program, theta, input).swap_remove(0));
            }
            y = add(&y, tableau.b, &stages);
        }
        all.extend(y);
    }
    all
}

/// The largest difference, in units of the largest number.
fn apart(found: &[f32], truth: &[f64]) -> f64 {
    assert_eq!(found.len(), truth.len());
    let largest = truth.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
    found.iter().zip(truth).map(|(x, y)| (f64::from(*x) - y).abs() / largest).fold(0.0, f64::max)
}

/// The derivative of `loss` along `direction`, from differences.
fn slope(loss: impl Fn(&[f64]) -> f64, at: &[f64], direction: &[f64]) -> f64 {
    let e = 1e-5;
    let moved = |by: f64| loss(&at.iter().zip(direction).map(|(x, d)| x + by * d).collect::<Vec<_>>());
    (8.0 * (moved(e) - moved(-e)) - (moved(2.0 * e) - moved(-2.0 * e))) / (12.0 * e)
}

/// A loss as a function of what it is differentiated by.
type Along<'a> = Box<dyn Fn(&[f64]) -> f64 + 'a>;

/// Directions in which a gradient is looked at: each coordinate, or where there are many some mixtures.
fn directions(count: usize) -> Vec<Vec<f64>> {
    if count <= 12 {
        return (0..count).map(|i| (0..count).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    }
    [3, 7, 19, 37].map(|factor| numbers(count, factor)).to_vec()
}

#[test]
fn fields_are_their_definitions_layer_by_layer() {
    let Some(gpu) = gpu() else { return };
    let mut failures = Vec::new();
    for (n, field) in written().iter().enumerate() {
        let (dim, batch, method) = (field.inputs(), 3, if n % 2 == 0 { Method::Tsit5 } else { Method::Heun });
        let theta: Vec<f64> = field.initialize::<f32>(1).into_iter().map(f64::from).collect();
        let (y0, ys_bar) = (numbers(batch * dim, 7), numbers(batch * dim, 11));
        let truth = ends(field, method, 2, &theta, &y0);
        let loss = |theta: &[f64], y0: &[f64]| -> f64 {
            ends(field, method, 2, theta, y0).iter().zip(&ys_bar).map(|(y, bar)| y * bar).sum()
        };
        let layout = if n % 3 == 0 { Layout::Ensemble } else { Layout::Lockstep };
        let options =
            SolverOptions::default().method(method).layout(layout).step_control(StepControl::Fixed { steps: 2 });
        let problem = Problem::ode(field.clone(), 0.0, 1.0);
        let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a solver").layer_by_layer();
        let solution = gpu.block_on(solver.solve(&narrow(&theta), &narrow(&y0))).expect("a solution");
        let gradient = gpu.block_on(solver.gradients(&narrow(&ys_bar))).expect("a gradient");
        let far = apart(&solution.ys, &truth);
        if far.is_nan() || far > 2e-6 {
            failures.push(format!("field {n}: states {far:e}"));
        }
        let frozen = field.frozen();
        let learns = |i: usize| !frozen.iter().any(|range| range.contains(&i));
        let parts: [(&str, &[f64], &[f32], Along<'_>); 2] = [
            ("theta", &theta, &gradient.theta, Box::new(|theta| loss(theta, &y0))),
            ("y0", &y0, &gradient.y0, Box::new(|y0| loss(&theta, y0))),
        ];
        for (name, at, found, loss) in parts {
            for mut direction in directions(at.len()) {
                if name == "theta" {
                    direction.iter_mut().enumerate().filter(|(i, _)| !learns(*i)).for_each(|(_, d)| *d = 0.0);
                }
                let truth = slope(&loss, at, &direction);
                let along: f64 = found.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum();
                let norm = |xs: &mut dyn Iterator<Item = f64>| xs.map(|x| x * x).sum::<f64>().sqrt();
                let size = norm(&mut found.iter().map(|g| f64::from(*g))) * norm(&mut direction.iter().copied());
                let far = (along - truth).abs();
                if far.is_nan() || far > 3e-6 * (size + 1e-2) {
                    failures.push(format!("field {n}: {name} {along:e}, expected {truth:e}"));
                }
            }
            if name == "theta" && !found.iter().enumerate().all(|(i, g)| learns(i) || *g == 0.0) {
                failures.push(format!("field {n}: what is frozen has a gradient"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A network as it is, and written out.
fn both(mlp: &Mlp) -> [Field; 2] {
    let width = mlp.sizes()[0];
    [mlp.into(), field(width, |f| f.mlp("all", mlp, &f.state()))]
}

/// Solves and differentiates, layer by layer, with a penalty if there is one.
fn solved(
    problem: &Problem,
    options: &SolverOptions,
    penalty: &Regularizer,
) -> Option<(Solution<f32>, Gradients<f32>)> {
    let gpu = gpu()?;
    let mut solver = GpuSolver::new(&gpu, problem, options).expect("a solver").layer_by_layer();
    let theta: Vec<f32> = problem.initialize(2);
    let y0 = narrow(&numbers(5 * problem.dim(), 7));
    solver.regularize(penalty, 3, 4).expect("a penalty");
    let solution = gpu.block_on(solver.solve(&theta, &y0)).expect("a solution");
    let ys_bar = narrow(&numbers(solution.ys.len(), 13));
    let gradients = gpu.block_on(solver.gradients(&ys_bar)).expect("gradients");
    Some((solution, gradients))
}

/// It is computed by the same products, so that every bit is that of the network: in lockstep and as an ensemble, with
/// steps of one length and adaptive ones, from all states and from checkpoints, with penalties and with noise.
#[test]
fn a_network_that_is_written_out_has_the_network_s_bits() {
    let mlp = Mlp::new([5, 9, 8, 5]).activation(Activation::Softplus).time_input(TimeInput::Every);
    let local = |at| Regularizer::from(Local { at, ..Local::unbiased() }.gradient(PenaltyGradient::Full).times(2));
    let times = SaveAt::Times(vec![0.0, 0.3, 1.0]);
    let adaptive = SolverOptions::default().tolerances(Tolerances::both(1e-4));
    let cases = [
        (SolverOptions::default().step_control(StepControl::Fixed { steps: 3 }), Regularizer::None),
        (adaptive.clone().save_at(times.clone()), local(PenaltyAt::Unbiased)),
        (adaptive.clone().layout(Layout::Ensemble).save_at(times), local(PenaltyAt::Unbiased)),
        (adaptive.clone().adjoint(Adjoint::Discrete { checkpoints: Checkpoints::Stride(2) }), local(PenaltyAt::Biased)),
        (adaptive.save_at(SaveAt::Steps), Regularizer::None),
    ];
    let [network, written] = both(&mlp);
    assert!(written.mlp().is_none(), "a program");
    for (n, (options, penalty)) in cases.iter().enumerate() {
        let [network, written] = [&network, &written].map(|field| Problem::ode(field.clone(), 0.0, 1.0));
        let [network, written] = [network, written].map(|problem| solved(&problem, options, penalty));
        assert_eq!(network, written, "case {n}");
    }
    let noise = Mlp::new([5, 5]);
    let [diffusion, written_diffusion] = both(&noise);
    for (options, layout) in [
        (SolverOptions::sde(Tolerances::both(1e-2)), Layout::Ensemble),
        (SolverOptions::sde(Tolerances::both(1e-2)), Layout::Lockstep),
    ] {
        let problems = [(&network, &diffusion), (&written, &written_diffusion), (&network, &written_diffusion)];
        let [a, b, c] = problems.map(|(drift, diffusion)| {
            let problem = Problem::sde(drift.clone(), Diffusion::ito(diffusion.clone()), 0.0, 1.0);
            solved(&problem, &options.clone().layout(layout), &Regularizer::None)
        });
        assert_eq!(a, b, "both written");
        assert_eq!(a, c, "the diffusion is written");
    }
}

/// The same on the native engine.
fn natively<R: Scalar>(
    problem: &Problem,
    options: &SolverOptions,
    penalty: &Regularizer,
) -> (Solution<R>, Gradients<R>) {
    let mut solver = Solver::<R>::new(&Cpu::new().expect("threads"), problem, options).expect("a solver");
    let scalars = |xs: &[f64]| -> Vec<R> { xs.iter().map(|x| R::from_f64(*x)).collect() };
    let theta: Vec<f64> = problem.initialize::<f32>(2).into_iter().map(f64::from).collect();
    solver.regularize(penalty, 3, 4).expect("a penalty");
    let solution = solver.solve(&scalars(&theta), &scalars(&numbers(5 * problem.dim(), 7))).expect("a solution");
    let gradients = solver.gradients(&scalars(&numbers(solution.ys.len(), 13))).expect("gradients");
    (solution, gradients)
}

/// What differs between two solves, in units of the largest numbers: states, gradients, penalty.
fn differences(found: &(Solution<f32>, Gradients<f32>), truth: &(Solution<f64>, Gradients<f64>)) -> [f64; 4] {
    let ((solution, gradients), (known, slopes)) = (found, truth);
    [
        apart(&solution.ys, &known.ys),
        apart(&gradients.theta, &slopes.theta),
        apart(&gradients.y0, &slopes.y0),
        (gradients.penalty - slopes.penalty).abs() / slopes.penalty.abs().max(1e-6),
    ]
}

/// States saved within steps, penalised steps and noise, against the native engine.
#[test]
fn written_fields_are_the_native_engine_s() {
    let mut failures = Vec::new();
    let mut compare = |name: &str, problem: &Problem, options: &SolverOptions, penalty: &Regularizer, bound: f64| {
        let Some(found) = solved(problem, options, penalty) else { return };
        let found = differences(&found, &natively(problem, options, penalty));
        if found.iter().any(|apart| apart.is_nan() || *apart > bound) {
            failures.push(format!("{name}: states, gradients, penalty {found:?}"));
        }
    };
    let fixed = SolverOptions::default().step_control(StepControl::Fixed { steps: 2 });
    let fixed = fixed.save_at(SaveAt::Times(vec![0.0, 0.3, 1.0]));
    let local = |at| {
        let local = Local { at, ..Local::unbiased() }.gradient(PenaltyGradient::Full).step(PenaltyStep::Taken);
        Regularizer::from(local.times(2).fraction(0.6))
    };
    let fields = [prey_and_hunters(), pendulum(), residual(64), gated(40), reductions(70), functions(), nested(33)];
    for (n, field) in fields.into_iter().enumerate() {
        let problem = Problem::ode(field.clone(), 0.0, 1.0);
        let layout = if n % 2 == 0 { Layout::Ensemble } else { Layout::Lockstep };
        compare(&format!("field {n}"), &problem, &fixed.clone().layout(layout), &Regularizer::None, 5e-5);
        let at = if n % 2 == 0 { PenaltyAt::Unbiased } else { PenaltyAt::Biased };
        compare(&format!("field {n}, penalised"), &problem, &fixed.clone().layout(layout), &local(at), 1e-3);
        // Steps end on ticks of the path, and so are the same.
        let noisy = Problem::sde(field, Diffusion::ito(noise(problem.dim())), 0.0, 1.0);
        let options = SolverOptions::sde(Tolerances::both(1e-2)).layout(layout);
        compare(&format!("field {n} with noise"), &noisy, &options, &Regularizer::None, 1e-3);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Weights and parameters at 16 bits, whole and layer by layer: states and gradients are those at the rounded ones.
#[test]
fn written_fields_compute_with_half_weights() {
    let Some(gpu) = gpu() else { return };
    let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 2 });
    for (n, field) in [prey_and_hunters(), pendulum(), residual(6), nested(33)].into_iter().enumerate() {
        let problem = Problem::ode(field, 0.0, 1.0);
        let theta: Vec<f64> = problem.initialize::<f32>(2).into_iter().map(f64::from).collect();
        let rounded: Vec<f64> = theta.iter().map(|x| half::f16::from_f64(*x).to_f64()).collect();
        let y0 = numbers(5 * problem.dim(), 7);
        let ys_bar = numbers(y0.len(), 13);
        let mut native = Solver::<f64>::new(&Cpu::new().expect("threads"), &problem, &options).expect("a solver");
        let unrounded = native.solve(&theta, &y0).expect("a solution").ys;
        let truth = native.solve(&rounded, &y0).expect("a solution");
        let felt = apart(&narrow(&unrounded), &truth.ys);
        let truth = (truth, native.gradients(&ys_bar).expect("gradients"));
        for by_layers in [false, true] {
            let solver = GpuSolver::new(&gpu, &problem, &options).expect("a solver");
            let solver = if by_layers { solver.layer_by_layer() } else { solver };
            let mut solver = match solver.half_weights() {
                Ok(solver) => solver,
                Err(error) => return assert!(error.to_string().contains("half_weights"), "{error}"),
            };
            let solution = gpu.block_on(solver.solve(&narrow(&theta), &narrow(&y0))).expect("a solution");
            let gradients = gpu.block_on(solver.gradients(&narrow(&ys_bar))).expect("gradients");
            let found = differences(&(solution, gradients), &truth);
            assert!(found.iter().all(|apart| *apart < 5e-5), "field {n}, by layers {by_layers}: {found:?}");
            assert!(4.0 * found[0] < felt, "field {n}: rounding is felt, by {felt:e}");
        }
    }
}

/// Penalised steps beside solves of whole trajectories.
#[test]
fn penalties_of_what_is_solved_whole_are_the_native_engine_s() {
    let Some(gpu) = gpu() else { return };
    let fixed = SolverOptions::default().step_control(StepControl::Fixed { steps: 3 });
    let fixed = fixed.save_at(SaveAt::Times(vec![0.3, 1.0]));
    let mut failures = Vec::new();
    for (n, field) in [prey_and_hunters(), pendulum()].into_iter().enumerate() {
        let problem = Problem::ode(field, 0.0, 1.0);
        for (m, at) in [PenaltyAt::Unbiased, PenaltyAt::Biased].into_iter().enumerate() {
            for (l, gradient) in [PenaltyGradient::Step, PenaltyGradient::Full].into_iter().enumerate() {
                let layout = if (n + m + l) % 2 == 0 { Layout::Ensemble } else { Layout::Lockstep };
                let local = Local { at, ..Local::unbiased() }.gradient(gradient).step(PenaltyStep::Taken);
                let penalty = Regularizer::from(local.times(2).fraction(0.6).coefficient(20.0));
                let options = fixed.clone().layout(layout);
                let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a solver");
                assert!(solver.engine.whole, "field {n} is solved whole");
                let (theta, y0) = (problem.initialize::<f32>(2), narrow(&numbers(5 * problem.dim(), 7)));
                solver.regularize(&penalty, 3, 4).expect("a penalty");
                let solution = gpu.block_on(solver.solve(&theta, &y0)).expect("a solution");
                let ys_bar = narrow(&numbers(solution.ys.len(), 13));
                let gradients = gpu.block_on(solver.gradients(&ys_bar)).expect("gradients");
                let truth = natively(&problem, &options, &penalty);
                let plain = natively::<f64>(&problem, &options, &Regularizer::None);
                let name = format!("field {n}, {at:?}, {gradient:?}, {layout:?}");
                assert!(apart(&narrow(&truth.1.theta), &plain.1.theta) > 1e-2, "{name}: a penalty is felt");
                let found = differences(&(solution, gradients), &truth);
                // Of an estimated error's digits some are lost to rounding, on either engine.
                let rounding = differences(&natively(&problem, &options, &penalty), &truth);
                if found.iter().zip(rounding).any(|(apart, lost)| apart.is_nan() || *apart > 1e-4 + 4.0 * lost) {
                    failures.push(format!("{name}: states, gradients, penalty {found:?}, lost natively {rounding:?}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A field's program with the layers' biases, and what they do with the time, left out.
fn without_bias(field: &Field) -> Field {
    let text = serde_json::to_string(field).expect("plain data").replace("\"affine\":true", "\"affine\":false");
    serde_json::from_str(&text).expect("a field")
}

/// Products alone, which no builder writes and files may have.
#[test]
fn products_without_a_bias_are_the_native_engine_s() {
    let Some(gpu) = gpu() else { return };
    let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 2 });
    for (n, affine) in [pendulum(), residual(6), nested(33)].into_iter().enumerate() {
        let field = without_bias(&affine);
        assert_ne!(field, affine, "field {n} has layers");
        let problem = Problem::ode(field, 0.0, 1.0);
        let theta: Vec<f32> = numbers(problem.parameter_count(), 17).iter().map(|x| 0.4 * *x as f32).collect();
        let (y0, wide) = (numbers(5 * problem.dim(), 7), theta.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
        let ys_bar = numbers(y0.len(), 13);
        let mut native = Solver::<f64>::new(&Cpu::new().expect("threads"), &problem, &options).expect("a solver");
        let truth = native.solve(&wide, &y0).expect("a solution");
        let truth = (truth, native.gradients(&ys_bar).expect("gradients"));
        for by_layers in [false, true] {
            let solver = GpuSolver::new(&gpu, &problem, &options).expect("a solver");
            let mut solver = if by_layers { solver.layer_by_layer() } else { solver };
            let solution = gpu.block_on(solver.solve(&theta, &narrow(&y0))).expect("a solution");
            let gradients = gpu.block_on(solver.gradients(&narrow(&ys_bar))).expect("gradients");
            let found = differences(&(solution, gradients), &truth);
            assert!(found.iter().all(|apart| *apart < 5e-5), "field {n}, by layers {by_layers}: {found:?}");
        }
    }
}

/// Adaptive steps, of which the device may take one more or less, have ends within the tolerance.
#[test]
fn adaptive_steps_of_written_fields_end_within_the_tolerance() {
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-5));
    for (n, field) in [prey_and_hunters(), pendulum(), residual(64), gated(40), nested(33)].into_iter().enumerate() {
        let problem = Problem::ode(field, 0.0, 1.0);
        for layout in [Layout::Ensemble, Layout::Lockstep] {
            let options = options.clone().layout(layout);
            let Some(found) = solved(&problem, &options, &Regularizer::None) else { return };
            let found = differences(&found, &natively(&problem, &options, &Regularizer::None));
            assert!(found.iter().all(|apart| *apart < 1e-3), "field {n} {layout:?}: {found:?}");
        }
    }
}

/// `y' = r / y` from 0 has no slope: that trajectory fails, and its rest at 0 leaves the others' gradients alone.
#[test]
fn a_pole_is_one_trajectory_s() {
    let Some(gpu) = gpu() else { return };
    let problem = Problem::ode(field(1, |f| f.parameters("rate", &[1.0]) * f.state().recip()), 0.0, 1.0);
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        let options = SolverOptions::default().layout(layout).tolerances(Tolerances::both(1e-5));
        let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a solver").layer_by_layer();
        let y0 = [1.0f32, 0.0, 2.0, 0.5];
        let solution = gpu.block_on(solver.solve(&[1.0], &y0)).expect("a solution");
        assert_eq!(solution.status[1], Status::NonFinite, "{layout:?}");
        let gradients = gpu.block_on(solver.gradients(&[1.0; 4])).expect("gradients");
        // y = sqrt(y0^2 + 2 r t), dy/dy0 = y0 / y, dy/dr = t / y.
        let mut slope = 0.0;
        for (i, y0) in y0.into_iter().enumerate().filter(|(i, _)| *i != 1) {
            let y = f64::from(y0 * y0 + 2.0).sqrt();
            slope += 1.0 / y;
            let found = [f64::from(solution.ys[i]) - y, f64::from(gradients.y0[i]) - f64::from(y0) / y];
            assert!(found.iter().all(|apart| apart.abs() < 1e-4), "{layout:?} from {y0}: {found:?}");
        }
        assert!((f64::from(gradients.theta[0]) - slope).abs() < 3e-4, "{layout:?}: {} of {slope}", gradients.theta[0]);
    }
}

/// A diffusion of numbers, the state and the time.
fn noise(dim: usize) -> Field {
    field(dim, |f| (f.state().sigmoid() + f.time() * 0.1) * f.positive("scale", &[0.1]))
}

/// Encoder and head around a field that was written out: its parameters lie between theirs.
#[test]
fn training_of_a_written_field_is_the_native_engine_s() {
    let Some(gpu) = gpu() else { return };
    let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 2 });
    let (inputs, labels): (Vec<f32>, Vec<u32>) = (narrow(&numbers(9 * 4, 7)), (0..9).map(|i| i % 3).collect());
    for field in [residual(33), gated(5)] {
        let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options.clone()).encoder(4).head(3);
        let config = TrainerConfig::new(model, Loss::CrossEntropy).optimizer(Optimizer::sgd(0.5));
        let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
        let mut native = Trainer::<f32>::new(&Cpu::new().expect("threads"), config.clone()).expect("a trainer");
        let mut trainer = GpuTrainer::new(&gpu, config).expect("a trainer");
        for _ in 0..3 {
            let wanted = native.step(&batch).expect("a step").loss;
            let found = gpu.block_on(trainer.step(&batch)).expect("a step").loss;
            assert!((found - wanted).abs() < 1e-5, "loss {found}, natively {wanted}");
        }
        let known: Vec<f64> = native.parameters().iter().map(|x| f64::from(*x)).collect();
        let found = gpu.block_on(trainer.parameters()).expect("parameters");
        assert!(apart(&found, &known) < 1e-5, "parameters {}", apart(&found, &known));
    }
}
