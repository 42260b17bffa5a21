#!/usr/bin/env bash
# Writes the fuzzer's first inputs: the bytes that release 0.1 writes (src/handover/message.rs and announcement.rs).
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p corpus/message corpus/announcement corpus/records

number=0
while IFS= read -r bytes; do
    number=$((number + 1))
    # shellcheck disable=SC2059 # the line is a format: its escapes are the bytes
    printf "$bytes" >"corpus/message/seed-$number"
done <<'MESSAGES'
\x01\x01
\x01\x01\x01\x04\x00\x00\x00\x00\x00\x02\x01
\x01\x02\x02\x09\x00\x00\x00no config
\x01\x03
\x01\x04\x04\x08\x00\x00\x00\xe8\x03\x00\x00\x00\x00\x00\x00
\x01\x05
\x01\x05\x03\x00\x00\x00\x00
\x01\x06
\x01\x06\x80\x02\x00\x00\x00hi
\x01\x80anything
\x01\x81\x07\x08\x00\x00\x00\x02\x01\x00\x00\x00\x00\x00\x00\x08\x08\x00\x00\x00sessions
\x01\x82\x07\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x0a\x0c\x00\x00\x00\x03\x00\x00\x00\x02\x01\x00\x00\x00\x00\x00\x00
\x01\x82\x07\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x0b\x09\x00\x00\x00\x04\xe8\x03\x00\x00\x00\x00\x00\x00
MESSAGES

start='1 generation=2 predecessor=4711 pidfd=7 channel=6/3001 program=%2fsrv%2fmy%20app%2fhello directory=%2fsrv'
{
    printf '%s' "$start"
    printf '%s' ' socket=3/1001/tcp/web/127.0.0.1:0/127.0.0.1:43210/'
    printf '%s' ' socket=4/1002/unix//unix:%2frun%2f%ff/unix:%2frun%2f%ff/5'
} >corpus/announcement/seed-1
printf '%s' "$start" >corpus/announcement/seed-2
printf '%s' "$start supervisor=12 socket-options=3/4" >corpus/announcement/seed-3
printf '%s' "$start state=1 fd=9/259/70000/access%20log" >corpus/announcement/seed-4

# The length of pieces, and records of the types 23 (data), 22 (a key update) and 21 (goodbye).
printf '\x05\x17\x05hello\x16\x05\x18\x00\x00\x01\x01\x17\x01x\x15\x02\x01\x00' >corpus/records/seed-1
printf '\x40\x17\x03\x03\x00\x20garbage' >corpus/records/seed-2
