//! Fields on a tile against the slow interpreter of programs, and their products against central differences.

use super::evaluate::Field;
use crate::cpu::kernel::dense::LANES;
use crate::problem::program::function::Function;
use crate::problem::program::interpret::interpret;
use crate::problem::program::operation::Source;
use crate::problem::program::tests::ends::{NUMBERS, is_wrong, limits, operations};
use crate::problem::{self, Activation, FieldBuilder, InputMap, Mlp, TimeInput, Value};

/// Fields in which values are views, stacks, outputs, inputs of several layers, and used more than once.
fn fields() -> Vec<(&'static str, problem::Field)> {
    let build = |dim, write: &dyn Fn(&FieldBuilder) -> Value| problem::Field::build(dim, write).expect("a field");
    let mlp = |sizes: &[usize]| Mlp::new(sizes.to_vec());
    vec![
        ("mlp", mlp(&[3, 5, 4, 3]).time_input(TimeInput::Every).input_map(InputMap::Cube).into()),
        ("linear", mlp(&[2, 2]).into()),
        ("bounded", mlp(&[3, 5, 3]).output_activation(Activation::Tanh).into()),
        (
            "lotka-volterra",
            build(2, &|f| {
                let (y, k) = (f.state(), f.positive("rates", &[1.1, 0.4, 0.1, 0.4]));
                let (prey, hunters) = (y.row(0), y.row(1));
                let meet = &prey * &hunters;
                f.stack([k.row(0) * &prey - k.row(1) * &meet, k.row(2) * &meet - k.row(3) * &hunters])
            }),
        ),
        (
            "pendulum",
            build(2, &|f| {
                let y = f.state();
                let friction = f.mlp("friction", &mlp(&[1, 8, 1]).activation(Activation::Gelu), &y.row(1));
                f.stack([y.row(1), -9.81 * y.row(0).sin() - friction + 0.1 * f.time().cos()])
            }),
        ),
        ("identity", build(3, &|f| f.state())),
        ("constant", build(2, &|f| f.literal(&[1.0, -2.0]))),
        ("parameters", build(3, &|f| f.parameters("p", &[0.5, -1.0, 2.0]))),
        ("swapped", build(2, &|f| f.stack([f.state().row(1), f.state().row(0)]))),
        (
            "residual",
            build(4, &|f| {
                let y = f.state();
                let inside = f.mlp("inside", &mlp(&[4, 6, 4]).time_input(TimeInput::First), &y);
                let gate = f.mlp("gate", &mlp(&[4, 4]), &y).sigmoid();
                &gate * &inside - &y * 0.1 + y.mean() * y.dot(&y).recip()
            }),
        ),
        (
            "one input, two layers",
            build(2, &|f| {
                let hidden = f.mlp("first", &mlp(&[2, 3]), &f.state()).tanh();
                let a = f.mlp("with time", &mlp(&[3, 2]).time_input(TimeInput::First), &hidden);
                let b = f.mlp("without", &mlp(&[3, 2]), &hidden);
                a * b + f.state().abs().sqrt() - f.state().max(&f.time()).min(&(f.state().exp() * 0.3))
            }),
        ),
        (
            "a layer of a slice, of numbers and of the time",
            build(3, &|f| {
                let y = f.state();
                let a = f.mlp("slice", &mlp(&[2, 3]), &y.slice(1..3));
                let b = f.mlp("numbers", &mlp(&[2, 3]), &f.literal(&[0.3, 0.7]));
                let c = f.mlp("time", &mlp(&[1, 3]), &f.time());
                let d = f.mlp("parameters", &mlp(&[1, 3]), &f.parameters("p", &[0.4]));
                let e = f.mlp("repeated", &mlp(&[2, 3]), &y.row(0).repeat(2));
                a.softplus() * b.silu() + c.relu() * d + e.square().ln() - y.cube()
            }),
        ),
    ]
}

fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut random = crate::math::Random::new(seed, crate::math::Purpose::Initialization, 7);
    (0..n).map(|_| random.normal()).collect()
}

struct Case {
    field: problem::Field,
    theta: Vec<f64>,
    t: [f64; LANES],
    y: Vec<f64>,
}

impl Case {
    fn new(field: problem::Field) -> Self {
        let theta: Vec<f64> = field
            .initialize::<f64>(3)
            .iter()
            .zip(numbers(4, field.parameter_count()))
            .map(|(a, b)| a + 0.2 * b)
            .collect();
        let t = std::array::from_fn(|lane| 0.1 + lane as f64 / 50.0);
        let y = numbers(5, field.inputs() * LANES);
        Self { field, theta, t, y }
    }

    /// The value at lane `lane` by the interpreter, with the state moved by `step` along `direction`, and `theta` likewise.
    fn truth(&self, lane: usize, moved: Option<(&[f64], &[f64], f64)>) -> Vec<f64> {
        let mut y: Vec<f64> = self.y.chunks_exact(LANES).map(|row| row[lane]).collect();
        let mut theta = self.theta.clone();
        if let Some((dy, dtheta, step)) = moved {
            y.iter_mut().zip(dy).for_each(|(y, dy)| *y += step * dy);
            theta.iter_mut().zip(dtheta).for_each(|(theta, dtheta)| *theta += step * dtheta);
        }
        let program = self.field.program().expect("a program");
        let mut values = interpret(&program, &theta, |source| match source {
            Source::State => y.clone(),
            _ => vec![self.t[lane]],
        });
        values.swap_remove(0)
    }
}

