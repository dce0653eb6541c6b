#!/usr/bin/env bash
# Correctness and times on a machine with a graphics card, which needs no Rust.
#
#   benches/gpu.sh build DIR     collects into DIR, and DIR.tar.gz, what another x86-64 Linux machine needs
#   DIR/gpu.sh run [OUT]         there: prints everything, and writes it to OUT (default ./gpu-results)
#
# A part that fails or takes too long is reported, and the rest goes on. Environment of `run`:
#   BUDGET=520           seconds for everything
#   PARTS="..."          those of: check calibrate workloads profile native solvers peers suite crossover (all, in this order)
#   COMPARE=FILE         another build of the command, timed in turn with this one
#   WGPU_ADAPTER_NAME    part of the name of the adapter to use, where there are several
#   PYTHON=python3       with numpy for the workloads, with torch or jax for the peers
#   ALLOW_SOFTWARE=1     accept a software adapter
#   QUICK=1              W1 and small crossover sizes only
# Environment of `build`: TESTS=0 leaves the tests out, which take longest; PYTHON as above, for the dump.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

# --- build ---

# Copies each executable that cargo names, without the hash in its name and the symbols, which are most of its size.
collect() {
    local file name
    while read -r file; do
        name=$(basename "$file" | sed -E 's/-[0-9a-f]{16}$//')
        cp "$file" "$1/$name"
        ! command -v strip >/dev/null || strip "$1/$name"
        echo "$1/$name"
    done < <(sed -nE 's/.*"executable":"([^"]+)".*/\1/p')
}

build() {
    local folder=$1 name loader
    mkdir -p "$folder/peers"
    folder=$(cd "$folder" && pwd)
    cd "$here/.."
    local cargo=(--release --locked --message-format=json)
    cargo build "${cargo[@]}" --bin fewsteps | collect "$folder"
    cargo build "${cargo[@]}" -p fewsteps --bench gpu | collect "$folder"
    if [ "${TESTS:-1}" = 1 ]; then
        # The library's own tests have the command's name.
        mkdir -p "$folder/tests"
        cargo test "${cargo[@]}" -p fewsteps --no-run --lib --test it | collect "$folder/tests"
    fi
    cp benches/peers/*.py benches/peers/requirements.txt "$folder/peers/"
    cp benches/gpu.sh "$folder/"
    # A driver in a container often comes without the loader.
    loader=$(ldconfig -p 2>/dev/null | sed -n 's/.*libvulkan\.so\.1.*=> //p' | head -n 1)
    [ -z "$loader" ] || { mkdir -p "$folder/lib" && cp -L "$loader" "$folder/lib/libvulkan.so.1"; }
    # The peers' problems, where numpy is at hand: the other machine may have none.
    if "${PYTHON:-python3}" -c 'import numpy' 2>/dev/null; then
        "${PYTHON:-python3}" benches/peers/common.py --dump "$folder/dump"
    else
        echo "gpu.sh: no numpy here (PYTHON=...): the workloads are dumped where they run"
    fi
    tar -C "$(dirname "$folder")" -czf "$folder.tar.gz" "$(basename "$folder")"
    du -sh "$folder" "$folder.tar.gz"
}

# --- run ---

left() { echo $((deadline - SECONDS)); }

say() { printf '\n== %s\n' "$*"; }

# part LIMIT NAME COMMAND...: runs the command for at most so many seconds, within what the budget leaves; its stdout is the
# part's own. Failures are reported on stderr.
part() {
    local limit=$1 name=$2 code=0
    shift 2
    [ "$(left)" -ge "$limit" ] || limit=$(left)
    if [ "$limit" -le 0 ]; then
        echo "SKIPPED $name: the budget is used up" | tee -a "$out/failed.txt" >&2
        return 1
    fi
    timeout -k 5 "$limit" "$@" 2>"$out/stderr.txt" || code=$?
    [ "$code" != 0 ] || return 0
    {
        [ "$code" = 124 ] && echo "FAILED $name: not done in $limit s" || echo "FAILED $name: exit status $code"
        grep -v '^ *$' "$out/stderr.txt" | tail -n 5 | sed 's/^/    /'
    } | tee -a "$out/failed.txt" >&2
    return 1
}

# row LIMIT FILE COMMAND...: a part whose last JSON line goes to OUT/FILE.json and whose time is printed.
row() {
    local limit=$1 name=$2 line
    shift 2
    line=$(part "$limit" "$name" "$@" | grep '^{' | tail -n 1) || return 0
    echo "$line" >"$out/$name.json"
    sed -E "s/.*\"ms_median\": ?([0-9.e-]+).*/$name: \1 ms/" "$out/$name.json"
}

