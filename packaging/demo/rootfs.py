"""A root file system made of the Debian at hand: Python, a shell with the usual tools, and what they load.

No image registry is asked: what a job's image needs is on the machine already, but for the Python packages.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

# What commands of deployed jobs use around their program; all of it is essential in Debian.
TOOLS = (
    "sh bash basename cat chmod chown cp cut date dd df dirname du echo env expr false find grep gzip head"
    " id ln ls md5sum mkdir mkfifo mktemp mv printf pwd readlink realpath rm rmdir sed seq sha256sum sleep"
    " sort stat tail tar tee test touch tr true truncate uname uniq wc whoami xargs"
)

# Parts of the standard library that no job runs.
LEFT_OUT = shutil.ignore_patterns(
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "tkinter",
    "ensurepip",
    "config-*",
    "sitecustomize.py",
)

ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def run(*command: str | Path) -> str:
    """The standard output of a command; its last words of complaint are the error's text."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise SystemExit(f"{' '.join(map(str, command[:4]))} … failed: {' / '.join(last)}")
    return done.stdout


def lay_out(root: Path) -> None:
    """The empty folders of a Debian system with its merged /usr."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in (
        "dev",
        "etc",
        "files",
        "opt",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "usr/local/bin",
        "var/tmp",
    ):
        (root / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    for name, text in ETC.items():
        (root / "etc" / name).write_text(text, encoding="ascii")
    shutil.copy("/etc/os-release", root / "etc" / "os-release")


def copy_in(root: Path, path: Path) -> Path:
    """Copy a file to its own place below root and return that; a link is followed."""
    inside = root / path.relative_to("/")
    if not inside.exists():
        inside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, inside)
    return inside


def add_tools(root: Path) -> list[Path]:
    """Copy the tools and return where they are; one that the machine has not is left out."""
    found = [shutil.which(tool, path="/usr/bin:/bin") for tool in TOOLS.split()]
    return [copy_in(root, Path("/usr/bin") / Path(path).name) for path in found if path]


def add_python(root: Path, python: Path) -> list[Path]:
    """Copy the interpreter and its standard library; return what loads shared libraries."""
    interpreter = python.resolve()
    program = copy_in(root, interpreter)
    for alias in ("python3", "python"):
        (root / "usr/bin" / alias).symlink_to(interpreter.name)
    stdlib = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))").strip())
    inside = root / stdlib.relative_to("/")
    shutil.copytree(stdlib, inside, symlinks=False, ignore=LEFT_OUT, ignore_dangling_symlinks=True)
    return [program, *inside.rglob("*.so")]


def add_packages(root: Path, pip: Path, requirements: Path) -> list[Path]:
    """Install the packages where Debian's Python looks for them; return what loads shared libraries."""
    place = root / "usr/lib/python3/dist-packages"
    run(pip, "install", "--quiet", "--no-input", "--target", place, "--requirement", requirements)
    for tests in [path for path in place.rglob("tests") if path.is_dir()]:
        shutil.rmtree(tests)
    return [path for path in place.rglob("*.so*") if path.is_file()]


def add_libraries(root: Path, programs: Iterable[Path]) -> None:
    """Copy every shared library of the machine that the programs load, and the loader itself."""
    wanted: set[str] = set()
    for program in programs:
        # Plain data answers "not a dynamic executable" with a failure: it wants nothing.
        listed = subprocess.run(["/usr/bin/ldd", program], capture_output=True, text=True, check=False)
        wanted.update(re.findall(r"(?:=> |^\s+)(/\S+) \(", listed.stdout, re.MULTILINE))
    for library in sorted(wanted):
        if not library.startswith(f"{root}/"):
            copy_in(root, Path("/usr") / re.sub(r"^/(usr/)?", "", library))


def build(root: Path, python: Path, pip: Path, app: Path) -> None:
    """Fill the folder root with a system that runs app/job on the packages of app/requirements.txt."""
    lay_out(root)
    programs = add_tools(root) + add_python(root, python) + add_packages(root, pip, app / "requirements.txt")
    add_libraries(root, programs)
    shutil.copytree(app / "job", root / "opt/app", ignore=shutil.ignore_patterns("__pycache__"))
    run(python, "-m", "compileall", "-q", root / "opt/app")
