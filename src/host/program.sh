# The program on a host, version 1: plain POSIX sh, sent over standard input to `exec /bin/sh -s`, never stored there.
#
# It answers one framed request at a time (src/docs/protocol.md). Nothing that it is sent ever becomes shell text, an argument of a
# process or a word of the environment: values travel from standard input into files of mode 0600, or into a child's standard
# input. It writes nothing but the state of its run, and the staged file and backup beside their target. It never uses /tmp.

lockturn_surroundings() {
    set +x +v +e +u +n 2>/dev/null
    umask 077
    unset ENV BASH_ENV CDPATH GREP_OPTIONS POSIXLY_CORRECT LD_PRELOAD LD_LIBRARY_PATH
    unset IFS
    LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin
    export LC_ALL PATH
    login=$(pwd -P) || login=/
    run='' epoch=0 state='' dir='' seq=0 session='' scratch=''
    newline='
'
}

# --- Frames ---------------------------------------------------------------------------------------------------------------

# reply STATUS TEXT: answers with a short text of our own.
reply() {
    printf '%s %s %s %s\n%s\n' "$nonce" "$seq" "$1" "${#2}" "$2"
}

# reply_file FILE TEXT LIMIT: answers `ok` with a text of our own and the bytes of a file; with a limit, no more than that.
reply_file() {
    [ -r "$1" ] || { reply missing "cannot read $1"; return; }
    size=0
    if [ -s "$1" ]; then size=$(($(wc -c <"$1"))); fi
    if [ "$size" -gt "${3-$size}" ]; then size=$3; fi
    # Held open and removed first: whoever has the answer may end us before we come to it.
    exec 4<"$1"
    no_scratch
    printf '%s %s ok %s\n%s' "$nonce" "$seq" "$((${#2} + size))" "$2"
    [ "$size" = 0 ] || head -c "$size" <&4
    exec 4<&-
    printf '\n'
}

# refuse STATUS TEXT: answers that it was not done, and makes the caller return.
refuse() {
    reply "$1" "$2"
    return 1
}

# take_payload FILE: the bytes of the request into a new file. A full disk must leave nothing behind.
take_payload() {
    taken=yes
    if ! head -c "$bytes" >"$1" 2>/dev/null || [ "$(($(wc -c <"$1")))" -ne "$bytes" ]; then
        rm -f -- "$1"
        return 1
    fi
}

# drop_payload: reads what nobody wanted, so that the next request begins where it begins.
drop_payload() {
    if [ "$taken" = no ] && [ "$bytes" -gt 0 ]; then head -c "$bytes" >/dev/null; fi
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# durable PATH...: on the disk, not only in memory. An old sync that takes no names syncs everything.
durable() {
    sync -- "$@" 2>/dev/null || sync
}

# why FILE: the first words that a tool left on its standard error, without control characters.
why() {
    head -c 300 "$1" 2>/dev/null | tr -c '[:print:]' ' '
}

# failure FILE: the kind of a failed file operation, from what the tool said under LC_ALL=C.
failure() {
    case $(why "$1") in
        *'No space'* | *'quota'* | *'File too large'*) kind=no-space ;;
        *'Read-only'* | *'Operation not permitted'* | *'busy'*) kind=read-only ;;
        *'ermission denied'*) kind=denied ;;
        *) kind=command-failed ;;
    esac
}

digest() {
    set -- "$(sha256sum <"$1" 2>/dev/null)"
    sha=${1%% *}
}

# --- Looking, changing nothing ----------------------------------------------------------------------------------------------

