"""``deploy/kubernetes/rollout``: what it asks kubectl for, when all goes well and when not.

No cluster runs here: a stand-in for kubectl writes down what it is asked. kubeconform checks the manifests.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROLLOUT = Path(__file__).parents[2] / "deploy" / "kubernetes" / "rollout"
NEW = f"ghcr.io/owner/audio-extract@sha256:{'a' * 64}"
OLD = f"ghcr.io/owner/audio-extract@sha256:{'b' * 64}"
KUBECTL = r"""#!/usr/bin/env bash
printf '%s\n' "$*" >>"$CALLS"
case "$*" in
  kustomize*) printf '        image: ghcr.io/OWNER/audio-extract:latest\n%.0s' 1 2 ;;
  *"get deployment/"*) printf %s "$BEFORE" ;;
  apply*) cat >"$APPLIED" ;;
  *"rollout status"*) if [[ ! -e $CALLS.undone ]]; then exit "$STATUS"; fi ;;
  *"rollout undo"*) touch "$CALLS.undone" ;;
  *"get --raw"*) printf %s "$HEALTH" ;;
esac
"""


@dataclass
class Cluster:
    """What kubectl was asked."""

    folder: Path

    def roll_out(
        self,
        *words: str,
        before: str = OLD,
        status: int = 0,
        health: str = '{"status": "healthy"}',
    ) -> subprocess.CompletedProcess[str]:
        kubectl = self.folder / "kubectl"
        kubectl.write_text(KUBECTL)
        kubectl.chmod(0o755)
        env = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "CALLS": str(self.folder / "calls"),
            "APPLIED": str(self.folder / "applied"),
            "BEFORE": before,
            "STATUS": str(status),
            "HEALTH": health,
        }
        return subprocess.run([ROLLOUT, *words], env=env, capture_output=True, text=True, check=False)

    def calls(self) -> str:
        return (self.folder / "calls").read_text()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_both_deployments_get_the_image_and_the_service_is_asked(cluster: Cluster) -> None:
    done = cluster.roll_out("staging", NEW)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"staging runs {NEW}"), done.stderr
    applied = (cluster.folder / "applied").read_text()
    assert applied.count(f"image: {NEW}") == 2
    assert "services/audio-extract:health/proxy/health" in cluster.calls()
    assert "undo" not in cluster.calls()


@pytest.mark.parametrize(
    ("status", "health"),
    [(1, '{"status": "healthy"}'), (0, '{"status": "unhealthy", "failed_checks": ["gcs"]}')],
    ids=["pods do not become ready", "the service says it cannot work"],
)
def test_what_does_not_become_healthy_is_undone(cluster: Cluster, status: int, health: str) -> None:
    done = cluster.roll_out("prod", NEW, status=status, health=health)
    assert done.returncode == 1
    for name in ("audio-extract", "audio-extract-worker"):
        assert f"--namespace audio-extract-prod rollout undo deployment/{name}\n" in cluster.calls()
        assert f"{name} is back at {OLD}" in done.stderr


def test_a_first_roll_out_that_fails_has_nothing_to_go_back_to(cluster: Cluster) -> None:
    done = cluster.roll_out("staging", NEW, before="", status=1)
    assert done.returncode == 1
    assert "there is no earlier audio-extract to bring back" in done.stderr
    assert "undo" not in cluster.calls()


@pytest.mark.parametrize("words", [(), ("staging",), ("elsewhere", NEW), ("staging", "image:latest")])
def test_an_overlay_and_an_image_by_digest_are_needed(cluster: Cluster, words: tuple[str, ...]) -> None:
    done = cluster.roll_out(*words)
    assert done.returncode == 2
    assert "by digest" in done.stderr
    assert not (cluster.folder / "calls").exists()
