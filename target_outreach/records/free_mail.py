"""Domains at which anybody can have a mailbox: they are nobody's company."""

from __future__ import annotations

from target_outreach.records.values import domain_key

#: Providers that have a domain in many countries, as ``yahoo.fr`` and ``yahoo.co.uk``.
PROVIDERS = frozenset(
    {
        *("aol", "gmail", "googlemail", "gmx", "hotmail", "live", "outlook", "rocketmail"),
        *("tutanota", "yahoo", "yandex", "ymail"),
    }
)

#: What stands between a provider and a country.
SECOND_LEVEL = frozenset({"co", "com", "net", "ne"})

DOMAINS = frozenset(
    {
        *("126.com", "139.com", "163.com", "aim.com", "aliyun.com", "alice.it", "aol.com"),
        *("arcor.de", "att.net", "bellsouth.net", "bigpond.com", "bk.ru", "bluewin.ch"),
        *("bol.com.br", "btinternet.com", "charter.net", "comcast.net", "cox.net", "daum.net"),
        *("duck.com", "earthlink.net", "email.com", "email.cz", "fastmail.com", "fastmail.fm"),
        *("foxmail.com", "free.fr", "freenet.de", "hanmail.net", "hey.com", "hushmail.com"),
        *("icloud.com", "ig.com.br", "inbox.com", "inbox.lv", "inbox.ru", "interia.pl"),
        *("juno.com", "laposte.net", "libero.it", "list.ru", "mac.com", "mail.com", "mail.de"),
        *("mail.ru", "mailbox.org", "me.com", "msn.com", "naver.com", "netscape.net", "nate.com"),
        *("ntlworld.com", "o2.pl", "op.pl", "optonline.net", "optusnet.com.au", "orange.fr"),
        *("passport.com", "pm.me", "posteo.de", "proton.me", "protonmail.ch", "protonmail.com"),
        *("qq.com", "rambler.ru", "rediffmail.com", "rogers.com", "sapo.pt", "sbcglobal.net"),
        *("seznam.cz", "sfr.fr", "shaw.ca", "sina.cn", "sina.com", "sky.com", "sohu.com"),
        *("sympatico.ca", "t-online.de", "talktalk.net", "telenet.be", "telus.net", "terra.com.br"),
        *("tiscali.it", "tutanota.com", "tuta.com", "uol.com.br", "usa.net", "verizon.net"),
        *("virgilio.it", "virginmedia.com", "wanadoo.fr", "web.de", "windowslive.com", "wp.pl"),
        *("yahoo.com", "yandex.com", "yandex.ru", "yeah.net", "ziggo.nl", "zoho.com"),
    }
)


def is_free_mail(domain: str) -> bool:
    """Whether anybody can have a mailbox at a domain or the one above, however it is spelt."""
    labels = domain_key(domain).split(".")
    return any(_is_provider(labels[start:]) for start in range(len(labels)))


def _is_provider(labels: list[str]) -> bool:
    provider, *rest = labels
    if provider in PROVIDERS and len(rest) in {1, 2}:
        return len(rest) == 1 or rest[0] in SECOND_LEVEL
    return ".".join(labels) in DOMAINS