#[test]
fn tiles_give_what_the_interpreter_gives() {
    for (name, field) in fields() {
        let case = Case::new(field);
        let mut native = Field::<f64>::new(&case.field, &[]).expect("a field");
        native.pack(&case.theta, false);
        let dim = native.dim();
        for keep in [false, true] {
            let mut kept = native.kept();
            let mut dydt = vec![f64::NAN; dim * LANES];
            // Twice in the same room: nothing of the first evaluation is left that matters.
            for _ in 0..2 {
                kept.state_mut().copy_from_slice(&case.y);
                native.eval(&case.t, &mut kept, &mut dydt, keep);
            }
            for lane in [0, 1, LANES - 1] {
                for (row, truth) in case.truth(lane, None).into_iter().enumerate() {
                    let found = dydt[row * LANES + lane];
                    assert!(
                        (found - truth).abs() <= 1e-12 * (1.0 + truth.abs()),
                        "{name}, row {row}: {found}, not {truth}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_no_number_is_not_lost() {
    let field = problem::Field::build(2, |f| {
        let (a, b) = (f.state().row(0), f.state().row(1));
        f.stack([a.min(&b), a.max(&b)])
    })
    .expect("a field");
    let mut native = Field::<f32>::new(&field, &[]).expect("a field");
    native.pack(&[], false);
    let mut kept = native.kept();
    for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN), (f32::NAN, f32::NAN)] {
        kept.state_mut()[..LANES].fill(a);
        kept.state_mut()[LANES..].fill(b);
        let mut out = [0.0; 2 * LANES];
        native.eval(&[0.0; LANES], &mut kept, &mut out, false);
        assert!(out.iter().all(|x| x.is_nan()), "of {a} and {b}: {out:?}");
        let values = field.evaluate(&[], 0.0, &[f64::from(a), f64::from(b)], &[]).expect("a value");
        assert!(values.iter().all(|x| x.is_nan()), "of {a} and {b}: {values:?}");
    }
}

/// Every operation at numbers that are none, infinite, large and denormal.
#[test]
fn operations_are_the_interpreter_s_at_the_ends_of_numbers() {
    let (field, names, theta) = operations();
    let program = field.program().expect("a program");
    let pairs: Vec<[f32; 2]> = NUMBERS.iter().flat_map(|a| NUMBERS.map(|b| [*a, b])).collect();
    let mut native = Field::<f32>::new(&field, &[]).expect("a field");
    native.pack(&theta.iter().map(|x| *x as f32).collect::<Vec<_>>(), false);
    let (mut kept, mut failures) = (native.kept(), Vec::new());
    for pairs in pairs.chunks(LANES) {
        let lane = |lane: usize| pairs[lane.min(pairs.len() - 1)];
        for row in 0..2 {
            for (l, x) in kept.state_mut()[row * LANES..][..LANES].iter_mut().enumerate() {
                *x = lane(l)[row];
            }
        }
        let mut out = vec![0.0; names.len() * LANES];
        native.eval(&[0.0; LANES], &mut kept, &mut out, false);
        for (l, pair) in pairs.iter().enumerate() {
            let values = interpret(&program, &theta, |_| pair.map(f64::from).to_vec()).swap_remove(0);
            for (row, (name, expected)) in names.iter().zip(values).enumerate() {
                let found = out[row * LANES + l];
                let f = Function::ALL.get(row / 2);
                let is_limit = f.is_some() && pair[0].is_infinite();
                let expected = f.map_or(expected, |f| limits(*f, pair[0])[row % 2]);
                // Little is left of an angle that far out, and some engines have none there.
                let far = ["sin", "cos", "sin'", "cos'"].contains(&name.as_str()) && pair[0].abs() == 1e30;
                let wrong =
                    if far { found.abs() > 1.0 || found.is_nan() } else { is_wrong(found, &[expected], is_limit) };
                if wrong {
                    failures.push(format!("{name} of {pair:?} is {found:e}, not {expected:e}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn products_are_those_of_differences() {
    for (name, field) in fields() {
        let case = Case::new(field);
        let mut native = Field::<f64>::new(&case.field, &[]).expect("a field");
        native.pack(&case.theta, true);
        let dim = native.dim();
        let (mut kept, mut cotangents) = (native.kept(), native.cotangents());
        let bar = numbers(8, dim * LANES);
        kept.state_mut().copy_from_slice(&case.y);
        native.eval(&case.t, &mut kept, &mut vec![0.0; dim * LANES], true);
        let mut theta_bar = vec![0.0; case.theta.len()];
        let mut y_bar = vec![f64::NAN; dim * LANES];
        // Twice with the same rooms; the second time without the state.
        native.vjp(&kept, &mut cotangents, &bar, Some(&mut theta_bar), Some(&mut y_bar));
        let mut again = vec![0.0; case.theta.len()];
        native.vjp(&kept, &mut cotangents, &bar, Some(&mut again), None);
        assert_eq!(theta_bar, again, "{name}");
        // The derivative of the cotangent times the value along directions of all states and parameters.
        let (dy, dtheta) = (numbers(9, dim * LANES), numbers(10, case.theta.len()));
        let step = 1e-5;
        let mut truth = 0.0;
        for lane in 0..LANES {
            let dy: Vec<f64> = dy.chunks_exact(LANES).map(|row| row[lane]).collect();
            let [up, down] = [step, -step].map(|step| case.truth(lane, Some((&dy, &dtheta, step))));
            for (row, (up, down)) in up.iter().zip(&down).enumerate() {
                truth += bar[row * LANES + lane] * (up - down) / (2.0 * step);
            }
        }
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let found = dot(&theta_bar, &dtheta) + dot(&y_bar, &dy);
        assert!((found - truth).abs() <= 2e-6 * (1.0 + truth.abs()), "{name}: {found}, not {truth}");
    }
}
