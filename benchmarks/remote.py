"""Measure windows of 512 px a second from a slide on a server that waits 30 ms before each answer.

    python benchmarks/remote.py [--slide SLIDE.tiff] [--windows 200] [--delay 30] [--rounds 3] [--faults 0.05]
        [--slides 64]

Without a slide, one is made whose rows of tiles are as far apart in the file as those of a slide at 40x: 81,920 px
wide, JPEG tiles of 256 px with 30 KB each, 200 MB.

A server of its own process answers ranges over loopback. In each round, one after the other: patchaug reads the local
file and the URL through torch's loader with two workers and no cache of decoded tiles; tifffile reads the same windows
over fsspec (its zarr store, as its documentation has it), with fsspec's own cache and with none. The local file is
dropped from the system's cache before. All windows differ, so each is read cold. With `--faults`, that part of the
requests fails, is cut or stalls, and every window is compared with the local one. Before that, `--slides` URLs are
opened one after the other, and as the slides of a training.

Times run from the second batch to the last, so that neither imports nor the start of workers count.
"""

from __future__ import annotations

import argparse
import asyncio
import mmap
import multiprocessing
import os
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from tables import give, load

SIZE, BATCH, WORKERS = 512, 8, 2


def serve(path: str, delay: float, faults: float, ports: Any) -> None:
    """Answer requests for one file, each after a delay; some of them badly."""
    asyncio.run(_serve(path, delay, faults, ports))


