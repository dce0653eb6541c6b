//! Run-time choice of the instruction set, so that one binary is fast on every machine it starts on.

/// Compiles a function for AVX-512, for AVX2 with FMA and for the target's baseline, and calls the widest one that
/// the processor has. The body is ordinary scalar code over slices, which the compiler turns into SIMD code.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$r:ident $(, const $n:ident: usize)*>($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "kernels take their arrays one by one")]
        $vis fn $name<$r: $crate::math::Real $(, const $n: usize)*>($($arg: $ty),*) {
            #[allow(clippy::too_many_arguments, reason = "as above")]
            #[inline(always)]
            fn body<$r: $crate::math::Real $(, const $n: usize)*>($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[allow(clippy::too_many_arguments, reason = "as above")]
                #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
                fn v4<$r: $crate::math::Real $(, const $n: usize)*>($($arg: $ty),*) {
                    body::<$r $(, $n)*>($($arg),*);
                }
                #[allow(clippy::too_many_arguments, reason = "as above")]
                #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
                fn v3<$r: $crate::math::Real $(, const $n: usize)*>($($arg: $ty),*) {
                    body::<$r $(, $n)*>($($arg),*);
                }
                match pulp::Arch::new() {
                    // SAFETY: `Arch::new` has found these features (x86-64-v4, or v3) on this processor.
                    pulp::Arch::V4(_) => return unsafe { v4::<$r $(, $n)*>($($arg),*) },
                    // SAFETY: as above.
                    pulp::Arch::V3(_) => return unsafe { v3::<$r $(, $n)*>($($arg),*) },
                    _ => {}
                }
            }

            body::<$r $(, $n)*>($($arg),*);
        }
    };
}

pub(crate) use multiversion;

/// Name of the instruction set in use, for tables and metadata.
#[must_use]
pub fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    match pulp::Arch::new() {
        pulp::Arch::V4(_) => return "avx512",
        pulp::Arch::V3(_) => return "avx2+fma",
        _ => {}
    }
    if cfg!(target_arch = "aarch64") { "neon" } else { "baseline" }
}
