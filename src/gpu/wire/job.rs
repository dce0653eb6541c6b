//! [`Job`]: what one dispatch has to do: a [`Head`] that every kernel reads, and the arguments of its own.

use std::mem::offset_of;

use super::args::Args;
use super::args::parts::Controller;
use super::head::Head;

/// What one dispatch has to do. Jobs of a plan lie one after the other in a uniform buffer, and each dispatch binds its
/// own by a dynamic offset; their size is the coarsest alignment that WebGPU may ask of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Job([u8; 256]);

impl Job {
    pub(crate) const SIZE: u64 = size_of::<Self>() as u64;

    pub(crate) fn new(head: &Head, args: &impl Args) -> Self {
        let mut bytes = [0; 256];
        let (front, back) = bytes.split_at_mut(size_of::<Head>());
        front.copy_from_slice(bytemuck::bytes_of(head));
        let args = bytemuck::bytes_of(args);
        back[..args.len()].copy_from_slice(args);
        Self(bytes)
    }

    /// Another length of the interval; where the arguments are [controlled](Args::CONTROLLED), what the controller knows then.
    pub(crate) fn set_interval(&mut self, span: f32, control: Option<impl Fn(Controller) -> Controller>) {
        let (front, back) = self.0.split_at_mut(size_of::<Head>());
        front[offset_of!(Head, span)..][..size_of::<f32>()].copy_from_slice(bytemuck::bytes_of(&span));
        if let Some(control) = control {
            let place = &mut back[..size_of::<Controller>()];
            let changed = control(bytemuck::pod_read_unaligned(place));
            place.copy_from_slice(bytemuck::bytes_of(&changed));
        }
    }
}

/// The first coefficients, rounded to `f32`.
pub(crate) fn coefficients<const N: usize>(list: impl IntoIterator<Item = f64>) -> [f32; N] {
    let mut out = [0.0; N];
    for (out, x) in out.iter_mut().zip(list) {
        #[expect(clippy::cast_possible_truncation, reason = "the device computes at f32")]
        {
            *out = x as f32;
        }
    }
    out
}
