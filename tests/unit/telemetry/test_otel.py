"""The ``OTEL_*`` variables: cleaned and checked before OpenTelemetry's SDK reads them."""

import pytest

from handler.errors import SettingsError
from handler.telemetry.otel import check_otel, otel_variables
from handler.telemetry.telemetry import open_telemetry

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "must be otlp, console or none"),
        ("OTEL_TRACES_EXPORTER", "otlp,jaeger", "must be otlp, console or none"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "must be one of always_on"),
        ("OTEL_TRACES_SAMPLER_ARG", "x", "must be a share of all traces, from 0 to 1"),
        ("OTEL_TRACES_SAMPLER_ARG", "7", "must be a share of all traces, from 0 to 1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s", "must be a whole number"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "must be a whole number"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "99999", "is more than OTEL_BSP_MAX_QUEUE_SIZE"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", "must be a whole number"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-5", "must be a whole number"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "host:4318", "must begin with https://"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1", "in brackets"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "must be seconds"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "x", "must be seconds"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli", "must be none, gzip or deflate"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "must be http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", SECRET, "must be name=value pairs"),
        ("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={SECRET}\tx", "must be name=value pairs"),
        ("OTEL_RESOURCE_ATTRIBUTES", "nonsense", "must be name=value pairs"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent", "does not exist"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/tmp", "is a folder"),
    ],
)
def test_a_wrong_variable_is_refused_with_a_remedy(name: str, text: str, says: str) -> None:
    """A value for which the SDK would take its default, log a secret, or raise, ends the program."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", name: text}

    with pytest.raises(SettingsError) as caught:
        open_telemetry("q", environment)

    [problem] = caught.value.problems
    assert problem.startswith(f"{name}: ")
    assert says in problem
    assert f" such as {name}=" in problem
    assert SECRET not in problem


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "HTTP://user:password@collector.example.com:4318/v1?x=1"},
        {"OTEL_TRACES_EXPORTER": "otlp,Console"},
        {"OTEL_TRACES_SAMPLER": "TraceIdRatio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
        {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20dTpw, x-scope-orgid = 7,"},
        {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=production,service.version=1"},
        {"OTEL_BSP_MAX_QUEUE_SIZE": "4096", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4096"},
        {"OTEL_METRICS_EXPORTER": "what another program reads"},
    ],
    ids=str,
)
def test_what_the_sdk_reads_is_accepted(variables: dict[str, str]) -> None:
    """Right values pass, and so do variables that the exporter of traces does not read."""
    check_otel(variables)


def test_what_is_left_around_a_value_is_removed() -> None:
    """A newline, quotes and empty values do not reach the SDK."""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": '"http://127.0.0.1:1"\r\n',
        "OTEL_SERVICE_NAME": ' "" ',
        "HOME": " / ",
    }

    assert {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"} == otel_variables(environment)
