# What a host shows of itself before it is isolated, version 1: plain POSIX sh, sent over standard input to `exec /bin/sh -s`.
#
# One line asks for one item (src/host/evidence.rs has their list): `ITEM SECONDS BYTES`. It is answered with `NONCE NUMBER begin`, the
# item's bytes as they come, and `NONCE NUMBER end STATUS`. Only looks: it writes no file, not even a temporary one (so no text in a
# here-document), and starts no tool that would load a kernel module. What a tool complains of belongs to the item.
# Of program.sh it has `has`, `bounded`, `words_of` and `recorded` before it: those are written once.
# Lines that begin with # are not sent: no text in quotes may have one.
# shellcheck disable=SC2317 # `homes` calls functions by their names

lockturn_evidence() {
    # As in program.sh: a function or an option of the login must not be ours.
    POSIXLY_CORRECT=1
    set +abCefmnuvx
    unset -f : . break continue eval exec exit export return set shift trap unset '[' cat command cut date df dmesg docker head hostname \
        id ip iptables-save ip6tables-save journalctl last lastb ls netstat nft print printf ps read readlink route say sha256sum ss sum \
        sudo systemctl tail test timeout tr true umask uname uptime w who
    umask 077
    unset IFS ENV BASH_ENV CDPATH GREP_OPTIONS POSIXLY_CORRECT BLOCK_SIZE BLOCKSIZE LS_BLOCK_SIZE QUOTING_STYLE PAGER SYSTEMD_PAGER
    unset LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT LD_DEBUG DOCKER_HOST
    LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin
    export LC_ALL PATH
    newline='
'
    case ${KSH_VERSION-} in
        *MIRBSD* | *LEGACY*) say() { print -rn -- "$1"; } ;;
        *) say() { printf %s "$1"; } ;;
    esac
    # sudo would keep on this very disk what we answer.
    if recorded; then say "LOCKTURN-EVIDENCE recorded$newline"; return; fi
    say "LOCKTURN-EVIDENCE 1$newline"
    IFS= read -r nonce || return
    number=0
    while IFS=' ' read -r item seconds bytes rest; do
        number=$((number + 1))
        case $seconds in ('' | *[!0-9]*) return ;; esac
        case $bytes in ('' | *[!0-9]*) return ;; esac
        [ -z "$rest" ] || return
        answer
    done
}

# answer: the item, cut at so many bytes. Its status comes past the cut.
answer() {
    say "$nonce $number begin$newline"
    exec 4>&1
    status=$({ { item </dev/null 2>&1 3>&- 4>&-; say "$?" >&3; } | head -c "$bytes" >&4; } 3>&1)
    exec 4>&-
    say "$newline$nonce $number end ${status:-1}$newline"
}

# item: 44 says that there is nothing of the kind on this host, 124 that a tool did not end.
item() {
    ends=$(($(date +%s) + seconds)) found=no
    case $item in
        clock) clock ;;
        processes) processes ;;
        programs) in_time ls -ldn -- /proc/[0-9]*/exe /proc/[0-9]*/cwd; mostly ;;
        open-files) in_time ls -ln -- /proc/[0-9]*/fd; mostly ;;
        sockets) sockets ;;
        logins) logins ;;
        modules) plain /proc/modules; nothing_or_done ;;
        kernel-log) run dmesg; nothing_or_done ;;
        network) network ;;
        firewall) firewall ;;
        mounts) plain /proc/self/mountinfo /proc/mdstat /proc/swaps; run df -k; nothing_or_done ;;
        units) units ;;
        timers) run systemctl --no-pager --full --all list-timers; nothing_or_done ;;
        containers) run docker ps --all --no-trunc --size=false; nothing_or_done ;;
        journal) run journalctl --no-pager --quiet --reverse --output short-iso-precise; nothing_or_done ;;
        auth-log) dump 16777216 /var/log/auth.log /var/log/auth.log.1 /var/log/secure /var/log/secure-*; nothing_or_done ;;
        login-history) login_history ;;
        histories) homes histories; nothing_or_done ;;
        authorized-keys) homes authorized_keys; nothing_or_done ;;
        scheduled) scheduled ;;
        startup) startup ;;
        accounts) dump 1048576 /etc/passwd /etc/group /etc/sudoers /etc/sudoers.d/* /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*; nothing_or_done ;;
        binaries) binaries ;;
        *) return 44 ;;
    esac
}

# in_time COMMAND...: within the time that is left for the item. Where there is no `timeout` the coordinator has one.
in_time() {
    left=$((ends - $(date +%s)))
    [ "$left" -gt 0 ] || return 124
    bounded "$left" "$@"
    did=$?
    # 137: it did not heed the signal, and was killed.
    case $did in (124 | 137) late=yes ;; esac
    return "$did"
}

# title WORDS: what stands below.
title() {
    say "$newline==> $1$newline"
}

# run COMMAND...: what a tool says, if it is there.
run() {
    has "$1" || return 0
    found=yes
    title "$*"
    in_time "$@"
}

# plain FILE...: whole files of /proc and the like.
plain() {
    for file in "$@"; do
        [ -r "$file" ] || continue
        found=yes
        title "$file"
        in_time cat -- "$file"
    done
}

# dump BYTES FILE...: the end of each plain file. Never anything else: a pipe would never end.
dump() {
    most=$1
    shift
    for file in "$@"; do
        [ -f "$file" ] || continue
        found=yes
        title "$file"
        ls -ldn -- "$file"
        in_time tail -c "$most" -- "$file"
    done
}

late=no

# nothing_or_done, mostly: the status of an item of several parts. What one part complains of stands in it.
nothing_or_done() {
    [ "$late" = no ] || return 124
    [ "$found" = yes ] || return 44
}

mostly() {
    [ "$late" = no ] || return 124
    return 0
}

clock() {
    in_time date -u
    plain /proc/uptime /proc/sys/kernel/random/boot_id /proc/version /proc/cmdline
    run uname -a
    run id
    run uptime
    mostly
}

# The list of busybox knows no options, and says so.
processes() {
    if has ps; then
        title ps
        in_time ps -e -ww -o pid,ppid,uid,user,lstart,stat,tty,args 2>/dev/null || run ps
    fi
    for status in /proc/[0-9]*/status; do
        found=yes
        break
    done
    title '/proc/*/status'
    in_time cat -- /proc/[0-9]*/status 2>/dev/null
    nothing_or_done
}

