# SPDX-License-Identifier: Apache-2.0
"""Every shipped record is whole, cites its source and matches its card."""

import json
import subprocess
import sys
import time

import pytest

from specs import hub, model_records
from specs.errors import AmbiguousNameError, SpecDataError
from specs.model_records import expand, find_record, list_models, load_record
from specs.sources import load_sources

ROWS = list_models()
STEMS = [row.name.replace("/", "--", 1) for row in ROWS]
CARDS = {stem: load_record(stem).card for stem in STEMS}

CARD_FIELDS = {
    "params",
    "rounded_to",
    "left_out",
    "active_params",
    "active_rounded_to",
    "source",
}


def test_there_are_enough():
    assert len(ROWS) >= 300
    assert sum(row.params is not None for row in ROWS) >= 250


@pytest.mark.parametrize("stem", STEMS)
def test_record_is_whole(stem):
    record = load_record(stem)
    assert record.name == stem.replace("--", "/", 1)
    assert record.url.startswith(f"https://huggingface.co/{record.name}/")
    assert record.read == "2026-11-21"
    sources = load_sources()
    assert record.via in sources
    assert isinstance(record.config["model_type"], str)
    if record.card:
        assert record.card["source"] in sources
        assert set(record.card) <= CARD_FIELDS
        assert record.card["params"] > 1e6
        assert record.card.get("left_out", 0) < 0.2 * record.card["params"]


@pytest.mark.parametrize("stem", STEMS)
def test_record_carries_no_ballast(stem):
    text = (model_records.RECORDS_DIR / f"{stem}.json").read_text(encoding="utf-8")
    assert len(text) < 40_000
    for field in ("bos_token_id", "initializer_range", "transformers_version", "auto_map"):
        assert f'"{field}"' not in text


def test_no_name_is_claimed_twice():
    names = [name.lower() for row in ROWS for name in (row.name, *row.also)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("stem", STEMS)
def test_parameters_match_the_card(stem):
    record = load_record(stem)
    model = hub.get_model(record.name)
    assert model.name == record.name
    assert model.source.startswith("shipped record")
    if model.card_params is not None:
        # Cards round: half a unit of the last digit stated, and never less than 1%,
        # which covers what authors leave out of a total (position tables, MTP heads).
        slack = max(0.01 * model.card_params, record.card.get("rounded_to", 0) / 2)
        assert model.params == pytest.approx(model.card_params, abs=slack)


@pytest.mark.parametrize("stem", [stem for stem in STEMS if "active_params" in CARDS[stem]])
def test_active_parameters_match_the_card(stem):
    record = load_record(stem)
    model = hub.get_model(record.name)
    stated, unit = record.card["active_params"], record.card["active_rounded_to"]
    # Some cards count all that a token uses, some leave the embedding out (a look-up,
    # not a product), some the head as well; all round, many downwards ("A3B").
    embedding = model.embedding_params
    head = 0 if model.tie_word_embeddings or model.lm_head is None else model.lm_head.params
    counts = (
        model.active_params,
        model.active_params - embedding,
        model.active_params - embedding - head,
    )
    slack = max(0.06 * stated, 0.5 * unit)
    assert any(abs(count - stated) <= slack for count in counts), counts


@pytest.mark.parametrize(
    ("asked", "repo", "record"),
    [
        ("gpt2-xl", "openai-community/gpt2-xl", "openai-community--gpt2-xl"),
        ("GPT2", "openai-community/gpt2", "openai-community--gpt2"),
        ("llama-3.1-8b", "meta-llama/Llama-3.1-8B", "meta-llama--Llama-3.1-8B"),
        ("Qwen3-8B", "Qwen/Qwen3-8B", "Qwen--Qwen3-8B"),
        ("qwen3 8b", "Qwen/Qwen3-8B", "Qwen--Qwen3-8B"),
        (
            "meta-llama/Llama-3.1-8B-Instruct",
            "meta-llama/Llama-3.1-8B-Instruct",
            "meta-llama--Llama-3.1-8B",
        ),
        (
            "META-LLAMA/meta-llama-3.1-8b",
            "meta-llama/Meta-Llama-3.1-8B",
            "meta-llama--Llama-3.1-8B",
        ),
        ("deepseek-r1-0528", "deepseek-ai/DeepSeek-R1-0528", "deepseek-ai--DeepSeek-R1"),
    ],
)
def test_names_resolve(asked, repo, record):
    assert find_record(asked) == (repo, record)


def test_unknown_names_do_not_resolve():
    assert find_record("no-such-org/no-such-model") is None
    assert find_record("llama") is None


def test_ambiguous_plain_name_lists_candidates(tmp_path, monkeypatch):
    record = (model_records.RECORDS_DIR / "openai-community--gpt2.json").read_text()
    for org in ("one", "two"):
        (tmp_path / f"{org}--gpt2.json").write_text(record)
    monkeypatch.setattr(model_records, "RECORDS_DIR", tmp_path)
    model_records._stems.cache_clear()
    model_records._aliases.cache_clear()
    try:
        with pytest.raises(AmbiguousNameError, match=r"one/gpt2, two/gpt2.*whole repository id"):
            find_record("gpt2")
        (tmp_path / "one--gpt2.json").write_text("{")
        with pytest.raises(SpecDataError, match="not JSON"):
            load_record("one--gpt2")
        (tmp_path / "one--gpt2.json").write_text("{}")
        with pytest.raises(SpecDataError, match="lacks or misspells"):
            load_record("one--gpt2")
    finally:
        model_records._stems.cache_clear()
        model_records._aliases.cache_clear()


@pytest.mark.parametrize("stem", STEMS)
def test_other_names_are_found_without_decoding(stem):
    # The scan relies on how records are written: "also" first, then a list.
    assert tuple(model_records._also(stem)) == load_record(stem).also


def test_name_ranges_are_written_out():
    written = {"ignore": ["lm_head", "a.{0-2,5}.b{7,8}", r"re:.*\d{2}"], "n": {"x.{1-2}": {"k": 1}}}
    assert expand(written) == {
        "ignore": [
            "lm_head",
            *(f"a.{i}.b{j}" for i in (0, 1, 2, 5) for j in (7, 8)),
            r"re:.*\d{2}",
        ],
        "n": {"x.1": {"k": 1}, "x.2": {"k": 1}},
    }


def test_alias_says_so_in_its_source():
    model = hub.get_model("meta-llama/Llama-3.1-8B-Instruct")
    assert model.name == "meta-llama/Llama-3.1-8B-Instruct"
    assert "meta-llama/Llama-3.1-8B, which meta-llama/Llama-3.1-8B-Instruct shares" in model.source


def test_resolving_is_light_and_fast():
    code = (
        "import json, sys, time; from specs import hub\n"
        "t = time.perf_counter(); hub.get_config('gpt2-xl'); a = time.perf_counter() - t\n"
        "t = time.perf_counter(); hub.get_config('meta-llama/Llama-3.1-8B-Instruct')\n"
        "b = time.perf_counter() - t\n"
        "heavy = {'requests', 'huggingface_hub', 'pandas', 'torch', 'httpx', 'difflib'}\n"
        "print(json.dumps([a, b, sorted(heavy & set(sys.modules))]))"
    )
    best = [1e9, 1e9]
    for _ in range(3):
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        exact_s, alias_s, heavy = json.loads(out.stdout)
        best = [min(best[0], exact_s), min(best[1], alias_s)]
        time.sleep(0.01)
    assert heavy == []
    # A few ms; the bound is loose because test machines are shared.
    assert best[0] < 0.05
    assert best[1] < 0.2
