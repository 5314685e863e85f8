# shellcheck shell=bash
# shellcheck disable=SC2034  # variables are shared with install.sh and its other parts
# What has to be so before anything is changed. Sourced by install.sh.

NEEDED_MIB=300
SYSTEM_ENV=/etc/decode-agent/agent.env
KEYRING=/etc/decode-agent/keyring
PACKAGES=() PYTHON='' SETTINGS='' CREDENTIALS='' SYSTEMD=0 DOCKER_SOCKET=''

check_all() {
    check_systemd
    check_space
    check_settings
    check_credentials
    check_python
    check_pipx
    check_docker
    check_nvidia
    check_packages
}

# --- systemd ---------------------------------------------------------------------------------------------------

systemd_runs() { [ -d /run/systemd/system ]; }

check_systemd() {
    systemd_runs || return 0
    SYSTEMD=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    [ "$SYSTEMD" -ge 247 ] || die "systemd 247 or newer is needed, $SYSTEMD runs here: use Debian 12 or newer"
}

# --- room ------------------------------------------------------------------------------------------------------

# existing PATH: the path, or the nearest folder above it that is there.
existing() {
    local path=$1
    until [ -e "$path" ]; do path=$(dirname "$path"); done
    printf '%s' "$path"
}

check_space() {
    local place free
    place=$(existing /opt/decode-agent)
    free=$(df --output=avail -m "$place" | tail -n 1)
    [ "$free" -ge "$NEEDED_MIB" ] || die "$place has $((free)) MiB free, $NEEDED_MIB are needed: make room there"
}

# --- settings and credentials ----------------------------------------------------------------------------------

# setting NAME [FILE]: its value as an env file has it, without quotes; enough for what is asked before Python is
# there. The agent itself reads the file again, strictly, before the service is touched.
setting() {
    local line
    line=$(sed -nE "s/^[[:space:]]*(export[[:space:]]+)?(DECODE_)?$1[[:space:]]*=[[:space:]]*(.*[^[:space:]])[[:space:]]*\$/\3/p" \
        "${2:-$SETTINGS}" | tail -n 1)
    case $line in
        \"*\" | \'*\') line=${line:1:-1} ;;
        *) line=${line%%[[:space:]]#*} ;;
    esac
    printf '%s' "$line"
}

# readable FILE: as a text in UTF-8; ends with what is wrong.
readable() {
    [ -e "$1" ] || die "the env file $1 does not exist: check --env-file"
    [ -f "$1" ] || die "the env file $1 is no file: check --env-file"
    cat -- "$1" >/dev/null 2>&1 || die "the env file $1 cannot be read: check its permissions and its disk"
    iconv -f UTF-8 -t UTF-8 -- "$1" >/dev/null 2>&1 || die "the env file $1 is not text in UTF-8: save it as such"
}

# Where settings come from now, and after the first run from /etc alone.
check_settings() {
    [ -z "$ENV_FILE" ] || { readable "$ENV_FILE" && ENV_FILE=$(realpath "$ENV_FILE"); }
    if [ -e "$SYSTEM_ENV" ]; then
        SETTINGS=$SYSTEM_ENV
    elif [ -n "$ENV_FILE" ]; then
        SETTINGS=$ENV_FILE
    elif [ -e "$HERE/.env" ]; then
        SETTINGS=$HERE/.env
    else
        die "no settings yet: cp .env.example .env, set API_URL, USERNAME and PASSWORD there, and run this again" \
            "(or name another file with --env-file)"
    fi
    readable "$SETTINGS"
    # Ends by itself if one is not possible.
    other_folders >/dev/null
    [ -n "$(setting API_URL)" ] || die "API_URL is not set in $SETTINGS: the address of your DECODE OpenCloud"
}

has_credentials() {
    [ -n "$(setting ACCESS_TOKEN "$1")" ] || { [ -n "$(setting USERNAME "$1")" ] && [ -n "$(setting PASSWORD "$1")" ]; }
}

# What the keyring holds; nothing if there is none, or if it is another machine's.
keyring() {
    if [ -s "$KEYRING.cred" ]; then
        systemd-creds decrypt --name=decode-agent.keyring "$KEYRING.cred" - 2>>"$LOG" || true
    elif [ -s "$KEYRING.json" ]; then
        cat "$KEYRING.json"
    fi
}

