# SPDX-License-Identifier: Apache-2.0
import contextlib
import dataclasses
import http.server
import os
import threading
import time

import pytest

from specs.errors import (
    AmbiguousNameError,
    FetchError,
    InvalidInputError,
    OfflineError,
    PageStructureError,
    UnknownNameError,
)
from specs.gpufile import load_gpu_file, to_gpu_file_toml
from specs.sources import load_sources
from specs.techpowerup_page import accelerator_of, fetch_board, parse_board, parse_search

# A made-up board in the structure of the site's pages.
SECTIONS = {
    "Graphics Processor": {
        "GPU Name": "AD102",
        "Architecture": "Ada Lovelace",
        "Process Size": "5 nm",
        "Transistors": "76,300 million",
        "Die Size": "609 mm²",
    },
    "Graphics Card": {
        "Release Date": "Sep 20th, 2022",
        "Generation": "GeForce 40",
        "Bus Interface": "PCIe 4.0 x16",
    },
    "Clock Speeds": {
        "Base Clock": "2235 MHz",
        "Boost Clock": "2520 MHz",
        "Memory Clock": "1313 MHz<br>21 Gbps effective",
    },
    "Memory": {
        "Memory Size": "24 GB",
        "Memory Type": "GDDR6X",
        "Memory Bus": "384 bit",
        "Bandwidth": "1.01 TB/s",
    },
    "Render Config": {
        "Shading Units": "16384",
        "TMUs": "512",
        "SM Count": "128",
        "Tensor Cores": "512",
        "L1 Cache": "128 KB (per SM)",
        "L2 Cache": "72 MB",
    },
    "Theoretical Performance": {
        "FP16 (half)": "82.58 TFLOPS (1:1)",
        "FP32 (float)": "82.58 TFLOPS",
        "FP64 (double)": "1,290 GFLOPS (1:64)",
    },
    "Board Design": {"Slot Width": "Triple-slot", "TDP": "450 W"},
    "Graphics Features": {"CUDA": "8.9"},
}
KEY = "geforce-zx-100.c9999"


def page(heading="NVIDIA GeForce ZX 100", **changes):
    """One page; ``memory__bandwidth=None`` drops a row, ``memory=None`` a section."""
    sections = {title: dict(rows) for title, rows in SECTIONS.items()}
    for path, value in changes.items():
        title, _, row = path.partition("__")
        if value is None and not row:
            sections = {k: v for k, v in sections.items() if _slug(k) != title}
            continue
        rows = next(rows for name, rows in sections.items() if _slug(name) == title)
        label = next((name for name in rows if _slug(name) == row), row.replace("_", " "))
        rows[label] = value
        if value is None:
            del rows[label]
    body = "".join(
        f"<section class='details'><h2>{title}</h2><div>"
        + "".join(
            f"<dl class='clearfix'><dt>{row}</dt><dd>{value}</dd></dl>"
            for row, value in rows.items()
        )
        + "</div></section>"
        for title, rows in sections.items()
    )
    return f"<html><body><h1 class='gpudb-name'>{heading}</h1>{body}</body></html>"


def _slug(text):
    return "".join(c if c.isalnum() else "_" for c in text.lower()).strip("_")


def results(*names):
    rows = "".join(
        f"<div class='item-name'><a href='/gpu-specs/{_slug(name).replace('_', '-')}.c{i}'>"
        f"{name}</a></div>"
        for i, name in enumerate(names, 100)
    )
    return f"<html><table class='items-desktop-table'>{rows}</table></html>"


