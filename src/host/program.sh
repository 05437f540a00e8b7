# The program on a host, version 1: plain POSIX sh, sent over standard input to `exec /bin/sh -s`, never stored there.
#
# It answers one framed request at a time (src/docs/protocol.md). Nothing that it is sent ever becomes shell text, an argument of a
# process or a word of the environment: values travel from standard input into files of mode 0600, or into a child's standard
# input. It writes nothing but the state of its run, and the staged file and backup beside their target. It never uses /tmp.
# Lines that begin with # are not sent: no text in quotes may have one.

lockturn_surroundings() {
    # bash takes functions and options out of the environment: a `cat` or a `noclobber` of the login must not be ours. From the first
    # line on its special built-ins come before functions, so that `unset` is `unset`.
    POSIXLY_CORRECT=1
    set +abCefmnuvx
    unset -f : . break continue eval exec exit export return set shift trap unset '[' cat cd chmod cmp command cp echo getfacl \
        getfattr head id kill ln ls mkdir mv nft print printf pwd read readlink rm rmdir sha256sum sleep sqlite3 sudo sync systemctl \
        tail tee test timeout tr true umask wc
    umask 077
    # With BLOCK_SIZE `ls -l` tells sizes in it, with QUOTING_STYLE names in quotes.
    unset IFS ENV BASH_ENV CDPATH GREP_OPTIONS POSIXLY_CORRECT BLOCK_SIZE BLOCKSIZE LS_BLOCK_SIZE QUOTING_STYLE SQLITE_HISTORY
    unset LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT LD_DEBUG
    LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin
    export LC_ALL PATH
    # A limit on the size of files is an error to be told, not the end of whoever writes.
    command trap '' XFSZ 2>/dev/null
    login=$(pwd -P) || login=/
    run='' epoch=0 state='' dir='' seq=0 session='' looked=no systemd=no switch=process
    units=/etc/systemd/system wants=multi-user.target.wants
    newline='
'
    # What a shell cannot print by itself would be an argument of a process. (mksh has `print` instead of `printf`.)
    case ${KSH_VERSION-} in
        *MIRBSD* | *LEGACY*) say() { print -rn -- "$1"; } ;;
        *) say() { printf %s "$1"; } ;;
    esac
}

# --- Frames ---------------------------------------------------------------------------------------------------------------

# reply STATUS TEXT: answers with a short text of our own.
reply() {
    say "$nonce $seq $1 ${#2}$newline$2$newline"
}

# reply_file FILE: answers `ok` with the bytes of a file.
reply_file() {
    size=$(wc -c <"$1") || { reply missing "cannot read $1"; return; }
    say "$nonce $seq ok $((size))$newline"
    cat -- "$1"
    say "$newline"
}

# refuse STATUS TEXT: answers that it was not done, and makes the caller return.
refuse() {
    reply "$1" "$2"
    return 1
}

# take_payload FILE: the bytes of the request into a file. `tee` reads on when the disk is full: what nobody reads would be taken for
# the next request.
take_payload() {
    taken=yes
    head -c "$bytes" | tee -- "$1" >/dev/null 2>&1 && [ "$(($(wc -c <"$1")))" -eq "$bytes" ]
}

# drop_payload: reads what nobody wanted, so that the next request begins where it begins.
drop_payload() {
    if [ "$taken" = no ] && [ "$bytes" -gt 0 ]; then head -c "$bytes" >/dev/null; fi
}

# payload_into COMMAND...: the bytes of the request into a program, and past it, if it ends before it has read them all.
payload_into() {
    taken=yes
    if [ "$bytes" = 0 ]; then
        "$@" </dev/null
    elif [ "$bytes" -le 4096 ]; then
        # So much a pipe takes in any case.
        head -c "$bytes" | "$@"
    else
        head -c "$bytes" | {
            "$@"
            ended=$?
            cat >/dev/null
            ends_with "$ended"
        }
    fi
}

# ends_with STATUS: not `exit`, because some shells run the end of a pipe themselves.
ends_with() {
    return "$1"
}

# capture: descriptors of a file without a name, 5 to write it, 6 and 7 to read it. It may hold a value, and is gone with this shell.
capture() {
    made=yes
    [ ! -d "$state" ] || made=no
    own_state || return
    if ! say '' 2>/dev/null >"$state/.out-$$"; then
        refuse denied "$state cannot be written"
        return 1
    fi
    # shellcheck disable=SC2094 # the file is meant
    exec 5>"$state/.out-$$" 6<"$state/.out-$$" 7<"$state/.out-$$"
    # Also the empty one of a shell that died just here; whoever has one open needs its name no more.
    rm -f -- "$state"/.out-*
    [ "$made" = no ] || rmdir -- "$state"
}

# captured TEXT BYTES: answers `ok` with a text and with what was written, at most so many bytes of it.
captured() {
    exec 5>&-
    size=0
    # No process for nothing.
    if [ ! -e /proc/self/fd/6 ] || [ -s /proc/self/fd/6 ]; then size=$(($(wc -c <&6))); fi
    [ "$size" -le "$2" ] || size=$2
    say "$nonce $seq ok $((${#1} + size))$newline$1"
    [ "$size" = 0 ] || head -c "$size" <&7
    say "$newline"
    exec 6<&- 7<&-
}

# release: forgets what was captured.
release() {
    exec 5>&- 6<&- 7<&-
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# durable PATH...: on the disk, not only in memory. An old sync that takes no names syncs everything.
durable() {
    sync -- "$@" 2>/dev/null || sync
}

# words_of FILE: sets `words` to its first line, to nothing if there is none. No process is started for it. Of what a tool left on its
# standard error no more is told: sqlite3 shows the whole statement behind it, and with it a value.
words_of() {
    words=''
    IFS= read -r words 2>/dev/null <"$1"
}

# failure: sets `kind` to that of a failed file operation, from what the tool said under LC_ALL=C, in `words`.
failure() {
    words=${words%%"$newline"*}
    case $words in
        *'No space'* | *'quota'* | *'File too large'*) kind=no-space ;;
        *'is locked'*) kind=database-failed ;;
        *'ead-only'* | *'readonly'* | *'not permitted'* | *'busy'* | *'ross-device'*) kind=read-only ;;
        *'ermission denied'*) kind=denied ;;
        *) kind=command-failed ;;
    esac
}

digest() {
    set -- "$(sha256sum <"$1" 2>/dev/null)"
    sha=${1%% *}
}

# --- Looking, changing nothing ----------------------------------------------------------------------------------------------

