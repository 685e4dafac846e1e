#!/bin/bash
# 00-layout.t - which way the arrows point, who may print or exit, and what every source file looks like
. tests/lib.sh

mapfile -t c_files < <(find common kernels tools tests -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' | sort)
mapfile -t scripts < <(find common kernels tests data/make pipelines man -type f \
    \( -name '*.py' -o -name '*.sh' -o -name '*.t' -o -name '*.mk' -o -name '*.jq' -o -name '*.gp' \
    -o -name '*.[157]' \) 2>/dev/null | grep -v '^tests/golden/modelopt-tiny/exports' | sort)
[ "${#c_files[@]}" -gt 100 ] || { echo "Bail out! not run from the repository root"; exit 1; }

# ---- arrows: "FILE HEADER" for every #include "..." and every #include <...> ----
grep -HoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"[^"]+"' "${c_files[@]}" |
    sed -E 's/^([^:]*):.*"([^"]+)"$/\1 \2/' >"$W/own"
grep -HoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*<[^>]+>' "${c_files[@]}" |
    sed -E 's/^([^:]*):.*<([^>]+)>$/\1 <\2>/' >"$W/system"

# arrows NAME FROM TO: files that match FROM include nothing of ours but what matches TO
arrows() {
    is "$1" '' "$(awk -v from="^($2)" -v to="^($3)" '$1 ~ from && $2 !~ to { print $1 " includes " $2 }' "$W/own")"
}
arrows 'base stands alone' 'common/base/' 'common/base/|version\.h$'
arrows 'text stands on base' 'common/text/' 'common/(base|text)/'
arrows 'image stands on base' 'common/image/' 'common/(base|image)/'
arrows 'io stands on base' 'common/io/' 'common/(base|io)/'
arrows 'quant stands on io and base' 'common/quant/' 'common/(base|io|quant)/'
arrows 'model stands on quant, io, text, image, base and the contract of the backends' 'common/model/' \
    'common/(base|io|text|image|quant|model)/|kernels/backend\.h$'
arrows 'kernels stand on base' 'kernels/' 'common/base/|kernels/'
arrows 'the choice of a backend sees the contract only' 'kernels/[^/]*$' 'common/base/|kernels/[^/]*$'
arrows 'the CPU backend knows no other' 'kernels/cpu/' 'common/base/|kernels/([^/]*$|cpu/)'
arrows 'the plain backend knows itself and the CPU backend' 'kernels/plain/' 'common/base/|kernels/([^/]*$|cpu/cpu\.h$|plain/)'
arrows 'the CUDA backend knows no other' 'kernels/cuda/' 'common/base/|kernels/([^/]*$|cuda/)'
arrows 'tools stand on common and kernels' 'tools/' 'common/|kernels/'
is 'every include is written from the root and exists' '' \
    "$(while read -r file header; do
        [ "$header" = version.h ] || [ -f "$header" ] || echo "$file includes $header"
    done <"$W/own")"

# ---- libraries: what is not in this list of folders is libc's ----
libc='(assert|ctype|dirent|errno|fcntl|fenv|fnmatch|float|ftw|getopt|inttypes|libgen|limits|locale|math|pthread|setjmp|signal'
libc+='|stdarg|stdbool|stddef|stdint|stdio|stdlib|string|strings|sys/[a-z]+|time|unistd|immintrin|cpuid|linux/fs)\.h'
library() { # library HEADER FOLDERS
    awk -v h="<$1>" -v where="^($2|tests/)" '$2 ~ "^" h "$" && $1 !~ where { print $1 " includes " $2 }' "$W/system"
}
is 'libraries are used where they belong' '' "$(
    library 'jansson[.]h' 'common/(io|text|image|quant|model)/|tools/'
    library 'msgpack[.]h' 'common/io/'
    library 'sqlite3[.]h' 'common/io/'
    library '(png|jpeglib|jerror)[.]h' 'common/image/'
    library '(pcre2|utf8proc)[.]h' 'common/text/|common/quant/pattern[.]c'
    library '(cblas|immintrin|cpuid)[.]h' 'kernels/cpu/|common/base/sha256[.]c'
    library 'malloc[.]h' 'common/model/run[.]c'
    library 'omp[.]h' 'kernels/(cpu|plain)/|common/image/|tools/'
    library '(cuda|cublas|mma)[^>]*' 'kernels/cuda/')"
