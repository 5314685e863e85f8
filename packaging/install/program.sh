# shellcheck shell=bash
# shellcheck disable=SC2034  # variables are shared with install.sh and its other parts
# The program: packages it stands on, and one version of it in a folder of its own. Sourced by install.sh.

OPT=/opt/decode-agent
VERSION_FOLDER=''

# --- packages of the distribution ------------------------------------------------------------------------------

install_packages() {
    [ "${#PACKAGES[@]}" -gt 0 ] || return 0
    changes "install with apt: ${PACKAGES[*]}" || return 0
    step "Installing with apt: ${PACKAGES[*]}"
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    quietly "apt-get update" apt-get -q update
    # An old distribution has no pipx, or one before 1.0; then a venv will hold one.
    case $(apt-cache policy pipx) in *"Candidate: "[1-9]*) ;; *) drop_package pipx ;; esac
    dpkg-query -W -f '${Package}\n' | sort >"$SCRATCH/packages"
    undo purge_packages "$(existing_docker)"
    quietly "apt-get install" apt-get -q -y --no-install-recommends install "${PACKAGES[@]}"
    new_python "$PYTHON" || die "Python 3.11 or newer is needed, the distribution has only $("$PYTHON" --version)"
    [ -n "$DOCKER_SOCKET" ] || return 0
    engine_answers "$DOCKER_SOCKET" || ! systemd_runs || quietly "starting Docker" systemctl start docker
    check_docker
    check_hazard
}

drop_package() {
    local package kept=()
    for package in "${PACKAGES[@]}"; do
        [ "$package" = "$1" ] || kept+=("$package")
    done
    PACKAGES=("${kept[@]}")
}

# What Docker makes when it is started, and of that, what is here before it is installed.
DOCKER_FOLDERS=(/var/lib/docker /var/lib/containerd /etc/docker /etc/cni)
existing_docker() {
    local path
    for path in "${DOCKER_FOLDERS[@]}"; do [ ! -e "$path" ] || printf '%s ' "$path"; done
    getent group docker | cut -d : -f 1
}

# purge_packages WAS_HERE: the packages that this run brought, and what Docker made when it was started by that.
purge_packages() {
    local path new
    mapfile -t new < <(dpkg-query -W -f '${Package}\n' | sort | comm -13 "$SCRATCH/packages" -)
    [ "${#new[@]}" -eq 0 ] || apt-get -q -y purge "${new[@]}" || return 1
    case " ${PACKAGES[*]} " in *" docker.io "*) ;; *) return 0 ;; esac
    for path in "${DOCKER_FOLDERS[@]}"; do
        case " $1 " in *" $path "*) continue ;; esac
        awk -v below="$path/" 'index($2, below) == 1 {print $2}' /proc/self/mounts | sort -r | xargs -r umount -l
        rm -rf --one-file-system "$path"
    done
    rm -f "$DOCKER_SOCKET"
    case " $1 " in *" docker "*) ;; *) ! getent group docker >/dev/null || groupdel docker ;; esac
}

# --- one version -----------------------------------------------------------------------------------------------

# A version is its number and all that it is made from, so that what was changed without a new number counts too.
# The Python belongs to it: after an upgrade of the distribution the old venv is of no use.
version_id() {
    local interpreter
    interpreter=$("$PYTHON" -c 'import sys; print(sys.version_info[:2])' 2>/dev/null || printf 'of the distribution')
    (
        cd "$HERE" || exit
        find agent systemd pyproject.toml -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
        printf "%s\n" "$interpreter"
    ) | sha256sum | cut -c 1-8 | sed "s/^/$(version)-/"
}

complete() { [ -e "$1/complete" ] && "$1/bin/decode-agent" --version >/dev/null 2>&1; }

build_program() {
    VERSION_FOLDER=$OPT/versions/$(version_id)
    ! complete "$VERSION_FOLDER" || return 0
    check_wheels
    put_folder "$OPT/versions"
    changes "install decode-agent $(version) into $VERSION_FOLDER" || return 0
    step "Installing decode-agent $(version)${OFFLINE:+ from $OFFLINE}"
    undo rm -rf "$VERSION_FOLDER"
    rm -rf "$VERSION_FOLDER"
    mkdir "$VERSION_FOLDER"
    run_pipx || why_pipx_failed
    complete_version
}