# hello RUN EPOCH STATE-DIR PATH-PREFIX
do_hello() {
    run=$1 epoch=$2 state=$3
    case $4 in '') ;; /*) PATH=$4:$PATH ;; *) PATH=$login/$4:$PATH ;; esac
    uid=$(id -u)
    case $state in
        '') if [ "$uid" = 0 ]; then state=/var/lib/lockturn; else state=${HOME:-$login}/.local/state/lockturn; fi ;;
        /*) ;;
        *) state=$login/$state ;;
    esac
    dir=$state/$run
    systemd=no
    [ -d /run/systemd/system ] && systemd=yes
    text="uid $uid${newline}state $state${newline}login $login${newline}systemd $systemd"
    for file in machine-id:/etc/machine-id boot-id:/proc/sys/kernel/random/boot_id hostname:/proc/sys/kernel/hostname; do
        if IFS= read -r line 2>/dev/null <"${file#*:}"; then text="$text$newline${file%%:*} $line"; fi
    done
    for tool in sqlite3 curl timeout systemctl getfacl getfattr sha256sum; do
        if has "$tool"; then text="$text${newline}tool $tool"; fi
    done
    has sha256sum || { refuse tool-missing "sha256sum is not installed"; return; }
    reply ok "$text"
}

# absolute PATH: sets `path`; a relative one begins at the login directory. No tool can take it for an option then.
absolute() {
    case $1 in /*) path=$1 ;; *) path=$login/$1 ;; esac
}

# plain PATH FOLLOW: sets `real` to a plain file that may be replaced, or refuses.
plain() {
    absolute "$1"
    real=$path
    if [ -L "$real" ]; then
        [ "$2" = yes ] || { refuse is-link "$1 is a symbolic link to $(readlink -- "$real")"; return 1; }
        real=$(readlink -f -- "$real") || { refuse missing "$1 leads nowhere"; return 1; }
    fi
    if [ ! -e "$real" ]; then
        parent=${real%/*}
        if [ -d "$parent" ] && [ ! -x "$parent" ]; then refuse denied "no permission to look into $parent"; return 1; fi
        refuse missing "$1 does not exist"
        return 1
    fi
    [ -f "$real" ] || { refuse not-plain "$1 is not a plain file"; return 1; }
    [ -r "$real" ] || { refuse denied "$1 may not be read"; return 1; }
}

# read-file PATH FOLLOW
do_read_file() {
    plain "$1" "$2" || return
    # shellcheck disable=SC2012 # one known file: `ls -ldn` is the only portable way to its mode, owner and ACL mark
    line=$(ls -ldn -- "$real" 2>/dev/null) || { reply denied "$1 may not be looked at"; return; }
    # shellcheck disable=SC2086 # split on purpose: mode, links, owner, group, size
    set -- "$1" $line
    [ "$3" = 1 ] || { reply not-plain "$1 has $3 names (hard links): replacing it would part them"; return; }
    [ "$6" -le 1048576 ] || { reply too-large "$1 has $6 bytes; 1048576 is the limit"; return; }
    [ -w "${real%/*}/" ] || { reply read-only "the directory of $1 takes no new file"; return; }
    text="real $real${newline}mode $2${newline}owner $4 $5${newline}nlink $3${newline}size $6${newline}$newline"
    printf '%s %s ok %s\n%s' "$nonce" "$seq" "$((${#text} + $6))" "$text"
    # If the file grows or shrinks just now the frame is broken, and the coordinator sees that.
    head -c "$6" <"$real"
    printf '\n'
}

# sqlite FILE, SQL as payload
do_sqlite() {
    has sqlite3 || { reply tool-missing "sqlite3 is not installed"; return; }
    absolute "$1"
    [ -f "$path" ] || { reply missing "$1 does not exist"; return; }
    scratch || return
    taken=yes
    if head -c "$bytes" | sqlite3 -batch -bail -init /dev/null "$path" >"$scratch.out" 2>"$scratch.err"; then
        reply_file "$scratch.out" ''
    else
        text=$(why "$scratch.err")
        no_scratch
        reply database-failed "$text"
    fi
}

# scratch: two files of this shell alone, inside the state, for answers too long for a variable.
scratch() {
    scratch=$state/.scratch-$run-$$
    if { [ ! -d "$state" ] && ! mkdir -p -- "$state"; } 2>/dev/null || ! true 2>/dev/null >"$scratch.out"; then
        scratch=''
        refuse denied "$state cannot be written"
        return 1
    fi
}

no_scratch() {
    [ -z "$scratch" ] || rm -f -- "$scratch.out" "$scratch.err"
    scratch=''
}

# bounded SECONDS COMMAND...: ends what does not end by itself, where the host has `timeout`.
bounded() {
    limit=$1
    shift
    if has timeout; then timeout -k 2 "$limit" "$@"; else "$@"; fi
}

# command SECONDS ARGV..., standard input as payload
do_command() {
    case $2 in
        */*) [ -x "$2" ] ;;
        *) has "$2" ;;
    esac || { reply tool-missing "$2 is not there or not executable"; return; }
    scratch || return
    taken=yes
    if [ "$bytes" -gt 0 ]; then
        head -c "$bytes" | bounded "$@" >"$scratch.out" 2>"$scratch.err"
    else
        bounded "$@" >"$scratch.out" 2>"$scratch.err" </dev/null
    fi
    status=$?
    if [ "$status" = 124 ] && has timeout; then
        no_scratch
        reply timed-out "$2 did not end within $1 s"
    else
        reply_file "$scratch.out" "$status$newline" 65536
    fi
}

