"""DANE without I/O: which TLSA records count, and what fits them."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from postroad_sender.tls.dane import DaneError, TlsaMatch, TlsaRecord, match, usable

NOW = datetime.now(UTC)
NAMES = ("mx.d.test", "d.test")


def tlsa(kind: str, certificate: x509.Certificate) -> TlsaRecord:
    """Return the record of `kind`, as in `3 1 1`, for `certificate`."""
    usage, selector, matching = map(int, kind.split())
    if selector == 0:
        data = certificate.public_bytes(Encoding.DER)
    else:
        key = certificate.public_key()
        data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if matching != 0:
        data = {1: hashlib.sha256, 2: hashlib.sha512}[matching](data).digest()
    return TlsaRecord(usage, selector, matching, data)


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
def test_dane_ee_record_fits_the_servers_own_certificate_and_no_other(
    authority: Any, selector: int, matching: int
):
    mine, other = authority.issue("mx.d.test"), authority.issue("mx.d.test")
    record = tlsa(f"3 {selector} {matching}", mine.certificate)
    assert match([record], mine.chain, NAMES, NOW) == TlsaMatch(record, "")
    with pytest.raises(DaneError, match="fits no TLSA record"):
        match([record], other.chain, NAMES, NOW)


def test_dane_ee_asks_for_neither_name_nor_date(authority: Any):
    mine = authority.issue("elsewhere.test", days=-2)
    record = tlsa("3 1 1", mine.certificate)
    assert match([record], mine.chain, NAMES, NOW).record is record


def test_dane_ee_record_of_an_authority_fits_nothing(authority: Any):
    mine = authority.issue("mx.d.test")
    with pytest.raises(DaneError):
        match([tlsa("3 1 1", authority.between)], mine.chain, NAMES, NOW)


@pytest.mark.parametrize("kind", ["2 0 0", "2 0 1", "2 1 1", "2 1 2"])
@pytest.mark.parametrize("who", ["between", "root"])
def test_dane_ta_record_fits_a_chain_to_that_authority(authority: Any, kind: str, who: str):
    mine = authority.issue("mx.d.test", with_root=True)
    record = tlsa(kind, getattr(authority, who))
    assert match([record], mine.chain, NAMES, NOW) == TlsaMatch(record, "mx.d.test")


def test_dane_ta_certificate_in_the_record_need_not_be_presented(authority: Any):
    mine = authority.issue("mx.d.test")
    record = tlsa("2 0 0", authority.root)
    assert match([record], mine.chain, NAMES, NOW).record is record
    with pytest.raises(DaneError, match="no certificate of the chain"):
        match([tlsa("2 0 1", authority.root)], mine.chain, NAMES, NOW)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["mx.d.test"], "mx.d.test"),
        (["d.test"], "d.test"),
        (["MX.d.test", "x.test"], "mx.d.test"),
        (["*.d.test"], "mx.d.test"),
        (["*.test"], "d.test"),
        (["other.test"], None),
        (["*.mx.d.test"], None),
    ],
)
def test_dane_ta_certificate_is_for_the_host_or_the_domain(
    authority: Any, names: list[str], found: str | None
):
    mine = authority.issue(*names)
    record = tlsa("2 1 1", authority.between)
    if found is None:
        with pytest.raises(DaneError, match=r"not for mx\.d\.test or d\.test"):
            match([record], mine.chain, NAMES, NOW)
    else:
        assert match([record], mine.chain, NAMES, NOW).name == found


def test_common_name_counts_only_where_there_is_no_other(authority: Any):
    record = tlsa("2 1 1", authority.between)
    alone = authority.issue(common="mx.d.test")
    assert match([record], alone.chain, NAMES, NOW).name == "mx.d.test"
    with pytest.raises(DaneError):
        match([record], authority.issue("x.test", common="mx.d.test").chain, NAMES, NOW)


def test_dane_ta_certificate_that_has_expired_is_refused(authority: Any):
    mine = authority.issue("mx.d.test", days=-1)
    with pytest.raises(DaneError, match="expired"):
        match([tlsa("2 1 1", authority.between)], mine.chain, NAMES, NOW)
    fresh = authority.issue("mx.d.test", days=100)
    with pytest.raises(DaneError, match="expired"):  # that of the authority has
        match([tlsa("2 1 1", authority.between)], fresh.chain, NAMES, NOW + timedelta(days=50))


def test_certificate_that_only_stands_beside_the_chain_proves_nothing(authority: Any):
    mine, stranger = authority.issue("mx.d.test"), authority.issue("x.test")
    chain = [*mine.chain, stranger.chain[0]]
    with pytest.raises(DaneError, match="no certificate of the chain"):
        match([tlsa("2 1 1", stranger.certificate)], chain, NAMES, NOW)


def test_certificate_that_is_no_authoritys_cannot_sign_for_another(authority: Any):
    for may_sign in (False, True):
        chain = authority.issue_through("mx.d.test", may_sign=may_sign).chain
        record = tlsa("2 1 1", authority.between)
        if may_sign:
            assert match([record], chain, NAMES, NOW).record is record
        else:
            with pytest.raises(DaneError, match="no certificate of the chain"):
                match([record], chain, NAMES, NOW)


@pytest.mark.parametrize(
    ("record", "good"),
    [
        (TlsaRecord(3, 1, 1, b"x" * 32), True),
        (TlsaRecord(2, 0, 2, b"x" * 64), True),
        (TlsaRecord(3, 0, 0, b"x"), True),
        (TlsaRecord(0, 0, 1, b"x" * 32), False),
        (TlsaRecord(1, 1, 1, b"x" * 32), False),
        (TlsaRecord(4, 1, 1, b"x" * 32), False),
        (TlsaRecord(3, 2, 1, b"x" * 32), False),
        (TlsaRecord(3, 1, 3, b"x" * 32), False),
        (TlsaRecord(3, 1, 1, b"x" * 31), False),
        (TlsaRecord(3, 1, 2, b"x" * 32), False),
        (TlsaRecord(3, 1, 0, b""), False),
    ],
)
def test_only_records_that_smtp_knows_are_usable(record: TlsaRecord, good: bool):  # noqa: FBT001
    assert bool(usable([record])) is good


def test_weaker_digest_is_left_out_beside_a_stronger_one(authority: Any):
    mine, other = authority.issue("mx.d.test"), authority.issue("mx.d.test")
    weak, strong = tlsa("3 1 1", mine.certificate), tlsa("3 1 2", other.certificate)
    whole, issuer = tlsa("3 1 0", other.certificate), tlsa("2 1 1", authority.between)
    assert usable([weak, strong, whole, issuer]) == (strong, whole, issuer)
    with pytest.raises(DaneError):
        match(usable([weak, strong]), mine.chain, NAMES, NOW)


@given(
    st.lists(
        st.builds(
            TlsaRecord,
            st.integers(0, 4),
            st.integers(0, 2),
            st.integers(0, 3),
            st.binary(max_size=70),
        ),
        max_size=5,
    ),
    st.lists(st.binary(max_size=70), max_size=3),
)
def test_rubbish_is_an_error_and_never_a_match(records: list[TlsaRecord], chain: list[bytes]):
    with pytest.raises(DaneError):
        match(usable(records), chain, NAMES, NOW)
