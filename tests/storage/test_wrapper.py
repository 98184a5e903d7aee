import inspect

import pytest

from ckptstore.storage import LocalStore, MemoryStore, Store, WrapperStore
from ckptstore.testing import FaultyStore
from tests.storage.test_memory import MemoryTests

VERBS = sorted(
    name
    for name, member in vars(Store).items()
    if not name.startswith("_") and (callable(member) or isinstance(member, property))
)


class TestWrapperStore(MemoryTests):
    @pytest.fixture
    def store(self):
        self.memory = MemoryStore()
        with WrapperStore(self.memory) as store:
            yield store


class TestFaultyStoreWithoutFaults(MemoryTests):
    @pytest.fixture
    def store(self):
        self.memory = MemoryStore()
        with FaultyStore(self.memory) as store:
            yield store


class Recorder:
    """Stands in for the inner store: every attribute is a function that notes its call."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*args, **kwargs):
            self.calls.append((name, args, kwargs))
            return f"result of {name}"

        return call


def test_the_list_of_verbs_is_not_empty():
    assert {"get", "put", "url", "close", "abort_upload", "path"} <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_delegated(verb):
    assert verb in vars(WrapperStore), f"WrapperStore inherits {verb} instead of delegating it"
    assert not getattr(WrapperStore, "__abstractmethods__", None)
    recorder = Recorder()
    wrapper = WrapperStore(recorder)
    member = inspect.getattr_static(Store, verb)
    if isinstance(member, property):
        assert getattr(wrapper, verb)() == f"result of {verb}"
        assert recorder.calls == [(verb, (), {})]
        return
    ours, theirs = inspect.signature(getattr(WrapperStore, verb)), inspect.signature(member)
    assert list(ours.parameters) == list(theirs.parameters)
    assert [p.default for p in ours.parameters.values()] == [p.default for p in theirs.parameters.values()]
    args, kwargs = [], {}
    for name, parameter in list(theirs.parameters.items())[1:]:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            kwargs[name] = f"value of {name}"
        else:
            args.append(f"value of {name}")
    result = getattr(wrapper, verb)(*args, **kwargs)
    assert recorder.calls == [(verb, tuple(args), kwargs)]
    assert result in (f"result of {verb}", None)
    assert (result is None) == (theirs.return_annotation == "None")


def test_repr_shows_what_it_stands_before(tmp_path):
    inner = LocalStore(tmp_path)
    assert repr(WrapperStore(WrapperStore(inner))) == f"WrapperStore(WrapperStore(LocalStore({tmp_path})))"
    assert WrapperStore(inner).inner is inner


def test_leaving_the_block_closes_the_inner_store():
    recorder = Recorder()
    with WrapperStore(recorder):
        assert recorder.calls == []
    assert [name for name, _, _ in recorder.calls] == ["close"]
