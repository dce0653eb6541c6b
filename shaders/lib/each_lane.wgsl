// An invocation for each of a trajectory's LANES, which is printed. The kernel that uses it declares `cursors` and defines
// `each_lane(row, lane, cursor)`.

fn each(i: u32) {
    if i < job.rows * LANES {
        let row = i / LANES;
        each_lane(row, i % LANES, cursors[row * job.per_row]);
    }
}
