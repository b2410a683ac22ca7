"""docker-compose.yml, the Dockerfile and what Prometheus and Grafana are given, held against each
other and the code. Whether it runs is the business of `make compose-test`.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from typer.main import get_command

from deadpan.cli import app
from deadpan.core.settings import Settings, load
from tests.compose import stack

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
VARIABLES = {f"DEADPAN_{name.upper()}" for name in Settings.model_fields}
OURS = ("migrate", "worker", "worker-gpu", "housekeeping", "console")

Compose = dict[str, Any]


def read(path: str) -> Compose:
    loaded: Compose = yaml.safe_load((ROOT / path).read_text())
    return loaded


def services() -> Compose:
    found: Compose = read("docker-compose.yml")["services"]
    return found


def filled(value: object, given: dict[str, str]) -> str:
    """A value as Compose would write it, with its variables replaced."""

    def replaced(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        return given.get(name, default or "")

    return re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", replaced, str(value))


GIVEN = {
    "REDIS_PASSWORD": "r" * 32,
    "POSTGRES_PASSWORD": "p" * 32,
    "DEADPAN_SECRET_KEY": "s" * 48,
    "DEADPAN_SOURCE": "https://platform.example/posts?ids={ids}",
}


@pytest.mark.parametrize("path", ["docker-compose.yml", "tests/compose/platform.yml"])
def test_the_file_follows_the_published_schema(path: str) -> None:
    folder = files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "compose-spec.json").read_text())
    problems = Draft7Validator(schema).iter_errors(read(path))
    assert [f"{list(problem.path)}: {problem.message}" for problem in problems] == []


def test_it_has_the_services_that_deadpan_needs_and_profiles_for_the_rest() -> None:
    profiles = {name: service.get("profiles", []) for name, service in services().items()}
    assert profiles == {
        "redis": [], "postgres": [], "migrate": [], "housekeeping": [], "console": [],
        "worker": ["cpu"], "worker-gpu": ["gpu"], "prometheus": ["watch"], "grafana": ["watch"],
    }  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_every_setting_can_be_set_and_none_is_misspelt(name: str) -> None:
    given = {v for v in services()[name]["environment"] if v.startswith("DEADPAN_")}
    assert given == VARIABLES


@pytest.mark.parametrize("name", OURS)
def test_the_settings_are_valid_together(name: str) -> None:
    environment = services()[name]["environment"]
    settings = load({k: filled(v, GIVEN) for k, v in environment.items() if v is not None})
    assert settings.redis_url.get_secret_value() == f"redis://:{'r' * 32}@redis:6379/0"
    database = settings.database_url.get_secret_value()
    assert database == f"postgresql://deadpan:{'p' * 32}@postgres:5432/deadpan"


@pytest.mark.parametrize("name", OURS)
def test_every_command_and_option_exists(name: str) -> None:
    program, *words = services()[name]["command"]
    assert program == "deadpan"
    command: Any = get_command(app)
    while words and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


def test_the_images_own_command_and_settings_exist() -> None:
    (command,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.M)
    assert json.loads(command) == ["deadpan", "worker"]
    assert set(re.findall(r"(DEADPAN_\w+)", DOCKERFILE)) <= VARIABLES


@pytest.mark.parametrize("name", OURS)
def test_no_process_may_more_than_it_needs(name: str) -> None:
    service = services()[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


def test_no_password_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    written = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET_KEY))(:.)?", text)
    assert {name for name, _ in written} == {
        "REDIS_PASSWORD", "POSTGRES_PASSWORD", "GRAFANA_PASSWORD", "DEADPAN_SECRET_KEY",
    }  # fmt: skip
    assert {operator for _, operator in written} == {":?"}


def test_ports_are_bound_to_loopback() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(re.fullmatch(r"127\.0\.0\.1:\$\{\w+_PORT:-\d+\}:\d+", port) for port in ports)


def test_redis_keeps_what_it_accepted_and_asks_for_a_password() -> None:
    command = services()["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--requirepass"] == "${REDIS_PASSWORD:?}"


def test_containers_are_given_longer_to_stop_than_they_take() -> None:
    settings = load({})
    for name, takes in {
        "worker": settings.grace_seconds,
        "worker-gpu": settings.grace_seconds,
        "housekeeping": settings.callback_timeout_seconds,
    }.items():
        assert int(services()[name]["stop_grace_period"].removesuffix("s")) > takes + 5


def test_health_is_asked_where_it_is_answered() -> None:
    all_services = services()
    port = int(all_services["worker"]["environment"]["DEADPAN_METRICS_PORT"])
    assert re.search(rf"DEADPAN_METRICS_PORT={port}$", DOCKERFILE, re.M)
    assert f"EXPOSE {port}\n" in DOCKERFILE
    assert "os.environ['DEADPAN_METRICS_PORT'] + '/readyz'" in DOCKERFILE
    for name in ("worker", "worker-gpu", "housekeeping"):
        assert "healthcheck" not in all_services[name]  # the image's
    console = all_services["console"]
    (listens,) = re.findall(r"--port (\d+)", " ".join(console["command"]))
    assert f"127.0.0.1:{listens}/readyz" in " ".join(console["healthcheck"]["test"])
    assert console["ports"][0].endswith(f":{listens}")


def test_the_gpu_worker_differs_from_the_other_by_its_gpu_alone() -> None:
    cpu, gpu = services()["worker"], services()["worker-gpu"]
    (device,) = gpu.pop("deploy")["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert gpu["environment"].pop("DEADPAN_DEVICE") == "cuda"
    cpu["environment"].pop("DEADPAN_DEVICE")
    build = gpu.pop("build")
    assert build == services()["migrate"]["build"] | {"target": "cuda"}
    for worker in (cpu, gpu):
        del worker["profiles"], worker["image"]
    assert gpu == cpu


def test_each_image_is_built_by_one_service_that_others_wait_for() -> None:
    builders = {s["image"]: name for name, s in services().items() if "build" in s}
    assert list(builders.values()) == ["migrate", "worker-gpu"]
    for name in OURS:
        builder = builders[services()[name]["image"]]
        assert builder == name or builder in services()[name]["depends_on"]


def test_stages_that_are_built_exist_and_end_without_root() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.M)[1:]
    named = {stage.split()[2]: stage for stage in stages}
    for service in ("migrate", "worker-gpu"):
        assert "\nUSER 10001\n" in named[services()[service]["build"]["target"]]
    bases = {stage.split()[0] for stage in stages} - set(named)
    assert all(re.fullmatch(r"[\w/.-]+:[\w.-]*\d[\w.-]*", base) for base in bases)


def test_images_are_pinned_by_version() -> None:
    for name, service in services().items():
        assert re.fullmatch(r"[\w/-]+:v?\d[\w.-]*", service["image"]), name


def test_the_image_holds_every_package_and_only_what_may_be_copied() -> None:
    copied = set(re.findall(r"^COPY ([\w. ]+) \S+$", DOCKERFILE, re.M))
    names = {name for line in copied for name in line.split()}
    packages = {"deadpan", "worker", "tasks", "models", "sources", "storage", "console"}
    assert names == packages | {"pyproject.toml", "README.md", "LICENSE"}
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M)
    assert set(allowed) == names | {"deploy/wheels"}
    for source in re.findall(r"source=(\S+?),", DOCKERFILE):
        assert (ROOT / source).is_dir(), source


def test_folders_that_are_mounted_exist() -> None:
    merged = [*services().values(), *read("tests/compose/platform.yml")["services"].values()]
    mounted = [v.split(":") for s in merged for v in s.get("volumes", [])]
    ours = [parts for parts in mounted if parts[0].startswith(".")]
    assert len(ours) >= 5
    for source, _, mode in ours:
        assert (ROOT / source).exists(), source
        assert mode == "ro"
    volumes = {parts[0] for parts in mounted if not parts[0].startswith(".")}
    assert volumes == set(read("docker-compose.yml")["volumes"])


def mounts(service: str) -> dict[str, str]:
    """Where the folders of the repository lie inside a service."""
    parts = [volume.split(":") for volume in services()[service]["volumes"]]
    return {inside: source for source, inside, *_ in parts if source.startswith(".")}


def test_prometheus_asks_services_that_exist_where_they_answer() -> None:
    settings = read("deploy/prometheus/prometheus.yml")
    port = int(services()["worker"]["environment"]["DEADPAN_METRICS_PORT"])
    asked = [found for job in settings["scrape_configs"] for found in job["dns_sd_configs"]]
    names = [name for found in asked for name in found["names"]]
    assert sorted(names) == ["housekeeping", "worker", "worker-gpu"]
    assert {found["port"] for found in asked} == {port}
    inside = mounts("prometheus")
    for path in settings["rule_files"]:
        folder, _, name = path.rpartition("/")
        assert (ROOT / inside[folder] / name).is_file()
    (given,) = [w for w in services()["prometheus"]["command"] if w.startswith("--config.file=")]
    folder, _, name = given.removeprefix("--config.file=").rpartition("/")
    assert (ROOT / inside[folder] / name).is_file()


def test_grafana_shows_whatever_dashboards_there_are() -> None:
    (source,) = read("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    port = services()["prometheus"]["ports"][0].rsplit(":", 1)[1]
    assert source["url"] == f"http://prometheus:{port}"
    (provider,) = read("deploy/grafana/provisioning/dashboards/deadpan.yml")["providers"]
    shown = [
        ROOT / source
        for inside, source in mounts("grafana").items()
        if inside.startswith(provider["options"]["path"] + "/")
    ]
    boards = {board for folder in shown for board in folder.glob("**/*.json")}
    assert boards
    assert boards == {*(ROOT / "deploy").glob("**/*.json")}


def test_the_trial_names_the_images_that_the_files_name() -> None:
    assert set(stack.base_images()) == {
        *re.findall(r"^FROM (\S+:\S+)", DOCKERFILE, re.M),
        services()["redis"]["image"],
        services()["postgres"]["image"],
    }
    override = read("tests/compose/platform.yml")["services"]
    assert {s["image"] for s in override.values() if "image" in s} == {stack.IMAGE}
    assert {"migrate", "worker", "housekeeping", "console"} <= set(override)


def test_the_trial_says_why_it_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(stack.NoEngine, match="no `docker` on the PATH"):
        stack.find_compose()
    broken = tmp_path / "docker"
    broken.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(stack.NoEngine, match="Cannot connect to the Docker daemon"):
        stack.find_compose()
