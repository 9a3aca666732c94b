#!/usr/bin/env bash
# Loads contacts.csv into Outreach once. Ends with the exit code of target-outreach, but with 0 if the
# next run only has to continue, and with 1 if only the tap failed.
set -euo pipefail
cd "$(dirname "$0")"

exec 9>sync.lock # one run at a time
flock --nonblock 9 || { echo "The last run is still at work." >&2; exit 0; }

test -s state.json || echo '{}' >state.json
set +e
python3 csv_tap.py --key id --state state.json contacts.csv |
  target-outreach --config config.json >>state.jsonl
codes=("${PIPESTATUS[@]}") # of the tap and of target-outreach
set -e
code=${codes[1]}

if test -s state.jsonl; then # the last STATE that the target passed on
  tail -n 1 state.jsonl >state.json.new
  mv state.json.new state.json
  rm state.jsonl
fi

case $code in
  0) ;;
  3) echo "Some rows were rejected. Fix them in rejects/, then run: target-outreach replay rejects/*.jsonl --config config.json" >&2 ;;
  4) echo "The run ended early; the lines above say why. The next run continues." >&2; code=0 ;;
  *) echo "The sync failed with exit code $code. The lines above say why." >&2 ;;
esac
if test "$code" = 0 && test "${codes[0]}" != 0; then
  echo "The tap failed with exit code ${codes[0]}. The lines above say why." >&2
  code=1
fi
exit "$code"
