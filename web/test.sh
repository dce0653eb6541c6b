#!/usr/bin/env bash
# Builds the page and tests it in a browser without a window. Where there is no Chromium or no target, says so and leaves it out;
# WEB_TESTS=require makes that an error.
set -euo pipefail
cd "$(dirname "$0")/.."
missing=""
browser=${WEB_BROWSER:-}
for name in chromium chromium-browser google-chrome; do
    [ -n "$browser" ] || browser=$(command -v $name || true)
done
[ -n "$browser" ] || missing="Chromium (Debian's package chromium)"
[ -d "$(rustc --print target-libdir --target wasm32-unknown-unknown)" ] || missing="${missing:+$missing and }the target wasm32-unknown-unknown"
if [ -n "$missing" ]; then
    echo "web/test.sh: the page is not tested: there is no $missing" >&2
    [ "${WEB_TESTS:-}" != require ]
    exit
fi
page=${CARGO_TARGET_DIR:-target}/page
web/build.sh "$page"
WEB_BROWSER=$browser WEB_PAGE=$(realpath "$page") cargo test -p fewsteps-web --locked -- --ignored --nocapture
