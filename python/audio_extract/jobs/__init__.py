"""Puts the stages together: discover → plan → transfer → store → record, in a bounded pool."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audio_extract.jobs.active import ActiveTransfer, ActiveTransfers
    from audio_extract.jobs.report import CycleReport
    from audio_extract.jobs.service import Service
    from audio_extract.jobs.transfer import Outcome

__all__ = ["ActiveTransfer", "ActiveTransfers", "CycleReport", "Outcome", "Service"]

_MODULES = {
    "ActiveTransfer": "active",
    "ActiveTransfers": "active",
    "CycleReport": "report",
    "Outcome": "transfer",
    "Service": "service",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
