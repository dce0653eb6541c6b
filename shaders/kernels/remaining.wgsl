// Says how many steps the backward walk still has to go: zero, unless fewer were recorded than were accepted.

// Nothing besides.
struct NoArgs {
    none: u32,
}

alias Args = NoArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read_write> outcome: Outcome;

var<workgroup> sh_most: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let count = select(1u, job.rows, job.per_row == 1u);
    var most = 0u;
    for (var c = lane; c < count; c += 256u) {
        most = max(most, cursors[c].step);
    }
    sh_most[lane] = most;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sh_most[lane] = max(sh_most[lane], sh_most[lane + half]);
        }
    }
    if lane == 0u {
        outcome.remaining = sh_most[0];
    }
}
