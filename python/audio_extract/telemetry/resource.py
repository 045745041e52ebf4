"""Who sends the spans: service, host, process, container, cloud. Asks nobody but environment and files."""

from __future__ import annotations

import os
import platform
import re
import socket
from pathlib import Path

#: Docker and containerd mount files from a folder named after the container.
_CONTAINER_ID = re.compile(r"/(?:containers|sandboxes)/([0-9a-f]{64})/")
_PRODUCT_NAME = Path("/sys/class/dmi/id/product_name")
_MOUNTS = Path("/proc/self/mountinfo")


def resource_attributes(
    *, version: str, environment: str | None, project: str | None = None
) -> dict[str, str | int]:
    """Return the attributes by OpenTelemetry's conventions; ``service.instance.id`` is the SDK's.

    Args:
        version: ``service.version``.
        environment: ``deployment.environment.name``.
        project: Google Cloud project; where it is not set, the environment's.
    """
    variables = os.environ
    found: dict[str, str | int | None] = {
        "service.name": "audio-extract",
        "service.version": version,
        "deployment.environment.name": environment,
        "host.name": socket.gethostname(),
        "host.arch": platform.machine(),
        "os.type": platform.system().lower(),
        "process.pid": os.getpid(),
        "process.runtime.name": platform.python_implementation().lower(),
        "process.runtime.version": platform.python_version(),
        "container.id": _container_id(),
        "gcp.project_id": project or variables.get("GOOGLE_CLOUD_PROJECT"),
    }
    if "K_SERVICE" in variables:
        found |= {
            "cloud.provider": "gcp",
            "cloud.platform": "gcp_cloud_run",
            "faas.name": variables["K_SERVICE"],
            "faas.version": variables.get("K_REVISION"),
        }
    elif _first_line(_PRODUCT_NAME) == "Google Compute Engine":
        kubernetes = "KUBERNETES_SERVICE_HOST" in variables
        found |= {
            "cloud.provider": "gcp",
            "cloud.platform": "gcp_kubernetes_engine" if kubernetes else "gcp_compute_engine",
        }
    if "KUBERNETES_SERVICE_HOST" in variables:
        found["k8s.pod.name"] = variables.get("POD_NAME") or variables.get("HOSTNAME")
        found["k8s.namespace.name"] = variables.get("POD_NAMESPACE")
    return {name: value for name, value in found.items() if value is not None and value != ""}


def _container_id() -> str | None:
    try:
        match = _CONTAINER_ID.search(_MOUNTS.read_text(errors="replace"))
    except OSError:
        # Not Linux, or a process that may not see it.
        return None
    return match[1] if match else None


def _first_line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
