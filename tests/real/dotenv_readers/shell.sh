# Sources every file of a directory, as `set -a; . FILE` does in a script; prints each file's name, then the environment that it
# left, and an empty line of it, all ended by NUL. Argument: the directory of the files. Where a shell stops at an error, it has read nothing.
for file in "$1"/*; do
    printf '%s\0' "${file##*/}"
    (
        set -a
        # shellcheck disable=SC1090 # which file is what this is about
        . "$file" >/dev/null
        exec /usr/bin/env -0
    ) </dev/null 2>/dev/null
    printf '\0'
done