# unit NAME
do_unit() {
    has systemctl || { reply tool-missing "systemctl is not installed"; return; }
    text=$(systemctl show -p LoadState,ActiveState,SubState,NRestarts,MainPID,InvocationID -- "$1" 2>/dev/null </dev/null) ||
        { reply service-failed "systemctl cannot say anything about $1"; return; }
    case $newline$text in
        *"${newline}LoadState=not-found"*) reply unit-missing "there is no unit $1" ;;
        *"${newline}LoadState=masked"*) reply unit-missing "the unit $1 is masked" ;;
        *) reply ok "$text" ;;
    esac
}

# activate-unit ACTION NAME SECONDS
do_activate_unit() {
    has systemctl || { reply tool-missing "systemctl is not installed"; return; }
    # A unit that hit its start limit refuses every start, by hand too.
    systemctl reset-failed -- "$2" >/dev/null 2>&1 </dev/null
    text=$(bounded "$3" systemctl "$1" -- "$2" 2>&1 </dev/null)
    case $? in
        0) reply ok '' ;;
        124) reply timed-out "$2 did not $1 within $3 s" ;;
        *) reply service-failed "$(printf %s "$text" | head -c 300 | tr -c '[:print:]' ' ')" ;;
    esac
}

# --- The run's own state ----------------------------------------------------------------------------------------------------

# lock: one run a host, of that run only the newest coordinator, and of that one only the newest session.
do_lock() {
    if ! mkdir -p -- "$state/lock" 2>/dev/null || ! chmod 700 "$state" 2>/dev/null; then
        reply denied "$state cannot be written"
        return
    fi
    # The name of the holder is one more atomic act, so that a crash between the two leaves a lock that the next run may take.
    words_of "$state/lock/run"
    if [ -z "$words" ]; then
        # Durable before it is linked: after a power cut an empty name would be a holder that nobody is.
        put "$state/lock/mine-$run" "$run" || { reply no-space "$state is full"; return; }
        ln "$state/lock/mine-$run" "$state/lock/run" 2>/dev/null
        rm -f -- "$state/lock/mine-$run"
        words_of "$state/lock/run"
    fi
    [ "$words" = "$run" ] || { reply host-locked "the run $words holds this host"; return; }
    words_of "$state/lock/epoch"
    [ "${words:-0}" -le "$epoch" ] || { reply fenced "a newer coordinator of this run has been here (epoch $words)"; return; }
    end_earlier_session || return
    mkdir -p -- "$dir" 2>/dev/null || { reply no-space "$dir cannot be made"; return; }
    process "$$"
    session="$$ $began"
    if ! put "$state/lock/epoch" "$epoch" || ! put "$state/lock/session" "$session"; then
        reply no-space "$state is full"
        return
    fi
    durable "$state" "$state/lock" "$dir"
    reply ok ''
}

# words_of FILE: its first line in `words`, nothing if there is none. No process is started for it.
words_of() {
    words=''
    IFS= read -r words 2>/dev/null <"$1"
}

