"""From a model's name to an engine."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harmony.errors import CheckpointError, ModelError, ModelNotFoundError
from harmony.runtime.generation import TokenEngine
from harmony.runtime.libraries import load_torch_ahead

if TYPE_CHECKING:
    from collections.abc import Callable

TINY = Path(__file__).parent / "tiny"
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
HUB_FILES = ["config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json"]


def load_engine(
    model: str,
    *,
    device: str | None = None,
    dtype: Literal["bfloat16", "float32"] | None = None,
    context_length: int | None = None,
    embedding_on_host: bool = False,
    max_sequences: int | None = None,
    api_key: str | None = None,
    progress: "Callable[[int, int], None] | None" = None,
) -> TokenEngine:
    """Open the model that a name stands for.

    "tiny" is the bundled demonstration; an http(s) URL is a server that takes token ids, with
    `api_key`; a folder holds a checkpoint; anything of the form "org/name" is looked up in the local
    Hugging Face cache and then downloaded. `device`, `dtype`, `context_length`, `embedding_on_host`,
    `max_sequences` and `progress` are those of `Engine.load`. Raises ModelError and its kinds, or
    EngineError for a server.
    """
    if model.startswith(("http://", "https://")):
        from harmony.runtime.remote import RemoteEngine

        return RemoteEngine(model, api_key=api_key, context_length=context_length)
    _require("torch", "numpy", "safetensors")
    folder = find_folder(model)
    load_torch_ahead()
    from harmony.runtime.engine import Engine

    name = None if folder == Path(model) else model
    return Engine.load(
        folder,
        device,
        dtype,
        context_length,
        progress,
        name=name,
        embedding_on_host=embedding_on_host,
        max_sequences=max_sequences,
    )


def find_folder(model: str) -> Path:
    """The folder of a model's checkpoint, downloaded first when its name is one of the hub's."""
    if model == "tiny":
        return TINY
    if model and Path(model).is_dir():
        return Path(model)
    if HUB_NAME.fullmatch(model):
        return _from_hub(model)
    raise ModelNotFoundError(
        f"there is no model {model!r}; give 'tiny', a folder, a hub name such as openai/gpt-oss-20b, or the "
        "URL of a server"
    )


def _from_hub(name: str) -> Path:
    if find_spec("huggingface_hub") is None:
        raise ModelNotFoundError(
            f"there is no folder {name}, and downloading needs huggingface_hub: "
            "pip install 'gpt-oss-harmony[local]'"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    from harmony.runtime.checkpoint import Checkpoint

    try:
        cached = Path(snapshot_download(name, allow_patterns=HUB_FILES, local_files_only=True))
        return Checkpoint.open(cached).folder
    except (LocalEntryNotFoundError, CheckpointError):
        pass  # nothing there yet, or only a part of it
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelNotFoundError(
            f"there is no folder {name}, and it cannot be downloaded ({reason}); check the name and the "
            "network, or give the folder of a checkpoint"
        ) from error


def _require(*modules: str) -> None:
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ModelError(
            f"running a model here needs {', '.join(missing)}: pip install 'gpt-oss-harmony[local]', or give "
            "the URL of a server"
        )
