#!/usr/bin/env bash
# Installs decode-agent, or shows it at work: see usage() below.
#
# Everything is in functions and main runs on the last line, so that a file cut short in a download does nothing.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)
CACHE=${XDG_CACHE_HOME:-/var/cache}/decode-agent
LOG=$CACHE/install.log

usage() {
    cat <<END
usage: sudo ./install.sh --demo[=smlm|comet]

  --demo         take a job through its whole life on this machine: camera frames in, localizations out
  --demo=comet   the same with COMET, a drift correction that the network really runs
  --version      print the version
  --help         print this

The demo installs what is missing with apt (Python's venv, Docker), plays the API and the user itself, and asks no
image registry. It changes nothing else and leaves its outputs in demo-outputs/.
END
}

# --- talking ---------------------------------------------------------------------------------------------------

step() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }

note() { printf '        %s\n' "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# quietly WHAT COMMAND...: the command's noise goes to the log, whose end is shown if it fails.
quietly() {
    local what=$1
    shift
    printf '\n--- %s: %s\n' "$what" "$*" >>"$LOG"
    "$@" >>"$LOG" 2>&1 </dev/null || {
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
    mkdir -p "$CACHE"
    : >"$LOG"
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

# --- main ------------------------------------------------------------------------------------------------------

version() { sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$HERE/agent/__init__.py"; }

main() {
    case ${1-} in
        --demo | --demo=smlm | --demo=comet)
            [ "$#" -eq 1 ] || die "--demo takes no further options"
            need_root "$1"
            # shellcheck source=packaging/demo/demo.sh
            . "$HERE/packaging/demo/demo.sh"
            case $1 in
                *=*) demo "${1#*=}" ;;
                *) demo smlm ;;
            esac
            ;;
        --version) version ;;
        --help | -h) usage ;;
        "")
            printf '%s\n' "Installing the system-wide service is not part of this version yet." \
                "What works: sudo ./install.sh --demo, and the agent in the foreground (README.md)." >&2
            exit 2
            ;;
        *)
            printf 'error: unknown option %s\n\n' "$1" >&2
            usage >&2
            exit 2
            ;;
    esac
}

main "$@"