# process PID: sets `alive` (its state), `parent` and `began` (clock ticks since boot) from proc(5). A number is used again; with its
# time it is not.
process() {
    alive='' parent='' began=''
    words_of "/proc/$1/stat"
    [ -n "$words" ] || return 1
    # The name stands in parentheses and may hold any character.
    # shellcheck disable=SC2086 # split on purpose
    set -- ${words##*) }
    alive=$1 parent=$2
    shift 19
    began=$1
}

# end_earlier_session: a session whose connection broke may still be at work here, or be stopped in the middle. What it did late
# would undo what this one does, so it is ended first, with all that it started.
end_earlier_session() {
    words_of "$state/lock/session"
    earlier=${words% *} its_time=${words#* }
    if [ -z "$words" ] || [ "$earlier" = "$$" ]; then return 0; fi
    process "$earlier" && [ "$began" = "$its_time" ] || return 0
    kill -s STOP "$earlier" 2>/dev/null
    doomed=" $earlier " more=yes
    while [ "$more" = yes ]; do
        more=no
        for entry in /proc/[0-9]*; do
            entry=${entry#/proc/}
            case $doomed in *" $entry "*) continue ;; esac
            process "$entry" || continue
            case $doomed in *" $parent "*) doomed="$doomed$entry " more=yes ;; esac
        done
    done
    # shellcheck disable=SC2086 # numbers, split on purpose
    kill -s KILL $doomed 2>/dev/null
    seconds=0
    for entry in $doomed; do
        while process "$entry" && [ "$alive" != Z ] && [ "$seconds" -lt 5 ]; do
            sleep 1
            seconds=$((seconds + 1))
        done
    done
    [ "$seconds" -lt 5 ] || refuse connection-lost "an earlier session of this run hangs on this host and cannot be ended"
}

# put FILE TEXT: a small file, whole or not at all.
put() {
    printf '%s\n' "$2" >"$1.part" 2>/dev/null && durable "$1.part" && mv -f -- "$1.part" "$1" 2>/dev/null
}

# ours: whether this session still holds the host; every step that changes something asks first.
ours() {
    words_of "$state/lock/run"
    [ "$words" = "$run" ] || { refuse fenced "this run does not hold the host"; return 1; }
    words_of "$state/lock/epoch"
    [ "$words" = "$epoch" ] || { refuse fenced "a newer coordinator of this run has been here (epoch ${words:-0})"; return 1; }
    words_of "$state/lock/session"
    [ "$words" = "$session" ] || { refuse fenced "another session of this run works on this host"; return 1; }
}

# keep NAME, bytes as payload
do_keep() {
    ours || return
    # Its name is on the disk with the next thing that must be: nobody needs it of a host that was not armed.
    if take_payload "$dir/$1.part" && durable "$dir/$1.part" && mv -f -- "$dir/$1.part" "$dir/$1"; then
        reply ok ''
    else
        reply no-space "$dir is full"
    fi
}

# fetch NAME
do_fetch() {
    if [ -f "$dir/$1" ]; then reply_file "$dir/$1" ''; else reply missing "the host keeps no $1 of this run"; fi
}

# --- Staging ----------------------------------------------------------------------------------------------------------------

# beside TARGET N: the names beside the target. `new` is what the cut renames, `keep` a second name of it, `old` the backup.
beside() {
    at=${1%/*}/.lockturn-$run-$2
}

# stage-file N PATH SHA256, new content as payload
do_stage_file() {
    ours || return
    change=$dir/c$1
    beside "$2" "$1"
    digest "$2"
    [ "$sha" = "$3" ] || { reply changed "$2 is not what it was when it was read"; return; }
    rm -f -- "$at.old" "$at.new" "$at.keep" "$at.try"
    if ! name_change "$2" "$3"; then
        rm -rf -- "$change"
        reply no-space "$change cannot be written"
        return
    fi
    if ! stage_beside "$2"; then
        rm -rf -- "$at.old" "$at.new" "$at.keep" "$change"
        reply "$kind" "$detail"
        return
    fi
    digest "$at.new"
    if printf '%s\n' "$sha" >"$change/new" && durable "$at.old" "$at.new" "$at.keep" "${2%/*}" "$change/new" "$change"; then
        reply ok ''
    else
        rm -rf -- "$at.old" "$at.new" "$at.keep" "$change"
        reply no-space "$change cannot be written"
    fi
}

# name_change TARGET SHA256: on the disk before anything lies beside the target, so that a host that dies in between can be cleaned.
name_change() {
    # Asked again: it is there, and must not be empty for a moment.
    [ ! -s "$change/kind" ] || return 0
    mkdir -p -- "$change" && printf '%s\n' "$1" >"$change/target" && printf '%s\n' "$2" >"$change/old" &&
        printf 'file\n' >"$change/kind" && durable "$change"/* "$change" "$dir"
} 2>/dev/null

# stage_beside TARGET: backup and new content. Mode, owner, ACL and attributes come from the target before any byte does.
stage_beside() {
    err=$dir/err
    # A second name of the same file: exact in every respect, and the way back needs no space.
    if ! ln -- "$1" "$at.old" 2>"$err" && ! cp -p -- "$1" "$at.old" 2>"$err"; then
        failure "$err"
        detail="no backup beside $1: $(why "$err")"
        return 1
    fi
    if ! cp -a -- "$1" "$at.new" 2>"$err" && ! cp -p -- "$1" "$at.new" 2>"$err"; then
        failure "$err"
        detail="no new file beside $1: $(why "$err")"
        return 1
    fi
    if ! take_payload "$at.new"; then
        kind=no-space detail="the new content does not fit beside $1"
        return 1
    fi
    if ! same_metadata "$1" "$at.new"; then
        kind=metadata-lost detail="owner, mode, ACL or attributes of $1 cannot be kept"
        return 1
    fi
    ln -- "$at.new" "$at.keep" 2>/dev/null || cp -p -- "$at.new" "$at.keep" 2>"$err" || {
        failure "$err"
        detail="no second copy beside $1: $(why "$err")"
        return 1
    }
}

# metadata FILE: all but its name, times and size, in a variable.
metadata() {
    # shellcheck disable=SC2012 # see do_read_file
    line=$(ls -ldn -- "$1")
    # shellcheck disable=SC2086 # split on purpose
    set -- "$1" $line
    metadata="$2 $4 $5"
    case $2 in *+) has getfacl && metadata="$metadata $(getfacl -cpn -- "$1" 2>/dev/null)" ;; esac
    has getfattr || return 0
    line=$(getfattr --absolute-names -d -m - -- "$1" 2>/dev/null)
    # Its first line is the file's name.
    metadata="$metadata ${line#*"$newline"}"
}

same_metadata() {
    metadata "$1"
    wanted=$metadata
    metadata "$2"
    [ "$metadata" = "$wanted" ]
}

# same_file ONE OTHER: two names of one file, or a copy that is the same in every respect. (A shell without -ef looks closer.)
same_file() {
    # shellcheck disable=SC3013 # see above
    [ "$1" -ef "$2" ] 2>/dev/null || same_metadata "$1" "$2"
}

# stage-script N KIND DATABASE, then NAME BYTES for each part; the parts one after the other as payload
do_stage_script() {
    ours || return
    absolute "$3"
    change=$dir/c$1 kind=$2 target=$path
    shift 3
    rm -rf -- "$change"
    mkdir -- "$change" 2>/dev/null || { reply no-space "$change cannot be made"; return; }
    if ! take_payload "$change/all" || ! parts "$@" || ! put "$change/kind" "$kind" || ! put "$change/target" "$target"; then
        rm -rf -- "$change"
        reply no-space "$change cannot be written"
        return
    fi
    rm -f -- "$change/all"
    durable "$change"/* "$change"
    reply ok ''
}

# parts NAME BYTES...: cut out of the whole payload, because not every `head` stops reading where it stops printing.
parts() {
    from=1
    while [ $# -ge 2 ]; do
        tail -c "+$from" "$change/all" | head -c "$2" >"$change/$1" && [ "$(($(wc -c <"$change/$1")))" -eq "$2" ] || return 1
        from=$((from + $2))
        shift 2
    done
}

# rehearse: the very same way back, on a copy.
do_rehearse() {
    ours || return
    for change in "$dir"/c*; do
        [ -f "$change/kind" ] || continue
        number=${change##*/c}
        read -r kind <"$change/kind"
        IFS= read -r target <"$change/target"
        if ! "rehearse_$kind"; then
            reply rehearsal-failed "the way back of change $number ($target) does not work: $(why "$dir/err")"
            return
        fi
    done
    # A word for whoever looks, no state: that the host is armed is.
    printf 'staged\n' 2>/dev/null >"$dir/record" || { reply no-space "$dir is full"; return; }
    reply ok ''
}

rehearse_file() {
    beside "$target" "$number"
    cp -p -- "$at.new" "$at.try" 2>"$dir/err" && back_file "$at.try" "$at.old" 2>"$dir/err" && digest "$at.try" &&
        read -r wanted <"$change/old" && [ "$sha" = "$wanted" ] && same_file "$target" "$at.try"
    good=$?
    rm -f -- "$at.try"
    return "$good"
}

rehearse_sqlite() {
    sqlite3 -batch -bail -init /dev/null "$target" <"$change/rehearse" >/dev/null 2>"$dir/err"
}

rehearse_command() {
    which_command
    [ "$which" = old ]
}

# arm LEASE-SECONDS
do_arm() {
    ours || return
    if [ -f "$dir/confirmed" ]; then reply changed "the host is confirmed already"; return; fi
    if put "$dir/armed" "$1"; then
        durable "$dir"
        reply ok 'switch none'
    else
        reply no-space "$dir is full"
    fi
}

# --- The cut and the way back -------------------------------------------------------------------------------------------------

# which_KIND: sets `which` to old, new, other or missing.
which_file() {
    which=missing
    [ -f "$target" ] || return
    digest "$target"
    read -r old <"$change/old"
    read -r new <"$change/new"
    case $sha in "$new") which=new ;; "$old") which=old ;; *) which=other ;; esac
}

