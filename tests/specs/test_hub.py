# SPDX-License-Identifier: Apache-2.0
"""Paths, shipped records, and each way in which the Hub can fail."""

import json

import pytest

from specs import hub
from specs.errors import (
    AuthenticationError,
    FetchError,
    GatedModelError,
    ModelConfigError,
    OfflineError,
    UnknownNameError,
)

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
# By hand: embedding and head 2 * 1000 * 64; per layer q and o 2 * 64 * 64, k and v
# 2 * 64 * 32, MLP 3 * 64 * 128, norms 2 * 64; final norm 64.
PARAMS = 2 * 1000 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64) + 64
REPO = "acme/tiny-llama-9x"


def one_line(error):
    return "\n" not in str(error.value)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def test_folder_file_and_other_file_name(folder):
    (folder / "my-model.json").write_text(json.dumps(CONFIG))
    for path in (folder, folder / "config.json", folder / "my-model.json"):
        model = hub.get_model(str(path))
        assert model.params == PARAMS
        assert model.source == str(path)
        assert model.card_params is None


def test_modelopt_file_beside_config_is_used(folder):
    quant = {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}}
    (folder / "hf_quant_config.json").write_text(json.dumps(quant))
    config, _ = hub.get_config(str(folder))
    assert config["quantization_config"] == {"quant_method": "modelopt", **quant}
    own = {**CONFIG, "quantization_config": {"quant_method": "fp8"}}
    (folder / "config.json").write_text(json.dumps(own))
    assert hub.get_config(str(folder))[0] == own


def test_local_folder_beats_shipped_record(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "gpt2").mkdir()
    assert hub.get_model("gpt2").source.startswith("shipped record")
    (folder / "gpt2" / "config.json").write_text(json.dumps(CONFIG))
    assert hub.get_model("gpt2").params == PARAMS


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b'{"model_type": "llama", "hidden_si', "interrupted"),
        (b"\xff\xfe\x00\x01", "not valid JSON"),
        (b"[1, 2]", "list"),
        (b"null", "holds null, not an object"),
        (b'{"a":' * 100_000, "deep"),
        (b"<html>rate limited</html>", "not valid JSON"),
    ],
    ids=["empty", "half", "binary", "list", "null", "deep", "html"],
)
def test_broken_file_is_one_line(folder, content, says):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ModelConfigError, match=says) as error:
        hub.get_model(str(folder))
    assert one_line(error)


def test_huge_file_is_refused_unread(folder, monkeypatch):
    monkeypatch.setattr(hub, "MAX_CONFIG_BYTES", 100)
    with pytest.raises(ModelConfigError, match="MiB"):
        hub.get_model(str(folder))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("./nowhere/config.json", "no file"),
        ("/no/such/folder", "no file"),
        ("model-q4_k_m.gguf", "weight file"),
        ("weights/model.safetensors", "weight file"),
    ],
)
def test_path_that_is_not_a_config(name, says):
    with pytest.raises(ModelConfigError, match=says) as error:
        hub.get_model(name)
    assert one_line(error)


def test_adapter_folder_points_to_its_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelConfigError, match="base model"):
        hub.get_model(f"{tmp_path}/")


@pytest.mark.parametrize("name", ["", "   ", "a\0b"])
def test_empty_name(name):
    with pytest.raises(UnknownNameError, match="no model name"):
        hub.get_model(name)


# The Hub. Every failure is huggingface_hub's own exception, raised where it raises it.


def fails_with(monkeypatch, error):
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def download(*args, **kwargs):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)


def hub_error(name, status, message="no"):
    """An exception of huggingface_hub, whichever HTTP library its version uses."""
    errors = pytest.importorskip("huggingface_hub.errors")

    class Response:
        status_code = status
        headers: dict = {}  # noqa: RUF012
        request = None

    kind = getattr(errors, name)
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.response = Response()
    error.server_message = None
    return error


@pytest.mark.parametrize(
    ("name", "status", "kind", "says"),
    [
        ("GatedRepoError", 403, GatedModelError, "accept its licence.*HF_TOKEN"),
        ("RepositoryNotFoundError", 404, UnknownNameError, "nearest"),
        ("RevisionNotFoundError", 404, FetchError, "no revision 'v9'"),
        ("RemoteEntryNotFoundError", 404, FetchError, "holds no config.json"),
        ("HfHubHTTPError", 401, AuthenticationError, "refused the token"),
        ("HfHubHTTPError", 403, AuthenticationError, "refused the token"),
        ("HfHubHTTPError", 503, FetchError, "HTTP 503"),
        ("HfHubHTTPError", 429, FetchError, "HTTP 429"),
    ],
)
def test_hub_refusals_are_told_apart(monkeypatch, name, status, kind, says):
    fails_with(monkeypatch, hub_error(name, status))
    with pytest.raises(kind, match=says) as error:
        hub.get_model(REPO, revision="v9")
    assert type(error.value) is kind
    assert REPO in str(error.value)
    assert one_line(error)


