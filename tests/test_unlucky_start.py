"""Unlucky users, at the start and the end of the program: proxies, addresses, consoles, signals."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import app
from assistant.__main__ import main as command
from assistant.errors import ConfigError
from assistant.hub.client import check_proxies
from ui import serve
from ui.serve import Address

ROOT = Path(__file__).resolve().parents[1]


def start(tmp_path, *arguments: str, **environment: str) -> tuple[subprocess.Popen, str]:
    """The program, and the address that it prints."""
    program = subprocess.Popen([sys.executable, "app.py", *arguments], cwd=ROOT, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env={**os.environ, "TMPDIR": str(tmp_path), "CAFE_DATA_DIR": str(tmp_path / "data"), **environment})
    said = []
    for line in program.stdout:
        said.append(line)
        if " is at http" in line:
            return program, line.split(" is at ")[1].split()[0]
    raise AssertionError("".join(said))


def scratch(tmp_path) -> list[Path]:
    return list(tmp_path.glob("cafe-page-*"))


@pytest.mark.slow
def test_started_behind_proxies_on_ipv6_with_a_console_without_letters_and_ended_by_a_signal(tmp_path):
    host = "::1" if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6") else "127.0.0.1"
    program, url = start(tmp_path, "--host", host, "--data-dir", str(tmp_path / "猫 Größe '#%"), PYTHONIOENCODING="ascii", all_proxy="socks://127.0.0.1:7897",
                         http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9", no_proxy="")
    with httpx.Client(trust_env=False, timeout=60) as client:
        assert client.get(url).status_code == 200
        [path] = client.post(f"{url}gradio_api/upload", files={"files": ("cat.png", b"bytes")}).json()
    [folder] = scratch(tmp_path)
    assert folder in Path(path).parents and (tmp_path / "猫 Größe '#%").is_dir()
    program.send_signal(signal.SIGTERM)
    said = program.communicate(timeout=120)[0]
    assert program.returncode in (0, 130) and scratch(tmp_path) == [] and "Traceback" not in said


def test_started_again_what_a_killed_program_left_is_swept_and_nothing_else(tmp_path):
    code = "from filelock import FileLock; import sys, time; lock = FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); time.sleep(600)"
    dead, alive, fresh, foreign = (tmp_path / f"cafe-page-{name}" for name in ("dead", "alive", "fresh", "foreign"))
    for folder in (dead, alive, fresh, foreign):
        (folder / "uploads").mkdir(parents=True)
        (folder / "uploads" / "photo.png").write_bytes(b"x")
    programs = []
    for folder in (dead, alive):
        programs.append(subprocess.Popen([sys.executable, "-c", code, str(folder / serve.LOCK)], stdout=subprocess.PIPE))
        programs[-1].stdout.readline()
    (fresh / serve.LOCK).touch()
    for folder in (dead, alive, foreign):
        os.utime(folder, (0, 0))
    programs[0].kill()
    programs[0].wait()
    serve.sweep(tmp_path.glob("cafe-page-*"))
    assert not dead.exists() and alive.exists() and fresh.exists() and foreign.exists()
    programs[1].kill()
    programs[1].wait()


@pytest.mark.parametrize("host, public", [("::1", False), ("[::1]", False), ("127.0.0.2", False), ("localhost", False), ("::", True), ("0.0.0.0", True),
                                          ("192.0.2.1", True)])
def test_started_at_an_address_it_is_known_who_may_reach_it(host, public):
    assert Address(host).public is public


def test_started_where_it_cannot_be_the_true_reason_is_said(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} is taken"):
            Address(port=port).free_port()
        monkeypatch.setattr(serve, "PORTS", range(port, port + 1))
        with pytest.raises(ConfigError, match=f"ports {port} to {port} are taken"):
            Address().free_port()
    assert Address(port=port).free_port() == port
    with pytest.raises(ConfigError, match="192.0.2.1 is not an address of this computer"):
        Address("192.0.2.1").free_port()
    monkeypatch.setattr(serve, "_bind", lambda host, port: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(ConfigError, match="port 80 needs rights"):
        Address(port=80).free_port()


def test_started_with_arguments_that_cannot_be_one_line_is_said(monkeypatch, capsys):
    for given, said in ((["--host", ""], "an address cannot be empty"), (["--port", "0"], "not a port")):
        with pytest.raises(SystemExit):
            app.arguments(given)
        assert said in capsys.readouterr().err
    monkeypatch.setenv("GRADIO_SERVER_PORT", "abc")
    with pytest.raises(SystemExit):
        app.arguments([])
    assert "abc is not a port" in capsys.readouterr().err


def test_started_for_a_download_the_variable_of_a_proxy_that_cannot_be_used_is_named(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    check_proxies()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    check_proxies()
    monkeypatch.setenv("all_proxy", "socks://me:secret@127.0.0.1:7897")
    with pytest.raises(ConfigError, match="all_proxy cannot be used: socks://") as caught:
        check_proxies()
    assert "secret" not in str(caught.value)


def test_started_behind_a_proxy_that_cannot_be_used_doctor_needs_none_and_a_download_names_it(monkeypatch, capsys):
    for name, value in (("all_proxy", "socks://127.0.0.1:7897"), ("no_proxy", "")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["assistant", "doctor", "--cards"])
    command()
    assert "24 GB" in capsys.readouterr().out
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(sys, "argv", ["assistant", "download", "open", "--dry"])
    with pytest.raises(ConfigError, match="all_proxy cannot be used"):
        command()


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_started_with_a_file_of_users_as_editors_save_it(tmp_path, coding):
    file = tmp_path / "users.txt"
    file.write_bytes("zoë:one\nbob:two:three\n".encode(coding))
    assert app.users([f"@{file}"]) == (("zoë", "one"), ("bob", "two:three"))
    file.write_bytes(b"\xff\x00\x81")
    with pytest.raises(ConfigError, match="not text in UTF-8"):
        app.users([f"@{file}"])


@pytest.mark.parametrize("preset, reached", [("miniature", "*"), ("open", "intra.example,localhost,127.0.0.1,::1,0.0.0.0")])
def test_started_behind_a_proxy_downloads_still_go_by_it(monkeypatch, preset, reached):
    for name in ("http_proxy", "all_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "intra.example")
    app.settle_proxies(app.arguments(["--preset", preset, "--host", "0.0.0.0"]))
    assert os.environ["no_proxy"] == reached
