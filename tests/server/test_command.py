"""`python -m harmony.server`: it serves the tiny model, and says what is wrong on one line."""

import gc
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from openai import OpenAI
from scripted import Scripted

from harmony.agent import loading
from harmony.errors import UsageError
from harmony.server import listening as server_listening
from harmony.server.__main__ import main
from harmony.server.listening import Listening

COMMAND = [sys.executable, "-m", "harmony.server"]


def test_it_serves_the_tiny_model(tmp_path: Path) -> None:
    """A sum is answered by the sampled tokens of a real model, the python tool among them."""
    command = [*COMMAND, "--tools", "python", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert said.startswith("serving tiny on ")
            with OpenAI(base_url=said.split()[-1], api_key="none", max_retries=5) as client:
                messages = [{"role": "user", "content": "What is 37 * 48?"}]
                answer = client.chat.completions.create(model="tiny", messages=messages, temperature=0)  # type: ignore[call-overload]
            assert "1776" in answer.choices[0].message.content
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
            assert process.stderr.read().strip() == ""
        finally:
            process.kill()


def test_it_goes_on_when_nobody_reads_its_log(tmp_path: Path) -> None:
    """What a client does wrong is a line of the log; that it cannot be written ends nothing."""
    command = [*COMMAND, "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            url = httpx.URL(process.stderr.readline().split()[-1])
            process.stderr.close()
            retrying = httpx.HTTPTransport(retries=5)
            with httpx.Client(transport=retrying) as client:
                assert client.get(f"{url}/models").status_code == 200
                for _ in range(2):
                    with socket.create_connection((url.host, url.port or 0)) as wrong:
                        wrong.sendall(b"no HTTP\r\n\r\n")
                        assert b" 400 " in wrong.recv(1000)
                assert client.get(f"{url}/models").status_code == 200
        finally:
            process.kill()


def test_it_serves_a_folder(tmp_path: Path) -> None:
    """The tiny model looks up what is asked, and its citation leads to the file."""
    (tmp_path / "hours.md").write_text("The gate opens at nine.\n")
    command = [*COMMAND, "--tools", "browser", "--docs", ".", "--port", "0"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            url = process.stderr.readline().split()[-1]
            with OpenAI(base_url=url, api_key="none", max_retries=5) as client:
                asked = "What does the documentation say about the gate?"
                answer = client.responses.create(model="tiny", input=asked, temperature=0)
            cited = [annotation.url for annotation in answer.output[-1].content[0].annotations]  # type: ignore[union-attr]
            assert cited == ["local:///hours.md"]
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "no-such-folder"], "there is no model"),
        (["--host", "0.0.0.0"], "set HARMONY_SERVER_KEY"),
        (["--port", "x"], "see --help"),
        (["--port", "99999"], "choose another --port"),
        (["--port", "-1"], "choose another --port"),
        (["--host", "no-such-host.invalid"], "no-such-host.invalid"),
        (["--host", "a" * 70], "cannot be used"),
        (["--queue", "0"], "from 1 on"),
        (["--context", "-5"], "from 1 on"),
        (["--tools", "brwser"], "did you mean browser?"),
        (["--tools", "python", "--docs", "."], "add --tools browser"),
        (["--tools", "browser", "--docs", "no-such-folder"], "no-such-folder"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each says what to do, and the exit status is 2."""
    monkeypatch.delenv("HARMONY_SERVER_KEY", raising=False)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert (said.count("\n"), says in said) == (1, True)


def test_what_is_loaded_is_not_walked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its garbage is collected without the model and the libraries: a stream waits for no such walk."""
    frozen: list[int] = []
    monkeypatch.setattr(loading, "load_engine", lambda *_, **__: Scripted())
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: frozen.append(gc.get_freeze_count()))
    try:
        assert main(["--port", "0"]) == 0
    finally:
        gc.unfreeze()
    assert frozen[0] > 10_000


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before a model is loaded, which may take minutes."""
    monkeypatch.delattr(loading, "load_engine")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 2
    assert "in use" in capsys.readouterr().err


def test_without_the_extra(tmp_path: Path) -> None:
    """The error names what to install."""
    without = "import sys, importlib.util as u; real = u.find_spec;"
    without += "u.find_spec = lambda name, *a: None if name in ('starlette', 'uvicorn') else real(name, *a);"
    program = without + "from harmony.server.__main__ import main; sys.exit(main([]))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "gpt-oss-harmony[server]" in done.stderr


@pytest.mark.parametrize("host", ["localhost", "::"])
def test_a_host_of_both_families(host: str, tmp_path: Path) -> None:
    """Clients reach it by IPv4, by IPv6, and by the URL that is printed."""
    command = [*COMMAND, "--host", host, "--port", "0"]
    environment = {**os.environ, "HARMONY_SERVER_KEY": "k"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            printed = httpx.URL(process.stderr.readline().split()[-1])
            retrying = httpx.HTTPTransport(retries=8)
            with httpx.Client(transport=retrying, headers={"Authorization": "Bearer k"}) as client:
                for reached in (printed.host, "127.0.0.1", "::1"):
                    assert client.get(printed.copy_with(host=reached, path="/v1/models")).status_code == 200
        finally:
            process.kill()


def test_the_hosts_of_a_listener() -> None:
    """All sockets have one port; only those of the loopback are this machine's alone."""
    with Listening("localhost", 0) as listening:
        families = {bound.family for bound in listening.sockets}
        ports = {bound.getsockname()[1] for bound in listening.sockets}
        assert (families, len(ports)) == ({socket.AF_INET, socket.AF_INET6}, 1)
        assert listening.url == f"http://localhost:{ports.pop()}/v1"
        assert not listening.reaches_others
    with Listening("127.0.0.2", 0) as listening:
        assert not listening.reaches_others
    with Listening("0.0.0.0", 0) as listening:
        assert listening.reaches_others


@pytest.mark.parametrize("taken_times", [3, 99])
def test_a_free_port_is_free_on_every_address(taken_times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Port 0 of localhost is chosen again where others have that of ::1, and not without end."""
    with ExitStack() as others:
        taken: list[int] = []
        bound = server_listening._bound

        def bind(address: str, port: int) -> socket.socket:
            if address == "::1" and len(taken) < taken_times:
                taken.append(port)
                others.enter_context(socket.create_server(("::1", port), family=socket.AF_INET6))
            return bound(address, port)

        monkeypatch.setattr(server_listening, "_bound", bind)
        if taken_times == 3:
            with Listening("localhost", 0) as listening:
                ports = {bound.getsockname()[1] for bound in listening.sockets}
            assert len(taken) == 3
            assert len(ports - {*taken}) == 1
        else:
            with pytest.raises(UsageError, match="in use"):
                Listening("localhost", 0)
