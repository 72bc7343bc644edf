"""Packages of npm as it packs them, each held against the checksum that stands in this repository.

`python packed.py` holds the page's copy of uPlot against the package that it was taken from: `src/serve/page/uplot.json` says which.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PAGE = TOP / "src/serve/page"
PLACE = TOP / "target/npm"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def packed(name: str, version: str, checksum: str) -> Path:
    """The package, as a file that has this checksum; fetched if it is not here."""
    PLACE.mkdir(parents=True, exist_ok=True)
    archive = PLACE / f"{name}-{version}.tgz"
    if not archive.exists():
        subprocess.run(["npm", "pack", "--silent", f"{name}@{version}", "--pack-destination", str(PLACE)], check=True, stdout=subprocess.DEVNULL, cwd=PLACE)
    found = sha256(archive.read_bytes())
    if found != checksum:
        archive.unlink()
        raise SystemExit(f"{name} {version}: expected a package of sha256 {checksum}, found {found}")
    return archive


def member(archive: Path, path: str) -> bytes:
    """A file of the package."""
    with tarfile.open(archive) as files:
        content = files.extractfile(f"package/{path}")
        assert content is not None, path
        return content.read()


def check_uplot() -> None:
    """Fails unless the page's files are those of the package, byte by byte."""
    uplot = json.loads((PAGE / "uplot.json").read_text())
    archive = packed(uplot["name"], uplot["version"], uplot["sha256"])
    for ours, theirs in uplot["files"].items():
        if (PAGE / ours).read_bytes() != member(archive, theirs):
            raise SystemExit(f"{PAGE / ours}: expected {theirs} of {uplot['name']} {uplot['version']}, found other bytes")


if __name__ == "__main__":
    check_uplot()
    sys.stdout.write("uPlot is the package's\n")
