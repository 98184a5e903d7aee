import pytest

from ckptstore.errors import DataLossError, UnsafePathError
from ckptstore.storage import MemoryStore, UploadNote


def test_a_note_comes_back_as_it_was():
    upload = MemoryStore().create_upload("größe/a", tag="t:1", create_only=True)
    note = UploadNote.of(upload)
    assert UploadNote.from_bytes(note.payload().tobytes()) == note
    assert note.upload() == upload


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff", b"[]", b"7", b"null", b"{}", b'{"key": "a", "upload_id": 1, "tag": "t"}', b"[" * 100_000],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_note(data):
    with pytest.raises(DataLossError, match="no note"):
        UploadNote.from_bytes(data)


@pytest.mark.parametrize("key", ["../a", "/a", "a//b"])
def test_a_note_of_no_key(key):
    with pytest.raises(UnsafePathError):
        UploadNote.from_bytes(UploadNote(key, "id", "t").payload().tobytes())
