#!/bin/sh
# Found before the tool of this name: stands still, before or after it does its work, at the call that the tests name in /run/stand
# (`TOOL before|after PATTERN`), says so in /run/standing, and goes on when /run/stand is gone.
tool=${0##*/} when=''
if read -r named moment pattern 2>/dev/null </run/stand && [ "$named" = "$tool" ]; then
    # shellcheck disable=SC2254 # a pattern
    case $* in $pattern) when=$moment ;; esac
fi
stand() {
    : >/run/standing
    while [ -e /run/stand ]; do sleep 0.05; done
}
[ "$when" != before ] || stand
[ "$when" = after ] || exec "/usr/bin/$tool" "$@"
"/usr/bin/$tool" "$@"
ended=$?
stand
exit "$ended"
