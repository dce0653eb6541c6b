// An invocation for each number of the batch's states, `[B][D]`. The kernel that uses it declares `cursors` and defines
// `each_number(i, row, cursor)`: what is done at the i-th number, which is the row's.

fn each(i: u32) {
    if i < job.rows * job.dim {
        let row = i / job.dim;
        each_number(i, row, cursors[row * job.per_row]);
    }
}
