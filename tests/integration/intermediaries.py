"""Fixtures that put nginx or Squid before a server."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import Callable, Iterator

import pytest
import urllib3
from programs import free_port, program, running

TLS = Path(__file__).parent.parent / "tls"

NGINX = """
daemon off; master_process off; pid nginx.pid; error_log stderr;
events {{}}
http {{
    access_log off; server_tokens on; proxy_http_version 1.1; default_type text/plain;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    ssl_certificate {tls}/signed.pem; ssl_certificate_key {tls}/signed_key.pem;
    server {{ listen 127.0.0.1:{port}{ssl}; {rules} }}
}}
"""
SQUID = """
http_port 127.0.0.1:{port}
acl forbidden dstdomain forbidden.example
http_access deny forbidden
http_access allow all
visible_hostname proxy
pid_filename none
cache_log /dev/null
access_log none
cache_store_log none
netdb_filename none
cache deny all
cache_mem 8 MB
coredump_dir {folder}
pinger_enable off
connect_retries 0
shutdown_lifetime 0 seconds
{user}
"""


@pytest.fixture
def nginx(tmp_path) -> Iterator[Callable[..., str]]:
    """Start an nginx whose server has the given rules; return its URL."""
    path, numbers = program("nginx"), itertools.count()
    with contextlib.ExitStack() as stack:

        def start(rules: str, tls: bool = False) -> str:
            folder, port = tmp_path / f"nginx{next(numbers)}", free_port()
            folder.mkdir()
            configuration = folder / "nginx.conf"
            configuration.write_text(NGINX.format(tls=TLS, port=port, ssl=" ssl" if tls else "", rules=rules))
            command = [path, "-p", str(folder), "-c", str(configuration)]
            stack.enter_context(running(command, folder, port))
            return f"{'https' if tls else 'http'}://localhost:{port}"

        yield start


@pytest.fixture(scope="session")
def squid(tmp_path_factory) -> Iterator[str]:
    """The URL of a Squid that forbids only forbidden.example; one for all tests, because it takes 2 s to end."""
    path, folder, port = program("squid"), tmp_path_factory.mktemp("squid"), free_port()
    # It does not work as root, and then it needs no file.
    user = "cache_effective_user nobody" if os.getuid() == 0 else ""
    configuration = folder / "squid.conf"
    configuration.write_text(SQUID.format(port=port, folder=folder, user=user))
    # Its name is also that of its shared memory, so two at once need different names.
    command = [path, "-N", "-n", f"tests{port}", "-d", "1", "-f", str(configuration)]
    with running(command, folder, port):
        yield f"http://localhost:{port}"


@pytest.fixture
def trusting() -> Callable[..., urllib3.PoolManager]:
    """Make managers that trust the CA of the tests; ``proxy=`` is a proxy that they use."""

    def make(proxy: str | None = None) -> urllib3.PoolManager:
        ca = str(TLS / "ca.pem")
        return urllib3.ProxyManager(proxy, ca_certs=ca) if proxy else urllib3.PoolManager(ca_certs=ca)

    return make
