// How far a row has been walked back, where trajectories are walked back whole.

struct RowWalk {
    steps: u32,     // To be walked in all, and
    gone: u32,      // walked so far.
    cut: u32,       // 1 where an adapter stopped the loops of the invocation that walked it.
}