find_driver() {
    if ! ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1' && [ -e "$here/lib/libvulkan.so.1" ]; then
        export LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
        echo "no Vulkan loader here: the one brought along is used"
    fi
    # A container may have NVIDIA's library and not the file that names it to the loader.
    local file
    for file in /usr/share/vulkan/icd.d/nvidia* /etc/vulkan/icd.d/nvidia* /usr/local/share/vulkan/icd.d/nvidia*; do
        [ ! -e "$file" ] || return 0
    done
    [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] || return 0
    for file in /usr/local/nvidia/share/vulkan/icd.d/nvidia*.json; do
        [ -e "$file" ] || continue
        export VK_DRIVER_FILES=$file
        echo "the driver's manifest is $file"
        return 0
    done
    if ldconfig -p 2>/dev/null | grep -q 'libGLX_nvidia\.so\.0'; then
        export VK_DRIVER_FILES=$out/nvidia_icd.json.txt
        echo '{"file_format_version":"1.0.0","ICD":{"library_path":"libGLX_nvidia.so.0","api_version":"1.3.0"}}' >"$VK_DRIVER_FILES"
        echo "no driver manifest here: one for libGLX_nvidia.so.0 is used"
    fi
}

# Every test of the device, each on a device of its own and as many at once as there are processors.
suite() {
    local name begun passed
    if [ ! -x "$here/tests/it" ]; then
        echo "SKIPPED the suite: not built (TESTS=0)" | tee -a "$out/failed.txt"
        return
    fi
    for name in it fewsteps; do
        begun=$SECONDS
        passed=true
        # What a test that fails says is kept, also where the rest is not done in time.
        # shellcheck disable=SC2016
        GPU_TESTS=require part 150 "$name" sh -c '"$0" gpu:: --nocapture 2>&1' "$here/tests/$name" \
            >"$out/suite_$name.txt" || passed=false
        grep -cE 'ok$' "$out/suite_$name.txt" | sed "s/^/$name, passed: /" || true
        grep -E '^test result|FAILED|panicked' "$out/suite_$name.txt" | sed "s/^/$name: /" || true
        echo "{\"test\":\"$name\",\"passed\":$passed,\"seconds\":$((SECONDS - begun))}" >>"$out/tests.json"
    done
}

# Sets `dump` to a folder with the workloads, or to nothing.
find_dump() {
    dump=$here/dump
    [ ! -e "$dump/manifest.json" ] || return 0
    dump=$out/dump
    if ! "$python" -c 'import numpy' 2>/dev/null; then
        dump=
    elif ! part 60 dump "$python" "$here/peers/common.py" --dump "$dump"; then
        dump=
    fi
    [ -n "$dump" ] || echo "SKIPPED bench-workload: no dump and no numpy to make one (PYTHON=...); the bench's own data follow" |
        tee -a "$out/failed.txt"
}

peers() {
    local package script workload mode options all
    for package in diffrax torchdiffeq torchode; do
        script=$here/peers/peer_$package.py
        all='import torch; assert torch.cuda.is_available(); import'
        [ "$package" != diffrax ] || all='import jax; jax.devices("cuda"); import equinox, optax,'
        if ! part 60 "peer $package with CUDA" "$python" -c "$all $package"; then continue; fi
        while read -r workload mode options; do
            [ "${QUICK:-0}" = 0 ] || [ "$workload" = W1 ] || continue
            [ "$(left)" -gt "$keep" ] || { echo "SKIPPED $workload $mode $package: time is kept for the crossover" | tee -a "$out/failed.txt"; continue; }
            # shellcheck disable=SC2086
            row 45 "$workload-$mode-$package" "$python" "$script" --workload "$workload" --mode "$mode" --device cuda \
                --min-seconds "$seconds" --budget 10 --threads "$threads" $options
        done < <(peer_rows "$package")
    done
}

