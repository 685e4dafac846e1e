# format.jq - numbers and rows of Markdown tables
def exp10(n): if n < 0 then 1 / exp10(-n) elif n == 0 then 1 else 10 * exp10(n - 1) end;
def fixed(n): . as $x | exp10(n) as $k | (($x * $k) | round) as $r | ($r | if . < 0 then -. else . end) as $a
    | (if $r < 0 then "-" else "" end) + (($a / $k | floor) | tostring)
    + (if n > 0 then "." + (($a % $k | tostring) as $f | ("0" * (n - ($f | length)) // "") + $f) else "" end);
def sci: if . == null then "-" elif . == 0 then "0" else
    . as $x | (if . < 0 then -. else . end) as $a | ($a | log10 | floor) as $e
    | (($x / exp10($e)) | fixed(2)) + "e" + ($e | tostring) end;
def size: if . >= 1e9 then (. / 1073741824 | fixed(2)) + " GiB" else (. / 1048576 | fixed(2)) + " MiB" end;
def row: "| " + join(" | ") + " |";
