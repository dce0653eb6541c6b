//! What `bench-workload` takes.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use fewsteps::Method;

use crate::device::DeviceChoice;

/// A workload of the peer comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
pub(crate) enum Workload {
    /// y' = MLP(y^3), 2-50-2 tanh, 128 trajectories, 10 save points, tolerance 1e-6, MAE
    W1,
    /// 784-100-784 with time, classifier, batch 512, tolerance 1.4e-8, cross-entropy
    W2a,
    /// as W2a, tolerance 1e-4
    W2b,
    /// W1's field as drift, diagonal noise 2-2, 100 paths, 30 save points, dt 0.01 or tolerance 1e-2, moments
    W3,
    /// 784-32, drift 32-64-32, diagonal noise 32-32, classifier, batch 512, dt 0.05 or tolerance 1e-2, cross-entropy
    W4,
    /// W1's field, 100,000 trajectories, a step per trajectory, tolerance 1e-5
    W5,
    /// A flow: 2-64-64-2 tanh with time, exact trace, 512 points, tolerance 1e-5, negative log-likelihood
    W6,
    /// A latent ODE at the shape of the 2012 challenge of physionet, 49 times of 37 features, batch 512, tolerance 1e-5, its bound
    W7,
}

impl Workload {
    /// The fixed step, or the first adaptive one, of a workload with noise.
    pub(crate) const fn dt(self) -> Option<f64> {
        match self {
            Self::W3 => Some(0.01),
            Self::W4 => Some(0.05),
            _ => None,
        }
    }
}

/// How steps are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stepping {
    /// As many equal steps
    Fixed,
    /// Within tolerance 1e-2
    Adaptive,
}

/// Tolerance of the workloads with noise, where steps are adaptive.
pub(crate) const NOISE_TOLERANCE: f64 = 1e-2;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The solve and the loss
    Forward,
    /// A training step: solve, loss, gradient, update
    Train,
}

const METHODS: [&str; 8] =
    ["heun", "bosh3", "dopri5", "tsit5", "sosri", "sriw1", "heun-stratonovich", "reversible-heun"];

/// Arguments of `fewsteps bench-workload`.
#[derive(Args, Debug)]
pub(crate) struct WorkloadArgs {
    /// Which workload
    pub(crate) workload: Workload,
    /// What is timed
    #[arg(long, value_enum, default_value = "forward")]
    pub(crate) mode: Mode,
    /// Directory with the dumped weights and inputs (manifest.json beside *.bin)
    #[arg(long, value_name = "DIR")]
    pub(crate) dump: PathBuf,
    /// Write loss and gradient of the first training step there, and the normal numbers that it draws initial states by
    ///
    /// Little-endian, `f64` the loss and the normals, `f32` the gradient; of the native engine.
    #[arg(long, value_name = "DIR")]
    pub(crate) found: Option<PathBuf>,
    /// What computes: auto, cpu, gpu, gpu:N or part of an adapter's name; see `fewsteps help bench`
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub(crate) device: DeviceChoice,
    /// Threads of the native engine
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
    /// Time for at least this long
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    pub(crate) min_seconds: f64,
    /// Time at least this many calls
    #[arg(long, default_value_t = 5)]
    pub(crate) steps: usize,
    /// Runge-Kutta method [default: tsit5; for W3 and W4 heun-stratonovich, as in the peers]
    #[arg(long, value_parser = METHODS)]
    pub(crate) method: Option<String>,
    /// Steps of W3 and W4; the others are adaptive
    #[arg(long, value_enum, default_value = "fixed")]
    pub(crate) stepping: Stepping,
    /// Add local regularization to training
    #[arg(long, value_enum)]
    pub(crate) reg: Option<PenaltyKind>,
    /// Time every kernel of the device instead, with a timestamp after each dispatch, and print the mean of a call
    #[arg(long)]
    pub(crate) profile: bool,
    /// Learning rate; tiny, so that every timed step solves the same problem
    #[arg(long, default_value_t = 1e-6)]
    pub(crate) lr: f64,
    /// Print one JSON line (the default and only form; accepted for uniformity)
    #[arg(long)]
    pub(crate) json: bool,
}

/// Local regularization as timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PenaltyKind {
    /// The library's default at a uniform time
    Unbiased,
    /// The library's default at the start of a taken step
    Biased,
    /// The paper's code, on the whole batch
    Published,
}

impl WorkloadArgs {
    /// The method, which is of the workload's kind.
    pub(crate) fn method(&self) -> Result<Method> {
        let (default, kind) = match self.workload.dt() {
            Some(_) => (Method::StratonovichHeun, &Method::SDE[..]),
            None => (Method::Tsit5, &Method::ODE[..]),
        };
        let Some(name) = &self.method else { return Ok(default) };
        kind.iter().copied().find(|method| method.tableau().name == name).with_context(|| {
            let of_kind = |name: &&&str| kind.iter().any(|method| method.tableau().name == **name);
            let names: Vec<&str> = METHODS.iter().filter(of_kind).copied().collect();
            format!("--method {name}: choose one for {:?}: {}", self.workload, names.join(", "))
        })
    }

    /// Method, layout, steps and regularizer, as the peers print them.
    pub(crate) fn method_name(&self, method: Method) -> String {
        let layout = if self.workload == Workload::W5 { "per-trajectory" } else { "joint" };
        let steps = match (self.workload.dt(), self.stepping) {
            (None, _) => String::new(),
            (Some(dt), Stepping::Fixed) => format!("/dt={dt}"),
            (Some(_), Stepping::Adaptive) => format!("/tol={NOISE_TOLERANCE}"),
        };
        let reg = self.reg.map(|reg| format!("/reg={reg:?}").to_lowercase()).unwrap_or_default();
        format!("{method}/{layout}{steps}{reg}")
    }
}
