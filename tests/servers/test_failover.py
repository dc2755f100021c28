import gc
import os
import pickle
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from plugin import Plugin
from tables import for_each

from lmstudio_provider import (
    CompletionRequest,
    ConfigurationError,
    Failover,
    InvalidRequestError,
    LMStudioProvider,
    MemoryUsage,
    Message,
    ModelNotFoundError,
    OllamaProvider,
    ProviderClosedError,
    ProviderError,
    RequestTimeoutError,
    ServerUnavailableError,
    StreamInterruptedError,
    Tool,
)
from lmstudio_provider._servers.failover import Balancer
from lmstudio_provider.simulator import SimulatedLMStudio


class Clock:
    """A clock that the test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def balancer_of(clock):
    """Makes a balancer of providers with the given ids."""

    def make(*ids, **arguments):
        return Balancer([Plugin(each) for each in ids], clock=clock, **arguments)

    return make


def failover_of(*providers, clock=None, **arguments):
    failover = Failover(providers, **arguments)
    if clock is not None:
        failover._balancer.clock = clock
    return failover


def refused(**data):
    return ServerUnavailableError("nobody there", refused=True, **data)


def turn_of(balancer):
    return balancer.choose(balancer._providers).id


def cooldown(balancer):
    """How often in a row the first provider was not there, and until when it rests."""
    return balancer.cooldowns[id(balancer._providers[0])]


def fail(balancer):
    """Call the member whose turn it is, which does not answer."""
    lease = balancer.next()
    lease.over()
    lease.no_connection()
    return lease.provider.id


@for_each("bad", [None, ["lm-studio"], [Plugin(), Plugin]])
def test_a_value_that_is_not_a_provider_is_refused(bad):
    with pytest.raises(ConfigurationError, match="is not a Provider"):
        Failover(bad)


def test_no_providers_at_all_are_refused():
    with pytest.raises(ConfigurationError, match="providers is empty"):
        Failover([])


@for_each("bad", ["random", "", True, 1])
def test_an_unknown_balance_is_refused(bad):
    with pytest.raises(ConfigurationError, match="balance="):
        Failover([Plugin()], balance=bad)


@for_each("bad", ["", None, 7])
def test_an_id_that_is_not_a_name_is_refused(bad):
    with pytest.raises(ConfigurationError, match="id="):
        Failover([Plugin()], id=bad)


def test_an_unreachable_member_is_skipped_for_a_second_and_then_used_again(balancer_of, clock):
    balancer = balancer_of("a", "b")
    assert fail(balancer) == "a"
    assert turn_of(balancer) == "b"
    clock.now += 0.99
    assert turn_of(balancer) == "b"
    clock.now += 0.01
    assert turn_of(balancer) == "a"


def test_each_further_failure_doubles_the_rest_up_to_a_minute(balancer_of, clock):
    balancer = balancer_of("a", "b")
    rests = []
    for _ in range(1100):
        fail(balancer)
        rests.append(cooldown(balancer)[1] - clock.now)
        clock.now += rests[-1]
    assert rests[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert set(rests[8:]) == {60}


def test_calls_that_fail_together_count_once(balancer_of, clock):
    balancer = balancer_of("a", "b")
    leases = [balancer.next() for _ in range(10)]
    for lease in leases:
        lease.no_connection()
    assert cooldown(balancer) == (1, clock.now + 1)


def test_a_success_makes_the_next_rest_a_short_one(balancer_of, clock):
    balancer = balancer_of("a", "b")
    for seconds in (1, 2, 4):
        fail(balancer)
        clock.now += seconds
    balancer.next().connected()
    fail(balancer)
    assert cooldown(balancer) == (1, clock.now + 1)


def test_a_success_of_a_call_that_began_before_the_failure_ends_no_rest(balancer_of):
    balancer = balancer_of("a", "b")
    early = balancer.next()
    fail(balancer)
    early.connected()
    assert turn_of(balancer) == "b"


def test_if_all_have_a_cooldown_the_one_that_ends_first_is_asked(balancer_of, clock):
    balancer = balancer_of("a", "b")
    assert fail(balancer) == "a"
    clock.now += 0.5
    assert fail(balancer) == "b"
    assert turn_of(balancer) == "a"


def test_the_least_busy_is_chosen_and_ties_go_by_order(balancer_of):
    balancer = balancer_of("a", "b", "c", least_busy=True)
    leases = [balancer.next() for _ in range(4)]
    assert [each.provider.id for each in leases] == ["a", "b", "c", "a"]
    leases[1].over()
    leases[1].over()
    assert turn_of(balancer) == "b"


def test_the_least_busy_is_chosen_among_those_that_do_not_rest(balancer_of):
    balancer = balancer_of("a", "b", least_busy=True)
    fail(balancer)
    assert [balancer.next().provider.id for _ in range(3)] == ["b", "b", "b"]


def test_the_first_serves_while_it_is_there():
    failover = failover_of(Plugin("a"), Plugin("b"))
    assert [failover.complete("Hi").provider_id for _ in range(3)] == ["a", "a", "a"]


CALLS = [
    lambda failover: failover.complete("Hi"),
    lambda failover: failover.complete_text("Hi"),
    lambda failover: failover.chat([{"role": "user", "content": "Hi"}]),
    lambda failover: failover.complete_with_tools([{"role": "user", "content": "Hi"}], tools=[Tool("now")]),
    lambda failover: failover.stream("Hi"),
    lambda failover: failover.stream("Hi", print),
    lambda failover: failover.embed(["Hi"]),
    lambda failover: failover.list_models(),
]


@for_each("call", CALLS)
@for_each("error", [refused(), RequestTimeoutError("no connection", limit="connect")])
def test_a_call_that_reaches_no_server_goes_to_the_next(call, error):
    first, second = Plugin("a", error=error), Plugin("b")
    call(failover_of(first, second))
    assert len(first.calls) == 1
    assert first.calls == second.calls


@for_each("call", CALLS)
@for_each(
    "error",
    [
        refused(sent=True),
        RequestTimeoutError("silent", limit="first_byte", sent=True),
        InvalidRequestError("no"),
        ModelNotFoundError("no such model", sent=True),
        ProviderClosedError("closed"),
        KeyError("a mistake"),
        KeyboardInterrupt(),
    ],
)
def test_every_other_error_is_raised_as_it_is(call, error):
    second = Plugin("b")
    failover = failover_of(Plugin("a", error=error), second)
    with pytest.raises(type(error)) as caught:
        call(failover)
    assert caught.value is error
    assert second.calls == []
    assert failover._balancer.calls == set()


def test_one_that_rests_is_not_asked(clock):
    first, second = Plugin("a", error=refused()), Plugin("b")
    failover = failover_of(first, second, clock=clock)
    for _ in range(3):
        assert failover.complete("Hi").provider_id == "b"
    assert len(first.calls) == 1
    first.error = None
    clock.now += 1
    assert failover.complete("Hi").provider_id == "a"


def test_if_all_have_a_cooldown_they_are_asked_nevertheless():
    first, second = Plugin("a", error=refused()), Plugin("b", error=refused())
    failover = failover_of(first, second)
    with pytest.raises(ServerUnavailableError):
        failover.complete("Hi")
    second.error = None
    assert failover.complete("Hi").provider_id == "b"


def test_if_no_server_is_reached_one_error_names_all_with_their_reasons(closed_port):
    lm = LMStudioProvider(f"127.0.0.1:{closed_port}", refresh=False, id="here")
    slow = Plugin("slow", error=RequestTimeoutError("a connection did not come", limit="connect"))
    with failover_of(lm, slow, id="both") as failover:
        with pytest.raises(ServerUnavailableError) as caught:
            failover.complete("Hi")
    told = str(caught.value)
    assert f"here at http://127.0.0.1:{closed_port}: no server answers" in told
    assert "slow at plugin://slow: a connection did not come" in told
    assert "lms server start" in told
    assert (caught.value.sent, caught.value.provider) == (False, "both")
    assert isinstance(caught.value.__cause__, ServerUnavailableError)


@for_each("bad", [0, -1, "1"])
def test_a_deadline_that_cannot_be_is_refused(bad):
    with pytest.raises(ConfigurationError, match="deadline="):
        failover_of(Plugin()).complete("Hi", deadline=bad)


def test_a_deadline_bounds_the_call_over_all_providers():
    first, second = Plugin("a", error=refused()), Plugin("b")
    failover_of(first, second).complete("Hi", deadline=30, timeout=5)
    (_, _, given), (_, _, then) = first.calls[0], second.calls[0]
    assert given == {"deadline": 30, "timeout": 5}
    assert then["timeout"] == 5
    assert 0 < then["deadline"] < 30


def test_a_deadline_that_has_passed_is_the_error(hanging_url):
    second = Plugin("b")
    with failover_of(LMStudioProvider(hanging_url, model="m", refresh=False), second) as failover:
        with pytest.raises(RequestTimeoutError) as caught:
            failover.complete("Hi", deadline=0.05)
    assert caught.value.limit == "deadline"
    assert second.calls == []


def test_overrides_and_requests_reach_the_provider_as_they_are():
    plugin = Plugin()
    request = CompletionRequest("Hi")
    failover_of(plugin).complete(request, temperature=0.1, deadline=None)
    assert plugin.calls == [("complete", request, {"temperature": 0.1, "deadline": None})]


def test_texts_of_a_generator_are_there_for_the_second_provider_too():
    failover = failover_of(Plugin("a", error=refused()), Plugin("b"))
    assert len(failover.embed(text for text in ("one", "two")).vectors) == 2


def test_messages_of_a_generator_are_streamed_by_the_second_provider_too(closed_port, simulator):
    with failover_of(down(closed_port, "a"), LMStudioProvider(simulator.url, id="b")) as failover:
        assert "".join(failover.stream(Message.user(text) for text in ["Hi"]).text()).endswith("You said: Hi")


def test_a_stream_that_breaks_is_not_begun_elsewhere(raw_server, simulator, provider_of):
    broken = raw_server(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
        b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n',
    )
    failover = failover_of(provider_of(broken, model="m"), provider_of(simulator.url))
    stream = failover.stream("Hi")
    with pytest.raises(StreamInterruptedError) as caught:
        list(stream)
    assert caught.value.partial.text == "Hel"
    with pytest.raises(StreamInterruptedError):
        failover.stream("Hi", lambda chunk: None)
    assert simulator.requests == []


def busy(failover):
    return [failover._balancer.busy(each) for each in failover._providers]


@pytest.fixture
def pair(simulator):
    """A Failover of two simulators that takes the least busy."""
    with SimulatedLMStudio() as other:
        providers = [LMStudioProvider(each.url, refresh=False, id=each.url) for each in (simulator, other)]
        with Failover(providers, balance="least_busy") as failover:
            yield failover


def test_a_stream_counts_until_it_is_read_to_its_end(pair):
    streams = [pair.stream("Hi") for _ in range(3)]
    assert busy(pair) == [2, 1]
    for stream in streams:
        list(stream)
    assert busy(pair) == [0, 0]


def test_a_stream_counts_until_it_is_closed(pair):
    stream = pair.stream("Hi")
    next(stream)
    assert busy(pair) == [1, 0]
    stream.close()
    assert busy(pair) == [0, 0]


def test_a_stream_counts_until_it_is_dropped(pair):
    stream = pair.stream("Hi")
    assert busy(pair) == [1, 0]
    del stream
    gc.collect()
    assert busy(pair) == [0, 0]


def test_a_stream_with_a_callback_counts_while_it_is_read(pair):
    counts = []
    pair.stream("Hi", lambda chunk: counts.append(busy(pair)))
    assert set(map(tuple, counts)) == {(1, 0)}
    assert busy(pair) == [0, 0]


def test_a_stream_that_was_over_before_it_came_counts_no_longer(simulator):
    class Early(LMStudioProvider):
        def stream(self, *arguments, **options):
            stream = super().stream(*arguments, **options)
            stream.close()
            return stream

    with Failover([Early(simulator.url)], balance="least_busy") as failover:
        failover.stream("Hi")
        assert busy(failover) == [0]


@pytest.mark.slow
@pytest.mark.parametrize("balance", [None, "least_busy"])
def test_no_call_is_lost_or_made_twice_when_a_server_dies(balance):
    """Calls that the dying server had begun may fail; every other call is answered, by only one living server."""
    dying, counted = threading.Event(), iter(range(1_000_000))

    def reply(body):
        if next(counted) == 30:
            dying.set()
        return body["messages"][-1]["content"]

    with SimulatedLMStudio(replies=reply) as mortal, SimulatedLMStudio() as second, SimulatedLMStudio() as third:
        servers = [mortal, second, third]
        providers = [LMStudioProvider(each.url, id=f"server {n}", refresh=False) for n, each in enumerate(servers)]
        with Failover(providers, balance=balance) as failover, ThreadPoolExecutor(16) as pool:

            def ask(number):
                try:
                    if number % 3:
                        return failover.complete(f"number {number}", model="simulated-model").text
                    return "".join(failover.stream(f"number {number}", model="simulated-model").text())
                except ProviderError as error:
                    return error

            def kill():
                assert dying.wait(60)
                mortal.__exit__(None, None, None)

            killed = pool.submit(kill)
            outcomes = list(pool.map(ask, range(200)))
            killed.result(60)
        # It may have died in the middle of one.
        dead, *living = (
            [each["body"]["messages"][-1]["content"] for each in server.requests if each["body"]] for server in servers
        )
    for number, outcome in enumerate(outcomes):
        times = sum(asked.count(f"number {number}") for asked in living), dead.count(f"number {number}")
        if isinstance(outcome, ProviderError):
            assert outcome.sent
            assert times in [(0, 1), (0, 0)]
        else:
            assert outcome.endswith(f"number {number}")
            # With both, the server died without a word on a connection that had been idle.
            assert times in [(1, 0), (0, 1), (1, 1)]
    assert len(second.requests) > 0


def test_a_server_that_comes_back_is_used_again(clock):
    with SimulatedLMStudio() as server:
        port = int(server.url.rpartition(":")[2])
    lm = LMStudioProvider(f"127.0.0.1:{port}", id="first", model="simulated-model", refresh=False)
    with failover_of(lm, Plugin("second"), clock=clock) as failover:
        assert failover.complete("Hi").provider_id == "second"
        with SimulatedLMStudio(port=port):
            assert failover.complete("Hi").provider_id == "second"
            clock.now += 1
            assert failover.complete("Hi").provider_id == "first"


def test_the_base_url_and_the_model_are_those_of_the_one_whose_turn_it_is():
    failover = failover_of(Plugin("a", error=refused()), Plugin("b"))
    assert (failover.base_url, failover.resolve_model("fast")) == ("plugin://a", "a-fast")
    failover.complete("Hi")
    assert (failover.base_url, failover.resolve_model("fast")) == ("plugin://b", "b-fast")


@pytest.mark.parametrize(
    ("visions", "vision"), [([True, None], True), ([False, True], True), ([False, None], None), ([False, False], False)]
)
def test_it_has_the_capabilities_of_any_member(visions, vision, simulator):
    plugins = [Plugin(str(n), models=["x", str(n)], vision=each) for n, each in enumerate(visions)]
    capabilities = failover_of(*plugins).capabilities
    assert (capabilities.vision, capabilities.models) == (vision, ("x", "0", "1"))
    assert not capabilities.streaming
    with failover_of(*plugins, LMStudioProvider(simulator.url, refresh=False)) as failover:
        assert failover.capabilities.streaming
        assert failover.capabilities.tool_calling


def test_the_capabilities_of_a_model_come_from_the_first_member_that_has_it():
    with SimulatedLMStudio(["reads"]) as one, SimulatedLMStudio(["sees-vl"]) as other:
        with LMStudioProvider(one.url) as first, LMStudioProvider(other.url, id="b") as second:
            failover = Failover([first, second])
            assert failover.capabilities_for("sees-vl") == second.capabilities_for("sees-vl")
            assert failover.capabilities_for("sees-vl").vision is True
            assert failover.capabilities_for().models == ("reads",)
            assert failover.capabilities_for("nobody").models == ()


def test_a_health_check_is_ok_if_one_member_is():
    failover = failover_of(Plugin("a", error=refused()), Plugin("b", models=["x", "y"]), Plugin("c", models=["y", "z"]))
    health = failover.health_check()
    assert (health.ok, health.models, health.error) == (True, ("x", "y", "z"), None)


def test_a_health_check_gives_the_reasons_if_no_member_is_available():
    health = failover_of(Plugin("a", error=refused()), Plugin("b", error=refused())).health_check()
    assert not health.ok
    assert "a at plugin://a: nobody there; b at plugin://b: nobody there" in str(health.error)


def test_models_are_refreshed_everywhere():
    plugins = [Plugin("a"), Plugin("b", error=refused())]
    assert failover_of(*plugins).refresh_models(2.0) is True
    assert [each.calls for each in plugins] == [[("refresh_models", 2.0)]] * 2
    assert failover_of(plugins[1]).refresh_models() is False


def test_it_is_configured_if_one_member_is():
    empty = Plugin("a", models=())
    assert failover_of(empty, Plugin("b")).is_configured()
    assert failover_of(empty, Plugin("b")).wait_until_configured()
    assert not failover_of(empty).is_configured()
    assert not failover_of(empty).wait_until_configured(None)


def test_one_that_is_configured_is_not_kept_waiting_by_one_that_is_not():
    over = threading.Event()

    class Slow(Plugin):
        def wait_until_configured(self, timeout=3.0):
            return over.wait(60)

    assert failover_of(Slow("a", models=()), Plugin("b")).wait_until_configured(None)
    assert not failover_of(Slow("a", models=())).wait_until_configured(0.05)
    over.set()


def test_resetting_resets_all_and_ends_all_rests(clock):
    plugins = [Plugin("a", error=refused()), Plugin("b")]
    failover = failover_of(*plugins, clock=clock)
    failover.complete("Hi")
    failover.reset_client()
    assert [each.calls[-1] for each in plugins] == [("reset_client",)] * 2
    assert failover.base_url == "plugin://a"


def test_closing_closes_all_even_if_one_fails():
    class Stuck(Plugin):
        def close(self):
            raise ProviderError("stuck")

    plugins = [Plugin("a"), Stuck("b"), Plugin("c")]
    with pytest.raises(ProviderError, match="stuck"):
        failover_of(*plugins).close()
    assert [each.closed for each in plugins] == [True, False, True]


def test_a_call_after_closing_says_so(pair):
    pair.close()
    with pytest.raises(ProviderClosedError):
        pair.complete("Hi")


def test_it_has_a_name_and_shows_its_members():
    failover = failover_of(Plugin("a"), Plugin("b"), id="mine")
    assert (failover.id, failover.display_name) == ("mine", "Failover (Plug-in, Plug-in)")
    assert repr(failover) == "<Failover a, b>"


def test_it_goes_to_another_process_by_pickle(simulator):
    providers = [LMStudioProvider("127.0.0.1:9", refresh=False), LMStudioProvider(simulator.url, id="up")]
    with Failover(providers, balance="least_busy", id="mine") as failover:
        with pickle.loads(pickle.dumps(failover)) as again:
            assert (again.id, again.complete("Hi").provider_id) == ("mine", "up")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_it_survives_fork_while_another_thread_chooses(pair, in_background):
    """The child is forked while a thread that it does not have holds the lock, and while a stream is under way."""
    held, over = threading.Event(), threading.Event()

    def hold():
        with pair._balancer._lock:
            held.set()
            over.wait(60)

    stream = pair.stream("parent")
    holding = in_background(hold)
    assert held.wait(60)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = pair.complete("child").text
            os.write(writer, f"{busy(pair)} {text}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(child, 0)
    over.set()
    holding.result(60)
    assert told.startswith("[0, 0] ")
    assert told.endswith("You said: child")
    assert "".join(stream.text()).endswith("You said: parent")


def test_a_failover_of_failovers_works(simulator):
    inner = failover_of(Plugin("a", error=refused()), id="inner")
    with failover_of(inner, LMStudioProvider(simulator.url, refresh=False)) as failover:
        assert failover.complete("Hi").provider_id == "lm-studio"


def test_tools_from_a_generator_reach_the_second_provider(closed_port, simulator):
    tools = (Tool(name) for name in ["now"])
    first, second = LMStudioProvider(f"127.0.0.1:{closed_port}", refresh=False), LMStudioProvider(simulator.url)
    with Failover([first, second]) as failover:
        assert failover.chat([Message.user("Hi")], tools=tools).tool_calls[0].name == "now"


def test_a_recorder_that_is_interrupted_leaves_no_member_busy(simulator):
    class Interrupted:
        def record(self, record, /):
            raise KeyboardInterrupt

    first = LMStudioProvider(simulator.url, id="first", usage=Interrupted())
    second = LMStudioProvider(simulator.url, id="second")
    with Failover([first, second], balance="least_busy") as failover:
        with pytest.raises(KeyboardInterrupt):
            list(failover.stream("Hi"))
        assert busy(failover) == [0, 0]


BODY = b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


@pytest.fixture
def dying(raw_server):
    """A server that answers once, then closes the connection without a reply to the next request and stops listening.

    A client sees the same if a server closes an idle connection, or is killed, while a call is being sent.
    """
    asked = []

    def answer(connection):
        asked.append(connection)
        if len(asked) == 1:
            connection.sendall(OK)
        else:
            server.refuse()
            connection.shutdown(socket.SHUT_RDWR)

    server = raw_server(answer, keep_open=True)
    return server


@pytest.mark.parametrize("call", [lambda lm: lm.complete("Hi"), lambda lm: lm.stream("Hi", lambda chunk: None)])
def test_a_call_on_a_kept_alive_connection_that_died_goes_to_the_next_if_the_server_is_gone(
    dying, provider_of, simulator, call
):
    first = provider_of(dying, model="m", id="first")
    with failover_of(first, provider_of(simulator.url, id="second")) as failover:
        assert failover.complete("Hi").provider_id == "first"
        assert call(failover).provider_id == "second"
        assert failover.complete("Hi").provider_id == "second"
    assert len(dying.requests) == 2
    assert [each["method"] for each in simulator.requests].count("POST") == 2


def test_an_error_of_a_request_that_no_server_works_on_says_so(dying, provider_of):
    usage = MemoryUsage()
    lm = provider_of(dying, model="m", usage=usage)
    lm.complete("Hi")
    with pytest.raises(ServerUnavailableError) as caught:
        lm.complete("Hi")
    assert (caught.value.sent, caught.value.refused) == (False, True)
    assert len(usage.records) == 1


def test_a_call_that_was_sent_and_broke_is_not_sent_to_the_next(raw_server, provider_of, simulator):
    with failover_of(provider_of(raw_server(b""), model="m"), provider_of(simulator.url)) as failover:
        with pytest.raises(ServerUnavailableError) as caught:
            failover.complete("Hi")
    assert caught.value.sent
    assert simulator.requests == []


def down(port, id, kind=LMStudioProvider):
    return kind(f"127.0.0.1:{port}", refresh=False, id=id)


def test_if_all_are_down_the_advice_of_each_is_there_once(closed_port):
    members = [down(closed_port, "a"), down(closed_port, "b"), down(closed_port, "c", OllamaProvider)]
    with failover_of(failover_of(*members[:2], id="both"), members[2]) as failover:
        with pytest.raises(ServerUnavailableError) as caught:
            failover.complete("Hi")
        health = failover.health_check()
    for hint in (caught.value.hint, health.error.hint):
        for said in ("lms server start", "ollama serve", "LM_STUDIO_URL", "OLLAMA_HOST"):
            assert hint.count(said) == 1, hint
    assert len(health.advice) == len(set(health.advice)) == 2


def test_two_servers_of_one_kind_are_started_in_one_way_and_have_two_addresses(closed_port):
    with failover_of(down(closed_port, "a"), down("1", "b")) as failover:
        with pytest.raises(ServerUnavailableError) as caught:
            failover.complete("Hi")
    hint = caught.value.hint
    assert hint.count("lms server start") == 1
    assert f"http://127.0.0.1:{closed_port} came from" in hint
    assert "http://127.0.0.1:1 came from" in hint


def test_advice_about_one_that_is_down_is_there_while_another_is_up(closed_port, simulator):
    with failover_of(down(closed_port, "a"), LMStudioProvider(simulator.url, id="b")) as failover:
        health = failover.health_check()
    assert health.ok
    assert "lms server start" in " ".join(health.advice)
