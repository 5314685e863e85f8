#!/usr/bin/env bash
# Fills a folder with all that an installation without a network needs: ./install.sh --offline DIR
#
#   packaging/wheels.sh DIR [VERSION...]   VERSION: of Python on the machines to install on, such as 3.11 3.13;
#                                          default: that of this machine's python3
#
# Run it where there is a network, on a machine with the processor of those to install on; then carry DIR there.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=${PYTHON:-python3}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# What the agent needs on a workstation, what builds it, and what installs it (pipx, and a pip for pipx).
requirements() {
    "$PYTHON" - "$HERE/pyproject.toml" <<'END'
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    text = tomllib.load(file)
project = text["project"]
print(*project["dependencies"], *project["optional-dependencies"]["host"], sep="\n")
print(*text["build-system"]["requires"], "pip>=23.1", "pipx>=1.0", sep="\n")
END
}

# fetch COMMAND...: pip, quietly, with a plain word when it fails.
fetch() {
    "$PYTHON" -m pip --disable-pip-version-check "$@" --quiet --find-links "$FOLDER" \
        --requirement <(printf '%s\n' "$NEEDED") || die "not all wheels can be had here; pip says why above"
}

main() {
    case ${1--} in -*) die "usage: packaging/wheels.sh DIR [VERSION...]" ;; esac
    FOLDER=$1
    shift
    NEEDED=$(requirements) || die "$PYTHON cannot read pyproject.toml: Python 3.11 or newer is needed"
    mkdir -p "$FOLDER"
    # First for the Python that runs here: this makes wheels of what comes as source, for any Python.
    fetch wheel --wheel-dir "$FOLDER"
    local version
    for version in "$@"; do
        # Which packages are needed is still decided by the Python here, so let it be the oldest of them: newer
        # ones need less.
        fetch download --dest "$FOLDER" --only-binary=:all: --python-version "$version"
    done
    printf '%s wheels in %s\n' "$(find "$FOLDER" -name '*.whl' | wc -l)" "$FOLDER"
}

main "$@"
