"""Ceph's S3 gateway on loopback: a monitor, a manager, an OSD in memory and radosgw, without systemd or containers.

with CephGateway() as ceph:
    ceph.make_bucket("bucket")
    S3Store("s3://bucket", {"endpoint_url": ceph.url, "key": ceph.access_key, "secret": ceph.secret_key})

An S3 that shares no line with ours nor with moto's. It takes Debian's packages, 12 s to start, and 0.6 GB besides what
is stored. Everything is in one temporary directory, and is gone with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from types import TracebackType
from typing import Any

PACKAGES = ("ceph-mon", "ceph-mgr", "ceph-osd", "ceph-common", "radosgw")

_PROGRAMS = ("ceph-mon", "ceph-mgr", "ceph-osd", "radosgw", "ceph", "ceph-authtool", "monmaptool", "radosgw-admin")
_ALL = ("mon", "allow *", "osd", "allow *", "mgr", "allow *")
_TO_STOP = 10.0  # seconds that a daemon has before it is killed

# One OSD, so no copies; in memory, so no fsync. tcp_nodelay: without it each small request waits 50 ms.
_CONFIG = """\
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon_port}/0
mon_initial_members = a
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_allow_insecure_global_id_reclaim = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
osd_crush_chooseleaf_type = 0
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
mon_max_pg_per_osd = 1000
mon_data_avail_warn = 1
mon_data_avail_crit = 0
run_dir = {root}/run
admin_socket = {root}/run/$name.asok
log_file = {root}/log/$name.log
keyring = {root}/keyring
[mon]
mon_data = {root}/mon
[mgr]
mgr_data = {root}/mgr
mgr_initial_modules =
[osd]
osd_data = {root}/osd
osd_objectstore = memstore
memstore_device_bytes = {memory}
osd_class_load_list = *
osd_class_default_list = *
[client]
rgw_data = {root}/rgw
[client.rgw.a]
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw_thread_pool_size = 32
rgw_enable_usage_log = false
rgw_enable_ops_log = false
"""


class CephError(RuntimeError):
    """Ceph does not run."""


class CephMissingError(CephError):
    """Ceph is not installed."""

    def __init__(self, missing: list[str]) -> None:
        super().__init__(
            f"{', '.join(missing)} cannot be found. Install Ceph's S3 gateway by `apt-get install "
            f"--no-install-recommends {' '.join(PACKAGES)}` (Debian, Ubuntu), or name another S3 server in "
            "CKPTSTORE_TEST_S3_URL; see CONTRIBUTING.md."
        )


class CephGateway:
    """One gateway, alive from `__enter__` to `__exit__`, with an empty store.

    Its daemons are stopped when the block is left, when the start fails, and by the kernel if this process is killed.

    Args:
        memory: Bytes that its objects may take.
        patience: Seconds that each step of the start may take.

    Attributes:
        url: Where it is, for `endpoint_url`.
        access_key: Of its only user.
        secret_key: Of its only user.
        seconds: How long the start took.

    Raises:
        CephMissingError: On entering: its packages are not installed.
        CephError: On entering: it does not start; the message has what it said last.
    """

    def __init__(self, *, memory: int = 4 << 30, patience: float = 60.0) -> None:
        self._memory = memory
        self._patience = patience
        self.access_key = "testing"
        self.secret_key = f"secret-{uuid.uuid4().hex}"

    def __enter__(self) -> CephGateway:
        begun = time.monotonic()
        missing = [name for name in _PROGRAMS if shutil.which(name) is None]
        if missing:
            raise CephMissingError(missing)
        with contextlib.ExitStack() as stack:
            # Short, whatever TMPDIR is: the path of a Unix socket must fit into 107 bytes.
            self._root = stack.enter_context(tempfile.TemporaryDirectory(prefix="ceph-", dir="/tmp"))
            self._daemons: list[subprocess.Popen[bytes]] = []
            stack.callback(self._stop)
            self._start()
            self._running = stack.pop_all()
        self.seconds = time.monotonic() - begun
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def version(self) -> str:
        """Such as 16.2.15."""
        return self._run("radosgw", "--version").split()[2]

    def client(self) -> Any:
        """boto3's, to reach the objects without our code."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
        )

    def make_bucket(self, name: str) -> None:
        """Makes a bucket."""
        self.client().create_bucket(Bucket=name)

    # -- inside

    def _start(self) -> None:
        for name in ("mon", "mgr", "osd", "rgw", "run", "log"):
            os.mkdir(f"{self._root}/{name}")
        cluster, osd = str(uuid.uuid4()), str(uuid.uuid4())
        mon_port, port = _free_ports(2)
        config = _CONFIG.format(fsid=cluster, root=self._root, mon_port=mon_port, port=port, memory=self._memory)
        self._write("ceph.conf", config)
        self.url = f"http://127.0.0.1:{port}"

        self._make_key("mon.", "mon", "allow *", first=True)
        self._make_key("client.admin", *_ALL)
        self._make_key("client.rgw.a", *_ALL)
        monitor = f"[v2:127.0.0.1:{mon_port}]"
        self._run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", monitor, f"{self._root}/monmap")
        self._ceph("ceph-mon", "-i", "a", "--mkfs", "--monmap", f"{self._root}/monmap")
        self._daemon("ceph-mon", "-i", "a")
        self._append_key("mgr.a")  # waits for the monitor
        self._daemon("ceph-mgr", "-i", "a")
        self._ceph("ceph", "osd", "new", osd)
        self._append_key("osd.0")
        self._ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._daemon("ceph-osd", "-i", "0")
        self._daemon("radosgw", "-n", "client.rgw.a")
        self._wait_for_gateway()
        keys = ("--access-key", self.access_key, "--secret-key", self.secret_key)
        self._ceph("radosgw-admin", "user", "create", "--uid=test", "--display-name=test", *keys)

    def _stop(self) -> None:
        for daemon in reversed(self._daemons):  # clients first: they wait for those that serve them
            daemon.terminate()
            try:
                daemon.wait(_TO_STOP)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _make_key(self, name: str, *powers: str, first: bool = False) -> None:
        caps = [word for who, what in zip(powers[::2], powers[1::2], strict=True) for word in ("--cap", who, what)]
        create = ["--create-keyring"] if first else []
        self._run("ceph-authtool", *create, f"{self._root}/keyring", "--gen-key", "-n", name, *caps)

    def _append_key(self, name: str) -> None:
        self._write("keyring", self._ceph("ceph", "auth", "get-or-create", name, *_ALL))

    def _write(self, name: str, text: str) -> None:
        with open(f"{self._root}/{name}", "a") as file:
            file.write(text)

    def _ceph(self, program: str, *arguments: str) -> str:
        return self._run(program, "-c", f"{self._root}/ceph.conf", *arguments)

    def _run(self, *command: str) -> str:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=self._patience, check=False)
        except subprocess.TimeoutExpired as error:
            raise CephError(f"`{command[0]}` takes longer than {self._patience:.0f} s.{self._logs()}") from error
        if done.returncode:
            raise CephError(f"`{' '.join(command)}` failed: {done.stderr.strip()}{self._logs()}")
        return done.stdout

    def _daemon(self, program: str, *arguments: str) -> None:
        """Starts one in the foreground, as a child that can be waited for and dies with this thread."""
        command = ["setpriv", "--pdeathsig", "KILL", program, "-f", "-c", f"{self._root}/ceph.conf", *arguments]
        with open(f"{self._root}/log/{program}.out", "wb") as out:
            self._daemons.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out))

    def _wait_for_gateway(self) -> None:
        deadline = time.monotonic() + self._patience
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            for daemon in self._daemons:
                if daemon.poll() is not None:
                    raise CephError(f"{daemon.args} ended with {daemon.returncode}.{self._logs()}")
            try:
                opener.open(self.url, timeout=5).close()
            except urllib.error.HTTPError:
                return  # a refusal is an answer, too
            except OSError as error:
                if time.monotonic() > deadline:
                    raise CephError(f"radosgw does not answer at {self.url}.{self._logs()}") from error
                time.sleep(0.1)
            else:
                return

    def _logs(self) -> str:
        """The last lines of what each daemon said."""
        told = []
        for name in sorted(os.listdir(f"{self._root}/log")):
            with open(f"{self._root}/log/{name}", errors="replace") as file:
                told += [f"{name}: {line.rstrip()}" for line in file.readlines()[-5:]]
        return "\n".join(["", *told])


def _free_ports(number: int) -> list[int]:
    """Ports that nobody listens at, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [int(taken.getsockname()[1]) for taken in sockets]
