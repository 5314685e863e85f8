"""Where passwords are kept: which keyring, which file, who may read it, and what is told of trouble."""

import json
import os
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import keyring.backend
import keyring.errors
import pytest
from keyring.backends import SecretService
from keyring.credentials import SimpleCredential

from agent.adapters import credentials_store
from agent.adapters.credentials import (
    Account,
    SystemdCredentials,
    backend_for,
    find_account,
    forget_accounts,
    keep_account,
    prepare_store,
)
from agent.adapters.credentials_desktop import DesktopKeyring
from agent.adapters.credentials_store import EncryptedStore, PlainStore, UnitStore
from agent.core.errors import ConfigError
from tests.fakes.waiting import LONG_S, SOON_S

SECRET = "s3cret-of-the-worker"
ALICE = Account("alice@example.com", SECRET, "test")


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def plain(tmp_path):
    return SystemdCredentials(PlainStore(tmp_path / "etc" / "keyring.json"))


@pytest.fixture
def old_systemd(monkeypatch):
    """A host whose systemd cannot encrypt."""
    monkeypatch.setattr(credentials_store, "systemd_version", lambda: 249)


@pytest.fixture
def fake_creds(monkeypatch):
    """Stands in for systemd-creds: notes how it is called and what with, and answers what it is told to."""
    calls, answers = [], []

    def run(words, **options):
        calls.append((words, options))
        content = options["input"]
        content = b"sealed " + content if "encrypt" in words else content.removeprefix(b"sealed ")
        answer = answers.pop(0) if answers else subprocess.CompletedProcess(words, 0, content, b"")
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(credentials_store.subprocess, "run", run)
    monkeypatch.setattr(credentials_store.shutil, "which", lambda name, **_: f"/usr/bin/{name}")
    return calls, answers


def test_unit_reads_its_credential(tmp_path):
    """Inside the unit: what systemd put there; it cannot be changed from there."""
    content = json.dumps({"decode-agent": {"alice": SECRET}})
    (tmp_path / "decode-agent.keyring").write_text(content)
    backend = backend_for({"CREDENTIALS_DIRECTORY": str(tmp_path)}, 990)
    found = find_account(backend)
    assert (found.username, found.secret, found.origin) == (
        "alice",
        SECRET,
        "the unit's credential decode-agent.keyring",
    )
    with pytest.raises(keyring.errors.PasswordSetError, match="sudo decode-agent login"):
        backend.set_password("decode-agent", "bob", "x")
    with pytest.raises(ConfigError, match="cannot change its own credentials"):
        keep_account(backend, ALICE)
    assert (tmp_path / "decode-agent.keyring").read_text() == content


@pytest.mark.usefixtures("old_systemd")
def test_credentials_of_another_unit_do_not_count(tmp_path):
    """A login shell may have inherited the folder of the service that it was started by."""
    for euid, kind in ((0, SystemdCredentials), (1000, DesktopKeyring)):
        backend = backend_for({"CREDENTIALS_DIRECTORY": str(tmp_path)}, euid, folder=tmp_path / "etc")
        assert type(backend) is kind
        assert not isinstance(getattr(backend, "_store", None), UnitStore)


@pytest.mark.parametrize(
    ("version", "there", "name"),
    [
        (252, None, "keyring.cred"),
        (249, None, "keyring.json"),
        (252, "keyring.json", "keyring.json"),
    ],
)
def test_root_has_the_systems_store(tmp_path, monkeypatch, fake_creds, version, there, name):  # noqa: ARG001  seals
    """Encrypted where systemd can load it; what is there already is used."""
    monkeypatch.setattr(credentials_store, "systemd_version", lambda: version)
    if there:
        (tmp_path / there).write_text("{}")
    backend = backend_for({}, 0, folder=tmp_path)
    keep_account(backend, ALICE)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert name in find_account(backend).origin


def test_looking_changes_nothing(tmp_path, fake_creds):
    """Not even the machine's key is made, which the first encryption would do."""
    calls, _ = fake_creds
    backend = backend_for({}, 0, folder=tmp_path / "etc")
    assert find_account(backend) is None
    assert forget_accounts(backend) is False
    assert "nothing is kept there yet" in backend.where
    assert not calls
    assert list(tmp_path.iterdir()) == []


def test_never_found_by_keyrings_own_search():
    """They are chosen by us, or somebody else's program would keep its passwords here."""
    viable = set(keyring.backend.KeyringBackend.get_viable_backends())
    assert not viable & {SystemdCredentials, DesktopKeyring}
    assert SystemdCredentials in keyring.backend.KeyringBackend._classes


