"""The table of kinds is the only place that looks at a generator's name."""

import ast
from pathlib import Path

import pytest

from models.generators import GeneratorSpec
from models.kinds import GENERATORS, KINDS, PLAIN, RESNET_TAPS, SUPERNETS

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("benchmarks", "data", "deploy", "evaluation", "metrics", "models", "options", "prepare")
ROOMS += ("report", "runtime", "scripts", "subnets", "training")


def sources() -> list[Path]:
    files = [*ROOT.glob("*.py"), *(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))]
    return [p for p in files if p != ROOT / "models" / "kinds.py"]


def asks_the_name(tree: ast.AST) -> list[int]:
    """Lines that compare with the name of a kind, or look at how ``netG`` begins or ends."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            inside = (c.value for c in ast.walk(node) if isinstance(c, ast.Constant))
            if any(value in GENERATORS for value in inside if isinstance(value, str)):
                lines.append(node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            if node.func.attr in ("startswith", "endswith") and "netG" in owner:
                lines.append(node.lineno)
    return lines


def test_nothing_else_looks_at_the_name():
    found = {str(p): asks_the_name(ast.parse(p.read_text())) for p in sources()}
    assert len(found) > 50
    assert not {path: lines for path, lines in found.items() if lines}


@pytest.mark.parametrize(
    "text",
    ['x == "resnet_9blocks"', 'spec.netG in ("a", "resnet_9blocks")', "o.netG.startswith(s)"],
)
def test_a_question_is_found(text):
    assert asks_the_name(ast.parse(text)) == [1]


@pytest.mark.parametrize("name", KINDS)
def test_a_line_of_the_table_is_complete(name):
    """It builds what it recognises, unless another kind has its keys and shapes."""
    kind = KINDS[name]
    config = str(kind.config.uniform(4)) if kind.by_config else None
    if kind.by_config and kind.taps == RESNET_TAPS:
        config = "8_4_8_4_8_4"
    spec = GeneratorSpec(name, None if kind.by_config else 4, config)
    state = spec.build().state_dict()
    if kind.infer is None:
        assert any(k.family == kind.family and k.infer for k in KINDS.values())
    else:
        found = GeneratorSpec(name, **kind.infer(state))
        assert found.config.widths() == spec.config.widths()
    if kind.elastic:
        assert KINDS[kind.subnet].by_config and KINDS[kind.subnet].family == kind.family


def test_names_for_flags():
    resnets = [f"{kind}_{n}blocks" for n in (9, 6) for kind in ("resnet", "mobile_resnet")]
    others = "mobile_deepest_resnet", "unet_256", "unet_128", "spade", "mobile_spade"
    others += "mobile_munit", "munit"
    assert (*resnets, *others) == PLAIN
    supers = "super_mobile_resnet_9blocks", "super_mobile_resnet_6blocks"
    supers += "super_unet_256", "super_unet_128", "super_mobile_spade"
    assert (*supers, "super_mobile_munit", "super_munit") == SUPERNETS
