"""Tables of scores, as people and their tools write them."""

import numpy as np
import pandas as pd
import pytest
from written_tables import read_text, scores, write

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.results.tables import read_table


def test_a_long_table(tmp_path):
    table = scores(seeds=2)
    read = read_table(write(tmp_path / "a.csv", table))
    assert read.cases["dice"].tolist() == pytest.approx(table["dice"].tolist())
    assert read.cases["loss"].tolist() == table["method"].tolist()
    assert read.notes == ()


def test_columns_are_known_by_other_names_and_by_options(tmp_path):
    table = scores()
    other = table.set_axis(
        ["Algorithm", "repeat", "Subject_ID", "organ", "DSC", "Hausdorff Distance 95"], axis=1
    )
    for separator in ",;\t":
        path = write(tmp_path / "a.csv", other, sep=separator)
        read = read_table(path).cases
        assert read[["loss", "case", "class"]].to_numpy().tolist() == (
            table[["method", "case", "class"]].to_numpy().tolist()
        )
        assert read["hd95"].tolist() == pytest.approx(table["hd95"].tolist())
    strange = table.set_axis(["a", "b", "c", "d", "e", "f"], axis=1)
    told = dict(zip(("method", "seed", "case", "class", "dice", "hd95"), "abcdef", strict=True))
    read = read_table(write(tmp_path / "a.csv", strange), columns=told)
    assert read.cases["dice"].tolist() == pytest.approx(table["dice"].tolist())


def test_numbers_with_decimal_commas(tmp_path):
    table = scores()
    path = write(tmp_path / "a.csv", table, sep=";", decimal=",")
    assert read_table(path).cases["dice"].tolist() == pytest.approx(table["dice"].tolist())


@pytest.mark.parametrize("names", ["{c}_{s}", "{c}-{s}", "{c} {s}", "{s}_{c}"])
def test_a_column_for_each_class_and_score(tmp_path, names):
    one = scores(methods=("unet",))
    wide = one.pivot(index="case", columns="class", values=["dice", "hd95"])
    wide.columns = [names.format(c=name, s=score) for score, name in wide.columns]
    read = read_table(write(tmp_path / "unet.csv", wide.reset_index()))
    found = read.cases.sort_values(["case", "class"])
    expected = one.sort_values(["case", "class"])
    assert found["class"].tolist() == expected["class"].tolist()
    assert found["dice"].tolist() == pytest.approx(expected["dice"].tolist())
    assert found["hd95"].tolist() == pytest.approx(expected["hd95"].tolist())
    assert set(found["loss"]) == {"unet"}
    assert "no column names the method" in read.notes[0]


def test_a_table_of_mist(tmp_path):
    text = (
        "id,WT_dice,TC_dice,WT_haus95,TC_haus95,WT_lesion_wise_dice\n"
        "b1,0.9,0.8,2.0,3.0,0.5\nb2,0.7,0.6,4.0,5.0,0.4\n"
        "Mean,0.8,0.7,3.0,4.0,0.45\nStd,0.1,0.1,1,1,0.05\n25th Percentile,0.75,0.65,2,3,0.4\n"
        "Median,0.8,0.7,3.0,4.0,0.45\n75th Percentile,0.85,0.75,3,4,0.5\n"
    )
    (tmp_path / "results.csv").write_text(text)
    read = read_table(tmp_path / "results.csv", method="mist")
    by_class = read.cases.set_index(["case", "class"])
    assert sorted(by_class.index) == [("b1", "TC"), ("b1", "WT"), ("b2", "TC"), ("b2", "WT")]
    assert by_class.loc[("b2", "TC"), "dice"] == 0.6  # and not the lesion-wise one
    assert by_class.loc[("b2", "TC"), "hd95"] == 5.0
    notes = " ".join(read.notes)
    assert "no case are left out: Mean, Std" in notes
    assert "not read: WT_lesion_wise_dice" in notes


def test_a_table_of_panoptica(tmp_path):
    text = (
        "subject_name\tliver-num_ref_instances\tliver-tp\tliver-rq\tliver-sq_dsc\tliver-pq_dsc"
        "\tliver-global_bin_dsc\nt1\t1\t1\t1.0\t0.85\t0.85\t0.9\nt2\t2\t1\t0.66\t1.0\t0.66\t0.8\n"
    )
    (tmp_path / "a.tsv").write_text(text)
    read = read_table(tmp_path / "a.tsv")
    assert read.cases["dice"].tolist() == [0.9, 0.8]
    assert read.cases["lesion_f1"].tolist() == [1.0, 0.66]
    assert set(read.cases["class"]) == {"liver"}


