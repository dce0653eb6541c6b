//! What a solve takes, said before it is taken, and limits to it.

use super::random_field;
use crate::oracle::{LAYOUTS, adaptive, cast, cpu, fixed, numbers, scaled, solver};
use fewsteps::{Adjoint, Checkpoints, Error, Method, Mlp, Problem, SaveAt, Solver, SolverOptions};

#[test]
fn a_solve_keeps_within_its_memory_limit() {
    let (field, theta) = random_field(8, 16, 61);
    let problem = Problem::ode(field, 0.0, 20.0);
    let y0 = numbers(62, 96 * 8);
    for layout in LAYOUTS {
        for control in [adaptive(Method::Tsit5, 1e-8), fixed(Method::Tsit5, 60)] {
            let name = format!("{:?}, {layout:?}", control.step_control);
            let options = control.layout(layout);
            let mut unlimited = solver::<f64>(&problem, &options);
            let steps =
                unlimited.solve(&theta, &y0).expect("no limit").stats.iter().map(|s| s.accepted).max().unwrap_or(0);
            let needed = unlimited.workspace(96, steps).total();
            let limited = |bytes: usize| solver::<f64>(&problem, &options.clone().memory_limit(bytes));
            limited(2 * needed).solve(&theta, &y0).unwrap_or_else(|e| panic!("{name}: twice what is needed: {e}"));
            let limit = (unlimited.workspace(96, 0).total() + needed) / 2;
            let error = limited(limit).solve(&theta, &y0).err();
            let Some(Error::Memory { needed: told, limit: l, batch, largest_batch, .. }) = error else {
                panic!("{name}: half the tape of {steps} steps does not fit {limit} bytes: {error:?}");
            };
            assert!((l, batch) == (limit, 96) && told > limit, "{name}: {told} bytes needed, limit {l}, batch {batch}");
            assert!(largest_batch < 96 && largest_batch % 32 == 0, "{name}: the largest batch is {largest_batch}");
            if largest_batch > 0 {
                let fits = limited(limit).solve(&theta, &y0[..largest_batch * 8]);
                assert!(fits.is_ok(), "{name}: the batch that is said to fit: {:?}", fits.err());
            }
            // The weights, 280 numbers of 8 bytes, fit twice; a tile does not.
            let error = limited(4480).solve(&theta, &y0).expect_err("weights alone");
            assert!(matches!(error, Error::Memory { limit: 4480, largest_batch: 0, .. }), "{name}: {error}");
            let options = options.clone().memory_limit(4479);
            let error = Solver::<f64>::new(&cpu(2), &problem, &options).expect_err("not even the weights");
            assert!(error.to_string().contains("4480 bytes"), "{name}: {error}");
            let error = limited(10_000).predict(&theta, &y0).expect_err("a prediction holds its batch");
            assert!(matches!(error, Error::Memory { steps: 0, .. }), "{name}: {error}");
            assert!(!error.to_string().contains("Checkpoints"), "{name}: a prediction keeps no states: {error}");
            limited(limit).predict(&theta, &y0).unwrap_or_else(|e| panic!("{name}: a prediction keeps no tape: {e}"));
        }
    }
}

/// What a stretch between checkpoints takes is taken once, however many steps there are.
#[test]
fn a_solve_with_checkpoints_fits_into_what_it_is_said_to_take() {
    let (field, theta) = random_field(8, 16, 61);
    let problem = Problem::ode(field, 0.0, 2.0);
    let y0 = numbers(62, 8 * 8);
    for layout in LAYOUTS {
        for stride in [1, 7, 32, 900] {
            let checkpoints = Checkpoints::Stride(stride);
            let options = fixed(Method::Tsit5, 1000).layout(layout).adjoint(Adjoint::Discrete { checkpoints });
            let needed = solver::<f64>(&problem, &options).workspace(8, 1000).total();
            let limited = |bytes: usize| solver::<f64>(&problem, &options.clone().memory_limit(bytes));
            let fits = limited(needed).solve(&theta, &y0);
            assert!(fits.is_ok(), "{layout:?}, every {stride} steps, {needed} bytes: {:?}", fits.err());
            let error = limited(needed - 1).solve(&theta, &y0).expect_err("a byte less");
            let Error::Memory { needed: told, limit, .. } = error else { panic!("{error}") };
            assert!(told > limit, "{layout:?}, every {stride} steps: {told} bytes needed, limit {limit}");
        }
    }
}

