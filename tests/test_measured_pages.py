"""The tables of measurements on the pages, from small files."""

import pandas as pd
import pytest
import update_readme


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Two GPUs, one with compiled calls; and times along the size of the images."""
    for card, compiled in (("gpu a", 3.0), ("gpu-b", None)):
        folder = tmp_path / "results" / "gpu" / card
        folder.mkdir(parents=True)
        pd.DataFrame(
            {"size": "8 x 2 x 512^2", "labels": ["spots", "organ"], "method": "DBCE",
             "ms": [4.0, 5.0], "ms_in_graph": [0.4, 0.3], "ms_compiled": [compiled, None],
             "kernels": [120, 123]}
        ).to_csv(folder / "speed.csv", index=False)  # fmt: skip
        about = f"{card.upper()} (9, 0), PyTorch 2.11.0+cu130, CUDA 13.0\n68 s\nAll is right.\n"
        (folder / "summary.txt").write_text(about, encoding="utf-8")
    monkeypatch.setattr(update_readme, "ROOT", tmp_path)
    return tmp_path


def test_the_worst_labels_on_every_gpu(measured):
    table = update_readme.gpu_table()
    first, second = table.split("GPU-B")
    assert first.startswith("GPU A, PyTorch 2.11.0+cu130, the worst of five kinds of labels")
    assert "| DBCE, as a loop calls it | 5.00 |" in first
    assert "| DBCE, work of the GPU alone | 0.40 |" in first
    assert "| DBCE, by torch.compile | 3.00 |" in first
    assert "| DBCE, kernels | 123 |" in first
    assert "| DBCE, by torch.compile |  |" in second


def test_the_sentence_on_cost_is_of_the_sizes_it_names(measured):
    rows = [
        {"what": "loss", "busy": busy, "labels": labels, "batch": 8, "classes": classes,
         "side": side, "ndim": ndim, "radius": radius, "method": method, "ratio": ratio,
         "ms": 10 * ratio}
        for ndim, side, classes, radius in [*update_readme.SIZES, (2, 64, 2, 10), (3, 32, 4, 5)]
        for labels, busy, more in (("blobs", 0, 0.0), ("noise", 0, 0.5), ("noise", 1, 9.0))
        for method, ratio in (
            ("DBCE", 1 + more + 6 * (side < 128)),
            ("Adaptive DBCE", 1.2 + more + 6 * (side < 128)),
            ("MONAI DiceCE", 2.5),
        )
        if side >= 128 or labels == "blobs"
    ]  # fmt: skip
    folder = measured / "results" / "benchmark"
    folder.mkdir()
    pd.DataFrame(rows).to_csv(folder / "cpu.csv", index=False)
    line = update_readme.cost_line()
    assert "2 classes: 1.50, 1.70 (2.50); 8 classes: 1.50, 1.70 (2.50)" in line
    assert "8 x 64² of 2 classes, they cost 7.0, 7.2 times as much (2.5), or 70.0, 72.0 ms" in line
    sizes = update_readme.sizes_table().splitlines()
    assert sizes[2].startswith("| 8 x 64², 2 classes, R = 10 | 7.00, 70.0 ms | 7.20, 72.0 ms")
    assert [line.split(",")[0] for line in sizes[2:]] == [
        *("| 8 x 64²", "| 8 x 512²", "| 8 x 32³", "| 8 x 128³")
    ]
