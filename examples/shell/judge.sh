#!/usr/bin/env bash
# Have posts judged with nothing but redis-cli (or valkey-cli) and curl, and print their outcomes.
#
#     examples/shell/judge.sh [--priority high|normal|low] ID…
#
# Settings: DEADPAN_REDIS_URL; CONSOLE_URL, where the console is; CONSOLE_TOKEN, with the scope
# verdicts:read; WAIT_SECONDS, 60 by default. Exit code 0: all ids have an outcome; 1: some do not.
set -euo pipefail

redis_url=${DEADPAN_REDIS_URL:-redis://127.0.0.1:6380/0}
console=${CONSOLE_URL:-http://127.0.0.1:8000}
: "${CONSOLE_TOKEN:?make one: deadpan moderators token NAME --purpose shell --scope verdicts:read}"

list=deadpan:posts
if [ "${1:-}" = --priority ]; then
  case ${2:-} in
    high | low) list=deadpan:posts:$2 ;;
    normal) ;;
    *) echo "error: priority '${2:-}' is unknown; use high, normal or low" >&2; exit 2 ;;
  esac
  shift 2
fi
[ $# -gt 0 ] || { echo "usage: $0 [--priority high|normal|low] ID…" >&2; exit 2; }

# [snippet: push]
client=$(command -v redis-cli || command -v valkey-cli)
"$client" -u "$redis_url" -e RPUSH "$list" "$@" > /dev/null
# [end]

# [snippet: ask]
outcome() {  # of a post id; curl exits with 22 while there is none
  curl --silent --fail --header "Authorization: Bearer $CONSOLE_TOKEN" "$console/api/v1/verdicts/$1"
}
# [end]

deadline=$((SECONDS + ${WAIT_SECONDS:-60}))
for id in "$@"; do
  until outcome "$id"; do
    [ $SECONDS -lt $deadline ] || { echo "error: post $id has no outcome yet; look at \`deadpan status\`" >&2; exit 1; }
    sleep 0.2
  done
  echo
done
