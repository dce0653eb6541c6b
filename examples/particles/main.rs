//! A neural ODE, learned from data, moves 100,000 particles that a render pass draws straight from the solver's buffer.
//!
//! ```sh
//! cargo run --release --example particles                          # a window
//! cargo run --release --example particles -- --headless frames     # PNG files, no window
//! ```
//!
//! The device is the application's. A frame is one submission: a recorded solve of all particles, then the passes that
//! draw them. Nothing is read back for a frame to be drawn.

mod flow;
mod headless;
mod picture;
mod scene;
mod window;

use std::path::PathBuf;

use anyhow::{Context, bail};

/// What the command line asks for.
#[derive(Clone, Debug)]
struct Options {
    headless: Option<PathBuf>,
    frames: usize,
    size: [u32; 2],
    particles: usize,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self { headless: None, frames: 120, size: [1280, 800], particles: 100_000 };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{name} needs a value"));
            match name.as_str() {
                "--headless" => options.headless = Some(value()?.into()),
                "--frames" => options.frames = value()?.parse().context("--frames takes a number")?,
                "--particles" => options.particles = value()?.parse().context("--particles takes a number")?,
                "--size" => {
                    let text = value()?;
                    let (width, height) = text.split_once('x').context("--size takes WIDTHxHEIGHT")?;
                    options.size = [width.parse()?, height.parse()?];
                }
                _ => bail!("{name}: the options are --headless DIR, --frames N, --size WxH, --particles N"),
            }
        }
        Ok(options)
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    match options.headless.clone() {
        Some(folder) => headless::run(&options, &folder),
        None => window::run(options),
    }
}
