# shellcheck shell=bash
# shellcheck disable=SC2034  # variables are shared with install.sh and its other parts
# The user, the settings and the files by which systemd knows the service. Sourced by install.sh.

UNIT=/etc/systemd/system/decode-agent.service
DROP_INS=$UNIT.d
SYSUSERS=/etc/sysusers.d/decode-agent.conf
TMPFILES=/etc/tmpfiles.d/decode-agent.conf
NEEDRESTART=/etc/needrestart/conf.d/decode-agent.conf
COMMAND=/usr/local/bin/decode-agent
STATE=/var/lib/decode-agent
SECRET_NAMES='USERNAME|PASSWORD|ACCESS_TOKEN'

# --- user and folders ------------------------------------------------------------------------------------------

put_user() {
    put_file "$SYSUSERS" 644 root:root "$(cat "$HERE/systemd/decode-agent.sysusers")"
    if ! id decode-agent >/dev/null 2>&1 || ! getent group docker >/dev/null; then
        if changes "add the system user decode-agent"; then
            id decode-agent >/dev/null 2>&1 || undo drop_user
            getent group docker >/dev/null || undo groupdel docker
            quietly "adding the user" add_user
        fi
    fi
    put_file "$TMPFILES" 644 root:root "$(cat "$HERE/systemd/decode-agent.tmpfiles")"
    put_folder /etc/decode-agent
    put_private_folder "$STATE"
}

add_user() {
    if have systemd-sysusers; then
        systemd-sysusers "$SYSUSERS"
    else
        getent group docker >/dev/null || groupadd --system docker
        useradd --system --user-group --home-dir "$STATE" --shell /usr/sbin/nologin decode-agent
    fi
}

drop_user() {
    ! id decode-agent >/dev/null 2>&1 || userdel decode-agent
    ! getent group decode-agent >/dev/null || groupdel decode-agent
}

# put_private_folder PATH: the agent's alone; what an earlier install kept is the user's again.
put_private_folder() {
    [ "$(stat -c '%a %U:%G' "$1" 2>/dev/null)" = '700 decode-agent:decode-agent' ] && return
    if [ ! -d "$1" ]; then
        put_folder "$(dirname "$1")"
        changes "make the folder $1" || return 0
        undo rm -rf --one-file-system "$1"
        mkdir -m 0700 "$1"
        chown decode-agent:decode-agent "$1"
    elif changes "make $1 the user's decode-agent"; then
        undo chown -R --no-dereference "$(stat -c %u:%g "$1")" "$1"
        undo chmod "$(stat -c %a "$1")" "$1"
        chown -R --no-dereference decode-agent:decode-agent "$1"
        chmod 0700 "$1"
    fi
}

# --- settings --------------------------------------------------------------------------------------------------

# The first run takes the file over, without the credentials: those go to the keyring. Later runs leave it alone.
put_settings() {
    [ ! -e "$SYSTEM_ENV" ] || return 0
    changes "write $SYSTEM_ENV from $SETTINGS, without the credentials" || return 0
    local text
    text=$(without_secrets "$SETTINGS") || die "$SETTINGS cannot be read by the agent"
    restore_later "$SYSTEM_ENV"
    (
        umask 077
        printf '%s\n' "$text" >"$SYSTEM_ENV.new"
    )
    chown root:decode-agent "$SYSTEM_ENV.new"
    chmod 0640 "$SYSTEM_ENV.new"
    mv -fT "$SYSTEM_ENV.new" "$SYSTEM_ENV"
}

# By the parser that the agent reads it with: a quoted value may go over several lines.
without_secrets() {
    program_python - "$1" "$SECRET_NAMES" <<'END'
import re, sys
from dotenv.parser import parse_stream
with open(sys.argv[1], encoding="utf-8-sig") as file:
    for one in parse_stream(file):
        if not re.fullmatch(f"(DECODE_)?({sys.argv[2]})", one.key or ""):
            sys.stdout.write(one.original.string)
END
}

