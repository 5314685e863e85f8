"""What is seen of a machine, on made-up folders and on this one."""

import http.server
import os
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from agent.adapters import host, host_command
from agent.core.errors import HostTrouble
from tests.fakes.waiting import LONG_S, SOON_S


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def pci(sys, name, vendor, kind, driver=""):
    device = sys / "bus/pci/devices" / name
    put(device / "vendor", f"{vendor}\n")
    put(device / "class", f"{kind}\n")
    if driver:
        (sys / "bus/pci/drivers" / driver).mkdir(parents=True)
        (device / "driver").symlink_to(sys / "bus/pci/drivers" / driver)


def test_gpus_on_the_bus(tmp_path):
    """NVIDIA's display and 3D controllers with their drivers; not their sound, not others' cards."""
    assert host.nvidia_on_bus(tmp_path) == ()
    pci(tmp_path, "0000:01:00.0", "0x10de", "0x030000", "nouveau")
    pci(tmp_path, "0000:02:00.0", "0x10de", "0x030200")
    pci(tmp_path, "0000:01:00.1", "0x10de", "0x040300", "snd_hda_intel")
    pci(tmp_path, "0000:00:02.0", "0x8086", "0x030000", "i915")
    assert host.nvidia_on_bus(tmp_path) == ("nouveau", "")


def test_driver_version(tmp_path):
    """Of the module that is loaded."""
    assert host.nvidia_module_version(tmp_path) == ""
    put(tmp_path / "module/nvidia/version", "535.183.01\n")
    assert host.nvidia_module_version(tmp_path) == "535.183.01"


def test_links_to_devices(tmp_path):
    """195 is NVIDIA's major number; others do not count."""
    put(tmp_path / "char/10:1", "")
    assert not host.has_device_links(tmp_path)
    put(tmp_path / "char/195:0", "")
    assert host.has_device_links(tmp_path)


def test_cdi_specs(tmp_path):
    """Those of NVIDIA, in any of the folders."""
    put(tmp_path / "b/intel.yaml", "")
    assert not host.has_cdi_specs([str(tmp_path / "a"), str(tmp_path / "b")])
    put(tmp_path / "b/nvidia.yaml", "")
    assert host.has_cdi_specs([str(tmp_path / "a"), str(tmp_path / "b")])


def test_needrestart(tmp_path):
    """It is there by its configuration; any file of its that names the service is an override."""
    assert not host.has_needrestart(tmp_path)
    put(tmp_path / "needrestart/needrestart.conf", "")
    put(tmp_path / "needrestart/conf.d/other.conf", "$nrconf{restart} = 'a';")
    assert (host.has_needrestart(tmp_path), host.has_needrestart_override(tmp_path)) == (True, False)
    put(tmp_path / "needrestart/conf.d/lab.conf", "qr(^decode-agent)")
    assert host.has_needrestart_override(tmp_path)


def test_disks(tmp_path):
    """One entry for each file system, with all that lies on it; folders need not be there yet."""
    uses = {"state": tmp_path / "not/yet", "images": tmp_path, "kernel": Path("/proc/sys")}
    one, other = host.disks_of(uses)
    assert one.uses == (f"state {tmp_path}/not/yet", f"images {tmp_path}")
    assert 0 < one.free_bytes <= one.total_bytes
    assert other.source == "proc"


def test_a_disk_is_found_by_its_number():
    """Not by its path alone: a mount may hide below another."""
    device = Path("/proc").stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = (
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"23 22 {number} / /proc rw,nosuid shared:5 - xfs /dev/sdb1 rw\n"
        "24 22 8:2 / /pro\\040c rw - btrfs /dev/sdc1 rw\n"
    )
    (disk,) = host.disks_of({"state": Path("/proc/self")}, mounts)
    assert (disk.source, disk.file_system) == ("/dev/sdb1", "xfs")


def test_file_systems(tmp_path):
    """An ordinary one has no flaws."""
    assert host.flaws_of(tmp_path) == ()


def test_flaws_are_told(tmp_path, monkeypatch):
    """One that takes no permissions, as vfat does, is caught."""
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    (tmp_path / "NAME").write_bytes(b"")
    assert host.flaws_of(tmp_path) == (
        "takes two names that differ in case for one",
        "does not keep permissions",
    )


