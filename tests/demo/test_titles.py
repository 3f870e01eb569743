"""Titles from RecBole's .item files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.demo.titles import find_items, titles_of


def write(folder: Path, item: str, inter: str | None = None) -> Path:
    (folder / "d").mkdir(parents=True, exist_ok=True)
    (folder / "d" / "d.item").write_text(item, encoding="utf-8")
    if inter is not None:
        (folder / "d" / "d.inter").write_text(inter, encoding="utf-8")
    return folder / "d" / "d.item"


def test_the_films_that_ship_with_recbole():
    file = find_items("ml-100k")
    assert file is not None
    found = titles_of(file, ["1", "50", "127", "no such item"])
    # 583, 452 and 413 people have rated them
    assert found[:3] == [
        ("50", "Star Wars", "1977"),
        ("1", "Toy Story", "1995"),
        ("127", "The Godfather", "1972"),
    ]
    assert found[3] == ("no such item", "no such item", "")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Postman, The (Postino, Il)", "The Postman (Il Postino)"),
        ("Postino, Il (1994)", "Il Postino (1994)"),
        ("Boot, Das", "Das Boot"),
        ("Double vie de Véronique, La (Double Life of Veronique, The)", None),
        ("Enfer, L'", "L'Enfer"),
        ("Eye of Vichy, The (Oeil de Vichy, L')", "The Eye of Vichy (L'Oeil de Vichy)"),
        ("Convent, The (Convento, O)", "The Convent (O Convento)"),
        ("Maybe, Maybe Not (Bewegte Mann, Der)", "Maybe, Maybe Not (Der Bewegte Mann)"),
        ("Paris, Texas", "Paris, Texas"),
        ("Mrs. Brown (Her Majesty, Mrs. Brown)", "Mrs. Brown (Her Majesty, Mrs. Brown)"),
        ("Theory, Thesis", "Theory, Thesis"),
        (", The", ", The"),
    ],
)
def test_titles_are_written_as_people_write_them(tmp_path, written, read):
    file = write(tmp_path, f"item_id:token\tmovie_title:token_seq\na\t{written}\n")
    expected = read or "La Double vie de Véronique (The Double Life of Veronique)"
    assert titles_of(file, ["a"]) == [("a", expected, "")]


def test_columns_are_found_by_their_names_and_the_most_clicked_come_first(tmp_path):
    item = 'price:float\titem_id:token\tname:token_seq\n1\ta\tA "quoted\n2\tb\t\n3\tc\tBirds, The\n4\n'
    inter = "user_id:token\titem_id:token\nu\tc\nv\tc\nu\ta\n"
    file = write(tmp_path, item, inter)
    assert titles_of(file, ["a", "b", "c", "d"]) == [
        ("c", "The Birds", ""),
        ("a", 'A "quoted', ""),
        ("b", "b", ""),
        ("d", "d", ""),
    ]


def test_without_interactions_the_order_is_the_catalogues(tmp_path):
    file = write(tmp_path, "item_id:token\tmovie_title:token_seq\trelease_year:token\na\tA\t1999\nb\tB\t2001\n")
    assert titles_of(file, ["b", "a"]) == [("b", "B", "2001"), ("a", "A", "1999")]


def test_a_data_set_without_titles(tmp_path):
    assert find_items("nowhere") is None
    assert find_items("../ml-100k") == find_items("ml-100k")
    assert find_items("") is None
    assert titles_of(None, ["a"]) == [("a", "a", "")]
    with pytest.raises(UserError, match=r"holds no nowhere/nowhere\.item"):
        find_items("nowhere", str(tmp_path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no column item_id:token"),
        (b"title:token_seq\nA\n", "has no column item_id:token; its columns are title"),
        (b"item_id:token\ttitle:token\n1\t\xff\n", "is no table in RecBole's format"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, content, said):
    file = write(tmp_path, "")
    file.write_bytes(content)
    with pytest.raises(UserError, match=said):
        titles_of(file, ["1"])


@given(st.binary(max_size=200))
def test_any_file_gives_titles_or_one_sentence(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "any.item"
    file.write_bytes(b"item_id:token\ttitle:token\n" + content)
    try:
        found = titles_of(file, ["1", "2"])
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert [token for token, _, _ in found] == ["1", "2"]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    (tmp_path / "x.item").write_bytes("\ufeffitem_id:token\tmovie_title:token_seq\n1\tA\n".encode())
    assert titles_of(tmp_path / "x.item", ["1"]) == [("1", "A", "")]


def test_a_folder_in_the_place_of_the_titles(tmp_path):
    with pytest.raises(UserError, match="is no table in RecBole's format: Is a directory"):
        titles_of(tmp_path, ["1"])
