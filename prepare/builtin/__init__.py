"""The built-in data set: procedural street maps with matching aerial photos.

Every pair shows one invented piece of town, 190 metres wide: streets, blocks, houses, parks and
water. The street map and the photo are two renderings of the same geometry. So the map determines
the photo except for roof colours, garden trees, cars and texture. The data set needs no download,
can have any size, and is a fair substitute for the "maps" data set of pix2pix.

    photo, street_map = render_pair(seed=7, size=256)
    write_builtin_dataset("database/builtin", train=400, val=100, size=256)
"""

from prepare.builtin.dataset import render_pair, write_builtin_dataset

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

__all__ = [
    "BARE",
    "GARDEN",
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
    "render_pair",
    "write_builtin_dataset",
]
