# lib.sh - TAP from shell, sourced by tests/*.t and tests/cli/*.t; runs from the repository root
#
#   t NAME STATUS 'CMD'    status, stdout and stderr must equal; expected text is tests/golden/cli/NAME.{out,err}, no file:
#                          empty.  UPDATE=1 writes those files and is their only writer.
#   like NAME STATUS REGEX 'CMD'   status must equal, nothing on stdout, stderr must be one line that matches REGEX
#   is NAME WANT GOT       two strings are equal
#   ok NAME 'CMD'          the command succeeds, silently
#   skip NAME REASON       counted, printed; CI holds the list of allowed skips
#   sanitized              whether this is a build with the address sanitizer, in which arithmetic takes fifty times as long:
#                          what compares numbers alone, of code that runs elsewhere on less, is skipped there
#   finish                 the plan; exits 1 when a test failed or none ran
#
# $W is a scratch directory of this script, removed at its end.  The tools are first on PATH.
set -u
# Threads that wait must not spin: tests run side by side.
export LC_ALL=C OMP_WAIT_POLICY=passive
B=${B:-build}
export B
PATH=$(cd "$B" && pwd)/tools:$PATH
export PATH
W=$(mktemp -d "${TMPDIR:-/tmp}/octet-test.XXXXXX") || exit 1
export W
trap 'rm -rf "$W"' EXIT
n=0
failed=0

report() { # report OK NAME: one TAP line; why it failed, $W/.why, goes to standard error, which prove shows
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        failed=$((failed + 1))
        echo "not ok $n - $2"
        { echo "Failed test '$2'" && cat "$W/.why"; } | sed 's/^/#   /' >&2
    fi
}

run() { # run CMD: leaves $W/.out, $W/.err and $status
    bash -o pipefail -c "$1" >"$W/.out" 2>"$W/.err" </dev/null
    status=$?
    sed -i "s#$W#\$W#g" "$W/.err"
    grep -aq . "$W/.out" && sed -i "s#$W#\$W#g" "$W/.out"
    : >"$W/.why"
}

expect_status() {
    [ "$status" = "$1" ] || { echo "status $status, expected $1" >>"$W/.why"; head -n 20 "$W/.err" >>"$W/.why"; }
}

t() {
    run "$3"
    expect_status "$2"
    for s in out err; do
        golden=tests/golden/cli/$1.$s
        if [ -n "${UPDATE:-}" ]; then
            mkdir -p tests/golden/cli
            if [ -s "$W/.$s" ]; then cp "$W/.$s" "$golden"; else rm -f "$golden"; fi
        fi
        [ -e "$golden" ] || golden=/dev/null
        cmp -s "$golden" "$W/.$s" || diff -a -u "$golden" "$W/.$s" | head -n 40 >>"$W/.why"
    done
    [ ! -s "$W/.why" ]
    report $? "$1"
}

like() {
    run "$4"
    expect_status "$2"
    [ ! -s "$W/.out" ] || { echo "unexpected standard output:"; head -c 300 "$W/.out"; } >>"$W/.why"
    { [ "$(wc -l <"$W/.err")" = 1 ] && grep -Eq -- "$3" "$W/.err"; } ||
        { echo "standard error is not one line like $3:"; head -n 8 "$W/.err"; } >>"$W/.why"
    [ ! -s "$W/.why" ]
    report $? "$1"
}

is() {
    [ "$2" = "$3" ] || { echo "expected: $2"; echo "     got: $3"; } >"$W/.why"
    [ "$2" = "$3" ]
    report $? "$1"
}

ok() {
    run "$2"
    expect_status 0
    cat "$W/.out" "$W/.err" | head -n 20 >>"$W/.why"
    [ ! -s "$W/.why" ]
    report $? "$1"
}

skip() {
    n=$((n + 1))
    echo "ok $n - $1 # SKIP $2"
}

sanitized() {
    grep -aq __asan_init "$B/tools/eval-ppl"
}

finish() {
    echo "1..$n"
    [ "$failed" = 0 ] && [ "$n" -gt 0 ]
    exit
}
