"""The still picture of the page "Draw a lesion", for README: a screenshot of docs/draw.html.

python docs/figures/draw.py      writes docs/figures/draw.png; needs Chromium
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parents[1]
PAGE = "draw.html#radius=6"
SIZE = (1240, 760)  # of the window; what lies below it is not in the picture
NAMES = ("chromium", "chromium-browser", "google-chrome")


def screenshot() -> Image.Image:
    """The page as Chromium shows it, in light colours."""
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        sys.exit(f"The screenshot needs one of {', '.join(NAMES)} on the path; none was found.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.png"
        options = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            f"--user-data-dir={folder}/profile",
            f"--window-size={SIZE[0]},{SIZE[1]}",
            "--virtual-time-budget=5000",  # until the border is drawn
            f"--screenshot={path}",
        ]
        command = [chromium, *options, f"{DOCS.as_uri()}/{PAGE}"]
        subprocess.run(command, check=True, timeout=60, stderr=subprocess.DEVNULL)
        return Image.open(io.BytesIO(path.read_bytes())).convert("RGB")


def main() -> None:
    """Write the picture, in few colours, as it is for a page that loads it each time."""
    picture = screenshot().quantize(96, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture.save(DOCS / "figures" / "draw.png", optimize=True)


if __name__ == "__main__":
    main()
