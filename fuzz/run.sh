#!/usr/bin/env bash
# Runs every fuzz target, one for each core at a time: fuzz/run.sh [seconds each, default 20 | check] [target...]
#
# With seconds it looks for something new, differently each time. `check` decides whether a change may land. It begins with what
# needs no fuzzer and has the same result each time: every target over its seeds and some changes of each (fuzz/tests/seeds.rs).
# Then the fuzzer makes a fixed number of inputs from a fixed start, although it was seen to find something in one run and not in
# the next.
#
# Fails when a target finds something; the input is then under fuzz/artifacts/<target>/, and
# `cargo +nightly fuzz run <target> <input>` repeats it. A finding of another machine goes into fuzz/seeds.mjs as a seed.
# The fuzzer needs a nightly toolchain. Where there is none, `check` ends after the seeds and says so; looking for something new
# fails. cargo-fuzz is installed into target/tools where it is missing.
set -euo pipefail
shopt -s extglob
cd "$(dirname "$0")"

cargo_fuzz=0.13.2
how="${1:-20}"
shift || true
case "$how" in
  check) bounds=(-seed=1 -runs=20000) ;;
  [1-9]*([0-9])) bounds=(-max_total_time="$how") how="for $how s" ;;
  *)
    echo "usage: fuzz/run.sh [seconds each | check] [target...]" >&2
    exit 2
    ;;
esac

if [[ "$how" == check ]]; then
  printf '\n==> fuzz seeds, without a fuzzer\n'
  # In the target folder and the profile of the workspace, where half of what it needs is compiled already.
  CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$(cd .. && pwd)/target}" cargo test --quiet --locked --no-default-features
fi
if ! rustup run nightly rustc --version >/dev/null 2>&1; then
  missing="no nightly toolchain (rustup toolchain install nightly)"
  if [[ "$how" == check ]]; then
    echo "fuzz: ended after the seeds: $missing"
    exit 0
  fi
  echo "fuzz: $missing" >&2
  exit 1
fi
tools="$(cd .. && pwd)/target/tools"
export PATH="$PATH:$tools/bin"
if ! cargo fuzz --version >/dev/null 2>&1; then
  cargo install cargo-fuzz --version "$cargo_fuzz" --locked --quiet --root "$tools"
fi

if (( $# > 0 )); then
  targets=("$@")
else
  mapfile -t targets < <(cargo +nightly fuzz list --fuzz-dir .)
fi

# What the fuzzer keeps on its way goes here; the seeds stay as they were written.
found="$(mktemp -d)"
trap 'rm -rf "$found"' EXIT

cargo +nightly fuzz build --fuzz-dir .

run() {
  local target="$1" dictionary max_len
  case "$target" in
    signature | doctor) dictionary=request max_len=2048 ;;
    envelope) dictionary=json max_len=1024 ;;
    address | retry_after) dictionary="$target" max_len=256 ;;
    *) dictionary="$target" max_len=4096 ;;
  esac
  mkdir -p "$found/$target"
  cargo +nightly fuzz run --fuzz-dir . "$target" "$found/$target" "corpus/$target" -- \
    "${bounds[@]}" -max_len="$max_len" -timeout=10 -rss_limit_mb=2048 \
    -dict="dictionaries/$dictionary.dict" -print_final_stats=1 -verbosity=0
}

cores="$(getconf _NPROCESSORS_ONLN)"
declare -A started
for target in "${targets[@]}"; do
  while (( $(jobs -rp | wc -l) >= cores )); do wait -n || true; done
  run "$target" >"$found/$target.log" 2>&1 &
  started[$target]=$!
done
failed=()
for target in "${targets[@]}"; do
  wait "${started[$target]}" || failed+=("$target")
  printf '\n==> fuzz %s %s\n' "$target" "$how"
  cat "$found/$target.log"
done

if (( ${#failed[@]} > 0 )); then
  printf '\nfuzz: findings in: %s\n' "${failed[*]}" >&2
  exit 1
fi
printf '\nfuzz: %d targets, no findings\n' "${#targets[@]}"
