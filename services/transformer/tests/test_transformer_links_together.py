"""Many links decided on in one go: each gets what it would get alone."""

from hypothesis import given
from hypothesis import strategies as st

from postroad_common.tokens import LinkKind, tail, tails
from postroad_transformer.html.attributes import attribute_text
from postroad_transformer.html.urls import target_of, targets_of
from postroad_transformer.segments import Hole
from postroad_transformer.tracking.links import MAX_TARGET, LinkRules, LinkTraits, says_unsubscribe

BASE = "https://Track.example.com/t"
OFFERED = "http://a.test/listed"
TARGETS = (
    "http://a.test/x?a=1",
    "https://track.example.com/t/c0",
    "http://a.test/OptOut",
    "http://a.test/" + "x" * MAX_TARGET,
    OFFERED,
)
WORDS = ("Go", "a.test", "http://b.test/", "Un", "subscribe", "uitschrijven", "\0", "\n", "İ", "ΑΣ")

hrefs = st.lists(
    st.sampled_from(
        [
            "http://",
            "HTTPS://",
            "a.test",
            "/x",
            "?a=1",
            "&amp;",
            "&",
            "&copy;",
            " ",
            "\n",
            "é",
            "mailto:",
        ]
    ),
    max_size=5,
).map("".join)
visible = st.lists(st.sampled_from(WORDS), max_size=4).map("".join)
traits = st.builds(
    LinkTraits, st.sampled_from([False, False, True]), st.sampled_from([False, True])
)
links = st.tuples(traits, st.sampled_from(TARGETS), visible)


@given(st.lists(hrefs, max_size=8))
def test_targets_are_those_of_each_value_alone(values: list[str]):
    assert targets_of(values) == [target_of(attribute_text(value)) for value in values]


@given(some=st.lists(links, max_size=8), preventscam=st.booleans())
def test_refusals_are_those_of_each_link_alone(
    some: list[tuple[LinkTraits, str, str]], *, preventscam: bool
):
    rules = LinkRules(BASE, preventscam, frozenset({OFFERED}))
    tags, targets, texts = ([one[part] for one in some] for part in range(3))
    assert rules.refusals(tags, targets, texts) == [rules.refusal(*link) for link in some]
    assert rules.image_refusals(tags, targets) == [
        rules.image_refusal(tag, target) for tag, target, _ in some
    ]


def test_a_word_for_unsubscribing_counts_for_its_own_link_only():
    rules = LinkRules(BASE)
    texts = ["Un", "subscribe", "Unsubscribe here", "or unsubscribe there", "Go"]
    tags = [LinkTraits(opted_out=False, unsubscribes=False)] * len(texts)
    refusals = rules.refusals(tags, ["http://a.test/"] * len(texts), texts)
    assert refusals == [None, None, "unsubscribe", "unsubscribe", None]
    assert [says_unsubscribe("http://a.test/", text) for text in texts] == [
        refusal is not None for refusal in refusals
    ]


def test_unsubscribing_is_understood_in_many_languages():
    rules = LinkRules(BASE)
    texts = (  # noqa: SIM905 - a list of words
        "Darme de baja|Cancelar suscripción|Cancelar a inscrição|Descadastrar-se|Se désabonner|"
        "Newsletter abbestellen|Uitschrijven|Avmeld nyhetsbrev|Afmeld nyhedsbrev|Avregistrera|"
        "Peruuta tilaus|Wypisz się|Odhlásit odběr|Leiratkozás|Dezabonare|Abonelikten çekil|退订|"
        "Отписаться|Відписатися|取消訂閱|配信停止|수신거부|Hủy đăng ký|Απεγγραφή|إلغاء الاشتراك"
    ).split("|")
    others = ["Order cancellations", "Melden Sie sich an", "Baja Sardinia", "Suscripción", "登録"]
    tags = [LinkTraits(opted_out=False, unsubscribes=False)] * (len(texts) + len(others))
    refusals = rules.refusals(tags, ["http://a.test/"] * len(tags), [*texts, *others])
    assert refusals == ["unsubscribe"] * len(texts) + [None] * len(others)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8), st.sampled_from(LinkKind))
def test_tails_are_those_of_each_target_alone(octets: list[bytes], kind: LinkKind):
    assert tails(kind, octets) == [tail(kind, one) for one in octets]


def test_tracked_links_are_those_that_each_would_be_alone():
    rules = LinkRules(BASE)
    before, holes, ends = rules.tracked_all(LinkKind.CLICK, [3, 7], TARGETS[:2])
    assert [(before, hole, end) for hole, end in zip(holes, ends, strict=True)] == [
        rules.tracked(LinkKind.CLICK, 3, TARGETS[0]),
        rules.tracked(LinkKind.CLICK, 7, TARGETS[1]),
    ]
    assert isinstance(holes[0], Hole)