def test_a_table_of_segauge(tmp_path):
    text = (
        "case_id,dice,iou,hd,hd95,assd,masd,nsd,det_f1,det_precision,det_recall,meta.site\n"
        "a,0.9,0.82,9,3,1,1,0.95,1.0,1.0,1.0,x\nb,0.8,0.67,9,4,2,2,0.9,0.5,0.5,0.5,y\n"
    )
    (tmp_path / "a.csv").write_text(text)
    read = read_table(tmp_path / "a.csv")
    assert read.cases["nsd"].tolist() == [0.95, 0.9]
    assert read.cases["lesion_recall"].tolist() == [1.0, 0.5]
    assert "not read: hd, masd, meta.site" in read.notes[-1]


def test_a_table_of_ours(tmp_path):
    table = scores().rename(columns={"method": "loss"}).assign(radius=2.0, volumes="", fold=0)
    read = read_table(write(tmp_path / "cases.csv", table))
    assert read.cases["loss"].tolist() == table["loss"].tolist()


def test_a_column_for_each_method(tmp_path):
    wide = pd.DataFrame({"case": ["a", "b"], "U-Net": [0.5, 0.6], "my net": [0.7, 0.8]})
    path = write(tmp_path / "a.csv", wide)
    with pytest.raises(DataError, match=r"if each method has a column.*--metric dice"):
        read_table(path)
    with pytest.raises(DataError, match="each of U-Net, my net holds dice: are these methods or"):
        read_table(path, metrics=["dice"])
    read = read_table(path, metrics=["dice"], columns_of="methods")
    assert read.cases[["case", "loss", "dice"]].to_numpy().tolist() == [
        ["a", "U-Net", 0.5],
        ["b", "U-Net", 0.6],
        ["a", "my net", 0.7],
        ["b", "my net", 0.8],
    ]


def test_dice_from_iou_is_exact(tmp_path):
    wide = pd.DataFrame({"case": ["a"], "jaccard": [0.5]})
    read = read_table(write(tmp_path / "a.csv", wide))
    assert read.cases["dice"].tolist() == [2 / 3]
    assert "computed from the IoU" in " ".join(read.notes)


def test_names_keep_their_commas_quotes_and_letters(tmp_path):
    names = ("Dice, CE", 'the "best"', "Verlust ü 損失", "NA")
    read = read_table(write(tmp_path / "a.csv", scores(names, cases=2)))
    assert list(dict.fromkeys(read.cases["loss"])) == list(names)


WORDS = ("mean", "std", "SD", "avg", "min", "Max", "median", "CI", "train", "val")


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("name", ["{}_dice", "dice_{}", "{} Dice", "Dice ({})", "liver_dice_{}"])
def test_a_statistic_is_never_a_class(tmp_path, word, name):
    column = name.format(word)
    read = read_text(tmp_path, f"case,liver_dice,tumor_dice,{column}\na,.5,.7,.1\n")
    assert read.cases[["class", "dice"]].to_numpy().tolist() == [["liver", 0.5], ["tumor", 0.7]]
    notes = " ".join(read.notes)
    assert f"{column}: no class but a statistic" in notes
    assert "classes by the names of columns: liver (liver_dice), tumor (tumor_dice)" in notes
    read = read_text(tmp_path, f"case,dice,{column}\na,.5,.1\n")
    assert read.cases["dice"].tolist() == [0.5]
    assert "class" not in read.cases


@pytest.mark.parametrize("word", ["mean", "avg", "average", "overall"])
def test_a_mean_is_the_score_where_there_is_no_other(tmp_path, word):
    read = read_text(tmp_path, f"case,dice_{word},dice_std\na,.5,.1\n")
    assert read.cases["dice"].tolist() == [0.5]
    assert "class" not in read.cases
    assert f"dice_{word} is taken as the dice" in " ".join(read.notes)
    assert "dice_std: no class but a statistic" in " ".join(read.notes)
    read = read_text(tmp_path, f"case,liver_dice_{word},liver_dice_std\na,.5,.1\n")
    assert read.cases[["class", "dice"]].to_numpy().tolist() == [["liver", 0.5]]


@pytest.mark.parametrize("header", ["dice_std", "val_dice,train_dice", "dice_min,dice_max"])
def test_no_score_but_statistics(tmp_path, header):
    row = ",".join([".5"] * (header.count(",") + 1))
    with pytest.raises(DataError, match=r"no column holds a score.*no class but.*--column dice"):
        read_text(tmp_path, f"case,{header}\na,{row}\n")
    first = header.partition(",")[0]
    read = read_text(tmp_path, f"case,{header}\na,{row}\n", columns={"dice": first})
    assert read.cases["dice"].tolist() == [0.5]


