from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

import pytest

from modrwkv_core.errors import CheckpointError
from modrwkv_core.manifest.lock import compare_locks, make_lock, read_lock


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the toys' metadata, from version control; return their folder."""
    metadata = tmp_path / "site" / "toys-1.2.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.2\n")
    source = {"url": "https://example.org/toys.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}}
    (metadata / "direct_url.json").write_text(json.dumps(source))
    monkeypatch.syspath_prepend(str(metadata.parent))
    return metadata


@pytest.mark.usefixtures("installed")
class TestLock:
    def test_it_names_versions_commits_and_seeds(self, load):
        loaded = load("seed=7")
        lock = make_lock(loaded, weights={"w.pth": "ab12"}, kernels={"wkv7": "torch"})
        assert lock["manifest"] == loaded.digest
        assert lock["seed"] == 7
        assert lock["python"] == platform.python_version()
        assert lock["packages"]["torch"] == version("torch")
        assert lock["components"]["encoder/eye"] == {"distribution": "toys", "version": "1.2", "commit": "c0ffee"}
        components = {f"{kind}/{name}" for kind, name in loaded.components}
        assert set(lock["components"]) == components | {"modality/image", "modality/audio"}
        assert (lock["weights"], lock["kernels"]) == ({"w.pth": "ab12"}, {"wkv7": "torch"})

    def test_it_is_json(self, load):
        lock = make_lock(load())
        assert json.loads(json.dumps(lock)) == lock

    def test_equal_manifests_on_one_machine_have_equal_locks(self, load):
        assert compare_locks(make_lock(load()), make_lock(load())) == []

    def test_differences_are_listed(self, load):
        before = make_lock(load(), weights={"w.pth": "ab12"})
        now = make_lock(load("seed=1"), weights={"v.pth": "cd34"})
        now["components"]["encoder/eye"]["version"] = "1.3"
        differences = compare_locks(before, now)
        assert differences[0].startswith("manifest: ")
        assert differences[1:] == [
            "seed: 0, now 1",
            "components.encoder/eye.version: 1.2, now 1.3",
            "weights.w.pth: ab12, now absent",
            "weights.v.pth: absent, now cd34",
        ]

    def test_a_distribution_from_an_index_has_no_commit(self, load, installed):
        (installed / "direct_url.json").unlink()
        assert make_lock(load())["components"]["encoder/eye"]["commit"] is None

    def test_what_is_written_is_read_back(self, load, tmp_path):
        (tmp_path / "lock.json").write_text(json.dumps(make_lock(load())))
        providers = read_lock(tmp_path / "lock.json").providers
        assert providers["encoder/eye"] == providers["modality/image"] == ("toys", "1.2")


@pytest.mark.parametrize(
    "provider",
    [
        {"distribution": "x; rm -rf ~", "version": "1.0"},
        {"distribution": "$(id)", "version": "1.0"},
        {"distribution": "toys", "version": "1.0 | sh"},
        {"distribution": "toys\n", "version": "1.0"},
        {"distribution": "toys", "version": "1.0", "commit": "c0ffee`id`"},
        {"distribution": "-r", "version": "1.0"},
        {"distribution": 3, "version": "1.0"},
        "toys",
    ],
)
def test_a_tampered_lock_is_refused(tmp_path, provider):
    path = tmp_path / "lock.json"
    path.write_text(json.dumps({"components": {"encoder/eye": provider}}))
    with pytest.raises(CheckpointError, match=r"lock\.json is damaged: components\.encoder/eye"):
        read_lock(path)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"components": {"encoder; id": {}}}'])
def test_a_damaged_lock_is_refused(tmp_path, content):
    (tmp_path / "lock.json").write_text(content)
    with pytest.raises(CheckpointError, match="damaged"):
        read_lock(tmp_path / "lock.json")


def test_a_run_without_a_lock_has_an_empty_one(tmp_path):
    assert read_lock(tmp_path / "lock.json").providers == {}
