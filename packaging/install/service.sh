# shellcheck shell=bash
# shellcheck disable=SC2034  # variables are shared with install.sh and its other parts
# Credentials, the switch to the new version, and the proof that it runs. Sourced by install.sh.

SERVICE=decode-agent.service
STEADY_S=4
RESTART=''

# --- credentials -----------------------------------------------------------------------------------------------

# By the new program itself: it proves them to the API before it stores them, or asks for them.
put_credentials() {
    [ "$CREDENTIALS" != kept ] || return 0
    local before options=(--no-restart --env-file "$SYSTEM_ENV")
    [ "$CREDENTIALS" = ask ] || options+=(--from "$CREDENTIALS")
    if [ -n "$DRY_RUN" ]; then
        printf 'would prove the credentials (from: %s) to the API and store them below /etc/decode-agent\n' "$CREDENTIALS"
        return
    fi
    before=$(keyring | sha256sum)
    restore_later "$KEYRING.cred"
    restore_later "$KEYRING.json"
    # What it says about the service's next start is not so here; on a terminal its questions have to be seen.
    if [ "$CREDENTIALS" = ask ]; then
        (cd / && exec "$VERSION_FOLDER/bin/decode-agent" login "${options[@]}" 9>&-)
    else
        (cd / && exec "$VERSION_FOLDER/bin/decode-agent" login "${options[@]}" 9>&- </dev/null >>"$LOG")
    fi || die "the credentials could not be stored; mend what the line above says and run this again"
    # Compared by what is in it: encrypted anew, the same content is another file.
    if [ "$before" = "$(keyring | sha256sum)" ]; then
        keep_keyring
    else
        CHANGED=yes RESTART=yes
    fi
}

# The same content: back to the very files of before.
keep_keyring() {
    local at
    for ((at = ${#UNDO[@]} - 4; at < ${#UNDO[@]}; at++)); do eval "${UNDO[$at]}"; done
}

# --- the switch ------------------------------------------------------------------------------------------------

active() { systemctl is-active --quiet "$SERVICE"; }

# Is there a container that would lose its GPU by a reload of systemd? Then nothing is changed now.
check_hazard() {
    systemd_runs && [ -S "$DOCKER_SOCKET" ] && [ -x "$PYTHON" ] && units_differ || return 0
    local names
    names=$("$PYTHON" "$PARTS/machine.py" hazard "$DOCKER_SOCKET" | paste -sd ' ') || die "Docker could not be asked"
    [ -z "$names" ] || die "nothing was changed: this needs systemctl daemon-reload, by which these running" \
        "containers would lose their GPU on this host: $names. Let them end (sudo decode-agent drain) and run" \
        "this again; for good it is cured by CDI, see docs/operations.md"
}

reload_systemd() {
    changes "systemctl daemon-reload" || return 0
    quietly "systemctl daemon-reload" systemctl daemon-reload
}

# Files first, so that at every moment what systemd would start fits together; the restart is last.
put_service() {
    local reload=''
    ! units_differ || reload=yes
    # Carried out last, when everything else is back.
    [ -n "$DRY_RUN" ] || ! systemd_runs || undo service_as_before "$(active && echo active || echo inactive)"
    [ -z "$reload" ] || ! systemd_runs || undo systemctl daemon-reload
    put_units
    put_link "$OPT/current" "versions/$(basename "$VERSION_FOLDER")"
    put_link "$COMMAND" "$OPT/current/bin/decode-agent"
    systemd_runs || return 0
    if ! systemctl is-enabled --quiet "$SERVICE" 2>/dev/null && changes "start $SERVICE at every boot"; then
        undo systemctl disable --no-reload "$SERVICE"
        quietly "systemctl enable" systemctl enable --no-reload "$SERVICE"
    fi
    # After enabling: a link that is made later counts as a change on the disk, too.
    [ -z "$reload" ] || reload_systemd
    start_service
}

# Running jobs do not notice: the agent lets go of their containers and takes them up again.
start_service() {
    if [ -n "$DRY_RUN" ]; then
        [ -z "$CHANGED" ] || printf 'would restart %s and wait until it is ready\n' "$SERVICE"
        return
    fi
    [ -n "$CHANGED$RESTART" ] || ! active || return 0
    changes "systemctl restart $SERVICE"
    step "Starting the service"
    undo systemctl stop "$SERVICE"
    systemctl reset-failed "$SERVICE" 2>/dev/null || true
    SINCE=$(date +%s)
    systemctl restart "$SERVICE" >>"$LOG" 2>&1 </dev/null || service_failed
    steady || service_failed
}

# One and the same process for some seconds.
steady() {
    local process at
    process=$(systemctl show -P MainPID "$SERVICE")
    for ((at = 0; at < STEADY_S; at++)); do
        sleep 1
        active && [ "$(systemctl show -P MainPID "$SERVICE")" = "$process" ] || return 1
    done
}

service_failed() {
    printf 'The new version does not run. Its last lines:\n' >&2
    journalctl --no-pager -q -u "$SERVICE" --since "@$SINCE" -o cat 2>/dev/null | tail -n 12 | sed 's/^/    /' >&2
    die "decode-agent $(version) did not become ready and stay so"
}

# The end of the way back.
service_as_before() {
    [ "$1" = active ] || return 0
    systemctl reset-failed "$SERVICE"
    if systemctl restart "$SERVICE" && steady; then
        AFTERWARDS="Rolled back: $("$COMMAND" --version) is back and running."
    else
        AFTERWARDS="error: rolled back, but the version before does not run either: journalctl -u decode-agent"
    fi
}