# recorded: whether sudo records what we read or write (`log_input`, `log_output`), and with it every value. Then it stands in between:
# our ends are not those that it was started with. Where that may not be seen (in some containers), sudo is asked, and whatever it records
# counts.
recorded() {
    sudo='' above=$PPID
    while words_of "/proc/$above/comm"; do
        case $words in sudo*) sudo=$above above='' ;; *) break ;; esac
        while read -r key value; do
            if [ "$key" = PPid: ]; then above=$value; fi
        done <"/proc/$sudo/status"
    done
    if [ -n "$sudo" ] && outer=$(readlink "/proc/$sudo/fd/0" && readlink "/proc/$sudo/fd/1"); then
        [ "$outer" != "$(readlink "/proc/$$/fd/0" && readlink "/proc/$$/fd/1")" ]
        return
    fi
    # Without a trace of it sudo has made way for us, or nothing can be seen here.
    if [ -z "${SUDO_USER-}" ] || { [ -z "$sudo" ] && [ -r "/proc/$$/comm" ]; }; then return 1; fi
    case $(bounded 10 sudo -n -l -U "$SUDO_USER" 2>/dev/null </dev/null) in
        *[\ ,:]log_input* | *[\ ,:]log_stdin* | *[\ ,:]log_output* | *[\ ,:]log_stdout*) return 0 ;;
        *[\ :]LOG_INPUT* | *[\ :]LOG_OUTPUT*) return 0 ;;
        *) return 1 ;;
    esac
}

# hello RUN EPOCH STATE-DIR PATH-PREFIX
do_hello() {
    run=$1 epoch=$2 state=$3
    case $4 in '') ;; /*) PATH=$4:$PATH ;; *) PATH=$login/$4:$PATH ;; esac
    if recorded; then refuse sudo-records "sudo keeps a record of what this login is sent or answers"; return; fi
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
    switch_kind
    text="$text${newline}switch $switch"
    for tool in sqlite3 curl timeout systemctl getfacl getfattr sha256sum nft; do
        if has "$tool"; then text="$text${newline}tool $tool"; fi
    done
    has sha256sum || { refuse tool-missing "sha256sum is not installed"; return; }
    [ "$switch" = systemd ] || has setsid || { refuse tool-missing "setsid is not installed"; return; }
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
        case $real in *"$newline"*) refuse unclear "$1 leads to a name with a line break"; return 1 ;; esac
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

# read-file PATH FOLLOW REPLACE
do_read_file() {
    plain "$1" "$2" || return
    replace=$3
    # shellcheck disable=SC2012 # one known file: `ls -ldn` is the only portable way to its mode, owner and ACL mark
    line=$(ls -ldn -- "$real" 2>/dev/null) || { reply denied "$1 may not be looked at"; return; }
    # shellcheck disable=SC2086 # split on purpose: mode, links, owner, group, size
    set -- "$1" $line
    # What stands in the way of a new file is no matter to who only looks.
    if [ "$replace" = yes ] && [ "$3" != 1 ]; then
        text="$1 has $3 names (hard links): replacing it would part them"
        for left in "${real%/*}"/.lockturn-*/; do
            [ ! -d "$left" ] || text="$text; one of them may be the backup of an unfinished run, in $left"
        done
        reply not-plain "$text"
        return
    fi
    [ "$6" -le 1048576 ] || { reply too-large "$1 has $6 bytes; 1048576 is the limit"; return; }
    if [ "$replace" = yes ] && [ ! -w "${real%/*}/" ]; then
        reply read-only "the directory of $1 takes no new file"
        return
    fi
    text="real $real${newline}mode $2${newline}owner $4 $5${newline}nlink $3${newline}size $6${newline}$newline"
    say "$nonce $seq ok $((${#text} + $6))$newline$text"
    # If the file grows or shrinks just now the frame is broken, and the coordinator sees that. If the disk fails, nobody waits for the rest.
    head -c "$6" <"$real" || exit 1
    say "$newline"
}

# sqlite FILE, SQL as payload
do_sqlite() {
    has sqlite3 || { reply tool-missing "sqlite3 is not installed"; return; }
    absolute "$1"
    [ -f "$path" ] || { reply missing "$1 does not exist"; return; }
    capture || return
    taken=yes
    if text=$(payload_into sqlite3 -batch -bail -init /dev/null "$path" 2>&1 >&5); then
        captured '' 1048576
    else
        release
        reply database-failed "${text%%"$newline"*}"
    fi
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
    capture || return
    payload_into bounded "$@" >&5 2>/dev/null 5>&- 6<&- 7<&-
    status=$?
    case $status in
        # 137: it did not heed the signal, and was killed.
        124 | 137)
            release
            reply timed-out "$2 did not end within $1 s"
            ;;
        *) captured "$status$newline" 65536 ;;
    esac
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
        *) reply service-failed "${text%%"$newline"*}" ;;
    esac
}

# --- The run's own state ----------------------------------------------------------------------------------------------------

# lock [again]: one run a host, of that run only the newest coordinator, and of that one only the newest session. Whoever held the host
# takes it again only while it is held: another coordinator may have finished the run and cleaned the host, and must not be followed.
do_lock() {
    holder
    case ${1-}:$over in
        again:*) [ -d "$dir" ] || [ "$holds" = "$run" ] ;;
        :) ;;
        *) [ "$holds" != "$run" ] ;;
    esac || { reply fenced "this run does not hold the host any more: it was cleaned"; return; }
    own_state || return
    first=no
    if [ "${holds:-$run}" = "$run" ] && ! mkdir -p -- "$dir" 2>/dev/null; then reply no-space "$dir cannot be made"; return; fi
    if [ -z "$holds" ]; then
        # One file under two names: whoever gets the second one holds the host. Durable before it is linked: after a power cut an
        # empty name would be a holder that nobody is.
        put "$dir/run" "$run" && ln -- "$dir/run" "$state/lock" 2>/dev/null && first=yes
        holder
        if [ "$holds" != "$run" ]; then rm -f -- "$dir/run" "$dir/run.part" && rmdir -- "$dir"; fi 2>/dev/null
    fi
    [ -n "$holds" ] || { reply no-space "$state is full"; return; }
    [ "$holds" = "$run" ] || { reply host-locked "the run $holds holds this host"; return; }
    tries=0
    until take_turn; do
        # Somebody else did in the middle of that: it is looked again who is the newer one. Or there is no room.
        tries=$((tries + 1))
        if [ -n "$refused" ]; then return; fi
        if [ "$tries" -ge 5 ]; then
            # What nobody could take nobody would come to clean.
            newest_session
            if [ "$first" = yes ] && [ -z "$words" ]; then rm -rf -- "$state/lock" "$dir"; fi
            reply no-space "$state is full"
            return
        fi
    done
    durable "$state" "$dir"
    reply ok ''
}

