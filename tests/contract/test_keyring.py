"""The suite that keyring publishes for backends, on the keyrings that the agent has written itself.

What does not apply: a unit cannot write its keyring, so the suite, which sets before it gets, runs on the
stores that root writes; what the unit reads is the same file, decrypted.
"""

import os
import shutil

import pytest
from keyring.testing.backend import BackendBasicTests

from agent.adapters.credentials import SystemdCredentials
from agent.adapters.credentials_store import EncryptedStore, PlainStore


class TestPlainStore(BackendBasicTests):
    """A file that root alone may read."""

    @pytest.fixture(autouse=True)
    def _init_properties(self, tmp_path):
        self.keyring = SystemdCredentials(PlainStore(tmp_path / "keyring.json"))
        self.credentials_created = set()
        yield
        self.cleanup()
        assert {path.name for path in tmp_path.iterdir()} <= {"keyring.json"}


class TestEncryptedStore(BackendBasicTests):
    """What the real systemd-creds encrypts, with a machine's key that is the test's own."""

    @pytest.fixture(autouse=True)
    def _init_properties(self, tmp_path, monkeypatch):
        if why := why_no_systemd_creds():
            (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
        monkeypatch.setenv("SYSTEMD_CREDENTIAL_SECRET", str(tmp_path / "machine.key"))
        self.keyring = SystemdCredentials(EncryptedStore(tmp_path / "keyring.cred"))
        self.credentials_created = set()
        yield
        self.cleanup()
        assert {path.name for path in tmp_path.iterdir()} <= {"keyring.cred", "machine.key"}


def why_no_systemd_creds():
    """Why this machine cannot encrypt as a host does, None if it can."""
    if os.geteuid() != 0:
        return "systemd-creds with the host's key needs root"
    return None if shutil.which("systemd-creds") else "systemd-creds is not installed (systemd 250 or newer)"
