"""The manifests: valid to Kubernetes and KEDA, and true to the code.

Schemas come from packages: Kubernetes' own from kubernetes-validate, KEDA's custom resources as
pydantic models from cloudcoil-models-keda.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject, TriggerAuthentication
from pydantic import BaseModel

from deadpan.core.settings import Settings, load
from worker.fleet.local import GRACE_SECONDS

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.30", "1.33", kubernetes_validate.latest_version())
SECRETS = {"DEADPAN_REDIS_URL", "DEADPAN_DATABASE_URL", "DEADPAN_SECRET_KEY"}

Manifest = dict[str, Any]


def base() -> list[Manifest]:
    """What kustomize would put together, before labels and names of images."""
    names = yaml.safe_load((FOLDER / "base" / "kustomization.yaml").read_text())["resources"]
    return [m for name in names for m in read((FOLDER / "base" / name).read_text())]


def read(text: str) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def built(overlay: str) -> list[Manifest]:
    return kustomized(FOLDER / "overlays" / overlay)


def kustomized(folder: Path) -> list[Manifest]:
    tool = shutil.which("kubectl")
    if tool is None:
        pytest.skip("kubectl is not installed: overlays are not built")
    done = subprocess.run([tool, "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return read(done.stdout)


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    return found


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Name and pod template of all that runs."""
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "Job"):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]


def validate(manifest: Manifest) -> None:
    if manifest["kind"] == "ScaledObject":
        model = ScaledObject.model_validate(manifest)
        assert unknown_fields(manifest, model) == []
        return
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def unknown_fields(given: Any, model: Any, path: str = "") -> list[str]:
    """Fields that the model has no place for: pydantic leaves them out without a word."""
    if isinstance(model, BaseModel):
        known = {
            alias: name
            for name, field in type(model).model_fields.items()
            for alias in (name, field.alias)
            if alias
        }
        return [
            problem
            for key, value in given.items()
            for problem in (
                unknown_fields(value, getattr(model, known[key]), f"{path}.{key}")
                if key in known
                else [f"{path}.{key}"]
            )
        ]
    if isinstance(model, list):
        pairs = zip(given, model, strict=True)
        return [p for n, (a, b) in enumerate(pairs) for p in unknown_fields(a, b, f"{path}[{n}]")]
    return []


@pytest.mark.parametrize("manifest", base(), ids=lambda m: f"{m['kind']}-{m['metadata']['name']}")
def test_a_manifest_is_valid(manifest: Manifest) -> None:
    validate(manifest)


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_an_overlay_is_valid_and_runs_what_it_says(overlay: str) -> None:
    manifests = built(overlay)
    for manifest in manifests:
        validate(manifest)
    worker = named(manifests, "Deployment", "worker")["spec"]["template"]["spec"]
    (container,) = worker["containers"]
    values = {entry["name"]: entry["value"] for entry in container["env"]}
    assert values["DEADPAN_DEVICE"] == {"cpu": "cpu", "gpu": "cuda"}[overlay]
    assert ("nvidia.com/gpu" in container["resources"].get("limits", {})) == (overlay == "gpu")
    assert "memory" in container["resources"]["requests"]


def test_components_let_out_what_they_say_and_set_it(tmp_path: Path) -> None:
    text = (FOLDER / "README.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    assert set(re.findall(r"components/(\w+)", example)) == {
        at.name for at in (FOLDER / "components").iterdir()
    }
    # kustomize takes no absolute paths
    folder = os.path.relpath(FOLDER, tmp_path)
    here = example.replace("../../", f"{folder}/").replace("../cpu", f"{folder}/overlays/cpu")
    (tmp_path / "kustomization.yaml").write_text(here)
    before, manifests = built("cpu"), kustomized(tmp_path)
    for manifest in manifests:
        validate(manifest)
    data = named(manifests, "ConfigMap", "deadpan")["data"]
    assert data.keys() > named(before, "ConfigMap", "deadpan")["data"].keys()
    assert load({**data, "DEADPAN_OIDC_CLIENT_SECRET": "x", "DEADPAN_SECRET_KEY": "x" * 48})
    assert data["DEADPAN_TRACES"] == "on"
    allowed = {
        name: {pod for pod, own in labels(manifests).items() if matches(spec["podSelector"], own)}
        for name, spec in (
            (m["metadata"]["name"], m["spec"]) for m in manifests if m["kind"] == "NetworkPolicy"
        )
        if name in ("traces", "openid")
    }
    assert allowed == {"traces": {"worker", "housekeeping", "console"}, "openid": {"console"}}
    (rule,) = named(manifests, "NetworkPolicy", "traces")["spec"]["egress"]
    ports = [port["port"] for port in rule["ports"]]
    assert ports == [urlsplit(data["OTEL_EXPORTER_OTLP_ENDPOINT"]).port]


