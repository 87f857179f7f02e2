"""Blender's side of the sample: materials, light, camera, and the two kinds of render."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy  # type: ignore[import-not-found,import-untyped,unused-ignore]
import numpy as np
from meshes import Floats, Ints, Piece

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class View:
    """Camera and light, in metres and degrees: azimuth 0 sees the nose, 90 the car's left side."""

    azimuth: float = 38.0
    distance: float = 6.9
    height: float = 1.45
    focal: float = 50.0
    sun_elevation: float = 38.0
    sun_azimuth: float = -24.0
    seed: int = 1


class Nodes:
    """A small helper over a node tree."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree
        tree.nodes.clear()

    def add(self, kind: str, **inputs: Any) -> Any:
        node = self.tree.nodes.new(kind)
        for name, value in inputs.items():
            socket = node.inputs[name.replace("_", " ")]
            if hasattr(value, "is_output"):
                self.tree.links.new(value, socket)
            else:
                socket.default_value = value
        return node

    def link(self, output: Any, to: Any) -> None:
        self.tree.links.new(output, to)


def material(name: str, build: Callable[[Nodes], Any]) -> Any:
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    nodes = Nodes(made.node_tree)
    shader = build(nodes)
    nodes.add("ShaderNodeOutputMaterial", Surface=shader)
    return made


def plain(colour: Colour, **inputs: Any) -> Callable[[Nodes], Any]:
    """A Principled shader with fixed inputs."""
    return lambda n: n.add("ShaderNodeBsdfPrincipled", Base_Color=(*colour, 1), **inputs).outputs[0]


def thin_glass(tint: Colour, shine: float = 1.45) -> Callable[[Nodes], Any]:
    """A pane without thickness: tinted see-through plus a mirror image by Fresnel's law."""

    def build(n: Nodes) -> Any:
        through = n.add("ShaderNodeBsdfTransparent", Color=(*tint, 1))
        mirror = n.add("ShaderNodeBsdfGlossy", Roughness=0.0)
        share = n.add("ShaderNodeFresnel", IOR=shine)
        return _mix(n, share.outputs[0], through.outputs[0], mirror.outputs[0])

    return build


def _mix(n: Nodes, share: Any, first: Any, second: Any) -> Any:
    node = n.tree.nodes.new("ShaderNodeMixShader")
    n.link(share, node.inputs[0])
    n.link(first, node.inputs[1])
    n.link(second, node.inputs[2])
    return node.outputs[0]


def car_paint(colour: Colour) -> Callable[[Nodes], Any]:
    """Metallic base with fine flakes under a clear coat; black on the inside of the panels."""

    def build(n: Nodes) -> Any:
        where = n.add("ShaderNodeTexCoord").outputs["Object"]
        flakes = n.add("ShaderNodeTexVoronoi", Vector=where, Scale=900.0)
        tilt = n.add("ShaderNodeBump", Strength=0.04, Height=flakes.outputs["Color"])
        outside = n.add(
            "ShaderNodeBsdfPrincipled",
            Base_Color=(*colour, 1),
            Metallic=0.7,
            Roughness=0.33,
            Normal=tilt.outputs[0],
            Coat_Weight=1.0,
            Coat_Roughness=0.015,
            Coat_IOR=1.55,
        )
        inside = n.add("ShaderNodeBsdfDiffuse", Color=(0.01, 0.01, 0.01, 1))
        back = n.add("ShaderNodeNewGeometry").outputs["Backfacing"]
        return _mix(n, back, outside.outputs[0], inside.outputs[0])

    return build


def asphalt(n: Nodes) -> Any:
    where = n.add("ShaderNodeTexCoord").outputs["Object"]
    grain = n.add("ShaderNodeTexVoronoi", Vector=where, Scale=110.0)
    stains = n.add("ShaderNodeTexNoise", Vector=where, Scale=0.7, Detail=6.0)
    both = n.add("ShaderNodeMath")
    both.operation = "MULTIPLY_ADD"
    n.link(grain.outputs["Distance"], both.inputs[0])
    both.inputs[1].default_value = 0.35
    n.link(stains.outputs["Fac"], both.inputs[2])
    ramp = n.add("ShaderNodeValToRGB", Fac=both.outputs[0])
    ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = 0.35, 0.95
    ramp.color_ramp.elements[0].color = (0.045, 0.045, 0.047, 1)
    ramp.color_ramp.elements[1].color = (0.13, 0.128, 0.125, 1)
    bump = n.add("ShaderNodeBump", Strength=0.3, Distance=0.006, Height=grain.outputs["Distance"])
    return n.add(
        "ShaderNodeBsdfPrincipled",
        Base_Color=ramp.outputs[0],
        Roughness=0.85,
        Normal=bump.outputs[0],
    ).outputs[0]