sockets() {
    if has ss; then run ss -a -n -p -e -o; else run netstat -anp; fi
    plain /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 /proc/net/raw /proc/net/raw6 /proc/net/packet /proc/net/unix
    nothing_or_done
}

logins() {
    if has w; then run w -i; fi
    run who -a
    run loginctl --no-pager list-sessions
    nothing_or_done
}

network() {
    for what in 'addr' 'link' 'rule' 'neigh'; do run ip -d "$what"; done
    run ip -4 route show table all
    run ip -6 route show table all
    plain /proc/net/dev /proc/net/route /proc/net/ipv6_route /proc/net/arp
    dump 65536 /etc/resolv.conf /etc/hosts
    nothing_or_done
}

# iptables-save would load what it is asked about.
firewall() {
    run nft list ruleset
    for family in ip ip6; do
        [ ! -s "/proc/net/${family}_tables_names" ] || run "${family}tables-save"
    done
    nothing_or_done
}

units() {
    run systemctl --no-pager --full --all list-units
    run systemctl --no-pager --full list-unit-files
    dump 65536 /etc/systemd/system/*.service /etc/systemd/system/*.timer /etc/systemd/system/*/*.conf /etc/init.d/*
    nothing_or_done
}

login_history() {
    run last -F -w -n 10000
    run lastb -F -w -n 10000
    dump 1048576 /var/log/lastlog /var/log/wtmp /var/log/btmp
    nothing_or_done
}

# homes FUNCTION: for the home of each account, once.
homes() {
    seen=$newline
    while IFS=: read -r _ _ _ _ _ home _; do
        case $home in (/?*) ;; (*) continue ;; esac
        case $seen in (*"$newline$home$newline"*) continue ;; esac
        seen=$seen$home$newline
        [ ! -d "$home" ] || "$1"
    done </etc/passwd
}

histories() {
    dump 1048576 "$home"/.*history "$home"/.local/share/fish/fish_history
}

authorized_keys() {
    dump 1048576 "$home"/.ssh/authorized_keys "$home"/.ssh/authorized_keys2 "$home"/.ssh/config "$home"/.ssh/rc "$home"/.ssh/environment
}

scheduled() {
    dump 262144 /etc/crontab /etc/anacrontab /etc/cron.*/* /var/spool/cron/* /var/spool/cron/crontabs/* /var/spool/cron/atjobs/*
    nothing_or_done
}

startup() {
    dump 262144 /etc/ld.so.preload /etc/rc.local /etc/environment /etc/profile /etc/profile.d/* /etc/bash.bashrc /etc/modules \
        /etc/modules-load.d/* /etc/udev/rules.d/* /etc/xdg/autostart/*
    homes startup_of
    nothing_or_done
}

startup_of() {
    dump 65536 "$home"/.profile "$home"/.bashrc "$home"/.bash_profile "$home"/.zshrc "$home"/.config/systemd/user/*
}

# binaries: of all that runs, also where the file is gone.
binaries() {
    seen=$newline
    for link in /proc/[0-9]*/exe; do
        at=$(readlink -- "$link" 2>/dev/null)
        [ -n "$at" ] || continue
        case $seen in (*"$newline$at$newline"*) continue ;; esac
        seen=$seen$at$newline found=yes
        sum=$(in_time sha256sum <"$link") || sum=unknown
        [ "$(date +%s)" -lt "$ends" ] || return 124
        say "${sum%% *}  $at$newline"
    done
    nothing_or_done
}

# In one line: a shell that reads its program byte by byte would take a second one for our first word.
lockturn_evidence; exit
