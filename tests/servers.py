"""Four places that DVC pushes to: a folder, and servers of SSH, WebDAV and S3, real processes on the loopback.

Each is a context manager that takes an empty folder and yields a `Remote`. DVC reaches a server through a `Line`, which
a test cuts after so many bytes: what DVC sees then is what it sees when the server's machine goes down.
"""

import getpass
import math
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import requests
import yaml
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from s3fs import S3FileSystem

HOST = "127.0.0.1"
BIN = Path(sys.executable).parent
STARTING_SECONDS = 600  # a bound on hanging: a busy machine takes its time


class CannotStartError(Exception):
    """A server is not installed here, or does not start; says why."""


@dataclass(frozen=True)
class Remote:
    """Where DVC pushes to, and what a test may do to it behind DVC's back."""

    url: str
    files: DirFileSystem  # what is stored, by path below url
    failing: Callable[[int], AbstractContextManager[None]]  # goes away after that many bytes, is back at the end
    refusal: str  # what DVC says when it is not let in: a regular expression
    loss: str  # and when the server has gone
    settings: dict[str, str] = field(default_factory=dict)  # of .dvc/config, which is in git
    secrets: dict[str, str] = field(default_factory=dict)  # of .dvc/config.local, which is not
    wrong: dict[str, str] = field(default_factory=dict)  # what to set there so as not to be let in
    keeps_torn: bool = False  # keeps the beginning of an upload that broke off


