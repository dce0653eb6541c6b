//! What the first training step of a workload finds, as files beside the peers' dump.

use std::path::Path;

use anyhow::{Result, ensure};
use fewsteps::{Cpu, Trainer};

use super::problem::Prepared;
use crate::args::{Mode, WorkloadArgs};
use crate::files;

/// Writes loss and gradient of the first training step, and the normal numbers that initial states are drawn by.
pub(super) fn write(folder: &Path, args: &WorkloadArgs, cpu: &Cpu, prepared: &Prepared) -> Result<()> {
    ensure!(args.mode == Mode::Train, "--found: only a training step has a gradient; add --mode train");
    let config = prepared.config.clone();
    let normals = config.initial_normals(0, if config.model.latent { prepared.batch() } else { 0 });
    let mut trainer = Trainer::<f32>::new(cpu, config)?;
    trainer.set_parameters(&prepared.theta)?;
    let found = trainer.gradients(&prepared.as_batch())?;
    let doubles = |numbers: &[f64]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let gradient: Vec<u8> = found.gradient.iter().flat_map(|x| x.to_le_bytes()).collect();
    let arrays = [("loss", doubles(&[found.report.loss])), ("normals", doubles(&normals)), ("gradient", gradient)];
    for (name, bytes) in arrays {
        files::write(&folder.join(format!("{:?}_found_{name}.bin", args.workload)), &bytes)?;
    }
    Ok(())
}
