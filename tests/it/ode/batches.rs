//! Trajectories beside each other: what a batch, its layout and its threads may change.

use super::{random_field, solve};
use crate::oracle::{ADAPTIVE, LAYOUTS, adaptive, bits, cast, close, cpu, numbers, scaled, solver};
use fewsteps::{Layout, Method, Problem, SaveAt, Scalar, Solution, Solver};

fn check_alone_and_together<R: Scalar>(method: Method, save: &SaveAt) {
    let (field, theta) = random_field(5, 9, 11);
    let theta = cast::<R>(&theta);
    let y0 = cast::<R>(&scaled(2.0, &numbers(12, 100 * 5)));
    let problem = Problem::ode(field, 0.0, 2.0);
    let options = adaptive(method, 1e-5).layout(Layout::Ensemble).save_at(save.clone());
    let times = if let SaveAt::Times(times) = save { times.len() } else { 1 };
    let alone: Vec<Solution<R>> = y0
        .chunks_exact(5)
        .map(|row| solver::<R>(&problem, &options).solve(&theta, row).expect("a valid call"))
        .collect();
    let costs: Vec<usize> = alone.iter().map(|s| s.nfe()).collect();
    assert!(costs.iter().any(|c| *c != costs[0]), "{method}: trajectories differ in cost, or nothing is shown");
    let mut one_solver = Solver::<R>::new(&cpu(2), &problem, &options).expect("a valid problem");
    for batch in [1, 3, 31, 32, 33, 65, 100, 33] {
        let name = format!("{method} at {}, batch of {batch}", R::NAME);
        let together = one_solver.solve(&theta, &y0[..batch * 5]).expect("a valid call");
        for (row, alone) in alone.iter().enumerate().take(batch) {
            assert_eq!(
                (together.stats[row], together.status[row]),
                (alone.stats[0], alone.status[0]),
                "{name}: row {row}"
            );
            for slot in 0..times {
                let states = &together.ys[(slot * batch + row) * 5..][..5];
                assert_eq!(bits(states), bits(&alone.ys[slot * 5..][..5]), "{name}: row {row}, time {slot}");
            }
        }
    }
}

#[test]
fn a_trajectory_of_an_ensemble_does_not_know_its_batch() {
    for method in ADAPTIVE {
        check_alone_and_together::<f32>(method, &SaveAt::End);
        check_alone_and_together::<f64>(method, &SaveAt::Times(vec![0.0, 0.1, 0.7, 2.0]));
    }
}

#[test]
fn identical_rows_in_lockstep_are_one_row() {
    let (field, theta) = random_field(4, 7, 21);
    let row = numbers(22, 4);
    let problem = Problem::ode(field, 0.0, 2.0);
    let alone = solve::<f64>(&problem, &adaptive(Method::Tsit5, 1e-6), &theta, &row);
    for batch in [2, 3, 32, 33, 64, 70] {
        let together = solve::<f64>(&problem, &adaptive(Method::Tsit5, 1e-6), &theta, &row.repeat(batch));
        assert_eq!(together.stats, alone.stats, "batch of {batch}: costs");
        for (r, state) in together.ys.chunks_exact(4).enumerate() {
            if batch == 2 {
                // The sum of two equal numbers is exact, so that the norms agree to the bit.
                assert_eq!(bits(state), bits(&alone.ys), "batch of {batch}, row {r}");
            } else {
                close(&format!("batch of {batch}, row {r}"), state, &alone.ys, 1e-13);
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (field, theta) = random_field(6, 60, 31);
    let y0 = numbers(32, 200 * 6);
    let problem = Problem::ode(field, 0.0, 1.0);
    for layout in LAYOUTS {
        let options = adaptive(Method::Tsit5, 1e-6).layout(layout).save_at(SaveAt::Times(vec![0.3, 1.0]));
        let run = |threads: usize| {
            let mut solver = Solver::<f32>::new(&cpu(threads), &problem, &options).expect("a valid problem");
            let solution = solver.solve(&cast(&theta), &cast(&y0)).expect("a valid call");
            let gradients =
                solver.gradients(&cast(&numbers(33, solution.ys.len()))).expect("cotangents of every state");
            (bits(&solution.ys), solution.stats, bits(&gradients.theta), bits(&gradients.y0), gradients.products)
        };
        let one = run(1);
        for threads in [2, 3, 1] {
            assert!(run(threads) == one, "{layout:?}: {threads} threads and 1 differ");
        }
    }
}

#[test]
fn a_solver_keeps_nothing_of_what_it_solved_before() {
    let (field, theta) = random_field(3, 6, 41);
    let y0 = numbers(42, 2000 * 3);
    let problem = Problem::ode(field, 0.0, 1.0);
    for layout in LAYOUTS {
        let options = adaptive(Method::Tsit5, 1e-5).layout(layout);
        let run = |solver: &mut Solver<f64>, batch: usize| {
            let solution = solver.solve(&theta, &y0[..batch * 3]).expect("a valid call");
            let gradients = solver.gradients(&numbers(43, batch * 3)).expect("cotangents of every state");
            (bits(&solution.ys), solution.stats, bits(&gradients.theta), bits(&gradients.y0))
        };
        let mut used = solver::<f64>(&problem, &options);
        let spoilt: Vec<f64> = y0.iter().map(|_| f64::NAN).collect();
        used.solve(&theta, &spoilt).expect("failures have a status");
        for batch in [2000, 1, 70, 2000, 33] {
            let fresh = run(&mut solver::<f64>(&problem, &options), batch);
            assert!(run(&mut used, batch) == fresh, "{layout:?}: a used and a fresh solver differ on {batch} rows");
        }
    }
}
