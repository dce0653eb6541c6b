// A grid of any number of workgroups, folded into two dimensions.

const GROUP = 64u;

fn flat_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.x + group.y * groups.x;
}
