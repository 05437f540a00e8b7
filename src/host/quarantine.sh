# --- Quarantine ------------------------------------------------------------------------------------------------------------
#
# Part of the program on a host: `program.sh` with this text before its loop is what is sent (src/docs/quarantine.md). A table of firewall
# rules of our own is one more kind of change, `rules`, with two parts: `table`, its name, and `load`, the transaction that makes it, or
# nothing where the table is to go. Whatever somebody did to a table of ours meanwhile is not to be kept, so it is old or new, never other.
# shellcheck shell=sh disable=SC2034,SC2154 # variables and functions of program.sh

# rules_of: sets `table` and `kept`, where that is which the host holds on to.
rules_of() {
    words_of "$change/table"
    table=$words kept=$state/kept/$words.nft target="the table $words"
}

# listing: sets `sha` to that of the table as the kernel has it, to nothing where there is none. Fails where nft does not say.
listing() {
    sha=''
    listed=$(nft -s list table inet "$table" 2>/dev/null </dev/null) || { nft list tables >/dev/null </dev/null; return; }
    set -- "$(say "$listed" | sha256sum)"
    sha=${1%% *}
}

# in_place PART: whether the kernel has that part, and the host holds on to it.
in_place() {
    if [ ! -s "$change/$1" ]; then
        [ -z "$sha" ] && [ ! -e "$kept" ]
        return
    fi
    words_of "$change/$1-listed"
    [ -n "$sha" ] && [ "$sha" = "$words" ] && cmp -s -- "$change/$1" "$kept"
}

which_rules() {
    rules_of
    listing || return
    if [ "$verb" = revert ]; then
        which=new
        if in_place former; then which=old; fi
    else
        which=old
        if in_place load; then which=new; fi
    fi
}

# rehearse_rules: nft of this very host takes the rules, and what was there before is kept for the way back.
rehearse_rules() {
    rules_of
    listing || return
    [ ! -s "$change/load" ] || nft -c -f "$change/load" </dev/null || return
    rm -f -- "$change/former" "$change/former-listed"
    if [ -f "$kept" ]; then
        nft -c -f "$kept" </dev/null && cp -- "$kept" "$change/former" && words_of "$kept.listed" && put "$change/former-listed" "$words"
    fi
}

cut_rules() {
    say '' >"$change/begun" && durable "$change" && place load
}

revert_rules() {
    place former
}

# place PART: has the kernel and the host hold that, or nothing where there is no such part. In one transaction of nft.
place() {
    rules_of
    # Whoever puts it back when it is gone must not do so meanwhile.
    end_hold
    if [ -s "$change/$1" ]; then
        nft -f "$change/$1" </dev/null && listing && [ -n "$sha" ] && put "$change/$1-listed" "$sha" || return
        # Bit by bit, the rules last: what has no rules is not held on to.
        mkdir -p -- "$state/kept" && cp -- "$dir/program" "$state/kept/program.part" && put "$kept.listed" "$sha" &&
            cp -- "$change/$1" "$kept.part" && durable "$kept.part" "$state/kept/program.part" &&
            mv -f -- "$state/kept/program.part" "$state/kept/program" && mv -f -- "$kept.part" "$kept" &&
            durable "$state/kept" "$state" || return
    else
        rm -f -- "$kept" "$kept.listed" "$kept.part"
        if [ -d "$state/kept" ]; then durable "$state/kept"; fi
        listing || return
        [ -z "$sha" ] || nft delete table inet "$table" </dev/null || return
    fi
    begin_hold
}

# end_hold, begin_hold: a service that loads what is kept before the network is up, and puts it back when somebody took it away. Without
# systemd there is none, and the answer to `hello` says so.
end_hold() {
    [ "$switch" = systemd ] && [ -e "$units/lockturn-quarantine.service" ] || return 0
    bounded 20 systemctl stop lockturn-quarantine.service >/dev/null 2>&1 </dev/null
    return 0
}

