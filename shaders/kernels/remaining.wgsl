// Says how many steps the backward walk still has to go: zero, unless fewer were recorded than were accepted.

// Nothing besides.
struct NoArgs {
    none: u32,
}

alias Args = NoArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read_write> outcome: Outcome;

const WIDE = 256u;

var<workgroup> sh_most: array<u32, WIDE>;

fn merge(a: u32, b: u32) {
    sh_most[a] = max(sh_most[a], sh_most[b]);
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var most = 0u;
    for (var c = lane; c < clock_count(); c += WIDE) {
        most = max(most, cursors[c].step);
    }
    sh_most[lane] = most;
    fold(lane, WIDE);
    if lane == 0u {
        outcome.remaining = sh_most[0];
    }
}
