"""What a hundred people do who look at the dashboard (Locust's users). `make loadtest` starts it."""

from __future__ import annotations

import random
from typing import Any

from locust import between, task
from locust.contrib.fasthttp import FastHttpUser


class Looker(FastHttpUser):
    """Who looks does so from elsewhere, so that the client which takes least of this machine is used.

    Opens the overview, lets its figures come, looks at a list now and then, and at one recording."""

    wait_time = between(1, 5)

    @task(5)
    def overview(self) -> None:
        """What an open page loads again when something changed."""
        self.client.get("/")

    @task(5)
    def active(self) -> None:
        """What runs."""
        self.client.get("/api/active")

    @task(3)
    def recent(self) -> None:
        """The newest ones, as a program asks for them."""
        self._rows("/api/recent?limit=20")

    @task(2)
    def stats(self) -> None:
        """How much there is."""
        self.client.get("/api/stats")

    @task(2)
    def older(self) -> None:
        """A list and its second page."""
        page = self.client.get("/api/recent?limit=20")
        following, _, relation = (page.headers.get("link") or "").partition(">; ")
        if relation == 'rel="next"':
            self.client.get(following.lstrip("<"), name="/api/recent (next page)")

    @task(2)
    def failed(self) -> None:
        """What went wrong."""
        self.client.get("/recordings?status=failed")

    @task(1)
    def one(self) -> None:
        """One recording."""
        rows = self._rows("/api/recent?limit=20")
        if rows:
            number = random.choice(rows)["id"]  # noqa: S311 - not a secret
            self.client.get(f"/recordings/{number}", name="/recordings/{id}")

    @task(1)
    def health(self) -> None:
        """How the parts are."""
        self.client.get("/api/health")

    def _rows(self, path: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.client.get(path).json()
        return rows
