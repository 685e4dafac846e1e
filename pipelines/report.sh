#!/bin/sh
# report.sh - plots of a sweep: report.sh OUT
#
# From OUT/summary.json: KL with its intervals against coverage and against effective bits, as OUT/kl.svg and OUT/kl.png,
# and OUT/report.html, which is the first of them above the table of summary.md.  Without gnuplot there is a note and
# nothing else.
set -eu
out=$1
[ -r "$out/summary.json" ] || { echo "report: '$out/summary.json' is missing: run make sweep OUT=$out first" >&2; exit 4; }
command -v gnuplot >/dev/null || { echo "report: gnuplot is not installed: no plots" >&2; exit 0; }
jq empty "$out/summary.json" 2>/dev/null ||
    { echo "report: '$out/summary.json' is damaged: remove it and run make sweep OUT=$out again" >&2; exit 3; }
work=$(mktemp -d "$out/report.XXXXXX") || exit 4
full() { echo "report: cannot write $1 whole in '$out': is there room?" >&2; exit 4; }
trap 'rm -rf "$work"' EXIT

# coverage, bits, KL, low, high, predicted KL, unclear: a step that the samples do not tell from chance.  A logarithmic axis has
# no place for 0, which an interval may reach.
jq -r '([.points[] | .kl_answer_interval[0]? // .kl_answer | select(. > 0)] | min) as $least | .points[] | select(.kl_answer > 0) |
    [.coverage, .effective_bits, .kl_answer, ([.kl_answer_interval[0]? // .kl_answer, $least] | max),
     (.kl_answer_interval[1]? // .kl_answer), .predicted_kl // "nan", (if .step.verdict == "unclear" then 1 else 0 end)] |
    @tsv' "$out/summary.json" >"$work/points" || full points
[ -s "$work/points" ] || { echo "report: no point of '$out/summary.json' differs from the reference: no plots" >&2; exit 0; }

plot() { # plot TERMINAL FILE END: gnuplot does not say when a disk is full, so the picture must have its end
    gnuplot <<END
set terminal $1
set output '$work/$2'
set multiplot layout 1,2
set logscale y
set format y '10^{%L}'
set grid y
set key left top Left reverse
set ylabel 'KL, nats per answer token'
set offsets graph 0.03, graph 0.03, 0, 0
set xlabel 'coverage, % of layer groups'
plot '$work/points' using 1:3:4:5 with yerrorlines pt 7 ps 0.6 lc rgb '#1f5fa8' title 'measured, 95 %', \
     '' using 1:(\$7 == 1 ? \$3 : NaN) with points pt 6 ps 1.6 lc rgb '#c03030' title 'not told from the point before', \
     '' using 1:6 with lines dt 2 lc rgb '#808080' title 'predicted'
set key right top
unset ylabel
set xlabel 'effective bits per weight'
plot '$work/points' using 2:3:4:5 with yerrorlines pt 7 ps 0.6 lc rgb '#1f5fa8' notitle, \
     '' using 2:(\$7 == 1 ? \$3 : NaN) with points pt 6 ps 1.6 lc rgb '#c03030' notitle, \
     '' using 2:6 with lines dt 2 lc rgb '#808080' notitle
END
    grep -aq "$3" "$work/$2" || full "$2"
    mv "$work/$2" "$out/$2"
}
plot "svg size 1100,420 dynamic background rgb 'white'" kl.svg '</svg>'
# A gnuplot without the cairo terminals draws no PNG.
if gnuplot -e 'set terminal pngcairo' 2>"$work/talk"; then plot 'pngcairo size 1100,420' kl.png IEND; fi

{
    echo '<!DOCTYPE html><meta charset="utf-8"><title>octet sweep</title>' &&
    echo '<style>body{font:14px sans-serif;max-width:1100px;margin:2em auto}td,th{padding:2px 8px;text-align:right}</style>' &&
    sed '1,/<svg/{/<svg/!d}' "$out/kl.svg" &&
    awk -F ' *[|] *' '/^\| ---/ { next }
        /^\|/ { tag = rows++ ? "td" : "th"; if (tag == "th") print "<table>"; printf "<tr>"
                for (i = 2; i < NF; i++) printf "<%s>%s</%s>", tag, $i, tag; print "</tr>"; next }
        { if (rows && !ended++) print "</table>"; if ($0 != "") print "<p>" $0 "</p>" }' "$out/summary.md"
} >"$work/report.html" || full report.html
mv "$work/report.html" "$out/report.html"