program_python() { "$VERSION_FOLDER/venvs/decode-agent/bin/python" -I "$@"; }

# The new program reads the settings as the service will; nothing of the running one was touched yet.
prove_settings() {
    [ -z "$DRY_RUN" ] || return 0
    local said
    said=$(cd / && env -i PATH="$PATH" "$VERSION_FOLDER/venvs/decode-agent/bin/python" -I - "$SYSTEM_ENV" 2>&1 <<'END'
import sys
from pathlib import Path
from agent.core.errors import ConfigError
from agent.settings import read_settings
try:
    read_settings(Path(sys.argv[1]), {}, Path("/"))
except ConfigError as error:
    sys.exit(str(error))
END
    ) || die "the settings are not right, mend them and run this again: $said"
}

# --- what systemd reads ----------------------------------------------------------------------------------------

# unit_files: each as a line `path source-of-its-text`; planned before anything is changed, and then written.
unit_files() { printf '%s\n' "$UNIT unit_text" "$DROP_INS/10-credentials.conf credentials_text" "$DROP_INS/20-folders.conf folders_text"; }

unit_text() { cat "$HERE/systemd/decode-agent.service"; }

credentials_text() {
    printf '# Written by install.sh: where the service gets its keyring from (docs/operations.md).\n[Service]\n'
    if [ -s "$KEYRING.cred" ] || { [ ! -s "$KEYRING.json" ] && [ "$SYSTEMD" -ge 250 ]; }; then
        printf 'LoadCredentialEncrypted=decode-agent.keyring:%s.cred\n' "$KEYRING"
    else
        printf 'LoadCredential=decode-agent.keyring:%s.json\n' "$KEYRING"
    fi
}

# Folders that the settings put elsewhere; the sandbox lets the agent write to its own only. Empty: no such file.
folders_text() {
    local folder folders=()
    mapfile -t folders < <(other_folders)
    [ "${#folders[@]}" -gt 0 ] || return 0
    printf '# Written by install.sh: folders that STATE_DIR and PATH_HOST_BASE in agent.env name.\n'
    printf '[Unit]\n'
    for folder in "${folders[@]}"; do printf 'RequiresMountsFor="%s"\n' "$folder"; done
    printf '[Service]\n'
    for folder in "${folders[@]}"; do
        printf 'ReadWritePaths="%s"\n' "$folder"
        case $folder in /home/* | /root/* | /run/user/*) printf 'ProtectHome=read-only\n' ;; esac
    done
}

other_folders() {
    local name folder
    for name in STATE_DIR PATH_HOST_BASE; do
        folder=$(setting "$name")
        case $folder in
            '' | "$STATE" | "$STATE"/*) continue ;;
            /tmp/* | /var/tmp/*) die "$name=$folder: the service has a /tmp of its own; choose a folder elsewhere" ;;
            *[\"%\\]*) die "$name=$folder: \", % and \\ are not possible in the name of a folder of the service" ;;
            /*) printf '%s\n' "${folder%/}" ;;
            *) die "$name=$folder is not an absolute path" ;;
        esac
    done
}

put_folders() {
    local folder folders=()
    mapfile -t folders < <(other_folders)
    for folder in "${folders[@]}"; do put_private_folder "$folder"; done
}

# units_differ: whether something that systemd reads will change.
units_differ() {
    local path source text
    while read -r path source; do
        text=$("$source")
        [ -n "$text" ] || { [ ! -e "$path" ] && continue; } || return 0
        same "$path" 644 root:root "$text" || return 0
    done < <(unit_files)
    return 1
}

put_units() {
    local path source text
    while read -r path source; do
        text=$("$source")
        if [ -n "$text" ]; then
            put_file "$path" 644 root:root "$text"
        elif [ -e "$path" ] && changes "remove $path"; then
            restore_later "$path"
            rm -f "$path"
        fi
    done < <(unit_files)
    put_file "$NEEDRESTART" 644 root:root "$(cat "$HERE/systemd/decode-agent.needrestart")"
}