def test_every_fact_by_hand():
    board = parse_board(page(), key=KEY)
    assert (board.manufacturer, board.name, board.key) == ("NVIDIA", "GeForce ZX 100", KEY)
    assert (board.chip, board.architecture, board.generation) == (
        "AD102",
        "Ada Lovelace",
        "GeForce 40",
    )
    assert (board.bus, board.form, board.cuda) == ("PCIe 4.0 x16", "Triple-slot", "8.9")
    assert board.released == "2022-09-20"
    assert board.process_nm == 5
    assert board.die_mm2 == 609
    assert board.transistors == 76_300e6
    assert (board.base_clock_hz, board.boost_clock_hz) == (2235e6, 2520e6)
    assert board.mem_clock_hz == 1313e6
    assert board.mem_bytes == 24 * 2**30
    assert board.mem_kind == "gddr6x"
    assert board.mem_bus_bits == 384
    assert board.mem_bytes_per_s == 1.01e12
    assert (board.shader_count, board.sm_count, board.tensor_core_count) == (16384, 128, 512)
    assert board.l1_bytes == 128 * 2**10
    assert board.l2_bytes == 72 * 2**20
    assert board.tdp_w == 450
    assert board.fp16_flops_per_s == board.fp32_flops_per_s == 82.58e12
    assert board.fp64_flops_per_s == 1290e9


def test_mobile_board_with_one_clock_and_no_tensor_cores():
    html = page("AMD Radeon ZX 7 M", render_config__tensor_cores=None)
    html = html.replace("Graphics Card", "Mobile Graphics").replace("Boost Clock", "GPU Clock")
    html = html.replace("609 mm²", "unknown").replace("Sep 20th, 2022", "2023")
    board = parse_board(html, key=KEY)
    assert (board.manufacturer, board.name) == ("AMD", "Radeon ZX 7 M")
    assert board.boost_clock_hz == 2520e6
    assert board.tensor_core_count is None
    assert board.die_mm2 is None
    assert board.released == "2023"
    assert board.bus == "PCIe 4.0 x16"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"memory__bandwidth": None}, "Memory / Bandwidth"),
        ({"memory__bandwidth": "System Dependent"}, "Bandwidth"),
        ({"memory__memory_size": "System Shared"}, "Memory / Memory Size"),
        ({"clock_speeds__boost_clock": None}, "Clock Speeds / Boost Clock"),
        ({"render_config__shading_units": "unknown"}, "Render Config / Shading Units"),
        ({"board_design": None}, "Board Design / TDP"),
        ({"memory__memory_size": "24 boxes"}, "Memory Size reads '24 boxes'"),
        ({"memory__bandwidth": "9" * 99 + " GB/s"}, "Bandwidth reads '999"),
        ({"memory__bandwidth": "1e9 GB/s"}, "Bandwidth reads '1e9"),
        ({"memory__bandwidth": "0 GB/s"}, "Memory / Bandwidth"),
        ({"board_design__tdp": "-450 W"}, "TDP reads '-450 W'"),
        ({"memory": None}, "no Memory"),
        ({"render_config": None}, "no Render Config"),
    ],
)
def test_never_half_filled(change, named):
    with pytest.raises(PageStructureError, match=named) as caught:
        parse_board(page(**change), key=KEY)
    assert "--gpu-file" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("html", ["", "<html></html>", "plain", "<h1>x</h1>" * 3, "<dl><dt>"])
def test_other_pages_are_refused(html):
    with pytest.raises(PageStructureError, match=r"gpudb-name"):
        parse_board(html, key=KEY)


def test_open_comments_do_not_take_minutes():
    start_s = time.perf_counter()
    with pytest.raises(PageStructureError):
        parse_board("<!--" * 200_000, key=KEY)
    assert parse_board("<!-- a --><!-- b -->" + page(), key=KEY).tdp_w == 450
    assert time.perf_counter() - start_s < 5.0


def test_search_links():
    assert parse_search(results("GeForce ZX 100", "GeForce ZX 100 Ti")) == {
        "geforce-zx-100.c100": "GeForce ZX 100",
        "geforce-zx-100-ti.c101": "GeForce ZX 100 Ti",
    }
    assert parse_search("<p>Nothing found.</p>") == {}
    with pytest.raises(PageStructureError, match="built in another way"):
        parse_search("<p>welcome</p>")


