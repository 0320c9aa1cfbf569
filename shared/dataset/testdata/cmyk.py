"""Makes cmyk.jpg: a 16x16 CMYK JPEG of four flat 8x8 squares, and prints what Pillow makes of it and of its YCCK twin
(the same bytes with the Adobe colour transform set to 2) at the middle of each square. Pillow 13.0.0.

Run: python cmyk.py
"""

import io
from pathlib import Path

from PIL import Image

SQUARES = [(0, 255, 255, 0), (255, 0, 255, 0), (30, 10, 0, 120), (0, 0, 0, 0)]
MIDDLES = [(4, 4), (12, 4), (4, 12), (12, 12)]

picture = Image.new("CMYK", (16, 16))
for (x, y), ink in zip([(0, 0), (8, 0), (0, 8), (8, 8)], SQUARES):
    picture.paste(ink, (x, y, x + 8, y + 8))
data = io.BytesIO()
picture.save(data, "JPEG", quality=95, optimize=True)
data = data.getvalue()
Path(__file__).with_name("cmyk.jpg").write_bytes(data)

adobe = data.index(b"Adobe")
twin = bytearray(data)
twin[adobe + 11] = 2
for name, bytes_ in [("cmyk", data), ("ycck", bytes(twin))]:
    decoded = Image.open(io.BytesIO(bytes_)).convert("RGB")
    print(name, len(bytes_), [decoded.getpixel(p) for p in MIDDLES])
