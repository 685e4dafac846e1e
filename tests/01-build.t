#!/bin/bash
# 01-build.t - what the Makefile promises: help, install, uninstall; and progress on a terminal
. tests/lib.sh

for target in all check deps sweep bench install uninstall clean help; do
    make -s help | grep -q "^  $target "
    is "make help names $target" 0 $?
done

run "make -s install DESTDIR=$W/root PREFIX=/usr B=$B"
is "install ends well" 0 "$status"
is "every tool is installed" "$(basename -s .c tools/*.c | sort)" "$(find "$W/root/usr/bin" -type f -printf '%f\n' | sort)"
is "every man page is installed" "$(basename -a man/*.[157] | sort)" \
    "$(find "$W/root/usr/share/man" -type f -printf '%f\n' | sort)"
is "an installed tool runs" "rank-layers (octet)" "$("$W/root/usr/bin/rank-layers" --version | cut -d' ' -f1-2)"
run "make -s uninstall DESTDIR=$W/root PREFIX=/usr B=$B"
is "uninstall removes all of it" "0 " "$status $(find "$W/root" -type f)"

mkdir "$W/bin"
for tool in make sh git cat pkg-config; do ln -s "$(command -v $tool)" "$W/bin/$tool"; done
run "env PATH=$W/bin make -s all CUDA=1 B=$W/b"
is "CUDA=1 without nvcc is an error, not a quiet CPU build" "2 1" "$status $(grep -c 'CUDA=1, but there is no nvcc' "$W/.err")"

# Progress belongs to terminals: script(1) lends one.
cp tests/golden/tiny-describe.samples.msgpack "$W/s"
ppl="eval-ppl -m data/tiny-qwen2_5-vl --batch-tokens 200"
run "script -qec '$ppl -o $W/l.json $W/s $W/s $W/s $W/s' /dev/null"
is "on a terminal: done, total, rate and time left" 1 "$(tr '\r' '\n' <"$W/.out" | grep -cE 'evaluating [0-9]+/320 samples, [0-9.e+]+/s, ETA 0:00:[0-9]+' | sed 's/[1-9][0-9]*/1/')"
run "script -qec '$ppl -q -o $W/l2.json $W/s $W/s' /dev/null"
is "not with -q" "" "$(cat "$W/.out")"
run "$ppl -o $W/l3.json $W/s $W/s $W/s $W/s"
is "not elsewhere" "" "$(cat "$W/.out" "$W/.err")"
is "and the result is the same" "$(sha256sum <"$W/l.json")" "$(sha256sum <"$W/l3.json")"
finish