class Site:
    """A loopback site: path -> (status, headers, body), with the requests it saw."""

    def __init__(self):
        self.answers = {}
        self.seen = []
        self.agents = []
        self.cut = False

    @contextlib.contextmanager
    def running(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.seen.append(self.path)
                outer.agents.append(self.headers["User-Agent"])
                status, headers, body = outer.answers.get(self.path, (404, {}, "gone"))
                data = body.encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data) + (99 if outer.cut else 0)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/gpu-specs/"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def fetch(site, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with site.running() as address:

        def run(name, **options):
            options = {"cache_dir": tmp_path, "pause_s": 0.0, "timeout_s": 5.0} | options
            return fetch_board(name, site=address, **options)

        run.address = address
        yield run


def test_by_key_then_from_the_cache(site, fetch):
    site.answers[f"/gpu-specs/{KEY}"] = (200, {}, page())
    first = fetch(KEY)
    assert first == fetch(KEY, offline=True) == fetch(fetch.address + KEY)
    assert site.seen == [f"/gpu-specs/{KEY}"]
    assert site.agents[0].startswith("roofline/")


def test_by_name_through_the_search(site, fetch):
    site.answers["/gpu-specs/?q=zx%20100"] = (
        200,
        {},
        results("GeForce ZX 100", "GeForce ZX 100 Ti", "Other 5"),
    )
    site.answers["/gpu-specs/geforce-zx-100.c100"] = (200, {}, page())
    with pytest.raises(AmbiguousNameError, match=r"geforce-zx-100.c100, geforce-zx-100-ti.c101"):
        fetch("zx 100")
    site.answers["/gpu-specs/?q=geforce%20zx%20100"] = site.answers["/gpu-specs/?q=zx%20100"]
    assert fetch("geforce zx 100").name == "GeForce ZX 100"


def test_memory_size_tells_two_apart(site, fetch):
    site.answers["/gpu-specs/?q=zx%20100%2080gb"] = (
        200,
        {},
        results("ZX 100 PCIe 80 GB", "ZX 100 PCIe 40 GB"),
    )
    site.answers["/gpu-specs/zx-100-pcie-80-gb.c100"] = (200, {}, page("NVIDIA ZX 100 PCIe 80 GB"))
    assert fetch("zx 100 80gb").name == "ZX 100 PCIe 80 GB"


def test_search_without_result(site, fetch):
    site.answers["/gpu-specs/?q=nonesuch"] = (200, {}, "<p>Nothing found.</p>")
    with pytest.raises(UnknownNameError, match="--gpu-file"):
        fetch("nonesuch")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((403, {}, "Forbidden"), "refuses automatic requests"),
        ((429, {"Retry-After": "120"}, ""), "wait 120 s"),
        ((200, {}, "<p>Automated bot check in progress</p>"), "bot check"),
        ((500, {}, "oops"), "status 500"),
        ((200, {}, "x" * 9_000_000), "more than 8000000 bytes"),
    ],
)
def test_refusals_are_told_apart(site, fetch, tmp_path, answer, words):
    site.answers[f"/gpu-specs/{KEY}"] = answer
    with pytest.raises(FetchError, match=words):
        fetch(KEY)
    assert not list(tmp_path.glob("*.html"))


def test_missing_page(fetch):
    with pytest.raises(UnknownNameError, match="no page"):
        fetch(KEY)


def test_broken_off_download_is_not_kept(site, fetch, tmp_path):
    site.answers[f"/gpu-specs/{KEY}"] = (200, {}, page())
    site.cut = True
    with pytest.raises(FetchError, match="broke off"):
        fetch(KEY)
    assert not list(tmp_path.glob("*.html"))


def test_broken_page_is_not_kept_and_broken_cache_is_asked_again(site, fetch, tmp_path):
    site.answers[f"/gpu-specs/{KEY}"] = (200, {}, page(memory=None))
    with pytest.raises(PageStructureError):
        fetch(KEY)
    assert not list(tmp_path.glob("*.html"))
    (tmp_path / f"{KEY}.html").write_text("<html>half")
    site.answers[f"/gpu-specs/{KEY}"] = (200, {}, page())
    assert fetch(KEY).tdp_w == 450


