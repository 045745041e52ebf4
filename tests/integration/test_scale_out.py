"""Many processes, one database: what `execution.backend: procrastinate` promises."""

from __future__ import annotations

from pathlib import Path

from chaos.scale import Plan, play


def test_two_workers_store_each_recording_once_although_one_of_them_is_killed(
    tmp_path: Path, ffmpeg: Path
) -> None:
    plan = Plan(recordings=20, services=1, workers=2, worker_kills=1, limit_seconds=90)
    result = play(plan, tmp_path, ffmpeg)
    assert result.problems == []
    assert (result.objects, result.generations) == (20, 20)
    assert result.events["kill worker"] == 1
    assert result.owners >= 2
