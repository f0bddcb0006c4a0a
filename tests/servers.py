"""Four DVC remotes: a folder, and servers for SSH, WebDAV and S3 that run as real processes on loopback.

Each is a context manager that takes an empty folder and yields a `Remote`. DVC reaches a server through a `Relay`,
which a test can cut after a number of bytes; to DVC, the server's machine then seems to have gone down.
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
STARTING_SECONDS = 600  # generous, for a busy machine


class CannotStartError(Exception):
    """A server is not installed or does not start; the message says why."""


@dataclass(frozen=True)
class Remote:
    """Remote of DVC, with the means to inspect it and to make it fail."""

    url: str
    files: DirFileSystem  # stored files, by path below url
    failing: Callable[[int], AbstractContextManager[None]]  # within the context, fails after that many bytes
    refusal: str  # pattern of DVC's error without access
    loss: str  # pattern of DVC's error when the server has gone
    settings: dict[str, str] = field(default_factory=dict)  # for .dvc/config, which is in git
    secrets: dict[str, str] = field(default_factory=dict)  # for .dvc/config.local, which is not in git
    wrong: dict[str, str] = field(default_factory=dict)  # settings there with which access fails
    keeps_partial_uploads: bool = False  # keeps the first part of an interrupted upload


class Relay:
    """Relay from a free port to a server's port, until it is cut.

    The thread of a connection closes its two ends; `cut` shuts them down, which wakes that thread.
    """

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.lock = threading.RLock()  # guards the attributes below
        self.bytes_left = math.inf
        self.ends: set[socket.socket] = set()
        self.listen(0)

    def listen(self, port: int) -> None:
        self.listener = socket.create_server((HOST, port))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=[self.listener], daemon=True).start()

    def accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the relay was cut
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
                    return  # the relay was cut since this client connected
                self.ends |= ends
            back = threading.Thread(target=self.forward, args=[server, client], daemon=True)
            back.start()
            self.forward(client, server)
            back.join()
            with self.lock:
                self.ends -= ends

    def forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # either end was closed
            while data := source.recv(1 << 14):
                with self.lock:
                    self.bytes_left -= len(data)
                    if self.bytes_left < 0:
                        self.cut()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Close all connections and refuse new ones."""
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
            assert self.bytes_left < 0, "the relay was not cut: too few bytes passed"
            self.bytes_left = math.inf
            self.listen(self.port)


@contextmanager
def relay_to(command: Callable[[int], list[str]], log: Path) -> Iterator[Relay]:
    """Run a server within the context and yield a relay to it; `command` returns its command line for a port."""
    for _ in range(3):  # another process may take the port in the meantime
        with socket.create_server((HOST, 0)) as free:
            port = free.getsockname()[1]
        with log.open("wb") as output:
            server = subprocess.Popen(
                command(port), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            if answers(port, server):
                relay = Relay(port)
                try:
                    yield relay
                finally:
                    relay.cut()
                return
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    raise CannotStartError(f"{command(port)[0]} does not start: {log.read_text().strip()}")


def answers(port: int, server: "subprocess.Popen[bytes]") -> bool:
    """Wait until a port accepts connections; return False if the server ends first."""
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
    """Yield a folder. While it fails, files replace half of its subfolders, which are therefore unreachable."""
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
    """Yield a folder behind sshd, which any user can run for themselves, with access by key only."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if not sshd:
        raise CannotStartError("sshd is not installed; on Debian: apt-get install openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # required by root's sshd; normally made by the service manager
    for name in ("host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
    configuration = place / "sshd_config"
    configuration.write_text(
        f"HostKey {place}/host\n"
        f"AuthorizedKeysFile {place}/user.pub\n"
        "StrictModes no\n"  # a parent of the temporary folder may be writable by everyone
        "PasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
        "PidFile none\n"
        "Subsystem sftp internal-sftp\n"
    )

    def command(port: int) -> list[str]:
        return [sshd, "-D", "-e", "-f", str(configuration), "-o", f"ListenAddress={HOST}:{port}"]

    with relay_to(command, place / "log") as relay:
        yield Remote(
            url=f"ssh://{getpass.getuser()}@{HOST}:{relay.port}{place}/store",
            files=local(place / "store"),
            failing=relay.failing,
            refusal="Permission denied for user",
            loss="Connection (not open|lost|refused)",
            settings={"timeout": "60"},
            secrets={"keyfile": str(place / "user")},
            wrong={"keyfile": str(place / "stranger")},
        )


@contextmanager
def webdav(place: Path) -> Iterator[Remote]:
    """Yield a folder behind WsgiDAV, with access by user name and password."""
    project = place / "store" / "project"
    project.mkdir(parents=True)  # DVC creates the folders below its URL, but not the URL's own folder
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

    with relay_to(command, place / "log") as relay:
        yield Remote(
            url=f"webdav://{HOST}:{relay.port}/project",
            files=local(project),
            failing=relay.failing,
            refusal="401",
            loss="Connection refused|disconnected|peer closed connection",
            secrets={"user": "user", "password": password},
            wrong={"password": "guessed"},
            keeps_partial_uploads=True,
        )


@contextmanager
def s3(place: Path) -> Iterator[Remote]:
    """Yield a bucket of moto's server, which checks signatures and keeps everything in memory."""

    def command(port: int) -> list[str]:
        return [str(BIN / "moto_server"), f"--host={HOST}", f"--port={port}"]

    region = "us-east-1"
    with relay_to(command, place / "log") as relay:
        address = f"http://{HOST}:{relay.server_port}"
        session = boto3.Session("anybody", "anything", region_name=region)
        iam = session.client("iam", endpoint_url=address)
        iam.create_user(UserName="user")
        policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
        iam.put_user_policy(UserName="user", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="user")["AccessKey"]
        session.client("s3", endpoint_url=address).create_bucket(Bucket="bucket")
        # From now on, every request needs a key.
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
            failing=relay.failing,
            refusal="Forbidden",
            loss="Could not connect to the endpoint URL",
            settings={"endpointurl": f"http://{HOST}:{relay.port}", "region": region},
            secrets={"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]},
            wrong={"secret_access_key": "guessed"},
        )


KINDS = {"folder": folder, "ssh": ssh, "webdav": webdav, "s3": s3}
