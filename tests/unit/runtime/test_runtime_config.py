"""Settings: unknown keys and wrong values are refused by name."""

import pytest

from fleetward.runtime.config import ServerConfig, load_config
from fleetward.trust.errors import Refused


def test_no_file_content_means_the_defaults() -> None:
    assert load_config(ServerConfig, b"") == ServerConfig()


def test_values_and_tables_are_read() -> None:
    config = load_config(
        ServerConfig,
        b'port = 9000\npublic_names = ["fleet.example.org"]\n[intake]\nbatch_entries = 100\n',
    )
    assert (config.port, config.public_names) == (9000, ("fleet.example.org",))
    assert config.intake.batch_entries == 100
    assert config.intake.workers == ServerConfig().intake.workers


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        (b"prot = 1", "config_unknown_key", "did you mean port?"),
        (b"[intake]\nbatch_entires = 1", "config_unknown_key", "did you mean intake.batch_entries"),
        (b"zzzzzz = 1", "config_unknown_key", "known are host, port"),
        (b"port = 0", "config_wrong_value", "from 1 to 65535"),
        (b'port = "80"', "config_wrong_value", "a whole number for port"),
        (b"port = true", "config_wrong_value", "a whole number for port"),
        (b"port = 80.0", "config_wrong_value", "a whole number for port"),
        (b"host = 1", "config_wrong_value", "a string for host"),
        (b'public_names = "x"', "config_wrong_value", "a list of strings"),
        (b"public_names = [1]", "config_wrong_value", "a list of strings"),
        (b"intake = 3", "config_wrong_value", "a table [intake]"),
        (b"[retention]\nevents_days = 1", "config_wrong_value", "retention.events_days"),
        (b"port = ", "config_not_toml", "TOML"),
        (b"port = 1\nport = 2", "config_not_toml", "TOML"),
        (b"\xff", "config_not_toml", "UTF-8"),
    ],
)
def test_everything_else_is_refused_with_words(content: bytes, reason: str, words: str) -> None:
    with pytest.raises(Refused) as caught:
        load_config(ServerConfig, content)
    assert caught.value.reason == reason
    assert words in caught.value.message
