from postroad_common.mail.dates import date_text


def test_date_says_that_it_is_in_utc():
    assert date_text(1_700_000_000.9) == "Tue, 14 Nov 2023 22:13:20 +0000"
