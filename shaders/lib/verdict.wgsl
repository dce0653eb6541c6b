// What becomes of a training step: values of `outcome.skipped`; the twin of `gpu::wire::modes::Verdict`.

const UPDATED = 0u;
const SKIPPED = 1u;
const ABORTED = 2u;
const INCOMPLETE = 3u;      // The solve or the walk has yet to go on.
const NOT_WANTED = 4u;      // The gradient was wanted alone.
const CUT = 5u;             // An adapter stopped loops.
