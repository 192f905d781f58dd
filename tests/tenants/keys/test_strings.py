"""Keys as strings: what is minted can be found and checked, and nothing else can."""

from tenants.keys import strings as keys


def test_it_works() -> None:
    minted = keys.mint()
    assert minted.clear.startswith(f"psr_{minted.public_id}_")
    assert keys.public_id_of(minted.clear) == minted.public_id
    assert keys.matches(minted.clear, minted.secret_hash)


def test_two_keys_share_nothing() -> None:
    one, other = keys.mint(), keys.mint()
    assert one.public_id != other.public_id
    assert not keys.matches(one.clear, other.secret_hash)


def test_any_other_string_is_a_key_too() -> None:
    clear = "a key with spaces, and an ü"
    assert keys.public_id_of(clear).startswith("x")
    assert keys.public_id_of(clear) == keys.public_id_of(clear)
    assert keys.matches(clear, keys.hash_secret(clear))


def test_the_public_id_of_a_foreign_key_tells_nothing_of_its_hash() -> None:
    clear = "a-key-from-elsewhere"
    assert not keys.hash_secret(clear).hex().startswith(keys.public_id_of(clear)[1:])


def test_a_rotated_foreign_key_keeps_its_public_id() -> None:
    public_id = keys.public_id_of("a-key-from-elsewhere")
    assert keys.public_id_of(keys.mint(public_id).clear) == public_id


def test_a_key_that_is_not_text_can_be_hashed() -> None:
    assert keys.public_id_of(b"\xff\xfe".decode("utf-8", "surrogateescape")).startswith("x")