known='malloc|jansson|msgpack|sqlite3|png|jpeglib|jerror|pcre2|utf8proc|cblas|immintrin|cpuid|omp'
is 'no other library' '' \
    "$(grep -vE " <($libc|($known)\.h)>$" "$W/system" | grep -v '^kernels/cuda/')"
is 'base needs libc alone' '' "$(grep '^common/base/' "$W/system" | grep -vE " <$libc>$")"

# ---- who prints, who exits: comments go first, so that prose may use the words ----
bare() { # bare FILE: the code without comments, line numbers kept
    awk '{ line = $0; out = ""
           while (length(line)) {
               if (inside) { p = index(line, "*/"); if (!p) break; line = substr(line, p + 2); inside = 0 }
               else { p = index(line, "/*"); q = index(line, "//")
                      if (q && (!p || q < p)) { out = out substr(line, 1, q - 1); break }
                      if (!p) { out = out line; break }
                      out = out substr(line, 1, p - 1); line = substr(line, p + 2); inside = 1 } }
           print out }' "$1"
}
calls='(^|[^A-Za-z0-9_>.])(v?printf|puts|putchar|putc_unlocked|perror|exit|_exit|_Exit|quick_exit|abort|assert)[[:space:]]*\('
for f in "${c_files[@]}"; do
    case $f in
    common/base/cli.c | common/base/progress.c | tools/* | tests/*) ;;
    *) bare "$f" | grep -nE "$calls|(^|[^A-Za-z0-9_])stderr([^A-Za-z0-9_]|\$)" | sed "s#^#$f:#" ;;
    esac
done >"$W/talk"
is 'only tools, cli.c and progress.c print or exit' '' "$(cat "$W/talk")"
is 'only cli.c, file.c and tools know standard output' '' "$(for f in "${c_files[@]}"; do
    case $f in
    common/base/cli.c | common/base/file.c | tools/* | tests/*) ;;
    *) bare "$f" | grep -qE '(^|[^A-Za-z0-9_])stdout([^A-Za-z0-9_]|$)' && echo "$f" ;;
    esac
done)"

# ---- every file ----
# The first comment opens "name - "; a script's follows its #! line, and Python's is the module's docstring.
opens() {
    head -n 3 "$1" | tr -s '\n ' ' ' | grep -qE "^(#![^ ]+( [^ ]+)? )?(/\* (\* )?|# |\"\"\"|\\.\\\\\" )${1##*/} - "
}
is 'every file opens with its name and purpose' '' \
    "$(for f in "${c_files[@]}" "${scripts[@]}"; do opens "$f" || echo "$f"; done)"
is 'a file of over 600 lines says why at its top' '' \
    "$(for f in "${c_files[@]}" "${scripts[@]}"; do
        [ "$(wc -l <"$f")" -le 600 ] || sed '/\*\//q' "$f" | head -n 20 | grep -q 'over 600 lines' || echo "$f"
    done)"
is 'no tabs in C' '' "$(grep -lP '\t' "${c_files[@]}")"
is 'no blanks at the ends of lines' '' "$(grep -nE '[[:space:]]+$' "${c_files[@]}" "${scripts[@]}" | head)"
is 'every file ends with a newline' '' \
    "$(for f in "${c_files[@]}" "${scripts[@]}"; do [ -z "$(tail -c 1 "$f")" ] || echo "$f"; done)"
is 'nothing is left for later' '' \
    "$(grep -nwE "TO""DO|FIX""ME|XX""X" "${c_files[@]}" "${scripts[@]}" Makefile)"
is 'nothing outside of the repository is named' '' \
    "$(grep -nE '(\.\./|/work/)sh''ared' "${c_files[@]}" "${scripts[@]}" Makefile ./*.md data/README.md)"
is 'headers are guarded by their path' '' \
    "$(for f in "${c_files[@]}"; do
        [[ $f == *.h ]] || continue
        guard=$(printf '%s' "$f" | tr 'a-z/.-' 'A-Z___')
        grep -qx "#ifndef $guard" "$f" && grep -qx "#define $guard" "$f" || echo "$f"
    done)"
if command -v shellcheck >"$W/shellcheck"; then
    ok 'shell is clean' 'shellcheck -x -s bash -S warning -e SC2010 tests/*.t tests/cli/*.t tests/lib.sh'
else
    skip 'shell is clean' 'shellcheck is not installed'
fi
finish
