# shellcheck shell=bash
# shellcheck disable=SC2034  # variables are shared with install.sh and its other parts
# Removing what install.sh put here. Sourced by install.sh.

uninstall() {
    find_docker
    confirm_jobs running "--uninstall leaves them running, but nobody fetches their results until the agent is installed again"
    remove_program
    removed "Kept: /etc/decode-agent, $STATE, the user decode-agent" \
        "(--purge removes them); Docker and what jobs left in it."
}

purge() {
    confirm "Remove decode-agent with its settings, credentials, state, user and containers?" --yes
    find_docker
    local folder folders=() names=()
    [ -z "$SETTINGS" ] || mapfile -t folders < <(other_folders)
    mapfile -t names < <(job_containers all)
    remove_program
    for folder in "${names[@]}"; do
        changes "remove the container $folder" || continue
        quietly "removing $folder" /usr/bin/python3 "$PARTS/machine.py" remove "$DOCKER_SOCKET" "$folder"
    done
    for folder in "${folders[@]}"; do drop_job_folders "$folder"; done
    drop "$DROP_INS" "$STATE" /etc/decode-agent /run/decode-agent "$CACHE"
    if id decode-agent >/dev/null 2>&1 && changes "remove the user decode-agent"; then
        quietly "removing the user" drop_user
    fi
    removed "Kept: Docker, with the images that jobs used."
}

# removed WHAT_IS_KEPT: the last word.
removed() {
    if [ -z "$CHANGED" ]; then
        step "There was nothing to remove."
    elif [ -z "$DRY_RUN" ]; then
        step "decode-agent is removed. $*"
    fi
}

# The engine that the settings name, if there are any.
find_docker() {
    local host=''
    if [ -r "$SYSTEM_ENV" ]; then
        SETTINGS=$SYSTEM_ENV
        host=$(setting DOCKER_HOST)
    fi
    host=${host:-unix:///var/run/docker.sock}
    DOCKER_SOCKET=${host#unix://}
}

# job_containers STATE: those of the agent that is installed here.
job_containers() {
    local id=$STATE
    [ -z "$SETTINGS" ] || id=$(setting STATE_DIR)
    id=${id:-$STATE}/agent-id
    [ -s "$id" ] && [ -S "$DOCKER_SOCKET" ] || return 0
    /usr/bin/python3 "$PARTS/machine.py" jobs "$DOCKER_SOCKET" "$(cat "$id")" "$1" || true
}

confirm_jobs() {
    local names
    names=$(job_containers "$1" | paste -sd ' ')
    [ -z "$names" ] || confirm "Running jobs: $names; $2. Go on?" --yes
}

remove_program() {
    if systemd_runs && systemctl cat "$SERVICE" >/dev/null 2>&1; then
        if changes "stop $SERVICE and start it at boot no more"; then
            quietly "systemctl stop" systemctl stop "$SERVICE"
            quietly "systemctl disable" systemctl disable --no-reload "$SERVICE"
        fi
    fi
    local made=()
    [ ! -r "$OPT/made-folders" ] || mapfile -t made < <(tac "$OPT/made-folders")
    drop "$UNIT" "$DROP_INS/10-credentials.conf" "$DROP_INS/20-folders.conf" /etc/systemd/system/"multi-user.target.wants/$SERVICE"
    drop "$SYSUSERS" "$TMPFILES" "$NEEDRESTART" "$COMMAND" "$OPT"
    drop_empty "$DROP_INS" "${made[@]}"
    ! systemd_runs || forget_unit
}

# A reload is not needed for the unit to be gone, so it never costs a running job its GPU.
forget_unit() {
    local names=''
    if [ -S "$DOCKER_SOCKET" ] && [ -x /usr/bin/python3 ]; then
        names=$(/usr/bin/python3 "$PARTS/machine.py" hazard "$DOCKER_SOCKET" | paste -sd ' ') || true
    fi
    if [ -n "$names" ]; then
        note "systemd is not reloaded, for these would lose their GPU: $names. Later: sudo systemctl daemon-reload"
    elif changes "systemctl daemon-reload"; then
        quietly "systemctl daemon-reload" systemctl daemon-reload
        systemctl reset-failed "$SERVICE" 2>/dev/null || true
    fi
}

# drop_job_folders FOLDER: what is the agent's in a folder that was chosen for it; the folder may hold more.
drop_job_folders() {
    local path
    for path in "$1"/*; do
        case $(basename "$path") in
            *[!0-9]*) case $(basename "$path") in agent.db* | agent.ballast | agent-id | agent.lock | jobs) drop "$path" ;; esac ;;
            *) drop "$path" ;;
        esac
    done
    drop_empty "$1"
}
