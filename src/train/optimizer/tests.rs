//! Rules against `torch.optim`, against their recurrences and at the ends of their ranges.

use super::*;
use crate::math::Real;
use crate::method::Schedule;

const START: [f64; 3] = [1.0, -2.0, 0.5];

/// The gradient of `sum_i a_i (x_i - c_i)^2 / 2 + x_i^4 / 40`.
fn slope(i: usize, x: f64) -> f64 {
    const A: [f64; 3] = [1.0, 3.0, 0.5];
    const C: [f64; 3] = [0.3, -0.2, 2.0];
    A[i] * (x - C[i]) + 0.1 * x.powi(3)
}

fn descend<R: Real>(optimizer: &Optimizer) -> [f64; 3] {
    optimizer.validate().expect("the optimizers under test are valid");
    let mut theta = START.map(R::from_f64);
    let mut state = OptimizerState::new(&optimizer.rule, 3);
    for _ in 0..5 {
        let mut gradient = std::array::from_fn(|i| R::from_f64(slope(i, theta[i].to_f64())));
        optimizer.update(&mut state, &mut theta, &mut gradient as &mut [R; 3]);
    }
    assert_eq!(state.step, 5, "every update counts");
    theta.map(R::to_f64)
}

fn close(name: &str, found: [f64; 3], expected: [f64; 3], tolerance: f64) {
    for (found, expected) in found.into_iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance, "{name}: found {found}, expected {expected}");
    }
}

