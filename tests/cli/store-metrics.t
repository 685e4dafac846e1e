#!/bin/bash
# store-metrics.t - METRICS documents in a database
. tests/lib.sh
. tests/models.sh
t store-metrics-help 0 'store-metrics --help'
like 'store-metrics: a bad option' 2 'unknown or ambiguous option .*--frobnicate' 'store-metrics --frobnicate'
like 'store-metrics: no database' 2 '^store-metrics: -d DATABASE is missing$' 'store-metrics x.json'
like 'store-metrics: no such document' 4 "cannot open 'no/such.json': No such file" "store-metrics -d $W/no.db no/such.json"
like 'store-metrics: nothing on standard input' 3 'standard input' "store-metrics -d $W/no.db"
ask() { sqlite3 "$1" "$2"; }

layer-score -q -m $M --fused-ranges own $S | rank-layers >"$W/ranked.json"
for p in 10 50 100; do apply-coverage $p "$W/ranked.json" >"$W/top$p.json"; done
eval-logits -q --ref $M --scheme "$W/top10.json" --scheme "$W/top50.json" -o "$W/two.json" $S
for i in 0 1 2 3; do eval-logits -q --ref $M --scheme "$W/top100.json" --shard $i/4 -o "$W/shard$i.json" $S; done
eval-ppl -q -m $M --bits-per-byte -o "$W/ppl.json" $S

# ---- once, twice ----
run "store-metrics -d $W/r.db $W/two.json $W/ppl.json"
is 'store-metrics: the digests are printed' "$(sha256sum "$W/two.json" "$W/ppl.json" | cut -d ' ' -f 1)" "$(cat "$W/.out")"
is 'store-metrics: and what is new is said' 'store-metrics: 2 documents, 2 new' "$(cat "$W/.err")"
is 'store-metrics: twice does no harm' 'store-metrics: 3 documents, 0 new' \
    "$(store-metrics -d "$W/r.db" "$W/two.json" - "$W/ppl.json" 2>&1 >"$W/null" <"$W/two.json")"
is 'store-metrics: documents, candidates and pairs' '2|3|1' \
    "$(ask "$W/r.db" 'SELECT (SELECT count(*) FROM document), (SELECT count(*) FROM candidate), (SELECT count(*) FROM pair)')"
is 'store-metrics: figures are those of the document' \
    "$(jq -r '.candidates[] | [.name, .kl_answer, .uncertainty.kl_answer.interval[], .top1] | @csv' "$W/two.json" | tr -d '"' | awk -F, '{ printf "%s %.9g %.9g %.9g %.9g\n", $1, $2, $3, $4, $5 }')" \
    "$(ask "$W/r.db" "SELECT printf('%s %.9g %.9g %.9g %.9g', name, kl_answer, kl_answer_low, kl_answer_high, top1) FROM candidate
        WHERE kl_answer IS NOT NULL ORDER BY position")"
is 'store-metrics: what there is not is NULL' '1|1|0' \
    "$(ask "$W/r.db" "SELECT reference_digest IS NULL, kl IS NULL, bits_per_byte IS NULL FROM candidate JOIN document USING (digest) WHERE tool = 'eval-ppl'")"
is 'store-metrics: the document can be had again' "$(jq -cS . "$W/two.json")" \
    "$(ask "$W/r.db" "SELECT json FROM document WHERE tool = 'eval-logits'" | jq -cS .)"
is 'store-metrics: the pair' "$(jq -r '.pairs[0] | "\(.a)|\(.b)|\(.verdict)"' "$W/two.json")" "$(ask "$W/r.db" 'SELECT a, b, verdict FROM pair')"
is 'store-metrics: where it came from' 1 "$(ask "$W/r.db" "SELECT count(*) FROM document WHERE source = '$W/two.json'")"
is 'store-metrics: the format says what it is' '1|1868788850|wal' \
    "$(ask "$W/r.db" 'PRAGMA user_version; PRAGMA application_id; PRAGMA journal_mode' | paste -sd '|')"
