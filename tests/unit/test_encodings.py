"""Pages decode as in browsers, whatever label they carry; a broken byte costs one character."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.sources.pages.encodings import decode


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("windows-949", "cp949", "한국어 똠방각하"),
        ("ks_c_5601-1987", "cp949", "한국어"),
        ("x-sjis", "cp932", "日本語①髙"),
        ("Shift_JIS", "cp932", "記事㈱"),
        ("x-euc-jp", "euc_jp", "日本語の記事"),
        ("csISO2022JP", "iso2022_jp", "日本語"),
        ("big5", "big5hkscs", "台灣新聞"),
        ("x-gbk", "gb18030", "中文新闻"),
        ("gb2312", "gb18030", "镕"),
        ("windows-874", "cp874", "ข่าว"),
        ("iso-8859-9", "cp1254", "İstanbul “haber”"),
        ("latin1", "cp1252", "“naïve” – €"),
        ("koi8-r", "koi8_r", "привет"),
        ("iso-8859-8-i", "iso8859_8", "שלום"),
        ("utf-16", "utf-8", "é"),
        ("hz-gb-2312", "hz", "中文"),
    ],
)
def test_a_declared_encoding_is_read_under_all_its_names(label: str, codec: str, text: str) -> None:
    data = text.encode(codec)
    assert decode(f"<meta charset='{label}'>".encode() + data).endswith(f">{text}")
    content = f'<meta content="text/html; charset={label}" http-equiv="content-type" />'
    assert decode(content.encode() + data).endswith(f">{text}")
    assert decode(f'<?xml version="1.0" encoding="{label}"?>'.encode() + data).endswith(f">{text}")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xef\xbb\xbf<meta charset=big5>\xc3\xa9", "<meta charset=big5>é"),
        ("é".encode("utf-16-be"), "\xe9".encode("utf-16-be").decode("latin1")),
        (b"\xfe\xff" + "é".encode("utf-16-be"), "é"),
        ("<?xml version='1.0'?>é".encode("utf-16-le"), "<?xml version='1.0'?>é"),
        (b"<!-- <meta charset=big5> -->\xc3\xa9", "<!-- <meta charset=big5> -->é"),
        (b"<meta name=description content='charset=big5'>\xc3\xa9", "<meta name=description content='charset=big5'>é"),
        (b"<meta charset=nonsense><meta charset=cp1251>\xef", "<meta charset=nonsense><meta charset=cp1251>п"),
        ("é".encode() * 9 + b"\xff" + "é".encode(), "é" * 9 + "\ufffdé"),
        (b"caf\xe9 \x93\x81\x94", "café “\x81”"),
        (b"<meta charset=euc-kr>\xc7\xd1\xff\xb1\xb9", "<meta charset=euc-kr>한\ufffd국"),
        (b"<meta charset=gbk>\xd6\xd0\xff\x80\xce\xc4", "<meta charset=gbk>中\ufffd€文"),
        (b"<meta charset=euc-jp>\xad\xa1\xfc\xe2\xff\xb0\xa1", "<meta charset=euc-jp>①髙\ufffd亜"),
        (b"<meta charset=big5>\xa3\xe1\xff\xa5x", "<meta charset=big5>€\ufffd台"),
    ],
)
def test_marks_declarations_and_broken_bytes(data: bytes, text: str) -> None:
    assert decode(data) == text


@given(
    st.binary(max_size=80),
    st.sampled_from(["utf-8", "big5", "gbk", "euc-jp", "iso-2022-jp", "euc-kr", "windows-1255", "hz"]),
)
def test_no_bytes_fail(data: bytes, label: str) -> None:
    text = decode(f"<meta charset={label}>".encode() + data)
    assert text.encode("utf-8")


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("begin", ["<!doctype html>", "\n<p>", "# Title\n"])
def test_utf_16_without_a_mark_is_read(codec: str, begin: str) -> None:
    assert decode(f"{begin}größer 😀".encode(codec)) == f"{begin}größer 😀"
