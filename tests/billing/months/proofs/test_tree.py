"""The tree is RFC 6962's, and a path proves one leaf at one place of it."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.months.proofs.verify import NotProven, leaf, node, path_of, root_by, root_of

SIZES = [*range(1, 40), 63, 64, 65, 127, 1023, 1024, 1025]


def hashes_of(size: int) -> list[bytes]:
    return [leaf(f"row {number}") for number in range(size)]


def by_the_book(hashes: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written there."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node(by_the_book(hashes[:split]), by_the_book(hashes[split:]))


@pytest.mark.parametrize("size", SIZES)
def test_it_works(size: int) -> None:
    hashes = hashes_of(size)
    root = root_of(hashes)
    assert root == by_the_book(hashes)
    for index, one in enumerate(hashes):
        assert root_by(one, index=index, size=size, path=path_of(hashes, index)) == root


def test_known_roots() -> None:
    """The test vectors of Certificate Transparency's reference code."""
    texts = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    hashes = [hashlib.sha256(b"\x00" + bytes.fromhex(text)).digest() for text in texts]
    assert root_of(hashes[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert root_of(hashes).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@given(st.integers(1, 3000), st.integers(1, 300))
def test_whole_subtrees_make_the_same_root(size: int, share: int) -> None:
    chunk = 1 << (share % 9)
    hashes = hashes_of(size)
    subtrees = [root_of(hashes[start : start + chunk]) for start in range(0, size, chunk)]
    assert root_of(subtrees) == root_of(hashes)
    index = (size * share) // 301
    start = index // chunk * chunk
    path = path_of(hashes[start : start + chunk], index - start) + path_of(subtrees, index // chunk)
    assert root_by(hashes[index], index=index, size=size, path=path) == root_of(hashes)


def proves(found: bytes, root: bytes, **place: object) -> bool:
    try:
        return root_by(found, **place) == root  # type: ignore[arg-type]
    except NotProven:
        return False


@pytest.mark.parametrize("size", [2, 3, 5, 8, 13, 21])
def test_no_other_place_leaf_size_or_path_proves(size: int) -> None:
    hashes = hashes_of(size)
    root = root_of(hashes)
    for index, one in enumerate(hashes):
        path = path_of(hashes, index)
        assert proves(one, root, index=index, size=size, path=path)
        for other in range(size):
            if other != index:
                assert not proves(one, root, index=other, size=size, path=path)
                assert not proves(hashes[other], root, index=index, size=size, path=path)
        assert not proves(one, root, index=index, size=size, path=path[:-1])
        assert not proves(one, root, index=index, size=size, path=[*path, one])
        assert not proves(one, root, index=index, size=size, path=path[::-1] if path != path[::-1] else [])
        # a node does not pass for a leaf, one level up
        if index % 2 == 0 and index + 1 < size and size % 2 == 0:
            parent = node(one, hashes[index + 1])
            text = one + hashes[index + 1]
            assert hashlib.sha256(b"\x00" + text).digest() != parent
