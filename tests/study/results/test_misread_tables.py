"""Tables that would be read wrongly without a word: what is asked about, and what is said."""

import numpy as np
import pytest
from written_tables import read_text, scores, write

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.results.merging import merge
from dilated_ce.study.results.tables import read_table


@pytest.mark.parametrize(
    "name",
    [
        *("dice_loss", "Dice loss", "1-dice", "1 - Dice", "ΔDice", "delta_dice", "dice_diff"),
        *("LesionWise_Dice", "Legacy_Dice", "lesion_wise_dice", "liver_lesion_wise_dice"),
        *("dice_rank", "rank_dice", "dice_pvalue", "dice p", "Dice error", "soft dice", "dice_n"),
        *("inter_rater_dice", "dice_lower", "recall_loss", "iou_loss", "clDice", "cl_dice"),
    ],
)
def test_scores_of_another_kind_are_not_read_as_ours(tmp_path, name):
    """Less is better in some of them, which would turn the verdict round."""
    table = scores().drop(columns=["hd95", "class"]).drop_duplicates(["method", "case"])
    with pytest.raises(DataError, match="no column holds a score"):
        read_table(write(tmp_path / "a.csv", table.rename(columns={"dice": name})))
    read = read_table(write(tmp_path / "a.csv", table.assign(**{name: 0.5})))
    assert read.cases["dice"].tolist() == pytest.approx(table["dice"].tolist())
    assert f"a.csv: columns that are not read: {name}" in read.notes


@pytest.mark.parametrize(
    "name", ["soft_tissue_dice", "bone loss dice", "1-dice", "dice_1", "p1 dice"]
)
def test_classes_that_are_called_like_such_scores(tmp_path, name):
    other = name.replace("1", "2").replace("soft", "hard").replace("bone", "no")
    text = f"case,{name},{other}\na,.5,.6\nb,.5,.7\n"
    assert len(set(read_text(tmp_path, text).cases["class"])) == 2


@pytest.mark.parametrize("score", ["hd95", "assd"])
def test_a_distance_of_0_between_masks_that_share_nothing(tmp_path, score):
    """As some code writes it for an empty prediction: it would be the best distance of all."""
    table = scores().rename(columns={"hd95": score})
    table.loc[[0, 5], ["dice", score]] = 0.0
    with pytest.raises(DataError, match=rf"{score}: 0 in 2 rows where Dice is 0 \(0 for p00, "):
        read_table(write(tmp_path / "a.csv", table))
    table.loc[[0, 5], score] = 100.0
    assert len(read_table(write(tmp_path / "a.csv", table)).cases) == len(table)


@pytest.mark.parametrize("column", ["split", "Phase", "subset", "partition", "set"])
def test_rows_of_what_was_trained_on(tmp_path, column):
    table = scores()
    parts = table.assign(**{column: np.where(table["case"] < "p12", "train", "Test")})
    with pytest.raises(DataError, match=f"{column}: holds train .*Test .*: keep the rows of one"):
        read_table(write(tmp_path / "a.csv", parts))
    read = read_table(write(tmp_path / "a.csv", table.assign(**{column: "val"})))
    assert f"a.csv: all rows are of the part 'val', by the column {column}" in read.notes
    sites = table.assign(**{column: np.where(table["case"] < "p12", "north", "south")})
    assert len(read_table(write(tmp_path / "a.csv", sites)).cases) == len(table)


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        ("HD95 (mm)", "hd95_vox", "distances are mm of ce, voxels of dbce: give all in one unit"),
        ("ASSD [cm]", "assd (mm)", "distances are cm of ce, mm of dbce"),
        ("NSD (1 mm)", "nsd@3mm", "the surface Dice is within 1 mm of ce, 3 mm of dbce"),
        ("nsd_2mm", "Surface Dice 2.0 px", "the surface Dice is within 2 mm of ce, 2 px of dbce"),
    ],
)
def test_units_in_names_have_to_agree(tmp_path, one, two, said):
    reads = [
        read_table(
            write(
                tmp_path / f"{method}.csv",
                scores((method,)).assign(hd95=0.5).rename(columns={"hd95": name}),
            )
        )
        for method, name in (("ce", one), ("dbce", two))
    ]
    with pytest.raises(DataError, match=said):
        merge(reads)
    merge([reads[0], reads[0].__class__(reads[1].cases)])  # a source without a unit


@pytest.mark.parametrize("name", ["HD95 (px)", "hd_95 px", "Hausdorff 95 [pixels]", "hd95_px"])
def test_a_unit_in_a_name_is_that_of_the_report(tmp_path, name):
    table = scores().rename(columns={"hd95": name})
    assert read_table(write(tmp_path / "a.csv", table)).unit == "px"


def test_per_cent_in_a_name(tmp_path):
    table = scores()
    cent = table.assign(dice=100 * table["dice"]).rename(columns={"dice": "DSC (%)"})
    for scale in ("fractions", "percent"):
        read = read_table(write(tmp_path / "a.csv", cent), metrics=["dice"], scale=scale)
        np.testing.assert_allclose(read.cases["dice"], table["dice"])
    with pytest.raises(DataError, match=r"DSC \(%\): its name says per cent, and no value is"):
        read_table(write(tmp_path / "a.csv", table.rename(columns={"dice": "DSC (%)"})))


@pytest.mark.parametrize("by", ["class", "dataset"])
def test_classes_and_data_sets_with_scales_of_their_own(tmp_path, by):
    table = scores().assign(dataset=lambda t: np.where(t["case"] < "p12", "A", "B"))
    one = {"class": "liver", "dataset": "A"}[by]
    table["dice"] *= np.where(table[by] == one, 100, 1)
    for scale in ("fractions", "percent"):
        with pytest.raises(DataError, match=f"ce, .*{one}.* are in per cent .*Write all alike"):
            read_table(write(tmp_path / "a.csv", table), scale=scale)


