"""The doctor finds out by trying: what holds is said to hold, and what does not is never."""

from collections.abc import Callable

import pytest

from harmony.tools.python import BACKENDS, BackendName, backends, doctor


def found() -> dict[str, doctor.Finding]:
    """The findings by name."""
    return {finding.name: finding for finding in doctor.examine()}


def test_back_ends_hold_as_sessions_say(missing: Callable[[BackendName], str]) -> None:
    """Each back end but unconfined is tried; one that starts a session confines, any other says why not."""
    findings = found()
    assert "unconfined" not in findings
    for name in BACKENDS:
        if name != "unconfined":
            assert findings[name].holds == findings[name].confines == (not missing(name))
            assert findings[name].holds or f"the sandbox {name} does not work here" in findings[name].text


def test_what_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without bwrap, the line says what to install."""
    exists = backends.os.path.exists
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("os.path.exists", lambda path: path != "/usr/bin/bwrap" and exists(path))
    finding = next(doctor.examine())
    assert (finding.name, finding.holds, finding.confines) == ("bubblewrap", False, False)
    assert "apt install bubblewrap" in finding.text


def test_a_sandbox_that_confines_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that is not confined breaks the promises, and the back end does not hold."""
    monkeypatch.setitem(BACKENDS, "landlock", backends.unconfined)
    finding = found()["landlock"]
    assert not finding.holds
    assert not finding.confines
    assert finding.text.startswith("does not refuse")


def test_layers_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer whose trial fails does not hold and says what to do; no layer is a disk quota."""
    monkeypatch.setitem(doctor._LAYERS, "seccomp", ("sys.exit(1)", "calls", "use another kernel"))
    findings = found()
    assert str(findings["seccomp"]) == "no  seccomp          it would give calls; use another kernel"
    assert not findings["disk quota"].holds
    assert findings["memory limit"].holds
