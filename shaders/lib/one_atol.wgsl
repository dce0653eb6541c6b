// The absolute tolerance, one for all features.

fn atol_of(feature: u32) -> f32 {
    return job.atol;
}