def mottled(
    dark: Colour, light: Colour, scale: float, bump: float = 0.0, detail: float = 4.0
) -> Callable[[Nodes], Any]:
    """A rough surface between two colours by noise: concrete, grass, leaves."""

    def build(n: Nodes) -> Any:
        where = n.add("ShaderNodeTexCoord").outputs["Object"]
        noise = n.add("ShaderNodeTexNoise", Vector=where, Scale=scale, Detail=detail)
        ramp = n.add("ShaderNodeValToRGB", Fac=noise.outputs["Fac"])
        for element, colour, place in zip(
            ramp.color_ramp.elements, (dark, light), (0.35, 0.68), strict=True
        ):
            element.color, element.position = (*colour, 1), place
        relief = n.add("ShaderNodeBump", Strength=bump, Height=noise.outputs["Fac"])
        return n.add(
            "ShaderNodeBsdfPrincipled",
            Base_Color=ramp.outputs[0],
            Roughness=0.9,
            Normal=relief.outputs[0],
        ).outputs[0]

    return build


def materials(paint: Colour) -> dict[str, Any]:
    """Every material of the scene by name; colours are linear."""
    black = (0.012, 0.012, 0.013)
    recipes: dict[str, Callable[[Nodes], Any]] = {
        "paint": car_paint(paint),
        "glass": thin_glass((0.88, 0.92, 0.91)),
        "side_glass": thin_glass((0.60, 0.64, 0.63)),
        "dark_glass": thin_glass((0.30, 0.33, 0.32)),
        "lens": thin_glass((0.97, 0.97, 0.97)),
        "gloss_black": plain(black, Roughness=0.12, Coat_Weight=0.6),
        "grille_black": plain((0.006, 0.006, 0.006), Roughness=0.6),
        "plastic": plain((0.022, 0.022, 0.023), Roughness=0.5),
        "lamp_black": plain((0.03, 0.03, 0.032), Roughness=0.25),
        "chrome": plain((0.86, 0.87, 0.88), Metallic=1.0, Roughness=0.06),
        "alloy": plain((0.62, 0.63, 0.65), Metallic=1.0, Roughness=0.27, Coat_Weight=0.5),
        "steel": plain((0.42, 0.41, 0.40), Metallic=1.0, Roughness=0.38),
        "rubber": plain((0.009, 0.009, 0.0095), Roughness=0.62),
        "well": plain((0.008, 0.008, 0.008), Roughness=0.95),
        "cloth": plain((0.035, 0.034, 0.035), Roughness=0.9),
        "trim": plain((0.06, 0.055, 0.05), Roughness=0.7),
        "plate": plain((0.78, 0.78, 0.76), Roughness=0.3, Coat_Weight=0.5),
        "amber": plain((0.9, 0.28, 0.02), Roughness=0.2),
        "white_lamp": plain(
            (0.9, 0.92, 0.95),
            Roughness=0.2,
            Emission_Color=(0.9, 0.95, 1, 1),
            Emission_Strength=0.8,
        ),
        "tail_lens": plain((0.32, 0.004, 0.006), Roughness=0.08, Coat_Weight=1.0),
        "asphalt": asphalt,
        "concrete": mottled((0.30, 0.29, 0.27), (0.45, 0.44, 0.41), 1.4, 0.1),
        "kerb": mottled((0.25, 0.25, 0.24), (0.38, 0.37, 0.35), 6.0, 0.2),
        "grass": mottled((0.03, 0.06, 0.012), (0.08, 0.12, 0.03), 9.0, 0.6),
        "leaf": mottled((0.03, 0.062, 0.012), (0.10, 0.15, 0.036), 1.2, detail=1.0),
        "bark": mottled((0.05, 0.035, 0.025), (0.11, 0.085, 0.06), 12.0, 0.6),
        "line": mottled((0.35, 0.35, 0.34), (0.62, 0.62, 0.60), 14.0),
    }
    return {name: material(name, recipe) for name, recipe in recipes.items()}


