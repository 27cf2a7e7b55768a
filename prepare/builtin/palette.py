"""The size of the world, the kinds of ground, and all colours (RGB, 0..255)."""

from __future__ import annotations

import numpy as np

# Width and height of the scene in metres, for every image size
WINDOW = 190.0
# Width in pixels of the raster that decides where objects may stand, for every image size
COARSE = 256

GARDEN, PAVED, PARK, WOOD, BARE, PARKING, BANK = range(7)

# The photo mixes two colours for each kind of ground, by noise. `TEXTURE` is the strength of the
# fine grain. One row for each kind, from GARDEN to BANK.
GROUND_A = np.array(
    [
        (108, 121, 80),
        (170, 166, 158),
        (104, 128, 76),
        (66, 82, 52),
        (188, 171, 144),
        (134, 133, 133),
        (102, 117, 76),
    ],
    np.float32,
)
GROUND_B = np.array(
    [
        (150, 147, 114),
        (150, 147, 142),
        (132, 143, 96),
        (88, 97, 66),
        (174, 158, 131),
        (121, 121, 122),
        (140, 138, 104),
    ],
    np.float32,
)
TEXTURE = np.array([0.075, 0.03, 0.06, 0.12, 0.06, 0.03, 0.09], np.float32)

MAP_GROUND = [
    (236, 232, 224),
    (228, 225, 231),
    (200, 224, 172),
    (174, 207, 148),
    (238, 224, 198),
    (219, 222, 232),
    (207, 226, 186),
]
MAP_WATER, MAP_PATH, MAP_PITCH, MAP_PITCH_EDGE = (
    (163, 198, 226),
    (249, 247, 238),
    (166, 214, 180),
    (138, 192, 156),
)
MAP_BUILDING, MAP_BUILDING_EDGE = (209, 205, 199), (188, 183, 176)
MAP_ROAD, MAP_ROAD_CASING = (255, 255, 255), (200, 194, 184)
MAP_MAJOR, MAP_MAJOR_CASING = (252, 222, 128), (217, 173, 84)

ASPHALT, ASPHALT_MAJOR, SIDEWALK, KERB = (
    (136, 136, 139),
    (118, 119, 123),
    (190, 186, 179),
    (158, 156, 153),
)
PAINT_WHITE, PAINT_YELLOW, CONCRETE, GRAVEL = (
    (224, 223, 216),
    (206, 172, 84),
    (172, 168, 160),
    (184, 170, 142),
)
WATER_DEEP, WATER_SHALLOW, SHORE = (38, 60, 70), (74, 90, 86), (158, 146, 118)
TREE_DARK, TREE_LIGHT = (62, 80, 50), (98, 111, 70)

PITCHED_ROOFS = [
    (140, 117, 104),
    (130, 123, 117),
    (108, 107, 110),
    (154, 113, 96),
    (152, 133, 112),
    (124, 102, 92),
    (158, 156, 152),
]
FLAT_ROOFS = [(178, 176, 172), (150, 149, 148), (126, 125, 126), (196, 193, 186), (160, 150, 138)]
CARS = [
    (226, 226, 226),
    (204, 206, 208),
    (66, 68, 72),
    (48, 49, 52),
    (128, 131, 136),
    (168, 170, 172),
    (132, 58, 52),
    (66, 84, 116),
]

GABLE, HIP, FLAT = range(3)

SUN_ELEVATION = np.deg2rad(47.0)
# Where the light comes from, in image axes (x right, y down): upper left
SUN_AZIMUTH = np.deg2rad(218.0)

# Probability of each block use, by the character of the scene
USES = ("houses", "terraces", "flats", "commerce", "park", "lot")
CHARACTERS = {
    "suburb": (0.78, 0.06, 0.02, 0.03, 0.09, 0.02),
    "town": (0.30, 0.34, 0.14, 0.09, 0.09, 0.04),
    "centre": (0.00, 0.18, 0.46, 0.20, 0.12, 0.04),
    "works": (0.12, 0.06, 0.08, 0.54, 0.06, 0.14),
    "green": (0.44, 0.10, 0.06, 0.04, 0.34, 0.02),
}
CHARACTER_WEIGHTS = (0.36, 0.25, 0.13, 0.10, 0.16)