class Line:
    """Relay a port of its own to a server's, until it is cut.

    The thread of a connection closes its two ends. Whoever cuts the line shuts them down, which wakes that thread.
    """

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.lock = threading.RLock()  # of what follows
        self.bytes_left = math.inf
        self.ends: set[socket.socket] = set()
        self.listen(0)

    def listen(self, port: int) -> None:
        self.listener = socket.create_server((HOST, port))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=[self.listener], daemon=True).start()

    def accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the line was cut
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self.connect, args=[client, listener], daemon=True).start()

    def connect(self, client: socket.socket, listener: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection((HOST, self.server_port)) as server:
            ends = {client, server}
            for end in ends:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # SSH's small packets wait otherwise
            with self.lock:
                if listener.fileno() < 0:
                    return  # the line was cut since this client came
                self.ends |= ends
            back = threading.Thread(target=self.relay, args=[server, client], daemon=True)
            back.start()
            self.relay(client, server)
            back.join()
            with self.lock:
                self.ends -= ends

    def relay(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # either end has gone
            while data := source.recv(1 << 14):
                with self.lock:
                    self.bytes_left -= len(data)
                    if self.bytes_left < 0:
                        self.cut()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End every connection, and refuse new ones."""
        with self.lock:
            for end in (self.listener, *self.ends):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self.listener.close()

    @contextmanager
    def failing(self, after_bytes: int) -> Iterator[None]:
        with self.lock:
            self.bytes_left = after_bytes
        yield
        with self.lock:
            assert self.bytes_left < 0, "nothing was cut: fewer bytes passed"
            self.bytes_left = math.inf
            self.listen(self.port)


@contextmanager
def line_to(command: Callable[[int], list[str]], log: Path) -> Iterator[Line]:
    """Run a server, whose command is made for a free port, for the length of the context."""
    for _ in range(3):  # another process may take the port meanwhile
        with socket.create_server((HOST, 0)) as free:
            port = free.getsockname()[1]
        with log.open("wb") as output:
            server = subprocess.Popen(
                command(port), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            if answers(port, server):
                line = Line(port)
                try:
                    yield line
                finally:
                    line.cut()
                return
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    raise CannotStartError(f"{command(port)[0]} does not start: {log.read_text().strip()}")


def answers(port: int, server: "subprocess.Popen[bytes]") -> bool:
    """Wait until a port takes connections; return False when the server ends instead."""
    deadline = time.monotonic() + STARTING_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(ConnectionRefusedError), socket.create_connection((HOST, port)):
            return True
        time.sleep(0.02)
    return False


def local(folder: Path) -> DirFileSystem:
    return DirFileSystem(str(folder), LocalFileSystem())


@contextmanager
def folder(place: Path) -> Iterator[Remote]:
    """Yield a folder. When it fails, half of it cannot be reached: files stand where its folders should."""
    store = place / "store"
    half = [store / "files" / "md5" / f"{number:02x}" for number in range(0, 256, 2)]

    @contextmanager
    def failing(after_bytes: int) -> Iterator[None]:
        half[0].parent.mkdir(parents=True, exist_ok=True)
        for path in half:
            if path.exists():
                path.rename(path.with_suffix(".away"))
            path.touch()
        yield
        for path in half:
            path.unlink()
            if path.with_suffix(".away").exists():
                path.with_suffix(".away").rename(path)

    (place / "file").touch()
    yield Remote(
        url=str(store),
        files=local(store),
        failing=failing,
        refusal="Not a directory",
        loss="Not a directory",
        wrong={"url": str(place / "file" / "store")},
    )


@contextmanager
def ssh(place: Path) -> Iterator[Remote]:
    """Yield a folder behind sshd, which anybody may run: it lets in whoever started it, by key alone."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if not sshd:
        raise CannotStartError("sshd is not installed; on Debian: apt-get install openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # root's sshd insists on it; a service manager would make it
    for name in ("host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
    configuration = place / "sshd_config"
    configuration.write_text(
        f"HostKey {place}/host\n"
        f"AuthorizedKeysFile {place}/user.pub\n"
        "StrictModes no\n"  # a folder for temporary files may be anybody's to write
        "PasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
        "PidFile none\n"
        "Subsystem sftp internal-sftp\n"
    )

    def command(port: int) -> list[str]:
        return [sshd, "-D", "-e", "-f", str(configuration), "-o", f"ListenAddress={HOST}:{port}"]

    with line_to(command, place / "log") as line:
        yield Remote(
            url=f"ssh://{getpass.getuser()}@{HOST}:{line.port}{place}/store",
            files=local(place / "store"),
            failing=line.failing,
            refusal="Permission denied for user",
            loss="Connection (not open|lost|refused)",
            settings={"timeout": "60"},
            secrets={"keyfile": str(place / "user")},
            wrong={"keyfile": str(place / "stranger")},
        )


@contextmanager
def webdav(place: Path) -> Iterator[Remote]:
    """Yield a folder behind WsgiDAV, with a name and a password."""
    project = place / "store" / "project"
    project.mkdir(parents=True)  # DVC makes the folders below its URL, not the URL's own
    password = secrets.token_hex()
    configuration = place / "wsgidav.yaml"
    configuration.write_text(
        yaml.safe_dump(
            {
                "provider_mapping": {"/": str(project.parent)},
                "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
                "simple_dc": {"user_mapping": {"*": {"user": {"password": password}}}},
            }
        )
    )

    def command(port: int) -> list[str]:
        return [str(BIN / "wsgidav"), f"--host={HOST}", f"--port={port}", f"--config={configuration}"]

    with line_to(command, place / "log") as line:
        yield Remote(
            url=f"webdav://{HOST}:{line.port}/project",
            files=local(project),
            failing=line.failing,
            refusal="401",
            loss="Connection refused|disconnected",
            secrets={"user": "user", "password": password},
            wrong={"password": "guessed"},
            keeps_torn=True,
        )


@contextmanager
def s3(place: Path) -> Iterator[Remote]:
    """Yield a bucket of moto's server, which checks signatures and keeps all in memory."""

    def command(port: int) -> list[str]:
        return [str(BIN / "moto_server"), f"--host={HOST}", f"--port={port}"]

    region = "us-east-1"
    with line_to(command, place / "log") as line:
        address = f"http://{HOST}:{line.server_port}"
        session = boto3.Session("anybody", "anything", region_name=region)
        iam = session.client("iam", endpoint_url=address)
        iam.create_user(UserName="user")
        policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
        iam.put_user_policy(UserName="user", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="user")["AccessKey"]
        session.client("s3", endpoint_url=address).create_bucket(Bucket="bucket")
        # From here on every request needs a key.
        requests.post(f"{address}/moto-api/reset-auth", data="0", timeout=STARTING_SECONDS).raise_for_status()
        files = S3FileSystem(
            key=key["AccessKeyId"],
            secret=key["SecretAccessKey"],
            endpoint_url=address,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        yield Remote(
            url="s3://bucket/project",
            files=DirFileSystem("bucket/project", files),
            failing=line.failing,
            refusal="Forbidden",
            loss="Could not connect to the endpoint URL",
            settings={"endpointurl": f"http://{HOST}:{line.port}", "region": region},
            secrets={"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]},
            wrong={"secret_access_key": "guessed"},
        )


KINDS = {"folder": folder, "ssh": ssh, "webdav": webdav, "s3": s3}
