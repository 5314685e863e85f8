"""Both storages keep the same promises; where they differ is S3's nature."""

import pytest

from mock_api.storage import BadName, LocalStorage, ObjectStorage, key_of, put_bytes


@pytest.fixture(params=["local", "s3"])
def storage(request, tmp_path):
    if request.param == "local":
        return LocalStorage(tmp_path, "/user_data")
    return ObjectStorage(tmp_path, "/user_data", "bucket")


def test_stored_file_is_found(storage):
    """Its bytes, its size and a quoted ETag that changes with it."""
    put_bytes(storage, "u/a b#?.csv", b"123")
    first = storage.find("u/a b#?.csv")
    assert (first.path.read_bytes(), first.size_bytes, first.etag[0], first.etag[-1]) == (b"123", 3, '"', '"')
    put_bytes(storage, "u/a b#?.csv", b"12345")
    assert storage.find("u/a b#?.csv").etag != first.etag
    assert storage.find("u/other") is None


def test_host_file_is_copied(storage, tmp_path):
    """A path stands for its content, and stays where it is."""
    source = tmp_path / "source"
    source.write_bytes(b"1" * 3_000_000)
    put_bytes(storage, "u/x", source)
    assert storage.find("u/x").size_bytes == source.stat().st_size


def test_folders_and_what_is_below(storage):
    """A folder is what has files below it."""
    for key in ("u/a/2", "u/a/1", "u/ab/3"):
        put_bytes(storage, key, b"")
    assert (storage.is_folder("u/a"), storage.is_folder("u/a/1"), storage.is_folder("u/b")) == (
        True,
        False,
        False,
    )
    assert storage.keys_below("u/a") == ["1", "2"]
    storage.delete("u/a/1")
    storage.delete("u/a/1")
    assert storage.keys_below("u/a") == ["2"]
    assert storage.find("u/a") is None


def test_too_long_a_name_is_refused(storage, tmp_path):
    """And leaves no temporary file."""
    with pytest.raises(BadName):
        put_bytes(storage, "u/" + "x" * 1030, b"1")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_local_ids(tmp_path):
    """They begin with the server's name for its data folder, which may be a relative path."""
    for data_root in ("/user_data", "../user_data"):
        storage = LocalStorage(tmp_path, data_root)
        assert storage.file_id("u/a") == f"{data_root}/u/a"
        assert storage.key_of_id(f"{data_root}/u/a") == "u/a"
    for file_id in ("/etc/passwd", "/user_data/../x", "u/a", "../user_data/../../x", "../user_data/"):
        with pytest.raises(BadName):
            storage.key_of_id(file_id)


def test_s3_ids(tmp_path):
    """Bucket and key; the data folder is the key's first part."""
    storage = ObjectStorage(tmp_path, "../user_data", "bucket")
    assert storage.file_id("u/a") == "s3://bucket/user_data/u/a"
    assert storage.key_of_object("user_data/u/a") == "u/a"
    assert storage.key_of_object("other/u/a") is None


def test_s3_keeps_what_a_file_system_cannot(tmp_path):
    """A key that is another's folder, and names over 255 bytes."""
    storage = ObjectStorage(tmp_path, "/user_data", "bucket")
    for key in ("u/a", "u/a/b", "u/" + "x" * 500):
        put_bytes(storage, key, b"1")
        assert storage.find(key) is not None
    assert storage.find("u/a").etag == '"c4ca4238a0b923820dcc509a6f75849b"'


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.csv", "text/csv; charset=utf-8"), ("a.yaml", "text/plain; charset=utf-8"), ("a.png", "image/png")],
)
def test_media_type_is_guessed_by_the_name(tmp_path, name, kind):
    """As recorded: text for what nobody knows."""
    storage = LocalStorage(tmp_path, "/user_data")
    put_bytes(storage, name, b"")
    assert storage.find(name).media_type == kind


@pytest.mark.parametrize("parts", [("..",), ("a", "../.."), ("/a",), ("",), ("a", "b\0")])
def test_key_stays_inside(parts):
    """Nothing leads out of the data folder."""
    with pytest.raises(BadName):
        key_of(*parts)


def test_key_is_normalised():
    """Double slashes and dots are gone."""
    assert key_of("a//b", "", "./c/../d") == "a/b/d"
