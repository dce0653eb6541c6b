// Trajectories as lines, and small squares where they should end.

struct View {
    scale: f32,      // From the plane to clip space.
    starts: u32,
    times: u32,
}

@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var<storage, read> states: array<vec2<f32>>;  // [times][starts]
@group(0) @binding(2) var<storage, read> ends: array<vec2<f32>>;    // [starts]

struct Vertex {
    @builtin(position) position: vec4<f32>,
    @location(0) color: vec3<f32>,
}

// A hue of its own for each start, lighter towards the end.
fn hue(start: u32) -> vec3<f32> {
    let angle = 6.2831853 * f32(start) / f32(view.starts);
    return 0.5 + 0.5 * cos(vec3<f32>(angle, angle - 2.1, angle - 4.2));
}

// Two vertices a segment.
@vertex
fn line(@builtin(vertex_index) vertex: u32, @builtin(instance_index) start: u32) -> Vertex {
    let time = (vertex >> 1u) + (vertex & 1u);
    let at = states[time * view.starts + start] * view.scale;
    let share = f32(time) / f32(view.times - 1u);
    return Vertex(vec4<f32>(at, 0.0, 1.0), hue(start) * mix(0.35, 1.0, share));
}

// A strip of four corners.
@vertex
fn square(@builtin(vertex_index) corner: u32, @builtin(instance_index) start: u32) -> Vertex {
    let side = vec2<f32>(f32(corner & 1u), f32(corner >> 1u)) * 2.0 - 1.0;
    return Vertex(vec4<f32>(ends[start] * view.scale + 0.011 * side, 0.0, 1.0), hue(start));
}

@fragment
fn paint(in: Vertex) -> @location(0) vec4<f32> {
    return vec4<f32>(in.color, 1.0);
}
