#!/bin/sh
# points.sh - the coverage points of a sweep, one a line, ascending: points.sh 10..100 | 10..100:5 | 10,50,100 [ONLY]
set -eu
points() {
    echo "$1" | tr ',' '\n' | while IFS= read -r p; do
        case $p in
        *..*:*) seq "${p%%..*}" "${p##*:}" "$(echo "${p#*..}" | cut -d: -f1)" ;;
        *..*) seq "${p%%..*}" 10 "${p#*..}" ;;
        *) echo "$p" ;;
        esac
    done
}
list=$(points "$1" 2>/dev/null | sort -nu)
for p in $list; do
    case $p in
    *[!0-9]* | '') bad=1 ;;
    *) [ "$p" -ge 1 ] && [ "$p" -le 100 ] || bad=1 ;;
    esac
done
if [ -z "$list" ] || [ -n "${bad:-}" ]; then
    echo "'$1' is not a coverage such as 10..100, 10..100:5 or 10,50,100 (percent, 1 to 100)" >&2
    exit 2
fi
for p in $list; do
    case ",${2:-$p}," in *",$p,"*) echo "$p" ;; esac
done
