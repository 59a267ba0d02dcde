#!/bin/sh
# Builds the programs of `tests/edited_programs.rs`: each as it was and as it is after an edit (`-DNEW`), at some levels of
# optimisation, with and without debug information, and
# without any names (`s`). Needs clang-19 and lld-19.
set -e
cd "$(dirname "$0")"
for source in *.c; do
    program=${source%.c}
    for level in 0 2; do
        for debug in g g0 s; do
            case $debug in
            s) options='-g0 -Wl,-s' ;;
            *) options=-$debug ;;
            esac
            for edited in "" NEW; do
                clang-19 --target=wasm32 -nostdlib -O$level $options ${edited:+-D$edited} -Wl,--no-entry \
                    -ffile-prefix-map="$PWD"/= -fdebug-compilation-dir=. \
                    -o "$program-O$level-$debug${edited:+-edited}.wasm" "$source"
            done
        done
    done
done
