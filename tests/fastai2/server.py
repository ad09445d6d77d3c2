"""The example's application on a loopback port, over made slides: `python server.py SIDE` prints the port."""

import socket
import sys

import numpy as np
import uvicorn

from examples.web_session import application
from patchaug import open_slide


def made_mask(side: int) -> np.ndarray:
    """Some squares of class 1."""
    mask = np.zeros((side, side), np.uint8)
    for at in range(0, side - 64, 512):
        mask[at : at + 64, at : at + 64] = 1
    return mask


def made(side: int, grey: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask: the squares are bright on grey."""
    image, mask = np.full((side, side, 3), grey, np.uint8), made_mask(side)
    image[mask == 1] = 200
    return image, mask


if __name__ == "__main__":
    codes = ["background", "square"]
    slides = {
        name: open_slide(*made(side, grey), name=name, codes=codes)
        for name, side, grey in (("a", int(sys.argv[1]), 40), ("b", 256, 60))
    }
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(application(slides, codes), log_level="error")).run([listener])