def test_one_account_at_a_time(plain, tmp_path):
    """The last one kept is the one; entries of other services stay; forgetting leaves an empty keyring."""
    path = tmp_path / "etc" / "keyring.json"
    assert find_account(plain) is None
    assert forget_accounts(plain) is False
    assert not path.exists()
    plain.set_password("other", "carol", "3")
    for account in (ALICE, Account("bob", "2", ""), Account(None, "to.k.en", ""), ALICE):
        keep_account(plain, account)
        found = find_account(plain)
        assert (found.username, found.secret) == (account.username, account.secret)
        assert find_account(plain, account.username or "access-token") is not None
        assert len(json.loads(path.read_text())["decode-agent"]) == 1
    assert find_account(plain, "bob") is None
    assert forget_accounts(plain) is True
    assert json.loads(path.read_text()) == {"other": {"carol": "3"}}


def test_files_are_for_root_alone(plain, tmp_path):
    """0600 from the first byte on whatever the umask is, in a folder that others may look into."""
    before = os.umask(0)
    try:
        keep_account(plain, ALICE)
    finally:
        os.umask(before)
    folder = tmp_path / "etc"
    assert (mode_of(folder), mode_of(folder / "keyring.json")) == (0o755, 0o600)
    (folder / "keyring.json").chmod(0o644)
    keep_account(plain, Account("bob", "2", ""))
    assert mode_of(folder / "keyring.json") == 0o600


def test_a_crash_while_writing_leaves_the_old(plain, tmp_path, monkeypatch):
    """Whole or not at all, and no part of it left behind."""
    keep_account(plain, ALICE)

    def crash(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(credentials_store.os, "fsync", crash)
    with pytest.raises(ConfigError, match=r"keyring.json cannot be written: No space left on device$"):
        keep_account(plain, Account("bob", "2", ""))
    monkeypatch.undo()
    assert find_account(plain).username == "alice@example.com"
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["keyring.json"]


def test_the_same_again_writes_nothing(plain, tmp_path):
    """So that who installs again can tell that nothing has changed."""
    keep_account(plain, ALICE)
    before = (tmp_path / "etc" / "keyring.json").stat()
    keep_account(plain, ALICE)
    assert (tmp_path / "etc" / "keyring.json").stat() == before


def test_writers_wait_for_each_other(plain):
    """None of many entries written at once is lost."""
    barrier = threading.Barrier(8)

    def put(number):
        barrier.wait()
        plain.set_password("s", f"u{number}", "x")

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(put, range(8)))
    assert all(plain.get_password("s", f"u{number}") for number in range(8))


