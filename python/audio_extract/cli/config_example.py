"""The settings file that ``config init`` writes: made from the settings themselves."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

import yaml
from pydantic import BaseModel, SecretStr

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What nobody can do without; the rest is there as a comment.
_WANTED: Final = {
    ("environment",): "development",
    ("google_drive", "service_account_file"): "service-account.json",
    ("google_drive", "recordings_folder_id"): "${AUDIO_EXTRACT_FOLDER_ID}",
    ("storage", "type"): "gcs",
    ("storage", "gcs", "bucket_name"): "${GCS_BUCKET_NAME}",
}
_HEAD: Final = """\
# Settings of audio-extract. A flag wins over the environment (AUDIO_EXTRACT__SECTION__KEY), that over this
# file. ${VAR} and ${VAR:-default} are replaced. A key behind a bare # shows its default: take the # off to
# change it.

"""
_WIDTH: Final = 108


def example_text() -> str:
    """Return the file, ready to be edited."""
    from audio_extract.settings import Settings

    return _HEAD + "".join(f"{line}\n" for line in _section(Settings, ()))


def _section(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[str]:
    indent = "  " * len(path)
    for name, field in model.model_fields.items():
        place = (*path, name)
        inner = field.annotation
        is_section = isinstance(inner, type) and issubclass(inner, BaseModel)
        if is_section and not inner.model_fields:
            continue
        if is_section and not path:
            yield ""
        for line in textwrap.wrap(field.description or "", _WIDTH - len(indent)):
            yield f"{indent}# {line}"
        if is_section:
            # A section in which everything is a comment is read as an empty one.
            yield f"{indent}{name}:"
            yield from _section(inner, place)
        elif place in _WANTED:
            yield f"{indent}{name}: {_WANTED[place]}"
        else:
            yield f"{indent}#{name}: {_yaml(field.get_default(call_default_factory=True))}"


def _yaml(value: Any) -> str:
    if isinstance(value, SecretStr):
        value = None
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip()
