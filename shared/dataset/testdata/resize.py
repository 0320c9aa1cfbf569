"""Makes resize.txt: what Pillow 13.0.0 makes of a 13x11 test picture at other sizes with its BILINEAR filter, which is a
tent stretched by the reduction. Each line: width, height, then the bytes [height, width, 3].

Run: python resize.py
"""

from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 13, 11
SIZES = [(13, 11), (5, 4), (4, 9), (16, 6), (20, 17)]

picture = Image.new("RGB", (WIDTH, HEIGHT))
for y in range(HEIGHT):
    for x in range(WIDTH):
        picture.putpixel((x, y), tuple((37 * x + 91 * y + 53 * c + 7 * x * y) % 256 for c in range(3)))
lines = []
for size in SIZES:
    resized = picture.resize(size, Image.Resampling.BILINEAR)
    lines.append(" ".join(map(str, [*size, *resized.tobytes()])) + "\n")
Path(__file__).with_name("resize.txt").write_text("".join(lines))
