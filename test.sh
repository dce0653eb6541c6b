#!/usr/bin/env bash
# Runs every test of the workspace. Needs Rust alone: the native engine is the only one in this version, so no
# graphics driver is looked for.
set -euo pipefail
cd "$(dirname "$0")"
command -v cargo >/dev/null || { echo "test.sh: cargo is missing; install Rust from https://rustup.rs" >&2; exit 1; }
cargo test --workspace --locked "$@"