fn all() -> [(&'static str, Optimizer); 7] {
    [
        ("sgd", Optimizer::sgd(0.05)),
        ("momentum", Optimizer::momentum(0.05, 0.9)),
        ("nesterov", Optimizer::nesterov(0.05, 0.9)),
        ("adam", Optimizer::adam(0.05)),
        ("adamw", Optimizer::adamw(0.05, 0.1)),
        ("adamax", Optimizer::adamax(0.05)),
        ("rmsprop", Optimizer::rmsprop(0.05)),
    ]
}

#[test]
fn pytorch() {
    // Five steps of torch.optim 2.15 at float64.
    let expected = [
        [0.823795945590558, -0.937788265018702, 0.673771633565157],
        [0.547491059859709, 0.589853108564854, 0.950753438855836],
        [0.478119314810415, 0.465325940975388, 1.04563023706154],
        [0.752750323204634, -1.75088269356316, 0.748859774264598],
        [0.730855074105384, -1.70407108930965, 0.7340822226003],
        [0.770468913009224, -1.75847571002516, 0.73967009080603],
        [0.301148126626543, -0.747856648439135, 1.41385657414332],
    ];
    for ((name, optimizer), expected) in all().into_iter().zip(expected) {
        close(name, descend::<f64>(&optimizer), expected, 1e-12);
    }
}

#[test]
fn pytorch_clipped() {
    // torch.nn.utils.clip_grad_norm_ and clip_grad_value_ before SGD with momentum.
    let optimizer = Optimizer::momentum(0.05, 0.9);
    let norm = [0.862575363045885, -1.03280187051517, 0.629860658804436];
    let value = [0.547491059859709, -1.474236, 0.950753438855836];
    close("norm", descend::<f64>(&optimizer.clone().clip_norm(1.5)), norm, 1e-12);
    close("value", descend::<f64>(&optimizer.clip_value(0.8)), value, 1e-12);
}

#[test]
fn recurrences() {
    // Each rule as its paper writes it: (theta, gradient, m, v, t), with the defaults above.
    type Step = fn(&mut f64, f64, &mut f64, &mut f64, i32);
    const A: f64 = 0.05;
    let steps: [Step; 8] = [
        |x, g, _, _, _| *x -= A * g,
        |x, g, m, _, _| {
            *m = 0.9 * *m + g;
            *x -= A * *m;
        },
        |x, g, m, _, _| {
            *m = 0.9 * *m + g;
            *x -= A * (g + 0.9 * *m);
        },
        |x, g, m, v, t| {
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * g * g;
            let (m, v) = (*m / (1.0 - 0.9f64.powi(t)), *v / (1.0 - 0.999f64.powi(t)));
            *x -= A * m / (v.sqrt() + 1e-8);
        },
        |x, g, m, v, t| {
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * g * g;
            let (m, v) = (*m / (1.0 - 0.9f64.powi(t)), *v / (1.0 - 0.999f64.powi(t)));
            *x = *x * (1.0 - A * 0.1) - A * m / (v.sqrt() + 1e-8);
        },
        |x, g, m, v, t| {
            *m = 0.9 * *m + 0.1 * g;
            *v = (0.999 * *v).max(g.abs() + 1e-8);
            *x -= A / (1.0 - 0.9f64.powi(t)) * *m / *v;
        },
        |x, g, _, v, _| {
            *v = 0.99 * *v + 0.01 * g * g;
            *x -= A * g / (v.sqrt() + 1e-8);
        },
        |x, g, m, v, t| {
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * (g - *m) * (g - *m) + 1e-16;
            let (m, v) = (*m / (1.0 - 0.9f64.powi(t)), *v / (1.0 - 0.999f64.powi(t)));
            *x -= A * m / (v.sqrt() + 1e-16);
        },
    ];
    let optimizers = all().into_iter().chain([("adabelief", Optimizer::adabelief(A))]);
    for ((name, optimizer), step) in optimizers.zip(steps) {
        let expected = std::array::from_fn(|i| {
            let (mut x, mut m, mut v) = (START[i], 0.0, 0.0);
            for t in 1..=5 {
                let g = slope(i, x);
                step(&mut x, g, &mut m, &mut v, t);
            }
            x
        });
        close(name, descend::<f64>(&optimizer), expected, 1e-13);
        close(name, descend::<f32>(&optimizer), expected, 1e-6);
    }
}

#[test]
fn long() {
    // 37 parameters: whole registers and a remainder give what one parameter alone does.
    for (name, optimizer) in all() {
        let start: Vec<f32> = (0..37).map(|i| i as f32 * 0.1 - 1.7).collect();
        let slope: Vec<f32> = (0..37).map(|i| (i as f32).sin()).collect();
        let mut together = start.clone();
        optimizer.update(&mut OptimizerState::new(&optimizer.rule, 37), &mut together, &mut slope.clone());
        for i in 0..37 {
            let mut alone = [start[i]];
            optimizer.update(&mut OptimizerState::new(&optimizer.rule, 1), &mut alone, &mut [slope[i]]);
            assert_eq!(alone[0], together[i], "{name}: parameter {i} moves as if alone");
        }
    }
}

#[test]
fn clip() {
    let optimizer = Optimizer::sgd(0.0);
    let update = |optimizer: &Optimizer, mut gradient: [f64; 3]| {
        let update = optimizer.update(&mut OptimizerState::new(&optimizer.rule, 3), &mut [0.0; 3], &mut gradient);
        (update.norm, gradient)
    };
    let g = [2.0, -3.0, 6.0];
    assert_eq!(update(&optimizer, g), (7.0, g), "no bound");
    assert_eq!(update(&optimizer.clone().clip_norm(8.0), g), (7.0, g), "a bound on the norm that holds");
    assert_eq!(update(&optimizer.clone().clip_value(2.5), g), (7.0, [2.0, -2.5, 2.5]), "a bound on the components");
    let (norm, clipped) = update(&optimizer.clip_norm(3.5), g);
    assert_eq!(norm, 7.0, "the norm is that before clipping");
    close("norm", clipped, [1.0, -1.5, 3.0], 1e-6);
}

#[test]
fn norm_in_order() {
    let x: Vec<f32> = (0..100).map(|i| (i as f32 - 50.0) * 0.3).collect();
    let expected = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    assert!((norm(&x) - expected).abs() < 1e-13 * expected, "the parts add up, remainder included");
    assert_eq!(norm::<f64>(&[]), 0.0, "no parameters");
}

#[test]
fn not_finite() {
    for (name, optimizer) in all() {
        for bad in [f64::NAN, f64::INFINITY] {
            let optimizer = optimizer.clone().clip_value(1.0);
            let mut state = OptimizerState::new(&optimizer.rule, 2);
            let mut theta = [1.0, 2.0];
            optimizer.update(&mut state, &mut theta, &mut [3.0, 4.0]);
            let (kept, at, mut gradient) = (state.clone(), theta, [5.0, bad]);
            let Update { norm, made } = optimizer.update(&mut state, &mut theta, &mut gradient);
            assert!(!norm.is_finite() && !made, "{name}: the norm of {bad} is {norm}");
            assert_eq!((state, theta, gradient[0]), (kept, at, 5.0), "{name}: nothing moves at {bad}");
        }
    }
}

#[test]
fn overflow() {
    // Of 40 parameters the 33rd would overflow, as a parameter or as a moment; none moves.
    let cases = [
        ("a step beyond f32", Optimizer::sgd(1e30), 1.0, 1e10),
        ("a parameter at the end of f32", Optimizer::sgd(1e20), f32::MAX, -1e15),
        ("a rate beyond f32", Optimizer::sgd(1e39), 1.0, 1.0),
        ("the parameter of momentum", Optimizer::momentum(1.0, 0.999), -3.4e38, 1.0),
        ("the parameter of adam", Optimizer::adam(1e38), -3e38, 1.0),
        ("the parameter of adamw", Optimizer::adamw(1e38, 0.0), -3e38, 1.0),
        ("the parameter of adamax", Optimizer::adamax(1e38), -3e38, 1.0),
        ("the parameter of rmsprop", Optimizer::rmsprop(1e38), 1.0, 1.0),
    ];
    for (name, optimizer, x, g) in cases {
        let mut state = OptimizerState::new(&optimizer.rule, 40);
        if let (Rule::Sgd { .. }, [m, _]) = (optimizer.rule, &mut state.moments) {
            m.fill(3.4e38);
        }
        let (mut theta, mut gradient) = (vec![1.0f32; 40], vec![1e-3f32; 40]);
        (theta[33], gradient[33]) = (x, g);
        let (kept, before) = (state.clone(), theta.clone());
        let update = optimizer.update(&mut state, &mut theta, &mut gradient);
        assert!(update.norm.is_finite() && !update.made, "{name}: {update:?}");
        assert_eq!((state, theta), (kept, before), "{name}: nothing moves");
    }
    // 1e19^2 is the last power of ten that f32 holds.
    for (g, made) in [(1e19f32, true), (1e20, false)] {
        let (optimizer, mut theta) = (Optimizer::adam(1e-3), [1.0f32]);
        let mut state = OptimizerState::new(&optimizer.rule, 1);
        assert_eq!(optimizer.update(&mut state, &mut theta, &mut [g]).made, made, "a gradient of {g}");
        assert_eq!((state.step, (theta[0] - 1.0).abs() > 9e-4), (u64::from(made), made), "{g}: by the rate, or not");
    }
}

#[test]
fn schedule() {
    let optimizer = Optimizer::sgd(Schedule::inverse_decay(1.0, 1.0));
    let (mut state, mut theta) = (OptimizerState::new(&optimizer.rule, 1), [0.0]);
    for _ in 0..3 {
        optimizer.update(&mut state, &mut theta, &mut [-6.0]);
    }
    assert_eq!(theta, [11.0], "the first update takes the schedule's value at 0");
}

#[test]
fn validate() {
    let adam = |beta1, beta2, epsilon| Optimizer::new(Rule::Adam { beta1, beta2, epsilon }, 1e-3);
    let bad = [
        ("learning_rate", Optimizer::adam(-1.0)),
        ("momentum", Optimizer::momentum(0.1, 1.0)),
        ("momentum", Optimizer::nesterov(0.1, 0.0)),
        ("beta1", adam(1.0, 0.9, 1e-8)),
        ("beta2", adam(0.9, f64::NAN, 1e-8)),
        ("epsilon", adam(0.9, 0.9, 0.0)),
        ("epsilon", adam(0.9, 0.9, 1e39)),
        ("decay", Optimizer::new(Rule::RmsProp { decay: -0.1, epsilon: 1e-8 }, 1e-3)),
        ("weight_decay", Optimizer::adamw(1e-3, -0.1)),
        ("clip", Optimizer::adam(1e-3).clip_norm(0.0)),
        ("clip", Optimizer::adam(1e-3).clip_value(f64::INFINITY)),
    ];
    for (argument, optimizer) in bad {
        let error = optimizer.validate().expect_err("an invalid optimizer").to_string();
        assert!(error.starts_with(&format!("{argument} = ")), "{error} names {argument}");
    }
}

#[test]
fn serde() {
    let optimizer = Optimizer::adamw(1e-3, 0.1).clip_norm(2.0);
    let json = serde_json::to_string(&optimizer).expect("plain data");
    assert!(json.contains(r#""rule":{"adamw":{"#) && json.contains(r#""clip":{"norm":2.0}"#), "the tags of {json}");
    assert_eq!(serde_json::from_str::<Optimizer>(&json).expect("what was written"), optimizer, "the round trip");
}
