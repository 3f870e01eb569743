"""The report: what its page holds, what it says of missing parts and of bad folders."""

import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from recbole_cocorr.__main__ import command_parser, main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.models.catalogue import variants
from recbole_cocorr.report.commands import sweep_command
from recbole_cocorr.report.report import build, page
from recbole_cocorr.training.config import parse_overrides
from tests.made_results import (
    device_times,
    made_field,
    made_run,
    made_sweep,
    whole_results,
    write_ablation,
    write_correctors,
    write_cost,
    write_json,
    write_requests,
    write_results,
    write_sweep,
)

FIELD = tuple(variants())

VOID = {"meta", "link", "br", "hr", "img", "input"}
LOADING = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """Checks that tags nest, and collects text, ids and what a browser would load."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._attributes(attrs)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self._attributes(attrs)

    def _attributes(self, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        for name, value in attrs:
            assert not name.startswith("on"), f"a script in {name}"
            if name == "id":
                self.ids.append(value)
            if name in LOADING:
                self.loads.append(value)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, str]:
    """A results folder with every part, and its page."""
    folder = whole_results(tmp_path_factory.mktemp("whole") / "results", users=200)
    assert main(["report", str(folder)]) == 0
    return folder, (folder / "report" / "report.html").read_text(encoding="utf-8")


def test_page_parses_and_loads_nothing(whole):
    _, text = whole
    result = Page(text)
    assert len(result.ids) == len(set(result.ids))
    inner = [link for link in result.loads if link.startswith("#")]
    assert {link[1:] for link in inner} <= set(result.ids)
    assert set(result.loads) - set(inner) == {"data:,"}
    assert not {"script", "iframe", "object", "embed"} & set(result.tags)
    assert "http:" not in text and "https:" not in text and "@import" not in text and "//" not in text
    assert not re.search(r"url\((?!#)", text)


def test_page_holds_every_part(whole):
    _, text = whole
    result = Page(text)
    assert 'class="missing"' not in text
    assert result.tags.count("svg") == 24
    for words in (
        "Test metrics on amazon-beauty, protocol paper",
        "BERT4Rec keeps its cloze loss",
        "corrected for 49 comparisons",
        "CoCorrRec minus each other model",
        "Cost of one inference with L = 10",
        "Up to L = 1000",
        "12,101 items; 100 candidates scored; K at most 10; latency on 1 thread; median of 50 runs; processor: made up",
        "On the front (ringed)",
        "TTT mini-batch K",
        "by the length of the user's history",
        "Quality on the device, amazon-beauty, protocol full",
        "A correction's way, L = 10",
        "Rankings of devices under faults",
        "What an upload of hidden states reveals",
        "CoCorrRec on amazon-beauty, protocol full, seed 2021; made up, 2 cores",
        "91.0% of the correction of the attention",
        "chosen on validation only: 0.001, 0.005",
        "49 on amazon-beauty, protocol paper",
        "sasrec-2021",
        "Version of torch",
    ):
        assert words in result.text, words


def test_files_beside_the_page(whole):
    folder, _ = whole
    out = folder / "report"
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    figures = {n for n in names if n.startswith("figures/")}
    assert len(figures) == 48
    assert len({n[:-4] for n in figures if n.endswith((".png", ".svg"))}) == 24
    tables = {Path(n).stem for n in names if n.startswith("tables/")}
    assert {"table1-amazon-beauty-paper", "significance-amazon-beauty-paper", "table4-cost"} <= tables
    assert all(f"tables/{t}.md" in names and f"tables/{t}.tex" in names for t in tables)
    assert not any(".tmp" in n for n in names)


def test_out_of_the_command(tmp_path, capsys):
    folder = write_results(tmp_path / "r", [made_run(users=40)])
    assert main(["report", str(folder), "--out", str(tmp_path / "elsewhere")]) == 0
    assert (tmp_path / "elsewhere" / "report.html").is_file() and not (folder / "report").exists()
    assert "written: " in capsys.readouterr().out


@pytest.mark.parametrize("label", ["<script>alert(1)</script>", '"><img src=x>', "a & b | *c* {{ 7*7 }} {% raw %}"])
def test_labels_are_text_and_nothing_else(tmp_path, label):
    folder = write_results(tmp_path / "r", made_field([label, "CoCorrRec"], seeds=(1,), users=60))
    write_cost(folder, [label, "CoCorrRec"])
    write_ablation(folder, label)
    (folder / "failures.json").write_text(json.dumps([{"run": label, "error": label}]))
    result = Page(page(build(folder)))
    assert not {"script", "img"} & set(result.tags)
    assert label in result.text


def commands_of(report) -> list[str]:
    """Every command that a report tells people to type."""
    notices = " ".join(n for s in report.sections for p in s.subsections for n in p.notices)
    return [s.command for s in report.sections if s.missing] + re.findall(r"`(python [^`]*)`", notices)


@pytest.mark.parametrize("name", ["r", "my results", "deep/er", "a'b"])
def test_every_command_of_a_report_is_understood(tmp_path, monkeypatch, name):
    """Of runs alone, of costs alone, and of a folder with a plan: typed as printed, each finds the folder."""
    monkeypatch.chdir(tmp_path)
    runs, costs = write_results(Path(name), [made_run(users=40)]), Path(name + "-costs")
    costs.mkdir(parents=True)
    write_cost(costs)
    write_correctors(runs)
    content = json.loads((runs / "correctors.json").read_text())
    for key in ("comparisons", "best_of_ours", "problems"):
        del content[key]
    (runs / "correctors.json").write_text(json.dumps(content))
    for folder in (runs, costs):
        commands = commands_of(build(folder))
        assert len(commands) >= 6
        for line in commands:
            parsed = understood(line)
            place = Path(getattr(parsed, "out", None) or parsed.results)
            assert folder in (place, place.parent), line


def test_the_command_of_a_planned_folder_is_its_own(tmp_path, small_data, monkeypatch, capsys):
    """Nothing is trained again by it: the dry run finds every run finished."""
    monkeypatch.chdir(tmp_path)
    command = ["benchmark", "--models=Pop,CoCorrRec", "--datasets=small", "--seeds=3", "--learning_rates=0.01"]
    settings = [f"--data_path={small_data}", "--use_gpu=False", "--epochs=1", "--num_heads=2"]
    settings += ["--eval_args={'split': {'LS': 'valid_and_test'}, 'order': 'TO', 'group_by': 'user', 'mode': 'uni20'}"]
    assert main([*command, *settings, "--out=of/mine", "--threads=1"]) == 0
    report = build("of/mine")
    (line,) = {c for c in commands_of(report) if "--ablate" in c}
    capsys.readouterr()
    assert main([*shlex.split(line)[3:], "--dry_run"]) == 0
    assert "2 runs, 2 of them finished in of/mine" in capsys.readouterr().out


def understood(line: str):
    """The parsed command, and its settings known."""
    python, dash, package, *arguments = shlex.split(line)
    assert (python, dash, package) == ("python", "-m", "recbole_cocorr"), line
    parsed, rest = command_parser().parse_known_args(arguments)
    assert not rest or getattr(parsed, "takes_settings", False), (line, rest)
    parse_overrides(rest)
    return parsed


def test_one_run_has_a_report_and_every_missing_part_its_command(tmp_path):
    folder = write_results(tmp_path / "my results", [made_run(users=40)])
    text = page(build(folder))
    result = Page(text)
    commands = commands_of(build(folder))
    assert all(f"'{folder}" in one or f"'--out={folder}" in one for one in commands), "the folder as it was named"
    assert "--ablate=correction" in result.text and "--models=CoCorrRec --seeds=2020" in result.text
    assert text.count('class="missing"') == 11
    assert "<sup>*" not in text and "CoCorrRec minus" not in result.text


def test_the_command_of_a_sweep_leaves_out_what_a_sweep_sets(tmp_path):
    planned = {"settings": {"MAX_ITEM_LIST_LENGTH": 200, "use_gcn": False, "epochs": 3}, "datasets": ["ml-100k"]}
    write_json(tmp_path / "plan.json", "recbole_cocorr.plan", **planned)
    expected = f"python -m recbole_cocorr sweep --datasets=ml-100k --out={tmp_path} --epochs=3"
    assert sweep_command(tmp_path) == expected


def test_parts_without_a_tested_run(tmp_path):
    """Costs alone, sweeps alone."""
    write_cost(tmp_path)
    result = Page(page(build(tmp_path)))
    assert "Cost of one inference" in result.text
    assert "No run was tested. python -m recbole_cocorr benchmark --datasets=NAME --out" in result.text
    folder = write_results(tmp_path / "sweep", made_sweep(users=30))
    write_sweep(folder)
    assert "Time of one inference over K" in Page(page(build(folder))).text


def test_runs_with_other_users_are_named_and_the_rest_is_shown(tmp_path, capsys):
    folder = write_results(tmp_path / "r", [made_run(users=50), made_run("DIN", users=49)])
    assert main(["report", str(folder)]) == 0
    sentence = "CoCorrRec (seed 2020) and DIN (seed 2020) cannot be compared: 1 user was tested by only one of them"
    assert sentence in capsys.readouterr().err
    text = Page((folder / "report" / "report.html").read_text(encoding="utf-8")).text
    assert sentence in text and "Test metrics on amazon-beauty" in text


def test_another_reference(tmp_path):
    folder = write_results(tmp_path / "r", made_field(["SASRec", "Mamba4Rec"], seeds=(1,), users=200))
    assert "Mamba4Rec minus each other model" in Page(page(build(folder, "Mamba4Rec"))).text
    with pytest.raises(UserError, match="'Mamba'; there are Mamba4Rec, SASRec"):
        build(folder, "Mamba")


def test_without_the_papers_row_the_best_of_ours_on_validation_is_the_reference(tmp_path):
    ours = [
        made_run(label, users=60, valid={"ndcg@10": value}, model="CoCorrRec")
        for label, value in (("CoCorrRec (a)", 0.2), ("CoCorrRec (b)", 0.3))
    ]
    text = Page(page(build(write_results(tmp_path / "r", [*ours, made_run("DIN", users=60)])))).text
    assert "CoCorrRec (b) minus each other model" in text and "has no tested run" not in text
    alone = build(write_results(tmp_path / "one", [made_run("DIN", users=60)]))
    assert alone.problems == [], "one model alone is no failed comparison"


def test_a_column_heads_its_group(tmp_path):
    folder = write_results(tmp_path / "r", [made_run(users=10)])
    write_cost(folder)
    text = page(build(folder))
    assert re.search(r'<th scope="colgroup" colspan="5">FLOPs of one inference</th>', text)
    rows = re.findall(r"<thead>(.*?)</thead>", text, re.DOTALL)
    for head in rows:
        widths = [
            sum(int(n or 1) for n in re.findall(r"<t[hd](?:[^>]*colspan=\"(\d+)\")?[^>]*>", line))
            for line in head.split("<tr")[1:]
        ]
        assert len(set(widths)) == 1, head


def no_folder(path: Path) -> Path:
    return path / "nowhere"


def no_plan(path: Path) -> Path:
    return path


def no_runs(path: Path) -> Path:
    return write_results(path, [])


def untested(path: Path) -> Path:
    return write_results(path, [made_run(tested=False, users=10)])


def other_version(path: Path) -> Path:
    write_results(path, [made_run(users=10)])
    file = next(path.glob("runs/*/run.json"))
    file.write_text(file.read_text().replace('"format_version": 1', '"format_version": 7'))
    return path


def half_a_file(path: Path) -> Path:
    write_results(path, [made_run(users=10)])
    (path / "cost.json").write_text('{"format": "recbole')
    return path


def cost_of_another_kind(path: Path) -> Path:
    write_results(path, [made_run(users=10)])
    write_json(path / "cost.json", "recbole_cocorr.sweep", rows=[])
    return path


def change_row(file: Path, change) -> None:
    """Change the first row of a file."""
    content = json.loads(file.read_text())
    change(content["rows"][0])
    file.write_text(json.dumps(content))


def cost_without_length(path: Path) -> Path:
    write_results(path, [made_run(users=10)])
    write_cost(path, ["SASRec"])
    change_row(path / "cost.json", lambda row: row.pop("L"))
    return path


def cost_of_words(path: Path) -> Path:
    write_results(path, [made_run(users=10)])
    write_cost(path, ["SASRec"])
    change_row(path / "cost.json", lambda row: row.update(flops="many"))
    return path


def failures_of_another_shape(path: Path) -> Path:
    write_results(path, [made_run(users=10)])
    (path / "failures.json").write_text('{"run": "x"}')
    return path


def twice(path: Path) -> Path:
    return write_results(path, [made_run(users=10), made_run(users=10)])


def plan_without_labels(path: Path) -> Path:
    write_results(path, [made_run(users=10)])
    write_json(path / "plan.json", "recbole_cocorr.plan", models=[{}], seeds=[1], learning_rates=[0.1])
    return path


def plan_of_one_seed(path: Path) -> Path:
    write_results(path, [made_run(users=10)])
    write_json(path / "plan.json", "recbole_cocorr.plan", seeds=1)
    return path


def half_a_cut(path: Path) -> Path:
    cut = {"first": "a", "valid_from": "b", "test_from": "c", "last": "d", "valid": {"targets": 1}}
    return write_results(path, [made_run(users=10, cut=cut)])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (plan_without_labels, "plan.json: models[0].label is missing"),
        (plan_of_one_seed, "plan.json: seeds is 1; it must be a list"),
        (half_a_cut, "run.json: cut.valid.of_new_users is missing"),
        (no_folder, "does not exist"),
        (no_plan, "has no plan.json"),
        (no_runs, "has no finished run yet"),
        (untested, "1 finished run, but no run was tested"),
        (other_version, "run record format 7"),
        (half_a_file, "cost.json, line 1 is not valid JSON"),
        (cost_of_another_kind, "is no cost file of recbole_cocorr"),
        (cost_without_length, "rows[0].L is missing"),
        (cost_of_words, "rows[0].flops is 'many'; it must be a whole number from 0"),
        (failures_of_another_shape, "failures is an object of 1; it must be a list"),
        (twice, "has two tested runs with seed 2020"),
    ],
)
def test_bad_folders_are_one_sentence_and_nothing_is_written(tmp_path, capsys, make, words):
    folder = make(tmp_path)
    assert main(["report", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and words in error
    assert not (folder / "report").exists()


def test_a_file_in_the_way(tmp_path, capsys):
    folder = write_results(tmp_path / "r", [made_run(users=10)])
    (tmp_path / "file").write_text("")
    assert main(["report", str(folder), "--out", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err


def test_without_matplotlib(tmp_path, capsys, monkeypatch):
    folder = write_results(tmp_path / "r", [made_run(users=10)])
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert main(["report", str(folder)]) == 2
    assert "pip install 'recbole_cocorr[report]'" in capsys.readouterr().err


def test_the_made_field_is_the_field():
    assert [r.label for r in made_field(seeds=(1,), users=10) if r.test] == list(FIELD)


# -- the device ------------------------------------------------------------------------------------------


def test_times_of_the_device_make_a_picture_and_a_table(tmp_path):
    folder = write_results(tmp_path / "results", [made_run(users=10)])
    assert not any(p.name == "device-clicks" for p in build(folder).pictures)
    assert "device-bench --out" in page(build(folder))
    write_json(folder / "device.json", "recbole_cocorr.device-bench", **device_times())
    report = build(folder)
    onnx, native = [p for p in report.pictures if p.name.startswith("device-clicks")]
    drawn = {}
    for picture in (onnx, native):
        (axes,) = picture.figure.axes
        assert axes.get_xscale() == axes.get_yscale() == "log"
        drawn[picture.name] = {c.get_label(): c.lines[0].get_ydata().tolist() for c in axes.containers}
        assert picture.caption.count("Ringed") == 1, "the window after 50 clicks was timed on a busy machine"
    assert onnx.figure.axes[0].get_ylim() == native.figure.axes[0].get_ylim(), "the two can be compared"
    lines = drawn["device-clicks"]
    assert lines["SASRec, window anew"] == [40.0, 120.0, 420.0]
    assert set(lines) == {
        "CoCorrRec, carried on",
        "CoCorrRec, window anew",
        "GRU4Rec, carried on",
        "SASRec, window anew",
        "Mamba4Rec, carried on",
    }
    assert drawn["device-clicks-native"] == {
        "CoCorrRec, carried on": [10.0, 10.0, 10.0],
        "CoCorrRec, window anew": [22.0, 22.0, 22.0],
    }
    assert "with ONNX Runtime" in onnx.caption and "with the native library" in native.caption
    (table,) = [t for t in report.tables if t.name == "device"]
    cells = {r[0].text: [c.text for c in r[1:]] for r in table.rows}
    assert cells["SASRec"][:3:2] == ["window anew", "120.0 / 140.0"]
    assert cells["CoCorrRec, window"][:2] == ["window anew", "44.0 / 60.0"]
    marks = {(r[0].text, i): c.mark for r in table.rows for i, c in enumerate(r) if c.mark}
    assert marks == {(f"CoCorrRec, window{rest}", 3): "~" for rest in ("", ", native", ", 20 neighbours")}
    assert cells["CoCorrRec"][4:] == ["60.5 / 80.0", "9.5", "71", "200", "7000", "9832"]


def test_times_of_the_device_alone_are_a_report(tmp_path):
    write_json(tmp_path / "device.json", "recbole_cocorr.device-bench", **device_times())
    assert [p.name for p in build(tmp_path).pictures] == ["device-clicks", "device-clicks-native"]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.update(models={}), "models is an object of 0; it must be the times of at least one model"),
        (
            lambda c: c["setting"].update(histories=["10"]),
            "setting.histories is a list of 1; it must be a list",
        ),
        (lambda c: c["models"].update(SASRec=3), "models.SASRec is 3; it must be an object"),
        (lambda c: c["models"]["SASRec"]["click"].pop("50"), "models.SASRec.click.50 is missing"),
        (
            lambda c: c["models"]["SASRec"].update(rank={"p50": 0, "p99": 1}),
            "models.SASRec.rank.p50 is 0; it must be",
        ),
        (lambda c: c["models"]["SASRec"]["rank"].update(p75="1"), "models.SASRec.rank.p75 is '1'; it must be"),
        (lambda c: c["models"]["SASRec"].update(state_bytes="9"), "models.SASRec.state_bytes is '9'"),
    ],
)
def test_damaged_times_of_the_device_are_one_sentence(tmp_path, change, message):
    content = device_times()
    change(content)
    write_json(tmp_path / "device.json", "recbole_cocorr.device-bench", **content)
    with pytest.raises(UserError, match=rf"device\.json: {message}"):
        build(tmp_path)


# -- requests --------------------------------------------------------------------------------------------


def test_shares_of_requests_make_pictures_and_a_table(tmp_path):
    folder = write_results(tmp_path / "results", [made_run(users=10)])
    assert "requests --checkpoint=FILE" in page(build(folder))
    for place in (folder, tmp_path):  # beside runs, and alone
        write_requests(place)
        report = build(place)
        pictures = {p.name: p for p in report.pictures if p.name.startswith("requests-")}
        assert set(pictures) == {"requests-scores", "requests-correction"}
        (axes,) = pictures["requests-scores"].figure.axes
        lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
        assert set(lines) == {"rule", "random"}
        assert lines["rule"] == [[0, 0.3], [50, pytest.approx(0.35)], [100, pytest.approx(0.4)]]
        (table,) = [t for t in report.tables if t.name == "requests"]
        cells = [c.text for c in table.rows[1]]
        assert cells == ["scores", "rule", "50%", "50.0%", ".3500", ".5000", "+.0010", ".0004"]
