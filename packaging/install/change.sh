# shellcheck shell=bash
# shellcheck disable=SC2034  # variables are shared with install.sh and its other parts
# Changing the machine so that it can be undone. Sourced by install.sh.
#
# Whoever changes something first says with `undo` how to take it back. If the run ends before `keep_changes`, the
# list is carried out backwards. In a dry run nothing is changed: `changes` says what would be.

RUN_LOCK=/run/decode-agent-install.lock
UNDO=() MADE=() CHANGED='' SCRATCH='' AFTERWARDS=''

begin() {
    [ -z "$DRY_RUN" ] || return 0
    exec 9>>"$RUN_LOCK"
    flock -n 9 || die "another run of install.sh is at work on this machine; wait for its end"
    SCRATCH=$(mktemp -d /run/decode-agent-install.XXXXXXXX)
    LOG=$(mktemp /tmp/decode-agent-install.XXXXXXXX.log)
    trap finish EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# Runs at the end, whatever that is; a second Ctrl-C does not stop it.
finish() {
    local code=$? line at
    set +e
    trap '' HUP INT TERM
    if [ "$code" -ne 0 ] && [ "${#UNDO[@]}" -gt 0 ]; then
        printf 'Taking back what was changed.\n' >&2
        for ((at = ${#UNDO[@]} - 1; at >= 0; at--)); do
            line=${UNDO[$at]}
            printf '\n--- undo: %s\n' "$line" >>"$LOG"
            eval "$line" >>"$LOG" 2>&1 9>&- || printf 'warning: this failed: %s\n' "$line" >&2
        done
        printf '%s\n' "${AFTERWARDS:-The machine is as it was before.}" "The whole output is in $LOG" >&2
    fi
    if [ "$code" -eq 0 ] || [ ! -s "$LOG" ]; then rm -f "$LOG"; fi
    rm -rf "$SCRATCH"
    exit "$code"
}

# undo COMMAND...: what takes back the change that follows.
undo() { [ -n "$DRY_RUN" ] || UNDO+=("$(printf '%q ' "$@")"); }

keep_changes() { UNDO=(); }

# changes WHAT: says a change; true if it is to be made now. Use: `changes "…" || return 0`.
changes() {
    CHANGED=yes
    if [ -n "$DRY_RUN" ]; then
        printf 'would %s\n' "$1"
        return 1
    fi
    printf '\n--- %s\n' "$1" >>"$LOG"
}

# confirm QUESTION OPTIONS: on a terminal asks; without one says which option answers it, and ends.
confirm() {
    [ -z "$YES" ] || return 0
    if [ -n "$DRY_RUN" ]; then
        printf 'would ask: %s [y/N]\n' "$1"
        return 0
    fi
    [ -t 0 ] || usage_error "this has to be answered: $1 No terminal to ask at: say yes with $2"
    local answer
    read -r -p "$1 [y/N] " answer
    case $answer in
        [yY] | [yY][eE][sS]) ;;
        *) die "nothing was changed" ;;
    esac
}

# same PATH MODE OWNER TEXT: whether the file is already as it should be.
same() {
    [ -f "$1" ] && [ ! -L "$1" ] && [ "$(stat -c '%a %U:%G' "$1")" = "${2#0} $3" ] && [ "$(cat "$1")" = "$4" ]
}

# put_file PATH MODE OWNER TEXT: the file appears whole or not at all, and its folder with it.
put_file() {
    local path=$1 mode=$2 owner=$3 text=$4
    ! same "$@" || return 0
    put_folder "$(dirname "$path")"
    changes "write $path" || return 0
    restore_later "$path"
    printf '%s\n' "$text" >"$path.new"
    chmod "$mode" "$path.new"
    chown "$owner" "$path.new"
    mv -fT "$path.new" "$path"
}

# put_folder PATH: with the folders above it, all of root's and open to readers.
put_folder() {
    local made
    [ ! -d "$1" ] || return 0
    # A dry run would say it once for each file.
    for made in "${MADE[@]}"; do [ "$made" != "$1" ] || return 0; done
    put_folder "$(dirname "$1")"
    MADE+=("$1")
    changes "make the folder $1" || return 0
    undo rmdir "$1"
    mkdir -m 0755 "$1"
}

# restore_later PATH: puts the file back as it is now, or removes it if there is none now.
restore_later() {
    local kept
    undo rm -f "$1.new"
    if [ -e "$1" ] || [ -L "$1" ]; then
        kept=$SCRATCH/kept.${#UNDO[@]}
        cp -a "$1" "$kept"
        undo cp -aT --remove-destination "$kept" "$1"
    else
        undo rm -f "$1"
    fi
}

# put_link PATH TARGET: switched in one step.
put_link() {
    [ "$(readlink "$1" || true)" != "$2" ] || return 0
    [ ! -e "$1" ] || [ -L "$1" ] || die "$1 is in the way: it is no link of this program; move it away"
    put_folder "$(dirname "$1")"
    changes "link $1 to $2" || return 0
    restore_later "$1"
    ln -sfT "$2" "$1.new"
    mv -fT "$1.new" "$1"
}

# drop PATH...: removes files and folders with all that is in them.
drop() {
    local path
    for path in "$@"; do
        [ -e "$path" ] || [ -L "$path" ] || continue
        changes "remove $path" || continue
        rm -rf --one-file-system "$path"
    done
}

# remember_folders FILE: which ones this run made, the deepest last, for the day when all is removed.
remember_folders() { [ -n "$DRY_RUN" ] || [ "${#MADE[@]}" -eq 0 ] || printf '%s\n' "${MADE[@]}" >>"$1"; }

# drop_empty FOLDER...: removes the folders that nothing is left in.
drop_empty() {
    local path
    for path in "$@"; do
        [ -n "$DRY_RUN" ] || [ ! -d "$path" ] || rmdir --ignore-fail-on-non-empty "$path"
    done
}
