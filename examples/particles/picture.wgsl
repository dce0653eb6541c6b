// Particles as streaks of light on a canvas that fades, and the canvas on the screen.

struct View {
    scale: vec2<f32>,      // From the plane to clip space.
    pixel: vec2<f32>,      // Size of a pixel in clip space.
    light: f32,            // Of one particle.
}

@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var<storage, read> before: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> after: array<vec2<f32>>;

struct Streak {
    @builtin(position) position: vec4<f32>,
    @location(0) across: f32,
    @location(1) color: vec3<f32>,
}

// From deep blue for the slow to warm white for the fast.
fn palette(speed: f32) -> vec3<f32> {
    let x = clamp(speed, 0.0, 1.0);
    let cold = mix(vec3<f32>(0.05, 0.10, 0.75), vec3<f32>(0.05, 0.65, 0.80), smoothstep(0.0, 0.4, x));
    let warm = mix(cold, vec3<f32>(0.95, 0.30, 0.45), smoothstep(0.35, 0.75, x));
    return mix(warm, vec3<f32>(1.0, 0.80, 0.40), smoothstep(0.7, 1.0, x));
}

// A strip of four corners from where the particle was to where it is.
@vertex
fn streak(@builtin(vertex_index) corner: u32, @builtin(instance_index) particle: u32) -> Streak {
    let a = before[particle] * view.scale;
    let b = after[particle] * view.scale;
    let pixels = (b - a) / view.pixel;
    let length_ = length(pixels);
    let along = select(vec2<f32>(1.0, 0.0), pixels / max(length_, 1e-6), length_ > 1e-6);
    let side = f32(corner & 1u) * 2.0 - 1.0;
    let end = f32(corner >> 1u);
    let width = 1.5;
    let offset = vec2<f32>(-along.y, along.x) * side * width + along * (end * 2.0 - 1.0) * width;
    let position = mix(a, b, end) + offset * view.pixel;
    // The same light however long the streak.
    let speed = distance(before[particle], after[particle]) / FRAME;
    let color = palette(speed / 1.4) * view.light / (1.0 + length_ / (2.0 * width));
    return Streak(vec4<f32>(position, 0.0, 1.0), side, color);
}

@fragment
fn glow(in: Streak) -> @location(0) vec4<f32> {
    let d = 1.0 - in.across * in.across;
    return vec4<f32>(in.color * d * d, 1.0);
}

@vertex
fn screen(@builtin(vertex_index) corner: u32) -> @builtin(position) vec4<f32> {
    return vec4<f32>(f32(corner & 1u) * 4.0 - 1.0, f32(corner >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

// Blended with a constant: what was drawn before fades.
@fragment
fn fade() -> @location(0) vec4<f32> {
    return vec4<f32>();
}

@group(0) @binding(3) var canvas: texture_2d<f32>;

@fragment
fn develop(@builtin(position) position: vec4<f32>) -> @location(0) vec4<f32> {
    let light = textureLoad(canvas, vec2<u32>(position.xy), 0).rgb;
    let from_middle = position.xy * view.pixel - 1.0;
    let night = vec3<f32>(0.004, 0.006, 0.016) * (1.0 - 0.35 * dot(from_middle, from_middle));
    return vec4<f32>(night + 1.0 - exp(-light), 1.0);
}
