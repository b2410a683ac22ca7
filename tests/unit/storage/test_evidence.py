"""The evidence store, in a folder and in memory."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from deadpan.core.errors import EvidenceUnavailable, SettingsError
from storage.judging.evidence import EvidenceStore


@pytest.fixture(params=["path", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> EvidenceStore:
    places = {
        "path": str(tmp_path / "evidence"),
        "file": (tmp_path / "evidence").as_uri(),
        "memory": f"memory://{tmp_path.name}",
    }
    return EvidenceStore(places[request.param])


def test_content_comes_back_under_its_sha256(store: EvidenceStore) -> None:
    assert store.writable_problem() is None
    for content in (b"", b"a picture", bytes(100_000)):
        sha256 = store.put(content)
        assert sha256 == hashlib.sha256(content).hexdigest()
        assert store.get(sha256) == content
        assert store.put(content) == sha256


def test_missing_evidence_is_named_with_the_remedy(store: EvidenceStore) -> None:
    with pytest.raises(EvidenceUnavailable, match=r"0{64} is not in .*DEADPAN_EVIDENCE_URL"):
        store.get("0" * 64)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 63, "0" * 64 + "\n", "A" * 64])
def test_what_is_no_sha256_never_becomes_a_path(store: EvidenceStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        store.get(name)


def test_a_store_seen_through_another_object_is_the_same(tmp_path: Path) -> None:
    writer, reader = EvidenceStore(str(tmp_path)), EvidenceStore(str(tmp_path))
    with pytest.raises(EvidenceUnavailable):
        reader.get(hashlib.sha256(b"late").hexdigest())
    assert reader.get(writer.put(b"late")) == b"late"


def test_content_is_sharded_and_not_written_again(tmp_path: Path) -> None:
    store = EvidenceStore(str(tmp_path))
    sha256 = store.put(b"once")
    path = tmp_path / sha256[:2] / sha256[2:4] / sha256
    os.utime(path, (1, 1))
    store.put(b"once")
    assert path.stat().st_mtime == 1
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [path]


def test_altered_evidence_is_not_given_out(tmp_path: Path) -> None:
    store = EvidenceStore(str(tmp_path))
    sha256 = store.put(b"true")
    (tmp_path / sha256[:2] / sha256[2:4] / sha256).write_bytes(b"fals")
    with pytest.raises(EvidenceUnavailable, match="is not what was stored"):
        store.get(sha256)


def test_evidence_cut_short_by_a_power_cut_is_written_again(tmp_path: Path) -> None:
    store = EvidenceStore(str(tmp_path))
    sha256 = store.put(b"whole")
    (tmp_path / sha256[:2] / sha256[2:4] / sha256).write_bytes(b"")
    store.put(b"whole")
    assert store.get(sha256) == b"whole"


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EvidenceStore(str(tmp_path))

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(EvidenceUnavailable, match="No space left on device"):
        store.put(b"too much")
    assert not [each for each in tmp_path.rglob("*") if each.is_file()]


def test_many_threads_keep_the_same_content_at_once(tmp_path: Path) -> None:
    store = EvidenceStore(str(tmp_path))
    content = os.urandom(50_000)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(store.put, [content] * 64))) == 1
    assert store.get(hashlib.sha256(content).hexdigest()) == content
    assert len([each for each in tmp_path.rglob("*") if each.is_file()]) == 1


def test_a_folder_that_is_a_file_is_a_problem_with_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    store = EvidenceStore(str(tmp_path / "file"))
    problem = store.writable_problem()
    assert problem is not None
    assert str(tmp_path / "file") in problem
    with pytest.raises(EvidenceUnavailable, match="cannot write evidence"):
        store.put(b"x")


def test_whatever_a_store_raises_is_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    store = EvidenceStore("memory://odd")

    def odd(*_: object, **__: object) -> None:
        raise KeyError("strange\nthings")

    for method in ("pipe_file", "cat_file"):
        monkeypatch.setattr(fsspec.implementations.memory.MemoryFileSystem, method, odd)
    with pytest.raises(EvidenceUnavailable, match="cannot write"):
        store.put(b"x")
    with pytest.raises(EvidenceUnavailable, match="cannot read"):
        store.get("0" * 64)


@pytest.mark.parametrize("url", ["", "nonsense://k3y:s3cret@bucket"])
def test_a_wrong_url_is_named_without_its_secret(url: str) -> None:
    with pytest.raises(SettingsError, match="DEADPAN_EVIDENCE_URL") as caught:
        EvidenceStore(url)
    assert "s3cret" not in str(caught.value)