def test_no_network(monkeypatch):
    errors = pytest.importorskip("huggingface_hub.errors")
    fails_with(monkeypatch, errors.LocalEntryNotFoundError("check your connection"))
    with pytest.raises(OfflineError, match=r"cannot be reached.*path of a config\.json") as error:
        hub.get_model(REPO)
    assert one_line(error)


def test_told_to_stay_offline(monkeypatch):
    errors = pytest.importorskip("huggingface_hub.errors")
    fails_with(monkeypatch, errors.LocalEntryNotFoundError("disabled"))
    with pytest.raises(OfflineError, match="not in the local cache"):
        hub.get_model(REPO, offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError, match="not in the local cache"):
        hub.get_model(REPO)


def test_interrupted_download(monkeypatch):
    fails_with(monkeypatch, OSError("Consistency check failed: file should be of size 726\nmore"))
    with pytest.raises(FetchError, match="did not arrive whole") as error:
        hub.get_model(REPO)
    assert one_line(error)


def test_full_disk(monkeypatch):
    fails_with(monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(FetchError, match="No space left"):
        hub.get_model(REPO)


def test_bug_in_the_library_keeps_its_traceback(monkeypatch):
    fails_with(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        hub.get_model(REPO)


@pytest.mark.parametrize("name", ["a/b/c", "org/naïve", "two words/x", "-bad-/..name", "x" * 200])
def test_names_that_no_repository_can_have(name, monkeypatch):
    errors = pytest.importorskip("huggingface_hub.errors")
    fails_with(monkeypatch, errors.HFValidationError("bad"))
    with pytest.raises(UnknownNameError, match="no model"):
        hub.get_model(name)


def test_hub_answer_is_read(monkeypatch, folder):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked = []

    def download(repo, file, **options):
        asked.append((repo, file, options["revision"], options["token"]))
        if file != "config.json":
            raise hub_error("RemoteEntryNotFoundError", 404)
        return str(folder / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    model = hub.get_model(REPO, token="hf_x")
    assert model.params == PARAMS
    assert model.source == f"https://huggingface.co/{REPO}/blob/main/config.json"
    assert asked == [
        (REPO, "config.json", None, "hf_x"),
        (REPO, "hf_quant_config.json", None, "hf_x"),
    ]


def test_other_revision_passes_the_shipped_record_over(monkeypatch):
    errors = pytest.importorskip("huggingface_hub.errors")
    fails_with(monkeypatch, errors.LocalEntryNotFoundError("no"))
    assert hub.get_model("gpt2", revision="main").params
    with pytest.raises(OfflineError):
        hub.get_model("openai-community/gpt2", revision="abc123")


def test_missing_model_names_the_nearest(monkeypatch):
    fails_with(monkeypatch, hub_error("RepositoryNotFoundError", 404))
    with pytest.raises(UnknownNameError, match=r"meta-llama/Llama-3\.1-8B"):
        hub.get_model("meta-lama/Llama-3.1-8b")


@pytest.mark.parametrize("name", ["x" * 5000, "/" + "y" * 5000, "~nobody-has-this-name/z"])
def test_a_name_that_no_path_can_have_is_refused(name):
    with pytest.raises((UnknownNameError, ModelConfigError)) as caught:
        hub.get_model(name, offline=True)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "address",
    [
        "https://huggingface.co/meta-llama/Llama-3.1-8B",
        " https://huggingface.co/meta-llama/Llama-3.1-8B/ ",
        "huggingface.co/meta-llama/Llama-3.1-8B?library=vllm",
        "https://hf.co/meta-llama/Llama-3.1-8B/tree/main",
        "https://huggingface.co/meta-llama/Llama-3.1-8B/blob/main/config.json",
    ],
)
def test_address_of_a_page_names_the_model(address):
    assert hub.get_model(address) == hub.get_model("meta-llama/Llama-3.1-8B")


@pytest.mark.parametrize(
    "address",
    [
        "https://huggingface.co/datasets/acme/words",
        "https://huggingface.co/meta-llama/Llama-3.1-8B/tree/other",
        "https://example.org/meta-llama/Llama-3.1-8B",
    ],
)
def test_address_of_something_else_is_refused(address):
    with pytest.raises(UnknownNameError, match="no model"):
        hub.get_model(address, offline=True)
