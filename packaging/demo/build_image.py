#!/usr/bin/env python3
"""Build the image of a demo application and load it into a Docker engine; prints the image's name.

The image is a tarball in the cache folder, made once for each version of its contents, so that another engine
or a later run only has to import it.
"""

import argparse
import fcntl
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import rootfs
from docker.errors import DockerException, ImageNotFound

HERE = Path(__file__).resolve().parent
APPS = sorted(path.parent.name for path in HERE.glob("*/requirements.txt"))
IMPORT_TIMEOUT_S = 900
SETTINGS = [
    "ENV PATH=/usr/local/bin:/usr/bin LANG=C.UTF-8 HOME=/root MPLBACKEND=Agg MPLCONFIGDIR=/tmp/matplotlib",
    "ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1",
    # The demo jobs ask for one core: more threads would only wait for each other on it.
    "ENV OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1",
    "WORKDIR /",
    'CMD ["/bin/sh"]',
]


def default_cache() -> Path:
    """Where cached things of this project go: /var/cache for root, the user's cache folder for others."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    fallback = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
    return (Path(chosen) if chosen else fallback) / "decode-agent"


def version_of(app: Path, python: Path) -> str:
    """A short hash of everything that the image's contents follow from."""
    digest = hashlib.sha256()
    for fact in (rootfs.run(python, "--version"), platform.machine(), *SETTINGS):
        digest.update(fact.encode())
    files = [HERE / "rootfs.py", app / "requirements.txt", *sorted((app / "job").glob("*.py"))]
    for file in files:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file: two builds of one image wait for each other."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def pip_of(python: Path, cache: Path) -> Path:
    """A pip of the image's own Python, in a virtual environment that is kept."""
    place = cache / f"pip-{rootfs.run(python, '--version').split()[1]}"
    pip = place / "bin" / "pip"
    if not pip.exists():
        rootfs.run(python, "-m", "venv", "--clear", place)
        rootfs.run(pip, "install", "--quiet", "--no-input", "--upgrade", "pip")
    return pip


def tarball_of(app: Path, python: Path, pip: Path | None, cache: Path) -> Path:
    """The image's tarball, built if the cache has none of this version."""
    images = cache / "images"
    images.mkdir(parents=True, exist_ok=True)
    tarball = images / f"{app.name}-{version_of(app, python)}.tar"
    with locked(images / f".{app.name}.lock"):
        if tarball.exists():
            return tarball
        for outdated in images.glob(f"{app.name}-*.tar"):
            outdated.unlink()
        with tempfile.TemporaryDirectory(prefix=f".{app.name}-", dir=images) as scratch:
            root, part = Path(scratch) / "root", Path(scratch) / "tar"
            rootfs.build(root, python, pip or pip_of(python, cache), app)
            rootfs.run("tar", "-C", root, "--owner=0", "--group=0", "--numeric-owner", "-cf", part, ".")
            part.replace(tarball)
    return tarball


def load(tarball: Path, host: str | None) -> str:
    """Import the tarball into the engine unless it is there, and return the image's name."""
    repository, tag = f"decode-demo-{tarball.stem.rsplit('-', 1)[0]}", tarball.stem.rsplit("-", 1)[1]
    client = docker.DockerClient(base_url=host or "unix:///var/run/docker.sock", timeout=IMPORT_TIMEOUT_S)
    try:
        client.images.get(f"{repository}:{tag}")
    except ImageNotFound:
        with tarball.open("rb") as file:
            # An iterator: given a file, requests adds a Content-Length to what docker-py calls chunked.
            stream = iter(lambda: file.read(2**20), b"")
            client.api.import_image_from_stream(stream, repository=repository, tag=tag, changes=SETTINGS)
        client.images.get(f"{repository}:{tag}")
    finally:
        client.close()
    return f"{repository}:{tag}"


def main() -> int:
    """Build and load one image."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("app", choices=APPS)
    parser.add_argument("--docker-host", default=os.environ.get("DOCKER_HOST"), help="default: $DOCKER_HOST")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="default: %(default)s")
    parser.add_argument("--python", type=Path, default=Path("/usr/bin/python3"), help="Debian's Python")
    parser.add_argument("--pip", type=Path, help="a pip of that Python; default: one is made in the cache")
    parser.add_argument("--tarball-only", action="store_true", help="print the tarball's path, load nothing")
    args = parser.parse_args()
    if not args.pip and subprocess.call([args.python, "-c", "import ensurepip, venv"]):
        print(f"{args.python} cannot make virtual environments: install python3-venv", file=sys.stderr)
        return 1
    tarball = tarball_of(HERE / args.app, args.python, args.pip, args.cache)
    if args.tarball_only:
        print(tarball)
        return 0
    try:
        print(load(tarball, args.docker_host))
    except DockerException as error:
        print(f"the Docker engine did not take the image: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
