#!/usr/bin/env bash
# Builds the page into target/page, or the folder given. Needs the target wasm32-unknown-unknown; what writes the module's bindings
# comes from the package registry.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/page}
target=wasm32-unknown-unknown
if [ ! -d "$(rustc --print target-libdir --target $target)" ]; then
    echo "build.sh: this Rust has no $target: 'rustup target add $target', or without rustup Debian's packages rustc-web, rust-web-src and lld" >&2
    exit 1
fi
# The bindings are those of one version, the one that Cargo.lock has.
version=$(grep -A1 '^name = "wasm-bindgen"$' Cargo.lock | sed -n 's/^version = "\(.*\)"$/\1/p')
tools=${CARGO_TARGET_DIR:-target}/web-tools
bindgen=${WASM_BINDGEN:-$tools/bin/wasm-bindgen}
if [ "$("$bindgen" --version 2>/dev/null)" != "wasm-bindgen $version" ]; then
    echo "build.sh: building wasm-bindgen $version" >&2
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 cargo install wasm-bindgen-cli --version "$version" --root "$tools" --quiet
    bindgen=$tools/bin/wasm-bindgen
fi
cargo build -p fewsteps-web --lib --target $target --profile web --locked
mkdir -p "$out"
"$bindgen" --target web --no-typescript --remove-name-section --remove-producers-section --out-dir "$out" --out-name fewsteps_web "${CARGO_TARGET_DIR:-target}/$target/web/fewsteps_web.wasm"
cp web/page/* cli/data/digits.csv.gz "$out"
bytes=$(find "$out" -type f -exec cat {} + | wc -c)
echo "$out: $bytes bytes; serve it, for example with 'python3 -m http.server -d $out', and open http://localhost:8000"
