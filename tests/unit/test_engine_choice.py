"""Which engine ``auto`` is, which versions of vLLM are taken, and what users are told."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from radar_fast.engines import ENGINES, EngineOptions, choose_engine
from radar_fast.engines.vllm import compat as versions
from radar_fast.errors import UsageError


def installed(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    monkeypatch.setattr(versions, "installed_version", lambda: version)


@pytest.mark.parametrize("version", ["0.26.0", "0.28.0", "0.32.0", "0.32.1.dev3+cpu", "0.30.0rc2"])
def test_known_versions_pass(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, version)
    versions.check_version()


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("0.25.1", ["vLLM 0.25.1 is too old", "0.26 to 0.33"]),
        ("0.34.0", ["vLLM 0.34.0 is too new", "0.26 to 0.33"]),
        ("1.0.0", ["too new"]),
        (None, ["vLLM is not installed"]),
    ],
)
def test_other_versions_name_the_extra(version: str | None, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, version)
    with pytest.raises(UsageError) as caught:
        versions.check_version()
    said = str(caught.value)
    assert all(word in said for word in [*words, "pip install '.[vllm]'", "--engine transformers"])
    assert "\n" not in said


def test_the_extra_and_the_check_agree() -> None:
    """The range in pyproject.toml is what check_version takes."""
    named = [line for line in importlib.metadata.requires("radar-fast") or [] if line.startswith("vllm<")]
    named += [line for line in importlib.metadata.requires("radar-fast") or [] if line.startswith("vllm>")]
    [requirement] = named
    oldest, too_new = (".".join(map(str, version)) for version in (versions.OLDEST, versions.TOO_NEW))
    assert f">={oldest}" in requirement
    assert f"<{too_new}" in requirement


@pytest.mark.parametrize(
    ("gpu", "version", "device", "name", "words"),
    [
        (True, "0.32.0", "auto", "vllm", "there is a GPU and vLLM 0.32.0"),
        (True, "0.32.0", "cuda", "vllm", "there is a GPU"),
        (True, "0.32.0", "cpu", "transformers", "--device is cpu"),
        (True, None, "auto", "transformers", "vLLM is not installed"),
        (True, "0.20.0", "auto", "transformers", "vLLM 0.20.0 is too old"),
        (False, "0.32.0", "auto", "transformers", "there is no GPU"),
    ],
)
def test_auto_takes_the_best_and_says_why(
    gpu: bool, version: str | None, device: str, name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, version)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    chosen, why = choose_engine("auto", EngineOptions(device=device))
    assert chosen.name == name
    assert words in why
    for other in ("transformers", "vllm", "fake"):
        assert choose_engine(other, EngineOptions(device=device)) == (ENGINES[other], "")


def test_engine_arguments_need_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = EngineOptions(arguments={"block_size": "16"})
    with pytest.raises(UsageError, match="--engine transformers, because there is no GPU"):
        choose_engine("auto", options)
    with pytest.raises(UsageError, match="this is --engine fake"):
        choose_engine("fake", options)
    assert choose_engine("vllm", options) == (ENGINES["vllm"], "")


def test_without_vllm_the_command_says_what_to_install(tmp_path: Path) -> None:
    """A process in which vLLM cannot be found, as on a plain install."""
    code = (
        "import importlib.util, sys; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'vllm' else find(name, *rest)\n"
        "from radar_fast.cli import main; main()"
    )
    words = ["demo", "--out", str(tmp_path / "out"), "--engine", "vllm"]
    result = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert "pip install '.[vllm]'" in result.stderr
