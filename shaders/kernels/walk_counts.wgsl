// Begins the walk of whole trajectories: how many steps each row is walked back, those it took, or none while the solve has
// yet to go on, or after it failed.

// Nothing besides.
struct NoArgs {
    none: u32,
}

alias Args = NoArgs;

@group(0) @binding(1) var<storage, read> clocks: array<Clock>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> outcome: Outcome;
@group(0) @binding(4) var<storage, read_write> walks: array<RowWalk>;

fn each(row: u32) {
    if row < job.rows {
        let is_walked = outcome.unfinished == 0u && is_alive(row_status[row]);
        walks[row] = RowWalk(select(0u, clocks[row * job.per_row].accepted, is_walked), 0u, 0u);
    }
}
