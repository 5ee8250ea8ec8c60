#!/usr/bin/env bash
# Checks on a GPU that everything is right, then times it, and writes one report.
#
#   examples/gpu-check.sh [REPORT.md]
#
# It builds the tests, installs and copies nothing, and ends within five minutes of the time at which they are built. What is not right
# stands in the report, and the status is 1. On the stand-in of core/testing/cuda, which tells nothing of times, it shows that all works:
#
#   PROFILE=--profile=dev core/testing/cuda/run examples/gpu-check.sh
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
report=${1:-gpu-report.md}
profile=${PROFILE:---release}
# The same packages each time: with others, shared ones would be built again.
tests=(cargo test "$profile" -p equilibria-layers -p equilibria-fusion -p equilibria-program --features cuda)
if ! "${tests[@]}" --test cuda_operations --test cuda --test cuda_views --test cuda_counts --test device --no-run; then
    echo "the tests do not build: see docs/src/gpu.md" >&2
    exit 1
fi
deadline=$((SECONDS + 290)) status=0

# section TITLE SECONDS COMMAND..: runs a command for some seconds at most, and for no longer than is left.
section() {
    local title=$1 limit=$2 left=$((deadline - SECONDS)) begun=$SECONDS outcome
    shift 2
    [ "$limit" -lt "$left" ] || limit=$left
    printf '\n## %s\n\n```\n' "$title" >>"$report"
    if [ "$limit" -lt 1 ]; then
        outcome='no time left'
        status=1
    elif timeout "$limit" "$@" >>"$report" 2>&1; then
        outcome='done'
    else
        outcome="FAILED with status $?"
        status=1
    fi
    printf '```\n\n%s in %d s\n' "$outcome" $((SECONDS - begun)) >>"$report"
    echo "$title: $outcome"
}

{
    echo '# GPU report'
    echo
    date --utc '+%Y-%m-%d %H:%M UTC'
    git rev-parse HEAD 2>/dev/null
    rustc --version
    uname -srm
} >"$report"
section 'The GPU' 20 nvidia-smi
section 'Right: layers, solvers, strategies, training, CUDA against CPU' 120 "${tests[@]}" --test cuda
section 'Right: every operation, CUDA against CPU' 60 "${tests[@]}" --test cuda_operations
section 'Right: tensors that are permuted, broadcast or used twice' 60 "${tests[@]}" --test cuda_views
section 'Right: the program, saved runs on both devices' 120 "${tests[@]}" --test device
section 'Right: what is asked of the driver' 60 "${tests[@]}" --test cuda_counts
section 'Times' 60 "${tests[@]}" --test cuda_counts -- --ignored --nocapture times
if python3 -c 'import torch' 2>/dev/null; then
    section 'Times of PyTorch' 60 python3 examples/gpu_check.py
else
    printf '\n## Times of PyTorch\n\nnot installed\n' >>"$report"
fi
echo "report in $report"
exit $status
