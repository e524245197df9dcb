"""What importing the runtime costs, and what it offers."""

import subprocess
import sys

import pytest

import harmony.runtime


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that are loaded after a statement in a fresh interpreter."""
    code = f"{statement}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_importing_loads_nothing_heavy() -> None:
    """The package and the engine interface need neither torch nor httpx nor pydantic."""
    heavy = {"torch", "numpy", "safetensors", "httpx", "pydantic", "transformers"}
    assert not loaded_by("import harmony.runtime, harmony.kernels") & heavy
    assert not loaded_by("from harmony.runtime import SamplingParams, load_engine") & heavy


def test_remote_engine_needs_no_torch() -> None:
    """The light install can use a server."""
    assert not loaded_by("from harmony.runtime import RemoteEngine") & {"torch", "numpy", "safetensors"}


def test_local_engine_needs_torch_alone() -> None:
    """Engine, model and writer load no HTTP client and nothing of the format."""
    loaded = loaded_by("from harmony.runtime import Engine, Transformer, save_checkpoint")
    assert not loaded & {"httpx", "pydantic", "tiktoken", "huggingface_hub"}


@pytest.mark.parametrize("name", harmony.runtime.__all__)
def test_public_names_are_there(name: str) -> None:
    """Each public name can be imported and is listed."""
    assert getattr(harmony.runtime, name) is not None
    assert name in dir(harmony.runtime)


def test_unknown_name() -> None:
    """A misspelt name is an AttributeError, as everywhere."""
    with pytest.raises(AttributeError, match="no attribute 'Enigne'"):
        harmony.runtime.Enigne  # noqa: B018  # the attribute access is what is tested
