# Turns what `cargo bench` printed into a Markdown table: the middle one of each three estimates. The first throughput is
# that of images where a benchmark has any, the second that of bytes.
function value(line, part) {
    sub(/^[^[]*\[/, "", line)
    sub(/\].*$/, "", line)
    split(line, part, / +/)
    return part[3] " " part[4]
}
function flush_row() {
    if (id != "") printf "| `%s` | %s | %s | %s |\n", id, time, per, bytes
    id = per = bytes = ""
}
/^Benchmarking/ { next }
/time: +\[/ {
    flush_row()
    if (!header++) print "| ID | time | per second | bytes per second |\n| --- | --- | --- | --- |"
    id = $1 == "time:" ? previous : $1
    time = value($0)
}
/thrpt: +\[/ {
    rate = value($0)
    if (rate ~ /elem/) { sub(/ *elem\/s/, "", rate); per = rate } else { sub(/\/s/, "", rate); bytes = rate }
}
{ previous = $1 }
END { flush_row() }
