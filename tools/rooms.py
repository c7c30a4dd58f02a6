"""Count the rooms of the package: floors, arrows between rooms, arrows upward, circles.

A room is a folder or a file that lies directly in ``serfiq_widgets/``. It has an arrow to each room
of which any of its files imports anything. Its floor is one above the highest room that it imports.

    .venv/bin/python tools/rooms.py [CHECKOUT]
"""

import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

PACKAGE = "serfiq_widgets"


def room_of(module: str) -> str:
    """Return the room of a module by its full name; the package's first file is one too."""
    return [*module.split("."), "__init__"][1]


def arrows_between_rooms() -> dict[str, set[str]]:
    """Return, for each room, the set of the rooms that it imports."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    arrows: dict[str, set[str]] = {room_of(module): set() for module in graph.modules}
    for module in graph.modules:
        below = map(room_of, graph.find_modules_directly_imported_by(module))
        arrows[room_of(module)] |= {room for room in below if room != room_of(module)}
    return arrows


def floors_of(arrows: dict[str, set[str]]) -> dict[str, int]:
    """Return each room's floor, from 1.

    Raises
    ------
    graphlib.CycleError
        Rooms import each other in a circle.
    """
    floors: dict[str, int] = {}
    for room in TopologicalSorter(arrows).static_order():
        floors[room] = 1 + max((floors[below] for below in arrows[room]), default=0)
    return floors


def main() -> None:
    """Print the numbers, and each floor's rooms; a circle ends it with exit code 1."""
    sys.path.insert(0, str(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
    arrows = arrows_between_rooms()
    print(f"{len(arrows)} rooms, {sum(map(len, arrows.values()))} arrows between them")
    try:
        floors = floors_of(arrows)
    except CycleError as error:
        sys.exit(f"a circle: {' - '.join(error.args[1])}")
    print(f"{max(floors.values())} floors, no arrow upward, no circle")
    for floor in range(max(floors.values()), 0, -1):
        for room in sorted(room for room, its in floors.items() if its == floor):
            print(f"{floor:>3}  {room} -> {', '.join(sorted(arrows[room])) or 'nothing'}")


if __name__ == "__main__":
    main()
