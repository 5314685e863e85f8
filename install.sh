#!/usr/bin/env bash
# Installs decode-agent as a service of this machine, upgrades it, repairs it, removes it: see usage() below.
#
# Everything is in functions and main runs on the last line, so that a file cut short in a download does nothing.
# The parts in packaging/install are sourced; they share these variables and the functions here.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)
PARTS=$HERE/packaging/install
CACHE=${XDG_CACHE_HOME:-/var/cache}/decode-agent
LOG=/dev/null

# What the options say.
YES='' WITH_DOCKER='' DRY_RUN='' ENV_FILE='' OFFLINE='' ACTION=install

usage() {
    cat <<END
usage: sudo ./install.sh [options]        install, upgrade or repair: any number of times
       sudo ./install.sh --uninstall | --purge | --demo[=smlm|comet]

  --env-file F   take settings and credentials from F (without it: from .env beside this script, if there is one)
  --with-docker  install Docker from the distribution if there is none
  --yes          answer every question with yes
  --offline DIR  install from a folder of wheels, without a network; packaging/wheels.sh fills one
  --dry-run      say every change, make none
  --uninstall    remove the program and the service; keep settings, credentials, state and user
  --purge        remove these too, and the agent's containers
  --demo         take a job through its whole life on this machine: camera frames in, localizations out
  --demo=comet   the same with COMET, a drift correction that the network really runs
  --version      print the version
  --help         print this

Settings are kept in /etc/decode-agent/agent.env, which no later run changes. Credentials go to the service's own
keyring and not into that file. docs/operations.md tells all.
The demo asks no image registry and leaves its outputs in demo-outputs/.
END
}

# --- talking ---------------------------------------------------------------------------------------------------

step() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }

note() { printf '        %s\n' "$*"; }

