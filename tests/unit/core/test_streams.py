"""What commands write, on terminals and into pipes of any encoding."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.harness import environment

WRITES = """
import sys
from deadpan.core import streams
from deadpan.commands.output import print_json, print_table
streams.fit()
said = "caf\\u00e9 \\u4eca\\u65e5 \\U0001f600 \\udcff \\u2026 \\u2192"
if sys.argv[1] == "json":
    print_json({"said": said})
else:
    print_table([{"said": said}], ["said"])
    sys.stderr.write(said)
"""


def written(kind: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", WRITES, kind]
    return subprocess.run(
        command, env=environment() | variables, capture_output=True, check=True, timeout=100
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "shift_jis", "utf-8"])
def test_json_is_json_in_every_encoding(encoding: str) -> None:
    done = written("json", PYTHONIOENCODING=encoding)
    said = "café 今日 \U0001f600 \udcff … →"
    if encoding == "utf-8":
        said = said.replace("\udcff", "\\udcff")
        assert "今日" in done.stdout.decode(encoding)
        done.stdout.decode(encoding)
    assert json.loads(done.stdout.decode(encoding))["said"].replace("\udcff", "\\udcff") == (
        said.replace("\udcff", "\\udcff")
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "shift_jis", "utf-8"])
def test_a_table_spells_out_what_a_terminal_lacks(encoding: str) -> None:
    done = written("table", PYTHONIOENCODING=encoding)
    table = done.stdout.decode(encoding)
    assert "caf" in table
    assert ("今日" in table) == (encoding in ("shift_jis", "utf-8"))
    assert ("\\u4eca" in table) == (encoding not in ("shift_jis", "utf-8"))
    assert ("..." in table) == (encoding in ("ascii", "latin-1"))
    assert done.stderr


@pytest.mark.parametrize("command", [["settings"], ["settings", "--json"], ["--help"]])
def test_commands_speak_where_a_locale_has_no_letters(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deadpan", *command],
        env=environment() | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
