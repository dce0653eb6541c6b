//! `fewsteps devices`: what this machine computes with.

use std::time::Instant;

use comfy_table::{ContentArrangement, Table, presets};
use fewsteps::{AdapterSummary, Cpu, Device, Pick};
use serde::Serialize;

use crate::args::DevicesArgs;
use crate::machine::Machine;
use crate::output;

/// Columns of a terminal that the table keeps to.
const WIDTH: u16 = 120;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Listing {
    native: Machine,
    adapters: Vec<Adapter>,
}

#[derive(Debug, Serialize)]
struct Adapter {
    /// What `--device gpu:N` counts.
    index: usize,
    #[serde(flatten)]
    summary: AdapterSummary,
    self_check: SelfCheck,
}

/// How a device's results compare with the native engine's.
#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
enum SelfCheck {
    /// Largest relative errors, and how long opening, compiling and checking took.
    Passed {
        states: f64,
        gradients: f64,
        seconds: f64,
    },
    Failed {
        reason: String,
    },
}

pub(crate) fn devices(args: &DevicesArgs) -> anyhow::Result<()> {
    let native = Machine::of(&Device::Cpu(Cpu::new()?));
    let adapters = Device::list().into_iter().enumerate();
    let adapters = adapters.map(|(index, summary)| Adapter { index, summary, self_check: check(index) }).collect();
    let listing = Listing { native, adapters };
    if args.json {
        return output::print(&(serde_json::to_string_pretty(&listing)? + "\n"));
    }
    output::print(&render(&listing))
}

/// Opens an adapter and checks it. One that fails is no reason not to list the others.
fn check(index: usize) -> SelfCheck {
    let start = Instant::now();
    let found = fewsteps::Gpu::open(&Pick::Index(index)).and_then(|gpu| gpu.block_on(gpu.self_check()));
    match found {
        Ok(fewsteps::SelfCheck { states, gradients, .. }) => {
            SelfCheck::Passed { states, gradients, seconds: start.elapsed().as_secs_f64() }
        }
        Err(error) => SelfCheck::Failed { reason: error.to_string() },
    }
}

fn render(listing: &Listing) -> String {
    let Listing { native, adapters } = listing;
    let mut text = format!("cpu: native engine, f32 and f64, {}, {}\n", native.engine.text(), native.model());
    if adapters.is_empty() {
        return text + "gpu: no adapter was found; a Vulkan driver (on Debian: mesa-vulkan-drivers) brings one\n";
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["--device", "adapter", "driver", "f16", "subgroups", "binding", "self-check against f64"]);
    table.add_rows(adapters.iter().map(row));
    text += &format!("{table}\n");
    text + "binding: bytes of the largest array; self-check: largest relative errors, and the time with compilation\n"
}

fn row(adapter: &Adapter) -> Vec<String> {
    let Adapter { index, summary, self_check } = adapter;
    let yes = |has: bool| if has { "yes" } else { "no" }.to_owned();
    vec![
        format!("gpu:{index}"),
        format!("{}, {}, {}", summary.name, summary.kind, summary.backend),
        summary.driver.clone(),
        yes(summary.f16),
        yes(summary.subgroups),
        format!("{} MiB", summary.max_binding >> 20),
        match self_check {
            SelfCheck::Passed { states, gradients, seconds } => {
                format!("passed: states {states:.0e}, gradients {gradients:.0e}, {:.0} ms", 1e3 * seconds)
            }
            SelfCheck::Failed { reason } => format!("failed: {reason}"),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_adapter_is_one_line() {
        let native = Machine::of(&Device::Cpu(Cpu::with_threads(1).expect("a thread")));
        let text = render(&Listing { native, adapters: Vec::new() });
        assert_eq!(text.lines().filter(|line| line.contains("no adapter")).count(), 1, "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}
