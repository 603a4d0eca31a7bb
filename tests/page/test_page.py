"""The page in a real browser: chromium, anvil, and real manifests that are read by range."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from alithis.chain.registry import Registry
from alithis.chain.rpc import HttpTransport
from alithis.errors import AlithisError
from alithis.ipfs.cid import Cid
from alithis.storage.store import Store
from helpers import browsing, commands
from helpers.anvil import CALIBRATION, run_anvil
from helpers.browsing import page_served, write_png
from helpers.paths import BUILT
from helpers.range_server import serving as serving_files
from helpers.serving import serving
from helpers.world import CORS, IMAGES, World, file_digest, read_idx, world_on

PICTURES = os.environ.get("ALITHIS_PICTURES")
"""The folder for screenshots; by default none are made."""
PHONE = {"width": 390, "height": 844}
GIGABYTE = 1 << 30
WITHOUT_HALO = """each => each.map((text) => {
  const { x, y, width, height } = text.getBBox();
  return { x, y, width, height };
})"""
DESKTOP = {"width": 1200, "height": 860}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    with run_anvil() as node, world_on(node, tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture(autouse=True)
def honest(world) -> Iterator[None]:
    """Each test starts with an honest gateway."""
    yield
    world.gateway.fault = lambda *_: False
    world.gateway.forget()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browsing.browser() as running:
        yield running


@contextmanager
def opened(
    browser: Browser, folder: Path, config: dict | None, address: str = "", **options: object
) -> Iterator[Page]:
    """Open the page at an address, in a browser context of its own."""
    with page_served(folder, config) as server:
        context = browser.new_context(
            viewport=options.pop("viewport", DESKTOP), base_url=server.url, **options
        )
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        try:
            page.goto(f"{server.url}/{address}")
            yield page
            assert page.faults == []
        finally:
            context.close()


@pytest.fixture
def page(world, chromium, tmp_path) -> Iterator[Page]:
    with opened(chromium, tmp_path / "site", world.config()) as found:
        yield found


def drop(page: Page, *files: Path) -> None:
    page.set_input_files("#files", [str(file) for file in files])


def card(page: Page, world: World, name: str):
    return page.locator(f"[data-token='{world.tokens[name]}'].result")


def digit(tmp_path: Path, number: int = 7) -> Path:
    return write_png(tmp_path / "digit.png", read_idx("t10k-images")[number])


def step(found, name: str):
    return found.locator(f"[data-step={name}]")


class TestFiles:
    def test_a_training_picture_is_included_and_its_models_are_shown(self, page, world, tmp_path):
        drop(page, digit(tmp_path))
        found = card(page, world, "digits")
        expect(found).to_have_attribute("data-verdict", "included")
        expect(page.locator(".summary")).to_contain_text("Included in 1 of the")
        index = world.manifests["digits"].prove(pixels_digest(7)).index
        expect(found).to_contain_text(f"Entry {index + 1:,} of {IMAGES:,}")
        direct = found.locator(f"[data-model='{world.tokens['digit-reader']}']")
        expect(direct).to_contain_text("digit-reader")
        expect(direct).to_contain_text("was trained on this dataset")
        expect(direct).to_contain_text("recorded during training")
        expect(direct).to_contain_text(f"used 1,500 of its {IMAGES:,} entries and 0 others")
        tuned = found.locator(f"[data-model='{world.tokens['digit-reader-tuned']}']")
        expect(tuned).to_contain_text("was fine-tuned from digit-reader")
        expect(tuned).to_contain_text("confirmed by the model's owner")
        expect(tuned).to_contain_text("was trained on this dataset")

    def test_each_check_is_explained(self, page, world, tmp_path):
        drop(page, digit(tmp_path))
        found = card(page, world, "digits")
        found.locator(".checks > summary").click()
        for name in ("record", "metadata", "commitment", "leaf", "position", "path"):
            expect(step(found, name)).to_have_attribute("data-ok", "true")
        step(found, "path").locator("summary").click()
        root = world.manifests["digits"].metadata.root.hex()
        expect(step(found, "path")).to_contain_text(f"leads to the committed root {root}")

    def test_a_new_drawing_is_absent(self, page, world, tmp_path):
        drawing = np.zeros((28, 28), np.uint8)
        drawing[3:20, 14] = 255
        drop(page, write_png(tmp_path / "drawing.png", drawing))
        found = card(page, world, "digits")
        expect(found).to_have_attribute("data-verdict", "absent")
        expect(page.locator(".summary")).to_contain_text("Not found in any of the")
        expect(page.locator(".summary")).to_contain_text("does not prove that it was never used")
        expect(card(page, world, "digits")).to_contain_text("a crop or another encoding")

    def test_the_publishers_label_is_shown_on_request(self, page, world, tmp_path):
        drop(page, digit(tmp_path))
        found = card(page, world, "digits")
        found.get_by_role("button", name="What does the publisher call it?").click()
        expect(found.locator(".label")).to_contain_text("label")
        expect(found.locator(".label dd").last).to_have_text(str(read_idx("t10k-labels")[7]))

    def test_a_lookup_takes_a_few_small_reads(self, page, world, tmp_path):
        page.goto(f"{page.url}#explore")
        expect(page.locator("[data-loading=true]")).to_have_count(0)
        page.goto(page.url.split("#")[0])
        world.gateway.forget()
        drop(page, digit(tmp_path))
        expect(card(page, world, "digits")).to_have_attribute("data-verdict", "included")
        files = {entry.cid: entry for entry in world.manifests["digits"].metadata.files}
        asked = [
            span for path, span in world.gateway.asked if path.rpartition("/")[2] in files and span
        ]
        assert 1 <= len(asked) <= 8
        lengths = [int(end) - int(start) + 1 for start, end in map(ends_of, asked)]
        assert sum(lengths) <= 64 * 1024

    def test_a_dropped_file_is_checked(self, page, world):
        expect(page.locator(".drop")).to_be_visible()
        transfer = page.evaluate_handle(
            """() => {
              const transfer = new DataTransfer();
              transfer.items.add(new File(['leek\\n'], 'leek.txt', {type: 'text/plain'}));
              return transfer;
            }"""
        )
        page.dispatch_event(".drop", "drop", {"dataTransfer": transfer})
        expect(card(page, world, "garden")).to_have_attribute("data-verdict", "included")

    def test_texts_in_other_unicode_forms_are_included(self, page, world, tmp_path):
        (tmp_path / "cafe.txt").write_text("Cafe\u0301\n")
        drop(page, tmp_path / "cafe.txt")
        expect(card(page, world, "poems")).to_have_attribute("data-verdict", "included")

    def test_keyed_datasets_are_unverifiable_without_a_proof_file(self, page, world, tmp_path):
        drop(page, world.folder / "letters" / "a.txt")
        found = card(page, world, "letters")
        expect(found).to_have_attribute("data-verdict", "unverifiable")
        expect(found).to_contain_text("ask the publisher for a proof file")

    def test_a_file_and_a_proof_that_opens_its_leaf_are_included(self, page, world, tmp_path):
        letter, out = world.folder / "letters" / "a.txt", tmp_path / "a.proof.json"
        key = world.folder / "letters.key"
        manifest = world.folder / "letters.alithis"
        commands.run("prove", manifest, letter, "-o", out, "--key-file", key)
        drop(page, letter, out)
        expect(card(page, world, "letters")).to_have_attribute("data-verdict", "included")
        drop(page, world.folder / "letters" / "b.txt", out)
        found = card(page, world, "letters")
        expect(found).to_have_attribute("data-verdict", "unverifiable")
        expect(found).to_contain_text("digest that the proof file opens: expected")
        expect(found.locator(".reason")).to_contain_text("It could not be compared.")
        expect(found.locator(".reason")).not_to_contain_text(re.compile("digest", re.IGNORECASE))

    def test_a_folder_is_checked_file_by_file(self, page, world):
        page.set_input_files("#folder", str(world.folder / "garden"))
        expect(page.locator(".report")).to_have_count(5)
        expect(page.locator(".report > summary [data-verdict=included]")).to_have_count(5)

    def test_a_large_file_does_not_freeze_the_page(self, page, world, tmp_path):
        large = tmp_path / "large.bin"
        with large.open("wb") as file:
            file.truncate(GIGABYTE)  # a hole: it takes no space on the disk
            file.seek(GIGABYTE - 5)
            file.write(b"end\r\n")
        with large.open("rb") as file:
            expected = hashlib.file_digest(file, "sha256").hexdigest()
        expect(page.locator(".drop")).to_be_visible()
        page.evaluate(WATCH)
        drop(page, large)
        expect(page.locator(".digest code")).to_have_text(expected, timeout=120_000)
        # The page's timer ran while the worker hashed: it saw the bar at several values.
        assert len([at for at in page.evaluate("[...window.seen]") if 0 < at < 1]) > 10
        # The page was not blocked: many of the timer's turns came.
        assert page.evaluate("window.turns") > 20

    @pytest.mark.parametrize("form", ["bmp", "gif", "webp", "pgm", "tiff"])
    def test_lossless_pictures_are_included_in_any_file_format(self, page, world, tmp_path, form):
        file = tmp_path / f"digit.{form}"
        options = {"lossless": True} if form == "webp" else {}
        picture = Image.fromarray(read_idx("t10k-images")[7])
        picture.convert("RGB" if form in ("bmp", "webp") else "L").save(file, **options)
        drop(page, file)
        verdict = "unverifiable" if form == "tiff" else "included"  # browsers do not decode TIFF
        expect(card(page, world, "digits")).to_have_attribute("data-verdict", verdict)

    def test_the_link_to_a_picture_leads_to_its_pixels(self, page, world, tmp_path):
        drop(page, digit(tmp_path))
        expect(page.locator(".summary")).to_contain_text("Included in 1")
        page.get_by_role("link", name="Link to this check").click()
        expect(page.locator("h1")).to_have_text("Check of a fingerprint")
        expect(card(page, world, "digits")).to_have_attribute("data-verdict", "included")

    def test_a_jpeg_is_never_absent_from_a_dataset_of_pictures(self, page, world, tmp_path):
        Image.fromarray(read_idx("t10k-images")[7]).save(tmp_path / "digit.jpg", quality=60)
        drop(page, tmp_path / "digit.jpg")
        found = card(page, world, "digits")
        expect(found).to_have_attribute("data-verdict", "unverifiable")
        expect(found.locator(".reason")).to_contain_text("in slightly different ways")

    def test_a_file_of_another_kind_is_not_compared(self, page, world, tmp_path):
        (tmp_path / "note.txt").write_text("a text, not a picture\n")
        drop(page, tmp_path / "note.txt")
        found = card(page, world, "digits")
        expect(found).to_have_attribute("data-verdict", "unverifiable")
        expect(found.locator(".reason")).to_contain_text("Entries are compared as pictures")
        expect(found.locator(".reason")).to_contain_text("The file is not an image")


WATCH = """() => {
  window.seen = new Set();
  window.turns = 0;
  setInterval(() => {
    window.turns += 1;
    const bar = document.querySelector('progress');
    if (bar && !bar.hidden) window.seen.add(bar.value);
  }, 1);
}"""


class TestProofFiles:
    def test_alithis_verify_accepts_a_downloaded_proof(self, page, world, tmp_path):
        drop(page, digit(tmp_path))
        found = card(page, world, "digits")
        expect(found).to_have_attribute("data-verdict", "included")
        with page.expect_download() as download:
            found.get_by_role("button", name="Download the proof").click()
        out = tmp_path / "found.proof.json"
        download.value.save_as(out)
        store = ["--store", tmp_path / "store"]
        chain = ["--rpc", world.node.uri, "--registry", world.registry, *store]
        (result,) = commands.run_json("verify", out, *chain)["results"]
        assert (result["verdict"], result["token"]) == ("included", world.tokens["digits"])
        both = ["--proof", out, "--manifest", world.folder / "digits.alithis"]
        commands.run("verify", tmp_path / "digit.png", *both, *chain)

    def test_alithis_verify_accepts_a_downloaded_proof_of_absence(self, page, world, tmp_path):
        (tmp_path / "onion.txt").write_text("onion\n")
        drop(page, tmp_path / "onion.txt")
        expect(card(page, world, "garden")).to_have_attribute("data-verdict", "absent")
        page.get_by_text("Absent from").last.click()
        with page.expect_download() as download:
            card(page, world, "garden").get_by_role("button", name="Download the proof").click()
        out = tmp_path / "absent.proof.json"
        download.value.save_as(out)
        chain = ["--rpc", world.node.uri, "--registry", world.registry]
        manifest = ["--manifest", world.folder / "garden.alithis"]
        commands.run("verify", out, *chain, *manifest, status=1)
        # Without the metadata, neither form nor scheme of the leaves is known.
        commands.run("verify", out, *chain, "--store", tmp_path / "store", status=2)

    def test_a_dropped_proof_is_checked_against_the_chain(self, page, world, tmp_path):
        out = tmp_path / "pear.proof.json"
        garden = world.folder / "garden"
        commands.run("prove", f"{garden}.alithis", garden / "pear.txt", "-o", out)
        drop(page, out)
        expect(page.locator(".result")).to_have_count(1)
        expect(card(page, world, "garden")).to_have_attribute("data-verdict", "included")
        document = json.loads(out.read_text())
        document["inclusion"]["path"][0] = "00" * 32
        out.write_text(json.dumps(document))
        drop(page, out)
        found = card(page, world, "garden")
        expect(found).to_have_attribute("data-verdict", "unverifiable")
        expect(step(found, "path")).to_have_attribute("data-ok", "false")
        out.write_text(out.read_text()[:-20])
        drop(page, out)
        expect(page.get_by_role("alert")).to_contain_text("damaged proof file")

    def test_a_proof_without_metadata_says_what_was_not_compared(self, world, chromium, tmp_path):
        out, garden = tmp_path / "pear.proof.json", world.folder / "garden"
        commands.run("prove", f"{garden}.alithis", garden / "pear.txt", "-o", out)
        config = world.config(gateways=["http://127.0.0.1:9"])
        with opened(chromium, tmp_path / "site", config) as page:
            drop(page, out)
            found = card(page, world, "garden")
            expect(found).to_have_attribute("data-verdict", "included")
            expect(found).to_contain_text("4 checks passed in this browser, 2 not needed")
            for name in ("metadata", "commitment"):
                expect(step(found, name)).to_contain_text("(not needed)")
                expect(step(found, name)).to_contain_text("which was not compared")

    def test_a_proof_for_another_registry_is_refused(self, page, world, tmp_path):
        out = tmp_path / "pear.proof.json"
        garden = world.folder / "garden"
        commands.run("prove", f"{garden}.alithis", garden / "pear.txt", "-o", out)
        document = json.loads(out.read_text())
        document["about"] |= {"registry": "0x" + "11" * 20, "token": world.tokens["garden"]}
        out.write_text(json.dumps(document))
        drop(page, out)
        found = card(page, world, "garden")
        expect(found.locator(".reason")).to_contain_text("The proof file's registry: expected")


class TestWhatGoesWrong:
    def test_tampered_leaves(self, page, world, tmp_path):
        leaves = world.manifests["digits"].metadata.file("leaves").cid

        def flipped(handler, path):
            if not path.endswith(leaves):
                return False
            file = handler.files.folder / path
            kept = file.read_bytes()
            file.write_bytes(bytes(byte ^ (at % 32 == 31) for at, byte in enumerate(kept)))
            handler.serve(path)
            file.write_bytes(kept)
            return True

        world.gateway.fault = flipped
        drop(page, digit(tmp_path))
        found = card(page, world, "digits")
        expect(found).to_have_attribute("data-verdict", "unverifiable")
        root = world.manifests["digits"].metadata.root.hex()
        wrong = re.compile(f"the path leads to root [0-9a-f]{{64}}, not to the committed {root}")
        expect(step(found, "position")).to_contain_text(wrong)
        expect(found.locator(".reason")).to_contain_text("under “How this was checked”")

    def test_a_gateway_that_swaps_descriptions(self, page, world, tmp_path):
        def swapped(handler, path):
            names = ("digits", "garden")
            own, other = (
                f"ipfs/{Cid.raw(world.manifests[name].metadata.digest)}" for name in names
            )
            if path == own:
                handler.serve(other)
            return path == own

        world.gateway.fault = swapped
        drop(page, digit(tmp_path))
        found = card(page, world, "digits")
        expect(found).to_have_attribute("data-verdict", "unverifiable")
        expect(found).to_contain_text("SHA-256 of metadata.json from the gateway")

    @pytest.mark.parametrize("lie", ["whole", "other range", "short", "status"])
    def test_a_gateway_that_answers_something_else(self, page, world, tmp_path, lie):
        leaves = world.manifests["digits"].metadata.file("leaves").cid

        def lying(handler, path):
            if not path.endswith(leaves):
                return False
            if lie == "whole":
                handler.reply(200, (handler.files.folder / path).read_bytes())
            elif lie == "other range":
                handler.serve(path, Content_Range="bytes 0-31/32")
            elif lie == "short":
                handler.reply(206, b"short")
            else:
                handler.reply(503, b"")
            return True

        world.gateway.fault = lying
        drop(page, digit(tmp_path))
        expect(card(page, world, "digits")).to_have_attribute("data-verdict", "unverifiable")

    def test_if_a_gateway_lies_another_one_is_used(self, world, chromium, tmp_path):
        leaves = world.manifests["digits"].metadata.file("leaves").cid
        with serving_files(world.gateway.folder) as second:
            second.headers = CORS
            world.gateway.fault = lambda handler, path: (
                path.endswith(leaves) and (handler.reply(206, bytes(10)) or True)
            )
            config = world.config(gateways=[world.gateway.url, second.url])
            with opened(chromium, tmp_path / "site", config) as page:
                drop(page, digit(tmp_path))
                found = card(page, world, "digits")
                expect(found).to_have_attribute("data-verdict", "included")

    def test_a_root_that_differs_from_the_description(self, page, world, tmp_path):
        (tmp_path / "rose.txt").write_text("Roses are red\n")
        drop(page, tmp_path / "rose.txt")
        found = card(page, world, "mismatch")
        expect(found).to_have_attribute("data-verdict", "unverifiable")
        expect(step(found, "commitment")).to_contain_text("root in metadata.json: expected")
        expect(found.locator(".reason")).to_contain_text("description does not match the registry")

    def test_a_dead_node(self, world, chromium, tmp_path):
        config = world.config(rpc="http://127.0.0.1:9")
        with opened(chromium, tmp_path / "site", config) as page:
            drop(page, digit(tmp_path))
            expect(page.locator(".summary")).to_contain_text(
                "Could not check: the chain's node 127.0.0.1:9 cannot be reached"
            )
            page.goto(f"{page.url}#explore")
            expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
            expect(page.get_by_role("button", name="Try again")).to_be_visible()

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"registry": "0x" + "22" * 20}, "there is no Alithis registry at 0x2222"),
            ({"chain": 314}, "serves chain 314159, not 314"),
        ],
    )
    def test_a_wrong_registry_or_chain(self, world, chromium, tmp_path, changes, said):
        with opened(chromium, tmp_path / "site", world.config(**changes), "#explore") as page:
            expect(page.get_by_role("alert")).to_contain_text(said)

    def test_a_dead_gateway(self, world, chromium, tmp_path):
        config = world.config(gateways=["http://127.0.0.1:9"])
        with opened(chromium, tmp_path / "site", config) as page:
            drop(page, digit(tmp_path))
            found = card(page, world, "digits")
            expect(found).to_have_attribute("data-verdict", "unverifiable")
            expect(found.locator(".reason")).to_contain_text(
                "The gateway 127.0.0.1:9 cannot be reached. Try again later, or choose other"
            )

    def test_withdrawn_disordered_replaced_and_claimed_tokens_are_marked(self, page, world):
        drop(page, world.folder / "retired" / "old.txt")
        expect(card(page, world, "retired")).to_contain_text("Withdrawn by its owner")
        disordered = card(page, world, "shuffled")
        expect(disordered).to_have_attribute("data-verdict", "unverifiable")
        expect(disordered).to_contain_text("somebody proved that its published list is not sorted")
        expect(disordered).to_contain_text("cannot show that anything is absent")
        drop(page, world.folder / "garden" / "plum.txt")
        found = card(page, world, "garden")
        expect(found).to_contain_text(
            f"Replaced by a newer version, dataset {world.tokens['garden-2']}"
        )
        expect(found).to_contain_text("1 claim against it that nobody has answered")

    def test_without_a_configuration_the_page_asks_for_one(self, world, chromium, tmp_path):
        with opened(chromium, tmp_path / "site", None) as page:
            expect(page.locator("main")).to_contain_text("the file config.json is missing")
            page.get_by_role("link", name="Settings").click()
            page.fill("#set-chain", str(CALIBRATION))
            page.fill("#set-rpc", world.node.uri)
            page.fill("#set-registry", world.registry)
            page.fill("#set-gateways", world.gateway.url)
            page.get_by_role("button", name="Save and reload").click()
            page.get_by_role("link", name="Explore").click()
            expect(page.locator(".tile")).to_have_count(len(world.tokens))
            expect(page.locator("#network")).to_contain_text("your settings")
            page.get_by_role("button", name="Settings").click()
            page.get_by_role("button", name="Use this site's settings").click()
            expect(page.locator("main")).to_contain_text("the file config.json is missing")


class TestPrivacy:
    def test_the_page_can_only_reach_the_node_and_the_gateways(self, page, world):
        expect(page.locator(".drop")).to_be_visible()
        with serving_files(world.folder) as elsewhere:
            elsewhere.headers = CORS
            for url in (elsewhere.url, page.url, f"{page.url}config.json"):
                assert page.evaluate(REACH, url) == "blocked"
                assert page.evaluate(REACH_FROM_WORKER, url) == "blocked"
            page.evaluate("url => { new Image().src = `${url}/image.png` }", elsewhere.url)
            page.evaluate("url => navigator.sendBeacon(`${url}/beacon`, 'x')", elsewhere.url)
            assert page.evaluate(REACH, f"{world.gateway.url}/ipfs/none") == "reached"
            assert elsewhere.asked == []

    def test_files_are_not_sent(self, page, world, tmp_path):
        expect(page.locator(".drop")).to_be_visible()
        sent = []
        page.on("request", lambda request: sent.append((request.url, request.post_data or "")))
        secret = "a sentence that occurs in this file only"
        (tmp_path / "secret.txt").write_text(secret)
        drop(page, tmp_path / "secret.txt")
        expect(page.locator(".summary")).to_contain_text("Not found")
        digest = hashlib.sha256(secret.encode()).hexdigest()
        allowed = (world.node.uri, world.gateway.url, "blob:")
        assert sent
        for url, body in sent:
            assert url.startswith(allowed)
            assert secret not in url + body
            assert digest not in url + body


REACH = "url => fetch(url).then(() => 'reached', () => 'blocked')"
REACH_FROM_WORKER = """url => new Promise(resolve => {
  const text = `fetch(${JSON.stringify(url)}).then(() => postMessage('reached'),
    () => postMessage('blocked'))`;
  const worker = new Worker(URL.createObjectURL(new Blob([text])));
  worker.onmessage = ({data}) => resolve(data);
})"""


class LyingServer:
    """A server whose hints are false."""

    def __init__(self, world, lie):
        self.world, self.lie, self.asked = world, lie, []

    def __call__(self, handler, path):
        if not handler.path.startswith("/api/"):
            return False
        self.asked.append(handler.path)
        if self.lie == "silent":
            time.sleep(3)
        bodies = {
            "silent": b"{}",
            "broken": b'{"tokens": [',
            "nonsense": json.dumps({"tokens": [None, 7, {"metadataDigest": {}}], "next": "x"}),
            "endless": json.dumps({"tokens": [{}] * 500, "next": 1}),
            "huge": b"[" * (5 << 20),
            "swapped": json.dumps({"tokens": self.swapped(), "next": None}),
        }
        body = bodies[self.lie]
        handler.reply(200, body if isinstance(body, bytes) else body.encode())
        return True

    def swapped(self):
        """Each token has the name of another, is not stored, and comes with a verdict."""
        names = list(self.world.manifests)
        return [
            {
                "metadataDigest": self.world.manifests[name].metadata.digest.hex(),
                "stored": False,
                "text": {"name": other, "description": "included everywhere", "license": "MIT"},
                "verdict": "included",
                "root": "00" * 32,
                "size": 1,
            }
            for name, other in zip(names, names[1:] + names[:1], strict=True)
        ]


LIES = ["silent", "broken", "nonsense", "endless", "huge", "swapped"]


class TestHints:
    @pytest.mark.parametrize("lie", LIES)
    def test_a_lying_server_changes_no_verdict(self, world, chromium, tmp_path, lie):
        files = [digit(tmp_path), world.folder / "garden" / "plum.txt"]
        server = LyingServer(world, lie)

        def verdicts(config):
            with opened(chromium, tmp_path / "site", config) as page:
                found = []
                for file in files:
                    drop(page, file)
                    expect(page.locator(".report-name")).to_contain_text(file.name)
                    expect(page.locator(".summary")).to_contain_text("Included in")
                    cards = page.locator(".result").evaluate_all(
                        "found => found.map(each => [each.dataset.token, each.dataset.verdict])"
                    )
                    found.append(sorted(cards))
                return found

        alone = verdicts(world.config())
        world.gateway.fault = server
        assert verdicts(world.config(api=world.gateway.url)) == alone
        assert server.asked
        assert len(server.asked) <= 2 * 20

    @pytest.mark.parametrize("lie", LIES)
    def test_a_lying_server_neither_names_nor_hides_a_token(self, world, chromium, tmp_path, lie):
        world.gateway.fault = LyingServer(world, lie)
        config = world.config(api=world.gateway.url)
        with opened(chromium, tmp_path / "site", config, "#explore") as page:
            expect(page.locator(".tile")).to_have_count(len(world.tokens))
            page.fill("#search", "handwritten digits cc-by-sa")
            expect(page.locator(".tile")).to_have_count(1)
            expect(page.locator(".tile strong")).to_have_text("Handwritten digits")
            page.fill("#search", "included everywhere")
            expect(page.get_by_text("Nothing found")).to_be_visible()

    def test_the_server_does_not_learn_which_file_is_checked(self, world, chromium, tmp_path):
        server = world.gateway.fault = LyingServer(world, "swapped")
        config = world.config(api=world.gateway.url)
        with opened(chromium, tmp_path / "site", config) as page:
            drop(page, digit(tmp_path))
            expect(page.locator(".summary")).to_contain_text("Included in 1")
        assert set(server.asked) == {"/api/tokens?limit=500"}

    def test_tokens_whose_metadata_is_stored_are_checked_first(self, world, chromium, tmp_path):
        """So tokens whose metadata no gateway has do not delay the others."""
        poems = world.manifests["poems"].metadata.digest.hex()
        hints = {"tokens": [{"metadataDigest": poems, "stored": True}], "next": None}
        order = []

        def watched(handler, path):
            if handler.path.startswith("/api/"):
                handler.reply(200, json.dumps(hints).encode())
                return True
            order.append(path)
            return False

        world.gateway.fault = watched
        with opened(chromium, tmp_path / "site", world.config(api=world.gateway.url)) as page:
            drop(page, digit(tmp_path))
            expect(page.locator(".summary")).to_contain_text("Included in 1")
        described = [Cid.raw(each.metadata.digest) for each in world.manifests.values()]
        names = {str(cid) for cid in described}
        asked = [name for path in order if (name := path.rpartition("/")[2]) in names]
        # Four are read in parallel, in any order; by its id it would not be one of them. One that
        # is ahead may read its leaves already, so only requests for metadata are counted.
        assert world.tokens["poems"] > 4
        assert str(Cid.raw(bytes.fromhex(poems))) in asked[:4]

    def test_a_rate_limited_request_is_repeated_later(self, page, world, tmp_path):
        refused = []

        def busy(handler, path):
            if len(refused) < 3 and path.endswith(leaves):
                refused.append(path)
                handler.reply(429, b"", Retry_After="0")
                return True
            return False

        leaves = world.manifests["digits"].metadata.file("leaves").cid
        world.gateway.headers = CORS | {
            "Access_Control_Expose_Headers": "Content-Range, ETag, Retry-After"
        }
        world.gateway.fault = busy
        drop(page, digit(tmp_path))
        expect(card(page, world, "digits")).to_have_attribute("data-verdict", "included")
        world.gateway.headers = CORS
        assert len(refused) == 3


class TestExplore:
    def test_all_tokens_are_listed_searched_and_filtered(self, page, world):
        page.get_by_role("link", name="Explore").click()
        expect(page.locator(".tile")).to_have_count(len(world.tokens))
        page.fill("#search", "handwritten digits cc-by-sa")
        expect(page.locator(".tile")).to_have_count(1)
        page.fill("#search", "")
        page.get_by_text("Models", exact=True).click()
        expect(page.locator(".tile")).to_have_count(2)
        page.fill("#search", "nothing like this")
        expect(page.get_by_text("Nothing found")).to_be_visible()
        page.fill("#search", "tuned")
        page.locator(".tile").click()
        expect(page.locator("h1")).to_have_text("digit-reader-tuned")

    def test_a_token_shows_its_description(self, world, chromium, tmp_path):
        address = f"#token={world.tokens['digits']}"
        with opened(chromium, tmp_path / "site", world.config(), address) as page:
            expect(page.locator("h1")).to_have_text("Handwritten digits")
            for words in ("CC-BY-SA-3.0", f"{IMAGES:,}", "pixel by pixel (grey, 28"):
                expect(page.locator(".facts").first).to_contain_text(words)
            expect(page.locator("[data-grade=transcript]").first).to_be_visible()
            page.get_by_text("Technical details").click()
            root = world.manifests["digits"].metadata.root.hex()
            expect(page.locator("article")).to_contain_text(root)

    def test_a_model_shows_how_it_was_made(self, world, chromium, tmp_path):
        address = f"#token={world.tokens['digit-reader']}"
        with opened(chromium, tmp_path / "site", world.config(), address) as page:
            made = page.locator(".part", has_text="How it was made, according to its publisher")
            for words in ("accuracy0.92", "epochs8", "rate0.5"):
                expect(made).to_contain_text(words)
            link = page.locator(f"[data-link='{world.tokens['digit-reader']}.0']")
            expect(link).to_contain_text("was trained on Handwritten digits")
            expect(link).to_contain_text("recorded during training")

    def test_each_version_lists_all_versions(self, world, chromium, tmp_path):
        old, new = world.tokens["garden"], world.tokens["garden-2"]
        for address in (old, new):
            with opened(chromium, tmp_path / "site", world.config(), f"#token={address}") as page:
                found = page.locator("[data-version]")
                expect(found).to_have_count(2)
                expect(found.first).to_contain_text(f"garden dataset {old}")
                expect(found.last).to_contain_text("the newest")
                expect(page.locator("[data-version] a")).to_have_count(1)

    def test_the_gateway_of_a_description_is_shown(self, world, chromium, tmp_path):
        address = f"#token={world.tokens['digits']}"
        with opened(chromium, tmp_path / "site", world.config(), address) as page:
            page.get_by_text("Technical details").click()
            expect(page.locator("article")).to_contain_text(f"the gateway {world.gateway.address}")

    def test_on_a_phone_the_graph_shows_its_own_token(self, world, chromium, tmp_path):
        address = f"#token={world.tokens['digit-reader-tuned']}"
        options = {"viewport": PHONE}
        with opened(chromium, tmp_path / "site", world.config(), address, **options) as page:
            expect(page.locator(".node")).to_have_count(3)
            page.wait_for_function("document.querySelector('.canvas').scrollLeft > 0")
            canvas = page.locator(".canvas").bounding_box()
            here = page.locator(".node.here").bounding_box()
            assert canvas["x"] <= here["x"]
            assert here["x"] + here["width"] <= canvas["x"] + canvas["width"]

    def test_words_in_the_graph_do_not_overlap(self, world, chromium, tmp_path):
        address = f"#token={world.tokens['letters']}"
        with opened(chromium, tmp_path / "site", world.config(), address) as page:
            words = page.locator(".edge text")
            expect(words).not_to_have_count(0)
            boxes = words.evaluate_all(WITHOUT_HALO)
            assert len(boxes) >= 2
            for one, other in combinations(boxes, 2):
                assert apart(one, other), words.all_text_contents()

    def test_the_graph_shows_grades(self, world, chromium, tmp_path):
        address = f"#token={world.tokens['digit-reader-tuned']}"
        with opened(chromium, tmp_path / "site", world.config(), address) as page:
            expect(page.locator(".edge.transcript")).to_have_count(1)
            expect(page.locator(".edge.transcript text")).to_have_text("trained on")
            expect(page.locator(".graph")).to_contain_text("recorded during training")

    def test_claims_are_shown(self, world, chromium, tmp_path):
        address = f"#token={world.tokens['garden']}"
        with opened(chromium, tmp_path / "site", world.config(), address) as page:
            expect(page.locator("[data-claim]")).to_contain_text("not answered")
            expect(page.locator("[data-claim] .texts a")).to_have_attribute(
                "href", "https://example.org/mine"
            )

    def test_the_graph_is_reachable_by_keyboard(self, world, chromium, tmp_path):
        address = f"#token={world.tokens['digit-reader']}"
        with opened(chromium, tmp_path / "site", world.config(), address) as page:
            expect(page.locator(".node")).to_have_count(3)
            page.locator(".canvas").focus()
            page.keyboard.press("+")
            page.keyboard.press("Tab")
            label = page.evaluate("document.activeElement.textContent")
            assert label == f"Handwritten digits dataset {world.tokens['digits']}"
            page.keyboard.press("Enter")
            expect(page.locator("h1")).to_have_text("Handwritten digits")

    @pytest.mark.parametrize("address", ["#token=99", "#token=0", "#nowhere", "#sha256=12"])
    def test_unknown_addresses_show_an_error(self, world, chromium, tmp_path, address):
        with opened(chromium, tmp_path / "site", world.config(), address) as page:
            expect(page.locator("h1")).to_contain_text("There is no")

    def test_a_digest_in_the_address_is_checked(self, world, chromium, tmp_path):
        address = f"#sha256={file_digest('leek' + chr(10)).hex()}"
        with opened(chromium, tmp_path / "site", world.config(), address) as page:
            expect(card(page, world, "garden")).to_have_attribute("data-verdict", "included")

    def test_a_pasted_digest_is_checked(self, page, world):
        page.fill("#digest", "not a digest")
        page.get_by_role("button", name="Check", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("64 digits")
        page.fill("#digest", "0x" + file_digest("leek\n").hex().upper())
        page.keyboard.press("Enter")
        expect(card(page, world, "garden")).to_have_attribute("data-verdict", "included")


def apart(one: dict, other: dict) -> bool:
    """Return whether two boxes do not overlap."""
    return any(
        first[start] + first[length] <= second[start]
        for start, length in (("x", "width"), ("y", "height"))
        for first, second in ((one, other), (other, one))
    )


def shown(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=f"{PICTURES}/{name}.png", full_page=True)
        if page.locator(".report").count():
            page.locator(".report").screenshot(path=f"{PICTURES}/{name}-report.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_every_view_is_accessible_and_fits(world, chromium, tmp_path, size, scheme):
    viewport = PHONE if size == "phone" else DESKTOP
    options = {"viewport": viewport, "color_scheme": scheme}
    views = {
        "check": ("", "Is it in the training data?"),
        "explore": ("#explore", "Explore"),
        "dataset": (f"#token={world.tokens['digits']}", "Handwritten digits"),
        "model": (f"#token={world.tokens['digit-reader']}", "digit-reader"),
        "claimed": (f"#token={world.tokens['garden']}", "garden"),
        "how": ("#how", "How it works"),
        "nowhere": ("#token=999", "There is no dataset or model 999"),
    }
    with opened(chromium, tmp_path / "site", world.config(), **options) as page:
        start = page.url

        def look(name):
            page.wait_for_load_state("networkidle")
            shown(page, f"{name}-{size}-{scheme}")
            assert browsing.axe(page) == [], name
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], name

        for name, (address, heading) in views.items():
            page.goto(start + address)
            expect(page.locator("h1")).to_have_text(heading)
            expect(page.locator("[data-loading=true]")).to_have_count(0)
            look(name)
        page.goto(start)
        drop(page, digit(tmp_path))
        expect(page.locator(".summary")).to_contain_text("Included in 1")
        expect(page.locator("[data-grade=transcript]").first).to_be_visible()
        page.locator(".checks > summary").first.click()
        look("included")
        page.get_by_role("button", name="Settings").click()
        expect(page.locator("dialog")).to_be_visible()
        look("settings")


def test_the_first_view_is_small():
    """150 KB compressed; the worker, which hashes, is not part of it."""
    import gzip

    files = [file for file in BUILT.iterdir() if not file.name.startswith("worker")]
    assert sum(len(gzip.compress(file.read_bytes())) for file in files) < 150_000


def pixels_digest(number: int) -> bytes:
    return hashlib.sha256(read_idx("t10k-images")[number].tobytes()).digest()


def ends_of(span: str) -> tuple[str, str]:
    start, _, end = span.removeprefix("bytes=").partition("-")
    return start, end


WALLET = """([node, account, chain]) => {
  let here = chain;
  window.sent = [];
  window.declines = false;
  window.ethereum = {
    async request({method, params = []}) {
      if (method === 'eth_requestAccounts') return [account];
      if (method === 'eth_chainId') return '0x' + here.toString(16);
      if (method === 'wallet_switchEthereumChain') {
        here = parseInt(params[0].chainId, 16);
        return null;
      }
      if (method === 'eth_sendTransaction') {
        if (window.declines) throw Object.assign(new Error('User rejected'), {code: 4001});
        window.sent.push(params[0]);
      }
      const body = JSON.stringify({jsonrpc: '2.0', id: 1, method, params});
      const headers = {'Content-Type': 'application/json'};
      const answer = await fetch(node, {method: 'POST', headers, body}).then(each => each.json());
      if (answer.error) throw Object.assign(new Error(answer.error.message), answer.error);
      return answer.result;
    }
  };
}"""
"""An EIP-1193 provider with the accounts that anvil has unlocked."""


@pytest.fixture
def on_chain(world) -> Iterator[Registry]:
    """The registry, read by Python. The chain is restored after the test."""
    snapshot = world.node.snapshot()
    yield Registry(HttpTransport(world.node.uri), world.registry)
    world.node.restore(snapshot)


@pytest.fixture
def with_wallet(world, chromium, tmp_path):
    """A function that opens the page in a browser with a wallet."""

    @contextmanager
    def open_page(address: str = "", *, account: int = 0, chain: int = CALIBRATION):
        who = world.node.accounts[account]
        with page_served(tmp_path / "site", world.config()) as server:
            context = chromium.new_context(viewport=DESKTOP)
            context.set_default_timeout(15_000)
            given = json.dumps([world.node.uri, who, chain])
            context.add_init_script(f"({WALLET})({given})")
            page = context.new_page()
            try:
                page.goto(f"{server.url}/{address}")
                yield page
            finally:
                context.close()

    return open_page


class TestWallet:
    def test_an_entry_is_put_on_record(self, with_wallet, world, on_chain, tmp_path):
        token = world.tokens["digits"]
        with with_wallet() as page:
            drop(page, digit(tmp_path))
            card(page, world, "digits").get_by_role("button", name="Put it on record").click()
            dialog = page.locator("dialog[open]")
            expect(dialog).to_contain_text("your wallet's address become public permanently")
            assert page.evaluate("window.sent") == []
            dialog.get_by_role("button", name="Continue in the wallet").click()
            expect(dialog).to_contain_text("Done: it is recorded in block")
        assert on_chain.record(token).attestations == 1

    def test_a_claim_is_filed_and_answered(self, with_wallet, world, on_chain, tmp_path):
        token = world.tokens["digits"]
        with with_wallet(account=1) as page:
            drop(page, digit(tmp_path))
            card(page, world, "digits").get_by_role("button", name="File a claim").click()
            dialog = page.locator("dialog[open]")
            expect(dialog).to_contain_text("not that you have a right in it")
            dialog.get_by_label("Text of your claim").fill("https://example.org/café")
            dialog.get_by_role("button", name="Continue in the wallet").click()
            expect(dialog).to_contain_text("Done")
        (claim,) = on_chain.claims(token)
        assert claim.leaf == pixels_digest(7)
        (event,) = on_chain.events("Claimed", id=token)
        assert event.args["uri"] == "https://example.org/café"
        with with_wallet(f"#token={token}", account=1) as page:
            page.get_by_role("button", name="Accept").click()
            dialog = page.locator("dialog[open]")
            dialog.get_by_role("button", name="Continue in the wallet").click()
            expect(dialog).to_contain_text("Switch to the owner's account")
            assert page.evaluate("window.sent") == []
        with with_wallet(f"#token={token}") as page:
            page.get_by_role("button", name="Accept").click()
            dialog = page.locator("dialog[open]")
            dialog.get_by_label("Text of your answer").fill("not a link")
            dialog.get_by_role("button", name="Continue in the wallet").click()
            expect(dialog).to_contain_text("Done")
            dialog.get_by_role("button", name="Close").click()
            expect(page.locator("[data-claim]")).to_contain_text("accepted")
            texts = page.locator("[data-claim] .texts")
            expect(texts).to_contain_text("Claim: https://example.org/café")
            expect(texts).to_contain_text("Answer: not a link")
        assert on_chain.claims(token)[0].status == "accepted"

    def test_a_link_is_confirmed_and_the_confirmation_withdrawn(self, with_wallet, world, on_chain):
        model = world.tokens["digit-reader"]
        with with_wallet(f"#token={model}") as page:
            link = page.locator(f"[data-link='{model}.0']")
            for name, confirmed in (("Confirm", True), ("Withdraw the confirmation", False)):
                link.get_by_role("button", name=name).click()
                dialog = page.locator("dialog[open]")
                dialog.get_by_role("button", name="Continue in the wallet").click()
                expect(dialog).to_contain_text("Done")
                dialog.get_by_role("button", name="Close").click()
                expect(dialog).to_have_count(0)
                grade = expect(link.locator(".grade"))
                words = "confirmed by the dataset's owner"
                (grade.to_contain_text if confirmed else grade.not_to_contain_text)(words)
                assert on_chain.links(model)[0].countersigned == confirmed

    def test_with_a_wrong_network_switching_is_offered(self, with_wallet, world, on_chain):
        model = world.tokens["digit-reader"]
        with with_wallet(f"#token={model}", chain=1) as page:
            page.get_by_role("button", name="Confirm", exact=True).click()
            dialog = page.locator("dialog[open]")
            dialog.get_by_role("button", name="Continue in the wallet").click()
            expect(dialog).to_contain_text(
                "Your wallet is on chain 1; the registry is on Test chain"
            )
            assert page.evaluate("window.sent") == []
            dialog.get_by_role("button", name="Switch to Test chain").click()
            expect(dialog).to_contain_text("Done")

    def test_declined_or_refused_transactions_are_not_sent(self, with_wallet, world, on_chain):
        model = world.tokens["digit-reader"]
        with with_wallet(f"#token={model}") as page:
            page.get_by_role("button", name="Confirm", exact=True).click()
            dialog = page.locator("dialog[open]")
            page.evaluate("window.declines = true")
            dialog.get_by_role("button", name="Continue in the wallet").click()
            expect(dialog).to_contain_text("you declined it in the wallet; nothing was sent")
            page.evaluate("window.declines = false")
            # Meanwhile the owner confirms it elsewhere.
            world.contract.countersign(model, 0, sender=world.node.accounts[0])
            dialog.get_by_role("button", name="Continue in the wallet").click()
            expect(dialog).to_contain_text("would refuse it: the link is already confirmed")
            assert page.evaluate("window.sent") == []

    def test_the_dialog_is_accessible(self, with_wallet, world, tmp_path):
        with with_wallet() as page:
            drop(page, digit(tmp_path))
            card(page, world, "digits").get_by_role("button", name="File a claim").click()
            shown(page, "claim-desktop-light")
            assert browsing.axe(page) == []


def test_the_page_as_alithis_serve_serves_it(world, chromium, tmp_path):
    store = Store(tmp_path / "store")
    for metadata in world.folder.rglob("metadata.json"):
        with suppress(AlithisError):  # some of the world's manifests are broken on purpose
            store.put_manifest(metadata.parent)
    chain = ("--rpc", world.node.uri, "--registry", world.registry)
    with serving(*chain, "--store", store.root) as url:
        context = chromium.new_context(viewport=DESKTOP)
        page = context.new_page()
        page.goto(url)
        drop(page, digit(tmp_path))
        expect(card(page, world, "digits")).to_have_attribute("data-verdict", "included")
        context.close()
