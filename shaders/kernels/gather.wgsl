// Copies the samples of a mini-batch from a data set on the device: `[N][held][width]` to `[times][B][width]`, with zeros at
// times that the data set has not.

struct GatherArgs {
    held: u32,
    times: u32,
    width: u32,
    first: u32,             // Where the batch's begin.
}

alias Args = GatherArgs;

@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> data: array<f32>;
@group(0) @binding(3) var<storage, read_write> batch: array<f32>;

fn each(i: u32) {
    let size = job.rows * job.args.width;
    if i >= job.args.times * size {
        return;
    }
    let time = i / size;
    let row = (i % size) / job.args.width;
    var number = 0.0;
    if time < job.args.held {
        let sample = indices[row] * job.args.held + time;
        number = data[sample * job.args.width + i % job.args.width];
    }
    batch[job.args.first + i] = number;
}
