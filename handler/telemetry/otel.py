"""The ``OTEL_*`` variables, cleaned and checked before OpenTelemetry's SDK reads them.

The SDK takes its default for most values that it cannot parse, logs others with the headers' secrets in them,
and raises on the rest.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points

from handler.addresses import readable_file, web_url
from handler.errors import SettingsError
from handler.values import choice, clean, decimal, listed, trimmed, whole

_PREFIX = "OTEL_"
_SIZES = {"OTEL_BSP_MAX_QUEUE_SIZE": 2048, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": 512}
"""The two variables of which the second must not be more than the first, with the SDK's defaults."""

_COUNT = whole(0, 2_147_483_647)
_HEADER = re.compile(r"[\w.!#$%&'*+^`|~-]+\s*=[ -~]*", re.ASCII)
_SAMPLERS = (
    "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
    "parentbased_traceidratio",
)  # fmt: skip


def otel_variables(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables of OpenTelemetry that are set, cleaned."""
    texts = {name: clean(text) for name, text in environment.items() if name.startswith(_PREFIX)}
    return {name: text for name, text in texts.items() if trimmed(text)}


def check_otel(variables: Mapping[str, str]) -> None:
    """Check what the exporter of traces reads. Raises ``SettingsError`` that names each wrong variable."""
    if problems := [*_problems(variables)]:
        raise SettingsError(*problems)


def _problems(variables: Mapping[str, str]) -> Iterator[str]:
    for name, text in variables.items():
        parse, example = _PARSERS.get(name.replace("_OTLP_TRACES_", "_OTLP_"), (None, ""))
        if parse is None:
            continue
        try:
            parse(text)
        except ValueError as error:
            yield f"{name}: {error}, such as {name}={example}"
    queue, batch = (_size(variables, name) for name in _SIZES)
    if queue and batch > queue:
        yield (
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: is more than OTEL_BSP_MAX_QUEUE_SIZE, such as "
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=512"
        )


def _size(variables: Mapping[str, str], name: str) -> int:
    text = variables.get(name, str(_SIZES[name]))
    return int(text) if text.isdecimal() else 0


def _exporters(text: str) -> None:
    for each in listed(text):
        choice("otlp", "console", "none")(each)


def _sampler(text: str) -> None:
    if text.lower() not in _SAMPLERS and not entry_points(group="opentelemetry_traces_sampler", name=text):
        raise ValueError(f"must be one of {', '.join(_SAMPLERS)}")


def _pairs(text: str) -> None:
    for each in listed(text):
        if not _HEADER.fullmatch(str(each)):
            raise ValueError("must be name=value pairs of printable ASCII with commas between them")


_PARSERS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "OTEL_TRACES_EXPORTER": (_exporters, "otlp"),
    "OTEL_TRACES_SAMPLER": (_sampler, "parentbased_traceidratio"),
    "OTEL_TRACES_SAMPLER_ARG": (decimal(0, 1, "a share of all traces"), "0.1"),
    "OTEL_RESOURCE_ATTRIBUTES": (_pairs, "deployment.environment=production"),
    "OTEL_BSP_SCHEDULE_DELAY": (_COUNT, "5000"),
    "OTEL_BSP_EXPORT_TIMEOUT": (_COUNT, "30000"),
    "OTEL_BSP_MAX_QUEUE_SIZE": (whole(1, 1_000_000), "2048"),
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": (whole(1, 1_000_000), "512"),
    "OTEL_ATTRIBUTE_COUNT_LIMIT": (_COUNT, "128"),
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": (_COUNT, "4096"),
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": (_COUNT, "128"),
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": (_COUNT, "4096"),
    "OTEL_SPAN_EVENT_COUNT_LIMIT": (_COUNT, "128"),
    "OTEL_SPAN_LINK_COUNT_LIMIT": (_COUNT, "128"),
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": (_COUNT, "128"),
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": (_COUNT, "128"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": (web_url, "http://127.0.0.1:4318"),
    "OTEL_EXPORTER_OTLP_PROTOCOL": (choice("http/protobuf"), "http/protobuf"),
    "OTEL_EXPORTER_OTLP_TIMEOUT": (decimal(0.001, 3600, "seconds"), "10"),
    "OTEL_EXPORTER_OTLP_COMPRESSION": (choice("none", "gzip", "deflate"), "gzip"),
    "OTEL_EXPORTER_OTLP_HEADERS": (_pairs, "authorization=Bearer%20s3cret"),
    "OTEL_EXPORTER_OTLP_CERTIFICATE": (readable_file, "/etc/ssl/collector-ca.pem"),
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": (readable_file, "/etc/ssl/client.pem"),
    "OTEL_EXPORTER_OTLP_CLIENT_KEY": (readable_file, "/etc/ssl/client.key"),
}
"""What the SDK reads, by the name without the signal, with a parser and a value."""
