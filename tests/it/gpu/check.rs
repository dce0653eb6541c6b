//! The device's check of itself.

use crate::oracle::gpu;

#[test]
fn the_device_agrees_with_the_native_engine() {
    let Some(gpu) = gpu() else { return };
    let found = gpu.block_on(gpu.self_check()).expect("within tolerance");
    println!("states {:.1e}, gradients {:.1e}", found.states, found.gradients);
    assert!(found.states > 0.0 && found.gradients > 0.0, "f32 against f64: exact agreement would mean no comparison");
    let begun = std::time::Instant::now();
    let again = gpu.block_on(gpu.self_check()).expect("within tolerance");
    println!("again, with compiled pipelines: {:?}", begun.elapsed());
    assert_eq!(found, again, "the same bits every time");
}
