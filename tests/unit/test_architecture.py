"""Imports go one way: discover → plan → transfer → store → record → show.

A stage imports what is shared and what the table below says, and nothing behind it. Only ``jobs`` and ``cli``
put stages together. Imports inside functions and for type checkers count too.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "python" / "audio_extract"

#: Everybody may use these: values, errors, the boundaries to engine and system, the package's version.
SHARED = {"", "exceptions", "engine_types", "processes", "mounts", "_engine"}

#: Module or sub-package → what of ours it may import beside the shared parts; a longer name narrows it.
MAY_IMPORT: dict[str, set[str]] = {
    # Messages are free of secrets from their root on; redaction itself imports nothing of ours.
    "exceptions": {"telemetry.redaction"},
    "engine_types": set(),
    "processes": set(),
    "mounts": set(),
    "supervisor": set(),
    "presentation": set(),
    "sound": set(),
    "presets": set(),
    "measuring": {"plan", "credentials"},
    "telemetry": {"presentation"},
    "settings": {"telemetry.redaction", "presets"},
    "ffmpeg": set(),
    "failure_texts": {"telemetry.redaction"},
    "credentials": {"settings"},
    "sources": {"credentials", "settings"},
    # The plan knows what a recording is and which FFmpeg was found, not where either came from.
    "plan": {"settings", "sources.base", "ffmpeg"},
    "storage": {"credentials", "settings", "plan"},
    "tracker": {"settings", "sources.base"},
    "discover": {"settings", "sources", "plan", "tracker"},
    # The last stage: it shows what was recorded, and asks the parts how they are.
    "web": {
        "presentation",
        "sound",
        "telemetry",
        "failure_texts",
        "presets",
        "settings",
        "ffmpeg",
        "storage.base",
        "tracker",
    },
    "notify": {"settings", "presentation", "failure_texts", "credentials"},
    "chunker": {"ffmpeg"},
    # Stands for Google: the service must not lean on it, and it must not lean on the service.
    "emulator": set(),
}
#: These put stages together and may import everything.
COMPOSERS = {"jobs", "cli", "__main__"}


def imports(source: str, module: str) -> set[str]:
    """Return what of ours a module imports, as names below ``audio_extract``.

    Args:
        source: Its text.
        module: Its dotted name below ``audio_extract``; a package ends with ``.__init__``.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = ["audio_extract", *module.split(".")][: -node.level]
                base = ".".join([*above, *([node.module] if node.module else [])])
            # `from audio_extract import presentation` names a module, `import __version__` does not.
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "audio_extract" else [base]
        else:
            continue
        for name in names:
            top, _, below = name.partition(".")
            if top == "audio_extract":
                found.add("" if below == "__version__" else below)
    return found


def wrong(importer: str, imported: str) -> str | None:
    """Return why an import is wrong, in a sentence; None when it is fine."""
    owner, target = importer.split(".", maxsplit=1)[0], imported.split(".", maxsplit=1)[0]
    if owner in COMPOSERS or target in SHARED or owner == target:
        return None
    allowed = MAY_IMPORT.get(owner)
    if allowed is None:
        return f"{owner} is new: say in MAY_IMPORT what it may import"
    if any(imported == name or imported.startswith(f"{name}.") for name in allowed):
        return None
    if target in COMPOSERS:
        return f"{importer} imports {imported}, but only jobs and cli put stages together"
    known = ", ".join(sorted(allowed)) or "nothing but the shared parts"
    return f"{importer} imports {imported}, but {owner} may import only {known}: imports go one way"


def modules() -> list[tuple[str, Path]]:
    return [
        (".".join(path.relative_to(PACKAGE).with_suffix("").parts), path)
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


def test_no_stage_imports_what_comes_after_it() -> None:
    problems = [
        sentence
        for name, path in modules()
        for imported in sorted(imports(path.read_text(encoding="utf-8"), name))
        if (sentence := wrong(name, imported))
    ]
    assert len(modules()) > 50
    assert problems == []


@pytest.mark.parametrize(
    "source",
    [
        "from audio_extract.tracker import Tracker",
        "import audio_extract.tracker.models",
        "from audio_extract import tracker",
        "from ..tracker import Tracker",
        "from .. import tracker",
        "def late():\n    from audio_extract.tracker import Tracker",
        "if TYPE_CHECKING:\n    from audio_extract.tracker import Tracker",
    ],
)
def test_a_wrong_import_is_found_however_it_is_written(source: str) -> None:
    found = imports(source, "plan.naming")
    assert [wrong("plan.naming", name) for name in found if wrong("plan.naming", name)]


@pytest.mark.parametrize(
    ("importer", "imported", "word"),
    [
        ("sources.drive", "plan", "one way"),
        ("plan.naming", "sources.drive", "one way"),
        ("tracker.claims", "jobs.worker", "only jobs and cli"),
        ("storage.gcs", "tracker", "one way"),
        ("web.dashboard", "cli.app", "only jobs and cli"),
        ("sources.drive", "emulator.drive", "one way"),
        ("emulator.server", "settings", "one way"),
        ("settings.load", "telemetry.traces", "one way"),
        ("brand_new", "settings", "is new"),
    ],
)
def test_a_wrong_import_is_explained_in_a_sentence(importer: str, imported: str, word: str) -> None:
    sentence = wrong(importer, imported)
    assert sentence is not None
    assert word in sentence


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("jobs.worker", "tracker"),
        ("cli.extract", "plan.formats"),
        ("plan.selection", "sources.base"),
        ("tracker.claims", "tracker.models"),
        ("sources.local", "exceptions"),
    ],
)
def test_an_import_in_the_right_direction_is_fine(importer: str, imported: str) -> None:
    assert wrong(importer, imported) is None
