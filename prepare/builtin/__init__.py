"""The built-in data sets, which need no download and can have any size.

Of kind ``map``: procedural street maps with matching aerial photos. Every pair shows one invented
piece of town, 190 metres wide: streets, blocks, houses, parks and water. The street map and the
photo are two renderings of the same geometry. So the map determines the photo except for roof
colours, garden trees, cars and texture. It is a fair substitute for the "maps" data set of pix2pix.

    photo, street_map = render_pair(seed=7, size=256)
    write_builtin_dataset("database/builtin", train=400, val=100, size=256)

Of kind ``object``: line drawings of invented shoes and bags with matching photos, a substitute for
"edges2shoes" and "edges2handbags". What colour a part has follows from the lines.

    lines, photo = render_object_pair(seed=7, size=256)
    write_builtin_dataset("database/objects", train=400, val=100, size=256, kind="object")
"""

from prepare.builtin.dataset import KINDS, render_pair, write_builtin_dataset

# The legend of the street maps
from prepare.builtin.palette import (
    BARE,
    GARDEN,
    MAP_BUILDING,
    MAP_BUILDING_EDGE,
    MAP_GROUND,
    MAP_MAJOR,
    MAP_MAJOR_CASING,
    MAP_PATH,
    MAP_PITCH,
    MAP_PITCH_EDGE,
    MAP_ROAD,
    MAP_ROAD_CASING,
    MAP_WATER,
    PARK,
    PARKING,
    PAVED,
    WINDOW,
    WOOD,
)
from prepare.builtin.product_photo import render_object_pair

__all__ = [
    "BARE",
    "GARDEN",
    "KINDS",
    "MAP_BUILDING",
    "MAP_BUILDING_EDGE",
    "MAP_GROUND",
    "MAP_MAJOR",
    "MAP_MAJOR_CASING",
    "MAP_PATH",
    "MAP_PITCH",
    "MAP_PITCH_EDGE",
    "MAP_ROAD",
    "MAP_ROAD_CASING",
    "MAP_WATER",
    "PARK",
    "PARKING",
    "PAVED",
    "WINDOW",
    "WOOD",
    "render_object_pair",
    "render_pair",
    "write_builtin_dataset",
]