def test_two_means_are_asked_about(tmp_path):
    with pytest.raises(DataError, match=r"may each be the dice: say which, --column dice=dice_me"):
        read_text(tmp_path, "case,dice_mean,overall_dice\na,.5,.5\n")


def test_rows_that_are_no_case_or_no_class(tmp_path):
    footers = ("Mean", "count", "min", "max", "25%", "50 %", "Std. Dev.", "Overall", "Average")
    rows = "".join(f"{name},liver,.9\n" for name in footers)
    read = read_text(tmp_path, "case,class,dice\n25,liver,.5\np2,liver,.6\n" + rows)
    assert read.cases["case"].tolist() == ["25", "p2"]
    assert all(name in " ".join(read.notes) for name in footers)
    text = "case,class,dice\na,liver,.5\na,mean,.9\na,Background,.99\nb,liver,.4\n"
    read = read_text(tmp_path, text)
    assert set(read.cases["class"]) == {"liver"}
    assert "rows that are no class are left out: mean, Background" in " ".join(read.notes)
    assert read_text(tmp_path, "case,class,dice\na,all,.5\n").cases["dice"].tolist() == [0.5]
    with pytest.raises(DataError, match="holds no class but mean, background"):
        read_text(tmp_path, "case,class,dice\na,mean,.5\na,background,.9\n")
    how = {"metrics": ["dice"], "columns_of": "methods"}
    read = read_text(tmp_path, "case,net,mean,std\na,.5,.5,.1\n", **how)
    assert set(read.cases["loss"]) == {"net"}


@pytest.mark.parametrize(
    "name", ["NSD (2 mm)", "nsd_2mm", "NSD@2mm", "NSD [2.5 px]", "nsd 2 voxels"]
)
def test_a_tolerance_is_no_class(tmp_path, name):
    read = read_text(tmp_path, f"case,Dice,{name}\na,.5,.6\n")
    assert read.cases[["dice", "nsd"]].to_numpy().tolist() == [[0.5, 0.6]]
    assert "class" not in read.cases
    with pytest.raises(DataError, match="may be the nsd: say which"):
        read_text(tmp_path, f"case,Dice,{name},NSD 1 mm\na,.5,.6,.7\n")


def test_columns_of_methods(tmp_path):
    text = "case,base_dice,mine_dice,base_hd95,mine_hd95\na,.5,.7,3,2\n"
    read = read_text(tmp_path, text, columns_of="methods")
    assert read.cases[["loss", "dice", "hd95"]].to_numpy().tolist() == [
        ["base", 0.5, 3.0],
        ["mine", 0.7, 2.0],
    ]
    assert "methods by the names of columns: base (base_dice, base_hd95)" in " ".join(read.notes)
    assert not read.classes_of_columns
    assert read_text(tmp_path, text).classes_of_columns
    text = "case,class,base_dice,mine_dice\na,liver,.5,.7\na,tumor,.1,.2\n"
    assert len(read_text(tmp_path, text, columns_of="methods").cases) == 4
    with pytest.raises(DataError, match="--columns-of methods"):
        read_text(tmp_path, text)
    with pytest.raises(DataError, match="'model' names the method, too"):
        read_text(tmp_path, "case,model,a_dice,b_dice\nx,m,.1,.2\n", columns_of="methods")


@pytest.mark.parametrize(
    ("names", "best"),
    [
        ("id,image", "image"),
        ("subject_id,image_id", "image_id"),
        ("name,id", "name"),
        ("subject,filename", "filename"),
    ],
)
def test_two_columns_that_name_the_case(tmp_path, names, best):
    text = f"{names},dice\n1,x,.5\n2,y,.6\n"
    with pytest.raises(DataError, match=f"may each name the case: say which, --column case={best}"):
        read_text(tmp_path, text)
    first, second = names.split(",")
    expected = {first: ["1", "2"], second: ["x", "y"]}[best]
    assert read_text(tmp_path, text, columns={"case": best}).cases["case"].tolist() == expected


def test_a_patient_beside_the_case(tmp_path):
    text = "subject_id,image_id,dice\np1,x,.5\np1,y,.6\n"
    cases = read_text(tmp_path, text, columns={"case": "image_id"}).cases
    assert cases[["case", "group"]].to_numpy().tolist() == [["x", "p1"], ["y", "p1"]]
    for text in ("case,image,dice\nx,i,.5\n", "id,patient,dice\nx,p,.5\n", "image,dice\nx,.5\n"):
        assert read_text(tmp_path, text).cases["case"].tolist() == ["x"]