warn() { printf 'warning: %s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# The command line lacks something: nothing was changed.
usage_error() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# quietly WHAT COMMAND...: the command's noise goes to the log, whose end is shown if it fails.
quietly() {
    local what=$1
    shift
    printf '\n--- %s: %s\n' "$what" "$*" >>"$LOG"
    "$@" >>"$LOG" 2>&1 </dev/null 9>&- || {
        tail -n 5 "$LOG" | sed 's/^/    /' >&2
        die "$what failed; the whole output is in $LOG"
    }
}

# --- the machine -----------------------------------------------------------------------------------------------

have() { command -v "$1" >/dev/null 2>&1; }

need_root() {
    [ "$(id -u)" -eq 0 ] || die "this needs root: sudo ./install.sh $*"
    # An administrator's shell may lack them, and dockerd, ip and iptables live there.
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
    umask 022
}

python_makes_venvs() { /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null; }

need_python() {
    /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "Python 3.11 or newer is needed, $(/usr/bin/python3 --version) is installed: use Debian 12 or newer"
}

# An engine answers at a Unix socket. Asked in Python: there may be no Docker client and no curl.
engine_answers() {
    [ -S "$1" ] && /usr/bin/python3 - "$1" <<'END'
import socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.settimeout(10)
    try:
        line.connect(sys.argv[1])
        line.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        sys.exit(b" 200 " not in line.recv(64))
    except OSError:
        sys.exit(1)
END
}

# Does systemd run this machine, and is the unit running?
unit_active() { [ -d /run/systemd/system ] && systemctl is-active --quiet "$1"; }

# apt_install PACKAGE...: says what it installs; without apt it names what is missing.
apt_install() {
    [ "$#" -gt 0 ] || return 0
    have apt-get || die "missing: $* (named as in Debian), and there is no apt to install them with"
    step "Installing with apt: $*"
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    quietly "apt-get update" apt-get -q update
    quietly "apt-get install" apt-get -q -y --no-install-recommends install "$@"
}

# --- installing -------------------------------------------------------------------------------------------------

install_all() {
    local before
    check_all
    check_hazard
    before=$(readlink -f "$OPT/current" 2>/dev/null || true)
    install_packages
    build_program
    put_user
    put_settings
    prove_settings
    put_folders
    put_credentials

    put_service
    drop_old_versions "$before"
    remember_folders "$OPT/made-folders"
    keep_changes
    last_words
}

last_words() {
    if [ -n "$DRY_RUN" ]; then
        [ -n "$CHANGED" ] || printf 'nothing to change\n'
        return
    fi
    [ -z "$ENV_FILE" ] || [ "$SETTINGS" = "$ENV_FILE" ] ||
        note "Of $ENV_FILE only the credentials were taken: settings are in $SYSTEM_ENV and stay as they are."
    if [ -z "$CHANGED" ]; then
        step "Nothing to change: decode-agent $(version) is installed${SYSTEMD:+ and runs}."
    else
        step "decode-agent $(version) is installed."
    fi
    if systemd_runs; then
        printf 'Runs:  %s\n' "$(systemctl show -P StatusText "$SERVICE" | grep . || echo "the service decode-agent ($(systemctl is-active "$SERVICE"))")"
        printf 'Logs:  journalctl -u decode-agent\n'
        printf 'Next:  decode-agent status; settings are in %s (then: sudo systemctl reload decode-agent)\n' "$SYSTEM_ENV"
    else
        printf 'Runs:  nothing yet, for systemd does not run this machine: sudo decode-agent run\n'
        printf 'Logs:  it writes them to the terminal\n'
        printf 'Next:  sudo decode-agent check\n'
    fi
}

# --- main -------------------------------------------------------------------------------------------------------

version() { sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$HERE/agent/__init__.py"; }

need_repository() {
    [ -r "$PARTS/change.sh" ] || die "$PARTS is missing: run install.sh inside a whole copy of the repository"
}

source_parts() {
    need_repository
    # shellcheck source=packaging/install/change.sh
    . "$PARTS/change.sh"
    # shellcheck source=packaging/install/checks.sh
    . "$PARTS/checks.sh"
    # shellcheck source=packaging/install/files.sh
    . "$PARTS/files.sh"
    # shellcheck source=packaging/install/program.sh
    . "$PARTS/program.sh"
    # shellcheck source=packaging/install/service.sh
    . "$PARTS/service.sh"
    # shellcheck source=packaging/install/removal.sh
    . "$PARTS/removal.sh"
}

run_demo() {
    need_root "$1"
    mkdir -p "$CACHE"
    LOG=$CACHE/install.log
    : >"$LOG"
    need_repository
    # shellcheck source=packaging/demo/demo.sh
    . "$HERE/packaging/demo/demo.sh"
    case $1 in
        *=*) demo "${1#*=}" ;;
        *) demo smlm ;;
    esac
}

# value_of OPTION [VALUE]: the value of an option that needs one.
value_of() {
    [ -n "${2-}" ] || usage_error "$1 needs a value; see ./install.sh --help"
    printf '%s' "$2"
}

parse() {
    while [ "$#" -gt 0 ]; do
        case $1 in
            --yes | -y) YES=yes ;;
            --with-docker) WITH_DOCKER=yes ;;
            --dry-run) DRY_RUN=yes ;;
            --env-file)
                ENV_FILE=$(value_of "${@:1:2}") || exit 2
                shift
                ;;
            --env-file=*) ENV_FILE=$(value_of --env-file "${1#*=}") || exit 2 ;;
            --offline)
                OFFLINE=$(value_of "${@:1:2}") || exit 2
                shift
                ;;
            --offline=*) OFFLINE=$(value_of --offline "${1#*=}") || exit 2 ;;
            --uninstall) ACTION=uninstall ;;
            --purge) ACTION=purge ;;
            --demo | --demo=smlm | --demo=comet) usage_error "--demo takes no further options" ;;
            *)
                printf 'error: unknown option %s\n\n' "$1" >&2
                usage >&2
                exit 2
                ;;
        esac
        shift
    done
}

main() {
    case ${1-} in
        --demo | --demo=smlm | --demo=comet)
            [ "$#" -eq 1 ] || usage_error "--demo takes no further options"
            run_demo "$1"
            return
            ;;
        --version) version && return ;;
        --help | -h) usage && return ;;
    esac
    local given=$*
    parse "$@"
    need_root "$given"
    source_parts
    begin
    case $ACTION in
        install) install_all ;;
        uninstall) uninstall ;;
        purge) purge ;;
    esac
}

main "$@"
