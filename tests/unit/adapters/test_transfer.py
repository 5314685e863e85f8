"""What uploads and downloads share: every error of the libraries is ours, TLS, proxies, no leaks."""

import datetime as dt
import http.client
import inspect
import io
import ipaddress
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import requests.exceptions
import urllib3.exceptions

from agent.adapters import transfer as transfer_module
from agent.adapters.job_folder import LocalJobFolder
from agent.adapters.transfer import HttpTransfer
from agent.adapters.transfer_sockets import Attempt, Patience
from agent.core.errors import Stopped, StorageTrouble
from agent.core.models import FileRequest
from agent.core.stopping import Stop
from tests.fakes.storage_server import Exchange, Script, StorageServer, serve
from tests.fakes.waiting import LONG_S, SOON_S, once, wait_until


def classes_of(module) -> list[type[Exception]]:
    found = {
        value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, Exception)
    }
    return sorted((cls for cls in found if not issubclass(cls, Warning)), key=str)


HTTP = [cls for cls in classes_of(http.client) if issubclass(cls, http.client.HTTPException)]
KNOWN = [*classes_of(requests.exceptions), *classes_of(urllib3.exceptions), *HTTP]
SYSTEM = [
    OSError,
    TimeoutError,
    socket.gaierror,
    ssl.SSLError,
    ssl.SSLCertVerificationError,
    UnicodeError,
    ValueError,
]


def send(transfer: HttpTransfer, request: FileRequest, stop: Stop) -> None:
    nothing = io.BytesIO()
    transfer.upload(request, nothing, name="x", size_bytes=0, stop=stop, advance=lambda _size: None)


@pytest.mark.parametrize("error", [*KNOWN, *SYSTEM], ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
@pytest.mark.parametrize("stopping", [False, True])
def test_every_error_of_the_libraries_is_translated(error: type[Exception], stopping: bool, monkeypatch):
    """Whatever comes out of requests and urllib3 is `StorageTrouble`, or `Stopped` after a stop."""

    def fail(*_args: object, **_kwargs: object) -> None:
        if stopping:
            stop.set()
        raise error.__new__(error)  # some want arguments to be made properly

    stop = Stop()
    with HttpTransfer() as transfer:
        monkeypatch.setattr(transfer._session, "request", fail)
        request = FileRequest(method="post", url="http://host/x?sig=SECRETSECRET")
        with pytest.raises(Stopped if stopping else StorageTrouble) as caught:
            send(transfer, request, stop)
    assert "SECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_there_is_something_to_translate():
    """The list above is not empty by mistake."""
    assert {"ConnectionError", "ReadTimeoutError", "RemoteDisconnected"} <= {cls.__name__ for cls in KNOWN}
    assert len(KNOWN) > 60


def test_other_errors_go_through(monkeypatch: pytest.MonkeyPatch):
    """A fault in our own code is not the storage's."""

    def fail(*_args: object, **_kwargs: object) -> None:
        raise ZeroDivisionError

    with HttpTransfer() as transfer:
        monkeypatch.setattr(transfer_module, "Form", fail)
        with pytest.raises(ZeroDivisionError):
            send(transfer, FileRequest(method="post", url="http://h"), Stop())


def fetch(folder: LocalJobFolder, url: str, stop: Stop | None = None, **settings: float) -> bytes:
    folder.create()
    with HttpTransfer(**settings) as transfer, folder.part(("x",)) as part:
        request = FileRequest(method="get", url=url)
        transfer.download(request, part, stop=stop or Stop(), advance=lambda _size: None)
    return Path(folder.mount, "x").read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> LocalJobFolder:
    return LocalJobFolder(tmp_path / "jobs", 1)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 that nobody has signed."""
    x509 = pytest.importorskip("cryptography.x509")
    hashes, serialization = (
        pytest.importorskip(f"cryptography.hazmat.primitives.{name}") for name in ("hashes", "serialization")
    )
    ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(pem, form, plain) + made.public_bytes(pem))
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_an_unknown_certificate_is_named(folder: LocalJobFolder, tls: ssl.SSLContext):
    """Behind a proxy that inspects TLS the text says what is wrong."""
    with (
        StorageServer(serve(b"x"), tls) as server,
        pytest.raises(StorageTrouble, match="its certificate is not trusted: self-signed certificate"),
    ):
        fetch(folder, server.url())
    assert server.exchanges == []


def test_the_environments_certificates_count(
    folder: LocalJobFolder, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    """REQUESTS_CA_BUNDLE is obeyed, so a lab's own authority works."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    content = bytes(range(256)) * 8000
    with StorageServer(serve(content), tls) as server:
        assert fetch(folder, server.url()) == content


def hang(exchange: Exchange) -> None:
    exchange.sleep()


def hang_in_body(exchange: Exchange) -> None:
    exchange.answer(200, b"abc", content_length="10")
    exchange.sleep()


@pytest.mark.parametrize("script", [hang, hang_in_body])
def test_a_stop_ends_tls_too(
    folder: LocalJobFolder,
    tls: ssl.SSLContext,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: Script,
):
    """TLS takes the socket over, but not out of our hands."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    stop = Stop()
    with StorageServer(script, tls) as server, once(lambda: server.exchanges, stop.set) as passed_s:
        with pytest.raises(Stopped):
            fetch(folder, server.url(), stop)
        assert passed_s() < SOON_S


def test_a_proxy_of_the_environment_is_used(folder: LocalJobFolder, monkeypatch: pytest.MonkeyPatch):
    """Behind a proxy the whole URL goes to it, and a stop ends that as well."""
    with StorageServer(serve(b"by proxy")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url(""))
        assert fetch(folder, "http://storage.test/x?y") == b"by proxy"
        assert proxy.exchanges[0].target == "http://storage.test/x?y"
        proxy.script = hang
        stop = Stop()
        with once(lambda: len(proxy.exchanges) == 2, stop.set) as passed_s:
            with pytest.raises(Stopped):
                fetch(folder, "http://storage.test/y", stop)
            assert passed_s() < SOON_S


def test_a_connection_that_comes_too_late_is_shut():
    """An end between two waits is not lost: what is held next is of no use."""
    ours, theirs = socket.socketpair()
    with ours, theirs, Attempt(Patience(1, 1, 1, 60)) as attempt:
        theirs.settimeout(LONG_S)
        attempt.end()
        attempt.hold(ours)
        assert theirs.recv(1) == b""
        with pytest.raises(ConnectionAbortedError):
            attempt.connect(lambda: ours)


def test_nothing_is_left_behind(folder: LocalJobFolder):
    """No thread and no descriptor outlives a transfer, good or bad."""
    descriptors = Path("/proc/self/fd")

    def state() -> set[object]:
        found: set[object] = set(threading.enumerate())
        for path in descriptors.iterdir():
            with suppress(FileNotFoundError):
                found.add(path.readlink())
        return found

    with StorageServer(serve(b"x")) as server:
        before = state()
        for _ in range(5):
            fetch(folder, server.url())
            with pytest.raises(StorageTrouble):
                fetch(folder, "http://127.0.0.1:1/")
        wait_until(lambda: state() <= before)  # the server's ends close when they hear of it
