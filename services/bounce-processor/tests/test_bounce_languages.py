# ruff: noqa: RUF001 - mail in many scripts
"""Bounces in many languages that nothing but their text says are such.

They have no report part, and a postmaster is their sender.
"""

import pytest

from postroad_bounce_processor.understanding.record import RecordSource, ReturnKind
from postroad_bounce_processor.understanding.understand import understand
from postroad_common.mail.mime import read

_MAILS = [
    # (language, subject, text, class)
    (
        "it",
        "Notifica di mancato recapito",
        "Il messaggio non è stato recapitato a {}: casella inesistente",
        "no-such-user",
    ),
    (
        "de",
        "Unzustellbar: Ihre Bestellung",
        "Ihre Nachricht an {} konnte nicht zugestellt werden.\n\n550 Empfänger unbekannt",
        "no-such-user",
    ),
    (
        "fr",
        "Non remis : commande",
        "Votre message à {} n'a pas pu être remis : boîte pleine",
        "mailbox-full",
    ),
    (
        "es",
        "No se puede entregar: pedido",
        "No se pudo entregar su mensaje a {}\n\n550 usuario desconocido",
        "no-such-user",
    ),
    (
        "pt",
        "Não foi possível entregar: pedido",
        "A sua mensagem para {} não pôde ser entregue. 550 usuário inexistente",
        "no-such-user",
    ),
    (
        "nl",
        "Onbestelbaar: order",
        "Uw bericht aan {} kon niet worden afgeleverd: 550 onbekende gebruiker",
        "no-such-user",
    ),
    (
        "ru",
        "Недоставленное сообщение",
        "Ваше письмо для {} не доставлено: пользователь не найден",
        "no-such-user",
    ),
    (
        "ja",
        "配信不能: ご注文",
        "次の宛先への配信に失敗しました: {}\n\n宛先が見つかりません",
        "no-such-user",
    ),
    (
        "zh",
        "系统退信/Systems bounce",
        "您的邮件无法发送到 {}\n\n退信原因: 用户不存在",
        "no-such-user",
    ),
    (
        "ko",
        "메일 전송 실패",
        "{} 님에게 메일을 보내지 못했습니다.\n\n존재하지 않는 사용자입니다",
        "no-such-user",
    ),
    (
        "pl",
        "Nie można dostarczyć: zamówienie",
        "Nie można dostarczyć wiadomości do {}: 550 nie ma takiego użytkownika",
        "no-such-user",
    ),
    (
        "sv",
        "Kunde inte levereras: order",
        "Ditt meddelande till {} kunde inte levereras. 550 okänd användare",
        "no-such-user",
    ),
    (
        "da",
        "Kan ikke leveres: ordre",
        "Din besked til {} kunne ikke leveres. 550 ukendt bruger",
        "no-such-user",
    ),
    (
        "cs",
        "Nedoručitelné: objednávka",
        "Zpráva pro {} nemohla být doručena. 550 uživatel neexistuje",
        "no-such-user",
    ),
    (
        "tr",
        "Teslim edilemedi: sipariş",
        "{} adresine iletiniz teslim edilemedi: 550 kullanıcı bulunamadı",
        "no-such-user",
    ),
    (
        "hu",
        "Kézbesíthetetlen: rendelés",
        "Az üzenet nem kézbesíthető ide: {}. 550 ismeretlen címzett",
        "no-such-user",
    ),
    (
        "el",
        "Δεν ήταν δυνατή η παράδοση",
        "Το μήνυμά σας προς {} δεν παραδόθηκε. 550 άγνωστος χρήστης",
        "no-such-user",
    ),
]


def _mail(subject: str, text: str) -> bytes:
    return (
        f"From: postmaster@corp.example\nTo: bounce@postroad.example\nSubject: {subject}\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
        f"Content-Transfer-Encoding: 8bit\n\n{text.format('kim@example.net')}\n"
    ).encode()


def test_domino_is_understood_in_german():
    text = "Ihr Dokument: Your order\nwurde nicht zugestellt an: {}\n"
    text += "wegen: Benutzer kim ({}) nicht im Domino-Verzeichnis aufgef\u00fchrt"
    text = text.replace("({})", "(kim)")
    found = understand(read(_mail("FEHLER BEI DER ZUSTELLUNG", text)), expected="kim@example.net")
    assert (found.kind, found.bounce_class) == (ReturnKind.BOUNCE, "no-such-user")


def test_a_warning_of_opensmtpd_is_no_bounce_yet():
    text = "A message is delayed for more than 4 hours for the following\nlist of recipients:\n\n"
    text += "{}: Network error on destination MXs\n\nPlease note that this is only a temporary "
    text += "failure report.\n"
    found = understand(read(_mail("Delivery status notification: warning", text)))
    assert found.kind is ReturnKind.DELAYED


@pytest.mark.parametrize(
    ("language", "subject", "text", "name"), _MAILS, ids=[entry[0] for entry in _MAILS]
)
def test_bounce_is_understood_in(language: str, subject: str, text: str, name: str):
    found = understand(read(_mail(subject, text)), expected="kim@example.net")
    assert (found.kind, found.source) == (ReturnKind.BOUNCE, RecordSource.FORMAT), language
    assert found.bounce_class == name


@pytest.mark.parametrize(
    ("language", "subject", "text", "name"), _MAILS, ids=[entry[0] for entry in _MAILS]
)
def test_subject_alone_is_known_in(language: str, subject: str, text: str, name: str):
    found = understand(read(_mail(subject, "...")), expected="kim@example.net")
    assert found.kind is ReturnKind.BOUNCE, (language, text, name)
    assert not found.hard


def test_automatic_replies_are_known_by_their_subjects_and_condemn_nobody():
    subjects = (  # noqa: SIM905 - a list of subjects
        "Automatic reply: x|Automatische Antwort: x|Réponse automatique : x|"
        "Respuesta automática: x|"
        "Risposta automatica: x|Resposta automática: x|Automatisch antwoord: x|Automatiskt svar: x|"
        "Automatisk svar: x|Automaattinen vastaus: x|Automatyczna odpowiedź: x|"
        "Automatická odpověď: x|Automatikus válasz: x|Răspuns automat: x|Otomatik yanıt: x|"
        "Αυτόματη απάντηση: x|Автоматический ответ: x|Автоматична відповідь: x|תשובה אוטומטית: x|"
        "رد تلقائي: x|自动答复: x|自動回覆: x|自動応答: x|자동 회신: x|Trả lời tự động: x"
    ).split("|")
    # From the null sender and in words of a bounce: the subject is all that tells.
    text = "Your message could not be delivered to {}.\n\n550 5.1.1 User unknown"
    for subject in subjects:
        found = understand(read(_mail(subject, text)), expected="kim@example.net")
        assert (found.kind, found.detail) == (ReturnKind.RESPONSE, "vacation"), subject


def test_a_challenge_is_known_whoever_it_calls_the_writer():
    subject = "Re: x [message requires verification]"
    found = understand(read(_mail(subject, "Please click here.")), expected="kim@example.net")
    assert (found.kind, found.detail) == (ReturnKind.RESPONSE, "challenge")