which_sqlite() {
    which=missing
    [ -f "$target" ] || return
    which=$(sqlite3 -batch -bail -init /dev/null "$target" <"$change/which" 2>"$dir/err") || which=other
    case $which in old | new) ;; *) which=other ;; esac
}

which_command() {
    which=other
    run_words "$change/read" /dev/null >"$dir/held" 2>/dev/null || { rm -f -- "$dir/held"; return; }
    for guess in new old; do
        # A program that prints a value may end it with a newline of its own.
        if cmp -s "$dir/held" "$change/$guess" || { cat "$change/$guess"; echo; } | cmp -s - "$dir/held"; then which=$guess; fi
    done
    rm -f -- "$dir/held"
}

# run_words FILE INPUT: the command whose words stand one a line in FILE.
run_words() {
    words=$1 input=$2
    set --
    while IFS= read -r word || [ -n "$word" ]; do set -- "$@" "$word"; done <"$words"
    bounded 30 "$@" <"$input"
}

# cut_KIND, back_KIND: one change there and back.
cut_file() {
    beside "$target" "$number"
    # `keep` stays, so that a host that went back can be cut again.
    if [ ! -e "$at.new" ]; then ln -- "$at.keep" "$at.new" 2>/dev/null || cp -p -- "$at.keep" "$at.new"; fi &&
        mv -f -- "$at.new" "$target"
}

