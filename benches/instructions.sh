#!/usr/bin/env bash
# Instructions that one step/4096x4 and one tokens/shard take, each without and with the extended metrics, counted by
# valgrind's callgrind: the same on a busy machine, so that a change can be compared where time cannot. Valgrind knows AVX2
# and not AVX-512, so the AVX2 path is what runs. The extended step is to stay below 1.8 times the plain one.
#
#   benches/instructions.sh            the counts, beside those in benches/instructions.txt
#   benches/instructions.sh --record   writes them there
set -euo pipefail
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "expected valgrind (Debian: apt-get install valgrind)" >&2; exit 2; }
recorded=benches/instructions.txt
cargo build --quiet --release --no-default-features --example instructions

# Instructions of the whole process, for a name and a number of times.
count() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/instructions "$1" "$2" 2>&1 |
    sed -n 's/.*Collected *: *\([0-9]*\).*/\1/p'
}

found=$(for name in step/4096x4 step/4096x4-extended tokens/shard tokens/shard-sketches; do
  # What the third run adds to the first is twice one run in the steady state.
  echo "$name $((($(count "$name" 3) - $(count "$name" 1)) / 2))"
done)
if [ "${1:-}" = --record ]; then
  { rustc --version; echo "$found"; } > "$recorded"
fi
while read -r name now; do
  before=$(sed -n "s|^$name ||p" "$recorded")
  awk -v name="$name" -v now="$now" -v before="${before:-0}" \
    'BEGIN { printf "%-21s %12d instructions, %s\n", name, now, (before > 0) ? sprintf("%.3f of the %d recorded", now / before, before) : "none recorded" }'
done <<< "$found"
