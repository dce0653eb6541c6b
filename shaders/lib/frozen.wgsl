// Which parameters stay as they are, a bit each: the twin of `train::gpu::frozen`. The kernel that uses it declares the
// array `frozen`, and in its arguments whether there are any.

fn is_frozen(i: u32) -> bool {
    return job.args.freezes == 1u && ((frozen[i / 32u] >> (i % 32u)) & 1u) == 1u;
}
