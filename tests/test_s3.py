"""Stores and tables behind a URL, against a server that speaks S3 on this machine."""

import itertools

import fsspec
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from samples import refused
from test_features import Fake

from emolib import corpora, features, scheduling
from emolib.features import extract
from emolib.store import FeatureStore


@pytest.fixture(scope="module")
def bucket():
    """A bucket of a fresh server; settings reach s3fs by the environment, as they reach workers."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            patch.setenv(f"AWS_{name}", "testing")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        filesystem = fsspec.filesystem("s3")
        filesystem.mkdir("lab")
        yield filesystem
    server.stop()
    filesystem.clear_instance_cache()


@pytest.fixture
def url(bucket, tmp_path):
    return f"s3://lab/{tmp_path.name}/store"


@pytest.fixture(autouse=True)
def blocks_of_three(monkeypatch):
    monkeypatch.setattr("emolib.store.BLOCK_CLIPS", 3)


def content(url: str) -> dict[str, bytes]:
    filesystem, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    return {path.rsplit("/", 1)[-1]: filesystem.cat_file(path) for path in filesystem.find(root)}


def test_a_store_on_s3_holds_what_a_folder_holds(bucket, url, manifest, tmp_path):
    with pytest.raises(FileNotFoundError, match="no feature store at s3://"):
        FeatureStore(url)
    remote = extract(manifest, Fake(), frames=True, url=url).store
    local = extract(manifest, Fake(), frames=True, url=tmp_path / "store").store
    assert content(url) == {p.name: p.read_bytes() for p in (tmp_path / "store").iterdir()}
    for store in (remote, FeatureStore(url)):
        assert np.array_equal(store.pooled(1, "mean+std"), local.pooled(1, "mean+std"))
        assert np.array_equal(store.frames("clip-004", 0), local.frames("clip-004", 0))
    encoder = Fake()
    assert extract(manifest, encoder, frames=True, url=url).n_new == 0 and not encoder.lengths
    assert features.export_npy(FeatureStore(url), manifest, tmp_path / "tree", layer=1) == 10
    written = np.load(tmp_path / "tree" / "Actor_02" / "clip-004.npy", allow_pickle=False)
    assert np.array_equal(written, local.frames("clip-004", 1))


def test_an_extraction_goes_on_after_any_write(bucket, manifest, tmp_path, monkeypatch):
    """Stop before the nth file is written: the configuration, the index, or a shard."""
    extract(manifest, Fake(), frames=True, url=tmp_path / "store")
    undisturbed = {path.name: path.read_bytes() for path in (tmp_path / "store").iterdir()}
    write = FeatureStore._write
    for nth, place in itertools.product((1, 2, 4, 7), (tmp_path, f"s3://lab/{tmp_path.name}")):
        url, calls = f"{place}/{nth}", []

        def stop(self, name, data, nth=nth, calls=calls):
            calls.append(name)
            if len(calls) == nth:
                raise KeyboardInterrupt
            write(self, name, data)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(FeatureStore, "_write", stop)
            extract(manifest, Fake(), frames=True, url=url)
        extract(manifest, Fake(), frames=True, url=url)
        assert len(calls) == nth and content(url) == undisturbed


def test_a_damaged_object_and_a_lost_index_are_made_anew(bucket, url, manifest):
    extract(manifest, Fake(), url=url)
    whole, place = content(url), url.removeprefix("s3://")
    bucket.pipe_file(f"{place}/shard-000001.safetensors", whole["shard-000001.safetensors"][:100])
    bucket.rm_file(f"{place}/index.csv")
    assert len(FeatureStore(url)) == 7 and FeatureStore(url).damaged == ["shard-000001.safetensors"]
    assert extract(manifest, Fake(), url=url).n_new == 3
    assert content(url) == whole


def test_workers_write_to_s3_what_one_process_writes(bucket, url, manifest, tmp_path, model_folder):
    name = str(model_folder())
    extract(manifest, name, url=tmp_path / "store", device="cpu")
    with scheduling.connect("local", n_workers=2) as client:
        done = extract(manifest, name, url=url, device="cpu", client=client)
    assert done.n_new == 10
    assert content(url) == {p.name: p.read_bytes() for p in (tmp_path / "store").iterdir()}


def test_a_table_and_a_manifest_on_s3(bucket, manifest, tmp_path):
    place = f"s3://lab/{tmp_path.name}"
    table, kept = f"{place}/mine.csv", f"{place}/manifest.csv"
    columns = manifest[["path", "speaker", "emotion"]]
    bucket.pipe_file(table, columns.to_csv(index=False).encode())
    clips = corpora.load("folder", table=table)
    assert len(clips) == 10 and clips["path"].tolist() == manifest["path"].tolist()
    assert corpora.save(clips, kept) == kept and corpora.read(kept).equals(clips)
    bucket.pipe_file(table, columns.assign(path="a.wav").to_csv(index=False).encode())
    refused(r"the path 'a\.wav' is relative; name the folder", corpora.load, "folder", table=table)
    for bucket_name in ("lab", "no-such-bucket"):
        with pytest.raises(FileNotFoundError, match=r"absent\.csv: no such table"):
            corpora.read(f"s3://{bucket_name}/absent.csv")
    refused("nowhere://a: can't be read", corpora.read, "nowhere://a")
