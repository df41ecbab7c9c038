"""OpenTelemetry traces: a span for each message, with its calls and publishes as children; extra ``tracing``.

Names and attributes are those of OpenTelemetry's semantic conventions for messaging and HTTP. A delayed
message keeps its trace context, so that one trace shows all its handling, over hours and workers.

A span costs more than the rest of a message's telemetry. Therefore, without ``OTEL_TRACES_SAMPLER``, at most
``TRACES_A_SECOND`` new traces a second are sampled. The sampling decision of the producer, or of an earlier
worker, is kept.

This module is imported only where the ``OTEL_*`` variables ask for traces. Child spans are made after the
fact, from the hooks' records, so that the other rooms know nothing of spans.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
)
from opentelemetry.util.types import Attributes

from events.errors import EventIds
from handler.backup.hooks import Call, Published
from handler.backup.result import Result
from handler.redaction import redacted

_SCHEMA = "https://opentelemetry.io/schemas/1.36.0"
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NANO = 1_000_000_000

TRACES_A_SECOND = 10


class Tracing:
    """Makes spans with a tracer provider, which ``close`` shuts down after a last export."""

    def __init__(self, provider: TracerProvider, queue: str) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("snapshot-backup", schema_url=_SCHEMA)
        self._name = f"process {queue}"
        self._constant = {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": queue,
        }

    def follow(self, ids: EventIds, traceparent: str | None) -> AbstractContextManager[str]:
        """Surround the handling of a message with its span; yields the ``traceparent`` to pass on."""
        parent = _span_context(traceparent)
        context = contexts.Context()
        if parent:
            context = trace.set_span_in_context(trace.NonRecordingSpan(parent), context)
        links = [Link(parent)] if parent and parent.trace_flags.sampled else []
        span = self._tracer.start_span(self._name, context, SpanKind.CONSUMER, self._constant, links)
        if span.is_recording():
            span.set_attributes(_known({"messaging.message.id": ids.event_id, **_subject(ids)}))
        return _Following(span)

    def handled(self, result: Result) -> None:
        """Record the result on the message's span."""
        span = trace.get_current_span()
        if not span.is_recording():
            return
        attributes = {
            "snapshot_backup.result": result.kind,
            "snapshot_backup.reason": result.reason,
            "snapshot_backup.form": result.form,
            "snapshot_backup.backup_id": result.backup_id,
            "snapshot_backup.attempts": result.state.attempts,
            "snapshot_backup.waits": result.state.waits,
            "snapshot_backup.wait_seconds": result.delay.seconds if result.delay else None,
            "error.type": result.category,
        }
        span.set_attributes(_known(attributes))
        if result.category:
            span.set_status(StatusCode.ERROR)

    def called(self, call: Call) -> None:
        """Add a call as a child of the message's span."""
        if not trace.get_current_span().is_recording():
            return
        attributes = {
            "http.request.method": call.method,
            "http.response.status_code": call.status,
            "server.address": call.host,
            "snapshot_backup.route": call.route,
            "error.type": None if call.status and call.status < 400 else str(call.status or "no_answer"),
        }
        self._add(f"{call.method} {call.route}", SpanKind.CLIENT, attributes, call.seconds, call.ended_at)

    def published(self, published: Published) -> None:
        """Add a confirmed publish as a child of the message's span."""
        if not trace.get_current_span().is_recording():
            return
        destination = published.exchange or published.routing_key
        attributes = {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "send",
            "messaging.operation.name": "publish",
            "messaging.destination.name": destination,
            "messaging.rabbitmq.destination.routing_key": published.routing_key,
            "messaging.message.id": published.message_id,
            "messaging.message.body.size": published.size,
        }
        name = f"publish {destination}"
        self._add(name, SpanKind.PRODUCER, attributes, published.seconds, published.ended_at)

    def close(self) -> None:
        """Export the remaining spans; blocks until that is done or has failed."""
        self._provider.shutdown()

    def _add(
        self, name: str, kind: SpanKind, attributes: Mapping[str, Any], seconds: float, ended_at: float
    ) -> None:
        """Add a child to the current span that has ended already."""
        ended = int(ended_at * _NANO)
        started = ended - int(seconds * _NANO)
        span = self._tracer.start_span(name, kind=kind, attributes=_known(attributes), start_time=started)
        if attributes.get("error.type"):
            span.set_status(StatusCode.ERROR)
        span.end(ended)


class _Following:
    """A context manager: makes a span the current one, and records an error that leaves it."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> str:
        self._token = contexts.attach(trace.set_span_in_context(self._span))
        return _traceparent(self._span.get_span_context())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        contexts.detach(self._token)
        if kind is not None:
            self._span.set_attribute("error.type", kind.__name__)
            self._span.set_status(StatusCode.ERROR, redacted(str(error)))
        self._span.end()


class FewASecond(Sampler):
    """A sampler of at most ``limit`` traces a second."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._began = clock()
        self._taken = 0

    def should_sample(
        self,
        parent_context: contexts.Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Sample, unless ``limit`` is reached in this second."""
        now = self._clock()
        if now - self._began >= 1.0:
            self._began, self._taken = now, 0
        self._taken += 1
        if self._taken > self._limit:
            return SamplingResult(Decision.DROP)
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

    def get_description(self) -> str:
        """Return the sampler's name and limit."""
        return f"FewASecond{{{self._limit}}}"


def start(environment: Mapping[str, str], queue: str) -> Tracing:
    """Set up the SDK as the ``OTEL_*`` variables say, which are checked already. Raises ``SettingsError``."""
    name = environment.get("OTEL_SERVICE_NAME") or "snapshot-backup"
    chosen = None if environment.get("OTEL_TRACES_SAMPLER") else ParentBased(FewASecond(TRACES_A_SECOND))
    provider = TracerProvider(sampler=chosen, resource=Resource.create({"service.name": name}))
    wanted = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    for exporter in filter(None, map(str.strip, wanted.lower().split(","))):
        if exporter != "none":
            provider.add_span_processor(BatchSpanProcessor(_exporter(exporter, environment)))
    return Tracing(provider, queue)


def _exporter(name: str, environment: Mapping[str, str]) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + "\n")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from handler.telemetry.collector import session

    return OTLPSpanExporter(session=session(environment))


def _span_context(traceparent: str | None) -> SpanContext | None:
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    found = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return found if found.is_valid else None


def _traceparent(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _subject(ids: EventIds) -> Mapping[str, str | None]:
    return {
        "snapshot_backup.project_id": ids.project_id,
        "snapshot_backup.volume_id": ids.volume_id,
        "snapshot_backup.snapshot_id": ids.snapshot_id,
    }


def _known(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in attributes.items() if value is not None}
