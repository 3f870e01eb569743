"""web/js/neighbours.js sums up what device/running_scores.py does; it needs node and no browser."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from recbole_cocorr.artifact.neighbours import NeighbourTable, clicks_that_count
from recbole_cocorr.correctors.neighbours import corrector_of, table_of
from tests.conftest import CHECKOUT
from tests.device import ITEMS, clicks
from tests.device.test_neighbours import COUNT, made_up

RUN = """
const { RunningScores } = await import(process.argv[1]);
let text = "";
for await (const part of process.stdin) text += part;
const { indptr, items, weights, scales, settings, moves } = JSON.parse(text);
const table = { indptr: Uint32Array.from(indptr), items: Uint16Array.from(items) };
Object.assign(table, { weights: Int8Array.from(weights), scales: Float32Array.from(scales) });
const running = new RunningScores(table, settings);
const seen = [];
for (const rows of moves) {
  if (rows.length === 1) running.add(rows[0]);
  else running.start([...running.rows, ...rows]);
  seen.push(Array.from(scales.keys()).map((row) => running.at(row)));
}
console.log(JSON.stringify(seen));
"""


pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
COMMAND = ["node", "--input-type=module", "-e", RUN, str(CHECKOUT / "web" / "js" / "neighbours.js")]


def content_of(table: NeighbourTable, decay: float, moves: list) -> dict:
    content = {name: getattr(table, name).tolist() for name in ("indptr", "items", "weights", "scales")}
    return content | {"settings": {"count": COUNT, "decay": decay, "clicks": clicks_that_count(decay)}, "moves": moves}


@pytest.mark.parametrize("decay", [0.9, 0.3])
def test_the_page_sums_up_as_the_corrector_does(decay):
    table = table_of(made_up(decay), COUNT)
    corrector = corrector_of(table, decay)
    many = clicks(600, seed=2)
    moves = [[row] for row in many[:250]] + [many[250:500]] + [[row] for row in [4, 4, 4, *many[500:]]] + [[3, 9]]
    content = json.dumps(content_of(table, decay, moves))
    done = subprocess.run(COMMAND, input=content, capture_output=True, text=True, check=True, timeout=60)
    histories = [np.concatenate(moves[: place + 1]) for place in range(len(moves))]
    expected = corrector.scores(histories, np.tile(np.arange(ITEMS), (len(moves), 1)))
    np.testing.assert_allclose(np.array(json.loads(done.stdout)), expected, atol=1e-6)


@pytest.mark.parametrize("place, value", [(0, 1), (-1, 1), (5, 1 << 31), (5, 0)])
def test_rows_that_do_not_follow_each_other(place, value):
    table = table_of(made_up(), COUNT)
    table.indptr[place] = value
    done = subprocess.run(
        COMMAND, input=json.dumps(content_of(table, 0.9, [])), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode and "does not say where its rows begin" in done.stderr
