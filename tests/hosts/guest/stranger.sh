#!/bin/sh
# Tries to change, to take away or to read whatever a run has on this host, and to end its switch; says what was not refused.
# Paths come on standard input.
while IFS= read -r path; do
    # (A shell ends where `:` cannot write.)
    true >>"$path" && echo "wrote to $path"
    true >"$path/stranger" && echo "wrote into $path"
    touch -- "$path" && echo "touched $path"
    chmod 777 -- "$path" && echo "opened $path"
    mv -- "$path" "$path.gone" && echo "moved $path"
    mv -- "$path" /tmp/ && echo "took $path"
    ln -- "$path" /tmp/stranger && echo "named $path"
    rm -rf -- "$path" && [ ! -e "$path" ] && echo "removed $path"
    case $path in
        /etc/systemd/system/*.service)
            unit=${path##*/}
            timeout 5 systemctl --no-ask-password stop "$unit" && echo "stopped $unit"
            timeout 5 systemctl --no-ask-password disable "$unit" && echo "disabled $unit"
            timeout 5 systemctl --no-ask-password kill --signal=KILL "$unit" && echo "killed $unit"
            ;;
        /etc/systemd/*) ;;
        *) cat -- "$path" && echo "read $path" ;;
    esac
    case $path in
        */armed) mv -- "$path" "${path%/*}/confirmed" && echo "confirmed" ;;
    esac
done 2>/dev/null
for process in /proc/[0-9]*; do
    # That of the switch, and of whoever works for it.
    case $(tr '\0' ' ' <"$process/cmdline") in
        */lockturn/*) kill -s KILL "${process#/proc/}" && echo "killed ${process#/proc/}" ;;
    esac
done 2>/dev/null
exit 0
