"""Makes the JPEG files that this crate's own encoder cannot: colour at half the size in both directions with restart markers and
codes of its own (420.jpg, 53x37), in one direction (422.jpg, 64x32), and progressive (progressive.jpg, 40x24). Pillow 13.0.0.

Run: python sampling.py
"""

from math import sin
from pathlib import Path

from PIL import Image


def picture(width, height):
    image = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            red, green, blue = sin(x / 9 + y / 31), sin(y / 7), sin((x + y) / 13)
            image.putpixel((x, y), tuple(round(127 + 100 * value) for value in (red, green, blue)))
    return image


folder = Path(__file__).parent
picture(53, 37).save(folder / "420.jpg", quality=90, subsampling="4:2:0", optimize=True, restart_marker_blocks=3)
picture(64, 32).save(folder / "422.jpg", quality=90, subsampling="4:2:2")
picture(40, 24).save(folder / "progressive.jpg", quality=90, progressive=True)