async def _serve(path: str, delay: float, faults: float, ports: Any) -> None:
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    choice = random.Random(0)
    counts = {"requests": 0, "bytes": 0}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                counts["requests"] += 1
                await asyncio.sleep(delay)
                if b"/counts" in head.split(b"\r\n")[0]:
                    text = repr(counts).encode()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
                    continue
                fault = choice.choice(["error", "cut", "stall"]) if choice.random() < faults else ""
                if fault == "stall":
                    await asyncio.sleep(60)
                if fault == "error":
                    writer.write(b"HTTP/1.1 503 busy\r\nContent-Length: 0\r\n\r\n")
                    continue
                asked = re.search(rb"[Rr]ange: bytes=(\d+)-(\d*)", head)
                start = int(asked[1]) if asked else 0
                stop = min(int(asked[2]) + 1, len(data)) if asked and asked[2] else len(data)
                body = b"" if head.startswith(b"HEAD") else data[start:stop]
                lines = [
                    "HTTP/1.1 206 Partial Content" if asked else "HTTP/1.1 200 OK", f"Content-Length: {stop - start}",
                    'ETag: "1"', "Accept-Ranges: bytes", "Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT",
                    *([f"Content-Range: bytes {start}-{stop - 1}/{len(data)}"] if asked else []), "", "",
                ]  # fmt: skip
                counts["bytes"] += len(body)
                writer.write("\r\n".join(lines).encode() + body[: len(body) // 2 if fault == "cut" else None])
                await writer.drain()
                if fault == "cut":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    ports.put(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def through_loader(place: str, windows: int, seed: int) -> tuple[float, list[str]]:
    """Return windows a second of patchaug with two workers, and digests of the windows in their order."""
    from torch.utils.data import DataLoader

    from patchaug import PatchDataset, Uniform, open_slide
    from patchaug.data.epoch_sampler import EpochSampler

    dataset = PatchDataset([open_slide(place, name="slide", ram=0)], Uniform(SIZE, per_slide=windows), seed=seed)
    loader = DataLoader(
        dataset, BATCH, sampler=EpochSampler(dataset), num_workers=WORKERS, collate_fn=_digests, prefetch_factor=2
    )
    digests: list[str] = []
    began, first = 0.0, 0
    for batch in loader:
        digests += batch
        if not began:
            began, first = time.perf_counter(), len(digests)
    return (len(digests) - first) / (time.perf_counter() - began), digests


def _digests(patches: list[Any]) -> list[str]:
    return [blake2b(patch.image.tobytes(), digest_size=8).hexdigest() for patch in patches]


def openings(place: str, slides: int) -> tuple[float, float]:
    """Return seconds for opening slides one after the other, and as the slides of a training."""
    from patchaug import Uniform, open_slide
    from patchaug.data.slide_items import SlideImage, slides_of

    places = [place.replace("slide.tiff", f"slide{number}.tiff") for number in range(2 * slides + 1)]
    open_slide(places.pop(), ram=0)  # starts the program for requests
    began = time.perf_counter()
    for one in places[:slides]:
        open_slide(one, ram=0)
    alone = time.perf_counter() - began
    slides_of([(SlideImage(one, ram=0),) for one in places[slides:]], Uniform(SIZE))
    return alone, time.perf_counter() - began - alone


def through_fsspec(url: str, windows: int, seed: int, cache: str) -> float:
    """Return windows a second of tifffile over fsspec."""
    import fsspec
    import tifffile
    import zarr

    options = {} if cache == "default" else {"cache_type": cache}
    with fsspec.open(url, **options) as file, tifffile.TiffFile(file) as tiff:
        store = tiff.aszarr(level=0) if len(tiff.series[0].levels) > 1 else tiff.aszarr()
        pixels = zarr.open(store, mode="r")
        numbers = np.random.default_rng(seed)
        began = time.perf_counter()
        for _ in range(windows):
            y, x = (int(numbers.integers(length - SIZE)) for length in pixels.shape[:2])
            pixels[y : y + SIZE, x : x + SIZE]
    return windows / (time.perf_counter() - began)


def made(path: Path) -> Path:
    """Write a slide of noise: 64 tiles, in random order."""
    import imagecodecs
    import tifffile

    numbers, (down, across) = np.random.default_rng(0), (24, 320)
    noise = numbers.normal(128, 22, (64, 256, 256, 3)).clip(0, 255).astype(np.uint8)
    tiles = [imagecodecs.jpeg8_encode(tile, level=80, subsampling="422") for tile in noise]
    chosen = (tiles[number] for number in numbers.integers(64, size=down * across))
    tifffile.imwrite(
        path, chosen, shape=(down * 256, across * 256, 3), dtype=np.uint8, tile=(256, 256), compression="jpeg",
        photometric="ycbcr", subsampling=(2, 1),
    )  # fmt: skip
    return path


def cold(path: str) -> None:
    """Drop a file from the system's cache."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a started process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_put, args=(queue, function, arguments))
    process.start()
    found = queue.get(timeout=600)
    process.join()
    return found


def _put(queue: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    queue.put(function(*arguments))


def main() -> None:
    """Run the rounds, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slide", type=Path)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--fewer", type=int, default=20, help="windows of the slow ways")
    parser.add_argument("--delay", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--slides", type=int, default=64, help="slides that are opened")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slide = options.slide or made(Path(folder, "slide.tiff"))
        measure(str(slide), options)


def measure(slide: str, options: argparse.Namespace) -> None:
    """Run the rounds with one slide."""
    context = multiprocessing.get_context("spawn")
    ports = context.Queue()
    server = context.Process(target=serve, args=(slide, options.delay / 1000, options.faults, ports), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ports.get(timeout=60)}/slide.tiff"
    rates: dict[str, list[float]] = {}
    before = load()
    alone, together = in_process(openings, url, options.slides) if not options.faults else (0.0, 0.0)
    for number in range(options.rounds):
        cold(slide)
        local, expected = in_process(through_loader, slide, options.windows, number)
        remote, found = in_process(through_loader, url, options.windows, number)
        assert found == expected, "pixels differ"
        rates.setdefault("patchaug, local file, 2 workers", []).append(local)
        rates.setdefault("patchaug, URL, 2 workers", []).append(remote)
        for cache in ("default", "none") if not options.faults else ():
            name = f"tifffile over fsspec, cache {cache}"
            rates.setdefault(name, []).append(in_process(through_fsspec, url, options.fewer, number, cache))
    server.terminate()
    base = statistics.median(rates["patchaug, URL, 2 workers"])
    lines = [
        f"{options.windows} windows of {SIZE} px, {options.delay:g} ms before an answer, {options.faults:.0%} faults; "
        f"{before} before, {load()} after",
        "",
        "| | windows a second, median (lowest) | the URL is so many times as fast |",
        "|---|---|---|",
        *(
            f"| {name} | {statistics.median(values):.1f} ({min(values):.1f}) | {base / statistics.median(values):.2f} |"
            for name, values in rates.items()
        ),
    ]
    if together:
        times = f"{alone:.1f} s one after the other, {together:.1f} s as those of a training"
        lines += ["", f"Opening {options.slides} slides: {times}: {alone / together:.1f} times as fast"]
    give(lines, options.out)


if __name__ == "__main__":
    main()