# holder: sets `holds` to the run that holds this host, to nothing if none does, and `over` to `cleaning` or `cleaning confirmed` once that
# run is being cleaned away.
holder() {
    words_of "$state/lock"
    holds=${words%% *} over=${words#"${words%% *}"}
    over=${over# }
}

# take_turn: the next name of all sessions. One file under two names again: of those who looked at the same time one gets it, so that an
# older one that was slow takes nothing from a newer one.
take_turn() {
    refused=''
    newest_session
    if [ -n "$words" ] && [ "$words" = "$session" ]; then return 0; fi
    seen=${words%% *}
    if [ "${seen:-0}" -gt "$epoch" ]; then
        refused=yes
        refuse fenced "a newer coordinator of this run has been here (epoch $seen)"
        return
    fi
    if ! end_session; then
        refused=yes
        refuse connection-lost "an earlier session of this run hangs on this host and cannot be ended"
        return
    fi
    process "$$"
    session="$epoch $$ $began"
    # An earlier lockturn that still lives looks there, and is refused.
    [ ! -e "$dir/session" ] || put "$dir/session" "$session"
    put "$dir/taking-$$" "$session" && ln -- "$dir/taking-$$" "$dir/session$turn" 2>/dev/null
    taken_turn=$?
    rm -f -- "$dir/taking-$$" "$dir/taking-$$.part"
    return "$taken_turn"
}

# newest_session: sets `words` to the last one that took the host, to nothing if none did, and `turn` to the number after it.
newest_session() {
    turn=1
    while [ -e "$dir/session$turn" ]; do turn=$((turn + 1)); done
    # An earlier lockturn knew of one session, without a number.
    if [ "$turn" = 1 ]; then words_of "$dir/session"; else words_of "$dir/session$((turn - 1))"; fi
}

# own_state: the directory of all state is there, and nobody else's. Looked at once.
own_state() {
    if [ ! -d "$state" ] && ! mkdir -p -- "$state" 2>/dev/null; then
        refuse denied "$state cannot be made"
        return 1
    fi
    [ "$looked" = no ] || return 0
    if ! private "$state" && { ! chmod 700 "$state" 2>/dev/null || ! private "$state"; }; then
        refuse denied "$state is not a directory of this user alone"
        return 1
    fi
    looked=yes
}

# private DIRECTORY: whether it is one of this user, and nobody else may look or write into it.
private() {
    # shellcheck disable=SC2012 # see do_read_file
    line=$(ls -ldn -- "$1/" 2>/dev/null) || return 1
    # shellcheck disable=SC2086 # split on purpose
    set -- $line
    case "$1 $3" in drwx------*" $uid") ;; *) return 1 ;; esac
}