# After a logout the keyring is there, and empty.
has_kept_account() {
    local content
    content=$(keyring)
    [[ $content =~ \"decode-agent\":\ *\{\ *\" ]]
}

# From where: a file, `kept` ones, or `ask`.
check_credentials() {
    if [ -n "$ENV_FILE" ] && has_credentials "$ENV_FILE"; then
        CREDENTIALS=$ENV_FILE
    elif has_kept_account; then
        CREDENTIALS=kept
    elif has_credentials "$SETTINGS"; then
        CREDENTIALS=$SETTINGS
    elif [ -t 0 ] || [ -n "$DRY_RUN" ]; then
        CREDENTIALS=ask
    else
        usage_error "no credentials: set USERNAME and PASSWORD (or ACCESS_TOKEN) in a file and name it with" \
            "--env-file, or run this at a terminal, where it asks for them"
    fi
}

# --- programs --------------------------------------------------------------------------------------------------

new_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

makes_venvs() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

check_python() {
    local name found=''
    for name in /usr/bin/python3 /usr/bin/python3.1[1-9] /usr/local/bin/python3 /usr/local/bin/python3.1[1-9]; do
        if [ -n "$PYTHON" ] || [ ! -x "$name" ]; then continue; fi
        found=${found:-$name}
        ! new_python "$name" || PYTHON=$name
    done
    if [ -n "$PYTHON" ]; then
        makes_venvs "$PYTHON" || want "$(basename "$PYTHON")-venv"
    elif [ -z "$found" ] && have apt-get; then
        PYTHON=/usr/bin/python3
        want python3 python3-venv
    else
        die "Python 3.11 or newer is needed, ${found:+only $("$found" --version 2>&1) is installed}${found:-none is installed}:" \
            "use Debian 12 or newer, or: sudo apt install python3.11 python3.11-venv"
    fi
}

# pipx 1.0 or newer, or one of our own in a venv; none if this version is installed already.
check_pipx() {
    [ ! -x "$PYTHON" ] || ! complete "$OPT/versions/$(version_id)" || return 0
    ! good_pipx || return 0
    [ -n "$OFFLINE" ] || ! have apt-get || want pipx
}

good_pipx() {
    case $(/usr/bin/pipx --version 2>/dev/null) in
        [1-9]*.*) ;;
        *) return 1 ;;
    esac
}

want() { PACKAGES+=("$@"); }

check_docker() {
    local host
    host=$(setting DOCKER_HOST)
    case ${host:-unix:///var/run/docker.sock} in
        unix://*) DOCKER_SOCKET=${host:-unix:///var/run/docker.sock} && DOCKER_SOCKET=${DOCKER_SOCKET#unix://} ;;
        *) return 0 ;;
    esac
    if [ -S "$DOCKER_SOCKET" ]; then
        [ -x "$PYTHON" ] || return 0
        host=$("$PYTHON" "$PARTS/machine.py" ping "$DOCKER_SOCKET" 2>&1) ||
            die "$host. Start it (sudo systemctl start docker) and run this again"
        [ "$(stat -c %G "$DOCKER_SOCKET")" = docker ] || die "$DOCKER_SOCKET is the group's" \
            "$(stat -c %G "$DOCKER_SOCKET"), not docker's, so the service could not use it:" \
            "sudo groupadd --force --system docker && sudo systemctl restart docker"
    elif have dockerd; then
        die "Docker is installed but does not run: sudo systemctl enable --now docker"
    elif [ -n "$OFFLINE" ]; then
        die "Docker is needed and cannot be installed without a network: sudo apt install docker.io"
    elif ! have apt-get; then
        die "Docker is needed: install it as https://docs.docker.com/engine/install says, then run this again"
    elif [ -z "$WITH_DOCKER$YES$DRY_RUN" ] && [ ! -t 0 ]; then
        usage_error "Docker is needed: sudo apt install docker.io, or let this do it with --with-docker or --yes"
    else
        want docker.io iptables
        # With AppArmor in the kernel an engine starts no container unless it can load its profile.
        ! grep -qs Y /sys/module/apparmor/parameters/enabled || have apparmor_parser || want apparmor
    fi
}

# Only said, never installed: a driver is a matter of the machine's kernel and of what else runs on it.
check_nvidia() {
    grep -qsi '^0x10de$' /sys/bus/pci/devices/*/vendor || [ -e /proc/driver/nvidia/version ] || return 0
    [ -e /proc/driver/nvidia/version ] ||
        warn "an NVIDIA card without a running driver; jobs get no GPU until: sudo apt install nvidia-driver, reboot"
    have nvidia-container-runtime-hook || have nvidia-ctk ||
        warn "no NVIDIA container toolkit; jobs get no GPU until it is installed:" \
            "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
}

# One question for all that is to be installed.
check_packages() {
    [ "${#PACKAGES[@]}" -gt 0 ] || return 0
    [ -z "$OFFLINE" ] || die "missing: ${PACKAGES[*]}. Without a network this cannot install them: sudo apt install ${PACKAGES[*]}"
    have apt-get || die "missing: ${PACKAGES[*]} (named as in Debian); install them and run this again"
    local package asked=()
    for package in "${PACKAGES[@]}"; do
        case $WITH_DOCKER$package in
            yesdocker.io | yesiptables | yesapparmor) ;;
            *) asked+=("$package") ;;
        esac
    done
    [ "${#asked[@]}" -eq 0 ] || confirm "Install with apt: ${asked[*]}?" "--yes"
}
