# The table of scripts/bench's load, with the modes `new` and `keep`, as one row: -v name=PROGRAM. Its columns are apart by
# bars: how many and failed, why, connections that ended. Exit status 1 if nothing was asked.
function last(text, from_end,   words) { return words[split(text, words, " ") - from_end] }
BEGIN { FS = "|" }
/^new/ { requests += last($1, 1); new = last($1, 0) }
/^keep/ { requests += last($1, 1); kept = last($1, 0); split($3, ends, " "); again = ends[1] + ends[2] }
END {
    if (requests == 0) exit 1
    printf "| %-21s | %8d | %6d | %6d / %-10d |\n", name, requests, new, kept, again
}
