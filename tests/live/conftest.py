import threading

import pytest

from fastnst.live.feeds import Feed


@pytest.fixture
def feed_of():
    """Makes feeds with short times, and closes them."""
    feeds, sources = [], []

    def make(source, is_live=True, **options):
        sources.append(source)
        feeds.append(Feed(source, is_live, **{"timeout_s": 0.5, "retry_s": 0.1, **options}))
        return feeds[-1]

    yield make
    for source in sources:
        getattr(source, "released", threading.Event()).set()
    for feed in feeds:
        feed.close()