is 'store-metrics: nothing is left beside it' 'r.db' "$(cd "$W" && echo r.db*)"
is 'store-metrics: the tables are those of octet-results.5' \
    "$(sed -n '/^CREATE TABLE/,/^\.Ed/p' man/octet-results.5 | grep -v '^\.Ed' | tr -d '\n;' | sed 's/CREATE/\nCREATE/g' | tr -s ' ' | sed 's/( /(/' | grep .)" \
    "$(ask "$W/r.db" "SELECT sql FROM sqlite_master WHERE type = 'table'")"

# ---- several at a time, into one that does not exist yet ----
for i in 0 1 2 3 0 1 2 3; do store-metrics -q -d "$W/many.db" "$W/shard$i.json" "$W/two.json" >>"$W/out.$i" 2>&1 & done
wait
is 'store-metrics: parallel inserts' '5|6' "$(ask "$W/many.db" 'SELECT (SELECT count(*) FROM document), (SELECT count(*) FROM candidate)')"
is 'store-metrics: of which none complains' '16' "$(cat "$W"/out.[0-3] | grep -cE '^[0-9a-f]{64}$')"
is 'store-metrics: and which leave one file' 'many.db' "$(cd "$W" && echo many.db*)"

# ---- what is refused; the database stays as it is ----
refused() { # NAME STATUS MESSAGE DOCUMENT [DB]: nothing of the call is stored
    like "store-metrics: $1" "$2" "$3" "store-metrics -q -d ${5:-$W/many.db} $W/ppl.json $4"
}
head -c 2000 "$W/two.json" >"$W/cut.json"
refused 'a truncated document' 3 'cut.json' "$W/cut.json"
refused 'a SCHEME' 3 'is not an octet-metrics document' "$W/top10.json"
jq 'del(.candidates[1].ppl)' "$W/two.json" >"$W/lacks.json"
refused 'a candidate without its figure' 3 "lacks.json.*'ppl'|ppl.*lacks.json" "$W/lacks.json"
jq '.pairs[0].kl_answer.interval = [1]' "$W/two.json" >"$W/ends.json"
refused 'an interval with one end' 3 "an 'interval' is not an array of two numbers" "$W/ends.json"
jq '.pairs[0].kl_answer.interval = [0, null]' "$W/two.json" >"$W/ends.json"
refused 'an interval with an end that is none' 3 "an 'interval' is not an array of two numbers" "$W/ends.json"
jq '.candidates[0].kl = "0"' "$W/two.json" >"$W/text.json"
refused 'a figure that is text' 3 "text.json: the key 'kl' is not a number" "$W/text.json"
jq '.pairs = {}' "$W/two.json" >"$W/text.json"
refused 'pairs that are no list' 3 "text.json: the key 'pairs' is not an array" "$W/text.json"
is 'store-metrics: of a call that fails nothing is stored' 5 "$(ask "$W/many.db" 'SELECT count(*) FROM document')"
cp "$W/r.db" "$W/newer.db" && ask "$W/newer.db" 'PRAGMA user_version = 2'
refused 'a newer database' 3 "newer.db' has version 2; this version writes up to 1" "$W/two.json" "$W/newer.db"
ask "$W/alien.db" 'CREATE TABLE t (x)'
refused 'a database of another program' 3 "alien.db' is a database of another program" "$W/two.json" "$W/alien.db"
is 'store-metrics: which is left alone' t "$(ask "$W/alien.db" "SELECT group_concat(name) FROM sqlite_master")"
cp "$W/two.json" "$W/text.db"
refused 'a file that is no database' 3 'file is not a database: give another file' "$W/two.json" "$W/text.db"
refused 'a folder that is not there' 4 "cannot open '.*nowhere/r.db': No such file or directory$" "$W/two.json" "$W/nowhere/r.db"
refused 'a folder' 4 ": Is a directory$" "$W/two.json" "$W"
cp "$W/two.json" "$W/two"$'\xff'".json"
ok 'store-metrics: a path that is not UTF-8' "store-metrics -q -d $W/bytes.db $W/two"$'\xff'".json >$W/null && sqlite3 $W/bytes.db 'SELECT source FROM document' | grep -aq \$'two\\xff'"
like 'store-metrics: digests to a full disk' 4 'No space left' "store-metrics -q -d $W/r.db $W/two.json >/dev/full"
like 'store-metrics: and a note before them' 4 'No space left' "store-metrics -d $W/r.db $W/two.json 2>&1 >/dev/full | tail -n 1 >&2"
finish
