// Sums over a row's features of what the kernel that uses it defines as `terms(at, size, cursor)`. That kernel declares
// `cursors` and `norms`, `rests(cursor)`: which rows have no sum, and `kept(sums)`: what is kept of a row's.

// Lanes that share a row: 1 for narrow states, the workgroup for wide ones.
override LANES: u32 = 1u;

const WIDE = GROUP;

alias Summand = vec4<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = flat_group(group, groups) * (GROUP / LANES) + lane / LANES;
    let within = lane % LANES;
    var sum = vec4<f32>();
    if row < job.rows {
        let cursor = cursors[row * job.per_row];
        if !rests(cursor) {
            for (var d = within; d < job.dim; d += LANES) {
                sum += terms(row * job.dim + d, job.rows * job.dim, cursor);
            }
        }
    }
    if LANES > 1u {
        sh_sums[lane] = sum;
        fold(lane, LANES);
        sum = sh_sums[lane];
    }
    if row < job.rows && within == 0u {
        norms[row] = kept(sum);
    }
}
