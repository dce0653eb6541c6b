//! `fewsteps devices`: what this machine computes with.

use fewsteps::Cpu;

use crate::machine::Machine;
use crate::output;

pub(crate) fn devices() -> anyhow::Result<()> {
    let machine = Machine::of(&Cpu::new()?);
    output::print(&format!(
        "cpu  {}\n     {}, {} instructions, f32 and f64\ngpu  no GPU engine in this version\n",
        machine.model(),
        machine.threads_text(),
        machine.instruction_set,
    ))
}
