"""The EvSys gateway as a store."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ._core import Gateway, StoreError
from ._store import Store


class EvSys(Store):
    """The EvSys gateway, over HTTP(S) with kept connections and certificates checked; the operations are those of `Store`.

    What is not given is as the environment says: `url` (http://HOST or https://HOST) by `EVSYS_API_URL`, else http://localhost:8000; `key` by
    `EVSYS_API_KEY`; `project`, that new experiments belong to, by `EVSYS_PROJECT_ID`; `ca_file`, certificates in PEM in place of the public
    ones, by `SSL_CERT_FILE`. What the gateway refuses for good goes to the file `dead_letters` (evsys-dead-letters.jsonl). Nothing is asked
    of it yet; a StoreError where there is no key. The key shows in no error, log line or repr.

    `open_run` and `export` are the embedded store's alone, a StoreError here: make a run with `create_experiment` and `create_run`.
    """

    _is_file = False

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        project: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        dead_letters: str | os.PathLike[str] | None = None,
    ) -> None:
        self._operations = Gateway(url, key, project, ca_file, dead_letters)
        told = url or os.environ.get("EVSYS_API_URL") or "http://localhost:8000"
        self.path = self._place = told.rpartition("@")[2]  # without a user and a password

    def __repr__(self) -> str:
        return f"EvSys({self.path!r})"

    def export(
        self, path: str | os.PathLike[str], runs: Sequence[str] | None = None, *, long: bool = False, force: bool = False
    ) -> int:
        """The embedded store's alone."""
        raise StoreError("export: expected an embedded store, found a gateway")
