# ruff: noqa: RUF001 - mail in many scripts
"""Ordinary mail that reaches a bounce address is never called a bounce, whatever it talks about.

People answer to the envelope sender, lists and newsletters are sent to addresses once seen, shops
write of deliveries that failed. Each mail is tried as from its author and as from the null sender
(the way automatic replies come).
"""

import base64
import quopri
from dataclasses import dataclass
from email.header import Header

import pytest

from postroad_bounce_processor.understanding.record import ReturnKind
from postroad_bounce_processor.understanding.understand import understand
from postroad_common.mail.mime import read

_NONE_OF_THESE = {ReturnKind.BOUNCE, ReturnKind.DELAYED, ReturnKind.SUCCESS, ReturnKind.COMPLAINT}


@dataclass(frozen=True)
class Mail:
    """A mail; `author` is its envelope sender, too."""

    subject: str
    text: str
    author: str = "anna@example.org"
    headers: str = ""
    charset: str = "utf-8"
    encoding: str = "8bit"
    html: bool = False

    def octets(self) -> bytes:
        body = self.text.encode(self.charset)
        if self.encoding == "base64":
            body = base64.encodebytes(body)
        elif self.encoding == "quoted-printable":
            body = quopri.encodestring(body)
        subject = Header(self.subject, self.charset, maxlinelen=900).encode()
        kind = "html" if self.html else "plain"
        return (
            f"From: {self.author}\r\nTo: orders@sender.example\r\nSubject: {subject}\r\n"
            f"Message-ID: <1@example.org>\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n"
            f"{self.headers}MIME-Version: 1.0\r\n"
            f"Content-Type: text/{kind}; charset={self.charset}\r\n"
            f"Content-Transfer-Encoding: {self.encoding}\r\n\r\n"
        ).encode() + body


LIST = "List-Id: Mail people <mail.lists.example>\r\nPrecedence: list\r\n"
BULK = "List-Unsubscribe: <https://news.example/u/1>\r\nPrecedence: bulk\r\n"
AUTO = "Auto-Submitted: auto-replied\r\n"