# Workload, mode and options, those that are most telling first.
peer_rows() {
    case $1 in
    torchdiffeq) printf '%s\n' 'W2b train --grad discrete' 'W1 train --grad discrete' 'W2b forward' 'W1 forward' \
        'W5 forward' 'W5 train --grad discrete' 'W2a forward' 'W2a train --grad discrete' ;;
    torchode) printf '%s\n' 'W1 forward' 'W1 train' 'W2b forward' 'W2b train' 'W5 forward' 'W5 train' \
        'W2a forward --method dopri5' 'W2a train --method dopri5' ;;
    diffrax) printf '%s\n' 'W2b train --grad discrete --max-steps 64' 'W1 train --grad discrete' 'W4 train --noise steps' \
        'W5 forward --batching vmap' 'W3 train --noise steps' 'W2b forward' 'W1 forward' 'W4 forward' 'W3 forward' \
        'W5 train --batching vmap --grad discrete --max-steps 64' 'W4 train' 'W3 train' 'W2a forward' \
        'W2a train --grad adjoint' ;;
    esac
}

# One table of every row in OUT; the ratio is the fastest peer's warm time over the row's.
table() {
    local files=("$out"/W*.json)
    [ -e "${files[0]}" ] || return 0
    awk '
        function get(key,    at, rest) {
            at = index($0, "\"" key "\":")
            if (!at) return ""
            rest = substr($0, at + length(key) + 3)
            sub(/^ *"?/, "", rest)
            sub(/[",}].*/, "", rest)
            return rest
        }
        function number(text, format) { return text == "" || text == "null" ? "" : sprintf(format, text) }
        {
            engine = get("engine"); peer = get("peer"); device = get("device")
            what[NR] = get("workload") " " get("mode")
            # The bench draws data of its own: no peer solves the same.
            if (engine != "") what[NR] = get("workload") " " get("mode") ", own data, " get("rows") " rows"
            program[NR] = engine != "" ? engine : peer == "fewsteps" ? "fewsteps " device : peer " " device
            cold[NR] = get("first_call_ms"); warm[NR] = get("ms_median"); nfe[NR] = get("nfe")
            loss[NR] = get("value"); norm[NR] = get("grad_norm")
            if (engine == "" && peer != "fewsteps" && (!(what[NR] in best) || warm[NR] + 0 < best[what[NR]]))
                best[what[NR]] = warm[NR] + 0
        }
        END {
            print "| workload | program | nfe | cold ms | warm ms | fastest peer / this | loss | gradient norm |"
            print "|---|---|---:|---:|---:|---:|---:|---:|"
            for (i = 1; i <= NR; i++)
                printf "| %s | %s | %s | %s | %s | %s | %s | %s |\n", what[i], program[i], nfe[i], number(cold[i], "%.2f"),
                    number(warm[i], "%.3f"), what[i] in best ? sprintf("%.2f", best[what[i]] / warm[i]) : "",
                    number(loss[i], "%.6g"), number(norm[i], "%.6g")
        }' "${files[@]}"
}

# Whether a part is wanted.
wants() { [[ " $parts " == *" $1 "* ]]; }

# workload NAME MODE DEVICE LABEL EXECUTABLE [OPTION...]
workload() {
    local name=$1 mode=$2 engine=$3 label=$4 executable=$5
    shift 5
    row 30 "$name-$mode-$label-${engine/:/-}" "$executable" bench-workload "$name" --mode "$mode" --device "$engine" \
        --dump "$dump" --threads "$threads" --min-seconds "$seconds" "$@"
}

# every LABEL EXECUTABLE DEVICE: each workload, forward and training.
every() {
    local name mode
    for name in "${workloads[@]}"; do
        for mode in forward train; do
            workload "$name" "$mode" "$3" "$1" "$2"
            [ "$3" = cpu ] || [ -z "${COMPARE:-}" ] || workload "$name" "$mode" "$3" compared "$COMPARE"
        done
    done
}

# Where a call's time goes on the card.
profiles() {
    local name mode file
    for name in "${workloads[@]}"; do
        for mode in forward train; do
            file=$out/profile-$name-$mode.txt
            part 30 "profile $name $mode" "$here/fewsteps" bench-workload "$name" --mode "$mode" --device "$device" \
                --dump "$dump" --min-seconds 0.3 --profile >"$file" || continue
            # A kernel a line: name, dispatches, milliseconds.
            sed -E 's/.*"wall_ms":([0-9.e-]+),"device_ms":([0-9.e-]+).*/'"$name $mode"': wall \1 ms, kernels \2 ms/' "$file"
            grep -oE '"kernel":"[a-z_]+","dispatches":[0-9.]+,"ms":[0-9.e-]+' "$file" | head -n 8 |
                sed -E 's/"kernel":"([a-z_]+)","dispatches":([0-9.]+),"ms":([0-9.e-]+)/    \1 \2 \3/'
        done
    done
}

run() {
    deadline=$((SECONDS + ${BUDGET:-520}))
    parts=${PARTS:-check calibrate workloads profile native solvers peers suite crossover}
    python=${PYTHON:-python3}
    threads=$(nproc)
    device=gpu
    seconds=1
    keep=110
    export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}

    say "machine"
    uname -srm
    sed -n 's/^model name.*: //p' /proc/cpuinfo | sort | uniq -c
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || true
    find_driver

    say "adapter"
    local adapter
    # No workload has this name.
    adapter=$(part 30 adapter "$here/gpu" none | sed -n 's/^device //p') || true
    echo "${adapter:=none}"
    if [ "$adapter" = none ]; then
        echo "gpu.sh: no adapter: the card's Vulkan driver is missing (in a container: its graphics capability)"
        exit 1
    elif [[ $adapter == *"(software, "* ]]; then
        if [ "${ALLOW_SOFTWARE:-0}" != 1 ]; then
            echo "gpu.sh: this is no card; ALLOW_SOFTWARE=1 runs all the same"
            exit 1
        fi
        device=gpu:0
    fi

    workloads=(W1 W2b W4 W3 W5)
    local most=0
    if [ "${QUICK:-0}" != 0 ]; then
        workloads=(W1) most=128 seconds=0.2 keep=20
    fi
    find_dump

    if wants check; then
        say "self-check"
        part 60 devices "$here/fewsteps" devices | tee "$out/devices.txt" || true
    fi
    if wants calibrate; then
        say "dispatches and products"
        local rows=()
        [ "$most" = 0 ] || rows=("$most")
        part 60 calibrate "$here/gpu" calibrate "${rows[@]}" "--json=$out/calibrate.json" || true
    fi
    if [ -n "$dump" ]; then
        if wants workloads; then
            say "workloads, warm ms"
            every fewsteps "$here/fewsteps" "$device"
        fi
        if wants profile; then
            say "kernels: dispatches and ms of a call"
            profiles
        fi
        if wants native; then
            say "the native engine on $threads threads, warm ms"
            every fewsteps "$here/fewsteps" cpu
        fi
    fi
    if wants solvers; then
        say "whole trajectories and layer by layer, own data"
        part 60 "bench W1" "$here/gpu" W1 "--json=$out/W1-bench.json" || true
        if [ "${QUICK:-0}" = 0 ]; then
            part 90 "bench W5 of a million" "$here/gpu" W5 1000000 "--json=$out/W5-bench-1000000.json" || true
        fi
    fi
    if wants peers; then
        say "peers"
        peers
    fi
    if wants suite; then
        say "correctness"
        suite
    fi
    if wants crossover; then
        say "crossover"
        local sizes=()
        [ "$most" = 0 ] || sizes=("$most")
        part "$(left)" crossover "$here/gpu" crossover "${sizes[@]}" "--json=$out/crossover.json" || true
    fi

    say "table"
    table | tee "$out/table.txt"
    rm -f "$out/stderr.txt"
    say "failed or skipped"
    if [ -e "$out/failed.txt" ]; then cat "$out/failed.txt"; else echo none; fi
    echo "$((SECONDS)) s; files in $out"
}

case ${1:-} in
build)
    [ $# = 2 ] || usage
    build "$2"
    ;;
run)
    [ $# -le 2 ] || usage
    mkdir -p "${2:-gpu-results}"
    out=$(cd "${2:-gpu-results}" && pwd)
    # Those of an earlier run.
    rm -f "$out"/*.json "$out"/*.txt
    run 2>&1 | tee "$out/report.txt"
    # Some machines give few files back.
    tar -C "$out" -czf "$out.tar.gz" .
    ;;
*) usage ;;
esac
