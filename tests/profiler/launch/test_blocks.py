# SPDX-License-Identifier: Apache-2.0
"""Whatever a log goes through, a block comes back whole or not at all."""

import ast
import base64
import hashlib
import json
import random
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import profiler.launch
from profiler.launch import blocks
from profiler.launch.blocks import PART_CHARS, decode, encode

RUN = "roofline-l4-0a1b2c"

payloads = st.dictionaries(
    st.text(max_size=8),
    st.one_of(
        st.integers(), st.text(max_size=40), st.floats(allow_nan=False, allow_infinity=False)
    ),
    max_size=4,
)


def noise_payload(seed, size):
    """A payload that does not compress, so that it takes several lines."""
    data = random.Random(seed).randbytes(size)
    return {"kind": "result", "data": base64.b64encode(data).decode()}


def log_of(*made):
    return [line for index, payload in enumerate(made) for line in encode(RUN, index, payload)]


def joined(lines):
    return "\r\n".join(lines).encode()


def test_a_block_is_short_lines_that_say_their_place():
    payload = noise_payload(1, 3000)
    lines = encode(RUN, 7, payload)
    assert len(lines) > 1
    assert max(map(len, lines)) < PART_CHARS + 200
    first = lines[0].split(" ")
    assert first[:4] == ["@roofline1", RUN, "7", f"0/{len(lines)}"]
    # The format, unpacked by hand: base64 of zlib of JSON.
    packed = base64.b64decode("".join(line.split(" ")[5] for line in lines))
    said = json.loads(zlib.decompress(packed))
    assert said == {"run": RUN, "index": 7, "payload": payload}
    assert zlib.crc32(lines[0].rsplit(" ", 1)[0].encode()) == int(lines[0][-9:-1], 16)


def test_an_untouched_log_is_complete():
    made = [{"kind": "start", "steps": 1}, noise_payload(2, 2000), {"kind": "end", "blocks": 3}]
    decoded = decode(joined(log_of(*made)), RUN)
    assert list(decoded.blocks) == made
    assert decoded.complete
    assert (decoded.repeated, decoded.damaged, decoded.missing) == (0, 0, ())


def test_a_truncated_log_keeps_what_came_and_says_so():
    made = [{"kind": "start"}, noise_payload(3, 2000), noise_payload(4, 2000)]
    log = joined([*log_of(*made), *encode(RUN, 3, {"kind": "end", "blocks": 4})])
    cut = log[: len(log) - 1500]  # into the last parts of block 2
    decoded = decode(cut, RUN)
    assert list(decoded.blocks) == made[:2]
    assert not decoded.ended
    assert not decoded.complete
    assert decoded.incomplete == (2,)


def test_what_the_end_announced_and_never_came_is_missing():
    lines = [*encode(RUN, 0, {"kind": "start"}), *encode(RUN, 3, {"kind": "end", "blocks": 4})]
    decoded = decode(joined(lines), RUN)
    assert decoded.ended
    assert decoded.missing == (1, 2)
    assert not decoded.complete


def test_two_blocks_of_one_number_cannot_both_be_right():
    first, second = encode(RUN, 0, {"x": 1}), encode(RUN, 0, {"x": 2})
    assert decode(joined(first + second), RUN).blocks == ({"x": 1},)


def test_other_runs_and_older_texts_are_passed_over():
    other = encode("roofline-h100-ffffff", 0, {"kind": "end", "blocks": 1})
    log = joined(["@roofline1 is mentioned here", *other, *encode(RUN, 0, {"x": 1})])
    decoded = decode(log, RUN)
    assert decoded.blocks == ({"x": 1},)
    assert decoded.damaged == 1
    assert not decoded.ended


def test_a_block_that_contradicts_its_line_is_refused():
    # A forger who can compute checksums still has to make the inside agree.
    inner = zlib.compress(json.dumps({"run": RUN, "index": 5, "payload": {"x": 1}}).encode())
    digest, body = hashlib.sha256(inner).hexdigest(), base64.b64encode(inner).decode()
    line = f"@roofline1 {RUN} 0 0/1 {digest} {body}"
    assert decode(f"{line} {zlib.crc32(line.encode()):08x};".encode(), RUN).blocks == ()


def test_names_and_numbers_that_no_line_can_hold():
    for run, index in (("two words", 0), ("", 0), ("x" * 65, 0), ("x", -1)):
        with pytest.raises(ValueError, match="plain run name"):
            encode(run, index, {})
    with pytest.raises(ValueError, match="JSON"):
        encode(RUN, 0, {"x": float("nan")})


@given(made=st.lists(payloads, min_size=1, max_size=5), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_any_order_any_repetition_any_split(made, seed):
    rng = random.Random(seed)
    lines = log_of(*made)
    lines += rng.choices(lines, k=rng.randrange(4))
    rng.shuffle(lines)
    text = [
        word for line in lines for word in (line, rng.choice(["", "| loading", "100%|##", ">>>"]))
    ]
    decoded = decode("\n".join(text).encode(), RUN)
    assert list(decoded.blocks) == made
    assert decoded.repeated == len(lines) - len(set(lines))


@given(seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=150, deadline=None)
def test_loss_and_damage_never_make_a_wrong_block(seed, data):
    rng = random.Random(seed)
    made = [noise_payload(rng.random(), rng.randrange(1, 2500)) for _ in range(3)]
    log = bytearray(joined(log_of(*made)))
    for _ in range(data.draw(st.integers(1, 6), label="wounds")):
        at = data.draw(st.integers(0, len(log) - 1), label="at")
        kind = data.draw(st.sampled_from(["flip", "drop", "insert", "copy"]), label="kind")
        if kind == "flip":
            log[at] ^= 1 << rng.randrange(8)
        elif kind == "drop":
            del log[at : at + rng.randrange(1, 900)]
        elif kind == "insert":
            log[at:at] = rng.randbytes(rng.randrange(1, 50))
        else:
            log[at:at] = log[max(0, at - 500) : at]
        if not log:
            log = bytearray(b"x")
    decoded = decode(bytes(log), RUN)
    kept = [made.index(block) for block in decoded.blocks]  # ValueError: a wrong block
    assert kept == sorted(kept)
    assert not set(kept) & set(decoded.incomplete)


@given(log=st.binary(max_size=400))
def test_any_bytes_are_a_log(log):
    assert decode(log, RUN).blocks == ()


@pytest.mark.parametrize("name", ["__init__", "agent", "blocks", "client"])
def test_what_runs_on_the_machine_is_plain_python(name):
    # Engine images hold Python from 3.8 on and no packages that are certain.
    path = Path(profiler.launch.__file__).with_name(f"{name}.py")
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    for node in tree.body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        else:
            continue
        for module in names:
            plain = module.partition(".")[0] in sys.stdlib_module_names
            assert plain or module == "profiler.launch.blocks"


def test_the_marks_agree():
    assert blocks.MARK.encode() in blocks._LINE.pattern