# Every direct need that the folder lacks is named at once; pip would name one at a time.
check_wheels() {
    [ -n "$OFFLINE" ] || return 0
    [ -d "$OFFLINE" ] || die "--offline: there is no folder $OFFLINE"
    OFFLINE=$(realpath "$OFFLINE")
    local lacking pip=(pip)
    good_pipx || pip+=(pipx)
    lacking=$("$PYTHON" "$PARTS/machine.py" lacking "$OFFLINE" "$HERE/pyproject.toml" "${pip[@]}" | paste -sd ' ')
    [ -z "$lacking" ] || die "$OFFLINE lacks: $lacking. Fill it where there is a network: packaging/wheels.sh DIR"
}

# Settings of whoever calls, such as an index of the lab's own, count; where things go does not.
run_pipx() {
    local pipx=/usr/bin/pipx environment=(
        "PIPX_HOME=$VERSION_FOLDER" "PIPX_BIN_DIR=$VERSION_FOLDER/bin" "PIPX_MAN_DIR=$VERSION_FOLDER/man"
        "PIPX_SHARED_LIBS=$VERSION_FOLDER/shared" "PIPX_DEFAULT_PYTHON=$PYTHON" USE_EMOJI=0
        PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1
    )
    if [ -n "$OFFLINE" ]; then
        # Not as --pip-args: those do not reach the pip that pipx upgrades for itself, nor (before 1.8) survive a
        # space in the folder's name. pip splits this at spaces, too, hence the link.
        ln -s "$OFFLINE" "$SCRATCH/wheels"
        environment+=(PIP_NO_INDEX=1 "PIP_FIND_LINKS=$SCRATCH/wheels")
    fi
    good_pipx || { bootstrap_pipx "${environment[@]}" && pipx=$VERSION_FOLDER/pipx/bin/pipx; } || return 1
    printf '\n--- pipx install\n' >>"$LOG"
    (cd / && env "${environment[@]}" "$pipx" install --python "$PYTHON" "${HERE}[host]") \
        >>"$LOG" 2>&1 </dev/null 9>&-
}

# bootstrap_pipx ENVIRONMENT...
bootstrap_pipx() {
    printf '\n--- pipx in a venv of its own\n' >>"$LOG"
    {
        "$PYTHON" -m venv "$VERSION_FOLDER/pipx" &&
            env "$@" "$VERSION_FOLDER/pipx/bin/pip" install 'pipx>=1.0'
    } >>"$LOG" 2>&1 </dev/null 9>&-
}

# pip's own last line says it best; pipx writes some of it into a log of its own.
why_pipx_failed() {
    local said free
    free=$(df --output=avail -m "$OPT" | tail -n 1)
    [ "$free" -ge 20 ] || die "no space left for the program: $OPT has $((free)) MiB free, make room there"
    said=$(cat "$LOG" "$VERSION_FOLDER"/logs/*.log 2>/dev/null |
        grep -E '^ *(ERROR|error|E:)|No matching|No space|Errno' | sort -u | tail -n 3)
    printf '%s\n' "${said:-$(tail -n 3 "$LOG")}" | cut -c 1-300 | sed 's/^ */    /' >&2
    die "pipx could not install the program: is the network there, and room on the disk?" \
        "Without a network: --offline DIR"
}

complete_version() {
    quietly "the new program" "$VERSION_FOLDER/bin/decode-agent" --version
    rm -rf "$VERSION_FOLDER/pipx" "$VERSION_FOLDER/shared" "$VERSION_FOLDER/logs" "$VERSION_FOLDER/.cache"
    mkdir "$VERSION_FOLDER/share"
    cp "$HERE/docs/operations.md" "$HERE/.env.example" "$VERSION_FOLDER/share/"
    : >"$VERSION_FOLDER/complete"
}

# The version before stays: its own install.sh goes back to it at once, without a network.
drop_old_versions() {
    local folder before=$1
    [ "$before" != "$VERSION_FOLDER" ] || return 0
    for folder in "$OPT"/versions/*; do
        case $folder in
            "$VERSION_FOLDER" | "$before" | "$OPT/versions/*") ;;
            *) drop "$folder" ;;
        esac
    done
}
