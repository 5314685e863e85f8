# shellcheck shell=bash
# The demo: one job through its whole life on this machine. Sourced by install.sh, whose functions it uses.
#
# What it starts it also ends, however it is left: the agent and its container, the stand-in of the API, and the
# Docker engine, which is the demo's own unless one answers already.

DEMO=$HERE/packaging/demo
VENV=$CACHE/demo-venv
PYTHON=$VENV/bin/python
BRIDGE=decode-demo0
SYSTEM_SOCKET=/var/run/docker.sock
WORK='' ENGINE='' ENGINE_PID='' API_PID='' USER_PID='' AGENT_PID=''

demo() {
    local app=$1
    demo_lock
    trap demo_clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    WORK=$(mktemp -d "$CACHE/demo.XXXXXXXX")
    # The clone belongs to whoever called sudo: root's compiled modules have no place in it.
    export PYTHONDONTWRITEBYTECODE=1
    demo_install_missing
    need_python
    demo_make_venv
    demo_find_engine
    demo_simulate "$app"
    demo_build_image "$app"
    demo_start_api
    demo_submit "$app"
    demo_run_agent
    demo_show "$app"
}

# Two demos would share a bridge and a cache; the lock goes with the process that holds it.
demo_lock() {
    exec 9>"$CACHE/demo.lock"
    flock -n 9 || die "another demo is running on this machine"
}

# --- what it needs ---------------------------------------------------------------------------------------------

demo_install_missing() {
    local packages=()
    python_makes_venvs || packages+=(python3 python3-venv)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates)
    have ip || packages+=(iproute2)
    if ! have dockerd && [ ! -S "$SYSTEM_SOCKET" ]; then
        packages+=(docker.io iptables)
        # With AppArmor in the kernel an engine starts no container unless it can load its profile.
        ! grep -qs Y /sys/module/apparmor/parameters/enabled || have apparmor_parser || packages+=(apparmor)
    fi
    apt_install "${packages[@]}"
    case " ${packages[*]} " in
        *" docker.io "*) demo_stop_distribution_engine ;;
    esac
}

# Debian starts a service when it is installed. The demo was asked to leave no daemon behind that came with it.
demo_stop_distribution_engine() {
    if unit_active docker.service || unit_active docker.socket; then
        note "Debian's Docker service is stopped again; start it with: systemctl start docker"
        quietly "systemctl stop" systemctl stop docker.socket docker.service containerd.service
    elif engine_answers "$SYSTEM_SOCKET"; then
        note "Debian's Docker service is stopped again; start it with: service docker start"
        quietly "service docker stop" service docker stop
    fi
}

demo_make_venv() {
    local stamp
    stamp=$(printf '%s\n' "$HERE" "$(/usr/bin/python3 --version)" | cat - "$HERE/pyproject.toml" | sha256sum)
    [ "$(cat "$VENV/stamp" 2>/dev/null)" = "$stamp" ] && return
    step "Installing the agent and the stand-in of the API into $VENV"
    quietly "python3 -m venv" /usr/bin/python3 -m venv --clear "$VENV"
    # Debian 12's pip knows no dependency groups.
    quietly "pip install" "$PYTHON" -m pip install --quiet --upgrade pip
    quietly "pip install" "$PYTHON" -m pip install --quiet --editable "${HERE}[host]" \
        --group "$HERE/pyproject.toml:mock" --requirement "$DEMO/smlm/requirements.txt"
    printf '%s' "$stamp" >"$VENV/stamp"
}

# --- the engine ------------------------------------------------------------------------------------------------

# An engine that answers is used and left alone. Asking a socket that systemd listens on would start the engine.
demo_find_engine() {
    if ! { unit_active docker.socket && ! unit_active docker.service; } && engine_answers "$SYSTEM_SOCKET"; then
        ENGINE=unix://$SYSTEM_SOCKET
        step "Using the Docker engine that runs here"
        return
    fi
    have dockerd || die "nothing answers at $SYSTEM_SOCKET, and there is no dockerd to start"
    demo_start_engine
}

# An engine for the demo alone. Its jobs need no network, so it writes no firewall rules and forwards nothing;
# its own bridge keeps it off the docker0 of another engine.
demo_start_engine() {
    step "Starting a Docker engine for the demo: $(dockerd --version)"
    ENGINE=unix://$WORK/docker.sock
    echo '{}' >"$WORK/daemon.json"
    ip link show "$BRIDGE" >/dev/null 2>&1 || quietly "ip link add" ip link add "$BRIDGE" type bridge
    setsid dockerd --host "$ENGINE" --config-file "$WORK/daemon.json" --pidfile "$WORK/dockerd.pid" \
        --data-root "$WORK/docker" --exec-root "$WORK/docker-exec" --bridge "$BRIDGE" \
        --iptables=false --ip-forward=false --ip-masq=false --userland-proxy=false \
        --containerd-namespace decode-demo --containerd-plugins-namespace decode-demo-plugins \
        >>"$LOG" 2>&1 </dev/null 9>&- &
    ENGINE_PID=$!
    await "dockerd" "$ENGINE_PID" engine_answers "$WORK/docker.sock"
}

# await NAME PID COMMAND...: until the command succeeds; dies when the process ends before, or after two minutes.
await() {
    local name=$1 pid=$2 tries=600
    shift 2
    until "$@"; do
        kill -0 "$pid" 2>/dev/null || die "$name ended at once; its output is in $LOG"
        [ $((tries -= 1)) -gt 0 ] || die "$name is not ready after two minutes; its output is in $LOG"
        sleep 0.2
    done
}