def test_a_run_may_be_a_scan(tmp_path):
    table = scores(seeds=2).rename(columns={"seed": "run"})
    path = write(tmp_path / "a.csv", table)
    with pytest.raises(DataError, match=r"'run' may be a repeat of the training, or of the scan"):
        read_table(path)
    assert set(read_table(path, columns={"seed": "run"}).cases["seed"]) == {"0", "1"}


def test_what_names_the_patients_is_said(tmp_path):
    table = scores().assign(group=lambda t: np.where(t["case"] < "p12", "MS", "control"))
    read = read_table(write(tmp_path / "a.csv", table))
    assert "a.csv: the column 'group' names the patients: 2 patients" in read.notes


@pytest.mark.parametrize("names", [("model", "loss"), ("Algorithm", "trainer")])
def test_two_columns_that_may_name_the_method(tmp_path, names):
    table = scores().rename(columns={"method": names[0]}).assign(**{names[1]: 0.5})
    path = write(tmp_path / "a.csv", table)
    with pytest.raises(DataError, match=r"may each name the method: say which, --column method="):
        read_table(path)
    read = read_table(path, columns={"method": names[0]})
    assert set(read.cases["loss"]) == {"ce", "dbce"}


@pytest.mark.parametrize("zero", ["0", "0.0"])
def test_class_0_is_the_background(tmp_path, zero):
    numbers = {"liver": zero, "tumor": "1" if zero == "0" else "1.0"}
    table = scores()
    table["class"] = table["class"].map(numbers)
    read = read_table(write(tmp_path / "a.csv", table))
    assert set(read.cases["class"]) == {numbers["tumor"]}
    said = f"class {zero} is taken for the background, and left out; if it is none, name it by a w"
    assert any(said in note for note in read.notes)
    wide = "case,dice_0,dice_1,dice_2\na,.9,.5,.6\nb,.9,.4,.5\n"
    read = read_text(tmp_path, wide)
    assert set(read.cases["class"]) == {"1", "2"}
    assert set(read_text(tmp_path, "case,class,dice\na,0,.5\nb,0,.4\n").cases["class"]) == {"0"}


def test_a_column_for_each_class_and_one_score(tmp_path):
    """Tables of organs: the option says what the columns are, or a known method does."""
    text = "case,liver,spleen\na,.9,.8\nb,.7,.6\n"
    how = {"metrics": ["dice"]}
    for told in ({"columns_of": "classes"}, {"method": "mine"}):
        read = read_text(tmp_path, text, **how, **told)
        assert read.cases.set_index(["case", "class"])["dice"].to_dict() == {
            ("a", "liver"): 0.9, ("a", "spleen"): 0.8, ("b", "liver"): 0.7, ("b", "spleen"): 0.6,
        }  # fmt: skip
    read = read_text(tmp_path, "method,case,liver,spleen\nx,a,.9,.8\ny,b,.7,.6\n", **how)
    assert set(read.cases["loss"]) == {"x", "y"}
    assert set(read.cases["class"]) == {"liver", "spleen"}


def test_the_size_of_the_truth_is_read(tmp_path):
    table = scores(classes=("tumor",)).assign(true_voxels=100)
    path = write(tmp_path / "a.csv", table)
    for options in ({}, {"metrics": ["dice"]}):
        assert set(read_table(path, **options).cases["true_voxels"]) == {100.0}
    hundred = table.assign(dice=100 * table["dice"])
    read = read_table(write(path, hundred), scale="percent")
    assert set(read.cases["true_voxels"]) == {100.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Table 1,,\nmethod,case,dice\na,p,.5\n", "got 'Table 1' as its first line, expected the"),
        (
            ",method,dice\np0,a,.5\n",
            "names the case; there are method, dice.*give the column",
        ),
        ("case,dice,dice\n,liver,tumor\n", "two columns have one name: dice; of two rows of names"),
        ("method,case,dice\na,p0,.5\n,p1,.5\n", "one row without the name of a method; fill it in"),
        (
            "case,label,dice\na,/x/a.png,.5\nb,/x/b.png,.4\n",
            "label: names another class in eve",
        ),
    ],
)
def test_tables_that_are_nearly_ones(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        read_text(tmp_path, text)


def test_tables_as_r_and_excel_write_them(tmp_path):
    read = read_text(tmp_path, '"case","dice"\n"1","a",.5\n"2","b",.6\n')
    assert read.cases[["case", "dice"]].to_numpy().tolist() == [["a", 0.5], ["b", 0.6]]
    read = read_text(tmp_path, "sep=;\ncase;dice\na;0,5\nb;.\nc;#DIV/0!\n")
    assert read.cases["dice"].tolist()[0] == 0.5
    assert read.cases["dice"].isna().tolist() == [False, True, True]
    read = read_text(tmp_path, 'case,"Dice\n(fraction)"\na,.5\n')
    assert read.cases["dice"].tolist() == [0.5]
    with pytest.raises(DataError, match="got 'x' in line 4"):
        read_text(tmp_path, 'case,"Dice\n(fraction)"\na,.5\nb,x\n')


def test_a_row_number_beside_a_path_and_scores_below_each_other(tmp_path):
    with pytest.raises(DataError, match="'id' and 'image_path' may each name the case: say which"):
        read_text(tmp_path, "id,image_path,dice\n0,/x/b.png,.5\n1,/x/a.png,.4\n")
    with pytest.raises(DataError, match="Give each score a column of its own, as pandas' pivot"):
        read_text(tmp_path, "case,metric,value\na,dice,.5\na,hd95,3\n")
