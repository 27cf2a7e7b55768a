"""The street map of a scene, in flat colours. The caller draws it large and reduces it."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from prepare.builtin.palette import (
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
    WINDOW,
)
from prepare.builtin.scene import Scene, draw_land, fill_polygons, ribbon


def draw_map(scene: Scene, pixels: int) -> Image.Image:
    """The street map, an RGB image of pixels x pixels."""
    k = pixels / WINDOW
    lut = np.array(MAP_GROUND, np.uint8)
    image = Image.fromarray(lut[np.asarray(draw_land(scene, pixels))])
    draw = ImageDraw.Draw(image)
    fill_polygons(draw, [ribbon(path, 2.4) for path in scene.paths], MAP_PATH, k)
    for pitch in scene.pitches:
        middle = pitch.mean(0)
        fill_polygons(draw, [pitch], MAP_PITCH_EDGE, k)
        fill_polygons(draw, [middle + (pitch - middle) * 0.93], MAP_PITCH, k)
    fill_polygons(draw, scene.waters, MAP_WATER, k)
    if len(scene.corners):
        middle = scene.corners.mean(1, keepdims=True)
        reach = np.abs(scene.corners - middle).max((1, 2), keepdims=True)
        fill_polygons(draw, scene.corners, MAP_BUILDING_EDGE, k)
        fill_polygons(draw, middle + (scene.corners - middle) * (1 - 0.55 / reach), MAP_BUILDING, k)
    for major, casing, fill in (
        (False, MAP_ROAD_CASING, MAP_ROAD),
        (True, MAP_MAJOR_CASING, MAP_MAJOR),
    ):
        lines = [road for road in scene.roads if road.major == major]
        fill_polygons(draw, [road.band(2) for road in lines], casing, k)
        fill_polygons(draw, [road.band() for road in lines], fill, k)
    return image
