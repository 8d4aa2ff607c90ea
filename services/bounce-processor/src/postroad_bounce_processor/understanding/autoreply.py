"""Replies that programs and people send to an envelope address: none of them is a bounce.

Known by what they declare (RFC 3834 Auto-Submitted, RFC 8098 read receipts, vendor header fields)
and, with the words of the subject, by what they look like. A mail that says "Mary no longer works
here" is a reply of Mary's mail program, and must never put her on a suppression list.
"""

import re

from postroad_common.mail.decoding import decode_words
from postroad_common.mail.mime import Part

_RECEIPT = "message/disposition-notification"

# Header fields that only responders set; the value says nothing more unless listed.
_RESPONDER_FIELDS = {
    "x-autoreply": "vacation",
    "x-autorespond": "vacation",
    "x-autoresponder": "vacation",
    "x-auto-response": "vacation",
    "x-auto-reply-from": "vacation",
    "x-mail-autoreply": "vacation",
    "x-vacation": "vacation",
    "x-ms-exchange-inbox-rules-loop": "vacation",
    "x-tmda-fingerprint": "challenge",
    "x-boxbe": "challenge",
    "x-choicemail-registration-request": "challenge",
    "x-spamarrest-noreply": "challenge",
}

_VACATION_SUBJECT = re.compile(
    r"""^(?:(?:re|aw|sv|antw|automatic\ reply|auto\ reply)\s*:\s*)*(?:
        \[?auto(?:matic|mated|matisch\w*|matique)?[\s:_-]*
            (?:reply|response|respond\w*|antwort\w*|antwoord\w*)
      | automat(?:isk|iskt)\ svar | automaattinen\ vastaus | automatyczna\ odpowied(?:ź|z)
      | automatick(?:á|a)\ odpov(?:ě|e|ď|d)[^ :]{1,3} | automatikus\ v(?:á|a)lasz
      | r(?:ă|a)spuns\ automat | otomatik\ (?:yan[^ ]t|cevap) | samodejni\ odgovor
      | automatski\ odgovor | trả\ lời\ tự\ động | balasan\ otomatis | jawapan\ automatik
      | αυτόματη\ απάντηση | автоматична\ відповідь | автоматичен\ отговор
      | תשובה\ אוטומטית | מענה\ אוטומטי | رد\ تلقائي | پاسخ\ خودکار | ตอบกลับอัตโนมัติ
      | (?:i\ am\ |i'm\ )?(?:currently\ )?out\ of\ (?:the\ )?office
      | (?:on|away\ on)\ (?:vacation|holiday|annual\ leave|maternity\ leave|leave)
      | vacation\ (?:reply|response|message|notice)
      | away\ from\ (?:the\ |my\ )?(?:office|desk|mail)
      | (?:i\ am\ |i'm\ )?no\ longer\ (?:with|at|work\w*|employed)
      | abwesen | abwesenheits | ich\ bin\ nicht\ im\ b(?:ü|ue)ro
      | afwezig | automatisch\ antwoord
      | r(?:é|e)ponse\ automatique | absence\ du\ bureau | absent\b
      | respuesta\ autom(?:á|a)tica | fuera\ de\ (?:la\ )?oficina
      | resposta\ autom(?:á|a)tica | f(?:é|e)rias | ausente
      | risposta\ automatica | fuori\ sede | assente
      | autosvar | fr(?:å|a)nvarande | frav(?:æ|a)r
      | автоответ | автоматический\ ответ
      | 自动[回答][复覆] | 自動回[覆復] | 自動應答 | 自動応答 | 自動返信 | 不在
      | 자동\ ?(?:회신|응답|답장) | 부재중
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_CHALLENGE_SUBJECT = re.compile(
    r"(?:please |bitte )?confirm your (?:e-?mail|message)|"
    r"\b(?:e-?mail|message) (?:to \S{1,100} )?requires (?:verification|confirmation|approval)|"
    r"verify (?:your (?:e-?mail|message)|that you are human)|"
    r"(?:sender|delivery) (?:verification|confirmation|authori[sz]ation) (?:required|request)|"
    r"antispam uol|boxbe",
    re.IGNORECASE,
)
_RECEIPT_SUBJECT = re.compile(
    r"^(?:read|not read|gelesen|lu|gelezen|le[ií]do|letto)\s*:|return receipt|read receipt|"
    r"disposition notification|lesebest(?:ä|ae)tigung|accus(?:é|e) de r(?:é|e)ception",
    re.IGNORECASE,
)
_CALENDAR_SUBJECT = re.compile(
    r"^(?:accepted|declined|tentative|zugesagt|abgelehnt|geaccepteerd|accept(?:é|e)e?)\s*:",
    re.IGNORECASE,
)


def find_reply(mail: Part) -> str:
    """Return what kind of reply this is: vacation, receipt, challenge or calendar; else empty."""
    headers = mail.headers
    if any(part.media_type == _RECEIPT for part in mail.walk()):
        return "receipt"
    if mail.parameters.get("report-type", "").lower() == "disposition-notification":
        return "receipt"
    for name, kind in _RESPONDER_FIELDS.items():
        if headers.has(name):
            return kind
    subject = decode_words(headers.get("subject"))[:300].strip()
    if _CHALLENGE_SUBJECT.search(subject):
        return "challenge"
    if _VACATION_SUBJECT.match(subject):
        return "vacation"
    if _RECEIPT_SUBJECT.search(subject):
        return "receipt"
    if any(part.media_type == "text/calendar" for part in mail.walk()):
        return "calendar"
    if _CALENDAR_SUBJECT.match(subject):
        return "calendar"
    return ""


def declares_itself(mail: Part) -> bool:
    """Tell whether a mail says that it is an automatic reply (RFC 3834 section 5, and older ways).

    Bounces of several servers say the same of themselves, so their formats are looked for first.
    """
    headers = mail.headers
    submitted = headers.get("auto-submitted").partition(";")[0].strip().lower()
    if submitted.startswith("auto-replied"):
        return True
    if any(
        headers.get(name).strip().lower() in {"auto_reply", "auto-reply"}
        for name in ("precedence", "x-precedence")
    ):
        return True
    return submitted == "auto-generated" and headers.has("x-auto-response-suppress")
