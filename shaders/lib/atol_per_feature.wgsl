// Absolute tolerances of the features' own, in place of `one_atol`. Four to a row, of which there are ATOL_ROWS: an array of
// uniforms has elements of 16 bytes, and storage bindings are all taken.

@group(0) @binding(9) var<uniform> atol_per_feature: array<vec4<f32>, ATOL_ROWS>;

fn atol_of(feature: u32) -> f32 {
    return atol_per_feature[feature / 4u][feature % 4u];
}
