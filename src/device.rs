//! [`Device`]: the engine that computes, and how one is chosen.

use crate::cpu::Cpu;
use crate::error::Result;
use crate::gpu::Gpu;
#[cfg(not(target_arch = "wasm32"))]
use crate::gpu::{AdapterSummary, Pick};
use crate::train::NeuralDe;

/// Multiply-adds an attempt from which a graphics card is worth its round trips.
///
/// An attempt is some tens of dispatches of several microseconds, and in those 0.3 ms a desktop processor does about 3e7
/// multiply-adds. Measured on an H100 against 16 cores: from 2^20.6 to 2^26.6, by the field (`benches/README.md`).
const WORTH_A_GPU: u64 = 1 << 25;

/// An engine that is ready to compute: [`Trainer`](crate::Trainer) and [`Solver`](crate::Solver) take the one,
/// [`GpuTrainer`](crate::GpuTrainer) and [`GpuSolver`](crate::GpuSolver) the other.
///
/// ```
/// use fewsteps::{Device, Mlp, NeuralDe, Problem, SolverOptions};
/// # fn main() -> fewsteps::Result<()> {
/// let model = NeuralDe::new(Problem::ode(Mlp::new([2, 16, 2]), 0.0, 1.0), SolverOptions::default());
/// match Device::best(&model, 32)? {
///     Device::Cpu(cpu) => println!("{} threads", cpu.threads()), // 32 trajectories of so small a field
///     Device::Gpu(gpu) => println!("{}", gpu.adapter()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub enum Device {
    /// The native engine, at `f32` and `f64`.
    Cpu(Cpu),
    /// An adapter, at `f32`.
    Gpu(Gpu),
}

impl Device {
    /// The native engine on as many threads as the machine runs at once.
    ///
    /// # Errors
    /// As [`Cpu::new`].
    pub fn cpu() -> Result<Self> {
        Cpu::new().map(Self::Cpu)
    }

    /// Multiply-adds of the field in one attempted step of `batch` trajectories. Encoder and head, which run once a
    /// solve, do not count.
    #[must_use]
    pub fn multiply_adds(model: &NeuralDe, batch: usize) -> u64 {
        let tableau = model.options.method.tableau();
        let evaluations = tableau.stages() - usize::from(tableau.fsal());
        let field = model.problem.field.program().map_or(0, |program| program.products());
        field.saturating_mul(batch as u64).saturating_mul(evaluations as u64)
    }

    /// Whether an attempt of so many multiply-adds is large enough for a graphics card: from 2^25 on, as measured
    /// on an H100 against 16 cores. Smaller cards were not measured.
    ///
    /// ```
    /// # use fewsteps::Device;
    /// assert!(!Device::suits_gpu(128 * 2 * 64 * 64 * 6)); // digits: batch 128, field 64-64-64, Tsit5
    /// assert!(Device::suits_gpu(512 * 2 * 784 * 100 * 6)); // MNIST: batch 512, field 784-100-784
    /// ```
    #[must_use]
    pub const fn suits_gpu(multiply_adds: u64) -> bool {
        multiply_adds >= WORTH_A_GPU
    }
}

/// Blocking forms, for native programs; a browser awaits [`Gpu::request`].
#[cfg(not(target_arch = "wasm32"))]
impl Device {
    /// An adapter.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub fn gpu(pick: &Pick) -> Result<Self> {
        Gpu::open(pick).map(Self::Gpu)
    }

    /// Every adapter there is, in the order of [`Pick::Index`]. The native engine is always there besides.
    #[must_use]
    pub fn list() -> Vec<AdapterSummary> {
        Gpu::list_all()
    }

    /// The engine that should be fastest for training `model` on batches of `batch` trajectories at `f32`: the fastest
    /// graphics card where there is one and [`Device::suits_gpu`] holds, otherwise the native engine.
    ///
    /// An adapter in software is never chosen, unless `WGPU_ADAPTER_NAME` names it. One line of the log, at level
    /// `info`, says what was chosen and why.
    ///
    /// # Errors
    /// As [`Cpu::new`].
    pub fn best(model: &NeuralDe, batch: usize) -> Result<Self> {
        let work = Self::multiply_adds(model, batch);
        if !Self::suits_gpu(work) {
            log::info!("native engine: {work} multiply-adds an attempt are too few for a graphics card");
            return Self::cpu();
        }
        match Gpu::open(&Pick::Fastest) {
            Ok(gpu) => {
                log::info!("{}: {work} multiply-adds an attempt suit a graphics card", gpu.adapter());
                Ok(Self::Gpu(gpu))
            }
            Err(error) => {
                log::info!("native engine, though {work} multiply-adds an attempt suit a graphics card: {error}");
                Self::cpu()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{Method, SolverOptions};
    use crate::problem::{Mlp, Problem, TimeInput};

    fn model(sizes: [usize; 3], method: Method) -> NeuralDe {
        let field = Mlp::new(sizes).time_input(TimeInput::Every);
        NeuralDe::new(Problem::ode(field, 0.0, 1.0), SolverOptions::default().method(method)).head(10)
    }

    #[test]
    fn multiply_adds_by_hand() {
        let fsal = model([3, 7, 3], Method::Tsit5);
        assert_eq!(Device::multiply_adds(&fsal, 5), 5 * 42 * 6, "the seventh stage is the next step's first");
        assert_eq!(Device::multiply_adds(&model([3, 7, 3], Method::Heun), 5), 5 * 42 * 2, "both stages");
        assert_eq!(Device::multiply_adds(&fsal, usize::MAX), u64::MAX, "saturates");
    }

    #[test]
    fn the_threshold_is_met_exactly() {
        assert!(!Device::suits_gpu(WORTH_A_GPU - 1) && Device::suits_gpu(WORTH_A_GPU), "from 2^25 on");
    }

    #[test]
    fn small_problems_stay_on_the_processor() {
        let device = Device::best(&model([2, 16, 2], Method::Tsit5), 32).expect("threads start");
        assert!(matches!(device, Device::Cpu(_)), "whatever adapters there are");
    }
}
