// Copies numbers from one buffer to the start of another.

struct CopyArgs {
    count: u32,
}

alias Args = CopyArgs;

@group(0) @binding(1) var<storage, read> source: array<f32>;
@group(0) @binding(2) var<storage, read_write> copy: array<f32>;

fn each(i: u32) {
    if i < job.args.count {
        copy[i] = source[i];
    }
}
