"""Where a setting may stand, and what does not fit."""

import pytest

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.service.server.security import is_loopback, token_of, tokens_of
from recbole_cocorr.service.server.settings import TOKENS, gather
from tests.service import TOKEN


def test_flags_before_environment_before_yaml(tmp_path):
    file = tmp_path / "serve.yaml"
    file.write_text("checkpoint: of-yaml\nmax_batch: 3\ngrace: 4\nthreads: 2\n")
    environment = {"RECBOLE_COCORR_SERVE_MAX_BATCH": "5", "RECBOLE_COCORR_SERVE_GRACE": "6", "OTHER": "x"}
    found = gather({"grace": "7.5", "max_queue": None, "config": str(file)}, str(file), environment)
    assert (found.checkpoint, found.threads, found.max_batch, found.grace) == ("of-yaml", 2, 5, 7.5)
    assert found.max_queue == 1024


@pytest.mark.parametrize(
    ("flags", "environment", "yaml", "words"),
    [
        ({}, {}, "", "no checkpoint and no corrector"),
        ({"checkpoint": "x"}, {}, "max_bach: 3", "max_batch?"),
        ({"checkpoint": "x"}, {"RECBOLE_COCORR_SERVE_MAX_QUEU": "3"}, "", "max_queue?"),
        ({"checkpoint": "x", "max_batch": "0"}, {}, "", "from 1 to"),
        ({"checkpoint": "x", "max_batch": "1.5"}, {}, "", "whole number"),
        ({"checkpoint": "x", "grace": "nan"}, {}, "", "a number from 0"),
        ({"checkpoint": "x"}, {}, "threads: true", "whole number"),
        ({"checkpoint": "x"}, {}, "listen: 5", "must be a text"),
        ({"checkpoint": "x"}, {}, "- 5", "must hold 'key: value' lines"),
        ({"checkpoint": "x"}, {}, "a: [", "is not valid yaml"),
        ({"checkpoint": "x", "share_port": "1", "listen": "unix:/s"}, {}, "", "only HOST:PORT can be shared"),
        (
            {"checkpoint": "x", "share_port": "1", "listen": "[::1]:80", "http": "[::1]:80"},
            {},
            "",
            "give each a port of its own",
        ),
        ({"checkpoint": "x", "log_level": "loud"}, {}, "", "log_level"),
        ({"checkpoint": "x", "tls_cert": "c"}, {}, "", "belong together"),
        ({"checkpoint": "x", "tls_client_ca": "c"}, {}, "", "needs tls_cert"),
        ({"checkpoint": "x", "listen": "127.0.0.1"}, {}, "", "no address"),
        ({"checkpoint": "x", "listen": "::1:80"}, {}, "", "no address"),
        ({"checkpoint": "x", "metrics": "here"}, {}, "", "no address"),
        ({"checkpoint": "x", "listen": "0.0.0.0:80"}, {}, "", "without TLS and without tokens"),
        ({"checkpoint": "x", "listen": "[::]:80"}, {}, "", "without TLS and without tokens"),
        ({"checkpoint": "x", "listen": "myhost:80"}, {}, "", "without TLS and without tokens"),
        ({"checkpoint": "x", "listen": "0.0.0.0:80"}, {TOKENS: "short"}, "", "16 or more"),
        ({"checkpoint": "x", "listen": "0.0.0.0:80", "token_file": "none"}, {}, "", "there is no token_file none"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, flags, environment, yaml, words):
    file = tmp_path / "serve.yaml"
    file.write_text(yaml)
    with pytest.raises(UserError) as error:
        gather(flags, str(file) if yaml else None, environment)
    assert words in str(error.value)


def test_other_machines_with_tls_or_a_token():
    gather({"checkpoint": "x", "listen": "0.0.0.0:80", "tls_cert": "c", "tls_key": "k"}, None, {})
    gather({"checkpoint": "x", "listen": "0.0.0.0:80"}, None, {TOKENS: TOKEN})


def test_loopback():
    here = ["127.0.0.1:1", "127.8.8.8:1", "localhost:1", "[::1]:1", "unix:/run/x"]
    assert all(map(is_loopback, here))
    assert not any(map(is_loopback, ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "example:1", "localhost.evil.org:1"]))


def test_tokens():
    assert tokens_of(f"\n# x\n {TOKEN} \n", "f") == (TOKEN.encode(),)
    for text in ("", "# x", "short", "with a space in it.....", "é" * 20):
        with pytest.raises(UserError):
            tokens_of(text, "f")
    known = (TOKEN.encode(),)
    assert token_of([("x", "y"), ("authorization", f"Bearer {TOKEN}")], known) == 0
    assert token_of([("authorization", f"Bearer {TOKEN}")], ()) is None
    assert token_of([("authorization", b"\xff\xfe")], known) is None
    assert token_of(None, known) is None


def test_the_command_says_what_is_wrong(capsys):
    assert main(["serve", "--checkpoint", "none.safetensors", "--listen", "0.0.0.0:1"]) == 2
    assert "without TLS and without tokens" in capsys.readouterr().err
    assert main(["serve", "--checkpoint", "none.safetensors"]) == 2
    assert capsys.readouterr().err == "error: there is no checkpoint none.safetensors\n"
