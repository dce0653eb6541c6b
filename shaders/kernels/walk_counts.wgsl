// How many steps each row is walked back: those it took, or none while the solve has yet to go on, or after it failed.
// Beside it, how many it has been walked.

// Nothing besides.
struct NoArgs {
    none: u32,
}

alias Args = NoArgs;

@group(0) @binding(1) var<storage, read> clocks: array<Clock>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> outcome: Outcome;
@group(0) @binding(4) var<storage, read_write> counts: array<vec2<f32>>;

fn each(row: u32) {
    if row < job.rows {
        let walks = outcome.unfinished == 0u && is_alive(row_status[row]);
        counts[row] = vec2<f32>(select(0.0, f32(clocks[row * job.per_row].accepted), walks), 0.0);
    }
}
