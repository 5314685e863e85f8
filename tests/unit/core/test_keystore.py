"""The keyring's file, and which kind of it a host gets."""

import pytest

from agent.core.keystore import (
    StoreKind,
    content_of,
    keys_of,
    kind_of,
    version_of,
    with_password,
    without_password,
)

ENCRYPTED, PLAIN = StoreKind.ENCRYPTED, StoreKind.PLAIN


@pytest.mark.parametrize(
    ("there", "systemd", "can_encrypt", "kind"),
    [
        ([], 252, True, ENCRYPTED),
        ([], 257, True, ENCRYPTED),
        ([], 250, True, ENCRYPTED),
        ([], 249, True, PLAIN),
        ([], 247, False, PLAIN),
        ([], 252, False, PLAIN),
        ([], None, True, PLAIN),
        ([ENCRYPTED], 249, False, ENCRYPTED),
        ([ENCRYPTED], 252, False, ENCRYPTED),
        ([PLAIN], 257, True, PLAIN),
        ([ENCRYPTED, PLAIN], 257, False, ENCRYPTED),
        ([ENCRYPTED, PLAIN], 249, False, PLAIN),
        ([ENCRYPTED, PLAIN], None, False, PLAIN),
    ],
)
def test_which_store_counts(there, systemd, can_encrypt, kind):
    """The one that is there; else encrypted from systemd 250 on, if its tool works."""
    assert kind_of(there, systemd, can_encrypt=can_encrypt) is kind


def test_unit_lines():
    """What install.sh writes into the unit's drop-in."""
    path = "/etc/decode-agent/keyring.cred"
    assert ENCRYPTED.unit_line(path) == f"LoadCredentialEncrypted=decode-agent.keyring:{path}"
    assert PLAIN.unit_line("/x/keyring.json") == "LoadCredential=decode-agent.keyring:/x/keyring.json"


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT", 252),
        ("systemd 257 (257.8-1~deb13u2)", 257),
        ("systemd 249 (249.11-0ubuntu3.16)", 249),
        ("", None),
        ("upstart 1.0", None),
        ("systemd x", None),
    ],
)
def test_version(said, version):
    """As `systemctl --version` writes it."""
    assert version_of(said) == version


def test_there_and_back():
    """What is written is read; services without an entry are left out, empty files are empty keyrings."""
    keys = with_password(with_password({}, "a", "u", "ü\n\0"), "b", "v", "")
    assert keys_of(content_of(keys)) == {"a": {"u": "ü\n\0"}, "b": {"v": ""}}
    assert keys_of(content_of(without_password(keys, "a", "u"))) == {"b": {"v": ""}}
    assert content_of({}) == b"{}"
    assert keys_of(b"") == keys_of(b" \n") == keys_of(b"{}") == {}
    with pytest.raises(KeyError):
        without_password(keys, "a", "v")


@pytest.mark.parametrize(
    "content", [b"s3cret", b"[]", b'{"a": 1}', b'{"s3cret": {"u": 1}}', b"\xff", b"[" * 9999]
)
def test_damaged(content):
    """It is an error that does not show the content."""
    with pytest.raises(ValueError, match=r"^it ") as caught:
        keys_of(content)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
