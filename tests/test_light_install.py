"""Without torch: the format works, and the agent runs on a server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stub_server import serve, sse

from harmony import load_encoding

WITHOUT_TORCH = (
    "import sys; sys.modules |= dict.fromkeys(['torch', 'numpy', 'safetensors', 'huggingface_hub']);"
)
MODELS = {"object": "list", "data": [{"id": "toy", "object": "model", "max_model_len": 4000}]}


def run(program: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + program],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_format_renders_and_parses(tmp_path: Path) -> None:
    """A conversation goes to tokens and back."""
    program = """
import harmony
encoding = harmony.load_encoding()
said = harmony.Message.from_role_and_content(harmony.Role.USER, "Hi")
tokens = encoding.render_conversation(harmony.Conversation.from_messages([said]))
assert encoding.parse_messages_from_completion_tokens(tokens) == [said]
"""
    done = run(program, tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_format_command_runs(tmp_path: Path) -> None:
    """`python -m harmony` needs no torch."""
    (tmp_path / "completion.txt").write_text("<|channel|>final<|message|>Bonjour.<|return|>")
    done = run("from harmony.__main__ import main; sys.exit(main(['parse', 'completion.txt']))", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Bonjour." in done.stdout


def test_the_command_runs_on_a_server(tmp_path: Path) -> None:
    """`--model URL` sends token ids, reads token ids, and prints the answer."""
    answer = load_encoding().encode("<|channel|>final<|message|>Bonjour.<|return|>", allowed_special="all")

    def stream(body: dict[str, Any]) -> Iterator[str]:
        for token in answer:
            ended = token in body["stop_token_ids"]
            choice = {
                "index": 0,
                "text": "",
                "token_ids": [token],
                "finish_reason": "stop" if ended else None,
            }
            yield sse({"id": "1", "object": "text_completion", "choices": [choice]})
        yield "data: [DONE]\n\n"

    command = "from harmony.agent.__main__ import main; sys.exit(main(sys.argv[1:] or ARGUMENTS))"
    with serve({"/v1/models": (200, MODELS), "/v1/completions": stream}) as server:
        arguments = ["--model", server.url, "--tools", "none", "Say hello in French."]
        done = run(f"ARGUMENTS = {arguments};" + command, tmp_path)
        prompt = server.body("/v1/completions")["prompt"]
    assert (done.returncode, done.stdout) == (0, "Bonjour.\n"), done.stderr
    assert load_encoding().decode(prompt).endswith("Say hello in French.<|end|><|start|>assistant")


def test_a_local_model_asks_for_torch(tmp_path: Path) -> None:
    """The error names what to install, on one line."""
    done = run("from harmony.agent.__main__ import main; sys.exit(main(['Hi']))", tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "gpt-oss-harmony[local]" in done.stderr