# back_file TARGET BACKUP: a fresh name of the backup over the target, so that the backup stays until the run is cleaned.
back_file() {
    { ln -f -- "$2" "$2.back" 2>/dev/null || { rm -f -- "$2.back" && cp -p -- "$2" "$2.back"; }; } && mv -f -- "$2.back" "$1"
}

cut_sqlite() {
    sqlite3 -batch -bail -init /dev/null "$target" <"$change/cut" >/dev/null
}

cut_command() {
    run_words "$change/write" "$change/new" >/dev/null && which_command && [ "$which" = new ]
}

revert_file() {
    beside "$target" "$number"
    back_file "$target" "$at.old"
}

revert_sqlite() {
    sqlite3 -batch -bail -init /dev/null "$target" <"$change/revert" >/dev/null
}

revert_command() {
    run_words "$change/write" "$change/old" >/dev/null && which_command && [ "$which" = old ]
}

# move FROM TO VERB NUMBERS...: brings each change from one content to the other; what is there already is left alone.
move() {
    from=$1 to=$2 verb=$3
    shift 3
    bad='' badkind='' touched=''
    for number in "$@"; do
        change=$dir/c$number
        [ -f "$change/kind" ] || continue
        read -r kind <"$change/kind"
        IFS= read -r target <"$change/target"
        "which_$kind"
        if [ "$which" = "$to" ]; then continue; fi
        if [ "$which" != "$from" ]; then
            badkind=changed bad="${bad:+$bad; }$target holds neither the old nor the new value ($which)"
        elif ! "${verb}_$kind" 2>"$dir/err"; then
            failure "$dir/err"
            badkind=$kind bad="${bad:+$bad; }$target: $(why "$dir/err")"
        fi
        [ -z "$bad" ] || [ "$verb" = revert ] || break
        words_of "$change/kind"
        if [ "$words" = file ]; then touched="$touched ${target%/*}"; fi
    done
    # shellcheck disable=SC2086 # directories, split on purpose; one with a blank in its name is synced by the plain sync
    [ -z "$touched" ] || durable $touched
    [ -z "$bad" ]
}

# numbers: the changes of this run, in order.
numbers() {
    number=1 numbers='' backwards=''
    while [ -d "$dir/c$number" ]; do
        numbers="$numbers $number" backwards="$number $backwards"
        number=$((number + 1))
    done
}

