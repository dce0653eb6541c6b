// Save points in the order of the solve: the caller's, then a regularizer's probes. Each list is sorted, so that those of a
// step are found by halves. The kernel that uses it declares `points`, and among its arguments `points`, how many there are,
// and `user_points`, how many of them are the caller's; of which trajectories may have lists of their own.

// The first point of a list, from `first` up to `end`, that lies beyond `t`.
fn point_after(t: vec2<u32>, first: u32, end: u32) -> u32 {
    var low = first;
    var high = end;
    for (var i = 0u; i < 32u && low < high; i++) {
        let middle = low + (high - low) / 2u;
        if ticks_less(t, points[middle]) {
            high = middle;
        } else {
            low = middle + 1u;
        }
    }
    return low;
}

// The points of a stretch of time: `own` of the caller's from `first`, then up to `count` in all of the probes'.
struct Covered {
    first: u32,
    own: u32,
    probe: u32,
    count: u32,
}

fn covered_from(first: u32, end: u32, probe: u32, probe_end: u32) -> Covered {
    return Covered(first, end - first, probe, end - first + probe_end - probe);
}

// Those in a step, its start excluded and its end included.
fn points_within(row: u32, t: vec2<u32>, d: vec2<u32>) -> Covered {
    let users = min(job.args.user_points, job.args.points);
    let listed = listed_points(row);
    let end = ticks_add(t, d);
    return covered_from(
        point_after(t, listed.x, listed.y) - listed.x,
        point_after(end, listed.x, listed.y) - listed.x,
        point_after(t, users, job.args.points),
        point_after(end, users, job.args.points),
    );
}

// Those at the interval's start.
fn points_at_start(row: u32) -> Covered {
    let users = min(job.args.user_points, job.args.points);
    let listed = listed_points(row);
    let start = vec2<u32>();
    let own = point_after(start, listed.x, listed.y) - listed.x;
    return covered_from(0u, own, users, point_after(start, users, job.args.points));
}

fn covered_point(covered: Covered, n: u32) -> u32 {
    return select(covered.probe + n - covered.own, covered.first + n, n < covered.own);
}
