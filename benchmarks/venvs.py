"""An environment for each peer that Deadpan's own cannot hold.

It has the peer and what that needs, and behind that, on its path, the packages of the environment
that runs the benchmark: torch is there once, and the model and its engine are the very same.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
from pathlib import Path

from benchmarks.measure import RowFailed

REQUIREMENTS = Path(__file__).parent / "peers"
INSTALL_SECONDS = 900


def python_of(peer: str, folder: Path) -> Path:
    """The interpreter of a peer's environment, which is made when it is not there.

    Args:
        peer: a file in `peers/`, without `.txt`.
        folder: where environments are kept.

    Raises:
        RowFailed: it cannot be installed; with what pip said last.
    """
    requirements = REQUIREMENTS / f"{peer}.txt"
    shared = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    wanted = hashlib.sha256(
        "\n".join([requirements.read_text(encoding="utf-8"), sys.version, *shared]).encode()
    ).hexdigest()
    environment = folder / peer
    python = environment / "bin" / "python"
    stamp = environment / "installed"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    # The base interpreter: a venv of a venv would find neither's packages.
    base = getattr(sys, "_base_executable", sys.executable)
    _run([base, "-m", "venv", "--clear", str(environment)], peer)
    # Without the shared packages in sight, so that the peer's own are complete.
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--requirement", str(requirements)], peer)
    site_packages = _run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], peer
    ).strip()
    (Path(site_packages) / "zz-shared.pth").write_text(
        "\n".join(dict.fromkeys(shared)) + "\n", encoding="utf-8"
    )
    stamp.write_text(wanted, encoding="utf-8")
    return python


def _run(command: list[str], peer: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS, encoding="utf-8"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RowFailed(f"{peer} could not be installed: {error}") from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).strip().splitlines()[-2:])
        raise RowFailed(f"{peer} could not be installed: {said[:300]}")
    return done.stdout