do_cut() {
    ours || return
    [ -f "$dir/armed" ] || { reply changed "this host is not armed"; return; }
    numbers
    # shellcheck disable=SC2086 # numbers, split on purpose
    if move old new cut $numbers; then reply ok ''; else reply "$badkind" "$bad"; fi
}

do_revert() {
    ours || return
    numbers
    # shellcheck disable=SC2086 # numbers, split on purpose
    if move new old revert $backwards; then
        put "$dir/record" reverted
        rm -f -- "$dir/armed"
        reply ok ''
    else
        reply "$badkind" "$bad"
    fi
}

# confirm: armed becomes confirmed in one rename; whoever loses that race is told so.
do_confirm() {
    ours || return
    if [ -f "$dir/confirmed" ]; then reply ok ''; return; fi
    if mv -- "$dir/armed" "$dir/confirmed" 2>/dev/null; then
        durable "$dir"
        reply ok ''
    else
        reply changed "this host is not armed any more"
    fi
}

# which: what this host holds, change by change
do_which() {
    numbers
    text=''
    for number in $numbers; do
        change=$dir/c$number
        read -r kind <"$change/kind" || continue
        IFS= read -r target <"$change/target"
        "which_$kind"
        text="$text$number $which$newline"
    done
    record=none
    [ -f "$dir/record" ] && read -r record <"$dir/record"
    [ -f "$dir/armed" ] && record=armed
    [ -f "$dir/confirmed" ] && record=confirmed
    reply ok "${text}record $record"
}

# clean: nothing of the run stays, and that is looked at.
do_clean() {
    if [ -d "$dir" ]; then ours || return; fi
    numbers
    left=''
    for number in $numbers; do
        change=$dir/c$number
        words_of "$change/kind"
        [ "$words" = file ] || continue
        IFS= read -r target <"$change/target"
        beside "$target" "$number"
        rm -f -- "$at.old" "$at.new" "$at.keep" "$at.try" "$at.old.back"
        for file in "$at".*; do if [ -e "$file" ]; then left="$left$file$newline"; fi; done
    done
    if [ -n "$left" ]; then reply denied "these could not be removed: $left"; return; fi
    words_of "$state/lock/run"
    if [ "$words" = "$run" ]; then set -- "$state/lock"; fi
    # Also what a shell that was killed could not remove.
    rm -rf -- "$dir" "$state/.scratch-$run-"* "$@"
    if [ -e "$dir" ]; then reply denied "$dir could not be removed"; return; fi
    reply ok ''
}

# leftovers: runs that have state on this host
do_leftovers() {
    text=''
    for left in "$state"/*/; do
        left=${left%/}
        case ${left##*/} in lock | '*') ;; *) text="$text${left##*/}$newline" ;; esac
    done
    reply ok "$text"
}

# --- The loop -------------------------------------------------------------------------------------------------------------

lockturn_serve() {
    lockturn_surroundings
    printf 'LOCKTURN-READY 1\n'
    IFS= read -r nonce || exit 1
    lost=no
    while [ "$lost" = no ] && IFS=' ' read -r seq verb count bytes; do
        set --
        while [ "$count" -gt 0 ]; do
            IFS= read -r argument || exit 1
            set -- "$@" "$argument"
            count=$((count - 1))
        done
        taken=no
        case $verb in
            hello) do_hello "$@" ;;
            read-file) do_read_file "$@" ;;
            sqlite) do_sqlite "$@" ;;
            command) do_command "$@" ;;
            unit) do_unit "$@" ;;
            activate-unit) do_activate_unit "$@" ;;
            lock) do_lock ;;
            keep) do_keep "$@" ;;
            fetch) do_fetch "$@" ;;
            stage-file) do_stage_file "$@" ;;
            stage-script) do_stage_script "$@" ;;
            rehearse) do_rehearse ;;
            arm) do_arm "$@" ;;
            cut) do_cut ;;
            revert) do_revert ;;
            confirm) do_confirm ;;
            which) do_which ;;
            clean) do_clean ;;
            leftovers) do_leftovers ;;
            bye) exit 0 ;;
            *) reply answer-broken "this program has no verb $verb" ;;
        esac
        drop_payload
    done
}

lockturn_serve
