"""The built-in dataset: procedural street maps with the matching aerial photos.

Every pair is drawn from one invented piece of town, about 190 metres across: streets, blocks, houses, parks
and water. The street map and the photo are two renderings of that same geometry, so the photo follows from
the map up to roof colours, trees in gardens, cars and texture. That makes a data set that needs no download,
can have any size, and is still a fair stand-in for the "maps" data set of pix2pix.

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
