#!/bin/bash
# 00-man.t - man pages say what the tools do: options, version, sections, references; their examples run
. tests/lib.sh

root=$PWD
# What SEE ALSO may name beside this suite's own pages.
outside=" jq(1) make(1) od(1) sha256sum(1) sqlite3(1) srun(1) wc(1) "

# Options as --help lists them: "-m --model" or "--kv", sorted.
of_help() {
    "$1" --help | sed -nE 's/^  (-[A-Za-z0-9]), (--[a-z0-9-]+).*/\1 \2/p; s/^      (--[a-z0-9-]+).*/\1/p' | sort
}

# What the Fl macros of a page's lines name: one option a line, items of a list on one line.
# flags items: list items only; flags uses: every use, -ab as -a and -b.
flags() {
    awk -v items="$1" '
        function flag(word,   i) {
            gsub(/\\-/, "-", word); gsub(/\\&/, "", word); sub(/=.*/, "", word)
            if (word ~ /^-/) found = found " -" word
            else if (items == "items") found = found " -" word
            else for (i = 1; i <= length(word); i++) found = found " -" substr(word, i, 1)
        }
        /^\.\\"/ || !/^\./ { next }
        items == "items" && $1 != ".It" { next }
        {
            on = 0; found = ""
            for (i = 1; i <= NF; i++) {
                if ($i == "Fl" || $i == ".Fl") on = 1
                else if ($i ~ /^[A-Z][a-z]$/ || $i ~ /^[][(),.;:|?!]+$/) on = 0
                else if (on) flag($i)
            }
            if (found == "") next
            if (items == "items") print substr(found, 2)
            else { n = split(substr(found, 2), word, " "); for (i = 1; i <= n; i++) print word[i] }
        }' "$2" | sort -u
}

for c in tools/*.c; do of_help "$(basename "$c" .c)"; done | tr ' ' '\n' | sort -u >"$W/any"

for c in tools/*.c; do
    tool=$(basename "$c" .c)
    page=man/$tool.1
    ok "$tool: it has a page" "test -f $page"
    of_help "$tool" >"$W/help"
    is "$tool: -h is --help" "$("$tool" --help 2>&1)" "$("$tool" -h 2>&1)"
    is "$tool: --version names the tool and the suite" "$tool (octet) " \
        "$("$tool" --version | grep -oE '^[a-z0-9-]+ \(octet\) ')"
    is "$tool: -V is --version" "$("$tool" --version)" "$("$tool" -V)"
    is "$tool: it has -q, -h and -V" '-V --version -h --help -q --quiet ' \
        "$(grep -E '^-[Vhq] --(version|help|quiet)$' "$W/help" | tr '\n' ' ')"
    [ -f "$page" ] || continue
    is "$tool: options of the page are options of --help" "$(cat "$W/help")" "$(flags items "$page")"
    is "$tool: the page mentions no option that no tool has" '' "$(flags uses "$page" | comm -23 - "$W/any")"
    sed -n '/^\.Sh SYNOPSIS/,/^\.Sh DESCRIPTION/p' "$page" >"$W/synopsis"
    is "$tool: options of the synopsis are options of --help" '' \
        "$(flags uses "$W/synopsis" | comm -23 - <(tr ' ' '\n' <"$W/help" | sort))"
    is "$tool: its sections" 'NAME SYNOPSIS DESCRIPTION EXIT STATUS EXAMPLES SEE ALSO ' \
        "$(sed -nE 's/^\.Sh ((NAME|SYNOPSIS|DESCRIPTION|EXIT STATUS|EXAMPLES|SEE ALSO)$)/\1/p' "$page" | tr '\n' ' ')"
done

for page in man/*.[157]; do
    name=${page##*/}
    is "$name: title and name are the file's" "${name%.*} ${name##*.} ${name%.*}" \
        "$(awk '$1 == ".Dt" { printf "%s %s ", tolower($2), $3 } $1 == ".Nm" { print $2; exit }' "$page")"
    ok "$name: its page is for a tool that exists" "[ ${name##*.} != 1 ] || [ -f tools/${name%.*}.c ]"
    is "$name: mandoc finds nothing" '' "$(mandoc -Tlint -Wwarning "$page" 2>&1)"
    is "$name: the pages that it names exist" '' \
        "$(sed -nE 's/.*Xr ([a-zA-Z0-9_.-]+) ([0-9]).*/\1 \2/p' "$page" | sort -u | while read -r xr section; do
            [ -f "man/$xr.$section" ] || [[ $outside == *" $xr($section) "* ]] || echo "$xr($section)"
        done)"
done

# Commands of a rendered page's EXAMPLES: what follows "$ ", and the lines that a backslash or a pipe at the end of one
# leads on to.
examples() {
    mandoc -Tascii -O width=1000 "$1" | col -bx | awk '
        /^[A-Z]/ { on = $0 == "EXAMPLES"; next }
        on && (more || /^ +\$ /) { sub(/^ +(\$ )?/, ""); more = /[\\|]$/; printf "%s%s", $0, more ? "\n" : "\n\f\n" }'
}

# "$ command  # exit status 3" states the status.  141 is a pipe whose reader had enough, "... | head".
for page in man/*.[157]; do
    name=${page##*/}
    dir=$W/$name
    mkdir "$dir" && ln -s "$root/data" "$dir/data"
    examples "$page" >"$W/commands"
    [[ $name != *.1 ]] || ok "$name: it has examples" "grep -q . '$W/commands'"
    while IFS= read -r -d $'\f' command; do
        command=${command#$'\n'}
        want=$(grep -oE '# exit status [0-4]$' <<<"${command%$'\n'}" | tail -c 2)
        (cd "$dir" && bash -o pipefail -c "$command" >"$W/.out" 2>"$W/.why" </dev/null)
        status=$?
        [ "$status" = 141 ] && status=0
        [ "$status" = "${want:-0}" ] || echo "status $status, expected ${want:-0}" >>"$W/.why"
        [ "$status" = "${want:-0}" ]
        report $? "$name: \$ $(head -n 1 <<<"$command")"
    done <"$W/commands"
done
ok 'examples left the data alone' 'test -z "$(git status --porcelain data 2>&1 | head -n 5)" || ! test -e .git'
finish