def mesh_object(name: str, vertices: Floats, faces: Ints, normals: Floats | None = None) -> Any:
    """A smooth-shaded object of a mesh, linked into the scene."""
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", vertices.astype(np.float32).ravel())
    size = faces.shape[1]
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", faces.astype(np.int32).ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, size, dtype=np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), dtype=bool))
    mesh.update(calc_edges=True)
    if normals is not None:
        mesh.normals_split_custom_set_from_vertices(normals.astype(np.float32))
    made = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(made)
    return made


def add_pieces(pieces: Sequence[Piece], shades: dict[str, Any]) -> list[tuple[Any, Piece]]:
    added = []
    for piece in pieces:
        if len(piece.triangles):
            made = mesh_object(piece.material, piece.vertices, piece.triangles, piece.normals)
            made.data.materials.append(shades[piece.material])
            made.hide_render = piece.only_in_masks
            added.append((made, piece))
    return added


def sky(view: View) -> None:
    world = bpy.data.worlds.new("sky")
    bpy.context.scene.world = world
    world.use_nodes = True
    nodes = Nodes(world.node_tree)
    air = nodes.add("ShaderNodeTexSky")
    air.sky_type = "MULTIPLE_SCATTERING"
    air.sun_elevation = np.radians(view.sun_elevation)
    air.sun_rotation = np.radians(90 - view.azimuth - view.sun_azimuth)
    air.sun_size = np.radians(1.2)
    air.sun_intensity = 0.35
    air.aerosol_density = 1.6
    light = nodes.add("ShaderNodeBackground", Color=air.outputs[0], Strength=0.11)
    nodes.add("ShaderNodeOutputWorld", Surface=light.outputs[0])


def camera(view: View, target: tuple[float, float, float]) -> None:
    from mathutils import Vector  # type: ignore[import-not-found,import-untyped,unused-ignore]

    lens = bpy.data.cameras.new("camera")
    lens.lens = view.focal
    made = bpy.data.objects.new("camera", lens)
    bpy.context.scene.collection.objects.link(made)
    angle = np.radians(view.azimuth)
    place = Vector((view.distance * np.cos(angle), view.distance * np.sin(angle), view.height))
    made.location = place
    made.rotation_euler = (Vector(target) - place).to_track_quat("-Z", "Y").to_euler()
    lens.dof.use_dof = True
    lens.dof.focus_distance = view.distance - 1.2
    lens.dof.aperture_fstop = 5.6
    bpy.context.scene.camera = made


def render(path: Path, size: tuple[int, int], samples: int) -> None:
    """The photograph: path traced, denoised, with a camera-like tone curve."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples = samples
    scene.cycles.use_denoising = True
    scene.cycles.adaptive_threshold = 0.04
    scene.cycles.max_bounces = 6
    scene.cycles.transparent_max_bounces = 16
    scene.cycles.sample_clamp_indirect = 6.0
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
    scene.view_settings.exposure = 0.35
    _write(path, size)


def render_labels(
    path: Path, size: tuple[int, int], added: list[tuple[Any, Piece]], names: Sequence[str]
) -> None:
    """The exact label of each pixel's centre: 0 background, then 1 + the index in names."""
    scene = bpy.context.scene
    flat: dict[int, Any] = {}
    for thing in list(bpy.data.objects):
        if thing.type == "MESH":
            thing.data.materials.clear()
            thing.data.materials.append(_flat(flat, 0))
    for thing, piece in added:
        thing.hide_render = False
        thing.data.materials[0] = _flat(flat, 1 + names.index(piece.label) if piece.label else 0)
    scene.world.use_nodes = True
    Nodes(scene.world.node_tree)
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 1
    scene.cycles.use_denoising = False
    scene.cycles.pixel_filter_type = "BOX"
    scene.cycles.filter_width = 0.01
    scene.render.dither_intensity = 0
    scene.camera.data.dof.use_dof = False
    scene.view_settings.view_transform = "Raw"
    scene.view_settings.look = "None"
    scene.view_settings.exposure = 0.0
    _write(path, size)


def _flat(cache: dict[int, Any], value: int) -> Any:
    if value not in cache:
        grey = (value / 255, value / 255, value / 255, 1)
        cache[value] = material(
            f"label {value}", lambda n: n.add("ShaderNodeEmission", Color=grey).outputs[0]
        )
    return cache[value]


def _write(path: Path, size: tuple[int, int]) -> None:
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    scene.render.image_settings.compression = 100
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
