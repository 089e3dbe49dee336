"""Encrypted sessions: over unix sockets too, and with certificates that are replaced while a pool lives."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from improved_db import ImprovedDb
from improved_db.testing import TemporaryServer
from tests.faults.harness import lose_before_commit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Return a key and a certificate of localhost that signs itself."""
    key, certificate = folder / f"{name}-key.pem", folder / f"{name}.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {certificate}"
    subprocess.run(shlex.split(command), check=True, capture_output=True)
    return key, certificate


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[tuple[TemporaryServer, Path]]:
    """A server that offers TLS, with an account that requires it; and its certificate."""
    key, certificate = make_certificate(tmp_path, "server")
    options = [f"--ssl-cert={certificate}", f"--ssl-key={key}"]
    with TemporaryServer(tcp=True, options=options) as server:
        with ImprovedDb(server.url) as root:
            root.execute_query("create user careful@localhost identified by 'p' require ssl")
            root.execute_query("grant all on *.* to careful@localhost")
        yield server, certificate


def cipher(options: dict[str, Any]) -> str:
    """Return the cipher of a session of a new pool."""
    with ImprovedDb(options, retry=None) as db:
        return str(db.execute_query("show session status like 'ssl_cipher'")[0][1])


def test_an_account_that_requires_tls_logs_in_over_a_unix_socket(encrypted: tuple[TemporaryServer, Path]) -> None:
    """PyMySQL connects there; the account was refused (1045)."""
    server, _ = encrypted
    options: dict[str, Any] = {"unix_socket": server.socket, "user": "careful", "password": "p"}
    assert cipher(options)
    assert cipher({**options, "ssl_mode": "PREFERRED"})
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        cipher({**options, "ssl_disabled": True})


def test_an_encrypted_server_that_died_before_commit_is_a_lost_transaction(
    encrypted: tuple[TemporaryServer, Path],
) -> None:
    """What is read of an encrypted socket says nothing without its key; that it has ended can be seen all the same."""
    server, _ = encrypted
    options: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "user": "root", "ssl_mode": "REQUIRED"}
    with ImprovedDb(options, database="test", max_size=1, retry=None) as db:
        lose_before_commit(db, server)


def test_a_replaced_certificate_is_read_anew(encrypted: tuple[TemporaryServer, Path], tmp_path: Path) -> None:
    """After a rotation the pool was refused for ever."""
    server, right = encrypted
    _, wrong = make_certificate(tmp_path, "other")
    trusted = tmp_path / "trusted.pem"
    shutil.copy(wrong, trusted)
    options: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "user": "root", "ssl_ca": str(trusted)}
    with ImprovedDb(options, retry=None, ssl_verify_cert=True) as db:
        with pytest.raises(pymysql.err.OperationalError, match="certificate"):
            db.execute_query("select 1")
        shutil.copy(right, trusted)
        os.utime(trusted, (1, 1))
        assert db.execute_query("select 1") == ((1,),)


def test_an_authority_given_alone_is_asked_about_the_server(encrypted: tuple[TemporaryServer, Path]) -> None:
    """PyMySQL reads the file and verifies nothing: any server in the way would have got the password."""
    server, right = encrypted
    _, wrong = make_certificate(right.parent, "other")
    options: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "user": "root"}
    assert cipher({**options, "ssl_ca": str(right)})
    with pytest.raises(pymysql.err.OperationalError, match="certificate"):
        cipher({**options, "ssl_ca": str(wrong)})
    assert cipher({**options, "ssl_ca": str(wrong), "ssl_mode": "REQUIRED"})
