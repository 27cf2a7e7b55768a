"""One generator of the two that MUNIT trains: from images of one domain to images of the other."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import nn

from errors import InputError
from models.generators import GeneratorSpec
from models.munit import MunitGenerator


def assemble(
    source: tuple[MunitGenerator, GeneratorSpec],
    target: tuple[MunitGenerator, GeneratorSpec],
    decoder_of_source: bool = False,
) -> tuple[nn.Module, GeneratorSpec]:
    """The content encoder of ``source``; and of ``target``, the style encoder if it has one, the
    perceptron and the decoder.

    Args:
        source, target: networks of the two domains, and what they are
        decoder_of_source: take perceptron and decoder of ``source`` too: a network that gives
            images of its domain the styles that ``target`` finds

    Returns:
        (a network with layers of its own, what it is)

    Raises:
        InputError: the networks have other widths, or are none that take a style.
    """
    (first, spec), (second, other) = source, target
    for each in (spec, other):
        if not each.kind.styled:
            raise InputError(f"{each.netG} takes no style, and is not assembled")
    same = spec.kind.family == other.kind.family and spec.config == other.config
    # The style encoder of the first is not taken.
    if not same or replace(spec.form, style_encoder=other.form.style_encoder) != other.form:
        raise InputError(
            f"networks of one kind and width are assembled: {spec.netG} {spec.config} and "
            f"{other.netG} {other.config} are not, or their styles differ"
        )
    if spec.is_supernet:
        raise InputError(f"{spec.netG} is a supernet; export.py cuts a subnet out of it first")
    net = copy.deepcopy(second)
    net.enc_content = copy.deepcopy(first.enc_content)
    if decoder_of_source:
        net.dec, net.mlp = copy.deepcopy(first.dec), copy.deepcopy(first.mlp)
    made = spec if decoder_of_source else other
    # It learned from images in the direction in which the first did: its inputs are the same.
    return net, replace(spec, output_nc=made.output_nc, form=other.form)