# --- the job ---------------------------------------------------------------------------------------------------

demo_simulate() {
    step "Simulating the input, with a known truth that the job does not get to see"
    "$PYTHON" "$DEMO/$1/simulate.py" "$WORK/input" >"$WORK/simulated" || die "the simulation failed"
    note "$(cat "$WORK/simulated")"
}

demo_build_image() {
    step "Building the job's image from this machine's Python (made once, then kept in $CACHE)"
    "$PYTHON" "$DEMO/build_image.py" "$1" --docker-host "$ENGINE" --cache "$CACHE" --pip "$VENV/bin/pip" \
        >"$WORK/image" 2>>"$LOG" || die "building the image failed: $(tail -n 1 "$LOG")"
    note "image $(cat "$WORK/image")"
}

demo_start_api() {
    step "Starting the stand-in of the API"
    (cd "$HERE" && exec setsid "$PYTHON" -m mock_api serve --port 0 --root "$WORK/api" --ready-file "$WORK/url") \
        >>"$LOG" 2>&1 </dev/null 9>&- &
    API_PID=$!
    await "mock_api" "$API_PID" test -s "$WORK/url"
}

# The user's side: submits, watches, and fetches the outputs once the job is over.
demo_submit() {
    step "Submitting the job"
    note "$(cat "$DEMO/$1/command")"
    (cd "$HERE" && exec "$PYTHON" -m mock_api submit --api "$(cat "$WORK/url")" --image "$(cat "$WORK/image")" \
        --cmd "$(cat "$DEMO/$1/command")" --file "data=$WORK/input/data" --output output --log log --artifact '' \
        --memory 2048 --outputs "$WORK/outputs") >"$WORK/user" 2>&1 </dev/null 9>&- &
    USER_PID=$!
    await "mock_api submit" "$USER_PID" grep -q submitted "$WORK/user"
}

# Settings come from here alone: neither the caller's environment nor an agent.env of this machine may change it.
demo_run_agent() {
    step "Running the agent until the queue is empty: decode-agent run --until-idle"
    : >"$WORK/agent.env"
    (cd "$WORK" && exec env -i PATH="$PATH" HOME="$WORK" LANG=C.UTF-8 TERM="${TERM:-dumb}" \
        PYTHONDONTWRITEBYTECODE=1 DECODE_API_URL="$(cat "$WORK/url")" DECODE_ACCESS_TOKEN=worker1-token \
        DECODE_STATE_DIR="$WORK/state" DECODE_DOCKER_HOST="$ENGINE" DECODE_IMAGE_PULL=never \
        DECODE_TIMEOUT_JOB=2 DECODE_TIMEOUT_STATUS=5 DECODE_MIN_FREE_DISK_GIB=1 \
        "$VENV/bin/decode-agent" run --until-idle --env-file "$WORK/agent.env") 9>&- &
    AGENT_PID=$!
    # In the background and waited for: so a signal is dealt with at once and not when the agent has ended.
    local code=0
    wait "$AGENT_PID" || code=$?
    AGENT_PID=''
    [ "$code" -eq 0 ] || die "the agent ended with exit code $code"
}

demo_show() {
    local app=$1 verdict=0 place=$HERE/demo-outputs/$1
    wait "$USER_PID" || verdict=$?
    USER_PID=''
    step "The job as its user saw it"
    grep -vF "$WORK" "$WORK/user" | sed 's/^/        /'
    [ "$verdict" -eq 0 ] || die "the job did not finish; what the API and the engine wrote is in $LOG"
    step "How good it is, against the truth"
    "$PYTHON" "$DEMO/$app/assess.py" "$WORK/outputs" "$WORK/input/truth" >"$WORK/figures" ||
        die "the job's outputs could not be assessed"
    sed 's/^/        /' "$WORK/figures"
    [ ! -L "$HERE/demo-outputs" ] || die "$HERE/demo-outputs is a link: remove it"
    rm -rf "$place"
    mkdir -p "$place"
    cp -r "$WORK/outputs/." "$place"
    chown -R "${SUDO_UID:-0}:${SUDO_GID:-0}" "$HERE/demo-outputs"
    step "Verdict: finished. Outputs in $place:"
    (cd "$place" && find . -type f -printf '        %P (%s bytes)\n' | sort)
}

# --- the end ---------------------------------------------------------------------------------------------------

demo_clean_up() {
    local code=$?
    set +e
    trap '' HUP INT TERM
    demo_end_process "$AGENT_PID"
    demo_end_process "$USER_PID"
    # An interrupted agent leaves its container running, for its next start to adopt. Here there will be none.
    [ ! -d "$WORK/state" ] || "$PYTHON" "$DEMO/remove_containers.py" "$ENGINE" "$WORK/state" >>"$LOG" 2>&1
    demo_end_process "$API_PID"
    demo_end_process "$ENGINE_PID"
    [ -z "$ENGINE_PID" ] || ip link delete "$BRIDGE" 2>>"$LOG"
    # dockerd unmounts what it mounted; one that had to be killed does not.
    awk -v below="$WORK/" '$2 ~ "^" below {print $2}' /proc/self/mounts | sort -r | xargs -r umount -l 2>>"$LOG"
    [ -z "$WORK" ] || rm -rf --one-file-system "$WORK"
    exit "$code"
}

# End a process by asking, and by force after half a minute.
demo_end_process() {
    [ -n "$1" ] && kill -TERM "$1" 2>/dev/null || return 0
    local tries=150
    while kill -0 "$1" 2>/dev/null && [ $((tries -= 1)) -gt 0 ]; do sleep 0.2; done
    kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}