@pytest.mark.parametrize("key", ["patient", "dataset", "class", "seed", "fold", "case"])
@pytest.mark.parametrize("cell", ["", "  "])
def test_cells_without_a_name(tmp_path, key, cell):
    named = "" if key == "case" else "case,"
    own = ["", "", ""] if key == "case" else ["a,", "b,", "c,"]
    rows = [f"{own[0]}x,.5", f"{own[1]}{cell},.6", f"{own[2]}{cell},.7"]
    with pytest.raises(DataError, match=f"{key}: 2 rows without the name of a .*: line 3, line 4"):
        read_text(tmp_path, "\n".join([f"{named}{key},dice", *rows, ""]))


def change(table, score, value, rows=(0,)):
    table = table.copy()
    table.loc[list(rows), score] = value
    return table


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (change(scores(), "dice", np.inf), "dice: one infinite value .p00.; no score is infinite"),
        (change(scores(), "hd95", np.inf), "hd95: one infinite value .p00.; a distance to nothing"),
        (change(scores(), "dice", 1.2), "dice: one value outside of 0 to 1 .1.2 for p00.$"),
        (change(scores(), "dice", -0.1), "dice: one value outside of 0 to 1 .-0.1 for p00.$"),
        (change(scores(), "hd95", -1), "hd95: got -1, expected 0 or more"),
        (scores().assign(dice=lambda t: 100 * t["dice"]), "if these are per cent.*--scale percent"),
        (change(scores().astype({"dice": object}), "dice", "bad"), "expected numbers, got 'bad'"),
        (scores().drop(columns="case"), "no column names the case"),
        (scores().drop(columns=["dice", "hd95"]), "no column holds a score"),
        (scores().assign(DSC=0.5), "both 'dice' and 'DSC' may be the dice: say which"),
        (scores().drop(columns="class").assign(liver_dice=1.0), "remove one of the two"),
        (scores().iloc[:0], "holds no row"),
        (change(scores(), "case", ""), "case: one row without the name of a case: line 2"),
        (change(scores(), "method", ""), "one row without the name of a method; fill it in"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, table, said):
    with pytest.raises(DataError, match=said):
        read_table(write(tmp_path / "a.csv", table))


def test_per_cent_is_never_guessed(tmp_path):
    table = scores()
    per_cent = write(tmp_path / "a.csv", table.assign(dice=100 * table["dice"]))
    read = read_table(per_cent, scale="percent")
    assert read.cases["dice"].tolist() == pytest.approx(table["dice"].tolist())
    assert read.cases["hd95"].tolist() == pytest.approx(table["hd95"].tolist())
    assert "as per cent" in read.notes[-1]
    with pytest.raises(DataError, match="no value is above 1: expected per cent"):
        read_table(write(tmp_path / "b.csv", table), scale="percent")


@pytest.mark.parametrize("methods", [("a", "b"), ("a", "b", "c")])
@pytest.mark.parametrize("scale", ["fractions", "percent"])
def test_methods_with_scales_of_their_own(tmp_path, methods, scale):
    """Neither scale is right for all, so neither is advised."""
    table = scores(methods)
    table["dice"] *= np.where(table["method"] == "a", 100, 1)
    with pytest.raises(DataError) as caught:
        read_table(write(tmp_path / "a.csv", table), scale=scale)
    assert "dice: a is in per cent" in str(caught.value)
    assert "in fractions" in str(caught.value)
    assert "--scale" not in str(caught.value)


