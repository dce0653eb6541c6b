//! What a device keeps: plans bind buffers, and must not keep those alive that were given up.

use crate::oracle::{LAYOUTS, adaptive, cast, gpu, numbers, own_gpu};
use fewsteps::{
    Batch, Error, Gpu, GpuSolver, GpuTrainer, Loss, Method, Mlp, NeuralDe, Problem, SolverOptions, Target,
    TrainerConfig,
};

/// Allocations of that name on the device; none where its driver does not tell.
fn allocations(gpu: &Gpu, name: &str) -> Option<usize> {
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).expect("a device that is not lost");
    let report = gpu.device().generate_allocator_report()?;
    Some(report.allocations.iter().filter(|allocation| allocation.name == name).count())
}

#[test]
fn buffers_and_data_sets_that_were_given_up_leave_the_device() {
    let Some(gpu) = own_gpu() else { return };
    assert_eq!(gpu.traffic(), (0, 0), "each device counts its own");
    let model = NeuralDe::new(Problem::ode(Mlp::new([2, 4, 2]), 0.0, 1.0), SolverOptions::default()).encoder(3);
    let mut trainer = GpuTrainer::new(&gpu, TrainerConfig::new(model, Loss::Mse)).expect("a valid model");
    for rows in [4, 400, 4000] {
        let (inputs, targets) = (cast::<f32>(&numbers(1, rows * 3)), vec![0.0; rows * 2]);
        let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
        gpu.block_on(trainer.evaluate(&batch)).expect("a loss");
        gpu.block_on(trainer.step(&batch)).expect("a step");
        for name in ["tape", "batch inputs"] {
            assert!(allocations(&gpu, name).is_none_or(|count| count == 1), "{rows} rows: {name}");
        }
    }
    assert!(gpu.clone().traffic().0 >= 6, "a wait for each of the calls");
    for seed in 0..3 {
        let (inputs, targets) = (cast::<f32>(&numbers(seed, 50 * 3)), vec![0.0; 50 * 2]);
        let data = gpu.block_on(trainer.upload(&inputs, Target::States(&targets))).expect("a data set");
        for samples in [&[1, 2, 3][..], &[4, 5]] {
            gpu.block_on(trainer.step_on(&data, samples)).expect("a step");
        }
        assert!(allocations(&gpu, "data inputs").is_none_or(|count| count == 1), "data set {seed}");
    }
}

/// A solver that has solved and is then told to use other kernels records them anew, into buffers that they fit.
#[test]
fn a_solver_that_changes_its_kernels_solves_as_one_that_always_had_them() {
    let Some(gpu) = gpu() else { return };
    let problem = Problem::ode(Mlp::new([3, 7, 3]), 0.0, 2.0);
    let theta = cast::<f32>(&numbers(1, problem.field.parameter_count()));
    let y0 = cast::<f32>(&numbers(2, 5 * 3));
    for layout in LAYOUTS {
        let options = adaptive(Method::Tsit5, 1e-3).layout(layout);
        let solver = || GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
        let mut fresh = solver().layer_by_layer();
        let solution = gpu.block_on(fresh.solve(&theta, &y0)).expect("a solve");
        let gradients = gpu.block_on(fresh.gradients(&y0)).expect("gradients");
        let mut used = solver();
        gpu.block_on(used.solve(&theta, &y0)).expect("a solve");
        let mut used = used.layer_by_layer();
        let error = gpu.block_on(used.gradients(&y0)).expect_err("its tape went");
        assert!(matches!(error, Error::Order { call: "gradients", .. }), "{error:?}");
        assert_eq!(gpu.block_on(used.solve(&theta, &y0)).expect("a solve"), solution, "{layout:?}");
        assert_eq!(gpu.block_on(used.gradients(&y0)).expect("gradients"), gradients, "{layout:?}");
    }
}