@pytest.mark.usefixtures("old_systemd")
def test_store_is_prepared_empty(tmp_path):
    """A unit whose credential is missing would not start; what is in it stays."""
    path = tmp_path / "keyring.json"
    assert prepare_store(tmp_path) == f"LoadCredential=decode-agent.keyring:{path}"
    assert path.read_bytes() == b"{}"
    keep_account(backend_for({}, 0, folder=tmp_path), ALICE)
    prepare_store(tmp_path)
    assert find_account(backend_for({}, 0, folder=tmp_path)).secret == SECRET


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (SECRET.encode(), "is damaged .it is not JSON.: remove the file, then log in anew"),
        (json.dumps({SECRET: 1}).encode(), "is damaged"),
        (b" " * (1024 * 1024 + 1), "over 1 MiB"),
    ],
)
def test_damaged_file(plain, tmp_path, content, text):
    """Said with its name and the way out, not with what is in it; nothing is overwritten."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "keyring.json").write_bytes(content)
    for act in (lambda: find_account(plain), lambda: keep_account(plain, ALICE)):
        with pytest.raises(ConfigError, match=rf"{tmp_path}/etc/keyring.json .*{text}") as caught:
            act()
        assert SECRET not in str(caught.value)
    assert (tmp_path / "etc" / "keyring.json").read_bytes() == content


def test_unreadable_file(plain, tmp_path):
    """Others than root are told to be root."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "keyring.json").mkdir()
    with pytest.raises(ConfigError, match=r"keyring.json cannot be read: Is a directory$"):
        find_account(plain)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_forbidden_file(plain, tmp_path):
    """Others than root are told to be root."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "keyring.json").touch(mode=0)
    with pytest.raises(ConfigError, match=r"cannot be read: run this as root \(sudo\)$"):
        find_account(plain)


def test_secrets_go_by_pipe_alone(fake_creds, tmp_path, monkeypatch):
    """Neither the command line nor the environment of systemd-creds holds one: both can be read by others."""
    calls, _ = fake_creds
    monkeypatch.setenv("DECODE_PASSWORD", SECRET)
    keep_account(SystemdCredentials(EncryptedStore(tmp_path / "k.cred")), ALICE)
    words, options = calls[0]
    assert words == [
        "/usr/bin/systemd-creds",
        "encrypt",
        "--with-key=host",
        "--name=decode-agent.keyring",
        "-",
        "-",
    ]
    assert SECRET.encode() in options["input"]
    for words, options in calls:
        assert SECRET not in " ".join(words) + json.dumps(options["env"])
        assert options["env"].keys() <= {"PATH", "LANG", "LC_ALL", "SYSTEMD_CREDENTIAL_SECRET"}
        assert options["timeout"]
    assert (tmp_path / "k.cred").read_bytes().startswith(b"sealed ")
    assert mode_of(tmp_path / "k.cred") == 0o600


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (subprocess.TimeoutExpired(["x"], 30, output=SECRET.encode()), "did not end within 30 s"),
        (OSError(8, "Exec format error"), "cannot be started: Exec format error"),
        (subprocess.CompletedProcess([], 1, SECRET.encode(), b"a\nBad key\n"), "systemd-creds: Bad key"),
        (subprocess.CompletedProcess([], -9, b"", b""), "systemd-creds: -9"),
    ],
)
def test_trouble_with_systemd_creds(fake_creds, tmp_path, answer, text):
    """One line with its complaint and the way out, without what it wrote; nothing is stored."""
    _, answers = fake_creds
    (tmp_path / "k.cred").write_bytes(b"old")
    backend = SystemdCredentials(EncryptedStore(tmp_path / "k.cred"))
    for act in (lambda: find_account(backend), lambda: keep_account(backend, ALICE)):
        answers[:] = [answer]
        with pytest.raises(ConfigError, match=text) as caught:
            act()
        assert "sudo rm" in str(caught.value)
        told = [str(error) for error in chain_of(caught.value)]
        assert SECRET not in " ".join(told)
    assert (tmp_path / "k.cred").read_bytes() == b"old"


def chain_of(error):
    """The error and what a traceback would show beneath it."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_systemd_creds_that_does_not_work(fake_creds, tmp_path, monkeypatch):
    """Then the file is plain, whatever the version says."""
    _, answers = fake_creds
    version = subprocess.CompletedProcess([], 0, b"systemd 252 (252.38-1~deb12u1)\n", b"")
    refused = subprocess.CompletedProcess([], 1, b"", b"no")
    answers[:] = [version, refused, version]
    assert prepare_store(tmp_path).startswith("LoadCredential=")
    assert (tmp_path / "keyring.json").read_bytes() == b"{}"
    monkeypatch.setattr(credentials_store.shutil, "which", lambda *_, **__: None)
    assert credentials_store.systemd_version() is None


class _Silent(keyring.backend.KeyringBackend):
    """A keyring that waits for somebody to unlock it."""

    viable = False
    priority = 0.0

    def __init__(self, over):
        self._over = over

    def get_password(self, *_):
        self._over.wait()

    def get_credential(self, *_):
        self._over.wait()

    def set_password(self, *_):
        raise ValueError("a\nb")


def test_a_locked_desktop_keyring_is_not_waited_for():
    """It prompts, and where nobody sits that would be for ever."""
    over = threading.Event()
    backend = DesktopKeyring(_Silent(over), 0.05)
    try:
        with pytest.raises(ConfigError, match=r"cannot be used: it did not answer within 0.05 s: unlock it"):
            find_account(backend)
    finally:
        over.set()
    (thread,) = [one for one in threading.enumerate() if one.name == "desktop-keyring"] or [None]
    if thread is not None:
        thread.join(SOON_S)


def test_foreign_errors_are_translated():
    """Whatever a library below raises is one line."""
    answers = threading.Event()
    answers.set()
    with pytest.raises(ConfigError, match=r"Secret Service\) cannot be used: ValueError: a b$"):
        keep_account(DesktopKeyring(_Silent(answers), LONG_S), ALICE)


class _Fussy(_Silent):
    """One that takes nothing new, and has one entry until it is deleted."""

    def __init__(self):
        self.entries = {"old": "1"}

    def get_credential(self, *_):
        return next((SimpleCredential(*entry) for entry in self.entries.items()), None)

    def set_password(self, service, username, password):
        if (service, username) != ("decode-agent", "old"):
            raise keyring.errors.PasswordSetError("no")
        self.entries[username] = password

    def delete_password(self, _, username):
        del self.entries[username]


def test_what_cannot_be_replaced_stays():
    """The old entry is back when the new one is refused."""
    fussy = _Fussy()
    with pytest.raises(ConfigError, match=r"cannot be used: no$"):
        keep_account(DesktopKeyring(fussy, LONG_S), ALICE)
    assert fussy.entries == {"old": "1"}


def test_others_ask_the_secret_service():
    """By name: which backend keyring would choose does not matter."""
    backend = backend_for({"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}, 1000)
    assert type(backend._backend) is SecretService.Keyring


def test_account_hides_its_secret():
    """In whatever it is printed with."""
    assert SECRET not in repr(ALICE)