def test_per_cent_below_one(tmp_path):
    """One such Dice is a failure, and said; if most are, these are fractions."""
    table = scores().assign(dice=lambda t: 100 * t["dice"])
    table.loc[0, "dice"] = 0.4
    read = read_table(write(tmp_path / "a.csv", table), scale="percent")
    assert read.cases["dice"][0] == pytest.approx(0.004)
    assert "a.csv: dice: one value below 1 read as per cent, too: 0.4 for p00" in read.notes
    table.loc[: len(table) * 3 // 4, "dice"] /= 100
    path = write(tmp_path / "b.csv", table)
    with pytest.raises(DataError, match="most values are below 1"):
        read_table(path, scale="percent")
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert "outside of 0 to 1" in str(caught.value)
    assert "--scale" not in str(caught.value)


def comma(number):
    return f"{number:.4f}".replace(".", ",")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("first", ["1", "0", "0,5", ""])
def test_decimal_commas_in_any_row(tmp_path, separator, first):
    """The first row need not have one, and with commas between columns quotes hold them."""
    table = scores().drop(columns="hd95")
    expected = table["dice"].round(4).tolist()
    texts = table.assign(dice=table["dice"].map(comma))
    if first:
        texts.loc[0, "dice"] = first
        expected[0] = float(first.replace(",", "."))
    path = write(tmp_path / "a.csv", texts, sep=separator)
    read = read_table(path)
    assert read.cases["dice"].tolist() == expected
    assert any("numbers are read with decimal commas, such as" in note for note in read.notes)
    texts.loc[5, "dice"] = "fehlt"
    with pytest.raises(
        DataError, match=r"dice: expected numbers, got 'fehlt' in line 7; leave a cell"
    ):
        read_table(write(path, texts, sep=separator))
    texts.loc[5, "dice"] = "0.5"
    with pytest.raises(DataError, match=r"decimal comma \(.*\) and with a point \('0.5' in line 7"):
        read_table(write(path, texts, sep=separator))


def test_commas_that_may_stand_between_thousands(tmp_path):
    table = scores().assign(dice=1, hd95="1,234")
    path = write(tmp_path / "a.csv", table)
    with pytest.raises(DataError, match="'1,234' in line 2 of hd95: the comma may be a decimal"):
        read_table(path)
    table.loc[1, "hd95"] = "12,34"
    read = read_table(write(path, table))
    assert read.cases["hd95"][:2].tolist() == [1.234, 12.34]


def test_signs_of_per_cent(tmp_path):
    table = scores()
    texts = table.assign(dice=table["dice"].map("{:.2%}".format))
    path = write(tmp_path / "a.csv", texts)
    for scale in ("fractions", "percent"):
        read = read_table(path, metrics=["dice"], scale=scale)
        np.testing.assert_allclose(read.cases["dice"], table["dice"], atol=5e-5)
    texts.loc[3, "dice"] = "0.5"
    with pytest.raises(
        DataError, match=r"dice: 95 cells with a % sign .* and 1 without \('0.5' in"
    ):
        read_table(write(path, texts))
    texts = table.assign(hd95=table["hd95"].map("{:.0f}%".format))
    with pytest.raises(DataError, match="hd95: expected numbers, got '"):
        read_table(write(path, texts))


def test_rows_of_other_lengths(tmp_path):
    """A cell too few or too many moves the others to columns that are not theirs."""
    path = tmp_path / "a.csv"
    path.write_text("method,case,dice,hd95\na,p0,0,5,3\nb,p0,0.6\n")
    with pytest.raises(DataError, match=r"expected 4 cells in every row.*got 5 in line 2, 3 "):
        read_table(path)
    path.write_text("method,case,dice,,\na,p0,0.5,,\n,,,,\n\nb,p0,0.6,,,\n")
    read = read_table(path)
    assert read.cases["dice"].tolist() == [0.5, 0.6]
    path.write_text(",method,case,dice,\n0,a,p0,0.5,\n1,b,p0,0.6,\n")
    assert "a.csv: columns without a name are not read" in read_table(path).notes


ROWS = (
    *("Mittelwert", "25quantile", "Std. Error of Mean", "3rd Qu.", "fold0_mean", "meanDice"),
    *("Test average", "Mean (24)", "SUMMARY", "Mean over test set", "Std.-Abweichung", "mean_all"),
    *("Mean ± SD", "Average (n=24)", "Écart-type", "std of dice", "Mean (over 24 cases)"),
    "Median [IQR]",
)


@pytest.mark.parametrize("row", ROWS)
def test_rows_that_sum_up_are_no_cases(tmp_path, row):
    table = scores()
    last = table.groupby("method", as_index=False)[["dice", "hd95"]].mean()
    last = last.assign(case=row, seed=0)
    last["class"] = "liver"
    read = read_table(write(tmp_path / "a.csv", pd.concat([table, last])))
    assert len(read.cases) == len(table)
    assert f"a.csv: rows that are no case are left out: {row}" in read.notes


@pytest.mark.parametrize("name", ["max_01", "P1 mean", "all_12", "Min-jun", "test 5", "n 24"])
def test_names_of_cases_that_hold_such_a_word(tmp_path, name):
    table = scores()
    table["case"] = table["case"].replace("p00", name)
    read = read_table(write(tmp_path / "a.csv", table))
    assert len(read.cases) == len(table)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "expected the names of columns"),
        (b"just text\n", "expected the names of columns"),
        ("case,größe\n".encode("latin-1"), "is no UTF-8"),
        (b"case,dice,dice\na,1,1\n", "two columns have one name: dice"),
    ],
)
def test_files_that_are_no_tables(tmp_path, content, said):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_table(tmp_path / "a.csv")