begin_hold() {
    for held in "$state"/kept/*.nft; do
        if [ -f "$held" ]; then
            [ "$switch" = systemd ] || return 0
            write_hold && bounded 20 systemctl start lockturn-quarantine.service >/dev/null </dev/null
            return
        fi
    done
    rm -rf -- "$state/kept"
    [ "$switch" = systemd ] && [ -e "$units/lockturn-quarantine.service" ] || return 0
    rm -f -- "$units/sysinit.target.wants/lockturn-quarantine.service" "$units/lockturn-quarantine.service"
    bounded 20 systemctl daemon-reload >/dev/null 2>&1 </dev/null
    return 0
}

# write_hold: after whoever else loads rules and begins by removing all, and before the network.
write_hold() {
    program="ExecStart=/bin/sh $state/kept/program hold $state$newline"
    text="[Unit]${newline}Description=lockturn: holds on to the rules of a quarantine${newline}DefaultDependencies=no${newline}"
    text="${text}After=local-fs.target nftables.service firewalld.service ufw.service netfilter-persistent.service$newline"
    text="${text}Before=network-pre.target shutdown.target${newline}Wants=network-pre.target${newline}Conflicts=shutdown.target$newline"
    text="${text}RequiresMountsFor=$state${newline}StartLimitIntervalSec=0${newline}[Service]$newline"
    text="${text}ExecStartPre=/bin/sh $state/kept/program load $state$newline${program}Restart=always${newline}RestartSec=1$newline"
    say "$text" >"$units/lockturn-quarantine.service" || return
    [ -d "$units/sysinit.target.wants" ] || mkdir -- "$units/sysinit.target.wants" || return
    ln -sf -- ../lockturn-quarantine.service "$units/sysinit.target.wants/" &&
        durable "$units/lockturn-quarantine.service" "$units/sysinit.target.wants" "$units" &&
        bounded 20 systemctl daemon-reload >/dev/null </dev/null
}

# lockturn_hold MODE STATE: this program without a coordinator: loads what is kept, once or again and again.
lockturn_hold() {
    lockturn_surroundings
    state=$2
    while :; do
        for kept in "$state"/kept/*.nft; do
            [ -f "$kept" ] || continue
            table=${kept##*/}
            table=${table%.nft}
            words_of "$kept.listed"
            if listing 2>/dev/null && [ -n "$sha" ] && [ "$sha" = "$words" ]; then continue; fi
            nft -f "$kept" </dev/null
            # Released just now: nobody else takes it away again.
            [ -f "$kept" ] || nft delete table inet "$table" 2>/dev/null </dev/null
        done
        [ "$1" = hold ] || return 0
        sleep 2
    done
}

# kept: each table that the host holds on to, and whether it is as it was loaded: `TABLE in-place`, `TABLE changed`, `TABLE gone`
do_kept() {
    answer=''
    for kept in "$state"/kept/*.nft; do
        [ -f "$kept" ] || continue
        table=${kept##*/}
        table=${table%.nft}
        if ! listing 2>/dev/null; then reply command-failed "nft says nothing of the rules"; return; fi
        words_of "$kept.listed"
        case $sha in
            '') answer="$answer$table gone$newline" ;;
            "$words") answer="$answer$table in-place$newline" ;;
            *) answer="$answer$table changed$newline" ;;
        esac
    done
    reply ok "$answer"
}

# seen-from: `CLIENT PORT SERVER PORT`, as sshd here sees our connection. sudo takes that out of the environment; what started it has it.
do_seen_from() {
    seen=${SSH_CONNECTION-} at=$$
    while [ -z "$seen" ] && process "$at" && [ "$parent" -gt 1 ]; do
        at=$parent
        seen=$(tr '\000' '\n' 2>/dev/null <"/proc/$at/environ" | while IFS= read -r word; do
            case $word in (SSH_CONNECTION=*) say "${word#*=}" && break ;; esac
        done)
    done
    if [ -n "$seen" ]; then reply ok "$seen"; else reply missing "nobody here says where our connection comes from"; fi
}

