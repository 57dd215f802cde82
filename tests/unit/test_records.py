"""Records become rows of plain values and come back as they were."""

from dataclasses import dataclass

from imageref_ray.core.records import Image, from_row, to_row


@dataclass(frozen=True, slots=True)
class Shown:
    """Fields whose value may be missing, of every nested kind."""

    main: Image | None = None
    others: tuple[Image, ...] | None = None
    names: tuple[str, ...] = ()
    note: str | None = None


def test_a_field_that_may_be_missing_comes_back_as_what_it_is() -> None:
    image = Image("1/0.jpg", "/a/0.jpg", width=3, height=4)
    for value in (Shown(), Shown(image), Shown(None, (image, image), ("a",), "note")):
        row = to_row(value)
        assert from_row(Shown, row) == value
        assert from_row(Shown, {**row, "unknown": 1}) == value