def test_a_trial_folder_leaves_nothing(tmp_path):
    """It is made below the nearest folder that is there, and gone afterwards with what is in it."""
    with host.trial_folder(tmp_path / "jobs/of") as folder:
        assert folder.parent == tmp_path
        (folder / "file").write_text("x")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_trial_left_is_removed(tmp_path):
    """Once it is old: a young one may be at work; nothing else is touched."""
    forgotten = host.trial_folder(tmp_path)
    left = forgotten.__enter__()
    (left / "out").touch()
    other = tmp_path / "doctor-smith"
    other.mkdir()
    with host.trial_folder(tmp_path):
        assert left.exists()
    for path in (left, other):
        os.utime(path, (0, 0))
    with host.trial_folder(tmp_path):
        assert not left.exists()
    assert list(tmp_path.iterdir()) == [other]
    forgotten.gen.close()


def test_a_trial_folder_where_none_can_be():
    """It is trouble, told with the folder."""
    with pytest.raises(HostTrouble, match="no folder can be made in /proc"), host.trial_folder(Path("/proc")):
        pass


def test_groups():
    """Of a user by name; a user that is not there has none."""
    assert "root" in host.groups_of("root")
    assert host.groups_of("nobody-of-that-name") == frozenset()
    assert host.group_name(4123123) == "4123123"


def test_group_of_the_socket(tmp_path):
    """Only a socket on this machine has one."""
    (tmp_path / "s").write_text("")
    assert host.socket_group(f"unix://{tmp_path}/s") == host.group_name(os.getgid())
    assert host.socket_group("unix:///nowhere") is None
    assert host.socket_group("tcp://there:2375") is None


def test_the_shells_files():
    """All are there, under the paths that the shell looks for them."""
    files = host.shell_files()
    assert "/bin/sh" in files
    assert all(path.is_file() for path in files.values())


def test_version_of_a_program(tmp_path):
    """What it says of itself; nothing where there is none."""
    program = tmp_path / "decode-agent"
    program.write_text("#!/bin/sh\necho decode-agent 1.2.3\n")
    program.chmod(0o755)
    assert host.program_version(str(program)) == "1.2.3"
    assert host.program_version(str(tmp_path / "nothing")) == ""


class _Clock(http.server.BaseHTTPRequestHandler):
    ahead_s: float | None = 0.0

    def do_GET(self):
        self.send_response_only(404)
        if self.ahead_s is not None:
            self.send_header("Date", formatdate(time.time() + self.ahead_s, usegmt=True))
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def clock(monkeypatch):
    """Sets how far the server's clock is ahead; None: it tells no time."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Clock) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()

        def tell(ahead_s):
            monkeypatch.setattr(_Clock, "ahead_s", ahead_s)
            return f"http://127.0.0.1:{server.server_port}/"

        yield tell
        server.shutdown()


@pytest.mark.parametrize("server_ahead_s", [0, 600, -45])
def test_clock(clock, server_ahead_s):
    """The difference to the server's, within the doubt that goes with it, whatever its status is."""
    facts = host.clock_facts(clock(server_ahead_s))
    assert abs(facts.ahead_s + server_ahead_s) <= facts.doubt_s + 1
    assert facts.doubt_s < SOON_S


@pytest.mark.parametrize("is_there", [True, False])
def test_no_clock(clock, is_there):
    """No header, or no server: trouble."""
    url = clock(None) if is_there else "http://127.0.0.1:9/"
    with pytest.raises(HostTrouble, match="clock cannot be read"):
        host.clock_facts(url)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("NTP=yes\nNTPSynchronized=no\nCanNTP=yes\n", (True, True)),
        ("NTP=no\nNTPSynchronized=yes\nCanNTP=no\n", (True, False)),
        ("NTP=no\nNTPSynchronized=no\nCanNTP=no\n", (False, False)),
        ("NTP=no\nNTPSynchronized=no\nCanNTP=yes\n", (False, True)),
        ("", (None, None)),
    ],
)
def test_who_keeps_the_clock(monkeypatch, said, kept):
    """As timedatectl says; chrony in a virtual machine counts by what the kernel knows."""
    monkeypatch.setattr(host, "run", lambda _: host_command.Ended(0, said, ""))
    assert host._clock_kept() == kept


def test_a_program_that_hangs_is_ended():
    """In time, with no code."""
    began = time.monotonic()
    assert host_command.run(["sleep", str(LONG_S)], 0.2).code is None
    assert time.monotonic() - began < SOON_S


def test_a_program_that_is_not_there():
    """Trouble with its name."""
    with pytest.raises(HostTrouble, match="no-such-program is not installed"):
        host_command.run(["no-such-program"])


def test_programs_hear_no_secret(monkeypatch):
    """Of the environment only what they need."""
    monkeypatch.setenv("DECODE_PASSWORD", "hunter2")
    assert "hunter2" not in host_command.run(["env"]).out
