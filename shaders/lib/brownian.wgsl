// Brownian motion as a pure function of seed, trajectory, channel and interval: `problem::Brownian` on the device, for the
// two channels of a pair at once, which share their random words.

const LEVELS = 24u;
const CELL = 0x1000000u;
const NOISE_PURPOSE = 4u;

// Nodes from here on are draws apart from the path.
const APART = 0x80000000u;

// What a pair of channels does over an interval: how far the path goes, and its space-time Levy area.
struct Increment {
    w: vec2<f32>,
    levy: vec2<f32>,
}

// A pair of channels of one trajectory.
struct Pair {
    key: vec2<u32>,
    trajectory: u32,
    pair: u32,
    tick: f32,          // Length of a tick.
}

// A node of a cell's tree, and the ticks it covers.
struct Node {
    index: u32,
    from_: u32,
    to_: u32,
    increment: Increment,
}

struct Halves {
    first: Node,
    second: Node,
}

fn brownian_words(pair: Pair, cell: u32, node: u32) -> vec4<u32> {
    return philox4x32(vec4<u32>(cell, node, pair.trajectory, NOISE_PURPOSE | (pair.pair << 8u)), pair.key);
}

// -ln((bits + 1/2) / 2^32), from the nearer end of the unit interval.
fn minus_ln_unit(bits: u32) -> f32 {
    let upper = bits >= 0x80000000u;
    let d = (f32(select(bits, ~bits, upper)) + 0.5) * 2.3283064365386963e-10;
    if upper {
        return own_ln_1p_unit(d / (1.0 - d));
    }
    return -0.6931471805599453 * own_log2(d);
}

// Two standard normal numbers from two random words (Box and Muller); `math::Real::normal_pair` has the same formula.
fn normal_pair(radius: u32, angle: u32) -> vec2<f32> {
    let r = sqrt(2.0 * minus_ln_unit(radius));
    let quadrant = (angle + 0x20000000u) >> 30u;
    let x = f32(bitcast<i32>(angle - (quadrant << 30u))) * 1.4629180792671596e-9;
    let t = x * x;
    let sin_ = fma(x * t, fma(fma(-1.9515296e-4, t, 8.332161e-3), t, -1.6666655e-1), x);
    let cos_ = fma(t * t, fma(fma(2.4433157e-5, t, -1.3887316e-3), t, 4.1666646e-2), 1.0 - 0.5 * t);
    let turned = select(vec2<f32>(cos_, sin_), vec2<f32>(sin_, cos_), (quadrant & 1u) == 1u);
    // The cosine is negative in quadrants 1 and 2, the sine in 2 and 3.
    let negative = vec2<bool>(((quadrant + 1u) & 2u) == 2u, (quadrant & 2u) == 2u);
    return select(vec2<f32>(r), vec2<f32>(-r), negative) * turned;
}

// The first, then the second, of the two normal numbers of each channel.
fn brownian_normals(pair: Pair, cell: u32, node: u32) -> array<vec2<f32>, 2> {
    let words = brownian_words(pair, cell, node);
    let even = normal_pair(words.x, words.y);
    let odd = normal_pair(words.z, words.w);
    return array<vec2<f32>, 2>(vec2<f32>(even.x, odd.x), vec2<f32>(even.y, odd.y));
}

// Over two intervals of lengths `first` and `second`, one after the other.
fn brownian_join(a: Increment, first: f32, b: Increment, second: f32) -> Increment {
    let areas = first * a.levy + second * b.levy;
    let lever = 0.5 * (second * a.w - first * b.w);
    return Increment(a.w + b.w, (areas + lever) / (first + second));
}

// Over a length `h`, from the draw of a node: the whole cell is node 0.
fn brownian_draw(pair: Pair, cell: u32, node: u32, h: f32) -> Increment {
    let normals = brownian_normals(pair, cell, node);
    let root = sqrt(h);
    return Increment(root * normals[0], 0.28867513459481287 * root * normals[1]);
}

