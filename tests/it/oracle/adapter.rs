//! The adapter that tests run on.

use std::sync::OnceLock;

use fewsteps::{Gpu, Pick};

/// A device, or none where `GPU_TESTS` allows that: `require` (the default) fails without an adapter, `auto` passes over
/// the tests that need one, and says so, `off` does not look for one.
pub(crate) fn gpu() -> Option<Gpu> {
    static OPENED: OnceLock<Option<Gpu>> = OnceLock::new();
    let gpu = OPENED.get_or_init(|| {
        let mode = std::env::var("GPU_TESTS").unwrap_or_else(|_| "require".into());
        if mode == "off" {
            println!("GPU_TESTS=off: skipped");
            return None;
        }
        match Gpu::open(&Pick::Any) {
            Ok(gpu) => Some(gpu.checked(true)),
            Err(error) if mode == "auto" => {
                println!("GPU_TESTS=auto: skipped, {error}");
                None
            }
            Err(error) => panic!("GPU_TESTS={mode}: {error}"),
        }
    });
    if let Some(gpu) = gpu {
        println!("adapter: {}", gpu.adapter());
    }
    gpu.clone()
}

/// A device that no other test computes on: its memory, its traffic and its loss are the caller's own.
pub(crate) fn own_gpu() -> Option<Gpu> {
    gpu()?;
    Some(Gpu::open(&Pick::Any).expect("a second device").checked(true))
}
