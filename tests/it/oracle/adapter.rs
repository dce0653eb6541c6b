//! The adapter that tests run on.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use fewsteps::{Gpu, Pick};

/// Devices that no test computes on now.
static IDLE: Mutex<Vec<Gpu>> = Mutex::new(Vec::new());

thread_local! {
    static LENT: RefCell<Option<Lent>> = const { RefCell::new(None) };
}

/// A thread's device. A device has one queue, which tests side by side would wait for; the next thread's test goes on with
/// it, and with what it has compiled.
struct Lent(Gpu);

impl Drop for Lent {
    fn drop(&mut self) {
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(self.0.clone());
    }
}

/// A device, or none where `GPU_TESTS` allows that: `require` (the default) fails without an adapter, `auto` passes over
/// the tests that need one, and says so, `off` does not look for one.
pub(crate) fn gpu() -> Option<Gpu> {
    LENT.with_borrow_mut(|lent| {
        if lent.is_none() {
            let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
            *lent = idle.or_else(open).map(Lent);
            if let Some(Lent(gpu)) = lent {
                println!("adapter: {}", gpu.adapter());
            }
        }
        lent.as_ref().map(|lent| lent.0.clone())
    })
}

fn open() -> Option<Gpu> {
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
}

/// A device that no other test computes on: its memory, its traffic and its loss are the caller's own.
pub(crate) fn own_gpu() -> Option<Gpu> {
    gpu()?;
    Some(Gpu::open(&Pick::Any).expect("a second device").checked(true))
}