# process PID: sets `alive` (its state), `parent` and `began` (which start of the host, and clock ticks since then) from proc(5). A number
# is used again; with its time it is not.
process() {
    alive='' parent='' began=''
    words_of /proc/sys/kernel/random/boot_id
    boot=${words:-none}
    words_of "/proc/$1/stat"
    [ -n "$words" ] || return 1
    # The name stands in parentheses and may hold any character.
    # shellcheck disable=SC2086 # split on purpose
    set -- ${words##*) }
    alive=$1 parent=$2
    shift 19
    began=$boot:$1
}

# end_session: a session whose connection broke may still be at work here, or be stopped in the middle. What it did late would undo what
# we do, so it is ended first, with all that it started. `words` says who it is.
end_session() {
    words=${words#* }
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
    [ "$seconds" -lt 5 ]
}

# put FILE TEXT: a small file, whole or not at all.
put() {
    say "$2$newline" 2>/dev/null >"$1.part" && durable "$1.part" && mv -f -- "$1.part" "$1" 2>/dev/null
}

# ours [over]: whether this session still holds the host; every step that changes something asks first. Where the run is being cleaned away
# nothing else is done any more.
ours() {
    holder
    [ "$holds" = "$run" ] || { refuse fenced "this run does not hold the host"; return 1; }
    [ -z "$over" ] || [ "${1-}" = over ] || { refuse fenced "this run is over on this host: it is being cleaned"; return 1; }
    newest_session
    [ "${words%% *}" = "$epoch" ] || { refuse fenced "a newer coordinator of this run has been here (epoch ${words%% *})"; return 1; }
    [ "$words" = "$session" ] || { refuse fenced "another session of this run works on this host"; return 1; }
}

# keep NAME, bytes as payload
do_keep() {
    ours || return
    if take_payload "$dir/$1.part" && durable "$dir/$1.part" && mv -f -- "$dir/$1.part" "$dir/$1"; then
        # Its name too: a host that starts again here is asked what comes next, and not for this once more.
        durable "$dir"
        reply ok ''
    else
        reply no-space "$dir is full"
    fi
}

# fetch NAME
do_fetch() {
    if [ -f "$dir/$1" ]; then reply_file "$dir/$1"; else reply missing "the host keeps no $1 of this run"; fi
}

# --- Staging ----------------------------------------------------------------------------------------------------------------

# The directory beside a target has `new`, which the cut renames over it, `keep`, a second name of that, and `old`, the backup. The
# directory around it may belong to somebody who would like to have root write elsewhere: so ours is private, we go into it, look
# whether it is the one that we made, and from there name nothing but its own files and the target's own name.

# beside TARGET N: sets `name` and `at`, and goes to the directory of the target.
beside() {
    name=${1##*/} at=.lockturn-$run-$2
    cd -P -- "${1%/*}/" 2>/dev/null || return
}

# enter TARGET N: goes into the directory beside the target, if it is ours.
enter() {
    beside "$1" "$2" && around=${PWD%/} && cd -P -- "$at" 2>/dev/null && [ "$PWD" = "$around/$at" ] && private .
}

# remove_beside TARGET N: removes that directory with all that we put there.
remove_beside() {
    if enter "$1" "$2" && cd ..; then rm -rf -- "$at" && durable .; fi
}

# stage-file N PATH OLD-SHA256 NEW-SHA256, new content as payload
do_stage_file() {
    ours || return
    change=$dir/c$1
    digest "$2"
    [ "$sha" = "$3" ] || { reply changed "$2 is not what it was when it was read"; return; }
    # On the disk first: a death in the middle leaves nothing that `clean` does not know of.
    mkdir -p -- "$change" 2>/dev/null
    if ! say "file$newline$2$newline$3$newline$4$newline" 2>/dev/null >"$change/what"; then
        rm -rf -- "$change"
        reply no-space "$change cannot be written"
        return
    fi
    durable "$change/what" "$change" "$dir"
    if stage_beside "$@"; then
        durable new keep old . ..
        reply ok ''
    else
        remove_beside "$2" "$1"
        rm -rf -- "$change"
        reply "$kind" "$detail"
    fi
}

# stage_beside N PATH OLD-SHA256 NEW-SHA256: backup and new content. Mode, owner, ACL and attributes come from the target before any
# byte does.
stage_beside() {
    kind=missing detail="the directory of $2 is not there"
    beside "$2" "$1" || return
    # What a tool says is kept in a variable: where it fails there may be no room for a file.
    if ! words=$(mkdir -- "$at" 2>&1) && [ ! -d "$at" ]; then
        failed "no directory beside $2"
        return 1
    fi
    kind=denied detail="the directory of $2 is not what it was a moment ago"
    enter "$2" "$1" || return
    if [ -e old ] || [ -L old ]; then rm -f -- new keep old back try; fi
    # A second name of the same file: exact in every respect, and the way back needs no space.
    unlinked=''
    if ! words=$(ln -- "../$name" old 2>&1); then
        unlinked=$words
        if ! words=$(cp -a -- "../$name" old 2>&1) && ! words=$(cp -pP -- "../$name" old 2>&1); then
            failed "no backup beside $2"
            return 1
        fi
        if ! same_metadata "../$name" old; then
            kind=metadata-lost detail="owner, mode, ACL or attributes of $2 cannot be kept"
            return 1
        fi
    fi
    digest old
    if [ -L old ] || [ "$sha" != "$3" ]; then
        kind=changed detail="$2 is not what it was when it was read"
        return 1
    fi
    if ! words=$(cp -a -- old new 2>&1) && ! words=$(cp -p -- old new 2>&1); then
        failed "no new file beside $2"
        return 1
    fi
    if ! take_payload new; then
        kind=no-space detail="the new content does not fit beside $2"
        return 1
    fi
    digest new
    if [ "$sha" != "$4" ]; then
        kind=read-back-differs detail="the new content beside $2 is not what was sent"
        return 1
    fi
    if ! same_metadata old new; then
        kind=metadata-lost detail="owner, mode, ACL or attributes of $2 cannot be kept"
        return 1
    fi
    if ln -- new keep 2>/dev/null; then
        [ -n "$unlinked" ] || return 0
        # Names can be given here, only not to the target: then it cannot be replaced either.
        words=$unlinked
        failed "$2 cannot be replaced: it is immutable, append-only or a mount point"
        kind=read-only
        return 1
    fi
    words=$(cp -p -- new keep 2>&1) && return
    failed "no second copy beside $2"
    return 1
}

# failed WHAT: sets `kind` and `detail` from what the tool said, in `words`.
failed() {
    failure
    detail="$1: $words"
}

# same_metadata A B: whether they differ in nothing but name, times and size.
same_metadata() {
    # shellcheck disable=SC2012 # see do_read_file
    lines=$(ls -ldn -- "$1" "$2") || return 1
    # ls sorts: which is which does not matter.
    mode_and_owner "${lines%%"$newline"*}"
    wanted=$found
    mode_and_owner "${lines#*"$newline"}"
    [ "$found" = "$wanted" ] || return 1
    if has getfattr; then
        # All of them, ACL and label too. A file without any is not named at all.
        text=$newline$newline$(getfattr -d -m - -- "$1" "$2" 2>/dev/null)
        attributes_of "$1"
        wanted=$found
        attributes_of "$2"
        [ "$found" = "$wanted" ]
    elif has getfacl; then
        [ "$(getfacl -cpn -- "$1")" = "$(getfacl -cpn -- "$2")" ]
    fi
}

# mode_and_owner LINE: of a line of `ls -ldn`, in `found`.
mode_and_owner() {
    # shellcheck disable=SC2086 # split on purpose
    set -- $1
    found="$1 $3 $4"
}

# attributes_of FILE: its block of what getfattr printed, in `found`.
attributes_of() {
    found=''
    case $text in
        *"$newline$newline# file: $1$newline"*)
            found=${text#*"$newline$newline# file: $1$newline"}
            found=${found%%"$newline$newline"*}
            ;;
    esac
}

# stage-script N KIND DATABASE, then NAME BYTES for each part; the parts one after the other as payload
do_stage_script() {
    ours || return
    change=$dir/c$1 kind=$2 target=''
    if [ "$kind" = sqlite ]; then absolute "$3" && target=$path; fi
    shift 3
    if [ -d "$change" ]; then rm -rf -- "$change"; fi
    mkdir -- "$change" 2>/dev/null || { reply no-space "$change cannot be made"; return; }
    # What it is comes last: a change that has no `what` is none.
    if ! take_payload "$change/all" || ! parts "$@" || ! say "$kind$newline$target$newline" 2>/dev/null >"$change/what"; then
        rm -rf -- "$change"
        reply no-space "$change cannot be written"
        return
    fi
    durable "$change"/* "$change"
    reply ok ''
}

# parts NAME BYTES...: cut out of the whole payload, because not every `head` stops reading where it stops printing.
parts() {
    from=1
    while [ $# -ge 2 ]; do
        tail -c "+$from" "$change/all" | head -c "$2" >"$change/$1" || return 1
        from=$((from + $2))
        shift 2
    done
}

# change N: sets `change` and what was written down of it: `kind`, `target` and, for a file, the digests `old` and `new`.
change() {
    change=$dir/c$1 number=$1 kind='' target='' old='' new=''
    { IFS= read -r kind && IFS= read -r target && IFS= read -r old && IFS= read -r new; } 2>/dev/null <"$change/what"
    [ -n "$kind" ]
}

# rehearse: the very same way back, on a copy.
do_rehearse() {
    ours || return
    numbers
    for number in $numbers; do
        if ! change "$number" || ! "rehearse_$kind" 2>"$dir/err"; then
            words_of "$dir/err"
            reply rehearsal-failed "the way back of change $number${target:+ ($target)} does not work: $words"
            return
        fi
    done
    # A word for whoever looks, no state: that the host is armed is.
    say "staged$newline" 2>/dev/null >"$dir/record" || { reply no-space "$dir is full"; return; }
    reply ok ''
}

rehearse_file() {
    enter "$target" "$number" || return
    # Staged once more by whom nobody listened to, and ended in the middle of it: it would be cut to half a file.
    digest new
    if [ "$sha" != "$new" ]; then say 'what is staged is not what was sent' >&2; return 1; fi
    durable new keep old . ..
    # Two names of one file are the same in every respect. (A shell without -ef looks closer.)
    # shellcheck disable=SC3013 # see above
    second_name new try && back_file try && digest try && [ "$sha" = "$old" ] &&
        { [ try -ef old ] 2>/dev/null || same_metadata old try; }
    good=$?
    rm -f -- try
    return "$good"
}

rehearse_sqlite() {
    sqlite3 -batch -bail -init /dev/null "$target" <"$change/rehearse" >/dev/null
}

rehearse_command() {
    which_command || return
    [ "$which" = old ] && return
    say 'the program that reads it prints another value than before' >&2
    return 1
}

# --- The dead-man's switch --------------------------------------------------------------------------------------------------

# An armed host goes back by itself unless it is confirmed in time. The file `armed` is the token: whoever renames it first, `confirm`
# to `confirmed` or `fire` to `fired`, has decided what the host holds, and nobody can do so twice. This very program, kept in the
# run's directory, watches the time; it needs no network, no sudo and no free space for the way back.

# switch_kind: what watches: a service of systemd, with another that goes back before the services start at boot, or a process.
switch_kind() {
    switch=process
    # State in an unusual place is not a host's own: whoever plays one must not change the machine that plays it.
    case $state in /var/lib/lockturn | /var/lib/lockturn-quarantine) ;; *) return 0 ;; esac
    if [ "$systemd" = yes ] && [ "$uid" = 0 ] && [ -w "$units" ]; then switch=systemd; fi
}

# arm LEASE-SECONDS SERVICES..., this program as payload. Services are lines, as `serve_again` reads them.
do_arm() {
    ours || return
    if [ -f "$dir/confirmed" ]; then reply changed "the host is confirmed already"; return; fi
    wait_for_switch
    if [ -f "$dir/fired" ] && ! has_gone_back; then
        if watched; then reply fired "the host is going back by itself"; return; fi
        # Whoever was at it died in the middle. Its services take what the next cut brings.
        numbers
        # shellcheck disable=SC2086 # numbers, split on purpose
        move new old revert $backwards || { reply "$badkind" "$bad"; return; }
    fi
    lease=$1
    shift
    text="$login$newline$PATH$newline"
    [ -e "$dir/uncut" ] || [ -e "$dir/cutting" ] || say "yes$newline" 2>/dev/null >"$dir/uncut" || { reply no-space "$dir is full"; return; }
    services=''
    for words in "$@"; do services=$services$words$newline; done
    # Whole or not at all: an earlier one may be running, and boot may need it in the middle of this.
    if ! take_payload "$dir/program.part" || ! mv -f -- "$dir/program.part" "$dir/program" || ! say "$text" >"$dir/login" || ! say "$services" >"$dir/services" || ! set_lease "$lease"; then
        reply no-space "$dir is full"
        return
    fi 2>/dev/null
    rm -f -- "$dir/fired" "$dir/record"
    durable "$dir/program" "$dir/login" "$dir/services"
    # What goes back at boot is there before there is anything to go back from.
    if [ "$switch" = systemd ] && ! write_units; then reply denied "no unit can be written in $units"; return; fi
    put "$dir/armed" "$switch" || { reply no-space "$dir is full"; return; }
    durable "$dir"
    if ! watched && ! start_watch; then
        if [ -f "$dir/fired" ]; then not_armed; return; fi
        # Who watches writes down who it is before anything else.
        if put "$dir/watch" none; then kind=service-failed; else kind=no-space; fi
        rm -f -- "$dir/armed"
        reply "$kind" "nothing watches the time of this host: the switch does not start"
        return
    fi
    reply ok "switch $switch"
}

# renew LEASE-SECONDS: the coordinator lives, and needs more time.
do_renew() {
    ours || return
    guarded || return
    if ! set_lease "$1"; then reply no-space "$dir is full"; return; fi
    if [ -f "$dir/armed" ]; then reply ok ''; else not_armed; fi
}

# not_armed: says what became of the token.
not_armed() {
    if [ -f "$dir/fired" ]; then
        reply fired "nobody confirmed it in time, so it went back by itself"
    else
        reply changed "this host is not armed"
    fi
}

# clock: seconds since the host was started, also those in which it slept, in `seconds`, and which start that was, in `boot`.
clock() {
    words_of /proc/sys/kernel/random/boot_id
    boot=${words:-none}
    words_of /proc/uptime
    seconds=${words%%.*}
    [ -n "$seconds" ] || seconds=$(date +%s)
}

set_lease() {
    clock
    # Not for the disk: another start ends it.
    say "$boot $((seconds + $1))$newline" 2>/dev/null >"$dir/lease.part" && mv -f -- "$dir/lease.part" "$dir/lease"
}

# is_due [SECONDS]: whether nobody confirmed in time, or would not have in so many seconds.
is_due() {
    words_of "$dir/lease"
    until=${words#* } since=${words% *}
    clock
    [ "$boot" != "$since" ] || [ "$((seconds + ${1:-0}))" -ge "$until" ]
}

has_gone_back() {
    words_of "$dir/record"
    [ "$words" = reverted ]
}

# wait_for_switch: while it is at the way back it is not disturbed.
wait_for_switch() {
    tries=0
    while [ -f "$dir/fired" ] && ! has_gone_back && watched && [ "$tries" -lt 30 ]; do
        sleep 1
        tries=$((tries + 1))
    done
}

# watched: whether somebody watches the time.
watched() {
    words_of "$dir/watch"
    [ -n "$words" ] || return 1
    watch=${words% *} its_time=${words#* }
    process "$watch" && [ "$began" = "$its_time" ] && [ "$alive" != Z ]
}

# guarded: somebody watches an armed host: the end of a login may have ended a process that did.
guarded() {
    if [ ! -f "$dir/armed" ] || watched || start_watch || [ ! -f "$dir/armed" ]; then return 0; fi
    refuse service-failed "nothing watches the time of this host"
}

start_watch() {
    if [ "$switch" = systemd ]; then
        systemctl reset-failed "lockturn-$run.service" >/dev/null 2>&1 </dev/null
        bounded 20 systemctl start "lockturn-$run.service" >/dev/null 2>&1 </dev/null || return
    else
        # A session of its own, and nobody's child: what ends ours must not end it.
        (setsid /bin/sh "$dir/program" watch "$state" "$run" >/dev/null 2>&1 </dev/null &)
    fi
    tries=0
    until watched; do
        [ -f "$dir/armed" ] && [ "$tries" -lt 200 ] || return 1
        tries=$((tries + 1))
        sleep 0.05 2>/dev/null || sleep 1
    done
}

# write_units: one that watches now, and one that goes back at the next start, before the services.
write_units() {
    before=''
    while read -r word action unit rest; do
        case $word$action in
            unitrestart | unitreload)
                # As systemctl completes a name.
                case $unit in
                    *.service | *.socket | *.target | *.timer | *.path | *.mount | *.automount | *.swap | *.slice | *.scope | *.device) ;;
                    *) unit=$unit.service ;;
                esac
                before="$before $unit"
                ;;
        esac
    done <"$dir/services"
    about="Description=lockturn: back to the old content unless the run $run is confirmed$newline"
    # Before sockets too, which are there before what units begin after by default.
    early="DefaultDependencies=no${newline}After=local-fs.target${newline}Conflicts=shutdown.target$newline"
    how="[Service]${newline}ExecStart=/bin/sh $dir/program"
    say "[Unit]$newline${about}StartLimitIntervalSec=0$newline$how watch $state $run${newline}Restart=on-failure${newline}RestartSec=1$newline" \
        2>/dev/null >"$units/lockturn-$run.service" &&
        say "[Unit]$newline$about${early}Before=shutdown.target$before${newline}RequiresMountsFor=$dir${newline}$how boot $state $run${newline}Type=oneshot$newline" \
            2>/dev/null >"$units/lockturn-boot-$run.service" &&
        { [ -d "$units/$wants" ] || mkdir -- "$units/$wants" 2>/dev/null; } &&
        ln -sf -- "../lockturn-boot-$run.service" "$units/$wants/" 2>/dev/null &&
        durable "$units/lockturn-$run.service" "$units/lockturn-boot-$run.service" "$units/$wants" "$units"
}

# fire MODE: takes the token, if nobody else has, and goes back.
fire() {
    mv -- "$dir/armed" "$dir/fired" 2>/dev/null || return 0
    # Who had been taken back may not have told the services.
    rm -f -- "$dir/record"
    durable "$dir"
    fired=yes
    go_back "$1"
}

# go_back MODE: until it is done, at boot only for a while.
go_back() {
    tries=0
    numbers
    # shellcheck disable=SC2086 # numbers, split on purpose
    until end_cut && move new old revert $backwards; do
        put "$dir/record" "stuck: $bad"
        tries=$((tries + 1))
        if [ "$1" = boot ] && [ "$tries" -ge 3 ]; then
            # It may need a service that waits for us: whoever goes on tells the services afterwards.
            bounded 20 systemctl start --no-block "lockturn-$run.service" >/dev/null 2>&1 </dev/null
            return
        fi
        sleep 5
        [ -f "$dir/fired" ] || return
    done
    # Services of a host that was never cut need not know; at boot they start by themselves.
    if [ "$1" != boot ] && [ ! -s "$dir/uncut" ]; then serve_again; fi
    put "$dir/record" reverted
}

# end_cut: a session in the middle of a cut would bring the new content after we had looked. So it is ended first.
end_cut() {
    [ -e "$dir/cutting" ] || return 0
    bad="a session that cuts cannot be ended"
    newest_session
    end_session && { mv -f -- "$dir/cutting" "$dir/uncut" 2>/dev/null || [ ! -e "$dir/cutting" ]; }
}

# serve_again: what makes the services take the old content, as the playbook makes them take the new one.
serve_again() {
    cd -- "$login" 2>/dev/null || cd /
    while read -r word action unit seconds; do
        case $word in
            unit)
                systemctl reset-failed -- "$unit" >/dev/null 2>&1 </dev/null
                bounded "$seconds" systemctl "$action" -- "$unit" >/dev/null 2>&1 </dev/null
                ;;
            run)
                count=$unit limit=$action
                set --
                while [ "$count" -gt 0 ] && IFS= read -r word; do
                    set -- "$@" "$word"
                    count=$((count - 1))
                done
                bounded "$limit" "$@" >/dev/null 2>&1 </dev/null
                ;;
        esac
    done <"$dir/services"
}

# end_switch: nobody watches any more, and nothing of it is left.
end_switch() {
    if watched; then kill "$watch" 2>/dev/null; fi
    [ "$switch" = systemd ] && [ -e "$units/lockturn-$run.service" ] || return 0
    # One that is just about to start, or to start again, has written down nothing yet.
    bounded 20 systemctl stop "lockturn-$run.service" >/dev/null 2>&1 </dev/null
    rm -f -- "$units/$wants/lockturn-boot-$run.service" "$units/lockturn-boot-$run.service" "$units/lockturn-$run.service"
    durable "$units" "$units/$wants"
}

# lockturn_alone MODE STATE RUN: this program without a coordinator, as the switch.
lockturn_alone() {
    lockturn_surroundings
    state=$2 run=$3 dir=$2/$3 uid=$(id -u)
    if [ -d /run/systemd/system ]; then systemd=yes; fi
    switch_kind
    { IFS= read -r login && IFS= read -r PATH; } 2>/dev/null <"$dir/login" || exit 0
    cd -- "$login" 2>/dev/null || cd /
    fired=no
    case $1 in
        watch)
            process "$$"
            # On a full disk it watches all the same, and nobody believes it.
            put "$dir/watch" "$$ $began"
            while [ -f "$dir/armed" ]; do
                if is_due; then fire now; else sleep 1; fi
            done
            ;;
        boot) fire boot ;;
    esac
    # A death in the middle of the way back does not end it.
    if [ -f "$dir/fired" ] && ! has_gone_back && [ "$fired" = no ]; then go_back "$1"; fi
}

# --- The cut and the way back -------------------------------------------------------------------------------------------------

# which_KIND: sets `which` to old, new, other or missing, or fails if that cannot be told now.
which_file() {
    which=missing
    [ -f "$target" ] || return 0
    which=other
    [ ! -L "$target" ] || return 0
    digest "$target"
    case $sha in "$new") which=new ;; "$old") which=old ;; esac
}

which_sqlite() {
    which=missing
    [ -f "$target" ] || return 0
    which=$(sqlite3 -batch -bail -init /dev/null "$target" <"$change/which") || return
    case $which in old | new) ;; *) which=other ;; esac
}

which_command() {
    which=other
    run_words "$change/read" /dev/null >"$dir/held" || { rm -f -- "$dir/held"; return 1; }
    for guess in new old; do
        # A program that prints a value may end it with a newline of its own.
        if cmp -s -- "$dir/held" "$change/$guess" || { cat -- "$change/$guess"; say "$newline"; } | cmp -s -- - "$dir/held"; then
            which=$guess
        fi
    done
    rm -f -- "$dir/held"
}

# run_words FILE INPUT: the command whose words stand one a line in FILE. What it says on standard error may be a value, and is not told.
run_words() {
    list=$1 input=$2
    set --
    while IFS= read -r word || [ -n "$word" ]; do set -- "$@" "$word"; done <"$list"
    bounded 30 "$@" <"$input" 2>/dev/null && return
    case $? in
        124 | 137) say "\`$1\` did not end within 30 s" >&2 ;;
        *) say "\`$1\` failed" >&2 ;;
    esac
    return 1
}

# cut_KIND, revert_KIND: one change there and back.
cut_file() {
    enter "$target" "$number" || return
    # `keep` stays, so that a host that went back can be cut again. It had been the live file, and may have been written to.
    if [ ! -f new ]; then
        second_name keep new && digest new || return
        [ "$sha" = "$new" ] || { rm -f -- new; echo "the new content kept beside it was written to" >&2; return 1; }
    fi
    rename new "../$name" && durable ..
}

# back_file TARGET: a fresh name of the backup over the target, so that the backup stays until the run is cleaned.
back_file() {
    second_name old back && rename back "$1"
}

# second_name FILE NAME: a hard link, or a copy where the file system has none.
second_name() {
    [ ! -e "$2" ] || rm -f -- "$2"
    ln -- "$1" "$2" 2>/dev/null || cp -p -- "$1" "$2"
}

# rename FILE TARGET: never into the target, should it have become a directory.
rename() {
    mv -fT -- "$1" "$2"
}

cut_sqlite() {
    say '' >"$change/begun" && sqlite3 -batch -bail -init /dev/null "$target" <"$change/cut" >/dev/null
}

cut_command() {
    # From here on the program may have stored half of it, which the way back must not take for somebody else's value.
    say '' >"$change/begun" && durable "$change" && store "$change/new" new
}

# store FILE WHICH: has the program store a value, and looks whether it did.
store() {
    run_words "$change/write" "$1" >/dev/null && which_command || return
    [ "$which" = "$2" ] && return
    say 'the program did not store what it was given' >&2
    return 1
}

revert_file() {
    enter "$target" "$number" && digest old || return
    [ "$sha" = "$old" ] || { echo "the backup beside it was written to" >&2; return 1; }
    back_file "../$name" && durable ..
}

revert_sqlite() {
    sqlite3 -batch -bail -init /dev/null "$target" <"$change/revert" >/dev/null
}

revert_command() {
    store "$change/old" old
}

# never_cut: a change that was never made has nothing to take back, whatever somebody else has put there since.
never_cut() {
    if [ "$kind" = file ]; then
        enter "$target" "$number" && [ -f new ]
    else
        [ ! -e "$change/begun" ]
    fi
}

# move FROM TO VERB NUMBERS...: brings each change from one content to the other; what is there already is left alone.
move() {
    from=$1 to=$2 verb=$3
    shift 3
    bad='' badkind=''
    for number in "$@"; do
        change "$number" || continue
        "which_$kind" 2>"$dir/err" || which=unread
        if [ "$which" = "$to" ]; then
            # Whoever moved it may have died before it was on the disk.
            if [ "$kind" = file ] && beside "$target" "$number"; then durable .; fi
            continue
        fi
        if [ "$verb" = revert ] && [ "$which" != "$from" ]; then
            if never_cut; then continue; fi
            # Half of a value that we had a program store is ours to take back.
            [ "$kind" != command ] || which=$from
        fi
        if [ "$which" = unread ]; then
            words_of "$dir/err"
            failure
            badkind=$kind bad="${bad:+$bad; }${target:-the value of change $number} cannot be read: $words"
        elif [ "$which" != "$from" ]; then
            badkind=changed bad="${bad:+$bad; }${target:-change $number} holds neither the old nor the new value ($which)"
        elif ! "${verb}_$kind" 2>"$dir/err"; then
            words_of "$dir/err"
            failure
            badkind=$kind bad="${bad:+$bad; }${target:-change $number}: $words"
        fi
        [ -z "$bad" ] || [ "$verb" = revert ] || break
    done
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
    guarded || return
    [ -f "$dir/armed" ] || { not_armed; return; }
    # As long as it has this name the switch ends us before it looks. It has it before we look once more whether the switch has fired:
    # so either we see that it has, or it sees us. A rename needs no room.
    [ -e "$dir/cutting" ] || mv -f -- "$dir/uncut" "$dir/cutting" 2>/dev/null || { reply read-only "$dir cannot be written"; return; }
    cut_armed
    mv -f -- "$dir/cutting" "$dir/uncut" 2>/dev/null
    if [ "$cut" = no ]; then
        reply "$badkind" "$bad"
    elif [ -f "$dir/armed" ]; then
        reply ok ''
    else
        wait_for_switch
        # Should it have died there.
        # shellcheck disable=SC2086 # numbers, split on purpose
        move new old revert $backwards
        not_armed
    fi
}

# cut_armed: sets `cut` to no if the host is armed and cannot be cut.
cut_armed() {
    cut=yes
    numbers
    [ -f "$dir/armed" ] || return
    # From here on the services may have to be told of the way back. What is emptied needs no room.
    if ! say '' 2>/dev/null >"$dir/cutting"; then cut=no badkind=read-only bad="$dir cannot be written"; return; fi
    # A host that starts again with the new content must know.
    durable "$dir/cutting"
    # shellcheck disable=SC2086 # numbers, split on purpose
    move old new cut $numbers || cut=no
}

do_revert() {
    ours || return
    # Whoever asks that goes by another ledger than the one in which it was decided.
    if [ -f "$dir/confirmed" ]; then reply changed "the host was told that the new value stays"; return; fi
    # The switch goes the same way: it is kept from it while we are at it, and waited for where it is at it already.
    if [ -f "$dir/armed" ]; then
        if is_due 120; then set_lease 120; fi
        # A start of the host may have ended who watched: should we die, the services are told all the same.
        watched || start_watch
    fi
    wait_for_switch
    numbers
    # The switch may fire just here: then both are at the same files, and the one that finds them moved is not the one that failed.
    # shellcheck disable=SC2086 # numbers, split on purpose
    if move new old revert $backwards || { [ -f "$dir/fired" ] && wait_for_switch && move new old revert $backwards; }; then
        # It stays armed: services run with the new content until they are told, and whoever is to tell them may die.
        put "$dir/record" reverted
        reply ok ''
    else
        reply "$badkind" "$bad"
    fi
}

# confirm: armed becomes confirmed in one rename; whoever loses that race is told so.
do_confirm() {
    ours || return
    if [ -f "$dir/confirmed" ]; then reply ok ''; return; fi
    numbers
    for number in $numbers; do
        change "$number" && "which_$kind" 2>"$dir/err" && [ "$which" = new ] && continue
        if [ -f "$dir/armed" ]; then reply changed "$target does not hold the new value ($which)"; else not_armed; fi
        return
    done
    if mv -- "$dir/armed" "$dir/confirmed" 2>/dev/null; then
        durable "$dir"
        reply ok ''
    else
        not_armed
    fi
}

# which: what this host holds, change by change
do_which() {
    numbers
    text=''
    for number in $numbers; do
        change "$number" || continue
        if ! "which_$kind" 2>"$dir/err"; then
            words_of "$dir/err"
            failure
            reply "$kind" "${target:-the value of change $number} cannot be read: $words"
            return
        fi
        text="$text$number $which$newline"
    done
    words_of "$dir/record"
    if [ -f "$dir/confirmed" ]; then
        words=confirmed
    elif [ -f "$dir/fired" ]; then
        words="fired ${words:-on its way}"
    elif [ -f "$dir/armed" ] && [ "$words" != reverted ]; then
        words=armed
    fi
    record=${words:-none}
    holder
    if [ "$holds" = "$run" ] && [ -n "$over" ]; then record=$over; fi
    reply ok "${text}record $record"
}

# was_cut: whether the new content may be, or may have been, in place.
was_cut() {
    [ -e "$dir/cutting" ] || { [ -e "$dir/uncut" ] && [ ! -s "$dir/uncut" ]; }
}

# clean [untouched]: nothing of the run stays, and that is looked at. Whoever knows of no cut says so.
do_clean() {
    # Before a session has taken the host nothing is staged.
    newest_session
    if [ -n "$words" ]; then ours over || return; fi
    numbers
    # Whoever cleans may know less than this host does, from a copy of the ledger that is older than the cut.
    if was_cut && { [ -f "$dir/armed" ] || { [ -f "$dir/fired" ] && ! has_gone_back; }; }; then
        if [ "${1-}" = untouched ]; then
            reply changed "this host was cut, so its services may run with the new value, and nobody says that they were told of the old one"
            return
        fi
        for number in $numbers; do
            if ! change "$number" || ! "which_$kind" 2>/dev/null || [ "$which" != new ]; then continue; fi
            reply changed "${target:-change $number} holds the new value, and nobody confirmed it"
            return
        done
    fi
    # From here on the lock tells that the run is over, and how: whoever has another ledger, or none, must know even if this dies in the
    # middle. Written over itself it needs no room; where even that cannot be written, what is removed now makes some.
    holder
    if [ "$holds" = "$run" ] && [ -z "$over" ]; then
        over=cleaning
        [ ! -f "$dir/confirmed" ] || over='cleaning confirmed'
        if say "$run $over$newline" 2>/dev/null 1<>"$state/lock"; then durable "$state/lock"; fi
    fi
    # Nor does it wait any more: this may die once nobody watches, and a power cut must not bring back what waits.
    if [ -f "$dir/armed" ]; then
        if ! rm -f -- "$dir/armed" 2>/dev/null; then reply denied "$dir/armed could not be removed"; return; fi
        durable "$dir"
    fi
    left=''
    for number in $numbers; do
        change "$number"
        [ "$kind" = file ] || continue
        remove_beside "$target" "$number"
        at=${target%/*}/.lockturn-$run-$number
        if [ -e "$at" ] || [ -L "$at" ]; then left="$left$at$newline"; fi
    done
    if [ -n "$left" ]; then reply denied "these could not be removed: $left"; return; fi
    end_switch
    holder
    newest_session
    set --
    # The newest first: whoever comes while this goes on, or after it died, finds no gap in them.
    while [ "$turn" -gt 1 ]; do
        turn=$((turn - 1))
        set -- "$@" "$dir/session$turn"
    done
    set -- "$@" "$dir"
    # The lock goes last: until then no other run can come in between.
    if [ "$holds" = "$run" ]; then set -- "$@" "$state/lock"; fi
    rm -rf -- "$@"
    holder
    if [ -e "$dir" ] || [ "$holds" = "$run" ]; then reply denied "$dir and $state/lock could not be removed"; return; fi
    # What a power cut brought back would hold this host for a run that is over, with both values in it.
    durable "$state"
    reply ok ''
}

# leftovers: runs that have state on this host
do_leftovers() {
    text=''
    for left in "$state"/*/; do
        left=${left%/}
        # What a quarantine keeps is meant to stay.
        if [ -d "$left" ] && [ "$left" != "$state/kept" ]; then text="$text${left##*/}$newline"; fi
    done
    # Whose clean died at its very end has its name in the lock, and nothing else.
    holder
    if [ -n "$holds" ] && [ ! -d "$state/$holds" ]; then text="$text$holds$newline"; fi
    reply ok "$text"
}

# --- The loop -------------------------------------------------------------------------------------------------------------

lockturn_serve() {
    lockturn_surroundings
    say "LOCKTURN-READY 1$newline"
    IFS= read -r nonce || exit 1
    while IFS=' ' read -r seq verb count bytes; do
        set --
        while [ "$count" -gt 0 ]; do
            IFS= read -r argument || exit 1
            set -- "$@" "$argument"
            count=$((count - 1))
        done
        taken=no
        cd -- "$login" 2>/dev/null || cd /
        case $verb in
            hello) do_hello "$@" ;;
            read-file) do_read_file "$@" ;;
            sqlite) do_sqlite "$@" ;;
            command) do_command "$@" ;;
            unit) do_unit "$@" ;;
            activate-unit) do_activate_unit "$@" ;;
            lock) do_lock "$@" ;;
            keep) do_keep "$@" ;;
            fetch) do_fetch "$@" ;;
            stage-file) do_stage_file "$@" ;;
            stage-script) do_stage_script "$@" ;;
            rehearse) do_rehearse ;;
            arm) do_arm "$@" ;;
            renew) do_renew "$@" ;;
            cut) do_cut ;;
            revert) do_revert ;;
            confirm) do_confirm ;;
            which) do_which ;;
            clean) do_clean "$@" ;;
            leftovers) do_leftovers ;;
            kept) do_kept ;;
            seen-from) do_seen_from ;;
            bye) exit 0 ;;
            *) reply answer-broken "this program has no verb $verb" ;;
        esac
        drop_payload
    done
}

case ${1-} in
    '') lockturn_serve ;;
    load | hold) lockturn_hold "$@" ;;
    *) lockturn_alone "$@" ;;
esac
