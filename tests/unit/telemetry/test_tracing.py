"""Tests of traces: one for all handling of a message, by OpenTelemetry's conventions."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanKind

from events.errors import EventIds
from events.message import Message, State, unwrap_state, wrap
from events.outcome import Category
from handler.backup.hooks import Call, Published
from handler.backup.process import Process
from handler.errors import ApiError, SettingsError
from handler.telemetry.telemetry import Telemetry, open_telemetry, traces_wanted
from handler.telemetry.tracing import TRACES_A_SECOND, FewASecond, Tracing
from tests.twins.clock import Clock
from tests.twins.events import cloud_event
from tests.twins.world import World

TRACE_ID, PRODUCER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE_ID}-{PRODUCER}-01"


class Traced:
    """A world whose process is traced into memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(provider, "q")
        self.telemetry = Telemetry(self.tracing)
        self.world = World()
        world = self.world
        services = world.services()
        world.process = Process(
            services=services,
            outbox=world.broker,
            selection=world.selection,
            notify=self.telemetry.handled,
            follow=self.telemetry.follow,
        )

    def run(self, **attributes: str) -> list[ReadableSpan]:
        """Run one event to its end, and return the finished spans."""
        body = json.dumps(cloud_event(1) | attributes).encode()
        asyncio.run(self.world.run(Message(body)))
        return list(self.exporter.get_finished_spans())

    def traceparents(self) -> list[str]:
        """Return the ``traceparent`` of each outcome."""
        return [json.loads(outcome.body)["traceparent"] for outcome in self.world.outcomes]


@pytest.fixture
def traced() -> Iterator[Traced]:
    """Return a traced world, and close its telemetry after the test."""
    traced = Traced()
    yield traced
    traced.telemetry.close()


def _ids(span: ReadableSpan) -> tuple[str, str | None]:
    assert span.context is not None
    return f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}" if span.parent else None


def _own(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def test_one_trace_shows_all_handling_of_a_message(traced: Traced) -> None:
    """Each handling's span is a child of the one before, across delays; the first is the producer's child."""
    traced.world.api.fail("create", ApiError(Category.CONFLICT, "busy", status=409))
    spans = traced.run(traceparent=SAMPLED)
    chain = [PRODUCER, *map(_own, spans)]
    assert [(TRACE_ID, parent) for parent in chain[:-1]] == [_ids(span) for span in spans]
    assert ["waiting", "accepted", "completed"] == [
        (span.attributes or {})["snapshot_backup.result"] for span in spans
    ]


def test_a_message_without_a_producer_s_trace_has_one_trace(traced: Traced) -> None:
    """A delayed message carries a new trace context if the event had none, so both spans share one trace."""
    spans = traced.run()
    assert (2, 1) == (len(spans), len({_ids(span)[0] for span in spans}))


def test_outcomes_carry_the_trace(traced: Traced) -> None:
    """Each outcome's ``traceparent`` names the span that published it."""
    spans = traced.run(traceparent=SAMPLED)
    assert [f"00-{TRACE_ID}-{_own(span)}-01" for span in spans] == traced.traceparents()


def test_the_span_is_named_and_described_by_the_conventions(traced: Traced) -> None:
    """The span's kind, name and attributes are those of the messaging conventions."""
    span = traced.run(traceparent=SAMPLED)[0]
    assert (SpanKind.CONSUMER, "process q") == (span.kind, span.name)
    expected = {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "process",
        "messaging.destination.name": "q",
        "messaging.message.id": cloud_event(1)["id"],
    }
    assert expected == {key: value for key, value in (span.attributes or {}).items() if key in expected}
    assert [PRODUCER] == [f"{connection.context.span_id:016x}" for connection in span.links]


def test_calls_and_publishes_are_children(traced: Traced) -> None:
    """The spans of calls and publishes are children of the handling's span, with the measured times."""
    with traced.telemetry.follow(EventIds(), SAMPLED):
        traced.telemetry.called(Call("create", "POST", "api", 202, 0.5, 1000.0))
        traced.telemetry.published(Published("outcome", "backups", "backup.accepted", "m", 9, 0.25, 1001.0))
    call, publish, process = traced.exporter.get_finished_spans()
    assert [_own(process)] * 2 == [_ids(call)[1], _ids(publish)[1]]
    assert [(999_500_000_000, 1_000_000_000_000), (1_000_750_000_000, 1_001_000_000_000)] == [
        (span.start_time, span.end_time) for span in (call, publish)
    ]
    assert [SpanKind.CLIENT, SpanKind.PRODUCER] == [call.kind, publish.kind]


def test_an_error_that_leaves_is_on_the_span(traced: Traced) -> None:
    """The span has the type of an error that ends the handling, such as a lost connection."""
    with pytest.raises(ConnectionError), traced.telemetry.follow(EventIds(), None):
        raise ConnectionError("gone")
    span = traced.exporter.get_finished_spans()[0]
    assert "ConnectionError" == (span.attributes or {})["error.type"]


@pytest.mark.parametrize("flags", ["00", "01"])
def test_the_producer_s_sampling_decision_is_kept(flags: str) -> None:
    """A trace that the producer has not sampled has no spans, and is passed on as not sampled."""
    traced = Traced()
    with traced.telemetry.follow(EventIds(), f"00-{TRACE_ID}-{PRODUCER}-{flags}") as passed_on:
        pass
    assert (int(flags), flags) == (len(traced.exporter.get_finished_spans()), (passed_on or "")[-2:])


def test_a_limited_number_of_traces_a_second_is_sampled() -> None:
    """The sampler drops the traces over the limit, and samples again in the next second."""
    clock = Clock()
    sampler = FewASecond(TRACES_A_SECOND, clock)
    burst = [sampler.should_sample(None, n, "n").decision for n in range(500)]
    clock.advance(1.0)
    later = sampler.should_sample(None, 1, "n").decision
    assert (TRACES_A_SECOND, Decision.RECORD_AND_SAMPLE) == (
        burst.count(Decision.RECORD_AND_SAMPLE),
        later,
    )


def test_a_delayed_message_carries_its_trace() -> None:
    """A delayed message carries its trace context in the CloudEvents attribute ``traceparent``."""
    body = json.loads(wrap(Message(b"{}"), State(first_seen=1.0, traceparent=SAMPLED), event_id="e"))
    assert (SAMPLED, SAMPLED) == (body["traceparent"], unwrap_state(body).traceparent)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1"}, False),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_environment_decides_on_traces(environment: dict[str, str], *, wanted: bool) -> None:
    """The standard OTEL_* variables switch traces on and off."""
    assert wanted == traces_wanted(environment)


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_a_bad_exporter_is_an_error(environment: dict[str, str]) -> None:
    """The error for an unsupported exporter or protocol names the variable."""
    with pytest.raises(SettingsError, match=r"^OTEL_"):
        open_telemetry("q", environment)
