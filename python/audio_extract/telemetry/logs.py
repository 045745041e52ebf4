"""Log lines: one JSON object a line, or text for people; to the console and to a rotating file.

Every record of every library passes through here, so redaction and trace ids need no help from callers.
A line has ``timestamp, level, logger, name`` (the old key for the logger), ``message`` (for people),
``event`` (stable name of the kind of thing; ``log`` for plain messages), and ``trace_id, span_id,
recording_id`` where known. Name an event with ``extra={"event": "transfer.completed", …}``.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

import structlog

from audio_extract.presentation import one_line
from audio_extract.telemetry.redaction import redact_value

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from structlog.typing import EventDict, Processor, WrappedLogger

Format = Literal["text", "json"]

#: What ``logging`` puts on every record. The rest was given with ``extra`` and belongs into the line.
_RECORD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

#: These say at INFO what our own lines say better, or once for each request.
_CHATTY: Final = ("apscheduler", "googleapiclient", "google.auth", "httpx", "uvicorn", "urllib3", "alembic")


def configure_logs(
    *,
    level: str = "INFO",
    console: Format | None = "text",
    console_level: str | None = None,
    file: Path | None = None,
    file_max_bytes: int = 100 * 1024 * 1024,
    file_backups: int = 10,
) -> None:
    """Send all log records to the console and, if wanted, to a rotating file; replaces an earlier set-up.

    Args:
        level: Least level that is shown, for example ``INFO``.
        console: How lines look on stderr; None keeps stderr quiet.
        console_level: Least level that stderr shows, where it is to show less than the file.
        file: A file of JSON lines; its folder is made.
        file_max_bytes: Size at which the file is put aside.
        file_backups: How many files that were put aside are kept.
    """
    handlers: list[logging.Handler] = []
    if console is not None:
        stream = _Console(sys.stderr)
        stream.setFormatter(_formatter(console, colors=sys.stderr.isatty()))
        if console_level is not None:
            stream.setLevel(console_level.upper())
        handlers.append(stream)
    if file is not None:
        # Opened with the first line: one that cannot be opened is told like one that cannot be written.
        rotating = _LogFile(
            file, maxBytes=file_max_bytes, backupCount=file_backups, encoding="utf-8", delay=True
        )
        rotating.setFormatter(_formatter("json", colors=False))
        handlers.append(rotating)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if level.upper() == "DEBUG" else logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


class _Console(logging.StreamHandler[TextIO]):
    """Stderr. When nobody reads it any more, or its disk is full, the work goes on without lines."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Stay quiet where lines cannot be written: there is nowhere to say so."""
        # A closed stream is a ValueError.
        if not isinstance(sys.exception(), OSError | ValueError):
            super().handleError(record)


class _LogFile(RotatingFileHandler):
    """The rotating file. While it cannot be written the work goes on; that is said once on the console."""

    _has_failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, opening the file again where it was not there."""
        try:
            self.acquire()
            stream = self._opened()
            if self.shouldRollover(record):
                # It leaves the file closed, as it was to begin with.
                self.doRollover()
                stream = self._opened()
            stream.write(self.format(record) + self.terminator)
            stream.flush()
        except OSError as error:
            self._failed(error)
        except Exception:  # noqa: BLE001 - as logging does: a line must not end what it tells of
            self.handleError(record)
        else:
            self._has_failed = False
        finally:
            self.release()

    def _opened(self) -> TextIO:
        if self.stream is None:
            Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
            self.stream = self._open()
        return self.stream

    def _failed(self, error: OSError) -> None:
        # What could not be written would be written with the next line, again in vain; it is dropped.
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(OSError):
                stream.close()
        if self._has_failed:
            return
        self._has_failed = True
        said = logging.LogRecord(
            __name__,
            logging.WARNING,
            __file__,
            0,
            "the log file %s cannot be written (%s): lines go to the console only until it can",
            (self.baseFilename, error.strerror),
            None,
        )
        said.event = "log.file_failed"
        for handler in logging.getLogger().handlers:
            if handler is not self:
                handler.handle(said)


def _formatter(form: Format, *, colors: bool) -> logging.Formatter:
    renderer: Processor = _json_line if form == "json" else _TextLine(colors=colors)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            _take_extra,
        ],
        processors=[
            _name_message_and_event,
            _add_trace,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _redact,
            renderer,
        ],
    )


def _take_extra(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    record: logging.LogRecord = line["_record"]
    for key, value in vars(record).items():
        if key not in _RECORD_ATTRIBUTES and not key.startswith("_"):
            line["event_name" if key == "event" else key] = value
    return line


def _name_message_and_event(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """``event`` is a stable name, ``message`` a sentence; either library knows only one of them."""
    text = line.pop("event", "")
    if line["_from_structlog"]:
        line.setdefault("message", str(text))
        line["event"] = text
    else:
        line["message"] = str(text)
        line["event"] = line.pop("event_name", "log")
    line["timestamp"] = datetime.fromtimestamp(line["_record"].created, UTC).isoformat(
        timespec="milliseconds"
    )
    line["name"] = line.get("logger")
    return line


def _add_trace(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    # Without a configured trace the API is not even imported: there can be no span.
    api = sys.modules.get("opentelemetry.trace")
    if api is not None and "trace_id" not in line:
        context = api.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = f"{context.trace_id:032x}"
            line["span_id"] = f"{context.span_id:016x}"
    return line


def _redact(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    return {key: redact_value(key, value) for key, value in line.items()}


_FIRST_KEYS: Final = (
    "timestamp",
    "level",
    "logger",
    "name",
    "event",
    "message",
    "trace_id",
    "span_id",
    "recording_id",
)


def _json_line(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    ordered: MutableMapping[str, Any] = {key: line.get(key) for key in _FIRST_KEYS}
    ordered.update(line)
    return json.dumps(ordered, ensure_ascii=False, default=str)


class _TextLine:
    """``12:03:44 info     stored weekly.mp3  event=transfer.completed recording_id=…``."""

    def __init__(self, *, colors: bool) -> None:
        self._colors = {"error": "31", "critical": "31", "warning": "33"} if colors else {}

    def __call__(self, _logger: WrappedLogger, _method: str, line: EventDict) -> str:
        level = str(line.get("level", ""))
        clock = datetime.fromisoformat(line["timestamp"]).astimezone().strftime("%H:%M:%S")
        rest = " ".join(
            f"{key}={value}"
            for key, value in line.items()
            if key
            not in {"timestamp", "level", "logger", "name", "message", "exception", "trace_id", "span_id"}
            and value is not None
            and not (key == "event" and value in {"log", line["message"]})
        )
        text = one_line(f"{clock} {level:<8} {line['message']}" + (f"  {rest}" if rest else ""))
        if color := self._colors.get(level):
            text = f"\x1b[{color}m{text}\x1b[0m"
        if exception := line.get("exception"):
            text = f"{text}\n{exception}"
        return text
