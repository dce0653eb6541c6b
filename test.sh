#!/usr/bin/env bash
# Runs every test of the workspace, those of the wgpu engine on whatever adapter there is. Where there is none and apt is
# at hand, installs software Vulkan first. GPU_TESTS=off leaves those tests out, and says so.
set -euo pipefail
cd "$(dirname "$0")"
command -v cargo >/dev/null || { echo "test.sh: cargo is missing; install Rust from https://rustup.rs" >&2; exit 1; }
export GPU_TESTS=${GPU_TESTS:-require}

# Whether a Vulkan driver is installed, where wgpu uses Vulkan.
has_adapter() {
    [ "$(uname -s)" != Linux ] && return 0
    local folder
    for folder in /usr/share/vulkan/icd.d /etc/vulkan/icd.d /usr/local/share/vulkan/icd.d; do
        compgen -G "$folder/*.json" >/dev/null && return 0
    done
    [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]
}

if [ "$GPU_TESTS" = require ] && ! has_adapter; then
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }; then
        "${as_root[@]}" apt-get update -qq
        "${as_root[@]}" apt-get install -y -qq --no-install-recommends mesa-vulkan-drivers libvulkan1
    else
        echo "test.sh: no Vulkan driver and no apt to install one: install Mesa's software Vulkan (lavapipe), or set GPU_TESTS=off" >&2
        exit 1
    fi
fi
# A driver prints this where it looks for a window system that is not there; nothing here draws to one.
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}
# Tests run side by side, each on a device of its own, and their dispatches are small: Mesa's software Vulkan computes them
# where it is called, instead of waking threads for each.
export LP_NUM_THREADS=${LP_NUM_THREADS:-0}
cargo test --workspace --locked "$@"
# All of it: the page in a browser too, where there are one and its target.
[ $# -gt 0 ] || web/test.sh