fn brownian_length(pair: Pair, ticks: u32) -> f32 {
    return f32(ticks) * pair.tick;
}

fn brownian_halves(pair: Pair, cell: u32, node: Node) -> Halves {
    let whole = node.increment;
    let middle = node.from_ + (node.to_ - node.from_) / 2u;
    let normals = brownian_normals(pair, cell, node.index);
    let root = sqrt(brownian_length(pair, node.to_ - node.from_));
    let z = 0.25 * root * normals[0];
    let n = 0.14433756729740643 * root * normals[1];
    let w = 0.5 * whole.w + 1.5 * whole.levy + z;
    let levy = 0.25 * whole.levy - 0.5 * z;
    return Halves(
        Node(2u * node.index, node.from_, middle, Increment(w, levy + n)),
        Node(2u * node.index + 1u, middle, node.to_, Increment(whole.w - w, levy - n)),
    );
}

// From tick `a` to the node's end.
fn brownian_suffix(pair: Pair, cell: u32, start: Node, a: u32) -> Increment {
    var node = start;
    var sum = Increment();
    var length = 0.0;
    for (var level = 0u; level < LEVELS && node.from_ != a; level++) {
        let halves = brownian_halves(pair, cell, node);
        if a >= halves.second.from_ {
            node = halves.second;
        } else {
            let whole = brownian_length(pair, halves.second.to_ - halves.second.from_);
            sum = brownian_join(halves.second.increment, whole, sum, length);
            length += whole;
            node = halves.first;
        }
    }
    return brownian_join(node.increment, brownian_length(pair, node.to_ - node.from_), sum, length);
}

// From the node's start to tick `b`.
fn brownian_prefix(pair: Pair, cell: u32, start: Node, b: u32) -> Increment {
    var node = start;
    var sum = Increment();
    var length = 0.0;
    for (var level = 0u; level < LEVELS && node.to_ != b; level++) {
        let halves = brownian_halves(pair, cell, node);
        if b <= halves.first.to_ {
            node = halves.first;
        } else {
            let whole = brownian_length(pair, halves.first.to_ - halves.first.from_);
            sum = brownian_join(sum, length, halves.first.increment, whole);
            length += whole;
            node = halves.second;
        }
    }
    return brownian_join(sum, length, node.increment, brownian_length(pair, node.to_ - node.from_));
}

// From tick `a` of a cell to its tick `b`.
fn brownian_within(pair: Pair, cell: u32, a: u32, b: u32) -> Increment {
    var node = Node(1u, 0u, CELL, brownian_draw(pair, cell, 0u, brownian_length(pair, CELL)));
    for (var level = 0u; level < LEVELS; level++) {
        if node.from_ == a && node.to_ == b {
            break;
        }
        let halves = brownian_halves(pair, cell, node);
        if b <= halves.first.to_ {
            node = halves.first;
        } else if a >= halves.second.from_ {
            node = halves.second;
        } else {
            let left = brownian_suffix(pair, cell, halves.first, a);
            let right = brownian_prefix(pair, cell, halves.second, b);
            let middle = halves.first.to_;
            return brownian_join(left, brownian_length(pair, middle - a), right, brownian_length(pair, b - middle));
        }
    }
    return node.increment;
}

// From tick `start` of the interval to its tick `end`.
fn brownian_between(pair: Pair, start: u32, end: u32) -> Increment {
    var sum = Increment();
    var length = 0.0;
    var at = start;
    for (var cell = start / CELL; cell * CELL < end; cell++) {
        let until = min(end, (cell + 1u) * CELL);
        let part = brownian_within(pair, cell, at - cell * CELL, until - cell * CELL);
        let part_length = brownian_length(pair, until - at);
        sum = brownian_join(sum, length, part, part_length);
        length += part_length;
        at = until;
    }
    return sum;
}
