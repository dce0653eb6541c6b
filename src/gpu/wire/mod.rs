//! What host and device say to each other: records in buffers, jobs, modes. Each is the twin of something in the shaders,
//! and the contract compares them all.

pub(crate) mod args;
pub(crate) mod head;
pub(crate) mod job;
pub(crate) mod modes;
pub(crate) mod records;

/// A number of the host's as a word of the device's. It fits: places and sizes are of bound buffers, and `Gpu::limit_below`
/// refuses one of more numbers than 32 bits address; steps of equal length, which no buffer bounds where nothing is kept,
/// `check_steps` refuses; bounds that are never reached are [`capped`]. All of that before anything is recorded.
///
/// # Panics
/// Where nobody refused, which is this crate's error: a place that is not the one that was meant would be read for it.
pub(crate) fn word(n: usize) -> u32 {
    match u32::try_from(n) {
        Ok(word) => word,
        Err(_) => unreachable!("{n} is more than a word holds, and was not refused"),
    }
}

/// A bound on what the device counts in words: beyond them it is never reached.
pub(crate) fn capped(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A struct's name, and its members with their offsets.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    pub(crate) members: &'static [(&'static str, usize)],
    pub(crate) size: usize,
}

/// Structs that lie in the device's memory as in the host's, and the list of their layouts for the contract.
macro_rules! twins {
    ($($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $member:ident: $type:ty,)* })*) => {
        $($(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(C)]
        pub(crate) struct $name { $($(#[$of])* pub(crate) $member: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                bytemuck::Zeroable::zeroed()
            }
        })*

        #[cfg(test)]
        pub(crate) const LAYOUTS: &[crate::gpu::wire::Layout] = &[$(crate::gpu::wire::Layout {
            name: stringify!($name),
            members: &[$((stringify!($member), std::mem::offset_of!($name, $member))),*],
            size: size_of::<$name>(),
        }),*];
    };
}

use twins;
