//! [`Job`]: what one dispatch has to do; the twin of `shaders/lib/job.wgsl`.

use super::twins;

twins! {
    /// What one dispatch has to do. Jobs of a plan lie one after the other in a uniform buffer, and each dispatch binds its
    /// own by a dynamic offset; their size is the coarsest alignment that WebGPU may ask of one.
    Job {
        rows: u32,
        dim: u32,
        per_row: u32,
        mode: u32,
        stage: u32,
        stages: u32,
        points: u32,
        stride: u32,
        inputs: u32,
        outputs: u32,
        theta: u32,
        flags: u32,
        source: u32,
        target: u32,
        target2: u32,
        activation: u32,
        t0: f32,
        span: f32,
        node: f32,
        atol: f32,
        rtol: f32,
        scale: f32,
        extra: f32,
        power: f32,
        a: [f32; 12],
        b: [f32; 12],
        u: [u32; 4],
        v: [f32; 4],
        w: [f32; 4],
        x: [u32; 4],
    }
}

impl Job {
    pub(crate) const SIZE: u64 = size_of::<Self>() as u64;

    /// The first coefficients, rounded to `f32`.
    pub(crate) fn coefficients(list: impl IntoIterator<Item = f64>) -> [f32; 12] {
        let mut out = [0.0; 12];
        for (out, x) in out.iter_mut().zip(list) {
            #[expect(clippy::cast_possible_truncation, reason = "the device computes at f32")]
            {
                *out = x as f32;
            }
        }
        out
    }
}

const _: () = assert!(size_of::<Job>() == 256, "a job is as large as the coarsest uniform alignment");
