// Copies columns of one matrix, a row a trajectory, to columns of another: hidden states and observations of series to where
// a cell reads them, and their cotangents back. A stride of 0 gives all trajectories the same row.

struct ColumnsArgs {
    source: u32,            // Where the first row's columns begin, and how far it is to the next row's.
    source_stride: u32,
    target_: u32,
    target_stride: u32,
    count: u32,
}

alias Args = ColumnsArgs;

@group(0) @binding(1) var<storage, read> matrix: array<f32>;
@group(0) @binding(2) var<storage, read_write> columns: array<f32>;

fn each(i: u32) {
    if i < job.rows * job.args.count {
        let row = i / job.args.count;
        let column = i % job.args.count;
        columns[job.args.target_ + row * job.args.target_stride + column] =
            matrix[job.args.source + row * job.args.source_stride + column];
    }
}
