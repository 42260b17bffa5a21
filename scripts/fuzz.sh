#!/usr/bin/env bash
# Fuzzes what reads other people's bytes, with libFuzzer and AddressSanitizer: all targets, or the ones that are named.
#
#     scripts/fuzz.sh [--seconds N] [TARGET...]
#
# Each runs for N seconds (10). It begins with the seeds in src/fuzzing/seeds and with what earlier runs have found, which
# stays in tests/fuzz/corpus; what makes one fail is left in tests/fuzz/artifacts. Needs a C++ compiler, and no cargo-fuzz.
set -euo pipefail
cd "$(dirname "$0")/../tests/fuzz"

seconds=10
targets=()
while (($#)); do
    case $1 in
        --seconds)
            seconds=$2
            shift
            ;;
        *) targets+=("$1") ;;
    esac
    shift
done
if ((${#targets[@]} == 0)); then
    for source in targets/*.rs; do
        targets+=("$(basename "$source" .rs)")
    done
fi

# Flags of a compiler that is not a nightly one are unlocked by RUSTC_BOOTSTRAP. The cfg is the one that cargo-fuzz sets.
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=16"
bins=()
for target in "${targets[@]}"; do
    bins+=(--bin "$target")
done
cargo build --release --target "$host" "${bins[@]}"

failed=()
for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" artifacts
    log=$(mktemp)
    # Leaks are not looked for: that needs ptrace, which not every machine allows.
    if ASAN_OPTIONS=detect_leaks=0 "target/$host/release/$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="artifacts/$target-" \
        "corpus/$target" "../../src/fuzzing/seeds/$target" >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
        printf '%-14s %9s runs, %5s edges\n' "$target" "$runs" "$coverage"
    else
        failed+=("$target")
        tail -40 "$log"
    fi
    rm -f "$log"
done
((${#failed[@]} == 0)) || {
    echo "failed: ${failed[*]}" >&2
    exit 1
}