MAILS = {
    "english-person": Mail(
        "Re: Your order 1017", "Thanks, it arrived yesterday. The lid does not close, though."
    ),
    "english-person-moved": Mail(
        "Re: Catalogue", "Mary has moved to another company, her mailbox no longer exists here."
    ),
    "english-quotes-a-bounce": Mail(
        "Fwd: Undelivered Mail Returned to Sender",
        "Can you tell me what this means?\n\n> <kim@example.net>: host mx.example.net said:\n"
        "> 550 5.1.1 User unknown (in reply to RCPT TO command)\n",
    ),
    "english-asks-about-errors": Mail(
        "550 5.1.1 error when I write to you",
        "Whenever I write to info@sender.example I get 550 5.1.1 user unknown. Please help.",
    ),
    "english-parcel": Mail(
        "Delivery failed: we could not deliver your parcel",
        "We tried to deliver your parcel today, nobody was at home. Delivery will be retried "
        "tomorrow. Your parcel could not be delivered to: 12 Main Street.",
        author="tracking@parcels.example",
        headers=BULK,
    ),
    "english-parcel-delayed": Mail(
        "Your delivery is delayed",
        "The message from our driver: your package has not yet been delivered.",
        author="no-reply@parcels.example",
    ),
    "english-newsletter": Mail(
        "Why mail bounces: user unknown, mailbox full, and what to do",
        "<h1>Deliverability weekly</h1><p>A hard bounce (550 5.1.1 user unknown) means the address "
        "does not exist. Mailbox full (552 5.2.2) is soft.</p>",
        author="news@deliverability.example",
        headers=BULK,
        html=True,
        encoding="quoted-printable",
    ),
    "english-receipt": Mail(
        "Receipt for your payment", "Total: 550.00 EUR. Reference 5.1.1-2026. Status: failed: no.",
        author="billing@shop.example", encoding="base64",
    ),
    "english-payment-failed": Mail(
        "Payment failed", "Your payment of 54.50 was rejected by the bank: account closed.",
        author="billing@shop.example",
    ),
    "english-quota": Mail(
        "Your mailbox is almost full",
        "Your mailbox kim@example.net is over quota. Delete some messages.",
        author="support@provider.example",
    ),
    "english-list-post": Mail(
        "[mail] Bounce handling: status 5.7.1", "Our MTA says 'Relay access denied'. Any idea?",
        headers=LIST,
    ),
    "english-list-digest": Mail(
        "mail Digest, Vol 7, Issue 3", "Today's Topics:\n 1. Undeliverable mail (Bob)\n",
        author="mail-request@lists.example", headers=LIST,
    ),
    "english-subscription": Mail(
        "Confirm your subscription", "Please confirm by clicking the link.",
        author="mail-confirm@lists.example",
    ),
    "english-left-the-company": Mail(
        "Automatic reply: Your order",
        "Mary no longer works here. This mailbox is not monitored and will be closed. Please write "
        "to info@example.org.",
        headers=AUTO,
    ),
    "english-vacation": Mail("Out of office", "I am away until Monday.", headers=AUTO),
    "english-ticket": Mail(
        "[#4711] We have received your request", "A ticket has been created. Do not reply.",
        author="support@example.org", headers="Auto-Submitted: auto-generated\r\n",
    ),
    "english-unsubscribe": Mail("unsubscribe", "unsubscribe"),
    "english-empty": Mail("", ""),
    "english-calendar": Mail("Accepted: Meeting", "Kim has accepted this invitation."),
    "german-person": Mail(
        "AW: Ihre Bestellung",
        "Guten Tag,\ndie Lieferung ist fehlgeschlagen, sagt der Paketdienst. Können Sie helfen?\n",
    ),
    "german-parcel": Mail(
        "Ihre Sendung konnte nicht zugestellt werden",
        "Der Empfänger war nicht anzutreffen. Abholung in der Filiale.",
        author="info@paket.example", charset="iso-8859-1", encoding="quoted-printable",
    ),
    "german-vacation": Mail(
        "Abwesenheitsnotiz", "Ich bin bis Montag nicht im Büro. Ihre Mail wird nicht "
        "weitergeleitet.", headers=AUTO,
    ),
    "german-left": Mail(
        "Automatische Antwort: Angebot",
        "Frau Maier ist nicht mehr im Unternehmen. Das Postfach ist deaktiviert.", headers=AUTO,
    ),
    "french-person": Mail("Re: Votre commande", "L'adresse de livraison n'existe plus. Merci !"),
    "french-parcel": Mail(
        "Échec de livraison de votre colis", "Votre colis n'a pas pu être livré.",
        author="suivi@colis.example",
    ),
    "french-vacation": Mail(
        "Réponse automatique : absence", "Je suis absente jusqu'à lundi.", headers=AUTO,
    ),
    "spanish-parcel": Mail(
        "Envío no entregado", "No hemos podido entregar su paquete. El destinatario no existe en "
        "esta dirección.", author="avisos@paqueteria.example",
    ),
    "spanish-person": Mail("Re: Pedido", "La dirección ya no existe, nos hemos mudado."),
    "portuguese-person": Mail("Re: Pedido", "A caixa chegou cheia, obrigado. Endereço novo: x"),
    "portuguese-parcel": Mail(
        "Falha na entrega do seu pedido", "O destinatário não foi encontrado.",
        author="entregas@loja.example",
    ),
    "italian-parcel": Mail(
        "Mancata consegna del pacco", "Il destinatario è sconosciuto a questo indirizzo.",
        author="spedizioni@corriere.example",
    ),
    "dutch-person": Mail("Re: Bestelling", "Het adres bestaat niet meer. Groet, Jan"),
    "swedish-vacation": Mail("Autosvar: Semester", "Jag är frånvarande.", headers=AUTO),
    "polish-person": Mail("Odp: Zamówienie", "Adres nie istnieje, proszę o zwrot."),
    "czech-person": Mail("Re: Objednávka", "Zásilka nebyla doručena, prosím o vrácení peněz."),
    "hungarian-person": Mail("Re: Rendelés", "A csomag nem érkezett meg. Köszönöm!"),
    "turkish-person": Mail("Ynt: Sipariş", "Adres bulunamadı diyorlar, teslim edilemedi."),
    "greek-person": Mail("Απ: Παραγγελία", "Το δέμα δεν παραδόθηκε."),
    "russian-person": Mail(
        "Re: Заказ", "Посылка не доставлена, адрес не существует.", charset="koi8-r",
        encoding="base64",
    ),
    "russian-vacation": Mail("Автоответ: отпуск", "Меня нет в офисе.", headers=AUTO),
    "ukrainian-person": Mail("Re: Замовлення", "Дякую, отримав.", charset="windows-1251"),
    "hebrew-person": Mail("תשובה: הזמנה", "החבילה לא הגיעה."),
    "arabic-person": Mail("رد: الطلب", "لم يتم تسليم الطرد."),
    "hindi-person": Mail("Re: ऑर्डर", "पार्सल नहीं मिला।"),
    "thai-person": Mail("ตอบ: คำสั่งซื้อ", "ยังไม่ได้รับสินค้า"),
    "vietnamese-person": Mail("Trả lời: Đơn hàng", "Không giao được hàng."),
    "chinese-person": Mail(
        "回复：订单", "地址不存在，请退回。", charset="gb18030", encoding="base64",
    ),
    "chinese-parcel": Mail(
        "您的包裹被退回", "收件人不存在，投递失败。", author="notice@kuaidi.example",
    ),
    "japanese-person": Mail(
        "Re: ご注文", "届きました。ありがとうございます。", charset="iso-2022-jp", encoding="7bit",
    ),
    "japanese-vacation": Mail("自動返信: 不在", "休暇中です。", headers=AUTO),
    "korean-person": Mail("Re: 주문", "배송 실패라고 합니다.", charset="euc-kr", encoding="base64"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(MAILS))
def test_ordinary_mail_is_no_return(name: str):
    mail = MAILS[name]
    found = understand(read(mail.octets()), expected="kim@example.net", mail_from=mail.author)
    assert found.kind not in _NONE_OF_THESE
    assert not found.hard


@pytest.mark.parametrize("name", sorted(MAILS))
def test_ordinary_mail_from_the_null_sender_condemns_nobody(name: str):
    found = understand(read(MAILS[name].octets()), expected="kim@example.net")
    assert not found.hard


@pytest.mark.parametrize(
    "name", sorted(name for name, mail in MAILS.items() if mail.headers or "person" in name)
)
def test_replies_and_lists_from_the_null_sender_are_no_returns_either(name: str):
    found = understand(read(MAILS[name].octets()), expected="kim@example.net")
    assert found.kind not in _NONE_OF_THESE
