// An invocation for each of any number of things. The kernel that uses it defines `each(i)`, which does nothing where there is
// no i-th.

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    each(flat_group(group, groups) * GROUP + lane);
}