def test_old_page_is_asked_for_again(site, fetch, tmp_path):
    site.answers[f"/gpu-specs/{KEY}"] = (200, {}, page())
    fetch(KEY)
    old_s = time.time() - 100
    os.utime(tmp_path / f"{KEY}.html", (old_s, old_s))
    fetch(KEY, max_age_s=50)
    fetch(KEY, max_age_s=50)
    assert len(site.seen) == 2


def test_pause_between_requests(site, fetch, monkeypatch):
    waits = []
    monkeypatch.setattr("specs.page_store.time.sleep", waits.append)
    site.answers[f"/gpu-specs/{KEY}"] = (200, {}, page())
    site.answers["/gpu-specs/other.c1"] = (200, {}, page())
    fetch(KEY, pause_s=7.0)
    assert waits == []  # nothing was asked before
    fetch("other.c1", pause_s=7.0)
    assert 6.0 < waits[0] <= 7.0


def test_clock_set_back_does_not_block(site, fetch, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr("specs.page_store.time.sleep", waits.append)
    (tmp_path / "last-request").touch()
    os.utime(tmp_path / "last-request", (time.time() + 9e6, time.time() + 9e6))
    site.answers[f"/gpu-specs/{KEY}"] = (200, {}, page())
    fetch(KEY, pause_s=7.0)
    assert waits == [7.0]


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(OfflineError, match="cannot be reached"):
        fetch_board(KEY, cache_dir=tmp_path, pause_s=0.0, site="http://127.0.0.1:9/gpu-specs/")


def test_told_to_stay_offline(fetch):
    with pytest.raises(OfflineError, match="offline"):
        fetch(KEY, offline=True)


def test_unwritable_cache_still_answers(site, fetch, tmp_path):
    site.answers[f"/gpu-specs/{KEY}"] = (200, {}, page())
    (tmp_path / "file").write_text("")
    assert fetch(KEY, cache_dir=tmp_path / "file").tdp_w == 450


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "  ",
        "x" * 300,
        "https://example.com/gpu-specs/a.c1",
        "https://www.techpowerup.com/about",
    ],
)
def test_bad_arguments(fetch, bad):
    with pytest.raises(InvalidInputError):
        fetch(bad)


def test_import_is_light():
    import subprocess
    import sys

    code = "import sys, specs.techpowerup_page as p; print({'bs4', 'requests'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_the_page_becomes_an_accelerator_with_sources():
    card = accelerator_of(parse_board(page(), key=KEY))
    # AD10x GeForce: 128 SMs x 512 FLOP per clock (fp16, fp32 accumulation) x 2520 MHz.
    assert card.peak("fp16") == pytest.approx(128 * 512 * 2520e6, rel=1e-3)
    assert card.peak("fp16") == pytest.approx(165.2e12, rel=1e-3)  # as NVIDIA states it
    assert (card.vendor, card.kind, card.unit_count) == ("nvidia", "gpu", 128)
    assert card.mem_bytes == 24 * 2**30
    assert card.host_link == "pcie4x16"
    assert set(card.sources.values()) <= set(load_sources())
    assert "techpowerup-page" in card.sources.values()
    assert KEY in card.notes[-1]


def test_the_page_saves_as_a_gpu_file(tmp_path):
    card = accelerator_of(parse_board(page(), key=KEY))
    path = tmp_path / "card.toml"
    path.write_text(to_gpu_file_toml(card), encoding="utf-8")
    again = load_gpu_file(path)
    assert again.peak_flops_per_s == card.peak_flops_per_s
    assert again.notes[1:] == card.notes


def test_an_architecture_without_rates_is_refused():
    board = parse_board(page(graphics_processor__architecture="Novel"), key=KEY)
    board = dataclasses.replace(board, generation="Nova 1", chip="NV999")
    with pytest.raises(InvalidInputError, match="no matrix rates are on file for Novel"):
        accelerator_of(board)
