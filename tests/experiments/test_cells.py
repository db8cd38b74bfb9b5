"""Which cells a table needs, what a cell depends on, and what a row's numbers are; nothing is trained here."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dreambooth.errors import ConfigError, PhotoError
from dreambooth.experiments.cells import CASCADE, Cell, Cells
from dreambooth.experiments.protocol import FULL, SMALL, TABLES, Share
from dreambooth.experiments.subjects import NamedSubject, examples, in_folder
from dreambooth.experiments.tables import Table, differences, lines, table
from dreambooth.experiments.trial import Result
from dreambooth.generation.photographs import PHOTOGRAPHS
from dreambooth.generation.prompts import PAPER_LIVE, PAPER_OBJECT
from dreambooth.run.records import Scores
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.world import CLASSES, SCENES

SMALL_CELLS = Cells(settings={}, protocol=SMALL, world=TOYBOX)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> tuple[NamedSubject, ...]:
    """The default toys."""
    return examples(TOYBOX, SMALL.toys, tmp_path_factory.mktemp("toys"))


def paper(subjects: tuple[NamedSubject, ...], name: str) -> Table:
    return table(name, SMALL_CELLS, subjects, SMALL.seeds, SMALL.shares[name])


def test_tables_share_their_cells_by_address(subjects: tuple[NamedSubject, ...]) -> None:
    tables = {name: paper(subjects, name) for name in TABLES}
    rows = {(name, row.name): {cell.address("w") for cell in row.cells} for name in TABLES for row in tables[name].rows}
    first = rows["table1", "dreambooth"]
    assert len(first) == 8 and first == rows["table1", "real_images"]
    assert len(first & rows["table3", "with prior"]) == 4
    assert rows["table3", "with prior"] == rows["table4", "correct"]
    assert rows["table5", "4 photos"] < first
    others = [
        rows["table3", "without prior"],
        rows["table4", "wrong"],
        rows["table4", "none"],
        rows["table5", "1 photo"],
    ]
    assert all(first.isdisjoint(other) for other in others)
    assert len(set().union(*rows.values())) == 8 * 4 + 4 + 8 + 8


def test_everything_fits_in_an_hour_on_two_cores(subjects: tuple[NamedSubject, ...]) -> None:
    cells = {cell for name in TABLES for cell in paper(subjects, name).cells}
    seconds = sum(TOYBOX.cell_seconds[cell.kind] for cell in cells) + 8 * 25  # and the class images
    assert seconds / 60 / 2 < 60 / 3  # also where a core is a third as fast as those that were timed


def test_the_default_subjects_are_enough(subjects: tuple[NamedSubject, ...]) -> None:
    assert len({subject.class_noun for subject in subjects} & set(CLASSES)) >= 8
    assert all(len(subject.photos) == 5 and subject.description for subject in subjects)


def test_an_address_depends_on_all_that_pictures_depend_on(subjects: tuple[NamedSubject, ...], tmp_path: Path) -> None:
    subject = subjects[0]
    cell = SMALL_CELLS.cell(subject, 0)
    shutil.copytree(subject.photos[0].parent, tmp_path / "moved")
    moved = replace(subject, photos=tuple(tmp_path / "moved" / photo.name for photo in subject.photos))
    other_judge = Cells(settings={"dino_model": "x"}, protocol=SMALL, world=TOYBOX)
    said_again = Cells(settings={"world": TOYBOX.name}, protocol=SMALL, world=TOYBOX)
    probing = cell.config.probe.model_copy(update={"probe_class_images": 99})  # as another preset might say
    probed = replace(cell, config=cell.config.model_copy(update={"probe": probing}))
    tracked = Cells(settings={"report_to": "tensorboard"}, protocol=SMALL, world=TOYBOX)
    others = [cells.cell(subject, 0) for cells in (other_judge, said_again, tracked)]
    same = [SMALL_CELLS.cell(moved, 0), *others, probed]
    assert {each.address("w") for each in same} == {cell.address("w")}
    (tmp_path / "moved" / subject.photos[0].name).write_bytes(subject.photos[1].read_bytes())
    longer = Cells(settings={"max_train_steps": 3}, protocol=SMALL, world=TOYBOX)
    different = [
        *(SMALL_CELLS.cell(moved, 0), SMALL_CELLS.cell(subject, 1), SMALL_CELLS.cell(subject, 0, photos=2)),
        *(SMALL_CELLS.cell(subject, 0, "lora"), SMALL_CELLS.cell(subject, 0, prior=False), longer.cell(subject, 0)),
        *(SMALL_CELLS.cell(subject, 0, noun="wrong"), SMALL_CELLS.cell(subject, 0, noun="none")),
        replace(cell, prompts=cell.prompts[1:]),
    ]
    addresses = {each.address("w") for each in [cell, *different]} | {cell.address("other weights")}
    assert len(addresses) == len(different) + 2
    masked = Cells(settings={"masked_loss": True}, protocol=SMALL, world=TOYBOX).cell(moved, 0)
    before = cell.address("w"), masked.address("w")
    moved.photos[0].with_name(f"{moved.photos[0].stem}.mask.png").write_bytes(b"a mask")
    assert cell.address("w") == before[0] and masked.address("w") != before[1]
    first = masked.address("w")
    moved.photos[0].with_name(f"{moved.photos[0].stem}.mask.png").rename(
        moved.photos[1].with_name(f"{moved.photos[1].stem}.mask.png")
    )
    assert masked.address("w") not in (before[1], first)


def test_cells_say_what_the_training_is_told(subjects: tuple[NamedSubject, ...]) -> None:
    subject = subjects[-1]
    assert subject.name == "dog-18"
    wrong, none = (SMALL_CELLS.cell(subject, 0, noun=noun) for noun in ("wrong", "none"))
    assert wrong.learned.class_noun in set(CLASSES) - {"dog"}
    assert none.learned.named("xyz").prompt == "a xyz" and none.learned.class_prompt == "a dog"
    assert {cell.judged.class_noun for cell in (wrong, none)} == {"dog"}
    assert SMALL_CELLS.cell(subject, 0, photos=2).learned.photos == subject.photos[:2]
    assert SMALL_CELLS.cell(subject, 0, photos=2).judged.photos == subject.photos
    assert SMALL_CELLS.cell(subject, 0, "prompt_only").config.method.description == subject.description
    assert SMALL_CELLS.cell(subject, 0, "untuned").config.method.description == "dog"
    assert not SMALL_CELLS.cell(subject, 0).config.probe.probe
    drawn = {SMALL_CELLS.cell(subject, seed, noun="wrong").class_noun for seed in range(20)}
    assert len(drawn) > 2 and "dog" not in drawn


def test_one_command_line_sets_every_method(subjects: tuple[NamedSubject, ...]) -> None:
    settings = {"max_train_steps": 7, "rank": 8, "num_vectors": 2, "identifier_tokens": 2, "train_text_encoder": True}
    cells = Cells(settings=settings, protocol=FULL, world=TOYBOX)
    for row in (*FULL.methods, "untuned"):
        config = cells.cell(subjects[0], 0, row).config
        assert config.training.max_train_steps == (0 if row in ("prompt_only", "untuned") else 7)
    for idle in ({"prompts": ("a {}",)}, {"probe_class_images": 9}):
        with pytest.raises(ConfigError, match=f"{next(iter(idle))}: an experiment sets it"):
            Cells(settings=idle, protocol=SMALL, world=TOYBOX)


def test_a_cascade_has_a_row_of_its_own_beside_the_base_model(subjects: tuple[NamedSubject, ...]) -> None:
    cells = replace(SMALL_CELLS, settings={"resolution": 128, "noise_level": 3}, cascade="toybox-cascade")
    rows = {row.name: row.cells for row in table("table1", cells, subjects[:2], (0,), Share(subjects=2, seeds=1)).rows}
    assert list(rows)[:3] == ["real_images", "dreambooth", "textual_inversion"] and list(rows)[-2] == CASCADE
    asked = [(cell.config.base.model, cell.config.data.resolution, cell.config.method.method) for cell in rows[CASCADE]]
    assert asked == [("toybox-cascade", None, "dreambooth")] * 2
    assert {cell.config.base.noise_level for cell in rows[CASCADE]} == {3}
    plain = Cells(settings={"resolution": 128}, protocol=SMALL, world=TOYBOX)
    alone = table("table1", plain, subjects[:2], (0,), Share(subjects=2, seeds=1)).cells
    others = [cell for name in rows if name != CASCADE for cell in rows[name]]
    assert [cell.address("w") for cell in others] == [cell.address("w") for cell in alone]
    assert {cell.config.base.model for name in rows if name != CASCADE for cell in rows[name]} == {"toybox"}


def test_prompts_are_the_papers_or_the_toyboxs() -> None:
    assert PHOTOGRAPHS.scored_prompts("dog", True) == PAPER_LIVE
    assert PHOTOGRAPHS.scored_prompts("backpack", True) == PAPER_OBJECT
    few = PHOTOGRAPHS.scored_prompts("backpack", False)
    assert len(few) == 9 and {prompt.kind for prompt in few} == {"recontextualization", "property modification"}
    for noun in CLASSES:
        small, whole = (TOYBOX.scored_prompts(noun, whole) for whole in (False, True))
        places = [prompt for prompt in small if prompt.kind == "recontextualization"]
        assert set(small) < set(whole) and len(places) == len(SCENES)
        assert not {"class", "subject"} & {prompt.kind for prompt in whole}


def test_subjects_in_folders_take_their_class_from_the_file_or_the_name(photos_dir: Path, tmp_path: Path) -> None:
    for name in ("dog6", "dog-12", "toy_car_3", "rc_car", "grey_sloth_plushie"):
        shutil.copytree(photos_dir, tmp_path / name)
    (tmp_path / "classes.csv").write_text("grey_sloth_plushie, stuffed animal, grey plush sloth\n")
    listed = "Classes\n\nsubject_name,class\nrc_car,toy\nwolf_plushie,stuffed animal\n\nprompt_list = [\n'a {0}, b',\n"
    (tmp_path / "prompts_and_classes.txt").write_text(listed)
    found = {subject.name: (subject.class_noun, subject.description) for subject in in_folder(tmp_path)}
    sloth = ("stuffed animal", "grey plush sloth")
    numbered = {"dog6": ("dog", None), "dog-12": ("dog", None), "toy_car_3": ("toy car", None)}
    assert found == {**numbered, "grey_sloth_plushie": sloth, "rc_car": ("toy", None)}
    cells = Cells(settings={"model": "x"}, protocol=SMALL, world=PHOTOGRAPHS)
    rows = table("table1", cells, in_folder(tmp_path), (0,), Share(subjects=30, seeds=1)).rows
    assert {row.name: len(row.cells) for row in rows}["prompt_only"] == 1  # of those that are described
    assert all(
        cell.class_noun in PHOTOGRAPHS.classes for cell in (cells.cell(s, 0, noun="wrong") for s in in_folder(tmp_path))
    )


def test_every_problem_of_a_folder_of_subjects_is_reported_at_once(photos_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(photos_dir, tmp_path / "007")
    (tmp_path / "dog").mkdir()
    with pytest.raises(PhotoError) as caught:
        in_folder(tmp_path)
    assert len(caught.value.problems) == 2 and "007,NOUN" in str(caught.value) and "dog: no photos" in str(caught.value)


@pytest.mark.parametrize(
    "written",
    [
        b'\xef\xbb\xbfsubject_name,class\r\nrex,"toy car","red, shiny toy car"\r\n',
        b"folder;class\nrex;toy car;red, shiny toy car\n",
        b"# whose\n\nrex, toy car, 'red'\n",
    ],
    ids=["as spreadsheets save it", "with semicolons", "by hand"],
)
def test_classes_csv_is_read_as_spreadsheets_write_it(written: bytes, photos_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(photos_dir, tmp_path / "rex")
    (tmp_path / "classes.csv").write_bytes(written)
    (found,) = in_folder(tmp_path)
    assert found.class_noun == "toy car" and found.description in ("red, shiny toy car", "'red'")


def test_a_line_of_classes_csv_that_says_nothing_is_told(photos_dir: Path, tmp_path: Path) -> None:
    for name in ("rex", "mug"):
        shutil.copytree(photos_dir, tmp_path / name)
    (tmp_path / "classes.csv").write_text("rex,a dog\nmgu,mug\nmug,\n")
    with pytest.raises(PhotoError) as caught:
        in_folder(tmp_path)
    told = str(caught.value)
    assert (
        "line 1" in told and "give the noun alone" in told and "line 2" in told and "mgu" in told and "line 3" in told
    )


def result(dino: float, real: float = 0.9) -> Result:
    scores, photos = Scores(dino=dino, clip_i=dino, clip_t=0.3), Scores(dino=real, clip_i=real)
    return Result(folder=Path(), scores=scores, real=photos, pictures=24, judges={}, seconds=1.0)


def test_rows_are_means_over_subjects_of_means_over_seeds(subjects: tuple[NamedSubject, ...]) -> None:
    share = Share(subjects=2, seeds=2)
    tabled = table("table1", SMALL_CELLS, subjects, (0, 1), share)
    level = {"dreambooth": 0.7, "textual_inversion": 0.5, "prompt_only": 0.4, "untuned": 0.3}

    def of(cell: Cell) -> Result:
        return result(level[cell.row] + (0.1 if cell.subject == subjects[1] else 0.0) + 0.02 * cell.config.seed)

    results: Mapping[Cell, Result] = {cell: of(cell) for cell in tabled.cells}
    by_name = {line.name: line for line in lines(tabled, results)}
    mine = by_name["dreambooth"]
    assert mine.values["dino"].mean == pytest.approx(0.76)
    assert (mine.n, mine.runs, mine.pictures) == (2, 4, 96)
    assert mine.values["dino"].low is not None and mine.values["dino"].low < 0.76
    real = by_name["real_images"]
    assert real.values["dino"].mean == pytest.approx(0.9) and "clip_t" not in real.values
    assert (real.runs, real.pictures) == (0, 10)
    apart = {line.name: line.values["dino"] for line in differences(tabled, results)}
    against = apart["dreambooth - textual_inversion"]
    assert against.mean == against.low == against.high == pytest.approx(0.2)  # the same for both subjects
