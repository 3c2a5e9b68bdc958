"""What the page on many processes shows fits the server: options, probes, the header, times; and its YAML parses."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from modrwkv_core.cli.serve import KEYS_VARIABLE, serve
from modrwkv_core.errors import ModRWKVError
from modrwkv_core.serving.app import create_app
from modrwkv_core.serving.settings import Limits

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "deploy.md"


@pytest.fixture
def objects(blocks_of: Callable[[Path], list[Any]]) -> dict[str, Any]:
    """The objects of Kubernetes by kind."""
    documents = [
        document
        for block in blocks_of(PAGE)
        if block.language == "yaml"
        for document in yaml.safe_load_all(block.content)
    ]
    assert all({"apiVersion", "kind", "metadata"} <= document.keys() for document in documents)
    return {document["kind"]: document for document in documents}


def options(words: Sequence[str]) -> dict[str, Any]:
    """Parse a command that serves."""
    assert words[:2] == ["modrwkv", "serve"]
    return serve.make_context("serve", list(words[2:])).params


def test_the_pods_run_the_server(objects: dict[str, Any]) -> None:
    pod = objects["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    given = options(container["command"])
    assert (given["host"], given["port"]) == ("0.0.0.0", container["ports"][0]["containerPort"])
    assert given["share_sessions"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(given["sessions"]), "/runs"} <= mounted
    assert {mount["name"] for mount in container["volumeMounts"]} == {one["name"] for one in pod["spec"]["volumes"]}
    assert {one["name"] for one in container["env"]} == {KEYS_VARIABLE, "OMP_NUM_THREADS"}
    grace = int(container["lifecycle"]["preStop"]["exec"]["command"][1]) + given["drain_seconds"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > grace
    paths = create_app({}).openapi()["paths"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in paths


def test_names_and_labels_lead_to_each_other(objects: dict[str, Any]) -> None:
    deployment, service, route = (objects[kind]["spec"] for kind in ("Deployment", "Service", "HTTPRoute"))
    labels = deployment["template"]["metadata"]["labels"]
    assert labels == deployment["selector"]["matchLabels"] == service["selector"]
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert service["clusterIP"] == "None"
    (rule,) = route["rules"]
    assert rule["backendRefs"] == [
        {"name": objects["Service"]["metadata"]["name"], "port": service["ports"][0]["port"]}
    ]
    assert float(rule["timeouts"]["request"].removesuffix("s")) > Limits().request_seconds
    policy = objects["BackendTrafficPolicy"]["spec"]
    assert policy["targetRefs"][0]["name"] == objects["HTTPRoute"]["metadata"]["name"]
    header = policy["loadBalancer"]["consistentHash"]["header"]["name"]
    assert f'"{header}"' in (ROOT / "modrwkv_core/serving/page/api.js").read_text(encoding="utf-8")


def test_the_commands_can_be_given(blocks_of: Callable[[Path], list[Any]]) -> None:
    commands = [shlex.split(block.content) for block in blocks_of(PAGE) if block.language == "sh"]
    assert [options(words)["replicas"] for words in commands] == [2]


def test_the_python_example_names_the_session_twice(blocks_of: Callable[[Path], list[Any]]) -> None:
    (example,) = [block.content for block in blocks_of(PAGE) if block.language == "python"]
    sent: dict[str, Any] = {}

    class Recorder:
        """Takes what is sent; all that leads to the method is itself."""

        def __getattr__(self, name: str) -> Any:
            return self

        def create(self, **options: Any) -> Any:
            sent.update(options)
            return self

        def __getitem__(self, index: int) -> Any:
            return self

    namespace: dict[str, Any] = {}
    exec(example, namespace)
    namespace["ask"](Recorder(), "0" * 32, "Why?")
    assert sent["extra_body"] == {"session": "0" * 32}
    assert sent["extra_headers"] == {"X-Session-Id": "0" * 32}


def test_sharing_needs_a_folder() -> None:
    for given in (["--replicas", "2"], ["--share-sessions"]):
        with pytest.raises(ModRWKVError, match="there is no folder"):
            serve.main(["runs/none", *given], standalone_mode=False)
