"""Every bound of a loop that a record, or a request for it, passes through: how often, how long.

How much is kept or queued, and when a batch or a run is not waited for any longer, is said where
that happens: `collecting`, `engine.loop`, `engine.deferred`, `engine.import_sizing`, the caches.

What none of these ends is ended by the settings: `max_outage_minutes` (the longest time
without a usable answer), `max_wait_minutes` (the longest wait for Outreach's limit),
`request_timeout_seconds` and `max_requests`.
"""

from __future__ import annotations

# One request

#: How often it is tried at least, however long that takes; after that, for as long as an outage is
#: borne.
TRIES = 8

#: How often a server may say how long to wait before that is ignored, and for how many tries our
#: own waits grow.
TRUSTED_WAITS = 8

#: Seconds to the end of a window of the limit, above which an answer cannot be right: a century.
LONGEST_WINDOW = 100 * 365 * 86_400.0

#: Tokens that it is sent with, and how many of them may be issued for it.
MOST_TOKENS = 50
MOST_ISSUED = 4

# One list

#: Its pages; `meta.count` is said up to 2,000,000 records, and a page has 1,000 of them (API
#: reference 4.2).
MOST_PAGES = 2000

#: Pages without any record that may follow each other.
MOST_EMPTY = 10

# One record

#: How often it may begin again, having learnt something that its plan does not fit. Each wait for
#: budget may make it begin again once, and each change by others.
MOST_ROUNDS = 40

#: How often Outreach may answer that a record that its lists show is not there.
MOST_GONE = 2

#: How often its create is sent, each time after a look that has not shown it.
CREATE_TRIES = 5

#: Seconds before each further look for what may have been created, where the first one has not
#: shown it: lists may be behind by 39 seconds.
LATER_LOOKS = (3.0, 9.0, 27.0)

# All records of a run

#: After so many records in a row that no list has shown at last, a taken address is taken for that
#: of a hidden record at once.
MOST_WAITS_IN_VAIN = 5

#: Records that wait for others to be tried, when all writes have failed for too long.
MOST_WAITING = 20

#: Records in a row that are rejected although nothing else was written meanwhile.
MOST_IN_SILENCE = 200

#: Seconds after which an import of many updates is not waited for any more.
LONGEST_IMPORT = 300.0