#[test]
fn the_workspace_of_anything_is_a_number() {
    let problem = Problem::ode(Mlp::new([2, 8, 2]), 0.0, 1.0);
    for layout in LAYOUTS {
        for save in [SaveAt::End, SaveAt::Times(vec![0.5]), SaveAt::Steps, SaveAt::Dense] {
            for stride in [1, usize::MAX] {
                let adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(stride) };
                let options = adaptive(Method::Tsit5, 1e-5).layout(layout).save_at(save.clone()).adjoint(adjoint);
                let solver = solver::<f32>(&problem, &options);
                let name = format!("{layout:?}, {save:?}, stride {stride}");
                let mut last = [0; 2];
                for size in [0, 1, 1000, 100_000_000, usize::MAX / 2, usize::MAX] {
                    let totals = [10, size].map(|steps| solver.workspace(size, steps).total());
                    assert!(
                        totals[0] >= last[0] && totals[1] >= last[1],
                        "{name}: {totals:?} bytes for {size}, {last:?} for less"
                    );
                    last = totals;
                }
                assert_eq!(last, [usize::MAX; 2], "{name}: it does not wrap");
            }
        }
    }
}

#[test]
fn absurd_widths_are_refused_before_anything_is_allocated() {
    for widths in [vec![2, 1_000_000_000, 2], vec![1 << 62, 2], vec![usize::MAX; 3], vec![2, usize::MAX, 2]] {
        let network = Mlp::new(widths.clone());
        let error = network.validate().expect_err("too many parameters");
        assert!(matches!(error, Error::Argument { argument: "Mlp::sizes", .. }), "{error}");
        assert!(error.to_string().contains(&format!("{widths:?}")), "it names the widths: {error}");
        assert!(network.initialize::<f32>(0).is_empty(), "{widths:?}: there is nothing to draw");
        let problem = Problem::ode(network, 0.0, 1.0);
        let error = Solver::<f32>::new(&cpu(2), &problem, &SolverOptions::default()).expect_err("too many parameters");
        assert!(matches!(error, Error::Argument { .. }), "{error}");
    }
    assert_eq!(Mlp::new([2, 1_000_000_000, 2]).parameter_count(), 3_000_000_000 + 2_000_000_002);
}

#[test]
fn a_stride_beyond_the_steps_is_one_segment() {
    let (field, theta) = random_field(3, 8, 63);
    let problem = Problem::ode(field, 0.0, 2.0);
    let y0 = numbers(64, 3 * 40);
    for layout in LAYOUTS {
        let gradients = |stride: usize| {
            let adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(stride) };
            let mut solver = solver::<f64>(&problem, &fixed(Method::Tsit5, 12).layout(layout).adjoint(adjoint));
            solver.solve(&theta, &y0).expect("a valid call");
            let gradients = solver.gradients(&[1.0; 120]).expect("cotangents");
            (gradients, solver.bytes())
        };
        let (every, _) = gradients(1);
        for stride in [11, 12, 13, 1 << 40, usize::MAX] {
            let (mut found, bytes) = gradients(stride);
            // Six evaluations for each step of the segment that is taken again, all but its last one.
            assert_eq!(found.evaluations, every.evaluations + 6 * (stride.min(12) - 1), "{layout:?}, stride {stride}");
            found.evaluations = every.evaluations;
            assert_eq!(found, every, "{layout:?}, stride {stride}");
            assert!(bytes < 1 << 20, "{layout:?}, stride {stride}: {bytes} bytes");
        }
    }
}

#[test]
fn a_solver_holds_what_it_said() {
    for (dim, hidden, batch) in [(1, 4, 3), (2, 50, 200), (20, 40, 64), (100, 30, 33)] {
        let (field, theta) = random_field(dim, hidden, 71);
        let theta = scaled(1.0 / (hidden as f64).sqrt(), &theta);
        let problem = Problem::ode(field, 0.0, 3.0);
        for layout in LAYOUTS {
            for stride in [1, 5] {
                for save in [SaveAt::End, SaveAt::Times(vec![0.1, 0.2, 0.3]), SaveAt::Steps, SaveAt::Dense] {
                    let name = format!("{dim} features, {batch} rows, {layout:?}, every {stride}th state, {save:?}");
                    let adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(stride) };
                    let options = adaptive(Method::Tsit5, 1e-5).layout(layout).save_at(save).adjoint(adjoint);
                    let mut solver = solver::<f32>(&problem, &options);
                    let solution = solver.solve(&cast(&theta), &cast(&numbers(72, batch * dim))).expect("a valid call");
                    let steps = solution.stats.iter().map(|s| s.accepted).max().unwrap_or(0);
                    solver.gradients(&vec![1.0; solution.ys.len()]).expect("cotangents of every state");
                    let (said, held) = (solver.workspace(batch, steps).total(), solver.bytes());
                    assert!(held <= said, "{name}: {held} bytes held, {said} said");
                    assert!(said <= 3 * held, "{name}: {said} bytes said, only {held} held");
                }
            }
        }
    }
}
