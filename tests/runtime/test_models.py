"""From names to engines, and what is said where there is none."""

from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from harmony.errors import ModelError, ModelNotFoundError
from harmony.runtime import models
from harmony.runtime.models import find_folder, load_engine


def test_folder(checkpoint: Path) -> None:
    """An existing folder is loaded."""
    engine = load_engine(str(checkpoint), device="cpu", dtype="float32", context_length=32)
    assert (engine.name, engine.context_length) == ("model", 32)


def test_number_of_sequences_reaches_the_engine(checkpoint: Path) -> None:
    """The engine refuses one that no step can read."""
    with pytest.raises(ValueError, match="max_sequences must be from 1 to 512, not 513"):
        load_engine(str(checkpoint), device="cpu", max_sequences=513)


def test_tiny_is_bundled() -> None:
    """The demonstration lies beside the module."""
    assert find_folder("tiny") == Path(models.__file__).parent / "tiny"


@pytest.mark.parametrize(
    "name", ["no-such-model", "./no-such-folder", "../x", "/no/such/folder", "a/b/c", "org/na me", ""]
)
def test_no_such_model(name: str) -> None:
    """A name that nothing stands for gets the list of what would."""
    with pytest.raises(ModelNotFoundError, match="'tiny', a folder, a hub name"):
        load_engine(name)


class Hub:
    """A stand-in for huggingface_hub.snapshot_download, with a cache and a network."""

    def __init__(self, cached: Path | None, online: Path | Exception) -> None:
        self.cached, self.online = cached, online
        self.asked: list[dict[str, Any]] = []

    def __call__(self, name: str, **options: Any) -> str:
        self.asked.append(options)
        if options.get("local_files_only"):
            if self.cached is None:
                raise LocalEntryNotFoundError("not cached")
            return str(self.cached)
        if isinstance(self.online, Exception):
            raise self.online
        return str(self.online)


def test_cached_hub_model(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the local cache holds whole is not asked for on the network."""
    hub = Hub(checkpoint, OSError("no network"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    assert load_engine("org/name", device="cpu", context_length=32).name == "org/name"
    assert len(hub.asked) == 1


@pytest.mark.parametrize("partly", [True, False])
def test_hub_model_is_downloaded(
    partly: bool, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not cached, or only in part, is downloaded, and of the two layouts only one."""
    hub = Hub(tmp_path if partly else None, checkpoint)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    assert find_folder("org/name") == checkpoint
    patterns = hub.asked[-1]["allow_patterns"]
    listed = [
        "config.json",
        "model-00000-of-00002.safetensors",
        "original/model.safetensors",
        "tokenizer.json",
    ]
    assert list(huggingface_hub.utils.filter_repo_objects(listed, allow_patterns=patterns)) == listed[:2]


@pytest.mark.parametrize("error", [OSError("no network\nat all"), ValueError("bad name")])
def test_hub_failure_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that fails says what to do."""
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(None, error))
    with pytest.raises(ModelNotFoundError, match="check the name and the network") as failed:
        find_folder("org/name")
    assert "\n" not in str(failed.value)


def hide(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def spec(name: str) -> ModuleSpec | None:
        return None if name == module else ModuleSpec(name, None)

    monkeypatch.setattr(models, "find_spec", spec)


def test_hub_name_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the way to it is told."""
    hide("huggingface_hub", monkeypatch)
    with pytest.raises(ModelNotFoundError, match=r"pip install 'gpt-oss-harmony\[local\]'"):
        find_folder("org/name")


def test_without_torch(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The light install says what a local model needs."""
    hide("torch", monkeypatch)
    with pytest.raises(ModelError, match=r"needs torch: pip install 'gpt-oss-harmony\[local\]'"):
        load_engine(str(checkpoint))


def test_url_goes_to_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL is opened as a server, without torch."""
    opened: list[tuple[str, str | None, int | None]] = []

    def remote(url: str, api_key: str | None, context_length: int | None) -> str:
        opened.append((url, api_key, context_length))
        return "an engine"

    hide("torch", monkeypatch)
    monkeypatch.setattr("harmony.runtime.remote.RemoteEngine", remote)
    load_engine("http://127.0.0.1:1", api_key="key", context_length=9)
    assert opened == [("http://127.0.0.1:1", "key", 9)]
