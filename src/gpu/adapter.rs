//! The adapter that unit tests run on.

use std::sync::OnceLock;

use super::{Gpu, Pick};

/// A device, or none where `GPU_TESTS` is `off`, or `auto` and there is no adapter.
pub(crate) fn gpu() -> Option<Gpu> {
    static OPENED: OnceLock<Option<Gpu>> = OnceLock::new();
    OPENED.get_or_init(open).clone()
}

fn open() -> Option<Gpu> {
    let mode = std::env::var("GPU_TESTS").unwrap_or_else(|_| "require".into());
    match (mode != "off").then(|| Gpu::open(&Pick::Any))? {
        Ok(gpu) => Some(gpu.checked(true)),
        Err(error) if mode == "auto" => {
            println!("GPU_TESTS=auto: skipped, {error}");
            None
        }
        Err(error) => panic!("GPU_TESTS={mode}: {error}"),
    }
}