def test_validation_sees_what_is_wrong() -> None:
    scaled = named(base(), "ScaledObject", "worker")
    scaled["spec"]["pollinginterval"] = 5
    with pytest.raises(AssertionError, match="pollinginterval"):
        validate(scaled)
    worker = named(base(), "Deployment", "worker")
    worker["spec"]["template"]["spec"]["terminationGracePeriod"] = 5
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(worker)


def test_every_pod_runs_without_rights() -> None:
    for name, template in pods(base()):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"]["drop"] == ["ALL"], name
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["volumes"]}, name


def test_the_user_is_the_image_s() -> None:
    uid = re.search(r"--uid (\d+)", (ROOT / "deploy/Dockerfile").read_text())
    assert uid
    for name, template in pods(base()):
        assert template["spec"]["securityContext"]["runAsUser"] == int(uid[1]), name


def test_settings_exist_and_are_valid_together() -> None:
    data = named(base(), "ConfigMap", "deadpan")["data"]
    known = {f"DEADPAN_{name.upper()}" for name in Settings.model_fields}
    given = {
        entry["name"]
        for _, template in pods(base())
        for container in template["spec"]["containers"]
        for entry in container["env"]
        if entry["name"].startswith("DEADPAN_")
    }
    assert {*data, *given, *SECRETS} <= known
    load({**data, "DEADPAN_SECRET_KEY": "x" * 48})


def test_commands_exist() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    commands = set(re.findall(r"^## `(.*)`$", module.PAGES["commands.md"](), re.M))
    for name, template in pods(base()):
        (container,) = template["spec"]["containers"]
        assert any(" ".join(container["args"]).startswith(known) for known in commands), name


def test_scaling_is_the_same_in_both_places() -> None:
    data = named(base(), "ConfigMap", "deadpan")["data"]
    scaled = named(base(), "ScaledObject", "worker")["spec"]
    assert scaled["scaleTargetRef"]["name"] == "worker"
    assert str(scaled["minReplicaCount"]) == data["DEADPAN_WORKERS_MIN"]
    assert str(scaled["maxReplicaCount"]) == data["DEADPAN_WORKERS_MAX"]
    assert "replicas" not in named(base(), "Deployment", "worker")["spec"]
    service = named(base(), "Service", "scaling")
    (trigger,) = scaled["triggers"]
    port = service["spec"]["ports"][0]["port"]
    namespace = named(base(), "Namespace", "deadpan")["metadata"]["name"]
    assert trigger["metadata"]["url"] == (
        f"http://scaling.{namespace}.svc.cluster.local:{port}/api/v1/scaling"
    )
    assert str(port) == data["DEADPAN_METRICS_PORT"]


def test_the_console_s_number_can_be_asked_for_with_a_token() -> None:
    text = (ROOT / "docs" / "autoscaling.md").read_text()
    (example,) = [read(found) for found in re.findall(r"```yaml\n(.*?)```", text, re.S)]
    model = TriggerAuthentication.model_validate(example[0])
    assert unknown_fields(example[0], model) == []
    (secret,) = example[0]["spec"]["secretTargetRef"]
    assert secret["parameter"] == "token", "what KEDA's metrics-api calls it with authMode bearer"


def test_a_worker_gets_longer_than_a_chunk_takes() -> None:
    worker = named(base(), "Deployment", "worker")["spec"]["template"]["spec"]
    assert worker["terminationGracePeriodSeconds"] > GRACE_SECONDS


def test_probes_ask_ports_that_are_open() -> None:
    for name in ("worker", "scaling", "console", "housekeeping"):
        pod = named(base(), "Deployment", name)["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        ports = {port["name"] for port in container["ports"]}
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["port"] in ports


def labels(manifests: list[Manifest]) -> dict[str, dict[str, str]]:
    """Of the pods, by name."""
    return {name: template["metadata"]["labels"] for name, template in pods(manifests)}


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {})
    among = selector.get("matchExpressions", [])
    return all(labels.get(k) == v for k, v in wanted.items()) and all(
        labels.get(one["key"]) in one["values"] for one in among
    )


def test_every_selector_selects_pods_and_every_pod_is_shut_in() -> None:
    manifests = built("cpu")
    every = labels(manifests)
    for manifest in manifests:
        kind, name, spec = manifest["kind"], manifest["metadata"]["name"], manifest.get("spec", {})
        selector = {
            "NetworkPolicy": lambda spec=spec: spec["podSelector"],
            "PodDisruptionBudget": lambda spec=spec: spec["selector"],
            "Service": lambda spec=spec: {"matchLabels": spec["selector"]},
        }.get(kind)
        if selector:
            chosen = {pod for pod, own in every.items() if matches(selector(), own)}
            assert chosen, f"{kind} {name} selects no pod"
            if (kind, name) == ("NetworkPolicy", "nothing"):
                assert chosen == set(every)
            if (kind, name) == ("NetworkPolicy", "platform"):
                assert chosen == {"worker", "housekeeping", "console"}
