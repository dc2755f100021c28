"""How a connection to a host is opened, and what is said if it cannot be."""

import socket
import threading

import pytest
import urllib3

from lmstudio_provider import ConfigurationError, ServerUnavailableError, Timeouts
from lmstudio_provider._http.dial import dial
from lmstudio_provider._http.exchange import Exchange

BODY = b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


@pytest.mark.parametrize("host", ["\N{SNOWMAN}\ufe0f.invalid", "ü" + "a" * 70 + ".invalid"])
def test_a_host_whose_name_has_no_ascii_form_is_an_error_of_the_base_url(provider_of, host):
    with pytest.raises(ConfigurationError, match="base URL") as caught:
        provider_of(f"http://{host}:1234").complete("Hi")
    assert host in str(caught.value)
    assert "xn--" in caught.value.hint


def test_an_address_that_refuses_is_named_with_its_port(provider_of, closed_port):
    with pytest.raises(ServerUnavailableError) as caught:
        provider_of(f"http://127.0.0.1:{closed_port}", max_retries=0).complete("Hi")
    assert caught.value.refused
    assert f"(127.0.0.1 port {closed_port})" in caught.value.message
    assert "[Errno" not in caught.value.message
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_an_address_that_cannot_be_tried_is_named_with_its_port(provider_of, raw_server):
    """The manager wants to connect from an address that is not of this machine."""
    manager = urllib3.PoolManager(source_address=("192.0.2.1", 0))
    server = raw_server(OK)
    with pytest.raises(ServerUnavailableError) as caught:
        provider_of(server, http=manager, max_retries=0).complete("Hi")
    assert not caught.value.refused
    assert f"(127.0.0.1 port {server.url.rpartition(':')[2]})" in caught.value.message


def test_an_address_to_which_nobody_can_connect_is_an_error_at_once(provider_of):
    with pytest.raises(ServerUnavailableError, match=r"255\.255\.255\.255 port 9") as caught:
        provider_of("http://255.255.255.255:9", max_retries=0).complete("Hi")
    assert not caught.value.sent


def test_a_host_is_looked_up_by_its_name():
    """In capitals, because localhost in small letters is not looked up."""
    exchange = Exchange(Timeouts(5, 5, 5), None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = urllib3.connection.HTTPConnection("LOCALHOST", listener.getsockname()[1])
        with dial(exchange, connection, None) as opened:
            assert opened.getpeername() == listener.getsockname()
    assert exchange.address == "127.0.0.1"


def test_an_address_that_cannot_be_tried_does_not_hide_the_next_one(provider_of):
    """A socket for IPv4 cannot be bound to an address of IPv6."""

    def serve():
        with listener.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(OK)

    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with listener:
        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        manager = urllib3.PoolManager(source_address=("::1", 0))
        lm = provider_of(f"http://localhost:{listener.getsockname()[1]}", http=manager)
        assert lm.complete("Hi").text == "Hello"
        serving.join(5)


def test_a_manager_may_set_no_options_of_sockets(provider_of, raw_server):
    manager = urllib3.PoolManager(socket_options=None)
    assert provider_of(raw_server(OK), http=manager).complete("Hi").text == "Hello"


def test_the_options_of_a_socket_are_those_of_its_connection():
    option = (socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        connection = urllib3.connection.HTTPConnection("127.0.0.1", port, socket_options=[(*option, 1)])
        with dial(Exchange(Timeouts(5, 5, 5), None), connection, None) as opened:
            assert opened.getsockopt(*option)
