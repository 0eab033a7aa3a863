#!/bin/sh
# SPDX-License-Identifier: MIT
# icon-lists.sh OUT: lists of two icon themes of Debian (oxygen-icon-theme, faenza-icon-theme) as two domains with the
# same classes: what an icon is for, by its folder. A line is path, tab, class. Links, names that stand in two classes,
# and sizes below 32 pixels are left out; copies under other names are left to `unique = 1` of the recipe.
set -e
out=${1:?usage: icon-lists.sh OUT}
icons=${ICONS:-/usr/share/icons}
classes="actions apps devices mimetypes places status"
mkdir -p "$out"
# paths CLASS -> "path, tab, class, tab, name"
entries() { awk -v c="$1" -v OFS='\t' '{n = $0; sub(".*/", "", n); sub("[.]png$", "", n); print $0, c, n}'; }
# the lines whose name has one class
once() {
    awk -F '\t' '{line[NR] = $1 "\t" $2; name[NR] = $3
                  if (!(($3, $2) in seen)) {seen[$3, $2] = 1; classes[$3]++}}
                 END {for (i = 1; i <= NR; i++) if (classes[name[i]] == 1) print line[i]}'
}
for c in $classes; do
    for s in 32 48 64 128; do
        [ -d "$icons/oxygen/base/${s}x$s/$c" ] || continue
        find "$icons/oxygen/base/${s}x$s/$c" -maxdepth 1 -type f -name '*.png' | LC_ALL=C sort | entries "$c"
    done
done | once > "$out/oxygen.txt"
for c in $classes; do
    for s in 32 48 64 96; do
        [ -d "$icons/Faenza/$c/$s" ] || continue
        find "$icons/Faenza/$c/$s" -maxdepth 1 -type f -name '*.png' | LC_ALL=C sort | entries "$c"
    done
done | once > "$out/faenza.txt"
for t in oxygen faenza; do echo "$t: $(wc -l < "$out/$t.txt") images"; done
