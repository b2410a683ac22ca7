#!/usr/bin/env bash
# Push a post id with redis-cli or valkey-cli: `push.sh ID [TRACEPARENT]`.
set -euo pipefail
redis_url=${DEADPAN_REDIS_URL:-redis://127.0.0.1:6380/0}
# [snippet: push]
push() {  # ID [TRACEPARENT] [LIST]
  redis-cli -u "$redis_url" -e RPUSH "${3:-deadpan:posts}" "$1${2:+$'\t'$2}" > /dev/null
}
# [end]
command -v redis-cli > /dev/null || redis-cli() { valkey-cli "$@"; }
push "$@"
