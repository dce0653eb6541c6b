//! [`Job`]: what one dispatch has to do; the twin of `shaders/lib/job.wgsl`.

use bytemuck::{Pod, Zeroable};

/// What one dispatch has to do. Jobs of a plan lie one after the other in a uniform buffer, and each dispatch binds its
/// own by a dynamic offset; their size is the coarsest alignment that WebGPU may ask of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Job {
    pub(crate) rows: u32,
    pub(crate) dim: u32,
    pub(crate) per_row: u32,
    pub(crate) mode: u32,
    pub(crate) stage: u32,
    pub(crate) stages: u32,
    pub(crate) points: u32,
    pub(crate) stride: u32,
    pub(crate) inputs: u32,
    pub(crate) outputs: u32,
    pub(crate) theta: u32,
    pub(crate) flags: u32,
    pub(crate) source: u32,
    pub(crate) target: u32,
    pub(crate) target2: u32,
    pub(crate) activation: u32,
    pub(crate) t0: f32,
    pub(crate) span: f32,
    pub(crate) node: f32,
    pub(crate) atol: f32,
    pub(crate) rtol: f32,
    pub(crate) scale: f32,
    pub(crate) extra: f32,
    pub(crate) power: f32,
    pub(crate) a: [f32; 12],
    pub(crate) b: [f32; 12],
    pub(crate) u: [u32; 4],
    pub(crate) v: [f32; 4],
    pub(crate) w: [f32; 4],
    pub(crate) x: [u32; 4],
}

/// Bits of [`Job::flags`], as in the shader.
pub(crate) mod flag {
    pub(crate) const KEEP: u32 = 1;
    pub(crate) const END: u32 = 2;
    pub(crate) const STATE: u32 = 4;
    pub(crate) const CUBE: u32 = 8;
    pub(crate) const FIRST: u32 = 16;
    pub(crate) const FSAL: u32 = 32;
    pub(crate) const TIME: u32 = 64;
    pub(crate) const STAGE_OUT: u32 = 128;
    pub(crate) const RECORD: u32 = 256;
    pub(crate) const FIXED: u32 = 512;
    pub(crate) const LINEAR: u32 = 1024;
    pub(crate) const ALWAYS: u32 = 2048;
    pub(crate) const NOISE: u32 = 4096;
    pub(crate) const SECOND: u32 = 8192;
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
