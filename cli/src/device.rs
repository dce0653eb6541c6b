//! [`DeviceChoice`]: what `--device` asks for, and how it is opened.

use std::str::FromStr;

use anyhow::{Context, bail};
use fewsteps::{Cpu, Device, NeuralDe, Pick};

use crate::choice::Precision;
use crate::machine::Machine;

/// The value of `--device`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeviceChoice {
    /// A graphics card if there is one and the problem is large enough for it.
    Auto,
    /// The native engine.
    Cpu,
    /// An adapter.
    Gpu(Pick),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let index =
            |n: &str| n.parse().map_err(|_| "adapters count from gpu:0; `fewsteps devices` lists them".to_owned());
        Ok(match text.trim() {
            "" => return Err("say auto, cpu, gpu, gpu:N or a part of an adapter's name".to_owned()),
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "gpu" => Self::Gpu(Pick::Any),
            other => Self::Gpu(match other.strip_prefix("gpu:") {
                Some(n) => Pick::Index(index(n)?),
                None => Pick::Name(other.to_owned()),
            }),
        })
    }
}

impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu(Pick::Index(index)) => write!(f, "gpu:{index}"),
            Self::Gpu(Pick::Name(name)) => f.write_str(name),
            Self::Gpu(_) => f.write_str("gpu"),
        }
    }
}

impl DeviceChoice {
    /// Opens the engine, and says which and why in one line of the log, for training `model` on batches of `batch`;
    /// `threads` are the native engine's.
    pub(crate) fn open(
        &self,
        threads: Option<usize>,
        precision: Precision,
        model: &NeuralDe,
        batch: usize,
    ) -> anyhow::Result<Device> {
        let native =
            || -> fewsteps::Result<Device> { threads.map_or_else(Cpu::new, Cpu::with_threads).map(Device::Cpu) };
        let native_because = |why: &str| -> anyhow::Result<Device> {
            let device = native()?;
            log::info!("{}: {why}", Machine::of(&device).text());
            Ok(device)
        };
        match (self, precision) {
            (Self::Gpu(_), Precision::F64) => {
                bail!("--precision f64: --device {self} computes at f32; take --precision f32, or --device cpu")
            }
            (Self::Cpu, _) => native_because("--device cpu"),
            (Self::Auto, Precision::F64) => native_because("--precision f64, and adapters compute at f32"),
            (Self::Gpu(pick), Precision::F32) => {
                let device = Device::gpu(pick).with_context(|| format!("--device {self}"))?;
                warn_of_software(&device);
                Ok(device)
            }
            (Self::Auto, Precision::F32) => match (Device::best(model, batch)?, threads) {
                (Device::Cpu(_), Some(_)) => Ok(native()?),
                (device, _) => Ok(device),
            },
        }
    }
}

/// An adapter that is none is good for tests, and slower than the native engine.
fn warn_of_software(device: &Device) {
    if let Device::Gpu(gpu) = device
        && gpu.adapter().software
    {
        let name = &gpu.adapter().name;
        log::warn!("{name} is a graphics card in software; --device cpu is faster");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_printed() {
        let choices = [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("gpu", DeviceChoice::Gpu(Pick::Any)),
            ("gpu:12", DeviceChoice::Gpu(Pick::Index(12))),
            ("Radeon", DeviceChoice::Gpu(Pick::Name("Radeon".to_owned()))),
        ];
        for (text, choice) in choices {
            assert_eq!(text.parse(), Ok(choice.clone()), "{text} is read");
            assert_eq!(choice.to_string(), text, "and printed");
        }
        for (text, remedy) in [("gpu:x", "gpu:0"), ("gpu:", "gpu:0"), ("gpu:-1", "gpu:0"), (" ", "auto")] {
            let message = text.parse::<DeviceChoice>().expect_err("refused");
            assert!(message.contains(remedy), "{text}: {message}");
        }
    }
}
