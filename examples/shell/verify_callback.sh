#!/usr/bin/env bash
# Check the signature of a stored callback with openssl, as a receiver does.
#
#     examples/shell/verify_callback.sh WEBHOOK_ID WEBHOOK_TIMESTAMP WEBHOOK_SIGNATURE < BODY
#
# DEADPAN_CALLBACK_SECRET is the secret. Exit code 0: it is valid; 1: it is not. The time is not
# checked: a receiver refuses anything older than five minutes.
set -euo pipefail
# [snippet: verify]
key=$(printf %s "${DEADPAN_CALLBACK_SECRET#whsec_}" | base64 --decode | od -An -v -tx1 | tr -d ' \n')
wanted=v1,$({ printf '%s.%s.' "$1" "$2"; cat; } |
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64)
case " $3 " in *" $wanted "*) exit 0 ;; *) exit 1 ;; esac
# [end]
