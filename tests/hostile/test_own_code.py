"""What the code itself may not do: read data as code, or show a secret of the settings."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from deadpan.core.settings import Settings, is_secret, load
from tests.harness import environment
from tests.hostile.guarded import CANARY, ROOT, SECRETS

PACKAGES = ("deadpan", "worker", "tasks", "models", "sources", "storage", "console")


def test_every_secret_setting_has_a_canary_here() -> None:
    secret = {name for name, field in Settings.model_fields.items() if is_secret(field)}
    assert secret == {
        "redis_url", "database_url", "source_token", "secret_key", "source_database_url",
        "callback_secret", "oidc_client_secret", "notify_urls",
    }  # fmt: skip


def test_settings_show_no_secret_in_repr_or_errors() -> None:
    loaded = load(
        {
            "DEADPAN_SOURCE_TOKEN": SECRETS["token"],
            "DEADPAN_SECRET_KEY": SECRETS["key"],
            "DEADPAN_CONSOLE_URL": "https://console.example",
            "DEADPAN_OIDC_ISSUER": "https://login.example",
            "DEADPAN_OIDC_CLIENT_ID": "deadpan",
            "DEADPAN_OIDC_CLIENT_SECRET": SECRETS["oidc"],
            "DEADPAN_NOTIFY_URLS": f"json://u:{SECRETS['notify']}@127.0.0.1",
            "DEADPAN_REDIS_URL": f"redis://:{SECRETS['redis']}@h",
            "DEADPAN_DATABASE_URL": f"postgresql://u:{SECRETS['sql']}@h/d",
        }
    )
    for shown in (repr(loaded), str(loaded), str(loaded.model_dump()), loaded.model_dump_json()):
        assert CANARY not in shown


#: What reads data as code.
UNSAFE = re.compile(
    r"\b(?:pickle|dill|cloudpickle|joblib|marshal|shelve)\s*\.\s*(?:loads?|dumps?|open|Unpickler)\b"
    r"|\bimport\s+(?:dill|cloudpickle|joblib|marshal|shelve)\b"
    r"|\byaml\s*\.\s*(?:load|full_load|unsafe_load)\b|allow_pickle\s*=\s*True"
    r"|weights_only\s*=\s*False|\bread_pickle\b|(?<![.\w])(?:eval|exec)\("
)


def test_no_package_reads_data_as_code() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 100
    for path in files:
        text = path.read_text()
        if path.name == "state_dicts.py":
            # reads pickles, and finds nothing in them that could run: test_without_torch.py
            text = text.replace("class _Unpickler(pickle.Unpickler)", "")
        assert not UNSAFE.search(text), path
        for call in re.finditer(r"\btorch\.load\((?:[^()]|\([^()]*\))*\)", text):
            assert "weights_only=True" in call[0], f"{path}: {call[0]}"
        for call in re.finditer(r"\bnp\.load\((?:[^()]|\([^()]*\))*\)", text):
            assert "allow_pickle=False" in call[0], f"{path}: {call[0]}"


@pytest.mark.parametrize(
    "line", ["pickle.loads(x)", "import shelve", "yaml.load(f)", "np.load(f, allow_pickle=True)"]
)
def test_the_search_for_unsafe_calls_finds_them(line: str) -> None:
    assert UNSAFE.search(line)


def test_celery_takes_json_and_nothing_else() -> None:
    program = (
        "from worker.app import app; c = app.conf; "
        "print(list(c.accept_content), c.task_serializer, c.result_serializer)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment()
    )
    assert done.stdout.strip() == "['json'] json json"
