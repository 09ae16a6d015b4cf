"""Colours of the map's classes for eyes of every kind, by simulation; and their contrast to the ground."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import swaypoint

STYLE = Path(swaypoint.__file__).parent / "review" / "page" / "static" / "style.css"
# Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB.
EYES = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# Linear sRGB to XYZ, white D65.
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(colour: np.ndarray) -> np.ndarray:
    t = XYZ @ np.clip(colour, 0, 1) / XYZ.sum(1)
    f = np.where(t > 216 / 24389, np.cbrt(t), (841 / 108) * t + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def scheme(dark: bool) -> tuple[list[str], str]:
    """The ten colours, and what they stand on."""
    style = STYLE.read_text()
    start = style.index("prefers-color-scheme: dark") if dark else 0
    part = style[start : start + 2000]
    (card,) = re.findall(r"--card: (#\w+)", part)[:1]
    return re.findall(r"--c\d: (#\w{6})", part)[:10], card if len(card) == 7 else "#" + 2 * card[1:]


@pytest.mark.parametrize("dark", [False, True])
def test_classes_are_told_apart_and_stand_out(dark):
    colours, card = scheme(dark)
    assert len(set(colours)) == 10
    for name, eye in EYES.items():
        seen = [lab(np.array(eye) @ linear(colour)) for colour in colours]
        least = min(np.linalg.norm(a - b) for a, b in combinations(seen, 2))
        assert least > 20, (name, least)  # CIE76; 2 is just noticeable
    for colour in colours:  # WCAG 1.4.11
        low, high = sorted(float(XYZ[1] @ linear(one)) for one in (colour, card))
        assert (high + 0.05) / (low + 0.05) > 3, colour
