"""Kubernetes manifests and Ray's cluster file fit their schemas, each other and the code."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from alignment_api.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
KUBERAY = ROOT / "deploy" / "kuberay"
RAY_FILE = ROOT / "deploy" / "ray" / "cluster.yaml"
PORT = Settings.model_fields["port"].default
HOME = "/var/lib/essa"
Object = dict[str, Any]


def objects() -> list[Object]:
    """All objects of the manifests that the kustomization lists."""
    listed = yaml.safe_load((KUBERAY / "kustomization.yaml").read_text())["resources"]
    return [one for name in listed for one in yaml.safe_load_all((KUBERAY / name).read_text())]


def of_kind(kind: str, name: str | None = None) -> Object:
    (found,) = (
        one
        for one in objects()
        if one["kind"] == kind and (name is None or one["metadata"]["name"] == name)
    )
    return found


def groups() -> list[Object]:
    """Head and workers."""
    spec = of_kind("RayCluster")["spec"]
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def templates() -> Iterator[tuple[str, Object]]:
    """Every pod template, with a name for it."""
    for one in objects():
        if one["kind"] in ("Deployment", "StatefulSet"):
            yield one["metadata"]["name"], one["spec"]["template"]
    for group in groups():
        yield f"ray {group.get('groupName', 'head')}", group["template"]


def variables(container: Object) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


# -- Kubernetes ---------------------------------------------------------------------------------


def test_every_manifest_is_listed() -> None:
    listed = yaml.safe_load((KUBERAY / "kustomization.yaml").read_text())["resources"]
    files = {path.name for path in KUBERAY.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(listed)


def test_objects_fit_the_schemas_of_kubernetes() -> None:
    check = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is missing")
    core = [one for one in objects() if one["kind"] != "RayCluster"]
    assert len(core) >= 8
    for one in core:
        check.validate(one, check.latest_version(), strict=True)


@pytest.fixture(scope="module")
def ray_cluster_schema() -> jsonschema.Draft202012Validator:
    schema = json.loads(Path(__file__).with_name("raycluster.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema)


def test_the_ray_cluster_fits_its_schema(ray_cluster_schema) -> None:
    ray_cluster_schema.validate(of_kind("RayCluster"))


def test_the_schema_of_the_ray_cluster_refuses_misspelt_and_mistyped_fields(
    ray_cluster_schema,
) -> None:
    cluster = of_kind("RayCluster")
    misspelt, mistyped = copy.deepcopy(cluster), copy.deepcopy(cluster)
    misspelt["spec"]["workerGroupSpecs"][0]["replica"] = 2
    mistyped["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    assert not ray_cluster_schema.is_valid(misspelt)
    assert not ray_cluster_schema.is_valid(mistyped)


def test_pods_of_the_ray_cluster_fit_the_schema_of_kubernetes() -> None:
    check = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is missing")
    for group in groups():
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "template": group["template"]}
        check.validate(pod, check.latest_version(), strict=True)


def test_kustomize_puts_everything_into_one_namespace() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(KUBERAY)]
    built = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = list(yaml.safe_load_all(built))
    assert len(found) == len(objects())
    assert {one["metadata"]["namespace"] for one in found} == {"essa"}


@pytest.mark.parametrize(("name", "template"), list(templates()), ids=lambda one: str(one)[:20])
def test_no_pod_runs_as_root_or_gains_rights(name, template) -> None:
    spec = template["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        rights = container["securityContext"]
        assert rights["allowPrivilegeEscalation"] is False, name
        assert rights["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(("name", "template"), list(templates()), ids=lambda one: str(one)[:20])
def test_every_container_has_probes_and_resources(name, template) -> None:
    for container in template["spec"]["containers"]:
        assert {"readinessProbe", "livenessProbe"} <= container.keys(), name
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert container["resources"]["limits"].keys() >= {"memory"}


def test_engines_find_the_home_where_the_api_has_it() -> None:
    assert of_kind("PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteMany"]
    for name, template in templates():
        spec = template["spec"]
        if name != "essa-postgres":
            (container,) = spec["containers"]
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert mounts["home"] == HOME
            assert mounts["shm"] == "/dev/shm"
            claims = [one.get("persistentVolumeClaim") for one in spec["volumes"]]
            assert {"claimName": "essa-home"} in claims
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert f"ESSA_HOME={HOME}" in dockerfile


def test_the_api_names_the_head_the_token_and_the_database() -> None:
    (container,) = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    given = variables(container)
    cluster = of_kind("RayCluster")
    name = cluster["metadata"]["name"]
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    # KubeRay names service and secret after the cluster.
    assert given["ESSA_RAY_ADDRESS"] == f"{name}-head-svc:6379"
    assert given["RAY_AUTH_MODE"] == "token"
    assert given["RAY_AUTH_TOKEN"] == {"secretKeyRef": {"name": name, "key": "auth_token"}}
    assert given["ESSA_DATABASE_URL"] == {"secretKeyRef": {"name": "essa", "key": "database-url"}}
    texts = {key: value for key, value in given.items() if isinstance(value, str)}
    assert Settings.from_environment(texts).ray_address == given["ESSA_RAY_ADDRESS"]
    fields = {PREFIX + field.upper() for field in Settings.model_fields}
    assert {key for key in given if key.startswith(PREFIX)} <= fields


def test_one_process_serves_the_home_and_service_links_do_not_change_its_settings() -> None:
    spec = of_kind("Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    # The service is called essa: a link would set ESSA_PORT.
    assert of_kind("Service", "essa")["metadata"]["name"] == "essa"
    assert spec["template"]["spec"]["enableServiceLinks"] is False
    grace_s = spec["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace_s > Settings.model_fields["shutdown_grace_s"].default


def test_slots_are_the_engines_that_the_workers_have_room_for() -> None:
    workers = of_kind("RayCluster")["spec"]["workerGroupSpecs"]
    (container,) = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    assert int(variables(container)["ESSA_ENGINE_SLOTS"]) == sum(one["replicas"] for one in workers)
    assert (
        groups()[0]["rayStartParams"] | {"num-cpus": "0", "num-gpus": "0"}
        == (groups()[0]["rayStartParams"])
    )


def test_worker_groups_are_one_for_cpus_and_one_for_gpus() -> None:
    cpu, gpu = of_kind("RayCluster")["spec"]["workerGroupSpecs"]
    for group, name in ((cpu, "cpu"), (gpu, "gpu")):
        (container,) = group["template"]["spec"]["containers"]
        assert group["groupName"] == name
        assert container["image"] == f"essa-service:{name}"
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (name == "gpu")


def test_policies_choose_pods_that_exist() -> None:
    labels = [template["metadata"]["labels"] for _, template in templates()]
    policies = [one for one in objects() if one["kind"] == "NetworkPolicy"]
    assert len(policies) == 3
    for policy in policies:
        rules = policy["spec"]["ingress"]
        peers = [peer["podSelector"] for rule in rules for peer in rule.get("from", [])]
        for selector in (policy["spec"]["podSelector"], *peers):
            wanted = selector["matchLabels"].items()
            assert any(wanted <= found.items() for found in labels), selector


@pytest.mark.parametrize("name", ["essa", "essa-postgres"])
def test_services_choose_pods_that_exist_and_ports_they_have(name) -> None:
    spec = of_kind("Service", name)["spec"]
    (template,) = (
        one
        for _, one in templates()
        if spec["selector"].items() <= one["metadata"]["labels"].items()
    )
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in spec["ports"]} <= ports


# -- versions -----------------------------------------------------------------------------------


def test_ray_is_the_one_of_the_locks() -> None:
    version = of_kind("RayCluster")["spec"]["rayVersion"]
    for profile in ("cpu", "gpu"):
        lock = (ROOT / "deploy" / "requirements" / f"{profile}.txt").read_text()
        assert re.search(rf"^ray=={re.escape(version)} ", lock, flags=re.MULTILINE)


# -- ray up -------------------------------------------------------------------------------------


def test_the_cluster_file_fits_the_schema_of_ray_and_is_understood_by_it() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    import ray

    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    cluster = yaml.safe_load(RAY_FILE.read_text())
    jsonschema.validate(cluster, json.loads(schema.read_text()))
    prepared = util.prepare_config(copy.deepcopy(cluster))
    util.validate_config(prepared)
    (node_type,) = prepared["available_node_types"].values()
    assert node_type["min_workers"] == len(cluster["provider"]["worker_ips"])


def test_the_cluster_file_starts_ray_from_the_environment_that_it_makes() -> None:
    cluster = yaml.safe_load(RAY_FILE.read_text())
    (folder,) = (remote for remote, local in cluster["file_mounts"].items() if local == ".")
    assert any(command.startswith(f"cd {folder} && make") for command in cluster["setup_commands"])
    for kind, how in (("head", "--head --port=6379"), ("worker", "--address=$RAY_HEAD_IP:6379")):
        *_, start = cluster[f"{kind}_start_ray_commands"]
        assert f"{folder}/.venv/bin/ray start {how}" in start
        assert "RAY_AUTH_MODE=token" in start
    assert "~/.ray/auth_token" in cluster["file_mounts"]
    assert "deploy/.env" in cluster["rsync_exclude"]
